"""The import names of the packages that this server replaces, for the scripts that it serves.

The wheel has thin packages under these names. Where the original packages are installed beside it, they may lie in
the same place, so a running server answers for these names itself.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import sys
from collections.abc import Callable, Sequence
from types import ModuleType

# Module name -> (module of ours, names that it offers); no names: a package that holds others.
_NAMES: dict[str, tuple[str, tuple[str, ...]]] = {
    "azureml_inference_server_http": ("azmlinfsrv._version", ("__version__",)),
    "azureml_inference_server_http.api": ("", ()),
    "azureml_inference_server_http.api.aml_request": ("azmlinfsrv.api", ("AMLRequest", "rawhttp")),
    "azureml_inference_server_http.api.aml_response": ("azmlinfsrv.api", ("AMLResponse",)),
    "azureml_inference_server_http.log_config": ("azmlinfsrv.logs", ("AMLLogFormatter", "RootAccessFilter")),
    "azureml.contrib.services": ("", ()),
    "azureml.contrib.services.aml_request": ("azmlinfsrv.api", ("AMLRequest", "rawhttp")),
    "azureml.contrib.services.aml_response": ("azmlinfsrv.api", ("AMLResponse",)),
}
_PARENTS = ("azureml", "azureml.ai", "azureml.contrib")


class _Loader(importlib.abc.Loader):
    def exec_module(self, module: ModuleType) -> None:
        source, names = _NAMES.get(module.__name__, ("", ()))
        for name in names:
            setattr(module, name, getattr(importlib.import_module(source), name))


class _Finder(importlib.abc.MetaPathFinder):
    """Offers the modules of the given names."""

    def __init__(self, names: frozenset[str]) -> None:
        self._names = names

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Return the spec of a module that this finder offers."""
        if fullname not in self._names:
            return None
        is_package = not _NAMES.get(fullname, ("", ()))[1] or fullname == "azureml_inference_server_http"
        return importlib.util.spec_from_loader(fullname, _Loader(), is_package=is_package)


def install() -> Callable[[], None]:
    """Answer for the names from now on; parents only where nothing else provides them.

    Returns:
        The function that undoes it.
    """
    ours = _Finder(frozenset(_NAMES))
    parents = _Finder(frozenset(_PARENTS))
    names = (*_NAMES, *_PARENTS)
    hidden = {name: sys.modules.pop(name) for name in _NAMES if name in sys.modules}
    sys.meta_path.insert(0, ours)
    sys.meta_path.append(parents)

    def undo() -> None:
        sys.meta_path.remove(ours)
        sys.meta_path.remove(parents)
        made = {name for name in names if isinstance(getattr(sys.modules.get(name), "__loader__", None), _Loader)}
        for name in made:
            _forget(name)
        for name, module in hidden.items():
            sys.modules[name] = module
            _bind(name, module)

    return undo


def _forget(name: str) -> None:
    module = sys.modules.pop(name)
    parent, _, child = name.rpartition(".")
    if getattr(sys.modules.get(parent), child, None) is module:
        delattr(sys.modules[parent], child)


def _bind(name: str, module: ModuleType) -> None:
    parent, _, child = name.rpartition(".")
    if parent in sys.modules:
        setattr(sys.modules[parent], child, module)

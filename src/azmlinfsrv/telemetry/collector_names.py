"""The import names under which scripts find the collectors."""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from azmlinfsrv.telemetry.collectors import Collect

# With one of these, Azure ML runs a sidecar that the original package sends to: that is left to it.
SIDECAR_VARIABLES = ("AZUREML_MDC_ENABLED", "AZUREML_MDC_CONFIG_PATH")

NEW = "azureml.ai.monitoring"
OLD = "azureml.monitoring"
_CONTEXT, _OLD_MODULE = f"{NEW}.context", f"{OLD}.modeldatacollector"

# A file by which a package found under the name is known to be Microsoft's; another one is the script's own.
_MARKS = {NEW: "collector_json.py", OLD: "modeldatacollector.py"}


class _Names(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Offers modules, each with the names of `collectors` that it is known for."""

    def __init__(self, modules: Mapping[str, Sequence[str]], collect: Collect | None) -> None:
        self._modules = modules
        self._collect = collect
        self._made: dict[str, Any] = {}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Return the spec of a module that is offered."""
        if fullname not in self._modules:
            return None
        mark = _MARKS.get(fullname)
        if mark is None:
            parent = sys.modules.get(fullname.rpartition(".")[0])
            taken = getattr(parent, "__loader__", None) is self
        else:
            taken = _is_free(fullname, path, mark)
        return importlib.util.spec_from_loader(fullname, self, is_package=mark is not None) if taken else None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        """Let the import system make the module."""
        return None

    def exec_module(self, module: ModuleType) -> None:
        """Put the names in."""
        names = self._modules[module.__name__]
        vars(module).update({name: self._object(name) for name in names}, __all__=list(names))

    def _object(self, name: str) -> Any:
        """Return what stands behind a name; a collector is a class that knows where what it collects goes."""
        if name not in self._made:
            from azmlinfsrv.telemetry import collectors

            found = getattr(collectors, name)
            if hasattr(found, "_collect"):
                sink = None if self._collect is None else staticmethod(self._collect)
                found = type(name, (found,), {"__doc__": found.__doc__, "_collect": sink})
            self._made[name] = found
        return self._made[name]


def _is_free(name: str, path: Sequence[str] | None, mark: str) -> bool:
    """Return whether the name is nobody's, or Microsoft's."""
    found = importlib.machinery.PathFinder.find_spec(name, path)
    if found is None:
        return True
    folders = found.submodule_search_locations or []
    return any(os.path.exists(os.path.join(folder, mark)) for folder in folders)


def install(collect: Collect | None, environ: Mapping[str, str]) -> Callable[[], None]:
    """Answer for the names from now on.

    Args:
        collect: takes what is collected, or None to drop it.
        environ: the environment.

    Returns:
        The function that undoes it.
    """
    modules: dict[str, Sequence[str]] = {OLD: ["ModelDataCollector"], _OLD_MODULE: ["ModelDataCollector"]}
    if not any(environ.get(variable, "").lower() not in ("", "false") for variable in SIDECAR_VARIABLES):
        modules[NEW] = ["Collector"]
        modules[_CONTEXT] = ["BasicCorrelationContext", "CorrelationContext", "get_context"]
    names = _Names(modules, collect)
    sys.meta_path.insert(0, names)

    def undo() -> None:
        sys.meta_path.remove(names)
        for name in modules:
            if getattr(sys.modules.get(name), "__loader__", None) is names:
                _forget(name)

    return undo


def _forget(name: str) -> None:
    module = sys.modules.pop(name)
    parent, _, child = name.rpartition(".")
    if getattr(sys.modules.get(parent), child, None) is module:
        delattr(sys.modules[parent], child)

"""The import names of the packages that this server replaces, beside the originals and without them."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import azmlinfsrv
from azmlinfsrv import api, compat, logs

SOURCES = Path(azmlinfsrv.__file__).parents[1]
TOPS = ("azureml", "azureml_inference_server_http")

# Import statement -> an expression that it makes possible, and its value.
FORMS: list[tuple[str, str, Any]] = [
    ("from azureml.contrib.services.aml_request import rawhttp", "rawhttp", api.rawhttp),
    ("from azureml.contrib.services.aml_request import AMLRequest", "AMLRequest", api.AMLRequest),
    ("from azureml.contrib.services.aml_response import AMLResponse", "AMLResponse", api.AMLResponse),
    ("from azureml.contrib.services import aml_request", "aml_request.rawhttp", api.rawhttp),
    ("from azureml.contrib import services", "services.__name__", "azureml.contrib.services"),
    ("import azureml.contrib.services", "azureml.contrib.services.__name__", "azureml.contrib.services"),
    ("import azureml.contrib.services as s", "s.__name__", "azureml.contrib.services"),
    (
        "import azureml.contrib.services.aml_response",
        "azureml.contrib.services.aml_response.AMLResponse",
        api.AMLResponse,
    ),
    ("import azureml.contrib.services.aml_request as r", "r.rawhttp", api.rawhttp),
    ("import azureml.contrib", "azureml.contrib.__name__", "azureml.contrib"),
    ("import azureml_inference_server_http", "azureml_inference_server_http.__version__", azmlinfsrv.__version__),
    ("from azureml_inference_server_http import __version__", "__version__", azmlinfsrv.__version__),
    (
        "import azureml_inference_server_http.api",
        "azureml_inference_server_http.api.__name__",
        "azureml_inference_server_http.api",
    ),
    ("from azureml_inference_server_http.api import aml_response", "aml_response.AMLResponse", api.AMLResponse),
    ("from azureml_inference_server_http.api.aml_request import rawhttp", "rawhttp", api.rawhttp),
    ("from azureml_inference_server_http.api.aml_request import AMLRequest", "AMLRequest", api.AMLRequest),
    ("from azureml_inference_server_http.api.aml_response import AMLResponse", "AMLResponse", api.AMLResponse),
    (
        "from azureml_inference_server_http.log_config import AMLLogFormatter",
        "AMLLogFormatter",
        logs.AMLLogFormatter,
    ),
    (
        "from azureml_inference_server_http.log_config import RootAccessFilter",
        "RootAccessFilter",
        logs.RootAccessFilter,
    ),
]
NAMESPACE = {
    "azureml/core/__init__.py": "",
    "azureml/core/model.py": "class Model: pass",
    "azureml/ai/monitoring/__init__.py": "class Collector: pass",
}
ORIGINALS = {
    "azureml/contrib/services/__init__.py": "ORIGINAL = True",
    "azureml/contrib/services/aml_request.py": "rawhttp = AMLRequest = 'original'",
    "azureml/contrib/services/aml_response.py": "AMLResponse = 'original'",
    "azureml_inference_server_http/__init__.py": "__version__ = 'original'",
    "azureml_inference_server_http/api/__init__.py": "",
    "azureml_inference_server_http/api/aml_request.py": "rawhttp = AMLRequest = 'original'",
    "azureml_inference_server_http/api/aml_response.py": "AMLResponse = 'original'",
    "azureml_inference_server_http/log_config.py": "AMLLogFormatter = RootAccessFilter = 'original'",
}
# What may lie on the import path, by relative path.
LAYOUTS: dict[str, dict[str, str]] = {
    "nothing": {},
    "namespace": NAMESPACE,
    "regular": {**NAMESPACE, "azureml/__init__.py": "REGULAR = True", "azureml/ai/__init__.py": ""},
    "originals": {**NAMESPACE, **ORIGINALS},
    "regular-originals": {
        **NAMESPACE,
        **ORIGINALS,
        "azureml/__init__.py": "",
        "azureml/ai/__init__.py": "",
        "azureml/contrib/__init__.py": "",
    },
    "regular-contrib": {
        **NAMESPACE,
        "azureml/__init__.py": "",
        "azureml/ai/__init__.py": "",
        "azureml/contrib/__init__.py": "",
        "azureml/contrib/other.py": "",
    },
}


def of_azureml() -> dict[str, Any]:
    """Return the modules of these names that are loaded."""
    return {name: module for name, module in sys.modules.items() if name.split(".")[0] in TOPS}


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty directory on an import path that has none of our own packages; everything is put back."""
    before = of_azureml()
    for name in before:
        del sys.modules[name]
    paths = [path for path in sys.path if Path(path).resolve() != SOURCES]
    monkeypatch.setattr(sys, "path", [str(tmp_path), *paths])
    monkeypatch.setattr(sys, "meta_path", sys.meta_path[:])
    yield tmp_path
    for name in of_azureml():
        del sys.modules[name]
    sys.modules.update(before)


def lay_out(site: Path, files: dict[str, str]) -> None:
    """Write the files of a layout."""
    for name, source in files.items():
        (site / name).parent.mkdir(parents=True, exist_ok=True)
        (site / name).write_text(source)
    importlib.invalidate_caches()


def value_of(statement: str, expression: str) -> Any:
    """Return the value of an expression after an import statement."""
    names: dict[str, Any] = {}
    exec(statement, names)  # noqa: S102 - the statements of this module
    return eval(expression, names)  # noqa: S307 - the expressions of this module


@pytest.mark.parametrize(("statement", "expression", "value"), FORMS, ids=[form[0] for form in FORMS])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_form_of_import(site: Path, layout: str, statement: str, expression: str, value: Any) -> None:
    """Whatever else is installed, each form gives what is ours."""
    lay_out(site, LAYOUTS[layout])
    compat.install()
    assert value_of(statement, expression) == value


@pytest.mark.parametrize(("statement", "expression", "value"), FORMS, ids=[form[0] for form in FORMS])
def test_every_form_without_the_server(
    site: Path, monkeypatch: pytest.MonkeyPatch, statement: str, expression: str, value: Any
) -> None:
    """Outside of a server, where nothing is installed, the packages of the wheel give the same."""
    monkeypatch.setattr(sys, "path", [str(SOURCES), *sys.path])
    assert not list(site.iterdir())
    assert value_of(statement, expression) == value


@pytest.mark.parametrize("first", ["ours", "theirs"])
@pytest.mark.parametrize("layout", [name for name in LAYOUTS if name != "nothing"])
def test_other_packages_import_beside_ours(site: Path, layout: str, first: str) -> None:
    """The name azureml stays a package in which azureml.core and azureml.ai import beside ours, in any order."""
    lay_out(site, LAYOUTS[layout])
    compat.install()
    theirs = [
        ("from azureml.core.model import Model", "Model.__module__", "azureml.core.model"),
        ("from azureml.ai.monitoring import Collector", "Collector.__module__", "azureml.ai.monitoring"),
    ]
    ours = [("from azureml.contrib.services.aml_request import rawhttp", "rawhttp", api.rawhttp)]
    for statement, expression, value in [*ours, *theirs] if first == "ours" else [*theirs, *ours]:
        assert value_of(statement, expression) == value


def test_other_packages_beside_the_wheel(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A namespace azureml of other distributions and that of the wheel are one."""
    lay_out(site, NAMESPACE)
    monkeypatch.setattr(sys, "path", [str(SOURCES), *sys.path])
    assert value_of("from azureml.core.model import Model", "Model.__module__") == "azureml.core.model"
    assert value_of("from azureml.contrib.services.aml_request import rawhttp", "rawhttp") is api.rawhttp


def test_the_parent_of_another_package_is_kept(site: Path) -> None:
    """A regular package azureml is that package: ours does not stand in for it."""
    lay_out(site, LAYOUTS["regular"])
    compat.install()
    assert value_of("import azureml.contrib.services", "azureml.REGULAR") is True


def test_other_names_are_not_ours(site: Path) -> None:
    """A name that nobody has is not found, and says so."""
    lay_out(site, NAMESPACE)
    compat.install()
    with pytest.raises(ModuleNotFoundError, match=r"azureml\.contrib\.other"):
        importlib.import_module("azureml.contrib.other")
    with pytest.raises(ImportError):
        value_of("from azureml.contrib.services.aml_request import AMLResponse", "AMLResponse")


def test_originals_that_are_loaded_already_are_replaced(site: Path) -> None:
    """What was imported before the start makes no difference to the script."""
    lay_out(site, LAYOUTS["regular-originals"])
    statement = "from azureml.contrib.services.aml_request import rawhttp"
    assert value_of(statement, "rawhttp") == "original"
    compat.install()
    assert value_of(statement, "rawhttp") is api.rawhttp


def test_nothing_is_imported_until_it_is_asked_for(site: Path) -> None:
    """Installing imports no module of these names, and each can be found without being imported."""
    assert not list(site.iterdir())
    compat.install()
    assert of_azureml() == {}
    assert importlib.util.find_spec("azureml_inference_server_http") is not None
    assert of_azureml() == {}


@pytest.mark.parametrize("layout", ["originals", "regular-originals"])
def test_undo_gives_the_originals_back(site: Path, layout: str) -> None:
    """After the undo every form imports the original again."""
    lay_out(site, LAYOUTS[layout])
    undo = compat.install()
    assert value_of("from azureml.contrib.services.aml_request import rawhttp", "rawhttp") is api.rawhttp
    undo()
    assert value_of("from azureml.contrib.services.aml_request import rawhttp", "rawhttp") == "original"
    assert value_of("from azureml_inference_server_http import __version__", "__version__") == "original"
    assert value_of("import azureml.contrib.services as s", "s.ORIGINAL") is True
    assert value_of("import azureml.contrib.services.aml_response as r", "r.AMLResponse") == "original"


def test_undo_gives_back_what_was_loaded(site: Path) -> None:
    """A module that was loaded before is the same one after the undo, under its name and in its parent."""
    lay_out(site, LAYOUTS["originals"])
    original = importlib.import_module("azureml.contrib.services")
    undo = compat.install()
    assert importlib.import_module("azureml.contrib.services") is not original
    undo()
    assert importlib.import_module("azureml.contrib.services") is original
    assert value_of("from azureml.contrib import services", "services") is original
    assert value_of("import azureml.contrib.services", "azureml.contrib.services") is original


def test_undo_leaves_nothing(site: Path) -> None:
    """After the undo neither finders nor modules are left, parents included."""
    assert not list(site.iterdir())
    finders = sys.meta_path[:]
    undo = compat.install()
    importlib.import_module("azureml.contrib.services.aml_request")
    importlib.import_module("azureml_inference_server_http.log_config")
    undo()
    assert sys.meta_path == finders
    assert of_azureml() == {}
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("azureml.contrib.services")

"""Loading the entry script: what is found, what is refused and why, and what style of `run()` it has."""

from __future__ import annotations

import importlib
import logging
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Protocol

import pytest

from azmlinfsrv.errors import ScriptError, ScriptFailedError
from azmlinfsrv.script import (
    RAW_MARK,
    Script,
    Style,
    call_init,
    import_paths,
    load_script,
    model_tree,
    user_traceback,
)
from azmlinfsrv.settings import Settings

SCRIPTS = Path(__file__).parent / "scripts"
RAW = "from azureml.contrib.services.aml_request import rawhttp\n"
SCHEMA = """
from inference_schema.parameter_types.standard_py_parameter_type import StandardPythonParameterType
from inference_schema.schema_decorators import input_schema, output_schema
number = input_schema("data", StandardPythonParameterType(1))
"""
PLAIN_WRAPPER = """
def timed(function):
    def call(request):
        return function(request)
    return call
"""


class Load(Protocol):
    """Type of the fixture `load`."""

    def __call__(self, script: str | bytes | Path | None) -> Script:
        """Load a script: a file, its source, or None for main.py."""


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, _own_schemas: None) -> Iterator[Load]:
    """A function that loads a script; its modules, paths and schemas are forgotten afterwards."""
    modules = set(sys.modules)
    monkeypatch.setattr(sys, "path", sys.path[:])

    def load_it(script: str | bytes | Path | None) -> Script:
        if isinstance(script, str):
            script = textwrap.dedent(script).encode()
        if isinstance(script, bytes):
            (tmp_path / "score.py").write_bytes(script)
            script = tmp_path / "score.py"
        settings = Settings(app_root=str(tmp_path), entry_script=str(script) if script else None)
        sys.path += import_paths(settings)
        importlib.invalidate_caches()
        return load_script(settings)

    yield load_it
    for name in set(sys.modules) - modules:
        if _is_of_the_test(sys.modules[name], tmp_path):
            del sys.modules[name]


def _is_of_the_test(module: ModuleType, tmp_path: Path) -> bool:
    path = Path(getattr(module, "__file__", None) or "")
    return path.parent in (tmp_path, SCRIPTS)


# -- Finding it ------------------------------------------------------------------------------------------------------


def test_a_script_is_loaded(load: Load) -> None:
    """init() and run() are the script's own, and share its globals."""
    script = load(SCRIPTS / "core_plain.py")
    call_init(script)
    assert script.run(raw_data='{"data": [1, 2]}') == {"result": [2, 4]}
    assert script.style is Style.JSON_TEXT
    assert [parameter.name for parameter in script.parameters] == ["raw_data"]
    assert not script.takes_headers and not script.is_async


def test_a_relative_script_lies_below_the_app_root(load: Load, tmp_path: Path) -> None:
    """AZUREML_ENTRY_SCRIPT is relative to AML_APP_ROOT, with slashes on every system."""
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "score.py").write_text("def init(): pass\ndef run(a): return a")
    assert load(Path("code/score.py")).run(a=1) == 1


def test_modules_beside_the_script_are_found(load: Load) -> None:
    """A script may import its neighbours by name, and pickle its own classes."""
    script = load(SCRIPTS / "core_sibling.py")
    call_init(script)
    assert script.run(data="") == 3


def test_a_byte_order_mark_is_skipped(load: Load) -> None:
    """A script saved with a UTF-8 byte order mark is loaded."""
    script = load(b"\xef\xbb\xbfdef init(): pass\ndef run(d\xc3\xa9): return 'caf\xc3\xa9'")
    assert script.parameters[0].name == "dé"
    assert script.run(dé=1) == "café"


def test_main_is_the_script_where_none_is_named(load: Load, tmp_path: Path) -> None:
    """Without an entry script, main.py on the import path is served."""
    (tmp_path / "main.py").write_text("def init(): pass\ndef run(data): return __name__")
    assert load(None).run(data=1) == "main"


@pytest.mark.parametrize("root_exists", [True, False])
def test_no_main_either(tmp_path: Path, root_exists: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any script the log says what was expected, where it was looked for, and what is there."""
    monkeypatch.setattr(sys, "path", ["first", "second"])
    root = tmp_path if root_exists else tmp_path / "nowhere"
    (tmp_path / "other.txt").touch()
    with pytest.raises(ScriptError) as caught:
        load_script(Settings(app_root=str(root)))
    assert caught.value.message.split("\n") == [
        "No score script found. Expected score script main.py.",
        "Expected script to be found in PYTHONPATH: ['first', 'second']",
        "Current contents of AML_APP_ROOT: ['other.txt']"
        if root_exists
        else f"The directory {root} not an accessible directory in the container.",
    ]


@pytest.mark.parametrize("name", ["nowhere.py", "folder", "folder/nowhere.py"])
def test_a_script_that_is_not_there(load: Load, tmp_path: Path, name: str) -> None:
    """The message has the released server's first line, and the path that was looked for."""
    (tmp_path / "folder").mkdir()
    with pytest.raises(ScriptError) as caught:
        load(Path(name))
    first, rest = caught.value.message.split("\n", 1)
    assert first == "No such file or directory."
    assert str(tmp_path / name) in rest


def test_a_script_that_is_no_python_file(load: Load, tmp_path: Path) -> None:
    """A file that Python cannot import is named."""
    path = tmp_path / "score.txt"
    path.touch()
    with pytest.raises(ScriptError, match=r"score\.txt is not a Python file"):
        load(path)


def test_import_paths() -> None:
    """The app root, the source folder below it, the server root and the script's folder may be imported from."""
    assert import_paths(Settings(app_root="/r")) == ["/r"]
    settings = Settings(app_root="/r", source_directory="s", server_root="/v", entry_script="code/score.py")
    assert import_paths(settings) == ["/r", "/r/s", "/v", "/r/code"]
    assert import_paths(Settings(app_root="/r", entry_script="/else/where/score.py"))[-1] == "/else/where"


# -- What is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("def run(data): pass", "User script at {path} does not have a init() function defined."),
        ("def init(): pass", "User script at {path} does not have a run() function defined."),
        ("", "User script at {path} does not have a init() function defined."),
        ("def init(): pass\ndef run(): pass", "run() needs to accept an argument for input data."),
        (
            "def init(): pass\ndef run(request_headers): pass",
            'run() needs to accept an argument other than "request_headers".',
        ),
        (
            "def init(): pass\ndef run(data, /): pass",
            "run() cannot accept positional-only arguments, *args, or **kwargs.",
        ),
        (
            "def init(): pass\ndef run(data, *args): pass",
            "run() cannot accept positional-only arguments, *args, or **kwargs.",
        ),
        (
            "def init(): pass\ndef run(data, **kwargs): pass",
            "run() cannot accept positional-only arguments, *args, or **kwargs.",
        ),
        (
            f"{RAW}{SCHEMA}def init(): pass\n@rawhttp\n@number\ndef run(data): pass",
            "run() cannot be decorated with both @rawhttp and @input_schema",
        ),
        (
            f"{RAW}{SCHEMA}def init(): pass\n@number\n@rawhttp\ndef run(data): pass",
            "run() cannot be decorated with both @rawhttp and @input_schema",
        ),
    ],
)
def test_a_script_that_lacks_something(load: Load, tmp_path: Path, source: str, message: str) -> None:
    """The reason is the released server's, to the letter."""
    with pytest.raises(ScriptError) as caught:
        load(source)
    assert caught.value.message == message.format(path=tmp_path / "score.py")
    assert not isinstance(caught.value, ScriptFailedError)


@pytest.mark.parametrize("run", ["None", "5", "'run'"])
def test_a_run_that_is_no_function(load: Load, run: str) -> None:
    """A name `run` that cannot be called is an error of the script, and not a breakdown of the server."""
    with pytest.raises(ScriptError):
        load(f"def init(): pass\nrun = {run}")


@pytest.mark.parametrize(
    ("source", "cause"),
    [
        ("1 / 0", ZeroDivisionError),
        ("import no_such_module_anywhere", ModuleNotFoundError),
        ("def run(:", SyntaxError),
        ("open('no such file')", FileNotFoundError),
        ("raise SystemExit(0)", SystemExit),
        ("raise KeyboardInterrupt", KeyboardInterrupt),
    ],
)
def test_a_script_that_raises(load: Load, tmp_path: Path, source: str, cause: type[BaseException]) -> None:
    """Whatever the script's code raises at import stops the start, with the user's own exception as the cause."""
    with pytest.raises(ScriptFailedError) as caught:
        load(source)
    assert type(caught.value.__cause__) is cause
    shown = user_traceback(caught.value.__cause__)
    assert f'File "{tmp_path / "score.py"}", line 1' in shown
    assert "importlib" not in shown and "azmlinfsrv" not in shown.replace(str(tmp_path), "")


def test_a_main_that_raises(load: Load, tmp_path: Path) -> None:
    """main.py fails as any other script does."""
    (tmp_path / "main.py").write_text("import no_such_module_anywhere")
    with pytest.raises(ScriptFailedError) as caught:
        load(None)
    assert isinstance(caught.value.__cause__, ModuleNotFoundError)


# -- Styles ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("signature", "names", "takes_headers"),
    [
        ("data", ["data"], False),
        ("data, request_headers", ["data"], True),
        ("request_headers, data", ["data"], True),
        ("*, data, request_headers", ["data"], True),
        ("data, more=5", ["data", "more"], False),
        ("headers", ["headers"], False),
    ],
)
def test_parameters(load: Load, signature: str, names: list[str], takes_headers: bool) -> None:
    """Parameters are known in order, and whether request_headers is among them."""
    script = load(f"def init(): pass\ndef run({signature}): pass")
    assert [parameter.name for parameter in script.parameters] == names
    assert script.takes_headers is takes_headers


def test_a_raw_script(load: Load) -> None:
    """@rawhttp makes run() take the request itself."""
    assert load(SCRIPTS / "core_raw.py").style is Style.RAW


@pytest.mark.parametrize(
    "source",
    [
        "@rawhttp\n@timed\ndef run(request): pass",
        "@timed\n@rawhttp\ndef run(request): pass",
        "@timed\n@timed\n@rawhttp\ndef run(request): pass",
        "import functools\n"
        "def kept(function):\n"
        "    @functools.wraps(function)\n"
        "    def call(*args, **kwargs): return function(*args, **kwargs)\n"
        "    return call\n"
        "@kept\n@timed\n@kept\n@rawhttp\ndef run(request): pass",
        "class Timed:\n"
        "    def __init__(self, function): self.function = function\n"
        "    def __call__(self, request): return self.function(request)\n"
        "@Timed\n@rawhttp\ndef run(request): pass",
        "import functools\n@rawhttp\ndef score(model, request): pass\nrun = functools.partial(score, 'model')",
        "@rawhttp\ndef score(request): pass\nrun = score",
        "class Model:\n    @rawhttp\n    def score(self, request): pass\nrun = Model().score",
    ],
    ids=["raw-outside", "raw-inside", "twice", "with-wraps", "class", "partial", "renamed", "method"],
)
def test_raw_under_other_decorators(load: Load, source: str) -> None:
    """@rawhttp counts wherever it stands among the decorators of run(), those without functools.wraps included."""
    script = load(f"{RAW}{PLAIN_WRAPPER}def init(): pass\n{source}")
    assert script.style is Style.RAW


@pytest.mark.parametrize(
    "module",
    [
        "azmlinfsrv",
        "azmlinfsrv.api",
        "azureml_inference_server_http.api.aml_request",
        "azureml.contrib.services.aml_request",
    ],
)
def test_raw_of_every_name(load: Load, module: str) -> None:
    """@rawhttp is the same decorator under each of its import names."""
    script = load(f"from {module} import rawhttp\ndef init(): pass\n@rawhttp\ndef run(request): pass")
    assert script.style is Style.RAW


def test_raw_on_another_function(load: Load) -> None:
    """Only the function named run counts; in the released server any decorated function flipped the process."""
    script = load(f"{RAW}def init(): pass\n@rawhttp\ndef helper(request): pass\ndef run(data): return helper(data)")
    assert script.style is Style.JSON_TEXT


def test_raw_of_an_earlier_script(load: Load) -> None:
    """Loading a raw script leaves the next one undecorated."""
    load(SCRIPTS / "core_raw.py")
    assert load(SCRIPTS / "core_plain.py").style is Style.JSON_TEXT


def test_the_mark_is_not_seen_by_chance() -> None:
    """The mark is an attribute that no user's function has by accident."""
    assert RAW_MARK.startswith("__azmlinfsrv")


def test_a_schema_script(load: Load) -> None:
    """@input_schema makes run() take the values of a JSON object, by the parameters' names."""
    script = load(SCRIPTS / "core_schema.py")
    assert script.style is Style.SCHEMA
    assert [parameter.name for parameter in script.parameters] == ["Inputs", "GlobalParameters"]
    assert script.parameters[1].default is None


def test_unknown_columns_are_refused(load: Load) -> None:
    """A loaded script with a schema refuses columns that its sample does not have, nested ones too."""
    run = load(SCRIPTS / "core_schema.py").run
    assert run(Inputs={"frame": [{"a": 1, "b": 2}], "array": [[3, 4]]}) == {"sum": 10.0}
    with pytest.raises(ValueError, match="unknown column 'c'"):
        run(Inputs={"frame": [{"a": 1, "c": 2}], "array": [[3, 4]]})


@pytest.mark.parametrize(
    "source",
    [
        "@number\ndef run(data): pass",
        "@output_schema(StandardPythonParameterType(1))\ndef run(data): pass",
        "def timed(function):\n"
        "    def call(data): return function(data)\n"
        "    return call\n"
        "@timed\n@number\ndef run(data): pass",
    ],
    ids=["input", "output-only", "wrapped"],
)
def test_schemas_of_all_kinds(load: Load, source: str) -> None:
    """An input schema, an output schema alone, and one under another decorator make a schema script."""
    assert load(f"{SCHEMA}def init(): pass\n{source}").style is Style.SCHEMA


@pytest.mark.parametrize(
    ("source", "is_async"),
    [
        ("def run(data): pass", False),
        ("def run(data): yield 1", False),
        ("async def run(data): pass", True),
        ("async def run(data): yield 1", True),
        (f"{RAW}@rawhttp\nasync def run(request): pass", True),
        (f"{RAW}{PLAIN_WRAPPER}@timed\n@rawhttp\nasync def run(request): pass", True),
        (f"{SCHEMA}@number\nasync def run(data): pass", True),
    ],
)
def test_async_scripts(load: Load, source: str, is_async: bool) -> None:
    """An `async def run()` is known as one, under decorators too."""
    assert load(f"def init(): pass\n{source}").is_async is is_async


@pytest.mark.parametrize("imported", [True, False])
def test_whether_flask_is_used(load: Load, imported: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A script uses Flask where anything has imported it by the time it is loaded."""
    if imported:
        monkeypatch.setitem(sys.modules, "flask", ModuleType("flask"))
    else:
        monkeypatch.delitem(sys.modules, "flask", raising=False)
    assert load(SCRIPTS / "core_plain.py").uses_flask is imported


# -- Drivers ---------------------------------------------------------------------------------------------------------


def test_the_script_behind_a_driver_is_called(load: Load) -> None:
    """Of a generated driver, init() is called, and run() of the script behind it."""
    script = load(SCRIPTS / "core_driver.py")
    call_init(script)
    assert script.run(raw_data='{"data": [1]}') == {"result": [2]}
    assert sys.modules["entry_module"].started == [True]
    assert not script.takes_headers


@pytest.mark.parametrize("driver", ["'text'", "None", "importlib", "object()", "type('Driver', (), {'run': print})()"])
def test_what_is_no_driver(load: Load, driver: str) -> None:
    """A global named driver_module that is no module with a run() is the script's own business."""
    script = load(f"import importlib\ndriver_module = {driver}\ndef init(): pass\ndef run(data): return data")
    assert script.run(data=1) == 1


# -- What the log says -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        (
            "core_plain.py",
            ["Found user script at {}", "run() is not decorated. Server will invoke it with the input in JSON string."],
        ),
        (
            "core_raw.py",
            [
                "Found user script at {}",
                "run() is decorated with @rawhttp. Server will invoke it with the flask request object.",
            ],
        ),
        (
            "core_schema.py",
            [
                "Found user script at {}",
                "run() is decorated with @input_schema. Server will invoke it with the following arguments: "
                "Inputs, GlobalParameters.",
            ],
        ),
        (
            "core_driver.py",
            [
                f"Found driver script at {{}} and the score script at {SCRIPTS / 'core_plain.py'}",
                "run() is not decorated. Server will invoke it with the input in JSON string.",
            ],
        ),
    ],
)
def test_lines_of_loading(load: Load, caplog: pytest.LogCaptureFixture, name: str, lines: list[str]) -> None:
    """The log says what was found and how run() will be called, as the released server does."""
    caplog.set_level(logging.INFO, "azmlinfsrv.user_script")
    load(SCRIPTS / name)
    assert caplog.messages == [line.format(SCRIPTS / name) for line in lines]


def test_lines_of_init(load: Load, caplog: pytest.LogCaptureFixture) -> None:
    """The log says when init() begins and ends, in the released server's words."""
    script = load(SCRIPTS / "core_plain.py")
    caplog.set_level(logging.INFO, "azmlinfsrv.user_script")
    caplog.clear()
    call_init(script)
    assert caplog.messages == ["Invoking user's init function", "Users's init has completed successfully"]


# -- init() ----------------------------------------------------------------------------------------------------------


def test_an_init_that_raises(load: Load) -> None:
    """What init() raises stops the start; the traceback is the user's own, without the server's frames."""
    script = load(SCRIPTS / "core_failing.py")
    with pytest.raises(ScriptFailedError) as caught:
        call_init(script)
    assert caught.value.__cause__ is not None
    shown = user_traceback(caught.value.__cause__).splitlines()
    assert shown[0] == "Traceback (most recent call last):"
    assert shown[-1] == "LookupError: no model at nowhere"
    files = [line.split(", ")[2] for line in shown if line.startswith("  File ")]
    assert files == ["in init", "in load"]


@pytest.mark.parametrize("error", ["SystemExit(1)", "KeyboardInterrupt", "GeneratorExit"])
def test_an_init_that_exits(load: Load, error: str) -> None:
    """An init() that exits is one that failed: the server does not end as if all were well."""
    script = load(f"def init(): raise {error}\ndef run(data): pass")
    with pytest.raises(ScriptFailedError):
        call_init(script)


def test_an_async_init_is_refused(load: Load) -> None:
    """An `async def init()`, which nobody would wait for, is refused."""
    script = load("async def init(): pass\ndef run(data): pass")
    with pytest.raises(ScriptError, match="async"):
        call_init(script)


# -- Tracebacks ------------------------------------------------------------------------------------------------------


def test_causes_are_shown(load: Load) -> None:
    """A chain of exceptions is shown whole."""
    script = load(SCRIPTS / "core_failing.py")
    with pytest.raises(RuntimeError) as caught:
        script.run(data="here")
    shown = user_traceback(caught.value)
    assert "LookupError: no model at here" in shown
    assert "The above exception was the direct cause of the following exception:" in shown
    assert shown.endswith("RuntimeError: cannot score")


def test_an_exception_without_a_traceback() -> None:
    """An exception that was never raised is shown as well."""
    assert user_traceback(ValueError("x")) == "ValueError: x"


# -- The tree of the model -------------------------------------------------------------------------------------------


def tree(root: Path, files: int) -> str:
    """Make a folder with a number of files below it, and return its path."""
    (root / "models" / "sub").mkdir(parents=True)
    for number in range(files):
        (root / "models" / "sub" / f"{number:03}.bin").write_bytes(b"x" * number)
    return str(root / "models")


def test_the_tree(tmp_path: Path) -> None:
    """Folders end in a slash, children are sorted and indented by four, the path may end in a slash."""
    path = tree(tmp_path, 2)
    (tmp_path / "models" / "a.txt").write_bytes(b"12345")
    (tmp_path / "models" / "empty").mkdir()
    expected = ["models/", "    a.txt", "    empty/", "    sub/", "        000.bin", "        001.bin"]
    assert list(model_tree(path)) == list(model_tree(path + "/")) == expected


def test_the_tree_with_sizes(tmp_path: Path) -> None:
    """Files have their size in bytes behind them where that is wanted."""
    lines = list(model_tree(tree(tmp_path, 3), with_sizes=True))
    assert lines == [
        "models/",
        "    sub/",
        "        000.bin (0 bytes)",
        "        001.bin (1 bytes)",
        "        002.bin (2 bytes)",
    ]


@pytest.mark.parametrize(("files", "cut"), [(197, False), (198, False), (199, True), (400, True)])
def test_the_tree_is_cut(tmp_path: Path, files: int, cut: bool) -> None:
    """200 lines are shown at the most, and one that says so only where there are more."""
    lines = list(model_tree(tree(tmp_path, files)))
    assert len(lines) == min(files + 2, 200) + cut
    assert (lines[-1] == "Output Truncated. First 200 lines shown.") is cut


def test_a_tree_with_a_broken_link(tmp_path: Path) -> None:
    """A link that leads nowhere is a line like any other, with sizes too."""
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "link").symlink_to(tmp_path / "nowhere")
    assert list(model_tree(str(tmp_path / "m"), with_sizes=True)) == ["m/", "    link"]


def test_a_model_that_is_one_file(tmp_path: Path) -> None:
    """A model that is a file is one line."""
    (tmp_path / "model.pkl").write_bytes(b"1234")
    assert list(model_tree(str(tmp_path / "model.pkl"))) == ["model.pkl"]

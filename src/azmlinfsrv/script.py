"""The entry script: find it, import it, check it, and say what style of ``run()`` it has."""

from __future__ import annotations

import enum
import importlib
import importlib.util
import inspect
import itertools
import logging
import os
import sys
import traceback
import typing
from collections.abc import Callable, Iterator
from types import FrameType, ModuleType
from typing import TYPE_CHECKING, Any

from azmlinfsrv import decorated
from azmlinfsrv.errors import ScriptError, ScriptFailedError, StopServing
from azmlinfsrv.settings import Settings

if TYPE_CHECKING:
    from azmlinfsrv.typed import TypedRun

logger = logging.getLogger("azmlinfsrv.user_script")

RAW_MARK = "__azmlinfsrv_rawhttp__"
MODULE_NAME = "entry_module"

_PACKAGE = os.path.dirname(os.path.abspath(__file__))
_NO_PARAMETER = "run() needs to accept an argument for input data."
_ONLY_HEADERS = 'run() needs to accept an argument other than "request_headers".'
_KINDS = "run() cannot accept positional-only arguments, *args, or **kwargs."
_BOTH = "run() cannot be decorated with both @rawhttp and @input_schema"


class Style(enum.Enum):
    """How ``run()`` gets its input."""

    JSON_TEXT = "json"
    RAW = "raw"
    TYPED = "typed"
    SCHEMA = "schema"


class Script:
    """A loaded entry script.

    Attributes:
        run: the user's ``run()``.
        init: the user's ``init()``.
        style: how ``run()`` gets its input.
        parameters: parameters of ``run()`` but for ``request_headers``, in order.
        takes_headers: whether ``run()`` has a ``request_headers`` parameter.
        typed: what a typed ``run()`` takes and returns; None for other styles.
        is_async: whether ``run()`` is a coroutine function or an async generator function.
        uses_flask: whether the script, or what it imports, imported Flask.
    """

    def __init__(self, module: ModuleType) -> None:
        """Check the module.

        Raises:
            ScriptError: the module has no usable ``init()`` and ``run()``.
        """
        for name in ("init", "run"):
            if not callable(getattr(module, name, None)):
                raise ScriptError(f"User script at {module.__file__} does not have a {name}() function defined.")
        # A driver module of the Azure SDK does not pass arguments on as inference-schema needs them, so the script
        # behind it is called; its init() may do more than the script's.
        behind = getattr(module, "driver_module", None)
        if isinstance(behind, ModuleType) and hasattr(behind, "run"):
            logger.info("Found driver script at %s and the score script at %s", module.__file__, behind.__file__)
            self.run: Callable[..., Any] = behind.run
        else:
            logger.info("Found user script at %s", module.__file__)
            self.run = module.run
        self.init: Callable[[], Any] = module.init
        self._analyse()
        self.is_async = any(map(_is_async, decorated.functions_of(self.run)))
        self.uses_flask = "flask" in sys.modules

    def _analyse(self) -> None:
        parameters = list(inspect.signature(self.run).parameters.values())
        if any(p.kind not in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD) for p in parameters):
            raise ScriptError(_KINDS)
        self.parameters = [p for p in parameters if p.name != "request_headers"]
        self.takes_headers = len(self.parameters) != len(parameters)
        if not self.parameters:
            raise ScriptError(_ONLY_HEADERS if self.takes_headers else _NO_PARAMETER)
        self.style = _style_of(self.run)
        self.typed = _typed_run(self.run, self.parameters) if self.style is Style.JSON_TEXT else None
        if self.typed is not None:
            self.style = Style.TYPED
        logger.info(_STYLE_LINES[self.style], *_STYLE_ARGUMENTS[self.style](self.parameters))


_STYLE_LINES = {
    Style.RAW: "run() is decorated with @rawhttp. Server will invoke it with the flask request object.",
    Style.SCHEMA: "run() is decorated with @input_schema. Server will invoke it with the following arguments: %s.",
    Style.TYPED: "run() is typed. Server will invoke it with the following arguments: %s.",
    Style.JSON_TEXT: "run() is not decorated. Server will invoke it with the input in JSON string.",
}
_STYLE_ARGUMENTS: dict[Style, Callable[[list[inspect.Parameter]], tuple[str, ...]]] = {
    Style.RAW: lambda _: (),
    Style.SCHEMA: lambda parameters: (", ".join(p.name for p in parameters),),
    Style.TYPED: lambda parameters: (", ".join(p.name for p in parameters),),
    Style.JSON_TEXT: lambda _: (),
}


def _style_of(run: Callable[..., Any]) -> Style:
    is_raw = any(getattr(function, RAW_MARK, False) for function in decorated.functions_of(run))
    if not decorated.is_decorated(run):
        return Style.RAW if is_raw else Style.JSON_TEXT
    if is_raw:
        raise ScriptError(_BOTH)
    decorated.quicken_conversions(run)
    decorated.check_columns(run)
    return Style.SCHEMA


_UNTYPED = (str, object, Any, inspect.Parameter.empty)


def _typed_hints(run: Callable[..., Any], parameters: list[inspect.Parameter]) -> dict[str, Any] | None:
    """Return the annotations of a typed ``run()``, and None of one that takes its input as text.

    Typed is one whose first parameter has an annotation other than str, Any and object, or that has several
    parameters without defaults, which the released server cannot call.
    """
    if all(parameter.annotation is inspect.Parameter.empty for parameter in parameters):
        return None
    try:
        hints = typing.get_type_hints(run, include_extras=True)
    except Exception as error:  # noqa: BLE001 - annotations are the user's code
        logger.warning("The annotations of run() are ignored because they cannot be read: %s", error)
        return None
    first = hints.get(parameters[0].name, inspect.Parameter.empty)
    required = [parameter for parameter in parameters if parameter.default is inspect.Parameter.empty]
    return hints if first not in _UNTYPED or len(required) > 1 else None


def _typed_run(run: Callable[..., Any], parameters: list[inspect.Parameter]) -> TypedRun | None:
    """Return what a typed ``run()`` takes and returns, and None of one that takes its input as text.

    Raises:
        ScriptError: pydantic is not installed, or does not know the annotations of a script that cannot do without.
    """
    hints = _typed_hints(run, parameters)
    if hints is None:
        return None
    try:
        importlib.import_module("pydantic")
    except ModuleNotFoundError:
        raise ScriptError("run() is typed, which needs pydantic. Run: pip install 'azmlinfsrv[typed]'") from None
    from azmlinfsrv.typed import TypedRun

    try:
        return TypedRun(run, parameters, hints)
    except ScriptError as error:
        if sum(parameter.default is inspect.Parameter.empty for parameter in parameters) > 1:
            raise
        # The released server gives such a script its input as text, whatever its annotation says.
        logger.warning("run() gets its input as text: %s", error.message)
        return None


def _is_async(function: Callable[..., Any]) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)


def import_paths(settings: Settings) -> list[str]:
    """Return the directories that the entry script may import from, beside what is on the path already."""
    root = settings.app_root
    paths = [root]
    if settings.source_directory:
        paths.append(os.path.join(root, settings.source_directory))
    if settings.server_root:
        paths.append(settings.server_root)
    if settings.entry_script:
        paths.append(os.path.dirname(os.path.join(root, settings.entry_script)))
    return paths


def load_script(settings: Settings) -> Script:
    """Import the entry script and check it; the import path must be ready.

    Raises:
        ScriptError: there is no script, or it lacks what a script must have.
        ScriptFailedError: its code raised.
    """
    if not settings.entry_script:
        return Script(_import_main(settings))
    path = os.path.join(settings.app_root, settings.entry_script.replace("/", os.sep))
    if not os.path.isfile(path):
        missing = FileNotFoundError(2, os.strerror(2), path)
        raise ScriptError(f"No such file or directory.\nFileNotFoundError: {missing}") from missing
    spec = importlib.util.spec_from_file_location(MODULE_NAME, path)
    if spec is None or spec.loader is None:
        raise ScriptError(f"{path} is not a Python file.")
    module = importlib.util.module_from_spec(spec)
    # Dataclasses, pickle and multiprocessing look a class's module up by its name.
    sys.modules[MODULE_NAME] = module
    with _user_code():
        spec.loader.exec_module(module)
    return Script(module)


def _import_main(settings: Settings) -> ModuleType:
    if importlib.util.find_spec("main") is None:
        root = settings.app_root
        lines = [
            "No score script found. Expected score script main.py.",
            f"Expected script to be found in PYTHONPATH: {sys.path}",
            f"Current contents of AML_APP_ROOT: {os.listdir(root)}"
            if os.path.isdir(root)
            else f"The directory {root} not an accessible directory in the container.",
        ]
        raise ScriptError("\n".join(lines))
    with _user_code():
        return importlib.import_module("main")


def call_init(script: Script) -> None:
    """Call the user's ``init()`` on the calling thread.

    Raises:
        ScriptFailedError: it raised.
        ScriptError: it is a coroutine function, which nobody would wait for.
    """
    if inspect.iscoroutinefunction(script.init):
        raise ScriptError("init() cannot be an async function.")
    logger.info("Invoking user's init function")
    with _user_code():
        script.init()
    logger.info("Users's init has completed successfully")


class _user_code:  # noqa: N801 - a context manager used as a statement
    """Turns whatever the user's code raises, SystemExit too, into a ScriptFailedError."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if error is not None and not isinstance(error, StopServing):
            raise ScriptFailedError("the script raised") from error


def user_traceback(error: BaseException) -> str:
    """Return the traceback of a user's exception without the frames of the server around it."""
    whole = traceback.TracebackException(type(error), error, error.__traceback__)
    whole.stack = traceback.StackSummary.from_list([frame for frame in whole.stack if not _is_ours(frame.filename)])
    return "".join(whole.format()).rstrip("\n")


def user_stack(error: BaseException) -> str:
    """Return where an exception was raised: the lines of the user's frames, each with its end."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not _is_ours(frame.filename)]
    return "".join(traceback.StackSummary.from_list(frames).format())


def running_stack(frame: FrameType | None) -> str:
    """Return where a call of the user's is: the lines of its frames, from the one that the server called.

    Args:
        frame: the innermost frame of its thread.
    """
    frames: list[tuple[FrameType, int]] = []
    while frame is not None and not _is_ours(frame.f_code.co_filename):
        frames.append((frame, frame.f_lineno))
        frame = frame.f_back
    return "".join(traceback.StackSummary.extract(iter(reversed(frames))).format())


def _is_ours(filename: str) -> bool:
    return filename.startswith((_PACKAGE + os.sep, "<frozen importlib"))


def model_tree(path: str, limit: int = 200, with_sizes: bool = False) -> Iterator[str]:
    """Yield the tree below a directory, a line a file, `limit` lines at the most and a last one if it was cut.

    Args:
        path: the directory.
        limit: most lines.
        with_sizes: whether files have their size in bytes behind them.
    """
    lines = _walk(os.path.normpath(path), 0, with_sizes)
    yield from itertools.islice(lines, limit)
    if next(lines, None) is not None:
        yield f"Output Truncated. First {limit} lines shown."


def _walk(path: str, depth: int, with_sizes: bool) -> Iterator[str]:
    name = " " * 4 * depth + os.path.basename(path)
    if not os.path.isdir(path):
        yield f"{name} ({os.path.getsize(path)} bytes)" if with_sizes and os.path.isfile(path) else name
        return
    yield name + os.sep
    for child in sorted(os.listdir(path)):
        yield from _walk(os.path.join(path, child), depth + 1, with_sizes)


def model_ids(model_dir: str) -> list[str]:
    """Return ``name:version`` of each model, as the folders ``name/version`` tell."""
    path = os.path.normpath(model_dir)
    if os.path.basename(path).isdigit():
        return [f"{os.path.basename(os.path.dirname(path))}:{os.path.basename(path)}"]
    found = []
    for name in sorted(os.listdir(path)):
        folder = os.path.join(path, name)
        if os.path.isdir(folder):
            found += [f"{name}:{version}" for version in sorted(os.listdir(folder)) if version.isdigit()]
    return found


def model_info(model_dir: str) -> list[str]:
    """Return the lines of AML_DBG_MODEL_INFO: model ids, then the tree with sizes in bytes."""
    lines = [f"Model ids: {', '.join(model_ids(model_dir)) or 'none'}", "Model Directory Contents:"]
    return [*lines, *model_tree(model_dir, with_sizes=True)]

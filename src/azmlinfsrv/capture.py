"""Printed output of the user's script: captured line by line, each line with the id of its request.

What is written to stdout goes to the console through the ``azmlinfsrv.print`` logger, as release 1.5.1 does with
``print()``; what is written to stderr goes there unchanged. Both go to the sinks (syslog, telemetry) as well.
Output of native code and of child processes goes to the console unchanged.

Source: `inference-server.md`, "Print Hook"; `contract.md`, "printed output".
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
import io
import logging
import sys
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, Protocol, TextIO

from azmlinfsrv import logs
from azmlinfsrv.identity import NO_REQUEST

logger = logging.getLogger("azmlinfsrv.print")

_request_id: contextvars.ContextVar[str] = contextvars.ContextVar("azmlinfsrv_request_id", default=NO_REQUEST)

enter_request = _request_id.set
"""Say whose request the calling thread or task works on; zeros outside of requests."""


def current_request() -> str:
    """Return the id of the request that the calling code works on, or zeros."""
    return _request_id.get()


_LONGEST_LINE = 64 * 1024

Carry = Callable[[], Callable[[], None]]


class Sink(Protocol):
    """Takes printed lines, on any thread; must not raise and must not print."""

    def __call__(self, stream: str, request_id: str, line: str) -> None:
        """Take one line (without its end) of ``stdout`` or ``stderr``."""


class CapturedStream(io.TextIOBase):
    """Stands in for `sys.stdout` or `sys.stderr`; what it lacks, the original stream answers.

    An unfinished line is kept for each thread and request, and let go at its end or at `drain`.
    """

    def __init__(
        self, name: str, original: TextIO, sinks: Iterable[Sink], write_line: Callable[[str], None] | None = None
    ) -> None:
        super().__init__()
        self._write_line = write_line or _log_line
        self._name = name
        self._original = original
        self._sinks = tuple(sinks)
        self._passes_on = name == "stderr" and write_line is None
        self._unfinished: dict[tuple[int, str], str] = {}
        self._busy = threading.local()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._original, name)

    @property
    def encoding(self) -> str:  # type: ignore[override]  # a plain attribute in typeshed
        """Encoding of the original stream."""
        return self._original.encoding

    @property
    def errors(self) -> str | None:  # type: ignore[override]  # a plain attribute in typeshed
        """Error handler of the original stream."""
        return self._original.errors

    @property
    def unfinished(self) -> bool:
        """Whether any thread has an unfinished line."""
        return bool(self._unfinished)

    def fileno(self) -> int:
        """Return the descriptor of the original stream."""
        return self._original.fileno()

    def isatty(self) -> bool:
        """Return whether the original stream is a terminal."""
        return self._original.isatty()

    def writable(self) -> bool:
        """Return True."""
        return True

    def write(self, text: str) -> int:
        """Take text; whole lines are passed on at once."""
        if self._passes_on:
            self._pass_on(text)
            if not self._sinks:
                return len(text)
        key = threading.get_ident(), _request_id.get()
        *lines, rest = (self._unfinished.pop(key, "") + text).split("\n")
        if len(rest) > _LONGEST_LINE:
            lines.append(rest)
        elif rest:
            self._unfinished[key] = _compact(rest)
        for line in lines:
            self._emit(key[1], line)
        return len(text)

    def flush(self) -> None:
        """Flush the original stream."""
        with contextlib.suppress(OSError):
            self._original.flush()

    def _pass_on(self, text: str) -> None:
        """Write to the original stream; that nobody reads it, or that its disk is full, is not the script's fault."""
        with contextlib.suppress(OSError):
            self._original.write(text)

    def drain(self) -> None:
        """Let the unfinished line of the calling thread and request go."""
        key = threading.get_ident(), _request_id.get()
        text = self._unfinished.pop(key, "")
        if text:
            self._emit(key[1], text)

    def _emit(self, request_id: str, line: str) -> None:
        line = _compact(line).rstrip("\r")
        if getattr(self._busy, "now", False):  # a handler of the user's printed: no line of its own
            self._pass_on(line + "\n")
            return
        self._busy.now = True
        try:
            if not self._passes_on:
                self._write_line(line)
            for sink in self._sinks:
                sink(self._name, request_id, line)
        finally:
            self._busy.now = False


def _log_line(line: str) -> None:
    logs.write(logger, logging.INFO, "%s", line)


def _compact(text: str) -> str:
    """Return what a terminal shows of a line with carriage returns, as progress bars write them."""
    if "\r" not in text:
        return text
    shown = text.rstrip("\r")
    return shown.rpartition("\r")[2] + ("\r" if len(shown) < len(text) else "")


class Capture(NamedTuple):
    """The capture in force.

    Attributes:
        drain: lets the calling thread's unfinished lines go; cheap where there are none.
        undo: ends the capture.
    """

    drain: Callable[[], None]
    undo: Callable[[], None]


def install(
    sinks: Iterable[Sink] = (), carry: Carry | None = None, stderr_line: Callable[[str], None] | None = None
) -> Capture:
    """Capture what is printed from now on; threads carry the request id of the code that started them.

    Args:
        sinks: take each line.
        carry: called where a thread is started or work is given to one; what it returns is called there.
        stderr_line: writes a line of stderr to the console, in place of passing on what is written.
    """
    before = sys.stdout, sys.stderr
    start, submit = threading.Thread.start, ThreadPoolExecutor.submit
    sinks = tuple(sinks)
    out, err = CapturedStream("stdout", sys.stdout, sinks), CapturedStream("stderr", sys.stderr, sinks, stderr_line)
    sys.stdout, sys.stderr = out, err

    def drain() -> None:
        if out.unfinished or err.unfinished:
            out.drain()
            err.drain()

    threading.Thread.start = _start_in_context(start, drain, carry)  # type: ignore[method-assign, assignment]
    ThreadPoolExecutor.submit = _submit_in_context(submit, drain, carry)  # type: ignore[method-assign]

    def undo() -> None:
        drain()
        sys.stdout, sys.stderr = before
        threading.Thread.start = start  # type: ignore[method-assign]
        ThreadPoolExecutor.submit = submit  # type: ignore[method-assign]

    return Capture(drain, undo)


def _start_in_context(
    start: Callable[[threading.Thread], None], drain: Callable[[], None], carry: Carry | None
) -> Callable[[threading.Thread], None]:
    @functools.wraps(start)
    def start_in_context(thread: threading.Thread) -> None:
        request_id, run = _request_id.get(), thread.run
        carried = carry() if carry is not None else None

        def run_in_context() -> None:
            _request_id.set(request_id)
            if carried is not None:
                carried()
            try:
                run()
            finally:
                drain()

        thread.run = run_in_context  # type: ignore[method-assign]
        start(thread)

    return start_in_context


def _submit_in_context(
    submit: Callable[..., Any], drain: Callable[[], None], carry: Carry | None
) -> Callable[..., Any]:
    @functools.wraps(submit)
    def submit_in_context(pool: ThreadPoolExecutor, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        request_id = _request_id.get()
        carried = carry() if carry is not None else None

        def call_in_context(*args: Any, **kwargs: Any) -> Any:
            token = _request_id.set(request_id)
            if carried is not None:
                carried()
            try:
                return function(*args, **kwargs)
            finally:
                drain()
                _request_id.reset(token)

        return submit(pool, call_in_context, *args, **kwargs)

    return submit_in_context

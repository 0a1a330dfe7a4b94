"""Printed output: line by line, with the id of its request, to the console and to the sinks."""

from __future__ import annotations

import asyncio
import builtins
import contextlib
import contextvars
import io
import logging
import logging.handlers
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from azmlinfsrv import capture
from azmlinfsrv.capture import Capture, CapturedStream, current_request, enter_request
from azmlinfsrv.identity import NO_REQUEST

WAIT_S = 10
say = builtins.print
"""What a script calls."""


class Console(io.TextIOWrapper):
    """A stream like `sys.stdout`, whose text can be read."""

    def __init__(self) -> None:
        self.bytes = io.BytesIO()
        super().__init__(self.bytes, encoding="latin-1", errors="backslashreplace", write_through=True)

    @property
    def text(self) -> str:
        """All that was written."""
        return self.bytes.getvalue().decode("latin-1")


class Printed(logging.Handler):
    """What became of printed output.

    Attributes:
        out: the original stdout.
        err: the original stderr.
        logged: lines that the console gets through the logger.
        lines: stream, request id and text of each line that the sink got.
        on_line: called by the logger's handler with each line.
    """

    def __init__(self) -> None:
        super().__init__()
        self.out, self.err = Console(), Console()
        self.logged: list[str] = []
        self.lines: list[tuple[str, str, str]] = []
        self.on_line: Callable[[str], object] = lambda _: None
        self.capture: Capture

    def emit(self, record: logging.LogRecord) -> None:
        """Take a line from the logger."""
        self.logged.append(record.getMessage())
        self.on_line(record.getMessage())

    def sink(self, stream: str, request_id: str, line: str) -> None:
        """Take a line as a sink does."""
        self.lines.append((stream, request_id, line))

    @property
    def texts(self) -> list[str]:
        """The lines that the sink got, without stream and id."""
        return [line for _, _, line in self.lines]


@contextlib.contextmanager
def streams() -> Iterator[Printed]:
    """Put streams and a handler of the test's own in place; nothing is captured yet.

    Not a fixture: pytest puts its own streams back between the set-up and the test.
    """
    logger = logging.getLogger("azmlinfsrv.print")
    printed = Printed()
    before = sys.stdout, sys.stderr, logger.level, logger.propagate
    logger.addHandler(printed)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    sys.stdout, sys.stderr = printed.out, printed.err
    try:
        yield printed
    finally:
        enter_request(NO_REQUEST)
        logger.removeHandler(printed)
        sys.stdout, sys.stderr, level, logger.propagate = before
        logger.setLevel(level)


@contextlib.contextmanager
def capturing() -> Iterator[Printed]:
    """Capture what is printed in the block, with a sink."""
    with streams() as printed:
        printed.capture = capture.install([printed.sink])
        try:
            yield printed
        finally:
            printed.capture.undo()


def in_thread(target: Callable[[], object]) -> None:
    """Call a function in a thread of its own, and wait for its end."""
    thread = threading.Thread(target=target)
    thread.start()
    thread.join(WAIT_S)
    assert not thread.is_alive()


# -- Lines -----------------------------------------------------------------------------------------------------------


def test_each_line_is_taken_by_itself() -> None:
    """One call of print may make several lines, and several writes one line."""
    with capturing() as printed:
        say("one\ntwo")
        say("thr", end="")
        say("ee")
        sys.stdout.writelines(["fo", "ur\nfi", "ve\n"])
        assert printed.texts == printed.logged == ["one", "two", "three", "four", "five"]


def test_empty_lines_are_lines() -> None:
    """A blank line is not swallowed."""
    with capturing() as printed:
        say()
        say("\n")
        assert printed.texts == ["", "", ""]


def test_write_says_how_much_it_took() -> None:
    """Both streams return the number of characters, as text streams do."""
    with capturing():
        assert (sys.stdout.write("abc"), sys.stderr.write("defg\n")) == (3, 5)


def test_only_text_can_be_written() -> None:
    """Bytes are refused as any text stream refuses them."""
    with capturing(), pytest.raises(TypeError):
        sys.stdout.write(b"abc")  # type: ignore[arg-type]  # what is refused


def test_an_unfinished_line_waits() -> None:
    """A line without an end is kept, flushed or not, and let go at the end of the request."""
    with capturing() as printed:
        say("half", end="", flush=True)
        assert printed.texts == []
        printed.capture.drain()
        printed.capture.drain()
        assert printed.texts == printed.logged == ["half"]
        say("whole")
        assert printed.texts == ["half", "whole"]


def test_unfinished_lines_of_both_streams_go() -> None:
    """`drain` lets the unfinished lines of stdout and stderr go, each as its own."""
    with capturing() as printed:
        sys.stdout.write("out")
        sys.stderr.write("err")
        printed.capture.drain()
        assert printed.lines == [("stdout", NO_REQUEST, "out"), ("stderr", NO_REQUEST, "err")]


def test_unfinished_lines_of_two_threads_are_two() -> None:
    """A line that one thread has begun is not continued by another."""
    with capturing() as printed:
        sys.stdout.write("mine ")
        in_thread(lambda: say("theirs"))
        say("ends")
        assert printed.texts == ["theirs", "mine ends"]


def test_draining_one_thread_does_not_forget_another() -> None:
    """Each thread's unfinished line goes at that thread's `drain`, though another thread has drained meanwhile."""
    with capturing() as printed:
        written, drained = threading.Event(), threading.Event()

        def score() -> None:
            enter_request("other")
            sys.stdout.write("half of other")
            written.set()
            assert drained.wait(WAIT_S)
            printed.capture.drain()

        thread = threading.Thread(target=score)
        thread.start()
        assert written.wait(WAIT_S)
        printed.capture.drain()
        drained.set()
        thread.join(WAIT_S)
        assert printed.lines == [("stdout", "other", "half of other")]


def test_the_last_words_of_a_thread_are_not_lost() -> None:
    """What a thread of the script's prints without a line end appears by the end of the request."""
    with capturing() as printed:
        enter_request("r")
        in_thread(lambda: sys.stdout.write("last words"))
        printed.capture.drain()
        assert printed.lines == [("stdout", "r", "last words")]


def test_the_last_words_of_a_pool_are_not_lost() -> None:
    """What the work of a thread pool prints without a line end appears at the end of that work."""
    with capturing() as printed, ThreadPoolExecutor(1) as pool:
        for name in ("one", "two"):
            enter_request(name)
            pool.submit(sys.stdout.write, f"words of {name}").result(WAIT_S)
            pool.submit(int).result(WAIT_S)
        assert printed.lines == [("stdout", "one", "words of one"), ("stdout", "two", "words of two")]


def test_an_endless_line_is_not_kept_for_ever() -> None:
    """Output without line ends is let go in pieces, and none of it is lost."""
    with capturing() as printed:
        text = "x" * 300_000
        for start in range(0, len(text), 1000):
            sys.stdout.write(text[start : start + 1000])
        assert printed.texts
        printed.capture.drain()
        assert "".join(printed.texts) == text


@pytest.mark.parametrize(
    ("writes", "lines"),
    [
        (["10%\r20%\r30%\n"], ["30%"]),
        (["\r10%", "\r20%", "\r30%", "\n"], ["30%"]),
        (["dos\r\n", "unix\n"], ["dos", "unix"]),
        (["dos\r", "\n"], ["dos"]),
        (["done\r\n\r\n"], ["done", ""]),
        (["10%", "\r", "100%", "\r", "\n"], ["100%"]),
        (["10%\r", "100%\r", "\nnext\n"], ["100%", "next"]),
    ],
    ids=["at-once", "leading", "dos", "dos-in-two", "dos-empty", "print-end", "trailing"],
)
def test_progress_bars_show_their_last_state(writes: list[str], lines: list[str]) -> None:
    """Of a line with carriage returns, what a terminal shows in the end is one line."""
    with capturing() as printed:
        for text in writes:
            sys.stdout.write(text)
        assert printed.texts == lines


def test_a_progress_bar_without_an_end_is_seen() -> None:
    """The state of a bar that ends in a carriage return appears at the end of the request."""
    with capturing() as printed:
        say("99%", end="\r")
        printed.capture.drain()
        assert printed.texts == ["99%"]


# -- Where lines go --------------------------------------------------------------------------------------------------


def test_stdout_goes_to_the_console_through_the_logger() -> None:
    """The console's line of what is printed is the logger's, without the id, and nothing else is written there."""
    with capturing() as printed:
        enter_request("r")
        say("hello %s {}")
        assert printed.logged == ["hello %s {}"]
        assert printed.out.text == ""


def test_stderr_is_unchanged() -> None:
    """What is written to stderr is there at once and to the letter; the sinks get its lines."""
    with capturing() as printed:
        enter_request("r")
        sys.stderr.write("a\r50%")
        assert printed.err.text == "a\r50%"
        sys.stderr.write(" b\nc\n")
        assert printed.err.text == "a\r50% b\nc\n"
        assert printed.lines == [("stderr", "r", "50% b"), ("stderr", "r", "c")]
        assert printed.logged == []


def test_without_sinks_stderr_keeps_nothing() -> None:
    """Where nobody else takes stderr, it is passed on and not kept."""
    with streams() as stage:
        captured = capture.install()
        try:
            sys.stderr.write("half")
            captured.drain()
            assert stage.err.text == "half"
        finally:
            captured.undo()
        assert stage.err.text == "half"


def test_every_sink_gets_every_line() -> None:
    """Syslog and telemetry may listen at the same time."""
    with streams() as stage:
        others: list[str] = []
        captured = capture.install(iter([stage.sink, lambda stream, request_id, line: others.append(line)]))
        try:
            say("out")
            say("err", file=sys.stderr)
        finally:
            captured.undo()
        assert stage.texts == others == ["out", "err"]


def test_a_handler_that_prints_does_not_go_round() -> None:
    """A logging handler of the user's that prints gets its text to the console, and no endless loop."""
    with capturing() as printed:
        printed.on_line = lambda line: say(f"[{line}]")
        say("hello")
        assert printed.texts == ["hello"]
        assert printed.out.text == "[hello]\n"


def test_a_sink_that_fails_does_not_stay_busy() -> None:
    """After an error on the way, the next line takes the usual way again."""
    with streams() as stage:

        def broken(stream: str, request_id: str, line: str) -> None:
            if line == "bad":
                raise RuntimeError(stream, request_id)

        captured = capture.install([broken])
        try:
            with pytest.raises(RuntimeError):
                say("bad")
            say("good")
        finally:
            captured.undo()
        assert stage.logged == ["bad", "good"]
        assert "good" not in stage.out.text


def test_the_streams_are_like_the_originals() -> None:
    """Encoding, error handler, terminal and binary side are those of the original streams."""
    with capturing() as printed:
        assert (sys.stdout.encoding, sys.stdout.errors) == ("latin-1", "backslashreplace")
        assert sys.stdout.writable() and not sys.stdout.readable() and not sys.stdout.isatty()
        assert sys.stdout.buffer is printed.out.buffer
        sys.stdout.buffer.write(b"raw\n")
        sys.stdout.flush()
        assert printed.out.text == "raw\n"
        assert printed.texts == []


def test_the_descriptor_is_the_original_one(tmp_path: Path) -> None:
    """Child processes that inherit the stream write where the original writes."""
    with streams(), (tmp_path / "out").open("w") as file:
        sys.stdout = file
        captured = capture.install()
        try:
            assert sys.stdout.fileno() == file.fileno()
        finally:
            captured.undo()


def test_scripts_may_reconfigure_the_streams() -> None:
    """`sys.stdout.reconfigure(…)`, as scripts call it at import, works as it does on the original stream."""
    with capturing() as printed:
        reconfigure: Any = getattr(sys.stdout, "reconfigure", None)
        assert reconfigure is not None
        reconfigure(encoding="utf-8", line_buffering=True)
        assert (printed.out.encoding, sys.stdout.encoding) == ("utf-8", "utf-8")


# -- Whose line it is ------------------------------------------------------------------------------------------------


def test_zeros_until_a_request() -> None:
    """Lines of import and `init()` carry zeros, lines of `run()` the id of their request."""
    with capturing() as printed:
        say("init")
        enter_request("one")
        say("run")
        enter_request("two")
        say("run")
        assert [(request_id, line) for _, request_id, line in printed.lines] == [
            (NO_REQUEST, "init"),
            ("one", "run"),
            ("two", "run"),
        ]


def test_a_line_is_that_of_its_end() -> None:
    """A request that was drained leaves nothing to the next one."""
    with capturing() as printed:
        enter_request("one")
        sys.stdout.write("half")
        printed.capture.drain()
        enter_request("two")
        say("whole")
        assert printed.lines == [("stdout", "one", "half"), ("stdout", "two", "whole")]


class OwnThread(threading.Thread):
    """A thread with a `run` of its own."""

    def run(self) -> None:
        """Print."""
        say("own")


@pytest.mark.parametrize(
    "make",
    [lambda: threading.Thread(target=say, args=("plain",)), OwnThread, lambda: threading.Timer(0, lambda: say("late"))],
    ids=["target", "subclass", "timer"],
)
def test_threads_carry_the_id(make: Callable[[], threading.Thread]) -> None:
    """What a thread prints has the id of the request that started it."""
    with capturing() as printed:
        enter_request("r")
        thread = make()
        thread.start()
        thread.join(WAIT_S)
        ((_, request_id, _),) = printed.lines
        assert request_id == "r"


def test_threads_of_threads_carry_the_id() -> None:
    """The id goes on to threads that a thread starts."""
    with capturing() as printed:
        enter_request("r")
        in_thread(lambda: in_thread(lambda: say("deep")))
        assert printed.lines == [("stdout", "r", "deep")]


def test_a_thread_of_init_has_zeros() -> None:
    """A thread that `init()` has started belongs to no request, whatever is scored meanwhile."""
    with capturing() as printed:
        go = threading.Event()
        thread = threading.Thread(target=lambda: go.wait(WAIT_S) and say("background"))
        thread.start()
        enter_request("r")
        go.set()
        thread.join(WAIT_S)
        assert printed.lines == [("stdout", NO_REQUEST, "background")]


def test_a_pool_of_init_works_for_requests() -> None:
    """What a thread pool does for a request has the id of that request, though its threads are older."""
    with capturing() as printed:
        with ThreadPoolExecutor(1) as pool:
            pool.submit(say, "init").result(WAIT_S)
            for request_id in ("one", "two"):
                enter_request(request_id)
                pool.submit(say, "submitted").result(WAIT_S)
                list(pool.map(say, ["mapped"], timeout=WAIT_S))
            enter_request(NO_REQUEST)
            pool.submit(say, "idle").result(WAIT_S)
        assert [(request_id, line) for _, request_id, line in printed.lines] == [
            (NO_REQUEST, "init"),
            ("one", "submitted"),
            ("one", "mapped"),
            ("two", "submitted"),
            ("two", "mapped"),
            (NO_REQUEST, "idle"),
        ]


def test_a_pool_passes_everything_on() -> None:
    """Arguments, results and errors go through a pool as they do without the capture."""
    with capturing():

        def function(*args: object, **kwargs: object) -> object:
            return args, kwargs

        with ThreadPoolExecutor(1) as pool:
            result = pool.submit(function, 1, 2, function=3, pool=4, args=5).result(WAIT_S)
            failed = pool.submit(int, "x").exception(WAIT_S)
        assert result == ((1, 2), {"function": 3, "pool": 4, "args": 5})
        assert isinstance(failed, ValueError)


def test_tasks_have_ids_of_their_own() -> None:
    """Two requests at a time in one asyncio loop print under their own ids, in threads they wait for too."""
    with capturing() as printed:

        async def request(name: str, mine: asyncio.Event, other: asyncio.Event) -> None:
            enter_request(name)
            say("start")
            mine.set()
            await other.wait()
            say("end")
            await asyncio.to_thread(say, "thread")

        async def both() -> None:
            one, two = asyncio.Event(), asyncio.Event()
            await asyncio.gather(request("one", one, two), request("two", two, one))

        asyncio.run(both())
        for name in ("one", "two"):
            assert [line for _, request_id, line in printed.lines if request_id == name] == ["start", "end", "thread"]


def test_unfinished_lines_of_two_tasks_are_two() -> None:
    """A line that one request has begun is not continued by another in the same asyncio loop."""
    with capturing() as printed:

        async def request(name: str, mine: asyncio.Event, other: asyncio.Event) -> None:
            enter_request(name)
            sys.stdout.write(f"{name} begins ")
            mine.set()
            await other.wait()
            say(f"{name} ends")

        async def both() -> None:
            one, two = asyncio.Event(), asyncio.Event()
            await asyncio.gather(request("one", one, two), request("two", two, one))

        asyncio.run(both())
        assert sorted(printed.lines) == [
            ("stdout", "one", "one begins one ends"),
            ("stdout", "two", "two begins two ends"),
        ]


def test_many_threads_at_once() -> None:
    """Lines of threads that print at the same time arrive whole, each with its id."""
    with capturing() as printed:
        start = threading.Barrier(4)

        def work(name: str) -> None:
            enter_request(name)
            start.wait(WAIT_S)
            for number in range(300):
                say(name, number, sep="-")

        threads = [threading.Thread(target=work, args=(name,)) for name in "abcd"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(WAIT_S)
        for name in "abcd":
            expected = [("stdout", name, f"{name}-{number}") for number in range(300)]
            assert [line for line in printed.lines if line[1] == name] == expected
        assert len(printed.lines) == 1200


def test_the_current_request() -> None:
    """Code that works on a request can ask for its id."""

    def ask() -> tuple[str, str]:
        before = current_request()
        enter_request("r")
        return before, current_request()

    assert contextvars.Context().run(ask) == (NO_REQUEST, "r")


# -- Undoing ---------------------------------------------------------------------------------------------------------


def test_undo_restores_everything() -> None:
    """After the undo, streams, threads and pools are what they were, and unfinished lines have gone."""
    with streams() as stage:
        before = sys.stdout, sys.stderr, threading.Thread.start, ThreadPoolExecutor.submit
        captured = capture.install([stage.sink])
        assert not set(map(id, before)) & {id(sys.stdout), id(sys.stderr), id(threading.Thread.start)}
        sys.stdout.write("half")
        captured.undo()
        assert stage.texts == ["half"]
        assert (sys.stdout, sys.stderr, threading.Thread.start, ThreadPoolExecutor.submit) == before
        say("free")
        assert stage.out.text == "free\n"
        assert stage.texts == ["half"]


def test_captures_can_be_nested() -> None:
    """A second capture undone leaves the first in force."""
    with streams() as stage:
        first = capture.install([stage.sink])
        second = capture.install()
        second.undo()
        enter_request("r")
        in_thread(lambda: say("inner"))
        first.undo()
        assert stage.lines == [("stdout", "r", "inner")]


class Gone(io.StringIO):
    """A console that nobody reads any more."""

    def write(self, _: str) -> int:
        """Fail, as a pipe does."""
        raise BrokenPipeError

    def flush(self) -> None:
        """Fail, as a pipe does."""
        raise BrokenPipeError


@pytest.mark.parametrize("name", ["stdout", "stderr"])
def test_a_console_that_is_gone_fails_no_script(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a script prints where nobody reads it is lost, without an error; sinks still get it."""
    taken: list[str] = []
    monkeypatch.setattr(logging.getLogger("azmlinfsrv.print"), "handlers", [])
    stream = CapturedStream(name, Gone(), [lambda _, __, line: taken.append(line)])
    assert stream.write("a line\n") == 7
    stream.flush()
    assert taken == ["a line"]

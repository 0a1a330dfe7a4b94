"""One server of a case: laid out, started, asked, stopped, with all that it wrote and returned."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.ports import ReservedPort

from .cases import Request, ServerBlock
from .client import Answer, exchange, get
from .logs import LogFile, without_lines

if TYPE_CHECKING:
    from typing_extensions import Self

READY_S = 40.0
POLL_S = 0.02
STOP_S = 20.0
LINE_S = 20.0
FENCE = "/-fence-"
READY_LINE = r"ready for serving traffic.*\n"  # may be written after the first answer, by another thread or worker


@dataclass(frozen=True)
class Exchange:
    """What one request brought about: the answer, and the text written because of it."""

    request: Request | None = None
    answer: Answer = field(default_factory=Answer)
    stdout: str = ""
    stderr: str = ""


@dataclass
class Observation:
    """Everything one side showed for one server block.

    `state` tells how the start went: "ready", "stopped" (ended by itself) or "silent" (neither in time).
    `saw` is what the script wrote down of its surroundings, keyed by name.
    """

    root: Path
    ports: tuple[int, int]
    state: str = ""
    exit: str = ""
    start: Exchange = field(default_factory=Exchange)
    stop: Exchange = field(default_factory=Exchange)
    exchanges: dict[str, Exchange] = field(default_factory=dict)
    saw: dict[str, Any] = field(default_factory=dict)


class ServerProcess:
    """A server under observation. Use it as a context manager: whatever happens, the process ends.

    Args:
        command: Command that starts it, without the arguments of the block.
        block: What to lay out, start and ask.
        root: Folder to lay out in.
        ports: Serving port and health port, which stay reserved as long as the server runs.
    """

    def __init__(
        self, command: list[str], block: ServerBlock, root: Path, ports: tuple[ReservedPort, ReservedPort]
    ) -> None:
        self.block = block
        self.seen = Observation(root, (ports[0].number, ports[1].number))
        self._names = {
            "{port}": str(self.seen.ports[0]),
            "{health_port}": str(self.seen.ports[1]),
            "{root}": str(root),
            "{app}": str(root / "app"),
        }
        self._lay_out()
        self._stdout, self._stderr = LogFile(root / "stdout"), LogFile(root / "stderr")
        self._fenced = block.fenced
        if block.occupied:
            ports[0].occupy()
        with self._stdout.path.open("wb") as out, self._stderr.path.open("wb") as err:
            self._process = subprocess.Popen(
                [*command, *(self._fill(arg) for arg in block.args)],
                cwd=root / self._fill(block.cwd),
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )

    def __enter__(self) -> Self:
        """Give the process."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the process, with its workers, if it is still there."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def run(self) -> Observation:
        """Start, ask everything, stop.

        Raises:
            TimeoutError: Lines that were to tell the start or the requests apart were not written.
        """
        self.seen.state = self._await_start()
        if self.seen.state == "ready":
            self._await_line(rf"({READY_LINE}[\s\S]*){{{self.block.workers}}}")
            self._fence("start")
        self.seen.start = self._taken("start")
        if self.seen.state == "ready":
            for number, request in enumerate(self.block.requests):
                self.seen.exchanges[request.id] = self._ask(request, f"{number}-")
        self.seen.exit = self._stop()
        self.seen.stop = self._taken("")
        self.seen.saw = self._saw()
        return self.seen

    def _fill(self, text: str) -> str:
        for name, value in self._names.items():
            text = text.replace(name, value)
        return text

    def _lay_out(self) -> None:
        for folder in ("app", "home", "tmp"):
            (self.seen.root / folder).mkdir(parents=True, exist_ok=True)
        for name, content in self.block.files.items():
            path = self.seen.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if not name.endswith("/"):
                path.write_bytes(
                    self._fill(content.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")
                )
            else:
                path.mkdir(exist_ok=True)

    def _environment(self) -> dict[str, str]:
        base = {
            "PATH": os.defpath,
            "HOME": str(self.seen.root / "home"),
            "TMPDIR": str(self.seen.root / "tmp"),
            "LANG": "C.UTF-8",
            "TZ": "XXX-9",
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONUNBUFFERED": "1",  # otherwise the release forks with the banner unwritten and shows it twice
        }
        return base | {name: self._fill(value) for name, value in self.block.env.items()}

    def _gone(self) -> bool:
        return self._process.poll() is not None

    def _await_start(self) -> str:
        deadline = time.monotonic() + READY_S
        while time.monotonic() < deadline:
            if self._gone():
                return "stopped"
            if not self.block.occupied and self._healthy():
                return "ready"
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(POLL_S)
        return "silent"

    def _healthy(self) -> bool:
        try:
            return get("/", self.seen.ports[0]).status == 200
        except OSError:
            return False

    def _ask(self, request: Request, name: str) -> Exchange:
        try:
            answer = exchange(request, self.seen.ports[0])
        except OSError as error:
            answer = Answer(fault=f"no connection: {type(error).__name__}")
        self._fence(name)
        text = self._taken(name)
        return Exchange(request, answer, text.stdout, text.stderr)

    def _fence(self, name: str) -> None:
        """Ask for a path that is not there and wait until its access line is written: all before it came before."""
        if not self._fenced:
            return
        try:
            get(FENCE + name, self.seen.ports[0])
        except OSError:
            return
        self._await_line(f"{FENCE}{name}.*\n")

    def _await_line(self, pattern: str) -> None:
        if not self._stdout.wait_for(pattern, LINE_S, self._gone):
            self._fenced = False
            if not self._gone():
                raise TimeoutError(f"{self.block.id}: nothing on standard output matches {pattern!r}")

    def _taken(self, name: str) -> Exchange:
        if not self._fenced and name:
            return Exchange()
        out, err = self._stdout.take(), self._stderr.take()
        return Exchange(stdout=without_lines(out, FENCE), stderr=without_lines(err, FENCE))

    def _stop(self) -> str:
        if not self._gone():
            self._process.send_signal(signal.SIGTERM)
        try:
            return str(self._process.wait(STOP_S))
        except subprocess.TimeoutExpired:
            return "did not stop"

    def _saw(self) -> dict[str, Any]:
        path = self.seen.root / "app" / self.block.seen
        if not self.block.seen or not path.is_file():
            return {}
        content = json.loads(path.read_text("utf-8"))
        return content if isinstance(content, dict) else {"value": content}

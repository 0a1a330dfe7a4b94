"""Fakes at the seams of the HTTP layer: a transport, a clock, and a script that answers when the test says so."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import h11

from azmlinfsrv.access import Access
from azmlinfsrv.access_log import RequestLog
from azmlinfsrv.app import Application
from azmlinfsrv.cors import Cors
from azmlinfsrv.logs import LineClock
from azmlinfsrv.messages import Request, Response
from azmlinfsrv.protocol import Connections, HttpProtocol
from azmlinfsrv.routes import Health, routes
from azmlinfsrv.schema import Swagger
from azmlinfsrv.settings import Settings
from azmlinfsrv.wire import Limits

CLIENT = ("192.0.2.1", 49152)
SERVER = ("192.0.2.2", 5001)
LIMITS = Limits(
    body_bytes=1_000_000,
    header_bytes=4096,
    header_s=10.0,
    body_s=20.0,
    request_s=100.0,
    keep_alive_s=60.0,
    write_s=30.0,
)
_SCRIPTS = Path(__file__).parent / "scripts"


def request(method: str = "GET", target: str = "/score", body: bytes = b"", /, **headers: str) -> Request:
    """Return a request; an underscore in the name of a header stands for a hyphen."""
    path, _, query = target.partition("?")
    fields = {name.lower().replace("_", "-").encode(): value.encode("latin-1") for name, value in headers.items()}
    return Request(method, target.encode(), path, query.encode(), fields, body, "1.1", CLIENT, 0.0, server=SERVER)


def headers_of(response: Response) -> dict[str, str]:
    """Return the header fields of a response that stand once, names in lower case."""
    names = [name.lower() for name, _ in response.headers]
    return {name.lower(): value for name, value in response.headers if names.count(name.lower()) == 1}


class RecordedReply:
    """A `Reply` that keeps what it is told."""

    def __init__(self) -> None:
        self.responses: list[Response] = []

    @property
    def response(self) -> Response:
        """The one answer."""
        assert len(self.responses) == 1
        return self.responses[0]

    def send(self, response: Response) -> None:
        """Keep a response."""
        self.responses.append(response)

    def write(self, chunk: bytes, gate: object) -> None:
        """Refuse: nothing here streams."""
        raise AssertionError

    def end(self) -> None:
        """Refuse: nothing here streams."""
        raise AssertionError

    def abort(self) -> None:
        """Refuse: nothing here streams."""
        raise AssertionError


class RecordedLog(RequestLog):
    """A `RequestLog` that keeps the facts of its lines.

    Attributes:
        server: path, status and length of the server's own lines.
        access: target, status and number of body bytes of the access lines.
    """

    def __init__(self) -> None:
        super().__init__(LineClock(), None)
        self.server: list[tuple[str, int, int]] = []
        self.access: list[tuple[str, int, int]] = []

    def server_line(self, request: Request, response: Response, duration_ms: float) -> None:
        """Keep it."""
        assert duration_ms >= 0
        self.server.append((request.path, response.status, len(response.body)))

    def access_line(self, request: Request, status: int, length: int) -> None:
        """Keep it."""
        self.access.append((request.target.decode("latin-1"), status, length))


class FakeScript:
    """Takes the requests to ``/score`` and answers them when the test says so.

    Attributes:
        submitted: requests that wait for their answer, oldest first.
    """

    def __init__(self) -> None:
        self.submitted: list[tuple[Request, Callable[[Request, Response], None]]] = []

    def submit(self, request: Request, done: Callable[[Request, Response], None]) -> None:
        """Take a request."""
        self.submitted.append((request, done))

    @property
    def targets(self) -> list[str]:
        """Targets of the requests that wait."""
        return [request.target.decode() for request, _ in self.submitted]

    def answer(self, response: Response | None = None) -> Request:
        """Answer the oldest request, with its own body unless told otherwise; returns the request."""
        request, done = self.submitted.pop(0)
        done(request, Response(200, bytes(request.body)) if response is None else response)
        return request


class FakeClock:
    """A clock that the test moves.

    Attributes:
        now: the time, in seconds.
    """

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


class FakeTransport(asyncio.Transport):
    """A transport that keeps what is written and refuses what a real one would.

    Attributes:
        written: every byte written.
        pieces: number of calls of `write`.
        unsent: number of written bytes that the client has not taken.
    """

    def __init__(self) -> None:
        super().__init__({"peername": CLIENT, "sockname": SERVER})
        self.written = bytearray()
        self.pieces = 0
        self.unsent = 0
        self._reading = True
        self._protocol = asyncio.BaseProtocol()
        self._eof = self._closed = self._aborted = False

    def has_ended(self) -> bool:
        """Return whether the writing side has been ended."""
        return self._eof

    def is_aborted(self) -> bool:
        """Return whether it was closed and what was left dropped."""
        return self._aborted

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Return who is told what arrives."""
        return self._protocol

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Tell another from now on; only while it does not read, as uvloop wants it."""
        assert type(self._protocol) is asyncio.BaseProtocol or not self._reading, "uvloop would go on as before"
        self._protocol = protocol

    def deliver(self, data: bytes) -> None:
        """Tell of data that arrives; what is read into a buffer ends with it, as with uvloop."""
        while data:
            assert self._reading, "data arrives although reading is paused"
            reader: Any = self._protocol
            if not isinstance(reader, asyncio.BufferedProtocol):
                reader.data_received(data)
                return
            buffer: Any = reader.get_buffer(len(data))
            piece, data = data[: len(buffer)], data[len(buffer) :]
            buffer[: len(piece)] = piece
            reader.buffer_updated(len(piece))

    def is_reading(self) -> bool:
        """Return whether data may arrive."""
        return self._reading

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        """Keep the data."""
        assert not self._eof, "written after the end"
        self.pieces += 1
        self.written += data

    def can_write_eof(self) -> bool:
        """Return True, as TCP transports do."""
        return True

    def write_eof(self) -> None:
        """End the writing side."""
        self._eof = True

    def get_write_buffer_size(self) -> int:
        """Return what the client has not taken."""
        return self.unsent

    def pause_reading(self) -> None:
        """Stop reading."""
        self._reading = False

    def resume_reading(self) -> None:
        """Read again."""
        self._reading = True

    def is_closing(self) -> bool:
        """Return whether it is closed."""
        return self._closed

    def close(self) -> None:
        """Close after what was written."""
        self._eof = self._closed = True

    def abort(self) -> None:
        """Close at once."""
        self._eof = self._closed = self._aborted = True


@dataclass
class Answer:
    """One answer as a client reads it.

    Attributes:
        status: status code.
        headers: fields in order, names in lower case.
        body: content.
    """

    status: int
    headers: list[tuple[str, str]]
    body: bytes = b""

    def values(self, name: str) -> list[str]:
        """Return the values of the fields of this name."""
        return [value for key, value in self.headers if key == name]


def read_answers(written: bytes, *methods: str, ended: bool = False) -> list[Answer]:
    """Return the answers to requests with these methods, as h11 reads them; an interim answer is one of them.

    Args:
        written: bytes of the server, nothing more than these answers.
        *methods: methods of the requests, in order.
        ended: whether the server has ended its side.

    Raises:
        AssertionError: an answer is not whole, or bytes are left.
        h11.RemoteProtocolError: the bytes are no HTTP/1.1.
    """
    answers: list[Answer] = []
    for method in methods:
        client = h11.Connection(h11.CLIENT)
        client.send(h11.Request(method=method, target="/", headers=[("Host", "t")]))
        client.send(h11.EndOfMessage())
        client.receive_data(written)
        if ended:
            client.receive_data(b"")
        while not isinstance(event := client.next_event(), h11.EndOfMessage):
            assert event is not h11.NEED_DATA, f"not whole: {written[:500]!r}"
            if isinstance(event, h11.Data):
                answers[-1].body += event.data
            else:
                assert isinstance(event, (h11.Response, h11.InformationalResponse))
                headers = [(name.decode(), value.decode("latin-1")) for name, value in event.headers]
                answers.append(Answer(event.status_code, headers))
        written = client.trailing_data[0]
    assert not written, f"bytes that answer no request: {written[:500]!r}"
    return answers


def make_app(
    script: FakeScript, log: RequestLog, cors: Cors | None = None, access: Access | None = None
) -> Application:
    """Return an application of the real routes, whose ``/score`` is the fake script's."""
    health = Health()
    table = routes(health, Swagger(Settings(), _run))
    return Application(table, health, script.submit, cors, "", log, access=access)


def _run(data: str) -> str:
    return data


class FakeConnection:
    """One connection to the protocol class, its transport, clock and script all fakes.

    Attributes:
        clock: the clock of the timeouts.
        script: what answers ``/score``.
        log: the lines logged.
        shared: what connections share.
        transport: the transport.
        protocol: the connection under test.
    """

    def __init__(self, limits: Limits = LIMITS, behind_nginx: bool = False, access: Access | None = None) -> None:
        self.clock = FakeClock()
        self.script = FakeScript()
        self.log = RecordedLog()
        app = make_app(self.script, self.log, access=access)
        self.shared = Connections(app, limits, LineClock(lambda: 0.0), self.clock, behind_nginx=behind_nginx)
        self.transport = FakeTransport()
        self.protocol: HttpProtocol = self.shared()
        self.transport.set_protocol(self.protocol)
        self.protocol.connection_made(self.transport)

    @property
    def reader(self) -> Any:
        """Who is told what happens: the connection, or who has its place."""
        return self.transport.get_protocol()

    def receive(self, data: bytes) -> None:
        """Have data arrive, as far as the connection reads; what is read into a buffer ends with it."""
        self.transport.deliver(data)

    def half_close(self) -> None:
        """Have the client end its side; a transport closes then unless it is told to stay open."""
        if not self.reader.eof_received():
            self.transport.close()

    def lose(self) -> None:
        """Have the connection break."""
        self.transport.close()
        self.reader.connection_lost(None)

    def pass_time(self, seconds: float) -> None:
        """Let time pass, and the timeouts be checked at its end."""
        self.clock.now += seconds
        self.shared.check_timeouts()

    def answers(self, *methods: str) -> list[Answer]:
        """Return the answers to requests with these methods, and forget their bytes."""
        written = bytes(self.transport.written)
        self.transport.written.clear()
        return read_answers(written, *methods, ended=self.transport.has_ended())


def load_module(name: str) -> ModuleType:
    """Return a scoring script of `scripts`, freshly imported."""
    spec = importlib.util.spec_from_file_location(name, _SCRIPTS / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class _ListHandler(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


@contextlib.contextmanager
def logged(name: str, level: int = logging.INFO) -> Iterator[list[str]]:
    """Collect the messages of a logger, however logging is set up."""
    logger, handler = logging.getLogger(name), _ListHandler()
    before = logger.level, logger.disabled
    logger.addHandler(handler)
    logger.setLevel(level)
    logger.disabled = False
    try:
        yield handler.messages
    finally:
        logger.removeHandler(handler)
        logger.disabled = before[1]
        logger.setLevel(before[0])

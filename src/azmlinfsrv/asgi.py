"""The application on any ASGI server: ASGI 3 (https://asgi.readthedocs.io) in, the same answers out."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, MutableMapping
from concurrent.futures import Future
from typing import Any

from azmlinfsrv import logs
from azmlinfsrv.app import Application
from azmlinfsrv.endings import nothing
from azmlinfsrv.errors import ProtocolError, RequestError
from azmlinfsrv.messages import Gate, Request, Response
from azmlinfsrv.runner import Runner
from azmlinfsrv.scoring_thread import ScoringThread
from azmlinfsrv.telemetry.life import WorkerTelemetry
from azmlinfsrv.wire import has_body

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


_TICK_S = 0.25
_STOP_TELEMETRY_S = 5.0


def call_later(delay_s: float, function: Callable[[], None]) -> object:
    """Schedule a function on the loop that runs."""
    return asyncio.get_running_loop().call_later(delay_s, function)


class ScoringApp:
    """An ASGI application; its scoring loop runs in a thread of its own, from the first request to `stop`.

    Args:
        app: the application.
        runner: the runner that the application submits to.
        max_body_bytes: largest body of a request.
        telemetry: what is told of the requests, or None.
        thread: the thread to score in, that in which the script was loaded; None makes one.

    Attributes:
        app: the application.
        runner: the runner.
        on_tick: called about four times a second on the event loop, while the app serves.
        stop_within_s: how long `stop` waits for the scoring thread; None is until it has ended.
    """

    def __init__(
        self,
        app: Application,
        runner: Runner,
        max_body_bytes: int,
        telemetry: WorkerTelemetry | None = None,
        thread: ScoringThread | None = None,
    ) -> None:
        self.app = app
        self.runner = runner
        self.on_tick: Callable[[], object] = nothing
        self.stop_within_s: float | None = None
        self._max_body_bytes = max_body_bytes
        self._telemetry = telemetry
        self._thread = thread
        self._served: Future[None] | None = None
        self._stopping = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or follow the server's life span."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "http":
            self._start()
            await self._answer(scope, receive, send)

    def stop(self) -> None:
        """Finish the requests that are queued, end the scoring thread, and let telemetry go."""
        if self._served is not None and self._thread is not None:
            self._stopping = True
            self.runner.stop()
            self._thread.end(self.stop_within_s)
            self._thread = self._served = None
            self._stopping = False
            self.stop_telemetry(_STOP_TELEMETRY_S)
            for handler in logs.line_handlers():
                handler.write_lines()

    @property
    def has_broken(self) -> bool:
        """Whether the scoring loop has ended by itself."""
        return self._served is not None and self._served.done() and not self._stopping

    def stop_telemetry(self, within_s: float) -> None:
        """Let what was collected go, in this time, in seconds."""
        if self._telemetry is not None:
            self._telemetry.stop(within_s)

    def _start(self) -> None:
        if self._served is None:
            loop = asyncio.get_running_loop()
            self.runner.attach(loop.call_soon, loop.call_soon_threadsafe, loop.call_later)
            self.runner.watch_deadlines(loop)
            self._thread = self._thread or ScoringThread()
            self._served = self._thread.call(self.runner.serve)
            if self._telemetry is not None:
                self._telemetry.start()
            self._tick(loop)

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._served is not None:
            loop.call_later(_TICK_S, self._tick, loop)
            if self._telemetry is not None:
                self._telemetry.tick()
            self.on_tick()

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while (message := await receive())["type"] != "lifespan.shutdown":
            self._start()
            await send({"type": f"{message['type']}.complete"})
        await asyncio.to_thread(self.stop)
        await send({"type": "lifespan.shutdown.complete"})

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        reply = _Events(self.app)
        request = _request(scope)
        length = request.header(b"content-length")
        admit = self.app.admit
        if admit is not None and admit(request.path, request.method, request.headers) is not None:
            self.app.handle(request, reply)  # answered without its body
            await self._forward(request, reply, receive, send)
            return
        try:
            body = await self._body(receive, int(length) if length.isdigit() else 0)
        except RequestError as error:
            self.app.reject(request, reply, error)
        else:
            if body is None:
                return
            request.body, request.body_bytes = body, len(body)
            request.received = time.perf_counter()
            self.app.handle(request, reply)
        await self._forward(request, reply, receive, send)

    async def _forward(self, request: Request, reply: _Events, receive: Receive, send: Send) -> None:
        """Send the answer, and log it."""
        try:
            await reply.forward(request, receive, send)
        finally:
            self.app.sent(request, reply.status, reply.sent_bytes)

    async def _body(self, receive: Receive, declared: int) -> bytes | None:
        """Return the body; None where the client left before its end.

        Raises:
            ProtocolError: it is larger than it may be.
            OverloadError: there is no room for it.
        """
        admission, held = self.runner.admission, 0
        pieces, size, more = list[bytes](), 0, True
        try:
            while more:
                if max(size, declared) > self._max_body_bytes:
                    raise ProtocolError(f"The request body is larger than {self._max_body_bytes} bytes", 413)
                before, held = held, 0
                held = admission.arriving(before, size, declared)
                message = await receive()
                if message["type"] == "http.disconnect":
                    return None
                piece, more = message.get("body", b""), message.get("more_body", False)
                size += len(piece)
                pieces.append(piece)
        finally:
            admission.held_bytes -= held
        if size > self._max_body_bytes:
            raise ProtocolError(f"The request body is larger than {self._max_body_bytes} bytes", 413)
        return b"".join(pieces)


class _Events:
    """The `Reply` of one request: hands what is sent to the coroutine that answers it.

    Attributes:
        status: status of the answer; 499, as nginx has it, before there is one.
        sent_bytes: how many bytes of its body were sent.
    """

    def __init__(self, app: Application) -> None:
        self._app = app
        self._events: asyncio.Queue[tuple[bytes, Gate | None] | None] = asyncio.Queue()
        self._response: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
        self.status, self.sent_bytes = 499, 0
        self._aborted = self._gone = False
        self._gate: Gate | None = None

    def send(self, response: Response) -> None:
        """See `Reply.send`."""
        if not self._response.done():
            self._response.set_result(response)

    def write(self, chunk: bytes, gate: Gate) -> None:
        """See `Reply.write`."""
        self._gate = gate
        if self._gone:
            gate.close()
        else:
            self._events.put_nowait((chunk, gate))

    def end(self) -> None:
        """See `Reply.end`."""
        self._events.put_nowait(None)

    def abort(self) -> None:
        """See `Reply.abort`."""
        self._aborted = True
        self._events.put_nowait(None)

    async def forward(self, request: Request, receive: Receive, send: Send) -> None:
        """Send everything on.

        Raises:
            ConnectionAbortedError: the answer broke off, so that the server closes the connection.
        """
        leaving = asyncio.ensure_future(self._notice_leaving(request, receive))
        try:
            response = await self._response
            if self._gone and response.stream is None:
                return
            self.status = response.status
            await send({"type": "http.response.start", "status": response.status, "headers": _headers(response)})
            is_empty = request.method == "HEAD" or not has_body(response.status)
            if response.stream is None:
                body = b"" if is_empty else response.body
                await send({"type": "http.response.body", "body": body, "more_body": False})
                self.sent_bytes = len(body)
                return
            await self._forward_body(send, is_empty=is_empty)
        finally:
            leaving.cancel()
            self._leave()
            if self._response.cancelled():  # the server ended this task
                self._give_up(request)
        if self._aborted:
            raise ConnectionAbortedError
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _forward_body(self, send: Send, *, is_empty: bool) -> None:
        while (event := await self._events.get()) is not None:
            chunk, gate = event
            if not (is_empty or self._gone):
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
                self.sent_bytes += len(chunk)
            if gate is not None:
                gate.release(len(chunk))

    async def _notice_leaving(self, request: Request, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self._app.left()
        self._leave()
        self._give_up(request)

    def _give_up(self, request: Request) -> None:
        request.disconnected = True
        self._app.abandon(request)

    def _leave(self) -> None:
        """Tell a stream's producer that nobody reads any more."""
        self._gone = True
        if self._gate is not None:
            self._gate.close()


def _headers(response: Response) -> list[tuple[bytes, bytes]]:
    headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in response.headers]
    if not has_body(response.status):
        return [(name, value) for name, value in headers if name != b"content-length"]
    if response.stream is None and not any(name == b"content-length" for name, _ in headers):
        headers.append((b"content-length", str(len(response.body)).encode()))
    return headers


def _request(scope: Scope) -> Request:
    """Return the request of a scope, without its body; its path is that below the app's root."""
    headers: dict[bytes, bytes] = {}
    for name, value in scope["headers"]:
        headers[name] = headers[name] + b"," + value if name in headers else value
    query, path = scope["query_string"], scope["path"]
    target = scope.get("raw_path") or path.encode()
    if root := scope.get("root_path", ""):
        path = path.removeprefix(root) or "/"
    return Request(
        scope["method"],
        target + b"?" + query if query else target,
        path,
        query,
        headers,
        b"",
        scope["http_version"],
        tuple(scope.get("client") or ("", 0)),
        time.perf_counter(),
        scope.get("scheme", "http"),
        tuple(scope.get("server") or ("", 0)),
    )

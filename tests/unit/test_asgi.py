"""The ASGI adapter, in memory: a real script, scorer and runner behind httpx or a server made of two functions."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, MutableMapping
from typing import Any

import httpx
import pytest

from azmlinfsrv.access import Access, ApiKeys
from azmlinfsrv.admission import Admission, Bounds
from azmlinfsrv.app import create_app
from azmlinfsrv.asgi import ScoringApp
from azmlinfsrv.async_runner import AsyncRunner
from azmlinfsrv.flask_bridge import FlaskBridge
from azmlinfsrv.inputs import input_parser
from azmlinfsrv.runner import STREAM_LIMIT_BYTES, Runner
from azmlinfsrv.schema import Swagger
from azmlinfsrv.scorer import Scorer
from azmlinfsrv.script import Script
from azmlinfsrv.settings import Settings
from tests.unit.http_fakes import RecordedLog, load_module, logged

pytestmark = pytest.mark.anyio

MAX_BODY_BYTES = 1000
WRITE_TIMEOUT_MS = 8_000
PATIENCE_S = 10.0

Message = MutableMapping[str, Any]


class Served:
    """A script behind the adapter.

    Attributes:
        module: the script.
        log: the lines logged.
        app: the ASGI application.
    """

    def __init__(self, name: str, timeout_ms: int = 60_000, access: Access | None = None) -> None:
        self.module = load_module(name)
        script = Script(self.module)
        bridge = FlaskBridge(flask_one=True, awaitable=script.is_async)
        scorer = Scorer(script, input_parser(script, bridge.request), bridge.context)
        self.runner: Runner = (
            AsyncRunner(scorer, timeout_ms, WRITE_TIMEOUT_MS, limit=10)
            if script.is_async
            else Runner(scorer, timeout_ms, WRITE_TIMEOUT_MS)
        )
        self.log = RecordedLog()
        app = create_app(Swagger(Settings(), script.run), self.runner.submit, None, "", self.log, access=access)
        app.abandon = self.runner.abandon
        self.app = ScoringApp(app, self.runner, MAX_BODY_BYTES)

    def client(self) -> httpx.AsyncClient:
        """Return a client of the application."""
        return httpx.AsyncClient(transport=httpx.ASGITransport(self.app), base_url="http://t")


class FakeServer:
    """One exchange between the adapter and an ASGI server, by the ASGI specification.

    Attributes:
        sent: messages of the application.
    """

    def __init__(self, *received: Message) -> None:
        self._received: asyncio.Queue[Message] = asyncio.Queue()
        for message in received:
            self._received.put_nowait(message)
        self.sent: list[Message] = []
        self._changed = asyncio.Condition()
        self.on_send: Callable[[Message], None] = lambda message: None

    def receive_later(self, message: Message) -> None:
        """Have a message for the application."""
        self._received.put_nowait(message)

    async def run(self, app: ScoringApp, method: str = "POST", path: str = "/score", **headers: str) -> None:
        """Have the application answer a request."""
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path.partition("?")[0],
            "raw_path": path.partition("?")[0].encode(),
            "query_string": path.partition("?")[2].encode(),
            "root_path": "",
            "headers": [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()],
            "client": ("192.0.2.1", 1),
            "server": ("192.0.2.2", 80),
        }
        await app(scope, self._received.get, self._send)

    async def _send(self, message: Message) -> None:
        self.on_send(message)
        async with self._changed:
            self.sent.append(message)
            self._changed.notify_all()

    async def wait_sent(self, count: int) -> None:
        """Wait until the application has sent so many messages."""
        async with self._changed:
            await asyncio.wait_for(self._changed.wait_for(lambda: len(self.sent) >= count), PATIENCE_S)

    @property
    def body(self) -> bytes:
        """The content that has been sent."""
        return b"".join(message["body"] for message in self.sent[1:])

    def values(self, name: bytes) -> list[bytes]:
        """Return the values of the header fields of this name."""
        return [value for key, value in self.sent[0]["headers"] if key == name]


def body(data: bytes = b"", more: bool = False) -> Message:
    """Return the message with a piece of a request's body."""
    return {"type": "http.request", "body": data, "more_body": more}


@pytest.fixture
async def text() -> AsyncIterator[Served]:
    """An undecorated script."""
    served = Served("http_text")
    yield served
    await asyncio.to_thread(served.app.stop)


@pytest.fixture
async def raw() -> AsyncIterator[Served]:
    """A `@rawhttp` script."""
    served = Served("http_raw")
    yield served
    await asyncio.to_thread(served.app.stop)


# -- whole answers ---------------------------------------------------------------------------------------------


async def test_endpoints(text: Served) -> None:
    """The endpoints of the server are there, under any ASGI server."""
    async with text.client() as client:
        root = await client.get("/")
        assert (root.status_code, root.text) == (200, "Healthy")
        assert root.headers["content-length"] == "7"
        assert (await client.get("/swagger.json")).json()["swagger"] == "2.0"
        assert (await client.get("/ready")).json() == {"status": "ready"}
        missing = await client.get("/nothing")
        assert missing.status_code == 404 and set(missing.json()) == {"message"}


async def test_score(text: Served) -> None:
    """A request is scored by the script, and logged with what was sent."""
    async with text.client() as client:
        answer = await client.post("/score", content="caf\xe9".encode(), headers={"x-request-id": "A"})
    assert (answer.status_code, answer.json()) == (200, "caf\xe9")
    assert answer.headers["x-ms-run-function-failed"] == "False"
    assert float(answer.headers["x-ms-run-fn-exec-ms"]) >= 0
    assert answer.headers["x-request-id"] == "A"
    assert text.log.access == [("/score", 200, len(answer.content))]


async def test_a_failing_script(text: Served) -> None:
    """An exception of the script is a 500 without details, logged with the request's id."""
    with logged("azmlinfsrv") as messages:
        async with text.client() as client:
            answer = await client.post("/score", content="fail", headers={"x-request-id": "A-7"})
    assert answer.status_code == 500 and "secret" not in answer.text
    assert answer.headers["x-ms-run-function-failed"] == "True"
    assert any("ValueError: secret" in message and "A-7" in message for message in messages)


async def test_get(text: Served) -> None:
    """The query of a GET is the input."""
    async with text.client() as client:
        answer = await client.get("/score?a=1&b=x")
    assert json.loads(answer.json()) == {"a": 1, "b": "x"}


async def test_the_body_comes_in_pieces(text: Served) -> None:
    """The pieces of a body are joined before the script is called."""
    server = FakeServer(body(b"one ", more=True), body(b"", more=True), body(b"two"))
    await server.run(text.app)
    assert json.loads(server.body) == "one two"


@pytest.mark.parametrize("path", ["/", "/nothing", "/score?case=facts"])
async def test_head(raw: Served, path: str) -> None:
    """HEAD is answered with the head of GET and no body."""
    get, head = FakeServer(body()), FakeServer(body())
    await get.run(raw.app, "GET", path)
    await head.run(raw.app, "HEAD", path)
    assert head.body == b"" and get.body != b""
    assert head.sent[0]["status"] == get.sent[0]["status"]
    assert head.values(b"content-type") == get.values(b"content-type")
    assert path.startswith("/score") or head.values(b"content-length") == get.values(b"content-length")
    assert head.sent[-1]["more_body"] is False


@pytest.mark.parametrize("status", [204, 304])
async def test_answers_without_content(raw: Served, status: int) -> None:
    """A 204 has neither content nor a length, a 304 no content (RFC 9110, 6.4.1 and 8.6)."""
    server = FakeServer(body())
    await server.run(raw.app, "GET", f"/score?case=status&status={status}")
    assert (server.sent[0]["status"], server.body) == (status, b"")
    assert status != 204 or server.values(b"content-length") == []


async def test_repeated_headers(raw: Served) -> None:
    """Fields of one name stay apart on the way out, and have lower-case names as ASGI wants."""
    server = FakeServer(body())
    await server.run(raw.app, "GET", "/score?case=cookies")
    assert server.values(b"set-cookie") == [b"a=1; Path=/", b"b=2; Path=/"]
    assert all(name == name.lower() for name, _ in server.sent[0]["headers"])


# -- limits and clients that leave -----------------------------------------------------------------------------


async def test_the_time_of_a_request_begins_with_its_last_byte(text: Served) -> None:
    """How long a client takes for its body is not part of the time that its request took."""
    received: list[float] = []
    text.log.server_line = lambda request, *_: received.append(request.received)  # type: ignore[method-assign]
    server = FakeServer(body(b"a", more=True))
    running = asyncio.ensure_future(server.run(text.app))
    await asyncio.sleep(0)
    before_last = time.perf_counter()
    server.receive_later(body(b"b"))
    await running
    assert received[0] >= before_last


async def test_a_body_at_the_limit(text: Served) -> None:
    """A body of exactly the limit is scored."""
    async with text.client() as client:
        answer = await client.post("/score", content=b"x" * MAX_BODY_BYTES)
    assert answer.json() == "x" * MAX_BODY_BYTES


@pytest.mark.parametrize("declared", [True, False])
async def test_a_body_over_the_limit(text: Served, declared: bool) -> None:
    """A body over the limit is a 413 in JSON with ids, and is never scored."""
    headers = {"content_length": str(MAX_BODY_BYTES + 1)} if declared else {}
    server = FakeServer(*[body(b"x" * 100, more=True)] * (MAX_BODY_BYTES // 100), body(b"x"))
    await server.run(text.app, x_request_id="A", **headers)
    assert server.sent[0]["status"] == 413
    assert set(json.loads(server.body)) == {"message"}
    assert server.values(b"x-request-id") == [b"A"]
    assert text.runner.pending == 0


async def test_a_client_that_leaves_within_its_body(text: Served) -> None:
    """Half a body is no request: the script is not called with it."""
    server = FakeServer(body(b"half", more=True), {"type": "http.disconnect"})
    await asyncio.wait_for(server.run(text.app), PATIENCE_S)
    assert text.log.server == [] and text.runner.pending == 0


# -- streams ---------------------------------------------------------------------------------------------------


async def test_a_stream(text: Served) -> None:
    """Each item of a stream is a message of its own, and there is no length."""
    server = FakeServer(body(b"stream"))
    await server.run(text.app)
    assert [message["body"] for message in server.sent[1:]] == [b"piece 0;", b"piece 1;", b"piece 2;", b""]
    assert [message["more_body"] for message in server.sent[1:]] == [True, True, True, False]
    assert server.values(b"content-length") == []
    assert text.log.access == [("/score", 200, 24)]


async def test_a_stream_of_json(text: Served) -> None:
    """A generator of values is a line of JSON each."""
    async with text.client() as client:
        answer = await client.post("/score", content="rows")
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert [json.loads(line) for line in answer.text.splitlines()] == [{"row": 0}, {"row": 1}, {"row": 2}]


async def test_a_stream_that_breaks_off(text: Served) -> None:
    """A generator that raises ends its answer with an exception, so that the server closes the connection."""
    server = FakeServer(body(b"break"))
    with logged("azmlinfsrv") as messages, pytest.raises(ConnectionAbortedError):
        await server.run(text.app)
    assert server.body == b"piece 0;"
    assert all(message.get("more_body", True) for message in server.sent)
    assert any("ValueError: secret" in message for message in messages)


async def test_the_next_request_after_a_broken_stream(text: Served) -> None:
    """A stream that broke off harms nobody else."""
    with logged("azmlinfsrv"), pytest.raises(ConnectionAbortedError):
        await FakeServer(body(b"break")).run(text.app)
    server = FakeServer(body(b"hello"))
    await server.run(text.app)
    assert json.loads(server.body) == "hello"


async def test_a_slow_server_holds_a_stream_back(text: Served) -> None:
    """An endless stream makes only what its limit allows while the server does not take it."""
    server, taken = FakeServer(body(b"endless")), asyncio.Event()
    send = server._send

    async def send_slowly(message: Message) -> None:
        await send(message)
        if len(server.sent) == 3:
            await taken.wait()

    server._send = send_slowly  # type: ignore[method-assign]
    task = asyncio.create_task(server.run(text.app))
    await server.wait_sent(3)
    most = 3 + STREAM_LIMIT_BYTES // 100_000 + 3
    for _ in range(40):
        await asyncio.sleep(0.005)
        assert len(text.module.made) <= most
    server.on_send = _refuse
    taken.set()
    with pytest.raises(OSError, match="gone"):
        await asyncio.wait_for(task, PATIENCE_S)


def _refuse(_: Message) -> None:
    raise OSError("the client is gone")


async def test_a_client_that_leaves_a_stream(text: Served) -> None:
    """A server whose `send` raises because the client has left ends the script's generator (ASGI 3, HTTP 2.4)."""
    server = FakeServer(body(b"endless"))

    def refuse_later(message: Message) -> None:
        if len(server.sent) == 3:
            _refuse(message)

    server.on_send = refuse_later
    with pytest.raises(OSError, match="gone"):
        await asyncio.wait_for(server.run(text.app), PATIENCE_S)
    assert await asyncio.to_thread(text.module.closed.wait, PATIENCE_S), "the generator still runs"


async def test_a_client_whose_leaving_is_told(text: Served) -> None:
    """A server that only tells of the disconnect, and drops what is sent, ends the generator too."""
    server = FakeServer(body(b"endless"))
    task = asyncio.create_task(server.run(text.app))
    await server.wait_sent(3)
    server.receive_later({"type": "http.disconnect"})
    closed = await asyncio.to_thread(text.module.closed.wait, PATIENCE_S)
    task.cancel()
    await asyncio.wait([task], timeout=PATIENCE_S)
    assert closed, "the generator still runs"


async def test_a_client_that_leaves_the_queue(text: Served) -> None:
    """The request of a client that left while it waited is dropped, and logged with 499."""
    working, waiting = FakeServer(body(b"wait")), FakeServer(body(b"gone"))
    running = asyncio.ensure_future(working.run(text.app))
    assert await asyncio.to_thread(text.module.started.wait, PATIENCE_S)
    leaving = asyncio.ensure_future(waiting.run(text.app))
    waiting.receive_later({"type": "http.disconnect"})
    await asyncio.wait_for(leaving, PATIENCE_S)
    assert text.log.access == [("/score", 499, 0)]
    assert text.runner.pending == 1
    text.module.go_on.set()
    await asyncio.wait_for(running, PATIENCE_S)
    assert json.loads(working.body) == "waited"


async def test_a_server_that_ends_the_task_of_a_client_that_left(text: Served) -> None:
    """A server may cancel what it awaits instead of telling; the request is dropped as well."""
    working, waiting = FakeServer(body(b"wait")), FakeServer(body(b"gone"))
    running = asyncio.ensure_future(working.run(text.app))
    assert await asyncio.to_thread(text.module.started.wait, PATIENCE_S)
    task = asyncio.ensure_future(waiting.run(text.app))
    for _ in range(10):  # its body is there: nothing has to be waited for
        await asyncio.sleep(0)
    assert text.runner.pending == 2
    task.cancel()
    await asyncio.wait([task], timeout=PATIENCE_S)
    assert text.runner.pending == 1
    assert text.log.access == [("/score", 499, 0)]
    text.module.go_on.set()
    await asyncio.wait_for(running, PATIENCE_S)


@pytest.mark.parametrize("declared", [True, False])
async def test_a_body_for_which_there_is_no_room(text: Served, declared: bool) -> None:
    """A large body is refused with 503 as soon as that is known, and what was held for it is free again."""
    text.app._max_body_bytes = 10_000_000
    text.runner.admission = Admission(Bounds(body_bytes=1_500_000))
    text.runner.admission.held_bytes = 1_000_000
    headers = {"content_length": "600000"} if declared else {}
    server = FakeServer(*[body(b"x" * 200_000, more=True)] * 3, body(b""))
    await asyncio.wait_for(server.run(text.app, **headers), PATIENCE_S)
    assert server.sent[0]["status"] == 503
    assert server.values(b"retry-after") == [b"1"]
    assert text.runner.admission.held_bytes == 1_000_000
    assert text.runner.pending == 0


# -- scripts that use Flask ------------------------------------------------------------------------------------


async def test_a_raw_script(raw: Served) -> None:
    """A `@rawhttp` script gets a whole Flask request."""
    async with raw.client() as client:
        answer = await client.post(
            "/score?a=1&a=2", data={"kind": "x"}, files={"model": ("m.txt", b"content")}, headers={"X-Own": "1"}
        )
    facts = answer.json()
    assert facts["is_aml"] and facts["is_current"]
    assert (facts["method"], facts["path"], facts["full_path"]) == ("POST", "/score", "/score?a=1&a=2")
    assert facts["query"] == {"a": ["1", "2"]}
    assert facts["form"] == {"kind": ["x"]}
    assert facts["files"] == {"model": ["m.txt", "content"]}
    assert ["X-Own", "1"] in facts["headers"]


async def test_flask_abort(raw: Served) -> None:
    """`flask.abort` in a script is its own status and message (`contract.md`, HTTP exceptions)."""
    async with raw.client() as client:
        answer = await client.get("/score?case=abort")
    assert (answer.status_code, answer.json()) == (418, {"message": "no coffee"})


async def test_flask_g_is_of_one_request(raw: Served) -> None:
    """What a script keeps in `flask.g` is gone with its request."""
    async with raw.client() as client:
        assert [(await client.get("/score?case=g")).json() for _ in range(2)] == [{"seen": 0}, {"seen": 0}]


async def test_flask_jsonify(raw: Served) -> None:
    """A response made by Flask is sent as it is."""
    async with raw.client() as client:
        assert (await client.get("/score?case=jsonify")).json() == {"a": 1}


async def test_stream_with_context(raw: Served) -> None:
    """`flask.stream_with_context` keeps the request for a stream."""
    async with raw.client() as client:
        assert (await client.get("/score?case=stream_with_context")).text == "/score;GET"


async def test_an_async_script_awaits_its_data() -> None:
    """`await request.get_data()` works in an `async def run()`, as bytes and as text."""
    served = Served("http_async")
    async with served.client() as client:
        answer = await client.post("/score", content="\xe9".encode())
    await asyncio.to_thread(served.app.stop)
    assert answer.json() == {"body": [0xC3, 0xA9], "text": "\xe9", "types": ["bytes", "str"]}


# -- the life of the application -------------------------------------------------------------------------------


async def test_requests_at_the_same_time(text: Served) -> None:
    """Requests that arrive together each get their own answer."""
    async with text.client() as client:
        answers = await asyncio.gather(*(client.post("/score", content=str(number)) for number in range(30)))
    assert [answer.json() for answer in answers] == [str(number) for number in range(30)]


async def test_lifespan() -> None:
    """The scoring thread starts at the server's start and has ended when its shutdown is answered."""
    served = Served("http_text")
    server = FakeServer({"type": "lifespan.startup"})
    task = asyncio.create_task(served.app({"type": "lifespan"}, server._received.get, server._send))
    await server.wait_sent(1)
    served_until = served.app._served
    assert served_until is not None and not served_until.done() and not served.app.has_broken
    await FakeServer(body(b"hello")).run(served.app)
    server.receive_later({"type": "lifespan.shutdown"})
    await asyncio.wait_for(task, PATIENCE_S)
    assert [message["type"] for message in server.sent] == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert served_until.done() and not served.app.has_broken


async def test_stop_finishes_what_is_queued() -> None:
    """Requests that are there at the stop are answered before it returns."""
    served = Served("http_text")
    running, queued = FakeServer(body(b"wait")), FakeServer(body(b"queued"))
    tasks = [asyncio.create_task(server.run(served.app)) for server in (running, queued)]
    assert await asyncio.to_thread(served.module.started.wait, PATIENCE_S)
    stopped = asyncio.create_task(asyncio.to_thread(served.app.stop))
    await asyncio.sleep(0)
    served.module.go_on.set()
    await asyncio.wait_for(asyncio.gather(stopped, *tasks), PATIENCE_S)
    assert [json.loads(server.body) for server in (running, queued)] == ["waited", "queued"]
    served.app.stop()


async def test_a_key_is_asked_for_before_the_body() -> None:
    """Without a key the answer is 401 and the body is not read; with it the script answers."""
    served = Served("http_raw", access=Access(ApiKeys([b"open"]), frozenset({"/score"})))
    try:
        server = FakeServer()  # no body is ever there to be read
        await asyncio.wait_for(server.run(served.app), PATIENCE_S)
        assert server.sent[0]["status"] == 401
        assert (b"www-authenticate", b"Bearer") in server.sent[0]["headers"]
        async with served.client() as client:
            assert (await client.get("/live")).status_code == 200
            assert (await client.post("/score", headers={"Authorization": "Bearer wrong"})).status_code == 401
            assert (await client.post("/score", headers={"Authorization": "Bearer open"})).status_code == 200
    finally:
        served.app.stop()

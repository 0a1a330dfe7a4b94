"""API keys: which requests pass, and where the keys come from."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from azmlinfsrv.access import Access, ApiKeys, check_keys, make_access, read_keys
from azmlinfsrv.access_settings import KEY_VARIABLES, hide_keys
from azmlinfsrv.app import create_app
from azmlinfsrv.configuration import load_configuration
from azmlinfsrv.cors import Cors
from azmlinfsrv.environment import banner, script_environment
from azmlinfsrv.errors import ConfigurationError
from azmlinfsrv.messages import Request, Response
from azmlinfsrv.schema import Swagger
from azmlinfsrv.settings import Settings
from azmlinfsrv.telemetry.board import Board
from azmlinfsrv.telemetry.metrics import WorkerMetrics
from tests.unit.http_fakes import (
    Answer,
    FakeClock,
    FakeConnection,
    FakeScript,
    FakeTransport,
    RecordedLog,
    RecordedReply,
    headers_of,
    logged,
    make_app,
    request,
)

KEY, SECOND = "a-first-key-of-the-tests", "a-second-key-of-the-tests"
COVERED = frozenset({"/score", "/swagger.json", "/metrics"})
BEARER = f"Authorization: Bearer {KEY}\r\n".encode()


def access(*keys: str) -> Access:
    """Return the access of these keys."""
    return Access(ApiKeys([key.encode() for key in keys or (KEY,)]), COVERED)


def post(fields: bytes = b"", body: bytes = b"hello") -> bytes:
    """Return a request to score."""
    return b"POST /score HTTP/1.1\r\nHost: t\r\nContent-Length: %d\r\n%s\r\n%s" % (len(body), fields, body)


class Guarded:
    """An application that wants a key, and what it answers."""

    def __init__(self, *keys: str, cors: Cors | None = None) -> None:
        self.script = FakeScript()
        self.log = RecordedLog()
        self.app = make_app(self.script, self.log, cors, access(*keys))

    def ask(self, method: str = "POST", target: str = "/score", /, **headers: str) -> Response | None:
        """Return the answer; None where the script is to make it."""
        reply = RecordedReply()
        self.app.handle(request(method, target, b"", **headers), reply)
        return reply.responses[0] if reply.responses else None


# -- which requests pass -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", [KEY, SECOND])
@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_each_key_opens(key: str, scheme: str) -> None:
    """A request with any of the keys reaches the script; the scheme has no case."""
    guarded = Guarded(KEY, SECOND)
    assert guarded.ask(authorization=f"{scheme} {key}") is None
    assert len(guarded.script.submitted) == 1


@pytest.mark.parametrize(
    "value",
    [
        *(
            "",
            "Bearer",
            "Bearer ",
            f"Basic {KEY}",
            KEY,
            f"Bearer {KEY}x",
            f"Bearer {KEY[:-1]}",
            f"Bearer {KEY.upper()}",
        ),
        *(f"Bearer  {KEY} {KEY}", f"Bearer {KEY},Bearer {KEY}", f"Token {KEY}", f'Bearer "{KEY}"', "Bearer \xff\xfe"),
    ],
)
def test_nothing_else_opens(value: str) -> None:
    """Any other Authorization gets 401 with a challenge, in JSON, and the script is not asked."""
    guarded = Guarded()
    response = guarded.ask(authorization=value)
    assert response is not None and response.status == 401
    assert headers_of(response)["www-authenticate"].startswith("Bearer")
    assert headers_of(response)["content-type"] == "application/json"
    assert KEY.encode() not in response.body
    assert guarded.script.submitted == []


def test_what_is_missing_and_what_is_wrong() -> None:
    """The answer tells a key that is missing from one that is wrong, as RFC 6750 has it."""
    guarded = Guarded()
    missing, wrong = guarded.ask(), guarded.ask(authorization="Bearer nothing")
    assert missing is not None and wrong is not None
    assert headers_of(missing)["www-authenticate"] == "Bearer"
    assert headers_of(wrong)["www-authenticate"] == 'Bearer error="invalid_token"'
    assert missing.body != wrong.body
    assert guarded.log.server == [("/score", 401, len(missing.body)), ("/score", 401, len(wrong.body))]


@pytest.mark.parametrize(("target", "status"), [("/", 200), ("/live", 200), ("/ready", 200), ("/nowhere", 404)])
def test_probes_need_no_key(target: str, status: int) -> None:
    """Probes are answered without a key, and so are paths that do not exist."""
    response = Guarded().ask("GET", target)
    assert response is not None and response.status == status


@pytest.mark.parametrize(
    "target", ["/score?x=1", "/swagger.json", "/swagger.json?version=2"], ids=["query", "swagger", "version"]
)
def test_other_paths_that_need_one(target: str) -> None:
    """A query does not go round the key, and the description needs one too."""
    response = Guarded().ask("GET", target)
    assert response is not None and response.status == 401
    allowed = Guarded().ask("GET", target, authorization=f"Bearer {KEY}")
    assert allowed is None or allowed.status == 200


@pytest.mark.parametrize("method", ["PUT", "DELETE", "HEAD", "GET", "PATCH"])
def test_every_method_needs_one(method: str) -> None:
    """Without a key a client does not even learn which methods there are."""
    response = Guarded().ask(method)
    assert response is not None and response.status == 401


def test_a_preflight_needs_none() -> None:
    """A browser's preflight is answered with its cross-origin headers, and never reaches the script."""
    guarded = Guarded(cors=Cors("https://page.test"))
    response = guarded.ask("OPTIONS", origin="https://page.test", access_control_request_method="POST")
    assert response is not None and response.status == 200
    assert headers_of(response)["access-control-allow-origin"] == "https://page.test"
    assert guarded.script.submitted == []
    assert guarded.ask("OPTIONS", authorization=f"Bearer {KEY}") is None


def test_a_page_may_read_the_refusal() -> None:
    """A refusal has the cross-origin headers of any other answer."""
    response = Guarded(cors=Cors("https://page.test")).ask(origin="https://page.test")
    assert response is not None
    assert headers_of(response)["access-control-allow-origin"] == "https://page.test"


def test_refusals_are_counted() -> None:
    """A refusal counts under its reason."""
    board = Board(1, 1)
    metrics = WorkerMetrics(board, board.take())
    counted: list[int] = []
    metrics.rejected = counted.append  # type: ignore[assignment,method-assign]
    log, script = RecordedLog(), FakeScript()
    app = create_app(
        Swagger(Settings(), lambda data: data), script.submit, None, "", log, None, metrics, None, access()
    )
    app.handle(request("POST", "/score"), RecordedReply())
    app.handle(request("GET", "/metrics"), RecordedReply())
    app.handle(request("GET", "/live"), RecordedReply())
    assert counted == [401, 401]


# -- connections ---------------------------------------------------------------------------------------------------


def ask(connection: FakeConnection, data: bytes, *methods: str) -> list[Answer]:
    """Return the answers to these bytes."""
    connection.receive(data)
    return connection.answers(*methods)


def test_the_connection_stays_open() -> None:
    """A refusal of a small request costs no connection: the next one, with a key, is answered on it."""
    connection = FakeConnection(access=access())
    (answer,) = ask(connection, post(), "POST")
    assert answer.status == 401 and answer.values("connection") == []
    connection.receive(post(BEARER))
    assert connection.script.answer(Response(200, b"open")).body == b"hello"
    assert [answer.status for answer in connection.answers("POST")] == [200]


@pytest.mark.parametrize(
    "head",
    [
        b"POST /score HTTP/1.1\r\nHost: t\r\nContent-Length: 900000\r\n\r\n",
        b"POST /score HTTP/1.1\r\nHost: t\r\nContent-Length: 9000000000\r\n\r\n",
        b"POST /score HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST /score HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n",
        b"POST /%73core?a HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST http://t/score HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n",
    ],
    ids=["long", "too-long", "chunked", "expect", "escaped", "absolute"],
)
def test_a_body_is_not_read_without_a_key(head: bytes) -> None:
    """What announces a long body, or asks before it sends one, is refused at its header; no 100 is sent."""
    connection = FakeConnection(access=access())
    (answer,) = ask(connection, head, "POST")
    assert answer.status == 401
    assert answer.values("www-authenticate") == ["Bearer"]
    assert answer.values("connection") == ["close"]
    assert connection.transport.has_ended()
    assert connection.log.server == [("/score", 401, len(answer.body))]


def test_a_body_is_read_with_a_key() -> None:
    """With a key the same requests go on: 100 is sent, and the body is waited for."""
    connection = FakeConnection(access=access())
    head = b"POST /score HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\nExpect: 100-continue\r\n%s\r\n" % BEARER
    connection.receive(head)
    assert connection.transport.written == b"HTTP/1.1 100 Continue\r\n\r\n"
    connection.receive(b"hello")
    assert connection.script.targets == ["/score"]


def test_options_with_a_long_body() -> None:
    """OPTIONS is open whatever follows it, and its body is read away."""
    connection = FakeConnection(access=access())
    connection.receive(b"OPTIONS /score HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n")
    assert [answer.status for answer in connection.answers("OPTIONS")] == [200]


class EncryptedTransport(FakeTransport):
    """A transport that cannot end its writing side alone, as those of TLS."""

    def can_write_eof(self) -> bool:
        """Return False."""
        return False

    def write_eof(self) -> None:
        """Refuse, as asyncio's and uvloop's do."""
        raise NotImplementedError


def test_a_refusal_over_tls_is_not_lost() -> None:
    """Where a body is cut off over TLS, the server reads on until the client closes: a reset would eat the answer."""
    connection = FakeConnection(access=access())
    encrypted = EncryptedTransport()
    connection.protocol = connection.shared()
    connection.protocol.connection_made(encrypted)
    connection.protocol.data_received(
        b"POST /score HTTP/1.1\r\nHost: t\r\nContent-Length: 900000\r\n\r\n" + b"x" * 1000
    )
    assert encrypted.written.startswith(b"HTTP/1.1 401")
    assert not encrypted.is_closing()
    connection.protocol.data_received(b"x" * 1000)
    connection.pass_time(6)
    assert encrypted.is_aborted()
    connection.protocol.connection_lost(None)


def test_tls_has_no_half_closed_connections() -> None:
    """A client that ends its side over TLS has left: the transport is told to close."""
    connection = FakeConnection()
    connection.protocol = connection.shared()
    connection.protocol.connection_made(EncryptedTransport())
    connection.protocol.data_received(post())
    assert connection.protocol.eof_received() is False
    connection.protocol.connection_lost(None)
    connection.script.answer()


# -- where keys come from ------------------------------------------------------------------------------------------


class KeysFile:
    """A file of keys and those that were read from it."""

    def __init__(self, path: Path, content: str) -> None:
        self.path = path
        self.path.write_text(content)
        self.clock = FakeClock()
        self.keys = ApiKeys([], str(path), self.clock)

    def accepts(self, key: str, after_s: float = 2.0) -> bool:
        """Return whether a key is accepted some seconds later."""
        self.clock.now += after_s
        return self.keys.accepts(key.encode())

    def replace(self, content: str) -> None:
        """Put another file in its place."""
        new = self.path.with_name("new")
        new.write_text(content)
        new.replace(self.path)


@pytest.fixture
def file(tmp_path: Path) -> KeysFile:
    """A file with one key."""
    return KeysFile(tmp_path / "keys", f"{KEY}\n")


def test_a_file_that_changes(file: KeysFile) -> None:
    """A changed file is read again; keys that are gone are refused."""
    assert file.accepts(KEY)
    file.replace(f"\n {SECOND} \r\n\n")
    assert file.accepts(SECOND)
    assert not file.accepts(KEY)


def test_a_file_that_is_looked_at_seldom(file: KeysFile) -> None:
    """Within a second of the last look the file is not asked again."""
    assert file.accepts(KEY)
    file.replace(SECOND)
    assert file.accepts(KEY, after_s=0.1)
    assert not file.accepts(SECOND, after_s=0.1)


def test_a_symbolic_link_that_is_swapped(tmp_path: Path) -> None:
    """A link that leads elsewhere is a change, as when Kubernetes renews a mounted secret."""
    for name, key in (("one", KEY), ("two", SECOND)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "keys").write_text(key)
        os.utime(tmp_path / name / "keys", ns=(1, 1))
    (tmp_path / "data").symlink_to("one")
    (tmp_path / "keys").symlink_to("data/keys")
    clock = FakeClock()
    keys = ApiKeys([], str(tmp_path / "keys"), clock)
    assert keys.accepts(KEY.encode())
    (tmp_path / "next").symlink_to("two")
    (tmp_path / "next").replace(tmp_path / "data")
    clock.now += 2
    assert keys.accepts(SECOND.encode())
    assert not keys.accepts(KEY.encode())


@pytest.mark.parametrize("content", [None, "", "\n\n", "two words\n", "caf\xe9\n", "x" * 70_000])
def test_a_file_that_cannot_be_used_any_more(file: KeysFile, content: str | None) -> None:
    """The last keys stay valid, one warning says so, and the file is taken again once it can be."""
    assert file.accepts(KEY)
    with logged("azmlinfsrv") as lines:
        if content is None:
            file.path.unlink()
        else:
            file.replace(content)
        for _ in range(3):
            assert file.accepts(KEY)
            assert not file.accepts("two words")
        assert len(lines) == 1 and "the last keys stay valid" in lines[0]
        file.replace(SECOND)
        assert file.accepts(SECOND)
        assert not file.accepts(KEY)
    assert lines[1:] == ["API keys were read again: there are 1."]
    assert KEY not in str(lines) and "caf" not in str(lines)


def test_a_file_that_a_new_worker_cannot_read(tmp_path: Path) -> None:
    """A worker that begins without the file lets nobody pass until it is there."""
    clock = FakeClock()
    with logged("azmlinfsrv") as lines:
        keys = ApiKeys([], str(tmp_path / "keys"), clock)
        assert not keys.accepts(b"")
        (tmp_path / "keys").write_text(KEY)
        clock.now += 2
        assert keys.accepts(KEY.encode())
    assert "no request is accepted" in lines[0]


@pytest.mark.parametrize("content", [None, "", " \n", "a b", "\x00", "x" * 70_000])
def test_a_file_that_is_wrong_at_the_start(tmp_path: Path, content: str | None) -> None:
    """A file that is missing, empty or holds what is no key stops the start; its content is not told."""
    path = tmp_path / "keys"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigurationError, match="AZMLINFSRV_API_KEYS_FILE") as caught:
        check_keys(Settings(api_keys_file=str(path)))
    assert not content or content not in caught.value.message


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    """A folder, as a mounted secret without its entry's name, is told from a file."""
    with pytest.raises(ConfigurationError, match="is not a file"):
        read_keys(str(tmp_path))


@pytest.mark.parametrize("key", ["", " ", "a b", "a\n", "caf\xe9", "\x7f"])
@pytest.mark.parametrize("name", ["api_key", "api_key_secondary"])
def test_a_variable_that_is_no_key(name: str, key: str) -> None:
    """An empty variable does not open the server: it stops the start, as one that no header can hold."""
    settings = Settings(**{name: key})  # type: ignore[arg-type]
    for use in (check_keys, make_access):
        with pytest.raises(ConfigurationError, match="must be a key") as caught:
            use(settings)
        assert "caf" not in caught.value.message


def test_variable_and_file() -> None:
    """Keys come from one place, so that a key that is taken out of it is gone."""
    with pytest.raises(ConfigurationError, match="choose one"):
        check_keys(Settings(api_key=KEY, api_keys_file="/keys"))


@pytest.mark.parametrize(
    ("settings", "paths"),
    [
        ({}, {"/score", "/swagger.json", "/metrics"}),
        ({"api_key_for_swagger": False, "api_key_for_metrics": False}, {"/score"}),
        ({"api_key_for_docs": True}, {"/score", "/swagger.json", "/metrics", "/docs"}),
    ],
)
def test_what_is_covered(settings: Mapping[str, bool], paths: set[str]) -> None:
    """/score always needs a key; description, metrics and page do by setting, and probes never."""
    made = make_access(Settings(api_key=KEY, **settings))  # type: ignore[arg-type]
    assert made is not None
    table = ("/", "/live", "/ready", "/score", "/swagger.json", "/metrics", "/docs")
    assert {path for path in table if made.refusal(path, {}) is not None} == paths


def test_no_keys_no_check() -> None:
    """Without any setting everybody may pass, as with the released server."""
    assert make_access(Settings()) is None
    connection = FakeConnection()
    connection.receive(post())
    assert connection.script.targets == ["/score"]


# -- secrecy -------------------------------------------------------------------------------------------------------


def test_keys_are_not_shown() -> None:
    """Neither the banner, nor the script's environment, nor a printed setting has a key."""
    configuration = load_configuration({}, dict(zip(KEY_VARIABLES, (KEY, SECOND), strict=True)), "/")
    assert (configuration.settings.api_key, configuration.settings.api_key_secondary) == (KEY, SECOND)
    made = make_access(configuration.settings)
    shown = [
        *banner(configuration.settings, {"SERVER_PORT": "1", "HEALTH_PORT": "1"}),
        str(script_environment(configuration, {})),
        repr(configuration),
        repr(vars(made)),
        repr(vars(vars(made)["_keys"])),
    ]
    assert "api_key: provided" in shown
    assert not any(key in text for key in (KEY, SECOND) for text in shown)


def test_keys_are_taken_from_the_environment() -> None:
    """The script's environment lacks the keys, and what starts the server anew has them again."""
    environ = {KEY_VARIABLES[0]: KEY, "OTHER": "1"}
    undo = hide_keys(environ)
    assert environ == {"OTHER": "1"}
    undo()
    assert environ == {KEY_VARIABLES[0]: KEY, "OTHER": "1"}


def test_a_request_that_is_refused_holds_no_key_in_the_log(capsys: pytest.CaptureFixture[str]) -> None:
    """The lines of requests never have the Authorization of a bearer."""
    from azmlinfsrv.access_log import RequestLog
    from azmlinfsrv.logs import LineClock

    sent = request("POST", "/score", b"", authorization=f"Bearer {KEY}")
    with logged("gunicorn.access") as access_lines, logged("azmlinfsrv") as lines:
        log = RequestLog(LineClock(), None)
        log.access_line(sent, 200, 1)
        log.server_line(sent, Response(200), 1.0)
    assert len(access_lines) == 1 and len(lines) == 1
    assert KEY not in str(access_lines) + str(lines) + capsys.readouterr().out


def test_only_what_is_covered_is_looked_at() -> None:
    """The headers of a path that needs no key are not read."""

    class Unread(dict[bytes, bytes]):
        def get(self, *_: object) -> bytes:
            raise AssertionError

    assert access().refusal("/live", Unread()) is None


def test_a_request_is_not_changed() -> None:
    """The script still finds the Authorization, which it may want for reasons of its own."""
    guarded = Guarded()
    guarded.ask(authorization=f"Bearer {KEY}")
    submitted: Request = guarded.script.submitted[0][0]
    assert submitted.header(b"authorization") == f"Bearer {KEY}"

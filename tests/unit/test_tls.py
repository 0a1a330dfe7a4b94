"""Certificates: what a server refuses to start with, and how its connections are encrypted."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import subprocess
from pathlib import Path

import pytest
from gunicorn.config import Config

from azmlinfsrv import tls
from azmlinfsrv.acceptor import Acceptor, Load, end_handshakes
from azmlinfsrv.configuration import Configuration
from azmlinfsrv.errors import ConfigurationError
from azmlinfsrv.launcher import GunicornApplication
from azmlinfsrv.settings import Settings
from azmlinfsrv.telemetry.board import Board
from tests.certificates import Certificate, make_certificate
from tests.conftest import RequireProgram
from tests.unit.http_fakes import logged


@pytest.fixture
def openssl(require_program: RequireProgram) -> str:
    """The program that makes certificates."""
    return require_program("openssl")


@pytest.fixture
def certificate(openssl: str, tmp_path: Path) -> Certificate:
    """A certificate."""
    return make_certificate(openssl, tmp_path)


def settings_of(certificate: Certificate) -> Settings:
    """Return the settings that serve a certificate."""
    return Settings(tls_certificate=str(certificate.path), tls_key=str(certificate.key))


def test_what_a_client_may_speak(certificate: Certificate) -> None:
    """Nothing older than TLS 1.2 is spoken."""
    context = tls.own_context(settings_of(certificate))
    assert context is not None and context.minimum_version == ssl.TLSVersion.TLSv1_2


def test_certificate_and_key_in_one_file(certificate: Certificate) -> None:
    """The key may stand in the certificate's file."""
    certificate.path.write_text(certificate.path.read_text() + certificate.key.read_text())
    tls.check(Settings(tls_certificate=str(certificate.path)))


def test_behind_nginx(certificate: Certificate) -> None:
    """Behind nginx, which encrypts, the server does not; nor does it without a certificate."""
    settings = settings_of(certificate)
    assert tls.own_context(Settings(nginx=True, tls_certificate=settings.tls_certificate)) is None
    assert tls.own_context(Settings()) is None


def test_files_that_are_missing(certificate: Certificate, tmp_path: Path) -> None:
    """A file that cannot be read is named, and so is a key without a certificate."""
    gone = str(tmp_path / "gone.pem")
    for settings in (
        Settings(tls_certificate=gone, tls_key=str(certificate.key)),
        Settings(tls_certificate=str(certificate.path), tls_key=gone),
    ):
        with pytest.raises(ConfigurationError, match=r"gone\.pem' cannot be read: No such file"):
            tls.check(settings)
    with pytest.raises(ConfigurationError, match="AZMLINFSRV_TLS_CERTIFICATE is not"):
        tls.check(Settings(tls_key=str(certificate.key)))


def test_files_that_are_wrong(certificate: Certificate, openssl: str, tmp_path: Path) -> None:
    """What is no certificate, or another's key, or needs a password, stops the start; nobody is asked for one."""
    other = make_certificate(openssl, tmp_path, "other")
    empty = tmp_path / "empty.pem"
    empty.touch()
    locked = tmp_path / "locked.key"
    command = [openssl, "ec", "-in", str(certificate.key), "-aes256", "-passout", "pass:x", "-out", str(locked)]
    subprocess.run(command, check=True, capture_output=True)
    for path, key, reason in (
        (certificate.path, other.key, "key values mismatch"),
        (empty, certificate.key, ""),
        (certificate.key, certificate.key, ""),
        (certificate.path, locked, "the private key is encrypted"),
        (certificate.path, certificate.path, ""),
    ):
        with pytest.raises(ConfigurationError, match=f"cannot be used: .*{reason}") as caught:
            tls.check(Settings(tls_certificate=str(path), tls_key=str(key)))
        assert "PRIVATE" not in caught.value.message


# -- gunicorn ------------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def gunicorn(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """The environment of gunicorn, with no configuration of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GUNICORN_CMD_ARGS", raising=False)
    return monkeypatch


def application(settings: Settings) -> GunicornApplication:
    """Return the gunicorn application of these settings."""
    return GunicornApplication(Configuration(settings, {}, "", ()))


def test_the_options_of_gunicorn(certificate: Certificate, gunicorn: pytest.MonkeyPatch) -> None:
    """--certfile and --keyfile of gunicorn's are taken, as the released server takes them."""
    gunicorn.setenv("GUNICORN_CMD_ARGS", f"--certfile {certificate.path} --keyfile {certificate.key}")
    assert application(Settings()).tls is not None


def test_plain_without_any() -> None:
    """Without a certificate, connections are not encrypted."""
    assert application(Settings()).tls is None


def test_our_certificate_wins(certificate: Certificate, gunicorn: pytest.MonkeyPatch) -> None:
    """The server's own setting wins, and gunicorn says https where it listens."""
    gunicorn.setenv("GUNICORN_CMD_ARGS", "--certfile /nowhere")
    app = application(settings_of(certificate))
    assert app.tls is not None
    assert isinstance(app.cfg, Config) and app.cfg.is_ssl and app.cfg.certfile == str(certificate.path)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ("--certfile /nowhere", "cannot be read"),
        ("--keyfile /nowhere", "no certfile"),
        ("--certfile {path} --keyfile {key} --cert-reqs 2", "option cert_reqs is not supported"),
        ("--certfile {path} --keyfile {key} --ca-certs /ca.pem", "option ca_certs is not supported"),
        ("--certfile {path} --keyfile {key} --ciphers AES", "option ciphers is not supported"),
    ],
)
def test_options_that_cannot_be_honoured(
    certificate: Certificate, gunicorn: pytest.MonkeyPatch, arguments: str, reason: str
) -> None:
    """What would weaken the server if it were passed over stops the start with 3."""
    gunicorn.setenv("GUNICORN_CMD_ARGS", arguments.format(path=certificate.path, key=certificate.key))
    with logged("azmlinfsrv") as lines, pytest.raises(SystemExit) as caught:
        application(Settings())
    assert caught.value.code == 3
    assert reason in lines[0]


def test_gunicorns_certificate_is_not_for_nginx(certificate: Certificate, gunicorn: pytest.MonkeyPatch) -> None:
    """Behind nginx gunicorn's options would encrypt the wrong connection."""
    gunicorn.setenv("GUNICORN_CMD_ARGS", f"--certfile {certificate.path}")
    with pytest.raises(SystemExit):
        application(Settings(nginx=True))


def test_a_reload_keeps_what_works(certificate: Certificate) -> None:
    """At a reload a certificate that cannot be used leaves the last one, and says so."""
    app = application(settings_of(certificate))
    first = app.tls
    certificate.path.write_text("rubbish")
    with logged("azmlinfsrv") as lines:
        app.load_config()
    assert app.tls is first
    assert "The last TLS certificate is kept" in lines[0]


# -- connections ---------------------------------------------------------------------------------------------------


class Connection(asyncio.Protocol):
    """Says hello."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say it."""
        assert isinstance(transport, asyncio.Transport)
        transport.write(b"hello")


class WatchedLoad(Load):
    """Tells when a connection is taken.

    Attributes:
        taken: set once one was.
    """

    def __init__(self, board: Board, slot: int) -> None:
        super().__init__(board, slot)
        self.taken = asyncio.Event()

    def add_connection(self) -> None:
        """Count it."""
        super().add_connection()
        self.taken.set()


def test_connections_of_the_acceptor(certificate: Certificate) -> None:
    """A worker that takes connections in turns encrypts them, and survives those that do not."""
    context = tls.own_context(settings_of(certificate))
    loop = asyncio.new_event_loop()
    board = Board(1, 1)
    slot = board.take()
    assert slot is not None
    sock = socket.create_server(("127.0.0.1", 0))
    port = sock.getsockname()[1]
    acceptor = Acceptor(loop, sock, Connection, Load(board, slot), context, 15)

    async def closed(writer: asyncio.StreamWriter) -> None:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    async def talk() -> bytes:
        plain_reader, plain_writer = await asyncio.open_connection("127.0.0.1", port)
        plain_writer.write(b"GET / HTTP/1.1\r\nHost: t\r\n\r\n")
        assert await asyncio.wait_for(plain_reader.read(), 15) is not None
        await closed(plain_writer)
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=certificate.trusting())
        said = await asyncio.wait_for(reader.readexactly(5), 15)
        await closed(writer)
        return said

    acceptor.open()
    try:
        assert loop.run_until_complete(talk()) == b"hello"
    finally:
        acceptor.close()
        end_handshakes(loop)
        loop.close()


def test_a_handshake_that_never_ends(certificate: Certificate) -> None:
    """A client that connects and says nothing does not keep a loop from ending, nor have it complain."""
    context = tls.own_context(settings_of(certificate))
    loop = asyncio.new_event_loop()
    board = Board(1, 1)
    slot = board.take()
    assert slot is not None
    sock = socket.create_server(("127.0.0.1", 0))
    load = WatchedLoad(board, slot)
    acceptor = Acceptor(loop, sock, Connection, load, context, 60)

    acceptor.open()
    with socket.create_connection(sock.getsockname()) as silent, logged("asyncio") as lines:
        loop.run_until_complete(asyncio.wait_for(load.taken.wait(), 15))
        acceptor.close()
        end_handshakes(loop)
        loop.close()
        silent.settimeout(15)
        assert silent.recv(100) == b""
    assert lines == []

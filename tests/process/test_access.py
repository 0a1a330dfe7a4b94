"""API keys and TLS with real servers and clients."""

from __future__ import annotations

import signal
import socket
import subprocess
from pathlib import Path

import httpx
import pytest

from tests.certificates import Certificate, make_certificate
from tests.conftest import RequireProgram, StartServer
from tests.servers import RunningServer

pytestmark = [pytest.mark.process, pytest.mark.timeout(120)]

SCRIPT = """
import os
from azureml.contrib.services.aml_request import AMLRequest, rawhttp

def init():
    print("keys in the environment:", [name for name in os.environ if "API_KEY" in name])

@rawhttp
def run(request: AMLRequest):
    proto = request.headers.get("X-Forwarded-Proto")
    return {"scheme": request.scheme, "length": len(request.get_data()), "proto": proto}
"""
FIRST, SECOND = "the-first-key-of-the-test", "the-second-key-of-the-test"
PATIENCE_S = 20


@pytest.fixture
def certificate(require_program: RequireProgram, tmp_path: Path) -> Certificate:
    """A certificate."""
    return make_certificate(require_program("openssl"), tmp_path)


def bearer(key: str) -> dict[str, str]:
    """Return the fields that send a key."""
    return {"Authorization": f"Bearer {key}"}


def trusting(running: RunningServer, certificate: Certificate) -> httpx.Client:
    """Return a client that trusts the certificate."""
    url = f"https://127.0.0.1:{running.port}"
    return httpx.Client(base_url=url, verify=certificate.trusting(), timeout=PATIENCE_S, trust_env=False)


def is_ready(running: RunningServer, certificate: Certificate) -> bool:
    """Return whether the server answers over TLS with this certificate."""
    try:
        with trusting(running, certificate) as client:
            return client.get("/").status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


def said_to(running: RunningServer, data: bytes) -> bytes:
    """Return what is answered to bytes that are not encrypted, up to the end of the connection."""
    with socket.create_connection(("127.0.0.1", running.port), PATIENCE_S) as sock:
        sock.sendall(data)
        answer = b""
        try:
            while data := sock.recv(65536):
                answer += data
        except ConnectionResetError:
            pass
        return answer


def test_keys_that_change(server: StartServer, tmp_path: Path) -> None:
    """Every worker takes the keys of a changed file without a restart, and no key is written anywhere."""
    file = tmp_path / "keys"
    file.write_text(f"{FIRST}\n")
    running = server(SCRIPT, "--worker_count", "2", env={"AZMLINFSRV_API_KEYS_FILE": str(file)})
    client = running.client
    assert client.post("/score").status_code == 401
    assert client.get("/ready").status_code == 200
    assert client.post("/score", headers=bearer(FIRST)).status_code == 200
    (tmp_path / "next").write_text(f"{SECOND}\n")
    (tmp_path / "next").replace(file)
    running.wait_until(lambda: client.post("/score", headers=bearer(SECOND)).status_code == 200)

    def is_refused_everywhere() -> bool:
        answers = [httpx.post(f"{running.url}/score", headers=bearer(FIRST), trust_env=False) for _ in range(8)]
        return all(answer.status_code == 401 for answer in answers)

    running.wait_until(is_refused_everywhere)
    metrics = client.get("/metrics", headers=bearer(SECOND))
    assert 'azmlinfsrv_requests_rejected_total{reason="unauthorized"}' in metrics.text
    for text in (running.output, metrics.text):
        assert FIRST not in text and SECOND not in text


def test_keys_that_cannot_be_used(server: StartServer) -> None:
    """A key that is empty stops the start before the script is loaded."""
    running = server(SCRIPT, env={"AZMLINFSRV_API_KEY": ""}, wait=False)
    assert running.wait_exit() == 3
    assert "AZMLINFSRV_API_KEY must be a key" in running.output
    assert "keys in the environment" not in running.output


def test_the_script_does_not_see_the_keys(server: StartServer) -> None:
    """init() finds no key in its environment, preloaded or not, and the server still asks for it after a reload."""
    env = {"AZMLINFSRV_API_KEY": FIRST, "AZMLINFSRV_API_KEY_SECONDARY": SECOND, "WORKER_PRELOAD": "true"}
    running = server(SCRIPT, env=env)
    running.wait_until(lambda: "keys in the environment: []" in running.output)
    running.process.send_signal(signal.SIGHUP)
    running.wait_until(lambda: running.output.count("ready for serving traffic") == 2)
    assert running.client.post("/score").status_code == 401
    assert running.client.post("/score", headers=bearer(SECOND)).status_code == 200


def test_a_wrong_certificate(server: StartServer, certificate: Certificate) -> None:
    """A certificate that cannot be used stops the start before the script is loaded."""
    running = server(SCRIPT, "--tls_certificate", str(certificate.key), wait=False)
    assert running.wait_exit() == 3
    assert "cannot be used" in running.output
    assert "keys in the environment" not in running.output


def test_tls(server: StartServer, certificate: Certificate, require_program: RequireProgram, tmp_path: Path) -> None:
    """Requests come over TLS, what is no TLS is dropped, and a reload brings a new certificate."""
    running = server(SCRIPT, "--worker_count", "2", *certificate.arguments, wait=False)
    running.wait_until(lambda: is_ready(running, certificate))
    with trusting(running, certificate) as client:
        assert client.post("/score", content=b"x" * 300_000).json()["length"] == 300_000
        assert client.post("/score").json()["scheme"] == "https"
    command = [require_program("openssl"), "s_client", "-connect", f"127.0.0.1:{running.port}"]
    for version, is_spoken in (("-tls1_2", True), ("-tls1_3", True), ("-tls1_1", False)):
        shaken = subprocess.run([*command, version], check=False, input=b"", capture_output=True, timeout=PATIENCE_S)
        assert (shaken.returncode == 0) is is_spoken, shaken.stderr
    assert b"HTTP/" not in said_to(running, b"GET / HTTP/1.1\r\nHost: t\r\n\r\n")

    old = certificate._replace(path=certificate.path.rename(tmp_path / "old.pem"))
    renewed = make_certificate(require_program("openssl"), tmp_path)
    with socket.create_connection(("127.0.0.1", running.port)):  # says nothing, and keeps nobody from reloading
        running.process.send_signal(signal.SIGHUP)
        running.wait_until(lambda: is_ready(running, renewed) and not is_ready(running, old))
    assert "Traceback" not in running.output


def test_tls_of_one_process(server: StartServer, certificate: Certificate) -> None:
    """The server without gunicorn speaks TLS too, and drops what does not."""
    running = server(SCRIPT, "--hosting", "single", *certificate.arguments, wait=False)
    running.wait_until(lambda: is_ready(running, certificate))
    with trusting(running, certificate) as client:
        assert client.post("/score").json()["scheme"] == "https"
    assert b"HTTP/" not in said_to(running, b"GET / HTTP/1.1\r\nHost: t\r\n\r\n")
    assert "Traceback" not in running.output


@pytest.mark.usefixtures("nginx")
def test_tls_of_nginx(
    server: StartServer, certificate: Certificate, require_program: RequireProgram, tmp_path: Path, internal: str
) -> None:
    """Behind nginx it is nginx that speaks TLS; it refuses what is none as the server does, and renews at a reload."""
    env = {"AZMLINFSRV_API_KEY": FIRST}
    running = server(SCRIPT, "--nginx", "--server_address", internal, *certificate.arguments, env=env, wait=False)
    running.wait_until(lambda: is_ready(running, certificate))
    with trusting(running, certificate) as client:
        assert client.post("/score").status_code == 401
        answer = client.post("/score", headers=bearer(FIRST)).json()
        assert (answer["scheme"], answer["proto"]) == ("https", "https")
        assert client.get("/swagger.json", headers=bearer(FIRST)).status_code == 200
        assert client.get("/swagger.json").status_code == 401  # what another may read is not kept for all
    refused = said_to(running, b"GET / HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n")
    assert refused.startswith(b"HTTP/1.1 400") and b'{"message":"The request is not valid HTTP/1.1"}' in refused
    old = certificate._replace(path=certificate.path.rename(tmp_path / "old.pem"))
    renewed = make_certificate(require_program("openssl"), tmp_path)
    running.process.send_signal(signal.SIGHUP)
    running.wait_until(lambda: is_ready(running, renewed) and not is_ready(running, old))
    assert "Traceback" not in running.output

"""Check an installed server from the outside: run it with the Python of the environment to check.

Uses the standard library only, so that the environment holds what a user's holds and nothing else.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

START_S = 30.0
STOP_S = 15.0
POLL_S = 0.05
SCRIPT = """
import json

from azureml.contrib.services.aml_request import rawhttp
from azureml.contrib.services.aml_response import AMLResponse


def init():
    global factor
    factor = 2


def run(data):
    return {"doubled": [factor * number for number in json.loads(data)["numbers"]]}
"""


def free_port() -> int:
    """Return a port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def send(port: int, method: str, path: str, body: str | None = None) -> tuple[int, str]:
    """Send one request; return the status and the body of the answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=START_S)
    try:
        connection.request(method, path, body, {"Content-Type": "application/json"} if body else {})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def wait_ready(server: subprocess.Popen[bytes], port: int) -> None:
    """Wait until the server accepts connections."""
    for _ in range(int(START_S / POLL_S)):
        try:
            send(port, "GET", "/")
        except OSError:
            pass
        else:
            return
        try:
            code = server.wait(POLL_S)
        except subprocess.TimeoutExpired:
            continue
        sys.exit(f"the server ended with code {code} before it was ready")
    sys.exit(f"the server was not ready within {START_S} s")


def expect(what: str, seen: object, expected: object) -> None:
    """Fail unless what was seen is what was expected."""
    if seen != expected:
        sys.exit(f"{what}: expected {expected!r}, not {seen!r}")
    print(f"{what}: as expected")


def stop(server: subprocess.Popen[bytes]) -> None:
    """Stop the server, which has to end well."""
    server.send_signal(signal.SIGTERM)
    expect("exit code", server.wait(STOP_S), 0)


@contextlib.contextmanager
def served(source: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """Start a script with the command of this environment; give the server and its port."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "score.py"
        script.write_text(source, "utf-8")
        program = Path(sys.executable).with_name("azmlinfsrv")
        command = [str(program), "--entry_script", str(script), "--port", str(port)]
        server = subprocess.Popen(command, cwd=folder)
        try:
            yield server, port
        finally:
            server.kill()
            server.wait()


def main() -> None:
    """Serve a small script, and check its health and a score."""
    with served(SCRIPT) as (server, port):
        wait_ready(server, port)
        expect("GET /", send(port, "GET", "/"), (200, "Healthy"))
        status, answer = send(port, "POST", "/score", '{"numbers": [1, 2.5]}')
        expect("POST /score", (status, json.loads(answer)), (200, {"doubled": [2, 5.0]}))
        stop(server)


if __name__ == "__main__":
    main()

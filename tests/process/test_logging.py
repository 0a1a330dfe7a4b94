"""What a server writes: its lines, the script's output, and what the user changes of it."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from azmlinfsrv.identity import NO_REQUEST
from tests.conftest import StartServer
from tests.process.asking import PATIENCE_S, answer_of, client
from tests.servers import RunningServer

pytestmark = pytest.mark.process

LINE = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}) ([DIWEC]) \[(\d+)\] ([\w.]+) - (.*)")


def messages(server: RunningServer, logger: str) -> list[str]:
    """Return the messages of a logger in the output, without their starts."""
    found = (LINE.fullmatch(line) for line in server.output.splitlines())
    return [match[5] for match in found if match is not None and match[4] == logger]


class Receiver:
    """Stands in for syslog: a socket that receives datagrams.

    Attributes:
        address: where to send them.
    """

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.settimeout(PATIENCE_S)
        self.address = f"127.0.0.1:{self._socket.getsockname()[1]}"

    def next(self) -> str:
        """Return the text of the next datagram, without its priority (RFC 3164, 4.1.1)."""
        data = self._socket.recv(65536).decode()
        match = re.fullmatch(r"<\d{1,3}>(.*?)\x00?", data, re.DOTALL)
        assert match is not None, data
        return match[1]

    def close(self) -> None:
        """Stop receiving."""
        self._socket.close()


@pytest.fixture
def syslog() -> Iterator[Receiver]:
    """A receiver of syslog lines."""
    receiver = Receiver()
    yield receiver
    receiver.close()


@pytest.mark.parametrize("hosting", ["gunicorn", "single"])
def test_lines_of_a_request(server: StartServer, scripts: Path, hosting: str) -> None:
    """A request has the server's line and the access line, a probe has none, and times are in UTC."""
    running = server(scripts / "steps.py", "--hosting", hosting)
    client().get(f"{running.url}/?not-a-probe")
    length = len(str(answer_of(running, "pid")))
    client().get(f"{running.url}/nothing")
    assert running.stop() == 0
    requests = [line for line in running.output.splitlines() if "/score " in line or "/nothing " in line]
    assert all(LINE.fullmatch(line) for line in requests)
    assert len(requests) == 3, requests
    server_lines, access = messages(running, "azmlinfsrv"), messages(running, "gunicorn.access")
    assert sum(bool(re.fullmatch(r"POST /score 200 \d+\.\d{3}ms \d+", line)) for line in server_lines) == 1
    assert [re.sub(r"\[.*?\]", "[T]", line).rpartition(' "-"')[0] for line in access[:2]] == [
        '127.0.0.1 - - [T] "GET /?not-a-probe HTTP/1.1" 200 7',
        f'127.0.0.1 - - [T] "POST /score HTTP/1.1" 200 {length}',
    ]
    assert len(access) == 3 and '"GET /nothing HTTP/1.1" 404' in access[2]


def test_printed_output(server: StartServer, scripts: Path) -> None:
    """What init(), run() and its threads print is in the log line by line, stderr as it is."""
    running = server(scripts / "steps.py")
    answer_of(running, "output")
    assert running.stop() == 0  # a line without an end is let go once the answer is on its way
    assert messages(running, "azmlinfsrv.print") == [
        "User init function invoked.",
        "printed by run",
        "printed by a thread",
        "without an end",
    ]
    assert "\ncomplained by run\n" in f"\n{running.stderr}"


@pytest.mark.parametrize("hosting", ["gunicorn", "single"])
@pytest.mark.parametrize("threads", ["1", "2"])
def test_syslog(server: StartServer, scripts: Path, syslog: Receiver, hosting: str, threads: str) -> None:
    """Printed lines go to syslog behind the id of their request and a comma, zeros in init()."""
    env = {"AZMLINFSRV_SYSLOG_ADDRESS": syslog.address, "WORKER_THREADS": threads}
    running = server(scripts / "steps.py", "--hosting", hosting, env=env)
    assert syslog.next() == f"{NO_REQUEST},User init function invoked."
    response = running.client.post("/score", content=json.dumps({"do": "output"}))
    request_id = response.headers["x-request-id"]
    assert [syslog.next() for _ in range(4)] == [
        f"{request_id},printed by run",
        f"{request_id},complained by run",
        f"{request_id},printed by a thread",
        f"{request_id},without an end",
    ]
    headers = {"x-request-id": "04c6f58d-510f-4e3a-933e-60ac20f2707d"}
    running.client.post("/score", content=json.dumps({"do": "output"}), headers=headers)
    assert syslog.next() == "04c6f58d-510f-4e3a-933e-60ac20f2707d,printed by run"


def test_a_failing_run_is_logged_with_its_id(server: StartServer, scripts: Path) -> None:
    """The log has the traceback of the user's code and the id of the request."""
    running = server(scripts / "steps.py")
    content = json.dumps({"do": "fail", "text": "no weights"})
    response = running.client.post("/score", content=content)
    assert response.status_code == 500 and "weights" not in response.text
    assert "ValueError: no weights" in running.stdout
    assert f"Request id: {response.headers['x-request-id']}" in running.stdout


@pytest.mark.parametrize(
    ("level", "shown"),
    [
        ("DEBUG", ["debug", "info", "warning", "error"]),
        ("INFO", ["info", "warning", "error"]),
        ("", ["info", "warning", "error"]),
        ("WARNING", ["warning", "error"]),
        ("error", ["error"]),
    ],
)
def test_log_level(server: StartServer, scripts: Path, level: str, shown: list[str]) -> None:
    """AZUREML_LOG_LEVEL sets the level of the server's loggers and those below them."""
    running = server(scripts / "steps.py", env={"AZUREML_LOG_LEVEL": level} if level else {})
    answer_of(running, "log")
    assert running.stop() == 0
    assert messages(running, "azmlinfsrv.user") == [f"of level {name}" for name in shown]
    assert bool(messages(running, "gunicorn.access")) is ("info" in shown)
    after_start = running.stdout.partition("Server Routes")[2]
    assert ("ready for serving" in after_start) is ("info" in shown)


OWN_LOGGING = {
    "version": 1,
    "formatters": {
        "own": {
            "class": "azureml_inference_server_http.log_config.AMLLogFormatter",
            "format": "OWN %(levelname)s %(name)s: %(message)s",
        }
    },
    "filters": {"probes": {"()": "azureml_inference_server_http.log_config.RootAccessFilter"}},
    "handlers": {
        "own": {"class": "logging.StreamHandler", "formatter": "own", "stream": "ext://sys.stdout"},
        "file": {"class": "logging.FileHandler", "formatter": "own", "filename": "access.log"},
    },
    "loggers": {
        "azmlinfsrv": {"level": "INFO", "handlers": ["own"], "propagate": False},
        "gunicorn.access": {"level": "INFO", "handlers": ["file"], "filters": ["probes"], "propagate": False},
    },
}


@pytest.mark.parametrize("place", ["app root", "beside the script"])
def test_the_users_logging_json(server: StartServer, scripts: Path, tmp_path: Path, place: str) -> None:
    """A logging.json in AML_APP_ROOT or beside the script is honoured, with the released server's classes in it."""
    root, beside, cwd = (tmp_path / name for name in ("root", "beside", "cwd"))
    for folder in (root, beside, cwd):
        folder.mkdir()
    (beside / "score.py").write_text((scripts / "steps.py").read_text())
    ((root if place == "app root" else beside) / "logging.json").write_text(json.dumps(OWN_LOGGING))
    running = server(beside / "score.py", env={"AML_APP_ROOT": str(root)}, cwd=cwd)
    answer_of(running, "output")
    running.client.get("/")
    running.client.get("/?not-a-probe")
    assert running.stop() == 0
    assert "OWN INFO azmlinfsrv.print: printed by run\n" in running.stdout
    assert re.search(r"^OWN INFO azmlinfsrv: POST /score 200 [\d.]+ms \d+$", running.stdout, re.MULTILINE)
    assert "gunicorn.access" not in running.stdout
    access = (cwd / "access.log").read_text().splitlines()
    assert len(access) == 2
    assert (
        access[0].startswith("OWN INFO gunicorn.access: 127.0.0.1 - - [") and '"POST /score HTTP/1.1" 200' in access[0]
    )
    assert '"GET /?not-a-probe HTTP/1.1" 200' in access[1]


def test_the_app_roots_logging_json_wins(server: StartServer, scripts: Path, tmp_path: Path) -> None:
    """Of two logging.json files the one in AML_APP_ROOT counts."""
    root, beside = tmp_path / "root", tmp_path / "beside"
    for folder, name in ((root, "ROOT"), (beside, "BESIDE")):
        folder.mkdir()
        (folder / "logging.json").write_text(json.dumps(OWN_LOGGING).replace("OWN", name))
    (beside / "score.py").write_text((scripts / "steps.py").read_text())
    running = server(beside / "score.py", env={"AML_APP_ROOT": str(root)})
    assert "ROOT INFO azmlinfsrv.print: User init function invoked." in running.stdout
    assert "BESIDE" not in running.stdout


@pytest.mark.parametrize("wanted", ["true", "false"])
def test_model_info(server: StartServer, scripts: Path, tmp_path: Path, wanted: str) -> None:
    """AML_DBG_MODEL_INFO logs ids, tree and sizes of the models at the start (`contract.md`)."""
    folder = tmp_path / "models"
    (folder / "diabetes" / "3" / "weights").mkdir(parents=True)
    (folder / "diabetes" / "3" / "weights" / "w.bin").write_bytes(b"x" * 1234)
    (folder / "digits" / "12").mkdir(parents=True)
    (folder / "digits" / "12" / "model.onnx").write_bytes(b"x")
    env = {"AML_DBG_MODEL_INFO": wanted}
    running = server(scripts / "steps.py", "--model_dir", str(folder), env=env)
    found = [line.strip() for line in messages(running, "azmlinfsrv")]
    expected = [
        "Model ids: diabetes:3, digits:12",
        "models/",
        "diabetes/",
        "w.bin (1234 bytes)",
        "model.onnx (1 bytes)",
    ]
    assert [line for line in found if line in expected] == (expected if wanted == "true" else [])

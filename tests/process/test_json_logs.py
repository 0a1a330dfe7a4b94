"""AZMLINFSRV_LOG_FORMAT=json: every line that a server writes is one JSON object."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import StartServer
from tests.process.asking import PATIENCE_S

pytestmark = pytest.mark.process

TRACE = "0af7651916cd43dd8448eb211c80319c"
HEADERS = {
    "x-request-id": "request-1",
    "x-ms-client-request-id": "client-1",
    "traceparent": f"00-{TRACE}-b7ad6b7169203331-01",
}
JSON = {"AZMLINFSRV_LOG_FORMAT": "json"}


def objects(text: str) -> list[dict[str, Any]]:
    """Return the objects of some lines, each of which must be one."""
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.parametrize("hosting", ["gunicorn", "single"])
def test_every_line_is_an_object(server: StartServer, scripts: Path, hosting: str) -> None:
    """From the banner to the end of the stop, each line has time, level, logger and message."""
    running = server(scripts / "told.py", "--log_format", "json", "--hosting", hosting)
    httpx.post(f"{running.url}/score", content='{"do": "echo"}', timeout=PATIENCE_S, trust_env=False)
    httpx.post(f"{running.url}/score", content='{"do": "fail"}', timeout=PATIENCE_S, trust_env=False)
    assert running.stop() == 0
    lines = objects(running.stdout) + objects(running.stderr)
    assert len(lines) > 15
    for line in lines:
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["time"])
        assert line["level"] in {"INFO", "WARNING", "ERROR"}
        assert isinstance(line["logger"], str) and isinstance(line["message"], str)
    assert any(line["message"] == "Server Settings" for line in lines)


@pytest.mark.parametrize("run", ["echo", "spans"])
def test_the_lines_of_a_request(server: StartServer, scripts: Path, run: str) -> None:
    """Access, server, script and printed lines, also those of a thread, have the request's and the trace's ids."""
    running = server(scripts / "told.py", env=JSON)
    httpx.post(
        f"{running.url}/score?x", content=json.dumps({"do": run}), headers=HEADERS, timeout=PATIENCE_S, trust_env=False
    )
    assert running.stop() == 0
    lines = [line for line in objects(running.stdout) + objects(running.stderr) if "request_id" in line]
    messages = {line["message"]: line for line in lines}
    expected = {"thread printed"} if run == "spans" else {"run printed", "run complained", "run logged this"}
    assert expected < set(messages)
    for line in lines:
        assert (line["request_id"], line["client_request_id"], line["trace_id"]) == ("request-1", "client-1", TRACE)
    assert len({line["span_id"] for line in lines}) == 1
    access = next(line for line in lines if line["logger"] == "gunicorn.access")
    own = next(line for line in lines if line["logger"] == "azmlinfsrv")
    for line in (access, own):
        assert (line["method"], line["path"], line["status"]) == ("POST", "/score", 200)
        assert line["duration_ms"] > 0
    assert '"POST /score?x HTTP/1.1" 200' in access["message"]
    assert own["message"].startswith("POST /score?x 200 ")
    if run == "echo":
        assert (messages["run complained"]["stream"], messages["run complained"]["level"]) == ("stderr", "ERROR")
        assert messages["run logged this"]["logger"] == "told.script"


def test_errors(server: StartServer, scripts: Path) -> None:
    """A failure is one object, its traceback in the message, whatever line ends it has."""
    running = server(scripts / "told.py", env=JSON)
    httpx.post(f"{running.url}/score", content='{"do": "fail"}', headers=HEADERS, timeout=PATIENCE_S, trust_env=False)
    assert running.stop() == 0
    (error,) = [line for line in objects(running.stdout) if line["level"] == "ERROR"]
    assert error["message"].startswith("Encountered Exception: Traceback") and "user's mistake" in error["message"]
    assert (error["request_id"], error["trace_id"]) == ("request-1", TRACE)


def test_a_logging_json_of_the_user_s(server: StartServer, scripts: Path, tmp_path: Path) -> None:
    """The switch wins over the formatters of a logging.json, which keeps deciding what is logged and where to."""
    (tmp_path / "logging.json").write_text(
        json.dumps(
            {
                "version": 1,
                "disable_existing_loggers": False,
                "formatters": {"mine": {"format": "MINE %(message)s"}},
                "handlers": {
                    "out": {"class": "logging.StreamHandler", "formatter": "mine", "stream": "ext://sys.stdout"}
                },
                "loggers": {"azmlinfsrv": {"level": "INFO", "handlers": ["out"], "propagate": False}},
            }
        )
    )
    running = server(scripts / "told.py", env={**JSON, "AML_APP_ROOT": str(tmp_path)})
    httpx.post(f"{running.url}/score", content='{"do": "echo"}', timeout=PATIENCE_S, trust_env=False)
    assert running.stop() == 0
    assert any(line["message"].startswith("POST /score 200") for line in objects(running.stdout))


def test_text_is_the_default(server: StartServer, scripts: Path) -> None:
    """Without the switch no line is an object."""
    running = server(scripts / "told.py")
    httpx.post(f"{running.url}/score", content='{"do": "echo"}', headers=HEADERS, timeout=PATIENCE_S, trust_env=False)
    assert running.stop() == 0
    assert not [line for line in running.output.splitlines() if line.startswith("{")]
    assert "run complained" in running.stderr.splitlines()


def test_a_failed_start(server: StartServer) -> None:
    """A start that fails says why in objects, too."""
    running = server("def init():\n    raise OSError('no model')\ndef run(data):\n    pass\n", env=JSON, wait=False)
    assert running.wait_exit() == 3
    messages = [line["message"] for line in objects(running.stdout)]
    assert any("no model" in message for message in messages)

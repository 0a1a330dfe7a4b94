"""Application Insights: envelopes that really arrive from a server that was really started."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import httpx
import pytest

from azmlinfsrv.identity import NO_REQUEST
from tests.conftest import StartServer
from tests.ports import ReservedPort
from tests.process.asking import PATIENCE_S
from tests.servers import RunningServer, server_command, server_environment
from tests.telemetry.ingestion import KEY, Answer, Envelope, Ingestion, refusing_url

pytestmark = [pytest.mark.long, pytest.mark.process]

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
IDS = {"x-request-id": "request-1", "x-ms-client-request-id": "client-1"}
HEADERS = {**IDS, "traceparent": f"00-{TRACE}-{PARENT}-01"}
REQUEST_FIELDS = {
    "Container Id",
    "Request Id",
    "Client Request Id",
    "Response Value",
    "name",
    "url",
    "start_time",
    "duration",
    "resultCode",
    "success",
    "http_method",
    "Workspace Name",
    "Service Name",
}


@pytest.fixture
def ingestion() -> Iterator[Ingestion]:
    """The stand-in of the ingestion endpoint."""
    standin = Ingestion()
    yield standin
    standin.close()


def variables(ingestion: Ingestion, **more: str) -> dict[str, str]:
    """Return the environment of a server that sends its telemetry to the stand-in."""
    return {
        "AML_APP_INSIGHTS_ENABLED": "true",
        "APPLICATIONINSIGHTS_CONNECTION_STRING": ingestion.connection_string,
        "HOSTNAME": "box",
        "WORKSPACE_NAME": "space",
        "SERVICE_NAME": "the service",
        **more,
    }


def ask(running: RunningServer, do: str, **arguments: Any) -> httpx.Response:
    """Return the answer of `told.py`, asked with ids and a trace."""
    content = json.dumps({"do": do, **arguments})
    return httpx.post(f"{running.url}/score?x=1", content=content, headers=HEADERS, timeout=PATIENCE_S, trust_env=False)


def told(envelope: Envelope) -> tuple[dict[str, Any], dict[str, str]]:
    """Return an envelope's data and its custom dimensions."""
    data = envelope["data"]["baseData"]
    return data, data["properties"]


def request_of(ingestion: Ingestion, count: int = 1) -> Envelope:
    """Return the newest of so many requests that have arrived."""
    return ingestion.wait_for_type("RequestData", count)[-1]


def test_a_success(server: StartServer, scripts: Path, ingestion: Ingestion) -> None:
    """A request has a span with its true times within the caller's trace, and every documented field."""
    running = server(scripts / "told.py", env=variables(ingestion))
    before = datetime.now(timezone.utc)
    answer = ask(running, "echo", value=5)
    after = datetime.now(timezone.utc)
    envelope = request_of(ingestion)
    data, properties = told(envelope)
    assert set(properties) == REQUEST_FIELDS
    url = f"{running.url}/score?x=1"
    start, duration = properties.pop("start_time"), properties.pop("duration")
    assert properties == {
        "Container Id": "box",
        "Request Id": "request-1",
        "Client Request Id": "client-1",
        "Response Value": answer.text,
        "name": "/score",
        "url": url,
        "resultCode": "200",
        "success": "True",
        "http_method": "POST",
        "Workspace Name": "space",
        "Service Name": "the service",
    }
    assert (data["name"], data["url"], data["responseCode"], data["success"]) == ("/score", url, "200", True)
    assert re.fullmatch(r"00:00:\d\d\.\d{3}", duration)
    assert timedelta(0) < span_time(data) < after - before
    assert before - timedelta(milliseconds=1) <= datetime.fromisoformat(start.replace("Z", "+00:00")) <= after
    assert envelope["time"] == start
    assert (envelope["tags"]["ai.operation.id"], envelope["tags"]["ai.operation.parentId"]) == (TRACE, PARENT)
    assert envelope["tags"]["ai.cloud.role"] == "the service"
    assert ingestion.of_type("ExceptionData") == []


def span_time(data: Envelope) -> timedelta:
    """Return the duration of a span."""
    match = re.fullmatch(r"0\.(\d\d):(\d\d):(\d\d)\.(\d{6})", data["duration"])
    assert match is not None, data["duration"]
    hours, minutes, seconds, microseconds = map(int, match.groups())
    return timedelta(hours=hours, minutes=minutes, seconds=seconds, microseconds=microseconds)


@pytest.mark.parametrize(
    ("do", "arguments", "type_name", "message", "frame"),
    [
        ("fail", {}, "ValueError", "user's mistake", ("fail", "told.py")),
        (
            "slow",
            {},
            "RunTimeoutError",
            "Script failed to finish execution within the allocated time: 1000ms",
            ("slow", "told.py"),
        ),
    ],
)
def test_a_user_s_error_and_a_timeout(
    server: StartServer,
    scripts: Path,
    ingestion: Ingestion,
    do: str,
    arguments: dict[str, Any],
    type_name: str,
    message: str,
    frame: tuple[str, str],
) -> None:
    """An error is a failed request and an exception with type, message, the user's frames and the ids."""
    running = server(scripts / "told.py", env=variables(ingestion, SCORING_TIMEOUT_MS="1000"))
    answer = ask(running, do, **arguments)
    envelope = request_of(ingestion)
    data, properties = told(envelope)
    assert set(properties) == REQUEST_FIELDS
    assert (properties["resultCode"], properties["success"], data["success"]) == ("500", "False", False)
    assert properties["Response Value"] == answer.text
    if do == "slow":
        assert span_time(data) >= timedelta(milliseconds=1000)
    exception = ingestion.wait_for_type("ExceptionData")[0]
    told_of, properties = told(exception)
    (details,) = told_of["exceptions"]
    assert (details["typeName"], details["message"]) == (type_name, message)
    innermost = details["parsedStack"][0]
    assert (innermost["method"], Path(innermost["fileName"]).name) == frame
    assert frame[1] in details["stack"] and "site-packages/azmlinfsrv" not in details["stack"]
    assert {name: properties[name] for name in ("Container Id", "Request Id", "Client Request Id")} == {
        "Container Id": "box",
        "Request Id": "request-1",
        "Client Request Id": "client-1",
    }
    assert exception["tags"]["ai.operation.id"] == TRACE
    assert exception["tags"]["ai.operation.parentId"] == data["id"]


def test_bad_input_and_unknown_paths(server: StartServer, scripts: Path, ingestion: Ingestion) -> None:
    """A client's mistake is a failed request and no exception; probes are not told of."""
    running = server(scripts / "told.py", env=variables(ingestion))
    httpx.post(f"{running.url}/score", content=b"\xff", headers=IDS, timeout=PATIENCE_S, trust_env=False)
    httpx.get(f"{running.url}/nothing?x", headers=IDS, timeout=PATIENCE_S, trust_env=False)
    ingestion.wait_for_type("RequestData", 2)
    found = [told(envelope)[1] for envelope in ingestion.of_type("RequestData")]
    assert [(each["name"], each["resultCode"], each["success"]) for each in found] == [
        ("/score", "400", "False"),
        ("/nothing", "404", "False"),
    ]
    for each in found:
        assert set(each) == REQUEST_FIELDS
        assert "message" in json.loads(each["Response Value"])
        assert each["Request Id"] == "request-1"
    assert ingestion.of_type("ExceptionData") == []


def test_streams_and_binary_answers(server: StartServer, scripts: Path, ingestion: Ingestion) -> None:
    """A stream lasts until its end, and has the release's sentence for its value, like an answer that is no text."""
    running = server(scripts / "told.py", env=variables(ingestion))
    assert ask(running, "stream").text == "part 0;part 1;part 2;"
    ask(running, "binary")
    with pytest.raises(httpx.RemoteProtocolError):
        ask(running, "broken_stream")
    ingestion.wait_for_type("RequestData", 3)
    stream, binary, broken = (told(envelope) for envelope in ingestion.of_type("RequestData"))
    sentence = "Scoring request response payload is a non serializable object or raw binary"
    for _, properties in (stream, binary):
        assert set(properties) == REQUEST_FIELDS
        assert json.loads(properties["Response Value"]) == sentence
        assert properties["success"] == "True"
    assert (broken[1]["success"], broken[1]["outcome"], broken[0]["success"]) == ("False", "aborted", False)
    assert told(ingestion.wait_for_type("ExceptionData")[0])[0]["exceptions"][0]["message"] == "broke off"


def test_long_answers_are_cut(server: StartServer, scripts: Path, ingestion: Ingestion) -> None:
    """The value of an answer is cut at 8,192 bytes; the answer itself is whole."""
    running = server(scripts / "told.py", env=variables(ingestion))
    assert len(ask(running, "long", length=100_000).text) == 100_002
    assert told(request_of(ingestion))[1]["Response Value"] == '"' + "x" * 8191


def test_answers_can_be_kept_back(server: StartServer, scripts: Path, ingestion: Ingestion) -> None:
    """With APP_INSIGHTS_LOG_RESPONSE_ENABLED=false no answer's text is sent, also where model data is not collected."""
    running = server(scripts / "told.py", env=variables(ingestion, APP_INSIGHTS_LOG_RESPONSE_ENABLED="false"))
    ask(running, "echo", value="secret answer")
    assert set(told(request_of(ingestion))[1]) == REQUEST_FIELDS - {"Response Value"}
    assert "secret answer" not in json.dumps(ingestion.envelopes)


def test_printed_and_logged(server: StartServer, scripts: Path, ingestion: Ingestion) -> None:
    """What the script prints is under STDOUT and STDERR, with the request's id or zeros; what it logs has its level."""
    running = server(scripts / "told.py", env=variables(ingestion))
    ask(running, "echo")
    request = request_of(ingestion)
    assert running.stop() == 0
    messages = [(*told(envelope), envelope["tags"]) for envelope in ingestion.of_type("MessageData")]
    printed = [(data["message"], properties["Content"]) for data, properties, _ in messages if "Content" in properties]
    assert printed == [
        ("STDOUT", f"{NO_REQUEST},init printed"),
        ("STDOUT", "request-1,run printed"),
        ("STDERR", "request-1,run complained"),
    ]
    logged = [(data["message"], properties) for data, properties, _ in messages if "Content" not in properties]
    assert [message for message, _ in logged] == ["init logged", "run logged this"]
    assert logged[1][1]["logger_name"] == "told.script"
    assert (logged[1][1]["Request Id"], logged[1][1]["Client Request Id"]) == ("request-1", "client-1")
    for _, _, tags in [each for each in messages if each[1]["Request Id"] == "request-1"]:
        assert (tags["ai.operation.id"], tags["ai.operation.parentId"]) == (TRACE, request["data"]["baseData"]["id"])


@pytest.mark.parametrize("variable", ["AML_MODEL_DC_STORAGE_ENABLED", "AML_MDC_STORAGE_ENABLED"])
def test_model_data(server: StartServer, scripts: Path, ingestion: Ingestion, tmp_path: Path, variable: str) -> None:
    """With data collection on, a success has its model data, every documented field, and a failure has none."""
    (tmp_path / "models" / "iris" / "3").mkdir(parents=True)
    env = variables(ingestion, **{variable: "true", "AZUREML_MODEL_DIR": str(tmp_path / "models")})
    running = server(scripts / "told.py", env=env)
    ask(running, "fail")
    ask(running, "echo", value=5)
    ingestion.wait_for_type("RequestData", 2)
    found = [each for each in ingestion.of_type("MessageData") if told(each)[0]["message"] == "model_data_collection"]
    (properties,) = (told(each)[1] for each in found)
    assert properties == {
        "Container Id": "box",
        "Request Id": "request-1",
        "Client Request Id": "client-1",
        "Workspace Name": "space",
        "Service Name": "the service",
        "Models": '["iris:3"]',
        "Input": json.dumps('{"do": "echo", "value": 5}'),
        "Prediction": '{"got":5}',
    }


def test_spans_of_the_script(server: StartServer, scripts: Path, ingestion: Ingestion) -> None:
    """Spans that run() opens, also in a thread of its own, join the request's trace."""
    running = server(scripts / "told.py", env=variables(ingestion))
    assert ask(running, "spans").status_code == 200
    request = request_of(ingestion)["data"]["baseData"]["id"]
    spans = {told(each)[0]["name"]: each for each in ingestion.wait_for_type("RemoteDependencyData", 3)}
    parents = {name: each["tags"]["ai.operation.parentId"] for name, each in spans.items()}
    assert parents == {"outer": request, "inner": told(spans["outer"])[0]["id"], "in thread": request}
    assert {each["tags"]["ai.operation.id"] for each in spans.values()} == {TRACE}
    assert told(spans["outer"])[1]["rows"] == "3"


def test_an_exception_that_was_logged(server: StartServer, scripts: Path, ingestion: Ingestion) -> None:
    """`logger.exception` in the script is an exception with the message beside it; the request succeeds."""
    running = server(scripts / "told.py", env=variables(ingestion))
    ask(running, "log_exception")
    data, properties = told(ingestion.wait_for_type("ExceptionData")[0])
    assert (data["exceptions"][0]["typeName"], properties["Message"]) == ("ValueError", "caught it")
    assert told(request_of(ingestion))[1]["success"] == "True"


@pytest.mark.parametrize("preload", ["false", "true"])
@pytest.mark.parametrize("hosting", ["gunicorn", "single"])
def test_a_failure_of_init(server: StartServer, ingestion: Ingestion, hosting: str, preload: str) -> None:
    """A failure of init() arrives before the process ends."""
    source = """
        def init():
            print("starting")
            raise OSError("no model")

        def run(data):
            return data
    """
    running = server(source, env=variables(ingestion, WORKER_PRELOAD=preload, AZMLINFSRV_HOSTING=hosting), wait=False)
    assert running.wait_exit() == 3
    (exception,) = ingestion.of_type("ExceptionData")
    data, properties = told(exception)
    assert (data["exceptions"][0]["typeName"], data["exceptions"][0]["message"]) == ("OSError", "no model")
    assert data["exceptions"][0]["parsedStack"][0]["method"] == "init"
    assert (properties["Request Id"], properties["Container Id"]) == ("Unknown", "box")
    contents = [told(each)[1].get("Content") for each in ingestion.of_type("MessageData")]
    assert contents == [f"{NO_REQUEST},starting"]


def test_preloading(server: StartServer, scripts: Path, ingestion: Ingestion) -> None:
    """With WORKER_PRELOAD init() is told of once, whatever the number of workers, and each worker tells of its own."""
    running = server(scripts / "told.py", env=variables(ingestion, WORKER_PRELOAD="true", WORKER_COUNT="3"))
    for _ in range(30):
        assert ask(running, "echo").status_code == 200
    ingestion.wait_for_type("RequestData", 30)
    assert running.stop() == 0
    contents = [told(each)[1].get("Content") for each in ingestion.of_type("MessageData")]
    assert contents.count(f"{NO_REQUEST},init printed") == 1
    assert contents.count("request-1,run printed") == 30
    assert len(ingestion.of_type("RequestData")) == 30


@pytest.mark.parametrize("threads", ["1", "4"])
@pytest.mark.parametrize("style", ["def", "async def"])
def test_concurrent_requests_keep_apart(server: StartServer, ingestion: Ingestion, style: str, threads: str) -> None:
    """Whatever calls run(), printed lines and spans belong to the request that they are about."""
    source = f"""
        import asyncio, json, time
        from opentelemetry import trace

        def init():
            pass

        {style} run(data):
            name = json.loads(data)
            print("begin", name)
            {"await asyncio.sleep" if style == "async def" else "time.sleep"}(0.05)
            with trace.get_tracer("t").start_as_current_span(name):
                print("end", name)
            return name
    """
    running = server(source, env=variables(ingestion, WORKER_THREADS=threads))
    names = [f"name-{number}" for number in range(8)]
    with (
        httpx.Client(base_url=running.url, timeout=PATIENCE_S, trust_env=False) as client,
        ThreadPoolExecutor(8) as pool,
    ):
        list(pool.map(lambda n: client.post("/score", content=json.dumps(n), headers={"x-request-id": n}), names))
    ingestion.wait_for_type("RequestData", 8)
    ingestion.wait_for_type("RemoteDependencyData", 8)
    ids = {told(each)[1]["Request Id"]: each for each in ingestion.of_type("RequestData")}
    contents = {told(each)[1].get("Content") for each in ingestion.of_type("MessageData")}
    for name in names:
        assert {f"{name},begin {name}", f"{name},end {name}"} <= contents
    for span in ingestion.of_type("RemoteDependencyData"):
        request = ids[told(span)[0]["name"]]
        assert span["tags"]["ai.operation.parentId"] == told(request)[0]["id"]
        assert span["tags"]["ai.operation.id"] == request["tags"]["ai.operation.id"]


def test_a_bare_key_and_the_endpoint(server: StartServer, scripts: Path, ingestion: Ingestion) -> None:
    """A key of the command line goes to AML_APP_INSIGHTS_ENDPOINT, path and all."""
    env = {"AML_APP_INSIGHTS_ENDPOINT": f"{ingestion.url}/v2/track"}
    running = server(scripts / "told.py", "--appinsights_instrumentation_key", KEY.upper(), env=env)
    ask(running, "echo")
    assert request_of(ingestion)["iKey"] == KEY
    assert "Valid Application Insights instrumentation key provided." in running.stdout


def test_an_invalid_key(server: StartServer, scripts: Path, ingestion: Ingestion) -> None:
    """A key that cannot be one is said and not shown; telemetry is off, and requests are served."""
    env = variables(ingestion, AML_APP_INSIGHTS_KEY="not-a-key-but-secret")
    running = server(scripts / "told.py", env=env)
    assert ask(running, "echo").status_code == 200
    assert running.stop() == 0
    assert "Invalid Application Insights instrumentation key provided." in running.stdout
    assert "Application Insights has been disabled." in running.stdout
    assert "Application Insights Enabled: false" in running.stdout
    assert "not-a-key" not in running.output
    assert ingestion.batches == []


def test_no_secret_is_shown(server: StartServer, scripts: Path, ingestion: Ingestion) -> None:
    """Neither key nor connection string is in what the server writes, at any level, nor in an answer."""
    ingestion.answer = lambda _number, _envelopes: Answer(400)
    running = server(
        scripts / "told.py", env=variables(ingestion, AZUREML_LOG_LEVEL="DEBUG", SCORING_TIMEOUT_MS="1000")
    )
    answers = [ask(running, do).text for do in ("echo", "fail", "slow", "log_exception")]
    ingestion.wait_for(lambda: ingestion.batches)
    running.stop()
    for text in (running.output, *answers):
        assert KEY not in text
        assert "InstrumentationKey" not in text


def test_an_endpoint_that_is_gone(server: StartServer, scripts: Path) -> None:
    """Where nothing listens, requests are served as ever, drops are counted in the log, and a stop is bounded."""
    with refusing_url() as url:
        env = {"AML_APP_INSIGHTS_ENABLED": "true", "AML_APP_INSIGHTS_KEY": KEY, "AML_APP_INSIGHTS_ENDPOINT": url}
        running = server(scripts / "told.py", env=env)
        with httpx.Client(base_url=running.url, timeout=PATIENCE_S, trust_env=False) as client:
            for _ in range(700):
                assert client.post("/score", content='{"do": "echo"}').status_code == 200
        counted = re.compile(r'azmlinfsrv_telemetry_dropped_total\{sink="appinsights"\} [1-9]')
        running.wait_until(lambda: counted.search(running.client.get("/metrics").text))
        assert running.stop() == 0
    assert running.stdout.count("telemetry is not accepted") == 1
    dropped = re.search(r"Application Insights: (\d+) records of telemetry were dropped", running.stdout)
    # Of each request: itself, two printed lines and a log line; of init(): one of each.
    assert dropped is not None and int(dropped[1]) == 700 * 4 + 2, running.stdout
    assert not re.search(r"azure\.(core|monitor)|urllib3|opentelemetry", running.output)


def test_nothing_is_lost_at_a_stop(server: StartServer, scripts: Path, ingestion: Ingestion) -> None:
    """What was told just before a graceful stop arrives."""
    running = server(scripts / "told.py", env=variables(ingestion))
    with httpx.Client(base_url=running.url, timeout=PATIENCE_S, trust_env=False) as client:
        for _ in range(200):
            client.post("/score", content='{"do": "echo"}')
    assert running.stop() == 0
    assert len(ingestion.of_type("RequestData")) == 200


PROBE = """
import sys
sys.modules[sys.argv.pop(1)] = None
from azmlinfsrv.cli import main
main(sys.argv[1:])
"""


@pytest.mark.parametrize(
    ("module", "env", "extra"),
    [
        (
            "azure.monitor.opentelemetry.exporter",
            {"AML_APP_INSIGHTS_ENABLED": "true", "AML_APP_INSIGHTS_KEY": KEY},
            "appinsights",
        ),
        ("opentelemetry.exporter.otlp.proto.grpc", {"AZMLINFSRV_OTLP_ENABLED": "true"}, "otlp"),
    ],
)
def test_an_extra_that_is_missing(scripts: Path, tmp_path: Path, module: str, env: dict[str, str], extra: str) -> None:
    """Switched on without its packages, the start stops with one line that says what to install."""
    with ReservedPort() as port:
        arguments = server_command(scripts / "told.py", port.number, [])[3:]
        ended = subprocess.run(
            [sys.executable, "-c", PROBE, module, *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
            cwd=tmp_path,
            env=server_environment(env),
        )
    assert ended.returncode == 3, ended.stdout + ended.stderr
    (line,) = [line for line in (ended.stdout + ended.stderr).splitlines() if "pip install" in line]
    assert f"pip install 'azmlinfsrv[{extra}]'" in line and module in line
    assert "Traceback" not in ended.stdout + ended.stderr

"""The endpoints of the Open Inference Protocol, in memory: a script behind the whole application."""

from __future__ import annotations

import asyncio
import gzip
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import flask
import numpy as np
import pytest
from inference_schema import schema_decorators
from inference_schema.parameter_types.numpy_parameter_type import NumpyParameterType

from azmlinfsrv import __version__, batched, rawhttp
from azmlinfsrv.access import make_access
from azmlinfsrv.app import Application, create_app
from azmlinfsrv.errors import ConfigurationError
from azmlinfsrv.inference import make_inference, model_name
from azmlinfsrv.inference_app import InferenceExtension
from azmlinfsrv.inference_body import HEADER_LENGTH
from azmlinfsrv.messages import Request
from azmlinfsrv.schema import Swagger
from azmlinfsrv.settings import Settings
from azmlinfsrv.worker_state import STOPPING, STUCK
from tests.unit.http_fakes import RecordedLog, RecordedReply, request
from tests.unit.inference_stage import INFER, error_of, outputs_of, script_of, served, tensor

if TYPE_CHECKING:
    import httpx

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("_own_schemas")]

input_schema: Callable[..., Callable[[Any], Any]] = schema_decorators.input_schema
output_schema: Callable[..., Callable[[Any], Any]] = schema_decorators.output_schema
ROWS = tensor("data", "FP64", [2, 2], [1.5, 2.5, 3.5, 4.5])
SAMPLE = np.zeros((1, 2))
# What functions under test tell; inference-schema cannot decorate those that refer to a test's own variables.
SEEN: list[int] = []


def summing() -> Any:
    """Return a function that adds up rows."""

    @input_schema("data", NumpyParameterType(SAMPLE))
    @output_schema(NumpyParameterType(SAMPLE[0]))
    def run(data: Any, factor: float = 1.0) -> Any:
        return data.sum(axis=1) * factor

    return run


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    """A client of a script that adds up rows."""
    async with served(summing()) as client:
        yield client


async def test_health_and_metadata(client: httpx.AsyncClient) -> None:
    """Every endpoint of the protocol answers in its form, for the model's version as well."""
    expected = {
        "/v2": {"name": "azmlinfsrv", "version": __version__, "extensions": ["binary_tensor_data"]},
        "/v2/health/live": {"live": True},
        "/v2/health/ready": {"ready": True},
    }
    for path in ("/v2/models/model", "/v2/models/model/versions/1"):
        expected[path] = {
            "name": "model",
            "versions": ["1"],
            "platform": "python",
            "inputs": [{"name": "data", "datatype": "FP64", "shape": [-1, 2]}],
            "outputs": [{"name": "output-0", "datatype": "FP64", "shape": [-1]}],
        }
        expected[f"{path}/ready"] = {"name": "model", "ready": True}
    for path, content in expected.items():
        answer = await client.get(path)
        assert (answer.status_code, answer.json()) == (200, content)
        assert answer.headers["x-request-id"] and answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize("path", [INFER, "/v2/models/model/versions/1/infer"])
async def test_a_json_request(client: httpx.AsyncClient, path: str) -> None:
    """A request is scored like one to /score, and has its id back; parameters are the other arguments of run()."""
    content = {"id": "a", "inputs": [ROWS], "parameters": {"factor": 2, "priority": 1}}
    answer = await client.post(path, json=content)
    assert answer.json() == {
        "model_name": "model",
        "model_version": "1",
        "id": "a",
        "outputs": [{"name": "output-0", "datatype": "FP64", "shape": [2], "data": [8.0, 16.0]}],
    }
    assert float(answer.headers["x-ms-run-fn-exec-ms"]) >= 0
    score = await client.post("/score", json={"data": [[1, 2]]})
    assert (score.status_code, score.json()) == (200, [3.0])


@pytest.mark.parametrize("is_compressed", [False, True])
async def test_a_binary_request(client: httpx.AsyncClient, is_compressed: bool) -> None:
    """Binary tensors go in and out, also in a compressed body, whose JSON has the length that is told."""
    sent = {"name": "data", "datatype": "FP64", "shape": [2, 2], "parameters": {"binary_data_size": 32}}
    text = json.dumps({"inputs": [sent], "parameters": {"binary_data_output": True}}).encode()
    body = text + np.array(ROWS["data"]).tobytes()
    fields = {HEADER_LENGTH: str(len(text))}
    if is_compressed:
        body, fields["Content-Encoding"] = gzip.compress(body, mtime=0), "gzip"
    answer = await client.post(INFER, content=body, headers=fields)
    size = int(answer.headers[HEADER_LENGTH])
    assert json.loads(answer.content[:size])["outputs"][0]["parameters"] == {"binary_data_size": 16}
    assert np.frombuffer(answer.content[size:]).tolist() == [4.0, 8.0]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"name": "x"}, "there is no input 'x', but 'data'"),
        ({"datatype": "FP32"}, "input 'data' has the datatype FP32, expected FP64"),
        ({"datatype": "BF16"}, "the datatype BF16 is not supported"),
        ({"shape": [4]}, "input 'data' has the shape [4], expected [-1, 2]"),
        ({"shape": [1, 4]}, "input 'data' has the shape [1, 4], expected [-1, 2]"),
        ({"shape": [3, 2]}, "input 'data': the data has the shape [4], and not [3, 2]"),
        ({"data": [1, 2, 3, "x"]}, "input 'data': not an array of float64"),
    ],
    ids=str,
)
async def test_wrong_tensors(client: httpx.AsyncClient, change: dict[str, Any], reason: str) -> None:
    """A tensor that the script does not take is 400 with the reason, in the protocol's form."""
    answer = await client.post(INFER, json={"inputs": [{**ROWS, **change}]})
    assert answer.status_code == 400 and reason in error_of(answer)
    assert answer.headers["x-ms-run-function-failed"] == "False"


async def test_other_bad_requests(client: httpx.AsyncClient) -> None:
    """What is cut off, no JSON, or asks for an output that there is not, is 400."""
    sent = {"name": "data", "datatype": "FP64", "shape": [2, 2], "parameters": {"binary_data_size": 32}}
    text = json.dumps({"inputs": [sent]}).encode()
    cut = await client.post(INFER, content=text + bytes(31), headers={HEADER_LENGTH: str(len(text))})
    assert cut.status_code == 400 and "the body ends after 31 of its 32 bytes" in error_of(cut)
    broken = await client.post(INFER, content=b"{")
    assert broken.status_code == 400 and "could not be decoded as JSON" in error_of(broken)
    unknown = await client.post(INFER, json={"inputs": [ROWS], "outputs": [{"name": "y"}]})
    assert unknown.status_code == 400 and error_of(unknown) == "there is no output 'y', but 'output-0'"
    coding = await client.post(INFER, content=b"x", headers={"Content-Encoding": "br"})
    assert coding.status_code == 415 and "gzip" in error_of(coding) + coding.headers["accept-encoding"]


@pytest.mark.parametrize(
    ("method", "path", "status", "reason"),
    [
        ("POST", "/v2/models/other/infer", 400, "there is no model 'other', but 'model'"),
        ("GET", "/v2/models/other", 400, "there is no model 'other', but 'model'"),
        ("GET", "/v2/models/other/ready", 400, "there is no model 'other', but 'model'"),
        ("POST", "/v2/models/model/versions/2/infer", 400, "there is no version '2' of the model 'model', but '1'"),
        ("GET", "/v2/models/model/config", 404, "The requested URL was not found"),
        ("GET", "/v2/repository/index", 404, "The requested URL was not found"),
        ("GET", INFER, 405, "The method is not allowed"),
        ("DELETE", "/v2/models/model", 405, "The method is not allowed"),
    ],
)
async def test_paths_that_are_none(client: httpx.AsyncClient, method: str, path: str, status: int, reason: str) -> None:
    """An unknown model or version is 400, another path 404, another method 405, all in the protocol's form."""
    answer = await client.request(method, path)
    assert answer.status_code == status and reason in error_of(answer)


async def test_other_paths_are_as_ever(client: httpx.AsyncClient) -> None:
    """Errors of other paths keep the server's own form."""
    for path in ("/v2x", "/v1/models", "/"):
        answer = await client.post(path)
        assert answer.status_code in (404, 405) and list(answer.json()) == ["message"]
    wrong = await client.post("/score", json={"data": [["x", 1]]})
    assert wrong.status_code == 400 and list(wrong.json()) == ["message"]


async def test_off_by_default() -> None:
    """Where the setting is off, there is nothing under /v2."""
    assert not Settings().v2_enabled
    async with served(summing(), v2_enabled=False) as client:
        for path in ("/v2", "/v2/health/live", "/v2/models/model"):
            answer = await client.get(path)
            assert answer.status_code == 404 and list(answer.json()) == ["message"]


async def test_failures_of_the_script() -> None:
    """What run() raises, takes too long for, aborts with or returns as an error has its status, and the one form."""

    def fail(data: Any) -> Any:
        kind = data[0][0]
        if kind == 0:
            raise ValueError("secret")
        if kind == 1:
            until = time.monotonic() + 30
            while time.monotonic() < until:
                time.sleep(0.01)
        if kind == 2:
            flask.abort(418, "a teapot")
        return flask.Response("not here", 410, {"x-ms-run-function-failed": "False"}) if kind == 3 else object()

    run = input_schema("data", NumpyParameterType(SAMPLE))(fail)
    async with served(run, scoring_timeout_ms=2_000) as client:

        async def ask(kind: int, **headers: str) -> httpx.Response:
            content = {"inputs": [tensor("data", "FP64", [1, 2], [kind, 0])]}
            return await client.post(INFER, json=content, headers=headers)

        raised = await ask(0)
        assert raised.status_code == 500 and "unexpected error occurred in scoring script" in error_of(raised)
        assert raised.headers["x-ms-run-function-failed"] == "True"
        late = await ask(1)
        assert late.status_code == 500 and error_of(late) == "Scoring timeout after 2000 ms"
        too_late = await ask(1, **{"x-request-timeout-ms": "50"})
        assert too_late.status_code == 504 and "deadline of the request" in error_of(too_late)
        teapot = await ask(2)
        assert teapot.status_code == 418 and error_of(teapot) == "a teapot"
        gone = await ask(3)
        assert gone.status_code == 410 and error_of(gone) == "not here"
        odd = await ask(4)
        assert odd.status_code == 500 and "internal error" in error_of(odd)


async def test_refusals_have_the_form() -> None:
    """What is refused before run() is asked is refused in the protocol's form, with the same status as for /score."""
    run = summing()
    async with served(run) as client:
        bad = await client.post(INFER, json={"inputs": [ROWS]}, headers={"x-request-timeout-ms": "soon"})
        assert bad.status_code == 400 and "x-request-timeout-ms" in error_of(bad)
    async with served(run, max_body_bytes=10) as small:
        large = await small.post(INFER, json={"inputs": [ROWS]})
        assert large.status_code == 413 and "larger than 10 bytes" in error_of(large)
    async with served(run, max_concurrent_requests=1) as busy:
        answers = await asyncio.gather(*(busy.post(INFER, json={"inputs": [ROWS]}) for _ in range(8)))
        refused = [answer for answer in answers if answer.status_code == 429]
        assert refused and all(error_of(answer) and answer.headers["retry-after"] for answer in refused)
        assert {answer.status_code for answer in answers} == {200, 429}


async def test_keys_are_needed_but_for_probes() -> None:
    """Inference and metadata need a key where /score does, models that there are not too; health never does."""
    async with served(summing(), api_key="secret") as client:
        for path in (
            "/v2/health/live",
            "/v2/health/ready",
            "/v2/models/model/ready",
            "/v2/models/model/versions/1/ready",
        ):
            assert (await client.get(path)).status_code == 200
        for method, path in (
            ("GET", "/v2"),
            ("GET", "/v2/models/model"),
            ("POST", INFER),
            ("POST", "/v2/models/other/infer"),
            ("GET", "/v2/anything"),
        ):
            refused = await client.request(method, path)
            assert refused.status_code == 401 and "API key" in error_of(refused)
            assert refused.headers["www-authenticate"] == "Bearer"
        keyed = {"Authorization": "Bearer secret"}
        assert outputs_of(await client.post(INFER, json={"inputs": [ROWS]}, headers=keyed))
        assert (await client.get("/v2/models/other", headers=keyed)).status_code == 400


async def test_batches() -> None:
    """Requests of the protocol and of /score make batches together, each with its own form, outputs and errors."""
    SEEN.clear()

    @batched(max_batch_size=64, max_wait_ms=50)
    @input_schema("data", NumpyParameterType(SAMPLE))
    def run(data: Any) -> Any:
        SEEN.append(len(data))
        time.sleep(0.02)
        return {"sum": data.sum(axis=1), "rows": data}

    async with served(run) as client:
        bad = tensor("data", "INT8", [1, 2], [1, 2])
        answers = await asyncio.gather(
            *(
                client.post(INFER, json={"id": str(n), "inputs": [tensor("data", "FP64", [1, 2], [n, n])]})
                for n in range(9)
            ),
            client.post("/score", json={"data": [[9, 9]]}),
            client.post(INFER, json={"inputs": [bad]}),
            client.post(INFER, json={"inputs": [ROWS], "outputs": [{"name": "sum"}]}),
            client.post(INFER, json={"inputs": [ROWS], "outputs": [{"name": "none"}]}),
        )
    for number, answer in enumerate(answers[:9]):
        assert answer.json()["id"] == str(number)
        found = outputs_of(answer)
        assert found == {"sum": ("FP64", [1], [2.0 * number]), "rows": ("FP64", [1, 2], [number, number])}
    assert answers[9].json() == {"sum": [18.0], "rows": [[9.0, 9.0]]}
    assert answers[10].status_code == 400 and "expected FP64" in error_of(answers[10])
    assert outputs_of(answers[11]) == {"sum": ("FP64", [2], [4.0, 8.0])}
    assert answers[12].status_code == 400 and "no output 'none'" in error_of(answers[12])
    assert sum(SEEN) == 14 and max(SEEN) > 1


async def test_an_async_script() -> None:
    """An async def run() is called, too."""

    async def run(data: Any) -> Any:
        await asyncio.sleep(0)
        return data * 2

    decorated = input_schema("data", NumpyParameterType(SAMPLE))(run)
    async with served(decorated) as client:
        answer = await client.post(INFER, json={"inputs": [ROWS]})
        assert outputs_of(answer) == {"output-0": ("FP64", [2, 2], [3.0, 5.0, 7.0, 9.0])}
        unknown = await client.post(INFER, json={"inputs": [ROWS], "outputs": [{"name": "y"}]})
        assert unknown.status_code == 400 and error_of(unknown)


def plain(data: str) -> str:
    """Return the input."""
    return data


@rawhttp
def raw(request: Any) -> Any:
    """Return the body."""
    return request.data


def counting() -> Any:
    """Return a function that answers with a stream."""

    @input_schema("data", NumpyParameterType(SAMPLE))
    def run(data: Any) -> Iterator[str]:
        yield from map(str, data)

    return run


@pytest.mark.parametrize(("run", "reason"), [(plain, "/score"), (raw, "/score"), (counting, "stream")])
async def test_scripts_without_tensors(run: Any, reason: str, caplog: pytest.LogCaptureFixture) -> None:
    """A script whose input is no array and no frame, or that streams, says so at the start and to every caller."""
    async with served(counting() if run is counting else run) as client:
        assert "The Open Inference Protocol cannot call the script" in caplog.text
        for answer in (
            await client.get("/v2/models/model"),
            await client.get("/v2/models/model/ready"),
            await client.post(INFER, json={"inputs": [ROWS]}),
        ):
            assert answer.status_code == 400 and reason in error_of(answer)
        assert (await client.get("/v2/health/ready")).status_code == 200
        assert (await client.get("/v2")).status_code == 200


def pieces() -> Iterator[str]:
    """Yield two texts, and tell of the end."""
    try:
        yield "a"
        yield "b"
    finally:
        SEEN.append(1)


async def test_a_stream_that_nobody_foresaw() -> None:
    """A generator that run() returns is closed, and the caller told; the next request is answered."""
    SEEN.clear()

    def run(data: Any) -> Any:
        return pieces() if data[0][0] else data

    decorated = input_schema("data", NumpyParameterType(SAMPLE))(run)
    async with served(decorated) as client:
        answer = await client.post(INFER, json={"inputs": [ROWS]})
        assert answer.status_code == 400 and "stream" in error_of(answer) and SEEN == [1]
        good = await client.post(INFER, json={"inputs": [tensor("data", "FP64", [1, 2], [0, 1])]})
        assert outputs_of(good) == {"output-0": ("FP64", [1, 2], [0.0, 1.0])}
        assert (await client.post("/score", json={"data": [[1, 2]]})).text == "ab"


async def test_metrics_have_the_paths(client: httpx.AsyncClient) -> None:
    """Requests are counted by the protocol's paths; those to other models together, whatever their names."""
    await client.post(INFER, json={"inputs": [ROWS]})
    await client.get("/v2/models/other")
    text = (await client.get("/metrics")).text
    assert f'route="{INFER}"' in text and "other/" not in text and 'route="other"' in text


@pytest.mark.parametrize(
    ("folders", "chosen", "expected"),
    [
        ([], {}, ("model", "1")),
        (["iris/3"], {}, ("iris", "3")),
        (["iris/3", "wine/1"], {}, ("models", "1")),
        (["files"], {}, ("models", "1")),
        (["iris/3"], {"v2_model_name": "my model"}, ("my model", "3")),
        (["iris/3"], {"v2_model_version": "v10"}, ("iris", "v10")),
    ],
)
def test_the_name_of_the_model(tmp_path: Path, folders: list[str], chosen: Any, expected: tuple[str, str]) -> None:
    """The settings name the model, else its folder, else it is `model`, version 1."""
    for folder in folders:
        (tmp_path / "models" / folder).mkdir(parents=True)
    settings = Settings(model_dir=str(tmp_path / "models") if folders else None, **chosen)
    assert model_name(settings) == expected


def test_the_name_of_a_versions_folder(tmp_path: Path) -> None:
    """The folder of a version, as Azure Machine Learning mounts it, has the name of the folder around it."""
    (tmp_path / "iris" / "7").mkdir(parents=True)
    assert model_name(Settings(model_dir=str(tmp_path / "iris" / "7"))) == ("iris", "7")


@pytest.mark.parametrize("chosen", [{"v2_model_name": ""}, {"v2_model_name": "a/b"}, {"v2_model_version": "1\n"}])
def test_names_that_are_no_part_of_a_path(chosen: Any) -> None:
    """A name that no path can have stops the start."""
    with pytest.raises(ConfigurationError, match="must be a word for a path"):
        make_inference(script_of(plain), Settings(**chosen))


async def test_a_name_with_a_space() -> None:
    """A name is found by its percent-encoded form."""
    async with served(summing(), v2_model_name="my model") as client:
        assert (await client.get("/v2/models/my%20model")).json()["name"] == "my model"
        assert outputs_of(await client.post("/v2/models/my%20model/infer", json={"inputs": [ROWS]}))


async def test_log_lines(client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture) -> None:
    """Inferences and metadata get the server's own line as /score does, probes and unknown paths do not."""
    with caplog.at_level("INFO", "azmlinfsrv"):
        await client.post(INFER, json={"inputs": [ROWS]}, headers={"x-request-id": "mine"})
        for path in ("/v2/models/model", "/v2/health/ready", "/v2/models/model/ready", "/v2/models/other"):
            await client.get(path)
    lines = [record.getMessage() for record in caplog.records if record.name == "azmlinfsrv"]
    assert [line.split()[:3] for line in lines] == [["POST", INFER, "200"], ["GET", "/v2/models/model", "200"]]


async def test_browsers_of_other_origins() -> None:
    """Cross-origin headers are those of /score, on errors too."""
    async with served(summing(), cors_origins="https://one.test") as client:
        origin = {"Origin": "https://one.test"}
        for content in ({"inputs": [ROWS]}, {}):
            answer = await client.post(INFER, json=content, headers=origin)
            assert answer.headers["access-control-allow-origin"] == "https://one.test"
        asked = await client.options(INFER, headers={**origin, "Access-Control-Request-Method": "POST"})
        assert asked.status_code == 200 and asked.headers["allow"] == "OPTIONS, POST"


def made(api_key: str | None = None) -> tuple[Application, list[Request]]:
    """Return an application of the protocol, and the requests that it hands to the script."""
    settings, script, submitted = Settings(v2_enabled=True, api_key=api_key), script_of(summing()), list[Request]()
    app = create_app(
        Swagger(settings, script.run),
        lambda request, _: submitted.append(request),
        None,
        "",
        RecordedLog(),
        access=make_access(settings),
        extension=InferenceExtension(make_inference(script, settings)),
    )
    return app, submitted


def asked(app: Application, method: str, path: str) -> tuple[int, Any]:
    """Return status and content of an answer."""
    reply = RecordedReply()
    app.handle(request(method, path), reply)
    return reply.response.status, json.loads(reply.response.body)


def test_probes_say_why_not() -> None:
    """What keeps the worker from taking requests is told in the protocol's form, with 503."""
    app, _ = made()
    app.health.set(STOPPING)
    assert asked(app, "GET", "/v2/health/ready") == (503, {"error": "The server is not ready: stopping"})
    assert asked(app, "GET", "/v2/models/model/ready") == (503, {"error": "The server is not ready: stopping"})
    assert asked(app, "GET", "/v2/health/live") == (200, {"live": True})
    app.health.set(STUCK)
    assert asked(app, "GET", "/v2/health/live") == (503, {"error": "The server is not live: stuck"})


@pytest.mark.parametrize("path", [INFER, "/v2/models/other/infer", "/v2/x"])
def test_refused_before_the_body(path: str) -> None:
    """A request without a key is refused before its body is read, also to a path that there is not."""
    app, submitted = made("secret")
    assert app.admit is not None
    refusal = app.admit(path, "POST", {})
    assert refusal is not None and app.admit("/v2/health/live", "GET", {}) is None
    reply = RecordedReply()
    app.reject(request("POST", path), reply, refusal)
    assert reply.response.status == 401 and list(json.loads(reply.response.body)) == ["error"]
    assert not submitted


def test_requests_go_where_those_to_score_go() -> None:
    """An inference is handed to the script, and only that."""
    app, submitted = made()
    app.handle(request("POST", INFER), RecordedReply())
    app.handle(request("POST", "/score"), RecordedReply())
    assert [each.path for each in submitted] == [INFER, "/score"]

"""MLflow models that are served without a script, beside what MLflow's own scoring server answers."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from azmlinfsrv.batch_scorer import BatchScorer, Member
from azmlinfsrv.errors import ScriptError
from azmlinfsrv.inputs import input_parser
from azmlinfsrv.messages import Request, Response
from azmlinfsrv.mlflow_script import ModelScript, serving_variables
from azmlinfsrv.schema import Swagger
from azmlinfsrv.scorer import Scorer
from azmlinfsrv.settings import Settings
from tests.unit.mlflow_stage import KINDS, WARNINGS, Models, a_request, call, no_flask, saved_models

pytestmark = pytest.mark.filterwarnings(*WARNINGS)

CSV = "text/csv"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Models]:
    """The models."""
    with saved_models(tmp_path_factory.mktemp("models")) as models:
        yield models


def split(columns: list[str], *rows: list[Any], **rest: Any) -> dict[str, Any]:
    """Return a frame in MLflow's split form."""
    return {"dataframe_split": {"columns": columns, "data": list(rows)}, **rest}


AB = ["a", "b"]
SAME = [
    ("columns", split(AB, [1, 2])),
    ("columns", split(["b", "a", "c"], [1, 2, "x"], [None, 3, None])),
    ("columns", split(AB, ["7", "2"])),
    ("columns", split(AB, [1.0, 2])),
    ("columns", {"dataframe_split": {"columns": AB, "index": ["p"], "data": [[1, 2]]}}),
    ("columns", {"dataframe_records": [{"a": 1, "b": 2}, {"a": 3, "b": 4, "c": "z"}]}),
    ("columns", {"instances": [{"a": 1, "b": 2}, {"a": 3, "b": 4}]}),
    ("columns", {"inputs": {"a": [1], "b": [2]}}),
    ("columns", {"inputs": {"a": 1, "b": 2}}),
    ("columns", {"inputs": [{"a": 1, "b": 2}]}),
    ("columns", split(AB, [1, 2], params={"kind": "params"})),
    ("columns", split(AB, [1, 2], params={"kind": "params", "n": 5, "xs": [1, 2]})),
    ("columns", split(AB, [1, 2], other=1)),
    ("kinds", split(KINDS, ["2024-01-31T10:00:00", "YWI=", True, 1.5, 3])),
    ("kinds", split(KINDS, ["2024-01-31", "", 1, 1, 3.0])),
    ("kinds", {"inputs": {"when": ["2024-01-31"], "blob": ["YWI="], "yes": [True], "f": [1.5], "i": [3]}}),
    ("nested", split(["xs", "o"], [[1.0, 2.0], {"k": "a"}])),
    ("nested", {"inputs": [{"xs": [1.0], "o": {"k": "a", "v": 2}}]}),
    ("text", {"inputs": ["a", "b"]}),
    ("text", {"instances": ["a"]}),
    ("text", {"inputs": {"text": "a"}}),
    ("vector", {"inputs": [1.0, 2.0]}),
    ("nameless", {"inputs": [[1, 2]]}),
    ("nameless", {"dataframe_split": {"data": [[1, 2], [3, 4]]}}),
    ("tensor", {"inputs": [[1, 2]]}),
    ("tensor", {"instances": [[1, 2], [3, 4]]}),
    ("tensor", split(["p", "q"], [1, 2])),
    ("tensors", {"inputs": {"x": [[1, 2]], "y": [1]}}),
    ("tensors", {"instances": [{"x": [1, 2], "y": 1}, {"x": [3, 4], "y": 2}]}),
    ("tensors", {"dataframe_records": [{"x": [1, 2], "y": 1}]}),
    ("free", {"inputs": [[1, 2]]}),
    ("free", split(["p"], [1])),
    ("free", {"inputs": "hello"}),
    ("free", b'{"inputs": [NaN, 1e400]}'),
    ("free", {"messages": [{"role": "user", "content": "hello"}], "temperature": 1}),
]
RESULTS = ("array", "float32", "dates", "objects", "series", "nameless", "frame", "list", "text", "bytes", "scalar")


@pytest.mark.parametrize(("name", "body"), SAME)
def test_the_same_answer_as_mlflows_server(models: Models, name: str, body: Any) -> None:
    """What fits the signature, in each form of MLflow's protocol, is answered as by MLflow's own server."""
    theirs = models.theirs(name, body)
    assert theirs.status == 200
    assert models.ours(name, body) == theirs


@pytest.mark.parametrize("kind", [*RESULTS, "dict", "none"])
def test_results_are_written_as_by_mlflows_server(models: Models, kind: str) -> None:
    """Arrays, frames, series, NaN, dates and bytes are what MLflow's own server makes of them."""
    body = split(AB, [1, 2], params={"kind": kind})
    theirs = models.theirs("columns", body)
    assert theirs.status == 200
    assert models.ours("columns", body) == theirs
    plain = models.ours("columns", {"input_data": [[1, 2, None]], "params": {"kind": kind}})
    assert plain == (200, theirs.value["predictions"])


@pytest.mark.parametrize("text", [b"a,b,c\n1,2,007\n", b"a,b\n1,2.5\n3,\n", b"b,a\n1,2\n"])
def test_csv_is_read_as_by_mlflows_server(models: Models, text: bytes) -> None:
    """A body of text/csv is a frame, in which a column of texts stays text."""
    theirs = models.theirs("columns", text, CSV)
    assert theirs.status == 200
    assert models.ours("columns", text, CSV) == theirs


# Body, where theirs is another: what it answers, and a part of our message. Each has its reason.
REFUSED = [
    # The same status; our message has no print of the data.
    ("columns", split(["a"], [1]), 400, "'b'"),
    ("columns", {"dataframe_records": [{"b": 1}]}, 400, "'a'"),
    ("columns", {"inputs": {"a": [1]}}, 400, "'b'"),
    ("columns", {"inputs": [[1, 2]]}, 400, "missing inputs ['a', 'b']"),
    ("columns", {"dataframe_split": {"data": [[1, 2]]}}, 400, "'a', 'b'"),
    ("columns", split(AB, [1, 2, 3]), 400, "2 columns passed"),
    ("columns", split(["a", "a", "b"], [1, 2, 3]), 400, "signature"),
    ("columns", split(AB, [None, 2]), 400, "column a"),
    ("columns", split(AB, [1, "x"]), 400, "column b"),
    ("columns", {"inputs": {"a": [1], "b": ["x"]}}, 400, "'b'"),
    ("columns", {"instances": [{"a": 1, "b": 2}, {"a": "y", "b": 2}]}, 400, "'a'"),
    ("columns", {"inputs": {"a": [1, 2], "b": [2]}}, 400, "same length"),
    ("columns", {"dataframe_records": {"a": 1}}, 400, "list of records"),
    ("columns", {"dataframe_split": [1]}, 400, "dictionary"),
    ("columns", {"dataframe_split": {"columns": AB, "data": [[1, 2]], "x": 1}}, 400, "'x'"),
    ("columns", {"inputs": []}, 400, "missing inputs"),
    ("columns", {"inputs": None}, 400, "None"),
    ("columns", split(AB, [1, 2], params={"n": "x"}), 400, "'n'"),
    ("columns", split(AB, [1, 2], params={"xs": 3}), 400, "'xs'"),
    ("columns", split(AB, [1, 2], params=[1]), 400, "'params'"),
    ("columns", {"inputs": 1, "instances": 2}, 400, "instances and inputs"),
    ("columns", {}, 400, "none of them"),
    ("columns", [1], 400, "dictionary"),
    ("columns", b"{", 400, "JSON"),
    ("columns", b"", 400, "empty"),
    ("columns", b'{"inputs": "\xff"}', 400, "UTF-8"),
    ("kinds", split(KINDS, ["soon", "", True, 1, 1]), 400, "column when"),
    ("kinds", split(KINDS, ["2024-01-31", 5, True, 1, 1]), 400, "column blob"),
    ("nested", split(["xs", "o"], [[1.0, "q"], {"k": "a"}]), 400, "column xs"),
    ("nested", split(["xs", "o"], [[1.0], {"k": 1}]), 400, "column o"),
    ("nested", split(["xs", "o"], [[1.0], {}]), 400, "Missing required properties"),
    ("nameless", {"dataframe_split": {"data": [[1]]}}, 400, "missing inputs"),
    ("tensor", {"inputs": [[1, 2, 3]]}, 400, "Shape of input (1, 3)"),
    ("tensor", {"inputs": [["x", 2]]}, 400, "'x'"),
    ("tensor", {"inputs": [[1, 2], [3]]}, 400, "inhomogeneous"),
    ("tensors", {"inputs": {"x": [[1, 2]]}}, 400, "'y'"),
    ("tensors", {"inputs": {"x": [[1, 2]], "y": ["q"]}}, 400, "'y'"),
    ("tensors", {"inputs": {"x": [[1]], "y": [1]}}, 400, "Shape of input (1, 1)"),
    # Theirs leaves out what the signature does not have.
    ("columns", split([*AB, "d"], [1, 2, 3]), 200, "'d'"),
    ("columns", {"inputs": {"a": [1], "b": [2], "d": [3]}}, 200, "'d'"),
    ("columns", split(AB, [1, 2], params={"nn": 1}), 200, "'nn'"),
    ("free", {"inputs": [1], "params": {"x": 1}}, 200, "'x'"),
    # Theirs gives the model another value.
    ("columns", split(AB, [1.5, 2]), 200, "'a'"),
    ("columns", {"inputs": {"a": [1.5], "b": [2]}}, 200, "'a'"),
    ("columns", {"instances": [{"a": 1, "b": 2}, {"a": 1.5, "b": 2}]}, 200, "'a'"),
    ("kinds", split(KINDS, ["2024-01-31", "", "no", 1, 1]), 200, "'yes'"),
    ("kinds", split(KINDS, ["2024-01-31", "", True, 1e300, 1]), 200, "'f'"),
    ("kinds", split(KINDS, ["2024-01-31", "", True, 1, 2**40]), 200, "'i'"),
    ("tensors", {"inputs": {"x": [[1, 2]], "y": [1.5]}}, 200, "'y'"),
]


@pytest.mark.parametrize(("name", "body", "theirs", "part"), REFUSED)
def test_what_does_not_fit_is_refused(models: Models, name: str, body: Any, theirs: int, part: str) -> None:
    """What violates the signature, or is in no form, gets 400 whose message says where."""
    assert models.theirs(name, body).status == theirs
    answer = models.ours(name, body)
    assert answer.status == 400 and part in answer.value["message"], answer
    assert list(answer.value) == ["message"]


@pytest.mark.parametrize(("name", "body"), [(name, body) for name, body, status, _ in REFUSED if status == 200])
def test_a_lenient_server_answers_as_mlflows(models: Models, name: str, body: Any) -> None:
    """With AZMLINFSRV_MLFLOW_STRICT=false what is left out and changed is the same as by MLflow's own server."""
    assert models.ours(name, body, strict=False) == models.theirs(name, body)


@pytest.mark.parametrize("kind", ["error", "refuse"])
def test_a_model_that_raises_is_not_the_callers_fault(models: Models, kind: str) -> None:
    """What the model raises is 500 as for a script, whatever it is; MLflow's own server has 400 for it."""
    body = split(AB, [1, 2], params={"kind": kind})
    assert models.theirs("columns", body).status >= 400
    answer = models.ours("columns", body)
    assert answer.status == 500 and "scoring script" in answer.value["message"]


def test_type_hints_of_a_model_are_its_signature(models: Models) -> None:
    """A model that validates its input by type hints gets it as it was sent; what it refuses is 400."""
    body = {"inputs": [{"name": "Ada", "age": 36}]}
    assert models.theirs("hints", body) == models.ours("hints", body) == (200, {"predictions": ["Ada is 36"]})
    assert models.ours("hints", {"input_data": body["inputs"]}) == (200, ["Ada is 36"])
    for wrong in ({"inputs": [{"name": "Ada", "age": "old"}]}, {"inputs": [1]}, split(["name"], ["Ada"])):
        assert models.theirs("hints", wrong).status == 400
        assert models.ours("hints", wrong).status == 400
    assert models.ours("hints", {"inputs": [{"name": "", "age": 1}]}).status == 500


def test_a_result_that_json_cannot_hold(models: Models) -> None:
    """It is 500, as for a script."""
    assert models.ours("columns", split(AB, [1, 2], params={"kind": "set"})).status == 500


AZURE = [
    ("columns", {"columns": AB, "index": [0], "data": [[1, 2]]}, [{"a": 1, "b": 2.0}]),
    ("columns", {"columns": AB, "data": [[1, 2]]}, [{"a": 1, "b": 2.0}]),
    ("columns", [{"b": 2, "a": 1}], [{"a": 1, "b": 2.0}]),
    ("columns", [[1, 2, "x"], [3, 4, "y"]], [{"a": 1, "b": 2.0, "c": "x"}, {"a": 3, "b": 4.0, "c": "y"}]),
    ("columns", {"a": [1], "b": [2]}, [{"a": 1, "b": 2.0}]),
    ("text", ["x", "y"], [{"text": "x"}, {"text": "y"}]),
    ("text", [["x"], ["y"]], [{"text": "x"}, {"text": "y"}]),
    ("vector", [1.0, 2.0], [{"xs": [1.0, 2.0]}]),
    ("nameless", [[1, 2], [3, 4]], [{"0": 1.0, "1": 2.0}, {"0": 3.0, "1": 4.0}]),
    ("tensor", [[1, 2]], [[1.0, 2.0]]),
    ("tensor", {"columns": ["p", "q"], "index": [0], "data": [[1, 2]]}, [[1.0, 2.0]]),
    ("tensors", {"x": [[1, 2]], "y": [1]}, {"x": [[1.0, 2.0]], "y": [1]}),
    ("tensors", [{"x": [1, 2], "y": 1}], {"x": [[1.0, 2.0]], "y": [1]}),
    ("free", [[1, 2]], [[1, 2]]),
    ("free", [{"a": 1}], [{"a": 1}]),
    ("free", {"columns": ["a"], "index": [0], "data": [[1]]}, [{"a": 1}]),
    ("free", {"a": [1, 2]}, {"a": [1, 2]}),
    ("free", "hello", "hello"),
]


@pytest.mark.parametrize(("name", "data", "expected"), AZURE)
def test_azures_form_is_answered_plainly(models: Models, name: str, data: Any, expected: Any) -> None:
    """What Azure Machine Learning's server takes as `input_data` is answered as there, without `predictions`."""
    assert models.ours(name, {"input_data": data}) == (200, expected)


@pytest.mark.parametrize(
    ("data", "part"),
    [
        ([[1, 2]], "Row 0 of 'input_data' has 2 values for the columns 'a', 'b', 'c'"),
        ([[1, 2, "x"], [1]], "Row 1"),
        ([{"a": 1}], "'b'"),
        ({"columns": ["a"], "index": [0], "data": [[1]]}, "'b'"),
        ({"columns": ["a", "b", "z"], "index": [0], "data": [[1, 2, 3]]}, "'z'"),
        ({"columns": AB, "index": [0], "data": [["x", 2]]}, "column a"),
        ([[1.5, 2, "x"]], "'a'"),
        ([1, 2], "missing inputs"),
        ([], "missing inputs"),
    ],
)
def test_azures_form_is_checked(models: Models, data: Any, part: str) -> None:
    """What does not fit the signature is 400 there, too, and says where."""
    answer = models.ours("columns", {"input_data": data})
    assert answer.status == 400 and part in answer.value["message"], answer


@pytest.mark.parametrize(
    ("text", "part"),
    [
        (b"", "CSV"),
        (b"a\n1\n", "'b'"),
        (b"a,b,d\n1,2,3\n", "'d'"),
        (b"a,b\nx,2\n", "column a"),
        (b"a,b\n1.5,2\n", "'a'"),
        (b"\xff", "UTF-8"),
    ],
)
def test_csv_that_does_not_fit(models: Models, text: bytes, part: str) -> None:
    """CSV is held against the signature like everything else."""
    answer = models.ours("columns", text, CSV)
    assert answer.status == 400 and part in answer.value["message"], answer


def test_csv_has_dates_and_bytes(models: Models) -> None:
    """Dates and Base64 are read from CSV, at which MLflow's own server gives up."""
    text = b"when,blob,yes,f,i\n2024-01-31,YWI=,True,1.5,3\n"
    assert models.theirs("kinds", text, CSV).status == 400
    in_json = models.ours("kinds", split(KINDS, ["2024-01-31", "YWI=", True, 1.5, 3]))
    assert models.ours("kinds", text, CSV) == in_json


@pytest.mark.parametrize("content_type", ["", "text/plain", "application/json; charset=latin-1", "text/csv;charset=x"])
def test_content_types_that_are_not_taken(models: Models, content_type: str) -> None:
    """They are 415, as of MLflow's own server."""
    assert models.ours("columns", split(AB, [1, 2]), content_type).status == 415


def test_parquet_is_read(models: Models, tmp_path: Path) -> None:
    """A frame may come as Parquet; a body that is none is 400."""
    import pandas as pd

    pd.DataFrame({"a": [1], "b": [2.0]}).to_parquet(tmp_path / "frame")
    body, content_type = (tmp_path / "frame").read_bytes(), "application/vnd.apache.parquet"
    assert models.ours("columns", body, content_type) == models.theirs("columns", body, content_type)
    assert models.ours("columns", b"PAR1", content_type).status == 400


def test_only_post_calls_the_model(models: Models) -> None:
    """GET has no form in which it could say its input."""
    script = models.script("columns")
    response = Scorer(script, input_parser(script, no_flask), None).score(a_request(b"", method="GET"), call)
    assert response.status == 405


def test_the_rows_of_several_requests_make_a_batch(models: Models) -> None:
    """Frames of one form are one call's rows, and each request gets its own; another form's are another batch."""
    script = models.script("columns")
    parse = input_parser(script, no_flask)
    batches = BatchScorer(script, parse, Scorer(script, parse, None))
    bodies = [split(AB, *rows, params={"kind": "length"}) for rows in ([[1, 2]], [[3, 4], [5, 6]])]
    members = [batches.admit(a_request(body), _ignored, call) for body in bodies]
    other = batches.admit(a_request({"input_data": [[1, 2, "x"]], "params": {"kind": "length"}}), _ignored, call)
    assert all(isinstance(member, Member) for member in [*members, other])
    batch = [member for member in members if isinstance(member, Member)]
    assert batch[0].key == batch[1].key and isinstance(other, Member) and other.key != batch[0].key
    answers: list[Any] = []
    batches.score(batch, call, lambda _: None, lambda _, response: answers.append(json.loads(response.body)))
    assert answers == [{"predictions": [0]}, {"predictions": [1, 2]}]


def _ignored(_: Request, __: Response) -> None:
    pass


@pytest.mark.parametrize("name", ["columns", "kinds", "nested", "text", "nameless", "tensor", "tensors", "free"])
def test_the_documents_describe_the_model(models: Models, name: str) -> None:
    """Every version is valid, its example is scored, and what is scored is what the newest one allows."""
    from jsonschema import Draft202012Validator
    from openapi_spec_validator import validate

    script = models.script(name)
    swagger = Swagger(Settings(), script.run, None, script.describe)
    assert swagger.versions == ["2", "3", "3.1"]
    for version in swagger.versions:
        document = swagger.document(version)
        validate(document)
        assert document["paths"].keys() == {"/", "/score", "/invocations", "/swagger.json"}
        schemas = document["definitions"] if version == "2" else document["components"]["schemas"]
        example = schemas["ServiceInput"]["example"]
        if name != "free":
            assert models.ours(name, example).status == 200, (example, models.ours(name, example))
    validator = Draft202012Validator(schemas["ServiceInput"])
    bodies = [body for model, body in SAME if model == name and isinstance(body, dict) and "messages" not in body]
    bodies += [{"input_data": data} for model, data, _ in AZURE if model == name]
    for body in [example, *bodies]:
        assert not list(validator.iter_errors(body)), body


def test_the_example_is_the_one_that_was_saved(tmp_path: Path, models: Models) -> None:
    """An example that MLflow saved with the model is the document's, in Azure's form."""
    script = ModelScript(str(models.folder("columns")), Settings())
    script.init()
    script._folder = str(tmp_path)
    (tmp_path / "serving_input_example.json").write_text(json.dumps(split(AB, [5, 6], params={"n": 4})))
    document = Swagger(Settings(), script.run, None, script.describe).document("2")
    expected = {"input_data": {"columns": AB, "data": [[5, 6]]}, "params": {"n": 4}}
    assert document["definitions"]["ServiceInput"]["example"] == expected


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, "true"),
        ({"MLFLOW_DISABLE_TELEMETRY": "false"}, None),
        ({"MLFLOW_DISABLE_TELEMETRY": "true"}, None),
    ],
)
def test_mlflow_is_told_to_send_nothing(environ: dict[str, str], expected: str | None) -> None:
    """MLflow's telemetry is off unless the user has decided."""
    assert serving_variables(environ).get("MLFLOW_DISABLE_TELEMETRY") == expected


def test_mlflow_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A model without MLflow stops the start with the line that installs it."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ScriptError, match=r"pip install 'azmlinfsrv\[mlflow\]'"):
        ModelScript(str(tmp_path), Settings())


def test_the_models_configuration_comes_from_the_environment(
    models: Models, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """SERVING_MODEL_CONFIG is the `model_config` that MLflow loads the model with; the log names the model."""
    import mlflow

    given: dict[str, Any] = {}
    load = mlflow.pyfunc.load_model

    def load_with(uri: str, **options: Any) -> Any:
        given.update(options)
        return load(uri)

    monkeypatch.setattr(mlflow.pyfunc, "load_model", load_with)
    monkeypatch.setenv("SERVING_MODEL_CONFIG", '{"size": 3}')
    with caplog.at_level(logging.INFO, "azmlinfsrv"):
        script = ModelScript(str(models.folder("free")), Settings())
        script.init()
    assert given == {"model_config": {"size": 3}}
    assert "an MLflow model at" in caplog.text

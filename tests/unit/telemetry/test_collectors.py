"""The collectors that scripts use, and the names under which they find them."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from azmlinfsrv import capture, compat
from azmlinfsrv.identity import NO_REQUEST
from azmlinfsrv.telemetry import collector_names, collectors

FRAME = pd.DataFrame({"a": [1, 2], "b": ["x", None]})
JSON = '[{"a":1,"b":"x"},{"a":2,"b":null}]'

Import = Callable[[str], Any]


class Sink:
    """Keeps what is collected."""

    def __init__(self) -> None:
        self.taken: list[tuple[str, str, str, str]] = []
        self.full = False

    def __call__(self, collection: str, correlation_id: str, data: str, data_type: str) -> bool:
        """See `Collect`."""
        if self.full:
            return False
        self.taken.append((collection, correlation_id, data, data_type))
        return True


@pytest.fixture
def sink() -> Sink:
    """Where what is collected goes."""
    return Sink()


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """A function that answers for the names; undone after the test, which leaves no module of theirs."""
    undo: list[Callable[[], None]] = [compat.install()]
    before = {name: module for name, module in sys.modules.items() if name.partition(".")[0] == "azureml"}
    for name in before:
        monkeypatch.delitem(sys.modules, name)

    def run(collect: collectors.Collect | None, **environ: str) -> None:
        undo.append(collector_names.install(collect, environ))

    yield run
    for each in reversed(undo):
        each()
    for name in [name for name in sys.modules if name.partition(".")[0] == "azureml"]:
        del sys.modules[name]


def collector(name: str = "Collector") -> Any:
    """Return the class, imported as scripts do."""
    module = "azureml.ai.monitoring" if name == "Collector" else "azureml.monitoring"
    return getattr(importlib.import_module(module), name)


def test_a_table_is_collected(install: Callable[..., None], sink: Sink) -> None:
    """What a script collects arrives with its collection's name; the context ties outputs to inputs."""
    install(sink)
    inputs, outputs = collector()(name="model_inputs"), collector()(name="model_outputs", on_error=print)
    context = inputs.collect(FRAME)
    assert outputs.collect(FRAME, context) is context
    other = inputs.collect(FRAME)
    assert sink.taken == [
        ("model_inputs", str(context), JSON, "pandas.DataFrame"),
        ("model_outputs", str(context), JSON, "pandas.DataFrame"),
        ("model_inputs", str(other), JSON, "pandas.DataFrame"),
    ]
    assert str(context) != str(other) and len(str(context)) == 36


def test_a_context_of_the_scripts_own(install: Callable[..., None], sink: Sink) -> None:
    """A script may make its own context, as the documents of Azure ML show."""
    install(sink)
    contexts = importlib.import_module("azureml.ai.monitoring.context")
    context = contexts.BasicCorrelationContext(id="test", timestamp=3, headers={"a": "b"})
    assert collector()(name="x").collect(FRAME, context) is context
    assert (context.get_id(), context.get_timestamp(), context.get_headers()) == ("test", 3, {"a": "b"})
    assert sink.taken[0][1] == "test"
    assert isinstance(contexts.get_context(), contexts.CorrelationContext)
    assert repr(contexts.CorrelationContext()) == ""


def test_off_is_harmless(install: Callable[..., None]) -> None:
    """Where nothing is collected a collector does nothing; one that asks for errors is told, as the original does."""
    install(None)
    quiet, told = collector()(name="x"), list[Exception]()
    assert len(str(quiet.collect(FRAME))) == 36
    assert len(str(quiet.collect("no table"))) == 36
    collector()(name="x", on_error=told.append).collect(FRAME)
    assert [str(error) for error in told] == [collectors.OFF] * 2
    older = collector("ModelDataCollector")("m", "inputs", ["a"])
    assert older.collect([1]) is None
    assert older.add_correlations([1], None) == [1]


def test_too_much_is_no_error(install: Callable[..., None], sink: Sink) -> None:
    """What is dropped at overload fails no request; a collector that asks for errors is told."""
    install(sink)
    sink.full, told = True, list[Exception]()
    collector()(name="x").collect(FRAME)
    collector()(name="x", on_error=told.append).collect(FRAME)
    assert [str(error) for error in told] == [collectors.FULL]


def test_mistakes_of_the_script_are_raised(install: Callable[..., None], sink: Sink) -> None:
    """Data that is no table, and a collector without a name, are raised or told as the original does."""
    install(sink)
    told: list[Exception] = []
    with pytest.raises(TypeError, match=r"data type \(list\) not supported"):
        collector()(name="x").collect([1])
    with pytest.raises(ValueError, match=collectors.NO_NAME):
        collector()(name="")
    collector()(name="x", on_error=told.append).collect(1)
    collector()(name="", on_error=told.append).collect(FRAME)
    assert [type(error) for error in told] == [TypeError, ValueError, ValueError]
    assert sink.taken == []


@pytest.mark.parametrize(
    ("data", "names", "text"),
    [
        ([1, "x"], ["a", "b"], '[{"a":1,"b":"x"}]'),
        ([1, "x"], None, '[[1,"x"]]'),
        ([[1, 2], [3, 4]], ["a", "b"], '[{"a":1,"b":2},{"a":3,"b":4}]'),
        (np.array([1.5, 2.0]), ["a", "b"], '[{"a":1.5,"b":2.0}]'),
        (np.array([[1, 2], [3, 4]]).T, ["a"], "[[1,3],[2,4]]"),
        (FRAME, None, JSON),
    ],
)
def test_rows_of_the_older_collector(
    install: Callable[..., None], sink: Sink, data: Any, names: list[str] | None, text: str
) -> None:
    """Lists, arrays and tables become rows, with the names of their columns where these fit."""
    install(sink)
    older = collector("ModelDataCollector")("red", designation="predictions", feature_names=names)
    assert older.collect(data, "mine") is None
    assert [(collection, identifier) for collection, identifier, _, _ in sink.taken] == [("red/predictions", "mine")]
    assert json.loads(sink.taken[0][2]) == json.loads(text)


def test_correlations_of_the_older_collector(install: Callable[..., None], sink: Sink) -> None:
    """Collecting inputs returns columns, the request's id among them, that any kind of data can be given."""
    install(sink)
    capture.enter_request("request-1")
    try:
        inputs = collector("ModelDataCollector")("red", "inputs", ["a"], model_version="3")
        columns = inputs.collect([1], "mine")
    finally:
        capture.enter_request(NO_REQUEST)
    assert columns["$aml_request_id"] == "request-1"
    assert columns["$aml_dc_correlation_id"] == sink.taken[0][1]
    assert sink.taken[0][1].startswith("mine-")
    assert len(columns) == 8
    values = list(columns.values())
    assert inputs.add_correlations([7], columns) == [7, *values]
    assert inputs.add_correlations(np.array([7]), columns).tolist() == [[7, *values]]
    assert inputs.add_correlations(FRAME, columns).columns.tolist() == ["a", "b", *columns]
    assert inputs.add_correlations("text", columns) == "text"


def test_mistakes_with_the_older_collector_are_warned_of(install: Callable[..., None], sink: Sink) -> None:
    """The older collector never raises: it warns."""
    install(sink)
    with pytest.warns(UserWarning, match="designation is 'odd'"):
        older = collector("ModelDataCollector")("red", "odd")
    with pytest.warns(UserWarning, match="collect failed"):
        assert older.collect(object()) is None
    assert sink.taken == []


def test_collections_of_the_older_collector(install: Callable[..., None], sink: Sink) -> None:
    """The name of the collection counts for signals and general data only."""
    install(sink)
    make = collector("ModelDataCollector")
    for designation in ("default", "signals", "labels"):
        make("red", designation, collection_name="mine").collect([1])
    assert [taken[0] for taken in sink.taken] == ["red/mine", "red/mine", "red/labels"]
    from_module = importlib.import_module("azureml.monitoring.modeldatacollector").ModelDataCollector
    assert from_module is make


def write(folder: Path, sources: dict[str, str]) -> None:
    """Write modules."""
    for name, source in sources.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(source)


def test_a_package_of_the_scripts_own_is_left_alone(
    install: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A package under the name that is not Microsoft's is what the script gets."""
    write(tmp_path, {"azureml/ai/monitoring/__init__.py": "class Collector: own = True"})
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    install(None)
    assert collector().own
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("azureml.ai.monitoring.context")


def test_the_original_gives_way(
    install: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sink: Sink
) -> None:
    """Installed beside the server, the original packages are not what the script gets; their neighbours are."""
    originals = {
        "azureml/__init__.py": "",
        "azureml/ai/__init__.py": "",
        "azureml/ai/other.py": "there = True",
        "azureml/ai/monitoring/__init__.py": "raise SystemExit",
        "azureml/ai/monitoring/collector_json.py": "",
        "azureml/monitoring/__init__.py": "raise SystemExit",
        "azureml/monitoring/modeldatacollector.py": "",
    }
    write(tmp_path, originals)
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    install(sink)
    collector()(name="x").collect(FRAME)
    collector("ModelDataCollector")("m").collect([1])
    assert len(sink.taken) == 2
    assert importlib.import_module("azureml.ai.other").there


@pytest.mark.parametrize("variable", collector_names.SIDECAR_VARIABLES)
def test_the_sidecar_of_the_platform_is_left_alone(
    install: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sink: Sink, variable: str
) -> None:
    """Where Azure ML collects itself, the original package is what the script gets."""
    write(tmp_path, {"azureml/ai/monitoring/__init__.py": "Collector = 'original'"})
    (tmp_path / "azureml/ai/monitoring/collector_json.py").touch()
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    install(sink, **{variable: "true"})
    assert collector() == "original"


def test_the_sidecar_may_be_switched_off(install: Callable[..., None], sink: Sink) -> None:
    """The variable with the value false asks for no sidecar."""
    install(sink, AZUREML_MDC_ENABLED="false")
    collector()(name="x").collect(FRAME)
    assert len(sink.taken) == 1


def test_the_names_are_given_back(sink: Sink) -> None:
    """After the undo nothing of ours is imported under the names."""
    undo = collector_names.install(sink, {})
    undo_parents = compat.install()
    collector()
    undo()
    undo_parents()
    assert "azureml.ai.monitoring" not in sys.modules
    assert not any(type(finder).__module__ == collector_names.__name__ for finder in sys.meta_path)

"""The queue of records and the thread that sends them."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from azmlinfsrv.telemetry.pipeline import BATCH_LIMIT, MAX_TRIES, Backend, Delivery, Pipeline
from tests.telemetry.ingestion import wait_until

PATIENCE_S = 20.0


class FakeBackend:
    """Takes records as they are."""

    name = "Fake"
    sink = "fake"
    batch_limit = BATCH_LIMIT

    def __init__(self) -> None:
        self.batches: list[list[Any]] = []
        self.deliver: Callable[[Sequence[Any]], Delivery] = lambda _batch: Delivery()
        self.closed = 0
        self.threads: set[str] = set()

    def open(self) -> None:
        """See `Backend`."""
        self.threads.add(threading.current_thread().name)

    def encode(self, record: Any) -> Any:
        """See `Backend`."""
        if record == "broken":
            raise ValueError(record)
        return record

    def send(self, batch: Sequence[Any]) -> Delivery:
        """See `Backend`."""
        self.threads.add(threading.current_thread().name)
        self.batches.append(list(batch))
        return self.deliver(batch)

    def tick(self, now: float) -> None:
        """See `Backend`."""

    def close(self) -> None:
        """See `Backend`."""
        self.closed += 1


@pytest.fixture
def backend() -> FakeBackend:
    """A back end in memory."""
    return FakeBackend()


@pytest.fixture
def make(backend: FakeBackend) -> Iterator[Callable[..., Pipeline]]:
    """A function that makes pipelines, which are closed after the test."""
    made: list[Pipeline] = []

    def new(**options: Any) -> Pipeline:
        pipeline = Pipeline(backend, **options)
        made.append(pipeline)
        return pipeline

    yield new
    backend.deliver = lambda _batch: Delivery()
    for pipeline in made:
        pipeline.close(PATIENCE_S)


def put(pipeline: Pipeline, *records: Any) -> None:
    """Put records as the server does."""
    for record in records:
        if pipeline.has_room():
            pipeline.put(record)


def test_a_backend_is_one(backend: FakeBackend) -> None:
    """The fake has what the protocol asks for."""
    checked: Backend = backend
    assert checked.name == "Fake"


def test_records_arrive_in_order_from_one_thread(make: Callable[..., Pipeline], backend: FakeBackend) -> None:
    """What is put, before the start or after it, is sent in order, on the pipeline's own thread."""
    pipeline = make()
    put(pipeline, *range(5))
    assert backend.batches == []
    pipeline.start()
    put(pipeline, *range(5, 2000))
    assert pipeline.flush(PATIENCE_S)
    assert [record for batch in backend.batches for record in batch] == list(range(2000))
    assert max(map(len, backend.batches)) <= BATCH_LIMIT
    assert backend.threads == {"telemetry Fake"}
    assert (pipeline.sent, pipeline.dropped) == (2000, 0)


def test_a_full_queue_drops_and_counts(make: Callable[..., Pipeline], backend: FakeBackend) -> None:
    """Where the other side takes nothing, the queue stays bounded, and each record is either sent or counted."""
    hold, reached = threading.Event(), threading.Event()

    def hang(_batch: Sequence[Any]) -> Delivery:
        reached.set()
        hold.wait(PATIENCE_S)
        return Delivery()

    backend.deliver = hang
    pipeline = make(limit=100)
    pipeline.start()
    put(pipeline, "first")
    assert reached.wait(PATIENCE_S)
    put(pipeline, *range(1000))
    assert pipeline.dropped == 900
    assert not pipeline.flush(0.01)
    hold.set()
    assert pipeline.flush(PATIENCE_S)
    assert (pipeline.sent, pipeline.dropped) == (101, 900)


def test_what_failed_is_sent_again(
    make: Callable[..., Pipeline], backend: FakeBackend, caplog: pytest.LogCaptureFixture
) -> None:
    """A part that is to be sent again comes alone in the next batch; trouble and its end are logged once each."""
    answers = iter([Delivery(["b"], 1, 0.0, "busy"), Delivery(["b"], 0, 0.0, "busy"), Delivery()])
    backend.deliver = lambda _batch: next(answers, Delivery())
    pipeline = make()
    put(pipeline, "a", "b", "c")
    with caplog.at_level(logging.INFO, "azmlinfsrv.telemetry"):
        pipeline.start()
        assert pipeline.flush(PATIENCE_S)
    assert backend.batches == [["a", "b", "c"], ["b"], ["b"]]
    assert (pipeline.sent, pipeline.dropped) == (2, 1)
    assert [record.getMessage() for record in caplog.records] == [
        "Fake: telemetry is not accepted: busy",
        "Fake: telemetry is accepted again; dropped so far: 1",
    ]


def test_what_never_arrives_is_given_up(make: Callable[..., Pipeline], backend: FakeBackend) -> None:
    """A batch that the other side never takes is dropped after some tries, so that the next has its turn."""
    backend.deliver = lambda batch: Delivery(batch, 0, 0.0, "no") if "bad" in batch else Delivery()
    pipeline = make()
    put(pipeline, "bad")
    pipeline.start()
    assert pipeline.flush(PATIENCE_S)
    put(pipeline, "good")
    assert pipeline.flush(PATIENCE_S)
    assert backend.batches == [["bad"]] * MAX_TRIES + [["good"]]
    assert (pipeline.sent, pipeline.dropped) == (1, 1)


def test_the_wait_grows(make: Callable[..., Pipeline], backend: FakeBackend) -> None:
    """While the other side fails, it is asked ever more rarely: three times in the first three seconds."""
    backend.deliver = lambda batch: Delivery(batch, 0, 1.0, "no")
    pipeline = make()
    put(pipeline, 1)
    begun = time.monotonic()
    pipeline.start()
    wait_until(lambda: len(backend.batches) == 3)
    assert time.monotonic() - begun >= 2.9


def test_a_record_that_cannot_be_encoded_is_counted(make: Callable[..., Pipeline], backend: FakeBackend) -> None:
    """One bad record costs nothing but itself."""
    pipeline = make()
    put(pipeline, "a", "broken", "b")
    pipeline.start()
    assert pipeline.flush(PATIENCE_S)
    assert backend.batches == [["a", "b"]]
    assert (pipeline.sent, pipeline.dropped) == (2, 1)


def test_a_back_end_that_raises(make: Callable[..., Pipeline], backend: FakeBackend) -> None:
    """An error of a back end drops its batch and does not end the thread."""

    def fail(_batch: Sequence[Any]) -> Delivery:
        backend.deliver = lambda _batch: Delivery()
        raise RuntimeError

    backend.deliver = fail
    pipeline = make()
    put(pipeline, 1)
    pipeline.start()
    assert pipeline.flush(PATIENCE_S)
    put(pipeline, 2)
    assert pipeline.flush(PATIENCE_S)
    assert (pipeline.sent, pipeline.dropped) == (1, 1)


def test_close_sends_what_waits(make: Callable[..., Pipeline], backend: FakeBackend) -> None:
    """A close sends the rest, gives the back end up, and leaves no thread."""
    pipeline = make()
    pipeline.start()
    put(pipeline, *range(1500))
    pipeline.close(PATIENCE_S)
    assert (pipeline.sent, pipeline.dropped, backend.closed) == (1500, 0, 1)
    assert "telemetry Fake" not in {thread.name for thread in threading.enumerate()}


def test_close_is_bounded_where_the_other_side_is_gone(make: Callable[..., Pipeline], backend: FakeBackend) -> None:
    """A close waits for no retry: what is left is counted, and said in the log."""
    backend.deliver = lambda batch: Delivery(batch, 0, 60.0, "gone")
    pipeline = make()
    put(pipeline, *range(1000))
    pipeline.start()
    wait_until(lambda: backend.batches)
    begun = time.monotonic()
    pipeline.close(PATIENCE_S)
    assert time.monotonic() - begun < PATIENCE_S
    assert (pipeline.sent, pipeline.dropped) == (0, 1000)


def test_close_does_not_wait_for_what_hangs(make: Callable[..., Pipeline], backend: FakeBackend) -> None:
    """A close is over in time while a batch is on its way to nobody, which counts as dropped."""
    hold = threading.Event()

    def hang(_batch: Sequence[Any]) -> Delivery:
        hold.wait(PATIENCE_S)
        return Delivery()

    backend.deliver = hang
    pipeline = make()
    put(pipeline, *range(10))
    pipeline.start()
    wait_until(lambda: backend.batches)
    put(pipeline, *range(5))
    begun = time.monotonic()
    pipeline.close(0.2)
    hold.set()
    assert time.monotonic() - begun < PATIENCE_S
    assert pipeline.dropped == 15


def test_another_process_sends_what_is_forgotten(make: Callable[..., Pipeline], backend: FakeBackend) -> None:
    """What a forked process has got from the one before it can be left out."""
    pipeline = make()
    put(pipeline, 1)
    pipeline.forget()
    pipeline.start()
    put(pipeline, 2)
    assert pipeline.flush(PATIENCE_S)
    assert backend.batches == [[2]]

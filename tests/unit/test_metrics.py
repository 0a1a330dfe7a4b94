"""What workers count, and how it is added up: all in memory, with as many workers as the test likes."""

from __future__ import annotations

import errno
import multiprocessing
import os
import threading
import time
import timeit

import pytest

from azmlinfsrv.messages import Request
from azmlinfsrv.telemetry.board import COUNTER_LIMIT, SERIES_LIMIT, Board
from azmlinfsrv.telemetry.metrics import WorkerMetrics
from azmlinfsrv.telemetry.prometheus import exposition
from azmlinfsrv.telemetry.readings import read
from tests.scraping import Scraped
from tests.unit.http_fakes import request

ROUTES = frozenset({"/", "/score", "/metrics"})


def worker(board: Board, run_slots: int = 1) -> WorkerMetrics:
    """Return the metrics of a worker that serves, in the next free slot."""
    metrics = WorkerMetrics(board, board.take())
    metrics.serve(ROUTES, run_slots, init_s=0.25)
    return metrics


def scrape(board: Board) -> Scraped:
    """Return what any worker would say."""
    return Scraped(exposition(read(board)))


def arrived(method: str = "POST", target: str = "/score", body: bytes = b"", seconds_ago: float = 0.0) -> Request:
    """Return a request that has arrived some time ago."""
    made = request(method, target, body)
    made.received = made.taken = time.perf_counter() - seconds_ago
    return made


def answer(metrics: WorkerMetrics, made: Request, status: int = 200, sent_bytes: int = 0) -> None:
    """Have a worker answer a request."""
    metrics.submitted(1)
    metrics.finished(made, status, sent_bytes)


def test_workers_are_added_up() -> None:
    """A counter is the sum over workers, and each combination of route, method and status is its own."""
    board = Board(4, 2)
    first, second = worker(board), worker(board)
    for _ in range(3):
        answer(first, arrived(body=b"12345"), 200, 7)
    answer(second, arrived(body=b"1"), 200, 2)
    answer(second, arrived(), 500, 10)
    answer(second, arrived("GET", "/"), 200, 7)
    scraped = scrape(board)
    assert scraped.requests() == {
        ("/score", "POST", "200"): 4,
        ("/score", "POST", "500"): 1,
        ("/", "GET", "200"): 1,
    }
    assert scraped.values("request_body_bytes_total", route="/score") == [16]
    assert scraped.values("response_body_bytes_total", route="/score") == [33]
    assert scraped.values("response_body_bytes_total", route="/") == [7]


def test_durations_are_sorted_into_buckets() -> None:
    """A bucket counts what took up to its bound, all below included; sum and count are those of what was observed."""
    board = Board(1, 1)
    metrics = worker(board)
    for seconds in (1e-9, 0.003, 0.003, 2.0, 3600.0):
        made = arrived()
        made.taken, made.run_s = made.received + seconds, seconds
        metrics.finished(made, 200, 0)
    scraped = scrape(board)
    for name in ("queue", "run"):
        buckets = {
            sample.labels["le"]: sample.value
            for sample in scraped.samples
            if sample.name == f"{name}_duration_seconds_bucket"
        }
        assert [buckets[le] for le in ("0.0005", "0.0025", "0.005", "1.0", "2.5", "60.0", "+Inf")] == [
            1, 1, 3, 3, 4, 4, 5,
        ]  # fmt: skip
        assert scraped.values(f"{name}_duration_seconds_count") == [5]
        assert scraped.values(f"{name}_duration_seconds_sum") == [pytest.approx(3602.006)]


def test_the_duration_of_a_request_begins_with_its_last_byte() -> None:
    """A request that arrived two seconds ago took two seconds."""
    board = Board(1, 1)
    before = time.perf_counter()
    answer(worker(board), arrived(seconds_ago=2.0))
    longest = 2.0 + time.perf_counter() - before
    scraped = scrape(board)
    (seconds,) = scraped.values("request_duration_seconds_sum", route="/score", method="POST", status="200")
    assert 2.0 <= seconds <= longest
    assert scraped.values("request_duration_seconds_count", status="200") == [1]


def test_run_that_was_not_called_has_no_duration() -> None:
    """A request whose input is refused waited, but did not run."""
    board = Board(1, 1)
    metrics = worker(board)
    metrics.finished(arrived(), 400, 0)
    scraped = scrape(board)
    assert scraped.values("queue_duration_seconds_count") == [1]
    assert scraped.values("run_duration_seconds_count") == [0]


def test_unknown_paths_and_methods_are_counted_together() -> None:
    """Clients cannot make series: a thousand paths and methods that nobody knows are one."""
    board = Board(1, 1)
    metrics = worker(board)
    for number in range(1000):
        answer(metrics, arrived(f"M{number}", f"/{number}"), 404)
    assert scrape(board).requests() == {("other", "other", "404"): 1000}


def test_a_full_table_loses_no_request() -> None:
    """Beyond the room for series, requests are counted as other, and known series go on."""
    board = Board(1, 1)
    metrics = worker(board)
    statuses = list(range(100, 100 + SERIES_LIMIT + 20))
    for status in statuses * 2:
        answer(metrics, arrived(), status)
    counted = scrape(board).requests()
    assert sum(counted.values()) == 2 * len(statuses)
    assert counted["other", "other", "other"] == 2 * 21
    assert counted["/score", "POST", "100"] == 2


def test_in_flight_and_queue() -> None:
    """What was submitted and not answered is in flight; what exceeds the calls at a time waits."""
    board = Board(2, 2)
    busy, idle = worker(board, run_slots=2), worker(board)
    busy.submitted(2)
    busy.submitted(3)
    idle.finished(request("GET", "/"), 200, 7)
    scraped = scrape(board)
    assert scraped.values("requests_in_flight") == [5, 0]
    assert scraped.values("queue_depth") == [3, 0]
    assert scraped.values("run_slots") == [2, 1]
    for _ in range(5):
        busy.finished(arrived(), 200, 0)
    assert scrape(board).values("requests_in_flight") == [0, 0]


def test_streams_that_are_open() -> None:
    """A streamed answer is open from its first byte to its end."""
    board = Board(1, 1)
    metrics = worker(board)
    metrics.stream_begun()
    assert scrape(board).values("streams_open") == [1]
    metrics.stream_ended()
    assert scrape(board).values("streams_open") == [0]


def test_what_went_wrong_is_counted() -> None:
    """Refusals by their reason, calls that took too long, clients that left, records that were dropped."""
    board = Board(2, 2)
    metrics, other = worker(board), worker(board)
    for status in (400, 505, 401, 408, 413, 431):
        metrics.rejected(status)
    late = arrived()
    late.timed_out, late.run_s = True, 1.0
    answer(metrics, late)
    metrics.refused("queue_full")
    metrics.abandoned("waiting")
    metrics.disconnected()
    metrics.dropped("app_insights", 3)
    other.dropped("app_insights")
    scraped = scrape(board)
    reasons = {"invalid": 2, "slow": 1, "too_large": 2, "queue_full": 1, "unauthorized": 1}
    for reason, count in reasons.items():
        assert scraped.values("requests_rejected_total", reason=reason) == [count]
    assert scraped.total("requests_rejected_total") == sum(reasons.values())
    assert scraped.values("requests_abandoned_total", stage="waiting") == [1]
    assert scraped.values("run_timeouts_total") == [1]
    assert scraped.values("requests_disconnected_total") == [1]
    assert scraped.values("telemetry_dropped_total", sink="app_insights") == [4]


def test_refusals_are_there_before_the_first() -> None:
    """Their counters begin at 0, so that a rate sees the first one."""
    board = Board(1, 1)
    worker(board)
    assert scrape(board).values("requests_rejected_total") == [0] * 9
    assert scrape(board).values("requests_abandoned_total") == [0] * 3


def test_drops_are_counted_by_many_threads() -> None:
    """Exporters count on threads of their own, and nothing is lost; sinks without room are counted as other."""
    board = Board(1, 1)
    metrics = worker(board)

    def drop() -> None:
        for number in range(2000):
            metrics.dropped(f"sink-{number % (COUNTER_LIMIT * 2)}")
            metrics.dropped("one")

    threads = [threading.Thread(target=drop) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    scraped = scrape(board)
    assert scraped.total("telemetry_dropped_total") == 4 * 2 * 2000
    assert scraped.total("telemetry_dropped_total", sink="other") > 0


def test_a_worker_counts_on_where_the_one_before_stopped() -> None:
    """What a worker that died had counted stays; what it had left open, and its gauges, do not."""
    board = Board(4, 1)
    slot = board.take()
    first = WorkerMetrics(board, slot)
    first.serve(ROUTES, 8, init_s=3.0)
    for _ in range(5):
        answer(first, arrived(), 200, 10)
    first.submitted(1)  # dies in it
    first.stream_begun()
    cpu_before = scrape(board).total("worker_cpu_seconds_total")
    assert slot is not None
    board.release(slot)
    between = scrape(board)
    assert (between.values("workers_up"), between.values("requests_in_flight")) == ([0], [])
    assert between.requests() == {("/score", "POST", "200"): 5}
    second = WorkerMetrics(board, board.take())
    second.serve(ROUTES, 1, init_s=0.5)
    answer(second, arrived(), 200, 10)
    answer(second, arrived(), 503, 0)
    after = scrape(board)
    assert after.requests() == {("/score", "POST", "200"): 6, ("/score", "POST", "503"): 1}
    assert after.values("requests_in_flight") == [0]
    assert after.values("streams_open") == [0]
    assert after.values("worker_init_duration_seconds") == [0.5]
    assert after.values("workers_up") == [1]
    assert after.total("worker_cpu_seconds_total") > cpu_before


def test_workers_beyond_the_room() -> None:
    """A worker without a slot serves and answers scrapes, but is not counted."""
    board = Board(1, 2)
    answer(worker(board), arrived())
    assert board.take() is None
    beyond = WorkerMetrics(board, None)
    beyond.serve(ROUTES, 1, 0.0)
    answer(beyond, arrived())
    scraped = scrape(board)
    assert scraped.requests() == {("/score", "POST", "200"): 1}
    assert scraped.values("workers_up") == [1]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_processes_share_the_memory() -> None:
    """What forked processes count is seen by the one that made the board, also after their end."""
    board = Board(4, 3)

    def serve(slot: int | None) -> None:
        metrics = WorkerMetrics(board, slot)
        metrics.serve(ROUTES, 1, 0.0)
        for _ in range(1000):
            answer(metrics, arrived())

    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=serve, args=(board.take(),)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(20)
        assert process.exitcode == 0
    assert scrape(board).requests() == {("/score", "POST", "200"): 3000}


def test_memory_and_processor_time() -> None:
    """A worker tells its resident memory and its processor time."""
    board = Board(1, 1)
    metrics = worker(board)
    metrics.sample()
    scraped = scrape(board)
    (resident,) = scraped.values("worker_resident_memory_bytes")
    assert 5e6 < resident < 5e9
    (cpu,) = scraped.values("worker_cpu_seconds_total")
    assert 0 < cpu <= time.process_time()
    assert scraped.values("worker_init_duration_seconds") == [0.25]
    (started,) = scraped.values("worker_start_time_seconds")
    assert time.time() - 60 < started <= time.time()


def test_memory_that_cannot_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no descriptor is left to read /proc with, what was known stays, and the worker lives on."""
    board = Board(1, 1)
    metrics = worker(board)
    before = scrape(board).values("worker_resident_memory_bytes")

    def refuse(*_: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr("azmlinfsrv.telemetry.metrics.open", refuse, raising=False)
    metrics.sample()
    assert scrape(board).values("worker_resident_memory_bytes") == before != [0]


def test_counting_is_cheap() -> None:
    """All that is counted of a request takes a few microseconds at the most, even on a slow and busy machine."""
    board = Board(1, 1)
    metrics, made = worker(board), arrived(body=b"{}")
    made.run_s = 0.001

    def count() -> None:
        metrics.submitted(1)
        metrics.finished(made, 200, 20)

    assert min(timeit.repeat(count, number=1000, repeat=20)) / 1000 < 5e-6

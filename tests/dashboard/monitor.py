"""A real Prometheus on the loopback interface that scrapes one server."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import httpx

from tests.ports import ReservedPort

_CONFIG = """
global:
  scrape_interval: {interval}
  scrape_timeout: {interval}
scrape_configs:
  - job_name: azmlinfsrv
    static_configs:
      - targets: ["127.0.0.1:{port}"]
        labels: {labels}
"""
_START_S = 30.0


class Series(NamedTuple):
    """One line of an answer.

    Attributes:
        labels: names and values of its labels.
        points: time and value of each point.
    """

    labels: dict[str, str]
    points: list[tuple[float, float]]


class Monitor:
    """Prometheus, its data in a folder.

    Args:
        program: path of `prometheus`.
        folder: an empty folder.
        port: port of the server that it scrapes.
        interval: time between two scrapes, as Prometheus writes it.
        labels: what it labels all series of the server with.
    """

    def __init__(
        self, program: str, folder: Path, port: int, interval: str, labels: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        config = folder / "prometheus.yml"
        self._stack = ExitStack()
        own = self._stack.enter_context(ReservedPort()).number  # Go's listeners set SO_REUSEADDR as well
        config.write_text(_CONFIG.format(interval=interval, port=port, labels=json.dumps(dict(labels))), "utf-8")
        command = [program, f"--config.file={config}", f"--storage.tsdb.path={folder / 'data'}"]
        command += [f"--web.listen-address=127.0.0.1:{own}", "--log.level=error"]
        self._process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self._client = httpx.Client(base_url=f"http://127.0.0.1:{own}", timeout=_START_S, trust_env=False)

    def wait_until(self, condition: Callable[[], object], within_s: float = _START_S) -> None:
        """Wait until the condition holds; a Prometheus that does not answer yet does not fulfil it."""
        end = time.monotonic() + within_s
        while not self._holds(condition):
            assert self._process.poll() is None, "Prometheus ended"
            assert time.monotonic() < end, f"the condition did not hold within {within_s} s"
            time.sleep(0.1)

    def _holds(self, condition: Callable[[], object]) -> object:
        try:
            return condition()
        except httpx.HTTPError:
            return False

    def ask(self, expression: str) -> list[Series]:
        """Return the values of an expression now.

        Raises:
            httpx.HTTPStatusError: Prometheus refuses the expression, or is not ready.
        """
        return [Series(each["metric"], [_point(each["value"])]) for each in self._get("query", query=expression)]

    def ask_range(self, expression: str, since: float, until: float, step_s: float) -> list[Series]:
        """Return the values of an expression over a time, in Unix seconds.

        Raises:
            httpx.HTTPStatusError: Prometheus refuses the expression, or is not ready.
        """
        found = self._get("query_range", query=expression, start=str(since), end=str(until), step=str(step_s))
        return [Series(each["metric"], [_point(pair) for pair in each["values"]]) for each in found]

    def _get(self, path: str, **parameters: str) -> list[dict[str, Any]]:
        response = self._client.get(f"/api/v1/{path}", params=parameters)
        if response.status_code == 400:
            raise AssertionError(response.json()["error"])
        response.raise_for_status()
        result: list[dict[str, Any]] = response.json()["data"]["result"]
        return result

    def stop(self) -> None:
        """End Prometheus."""
        self._client.close()
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._stack.close()


def _point(pair: list[Any]) -> tuple[float, float]:
    return float(pair[0]), float(pair[1])

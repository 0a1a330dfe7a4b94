"""The telemetry of one worker, from its start to its end."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from azmlinfsrv.telemetry.readings import read_for_all

if TYPE_CHECKING:
    from azmlinfsrv.telemetry.metrics import WorkerMetrics
    from azmlinfsrv.telemetry.model_data import ModelData
    from azmlinfsrv.telemetry.observer import Observer

# How long what is left of traces may be sent at the most: they are worth less than a quick stop.
TRACES_S = 5.0


class WorkerTelemetry:
    """Starts, ticks and stops what a worker tells.

    Args:
        metrics: counts requests, or None.
        observer: is told what happens, or None.
        model_data: collects inputs and outputs, or None.

    Attributes:
        metrics: as given.
    """

    def __init__(
        self, metrics: WorkerMetrics | None, observer: Observer | None = None, model_data: ModelData | None = None
    ) -> None:
        self.metrics = metrics
        self._observer = observer
        self._model_data = model_data
        self._counted_drops = 0

    def start(self) -> None:
        """Start the threads of it; called after the worker was forked."""
        if self._model_data is not None:
            self._model_data.start()
        if self._observer is not None:
            if self.metrics is not None:
                self._observer.readings = functools.partial(read_for_all, self.metrics)
            self._observer.start()

    def tick(self) -> None:
        """Note what is measured now and then; called a few times a second."""
        if self.metrics is not None:
            self.metrics.sample()
            self._count_drops(self.metrics)

    def stop(self, within_s: float) -> None:
        """Let what was collected go, in this time, in seconds."""
        if self._observer is not None:
            self._observer.close(min(within_s, TRACES_S))
        if self._model_data is not None:
            self._model_data.stop(within_s)
        if self.metrics is not None:
            self._count_drops(self.metrics)

    def _count_drops(self, metrics: WorkerMetrics) -> None:
        """Count in the metrics what telemetry has lost since the last time."""
        if self._observer is not None:
            self._observer.count_drops(metrics.dropped)
        if self._model_data is not None and self._model_data.dropped > self._counted_drops:
            metrics.dropped("modeldata", self._model_data.dropped - self._counted_drops)
            self._counted_drops = self._model_data.dropped

"""Which back ends a server has, from its settings."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from azmlinfsrv._version import __version__
from azmlinfsrv.connection_string import Target
from azmlinfsrv.errors import ConfigurationError
from azmlinfsrv.settings import Settings, rows
from azmlinfsrv.telemetry import current
from azmlinfsrv.telemetry.observer import Observer
from azmlinfsrv.telemetry.pipeline import Backend, Pipeline
from azmlinfsrv.telemetry.records import Service


def make_observer(
    settings: Settings, target: Target | None, models: Sequence[str], environ: Mapping[str, str]
) -> Observer:
    """Return the observer with the back ends that the settings ask for; one at least.

    Args:
        settings: the settings.
        target: where Application Insights is, or None where it is not wanted.
        models: ``name:version`` of each model.
        environ: the environment.

    Raises:
        ConfigurationError: packages of a back end are not installed.
    """
    service = Service(
        settings.service_name,
        settings.workspace_name,
        settings.hostname,
        models,
        _instance(settings),
        __version__,
    )
    backends: list[Backend] = []

    def readings() -> Iterable[Any]:
        return observer.readings()  # which it has once the worker serves

    if target is not None:
        from azmlinfsrv.telemetry import insights

        _require("Application Insights", insights.missing_packages(), "appinsights")
        backends.append(insights.Insights(target, service, settings.app_insights_log_response))
    if settings.otlp_enabled:
        from azmlinfsrv.telemetry import otlp

        _require("OTLP", otlp.missing_packages(), "otlp")
        backends.append(otlp.Otlp(service, environ, readings))
    pipelines = [Pipeline(backend) for backend in backends]

    from azmlinfsrv.telemetry import spans

    observer = Observer(
        pipelines,
        keep_response=target is not None and settings.app_insights_log_response,
        keep_model_data=settings.model_data_enabled,
        attach=spans.install(pipelines, settings.service_name, current.origin),
    )
    return observer


def _instance(settings: Settings) -> str:
    """Return the name of the container, or of the machine where it has none."""
    return settings.hostname if settings.hostname != rows()["hostname"].default else socket.gethostname()


def _require(what: str, missing: str, extra: str) -> None:
    if missing:
        raise ConfigurationError(
            f"{what} is enabled, but {missing} is not installed. Run: pip install 'azmlinfsrv[{extra}]'"
        )

"""What telemetry costs where it is off: nothing is imported."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conftest import StartServer
from tests.telemetry.ingestion import KEY

pytestmark = pytest.mark.process

SCRIPT = """
    import sys, threading

    def init():
        pass

    def run(data):
        return {"modules": sorted(sys.modules), "threads": [thread.name for thread in threading.enumerate()]}
"""
PACKAGES = ("azure.core", "azure.monitor", "grpc", "opentelemetry", "google.protobuf")
OWN = {f"azmlinfsrv.telemetry.{name}" for name in ("envelopes", "insights", "json_logs", "observer", "otlp", "spans")}


def seen(server: StartServer, **env: str) -> dict[str, Any]:
    """Return what a script sees in a server with these variables."""
    running = server(SCRIPT, env=env)
    answer: dict[str, Any] = running.client.post("/score", content="1").json()
    return answer


@pytest.mark.parametrize(
    "env",
    [
        {},
        {"AML_APP_INSIGHTS_KEY": KEY},
        {"AML_APP_INSIGHTS_ENABLED": "true"},
        {"AML_APP_INSIGHTS_ENABLED": "true", "AML_APP_INSIGHTS_KEY": "invalid"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"},
    ],
)
def test_nothing_is_imported(server: StartServer, env: dict[str, str]) -> None:
    """With telemetry off, or not to be had, none of its packages is imported, and no thread of its runs."""
    found = seen(server, **env)
    assert [name for name in found["modules"] if name.startswith(PACKAGES) or name in OWN] == []
    assert [name for name in found["threads"] if name.startswith("telemetry")] == []


def test_each_back_end_imports_its_own(server: StartServer) -> None:
    """Application Insights does not import what OTLP needs, nor the other way round."""
    insights = seen(
        server,
        AML_APP_INSIGHTS_ENABLED="true",
        AML_APP_INSIGHTS_KEY=KEY,
        AML_APP_INSIGHTS_ENDPOINT="http://127.0.0.1:1",
    )
    assert "grpc" not in insights["modules"] and "azmlinfsrv.telemetry.otlp" not in insights["modules"]
    otlp = seen(
        server,
        AZMLINFSRV_OTLP_ENABLED="true",
        OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:1",
        OTEL_EXPORTER_OTLP_TIMEOUT="1",
    )
    assert "azure.monitor" not in otlp["modules"] and "azmlinfsrv.telemetry.insights" not in otlp["modules"]

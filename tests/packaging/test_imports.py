"""Importing any module of the distribution does nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SOURCES = Path(__file__).resolve().parents[2] / "src"

# What a scripts' user pays for only when the script uses it.
HEAVY = [
    "azure",
    "debugpy",
    "flask",
    "grpc",
    "gunicorn",
    "inference_schema",
    "numpy",
    "opentelemetry",
    "pandas",
    "pyarrow",
    "pydantic",
]

# Modules that exist to join the server with one of these, and what scripts import to use Flask's classes.
ALLOWED = {
    "azmlinfsrv.api": {"flask"},
    "azmlinfsrv.flask_bridge": {"flask"},
    "azmlinfsrv.arbiter": {"gunicorn"},
    "azmlinfsrv.launcher": {"gunicorn"},
    "azmlinfsrv.telemetry.otlp_records": {"opentelemetry"},
    "azmlinfsrv.telemetry.spans": {"opentelemetry"},
    "azmlinfsrv.worker": {"gunicorn"},
    "azureml.contrib.services.aml_request": {"flask"},
    "azureml.contrib.services.aml_response": {"flask"},
    "azureml_inference_server_http.api.aml_request": {"flask"},
    "azureml_inference_server_http.api.aml_response": {"flask"},
    "azmlinfsrv.typed": {"pydantic"},
}

# Runs in a process of its own: prints what importing the module in argv[1] changed, as JSON.
PROBE = """
import importlib, json, logging, os, signal, sys, threading, warnings

def snapshot():
    root = logging.getLogger()
    return {
        "environment": dict(os.environ),
        "working directory": os.getcwd(),
        "arguments": list(sys.argv),
        "import path": list(sys.path),
        "import hooks": [repr(hook) for hook in sys.meta_path + sys.path_hooks],
        "root logger": [root.level, repr(root.handlers), repr(root.filters)],
        "record factory": repr(logging.getLogRecordFactory()),
        "signal handlers": {
            number: repr(signal.getsignal(number)) for number in range(1, signal.NSIG)
        },
        "streams": [repr(sys.stdout), repr(sys.stderr), repr(sys.stdin)],
        "hooks": [repr(sys.excepthook), repr(threading.excepthook), repr(sys.unraisablehook)],
        "threads": sorted(thread.name for thread in threading.enumerate()),
        "warning filters": repr(warnings.filters),
    }

module, *heavy = sys.argv[1:]
before = snapshot()
importlib.import_module(module)
after = snapshot()
changed = {key: [before[key], after[key]] for key in before if before[key] != after[key]}
json.dump({"changed": changed, "heavy": [name for name in heavy if name in sys.modules]}, sys.stdout)
"""


def modules() -> list[str]:
    """Return the name of every module under src/."""
    paths = (path.relative_to(SOURCES).with_suffix("") for path in sorted(SOURCES.rglob("*.py")))
    return [".".join(path.parts).removesuffix(".__init__") for path in paths]


@pytest.mark.parametrize("module", modules())
def test_importing_a_module_does_nothing(module: str, tmp_path: Path) -> None:
    """A clean process is the same after the import: nothing set, printed, started or heavy imported."""
    probe = subprocess.run(
        [sys.executable, "-I", "-W", "error", "-c", PROBE, module, *HEAVY],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert probe.stderr == ""
    report = json.loads(probe.stdout)
    assert report["changed"] == {}
    assert set(report["heavy"]) <= ALLOWED.get(module, set())
    assert list(tmp_path.iterdir()) == []


def test_the_exceptions_are_modules() -> None:
    """No exception is left over from a module that is gone."""
    assert set(ALLOWED) <= set(modules())

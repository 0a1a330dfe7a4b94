"""An environment of its own for each system, made once, and what was installed into it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from comparison.catalogue import CACHE, ROOT, SYSTEMS, System

# What the works need beside a system: the same for all that do more than the trivial one.
FOR_MODELS = ["scikit-learn", "joblib", "onnxruntime", "pandas"]
# What makes the ONNX file, in an environment of its own.
FOR_ONNX = ["onnx", "numpy"]
LIST = (
    "import importlib.metadata, json\n"
    "print(json.dumps([[each.name.lower(), each.version] for each in importlib.metadata.distributions()]))"
)


def install(system: System) -> str | None:
    """Make the environment of a system where its requirements have changed.

    Returns:
        Why it cannot be had, or None.
    """
    requirements = [part.replace("{root}", str(ROOT)) for part in system.requirements]
    models = len(system.table["work"]) > 1
    why = make(system.environment, [*requirements, *(FOR_MODELS if models else [])])
    if models and not why:
        make_models(system)
    return why


def make(environment: Path, requirements: list[str]) -> str | None:
    """Make an environment, or change it where something else is wanted than it was made for."""
    stamp = environment / "requirements.json"
    wanted = json.dumps([sys.version, *requirements])
    if stamp.exists() and stamp.read_text("utf-8") == wanted:
        return None
    print(f"Installing {environment.name}", flush=True)
    python = environment / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "pip"]
    done = subprocess.run([*pip, *requirements], check=False, capture_output=True, text=True)
    if done.returncode:
        return f"pip cannot install it: {last_line(done.stderr)}"
    stamp.write_text(wanted, "utf-8")
    return None


def make_models(system: System) -> None:
    """Make the models that a system is to serve, where they are not there."""
    folder = system.models
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "forest.joblib").exists():
        subprocess.run([str(system.python), str(SYSTEMS / "scripts" / "models.py"), str(folder)], check=True)
    network = folder / "network.onnx"
    if not network.exists():
        tools = CACHE / "onnx"
        why = make(tools, FOR_ONNX)
        if why:
            raise RuntimeError(why)
        command = [str(tools / "bin" / "python"), str(SYSTEMS / "scripts" / "onnx_model.py"), str(network)]
        subprocess.run(command, check=True)


def versions(system: System) -> dict[str, str]:
    """Return the version of each distribution in the environment of a system."""
    listed = subprocess.run([str(system.python), "-c", LIST], check=True, capture_output=True, text=True).stdout
    return dict(json.loads(listed))


def last_line(text: str) -> str:
    """Return the last line that says something."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing"

"""The text of a Dockerfile, and the command that writes it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from azmlinfsrv import cli
from azmlinfsrv.dockerfile import IGNORED, render, write
from azmlinfsrv.errors import UsageError
from azmlinfsrv.recipe import Recipe

PIP = Recipe("python:3.11-slim", "code/score.py", "list of packages.txt", model_dir="model", package="azmlinfsrv>=1")
CONDA = Recipe("debian:12", "score.py", conda_file="conda.yml", package="azmlinfsrv[typed]>=1")
PROJECT = Path(__file__).resolve().parents[2]


def instructions(text: str) -> list[str]:
    """Return the instructions, with continued lines joined and without comments."""
    lines = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    return [re.sub(r"\s+", " ", line) for line in lines.replace("\\\n", " ").splitlines() if line]


def test_pip() -> None:
    """Pip installs the server and the list of packages together, in a stage that is not shipped."""
    lines = instructions(render(PIP))
    assert lines[0] == "ARG BASE_IMAGE=python:3.11-slim"
    assert 'COPY ["list of packages.txt", "/build/list of packages.txt"]' in lines
    (install,) = [line for line in lines if "pip install" in line]
    assert install.endswith("pip install --no-cache-dir 'azmlinfsrv>=1' -r 'list of packages.txt'")
    final = lines[lines.index("FROM ${BASE_IMAGE}") :]
    assert not any("BUILD_PACKAGES" in line or "pip" in line for line in final)
    (environment,) = [line for line in final if line.startswith("ENV")]
    assert 'AZUREML_ENTRY_SCRIPT="code/score.py" AZUREML_MODEL_DIR="/var/azureml-app/model"' in environment


def test_conda() -> None:
    """Conda makes the environment at AZUREML_CONDA_ENVIRONMENT_PATH, and its libraries are found."""
    lines = instructions(render(CONDA))
    assert "FROM ${CONDA_IMAGE} AS build" in lines
    (create,) = [line for line in lines if "conda env create" in line]
    assert "--prefix /opt/environment --file conda.yml;" in create
    assert "/opt/environment/bin/python -m pip install --no-cache-dir 'azmlinfsrv[typed]>=1';" in create
    (environment,) = [line for line in lines if line.startswith("ENV")]
    assert "AZUREML_CONDA_ENVIRONMENT_PATH=/opt/environment LD_LIBRARY_PATH=/opt/environment/lib" in environment
    assert "python3" not in next(line for line in lines if "nginx-light" in line)


def test_what_else_is_copied() -> None:
    """A wheel is there for pip, and the whole folder where the list of packages names more of it."""
    wheel = Recipe("a", "score.py", "requirements.txt", package="./azmlinfsrv-1.whl[typed]")
    assert 'COPY ["azmlinfsrv-1.whl", "/build/azmlinfsrv-1.whl"]' in instructions(render(wheel))
    assert "pip install --no-cache-dir './azmlinfsrv-1.whl[typed]' -r requirements.txt" in render(wheel)
    whole = Recipe("a", "score.py", "requirements.txt", whole_folder=True)
    assert next(line for line in instructions(render(whole)) if line.startswith("COPY")) == "COPY . /build/"


def test_no_script_where_config_names_it() -> None:
    """AZUREML_ENTRY_SCRIPT is left to config.json."""
    assert "AZUREML_ENTRY_SCRIPT" not in render(Recipe("a", ""))


@pytest.mark.parametrize("recipe", [PIP, CONDA], ids=["pip", "conda"])
def test_it_ends_as_the_projects_own(recipe: Recipe) -> None:
    """User, port, signal and init are those of docker/Dockerfile; the health check is valid JSON."""
    own = instructions((PROJECT / "docker" / "Dockerfile").read_text("utf-8"))
    lines = instructions(render(recipe))
    for start in ("USER", "EXPOSE", "STOPSIGNAL", "WORKDIR /var"):
        assert [line for line in lines if line.startswith(start)][-1:] == [
            line for line in own if line.startswith(start)
        ][-1:]
    (check,) = [line for line in lines if line.startswith("HEALTHCHECK")]
    (own_check,) = [line for line in own if line.startswith("HEALTHCHECK")]
    assert check.partition(" CMD ")[0] == own_check.partition(" CMD ")[0]
    assert json.loads(check.partition(" CMD ")[2])[0] == "python3"
    assert json.loads(lines[-1].removeprefix("ENTRYPOINT "))[:3] == ["tini", "-s", "--"]


def test_nothing_is_written_over(tmp_path: Path) -> None:
    """A Dockerfile and a .dockerignore that are there stay as they are, unless asked otherwise."""
    write(str(tmp_path), PIP, force=False)
    assert (tmp_path / ".dockerignore").read_text() == IGNORED
    (tmp_path / "Dockerfile").write_text("mine")
    with pytest.raises(UsageError, match="--force"):
        write(str(tmp_path), PIP, force=False)
    assert (tmp_path / "Dockerfile").read_text() == "mine"
    (tmp_path / "Dockerfile").unlink()
    (tmp_path / ".dockerignore").write_text("mine")
    assert [new for _, new in write(str(tmp_path), PIP, force=False)] == [True, False]
    assert (tmp_path / ".dockerignore").read_text() == "mine"
    assert [new for _, new in write(str(tmp_path), PIP, force=True)] == [True, True]
    assert (tmp_path / ".dockerignore").read_text() == IGNORED


def run(*arguments: str) -> int:
    """Run the command line and return its exit code."""
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    return int(caught.value.code or 0)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The command writes both files, says so, and says what they serve."""
    (tmp_path / "score.py").write_text("def init(): ...\ndef run(data): ...\n")
    assert run("dockerfile", str(tmp_path), "--base_image", "python:3.10-slim", "--extras", "typed") == 0
    printed = capsys.readouterr().out
    assert f"Wrote {tmp_path / 'Dockerfile'}\n" in printed and "serves score.py with no list" in printed
    assert "ARG BASE_IMAGE=python:3.10-slim\n" in (tmp_path / "Dockerfile").read_text()
    assert run("dockerfile", str(tmp_path)) == 1
    captured = capsys.readouterr()
    assert (
        captured.err
        == f"azmlinfsrv dockerfile: error: {tmp_path / 'Dockerfile'} is there already: --force writes over it\n"
    )


def test_the_command_for_an_mlflow_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder that is an MLflow model needs no script: the image has the folder as its model."""
    (tmp_path / "MLmodel").write_text("flavors: {python_function: {python_version: 3.13.1}}\n")
    assert run("dockerfile", str(tmp_path)) == 0
    assert "It serves the MLflow model in . with no list" in capsys.readouterr().out
    text = (tmp_path / "Dockerfile").read_text()
    assert (
        'AZUREML_MODEL_DIR="/var/azureml-app" ' in text and "ENTRY_SCRIPT" not in text and "azmlinfsrv[mlflow]" in text
    )


def test_the_word_is_a_command_only_in_front(capsys: pytest.CaptureFixture[str]) -> None:
    """After an option, `dockerfile` is that option's value or a word too many, as before there was the command."""
    assert vars(cli.make_parser().parse_args(["--entry_script", "dockerfile"]))["entry_script"] == "dockerfile"
    assert run("--port", "5001", "dockerfile") == 1
    assert "unrecognized arguments: dockerfile" in capsys.readouterr().err

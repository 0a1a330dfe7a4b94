"""Images that users make: from this one, from an environment of theirs, and with `azmlinfsrv dockerfile`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.image.conftest import BUILD_S, Build, Serve
from tests.image.container import Image

pytestmark = [pytest.mark.image, pytest.mark.timeout(BUILD_S)]

# What stands for conda, which cannot be had everywhere: makes the environment with venv, and installs pip's packages
# of the file.
CONDA = """\
#!/bin/sh
set -eu
[ "$1" != clean ] || exit 0
[ "$1 $2 $3 $4 $6" = "env create --quiet --prefix --file" ]
python3 -m venv "$5"
sed -n 's/^      - //p' "$7" >/tmp/listed
"$5/bin/pip" install --quiet -r /tmp/listed
"""


def write_dockerfile(folder: Path, *arguments: str) -> None:
    """Run `azmlinfsrv dockerfile` on a folder that has a wheel of this project, and have the wheel installed."""
    (built,) = folder.glob("*.whl")
    command = [sys.executable, "-m", "azmlinfsrv", "dockerfile", str(folder), "--package", built.name, *arguments]
    subprocess.run(command, check=True, capture_output=True)


@pytest.fixture
def folder(app: Path, image: Image) -> Path:
    """A user's folder, with the wheel that the image was made of."""
    copied = image.run("sh", "-c", "cp /opt/azmlinfsrv/wheel/*.whl /out/", volumes={app: "/out"})
    assert copied.returncode == 0, copied.stderr
    return app


def test_from_the_image(image: Image, app: Path, build: Build, serve: Serve) -> None:
    """An image FROM this one serves the script that was copied into it."""
    (app / "Dockerfile").write_text(
        f"FROM {image.name}\nCOPY inside.py /var/azureml-app/\nENV AZUREML_ENTRY_SCRIPT=inside.py\n"
    )
    made = build("azmlinfsrv-test-from", "-f", app / "Dockerfile", app)
    assert made.config["User"] == "1000:1000" and made.config["Healthcheck"]
    assert serve(made).ask("echo", value="copied") == "copied"


def test_a_folder_with_requirements(folder: Path, build: Build, serve: Serve) -> None:
    """The Dockerfile of a folder with requirements.txt builds, and its image serves the script with the packages."""
    (folder / "requirements.txt").write_text("tomli\n")
    write_dockerfile(folder)
    made = build("azmlinfsrv-test-pip", "-f", folder / "Dockerfile", folder)
    assert made.config["User"] == "1000:1000"
    container = serve(made)
    assert container.ask("load", module="tomli") == "tomli"
    assert container.ask("surroundings")["user"] == 1000
    assert container.client.get("/nowhere").json()["message"].startswith("The requested URL was not found")
    assert len(container.processes("nginx")) >= 2
    assert container.check_health() == 0
    assert container.stop() == 0


def test_a_folder_with_a_conda_file(folder: Path, build: Build, serve: Serve) -> None:
    """The Dockerfile of a folder with conda.yml has conda make the environment, whose Python then serves."""
    tool = folder.parent / "conda"
    tool.mkdir()
    (tool / "conda").write_text(CONDA)
    (tool / "Dockerfile").write_text(
        "ARG BASE_IMAGE\nFROM ${BASE_IMAGE}\nCOPY conda /usr/bin/conda\nRUN chmod 755 /usr/bin/conda\n"
    )
    build("azmlinfsrv-test-conda", "-f", tool / "Dockerfile", tool)
    (folder / "conda.yml").write_text("name: mine\ndependencies:\n  - python\n  - pip\n  - pip:\n      - tomli\n")
    write_dockerfile(folder)
    conda = ("--build-arg", "CONDA_IMAGE=localhost/azmlinfsrv-test-conda")
    container = serve(build("azmlinfsrv-test-conda-app", *conda, "-f", folder / "Dockerfile", folder))
    found = container.ask("surroundings")
    assert found["prefix"] == found["environment"]["AZUREML_CONDA_ENVIRONMENT_PATH"] == "/opt/environment"
    assert found["environment"]["LD_LIBRARY_PATH"] == "/opt/environment/lib"
    assert container.ask("load", module="tomli") == "tomli"
    assert container.check_health() == 0


def test_an_environment_at_build_time(app: Path, build: Build, serve: Serve) -> None:
    """With AZUREML_CONDA_ENVIRONMENT_PATH at the build, the server goes into that environment of the base image."""
    base = app.parent / "base"
    base.mkdir()
    (base / "Dockerfile").write_text("ARG BASE_IMAGE\nFROM ${BASE_IMAGE}\nRUN python3 -m venv /envs/mine\n")
    build("azmlinfsrv-test-base", "-f", base / "Dockerfile", base)
    made = build(
        "azmlinfsrv-test-environment",
        "--base",
        "localhost/azmlinfsrv-test-base",
        "--build-arg",
        "AZUREML_CONDA_ENVIRONMENT_PATH=/envs/mine",
    )
    container = serve(made, env={"AZUREML_ENTRY_SCRIPT": "inside.py"}, volumes={app: "/var/azureml-app"})
    found = container.ask("surroundings")
    assert found["prefix"] == "/envs/mine" and found["environment"]["LD_LIBRARY_PATH"] == "/envs/mine/lib"

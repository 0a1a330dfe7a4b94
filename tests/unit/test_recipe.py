"""What is found in a folder for its Dockerfile."""

from __future__ import annotations

from pathlib import Path

import pytest

from azmlinfsrv.errors import UsageError
from azmlinfsrv.recipe import (
    BASE_IMAGE,
    CONDA_BASE_IMAGE,
    CONDA_FILES,
    Wishes,
    find_script,
    lists_released_server,
    plan,
)

SCRIPT = "def init(): ...\n\n\nasync def run(data): ...\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a script, score.py, and a module that is none."""
    path = tmp_path / "app"
    path.mkdir()
    (path / "score.py").write_text(SCRIPT)
    (path / "features.py").write_text("def run(): ...\n")
    return path


def test_a_bare_folder(folder: Path) -> None:
    """A folder with nothing but a script needs no list of packages, and no model."""
    found = plan(str(folder), Wishes())
    assert (found.entry_script, found.requirements, found.conda_file, found.model_dir) == ("score.py", "", "", "")
    assert found.base_image == BASE_IMAGE and found.package.startswith("azmlinfsrv>=")


def test_what_lies_in_a_folder_is_found(folder: Path) -> None:
    """requirements.txt and the folder `model` are found."""
    (folder / "requirements.txt").write_text("numpy\n")
    (folder / "model").mkdir()
    found = plan(str(folder), Wishes())
    assert (found.requirements, found.model_dir, found.whole_folder) == ("requirements.txt", "model", False)


@pytest.mark.parametrize("name", CONDA_FILES)
def test_conda_goes_before_pip(name: str, folder: Path) -> None:
    """A conda file is taken, and a requirements file beside it is left out; the base image brings no Python."""
    (folder / "requirements.txt").write_text("numpy\n")
    (folder / name).write_text("dependencies: [python]\n")
    found = plan(str(folder), Wishes())
    assert (found.conda_file, found.requirements, found.base_image) == (name, "", CONDA_BASE_IMAGE)
    assert plan(str(folder), Wishes(requirements="requirements.txt")).conda_file == ""


def test_paths_may_be_given_from_either_side(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A path is relative to the folder, or to the working directory, or absolute."""
    (folder / "code").mkdir()
    (folder / "code" / "main.py").write_text(SCRIPT)
    monkeypatch.chdir(folder.parent)
    for path in ("code/main.py", "app/code/main.py", str(folder / "code" / "main.py")):
        assert plan("app", Wishes(entry_script=path)).entry_script == "code/main.py"


@pytest.mark.parametrize(
    ("content", "script"),
    [
        ({"score.py": SCRIPT, "other.py": SCRIPT}, "score.py"),
        ({"main.py": SCRIPT, "a.py": SCRIPT}, "main.py"),
        ({"serve.py": SCRIPT, "score.py": "x = 1"}, "serve.py"),
        ({"one.py": "from service import init, run as run"}, "one.py"),
        ({"one.py": "import service\ninit = service.start\nrun = service.answer\n", "two.py": "def run(:"}, "one.py"),
        ({"config.json": '{"AZUREML_ENTRY_SCRIPT": "/var/azureml-app/x.py"}', "score.py": SCRIPT}, ""),
        ({"config.json": '{"AML_CORS_ORIGINS": "*"}', "score.py": SCRIPT}, "score.py"),
        ({"config.json": "", "score.py": SCRIPT}, "score.py"),
    ],
)
def test_the_script_is_found(content: dict[str, str], script: str, tmp_path: Path) -> None:
    """The script is config.json's, else score.py, main.py, or the only one with init() and run()."""
    for name, text in content.items():
        (tmp_path / name).write_text(text)
    assert find_script(str(tmp_path)) == script


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "no .py file"),
        ({"a.py": SCRIPT, "b.py": SCRIPT}, "several scripts have init() and run(): a.py, b.py"),
        ({"config.json": "{"}, "not valid JSON"),
    ],
)
def test_no_script_is_guessed(content: dict[str, str], message: str, tmp_path: Path) -> None:
    """Where the script cannot be told, the error says so and names the candidates."""
    for name, text in content.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(UsageError) as caught:
        find_script(str(tmp_path))
    assert message in caught.value.message


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"entry_script": "none.py"}, "none.py does not exist in"),
        ({"entry_script": "../outside.py"}, "is not in"),
        ({"entry_script": "cost $5.py"}, "cannot spell"),
        ({"model_dir": "none"}, "none does not exist"),
        ({"requirements": "score.py", "conda_file": "score.py"}, "not both"),
        ({"base_image": "a b"}, "not the name of an image"),
        ({"extras": "typed;x"}, "not names of extras"),
        ({"package": "none.whl"}, "does not exist"),
        ({"package": "azmlinfsrv==1", "extras": "typed"}, "name the extras in the package"),
        ({"package": "a\nRUN b"}, "not a requirement"),
    ],
)
def test_what_cannot_be_done_is_said(given: dict[str, str], message: str, folder: Path) -> None:
    """An argument that cannot be used is an error that names it."""
    (folder.parent / "outside.py").write_text(SCRIPT)
    (folder / "cost $5.py").write_text(SCRIPT)
    with pytest.raises(UsageError) as caught:
        plan(str(folder), Wishes(**given))
    assert message in caught.value.message


def test_a_folder_that_is_none(tmp_path: Path) -> None:
    """A path that is no folder is an error."""
    with pytest.raises(UsageError, match="is not a folder"):
        plan(str(tmp_path / "none"), Wishes())


MLMODEL = """flavors:
  python_function:
    env: {virtualenv: python_env.yaml}
    python_version: 3.11.7
  sklearn: {}
"""


@pytest.mark.parametrize("place", ["model", "model/iris", "."])
def test_an_mlflow_model_needs_no_script(place: str, tmp_path: Path) -> None:
    """An MLflow model is found where a server finds it, with its requirements, its Python and its extra."""
    model = tmp_path / place
    model.mkdir(parents=True, exist_ok=True)
    (model / "MLmodel").write_text(MLMODEL)
    (model / "requirements.txt").write_text("scikit-learn\n")
    (model / "conda.yaml").write_text("dependencies: [python]\n")
    found = plan(str(tmp_path), Wishes())
    assert (found.entry_script, found.mlflow_model) == ("", place)
    assert found.model_dir == ("." if place == "." else "model") and found.conda_file == ""
    assert found.requirements == ("requirements.txt" if place == "." else f"{place}/requirements.txt")
    assert found.base_image == "python:3.11-slim-bookworm" and found.package.startswith("azmlinfsrv[mlflow]>=")
    assert plan(str(tmp_path), Wishes(extras="typed,mlflow")).package.startswith("azmlinfsrv[typed,mlflow]>=")
    assert plan(str(tmp_path), Wishes(package="azmlinfsrv[mlflow]==1")).package == "azmlinfsrv[mlflow]==1"
    assert plan(str(tmp_path), Wishes(base_image="debian:12")).base_image == "debian:12"


def test_a_script_goes_before_an_mlflow_model(folder: Path) -> None:
    """A folder with a script serves the script; its own list of packages goes before a model's."""
    (folder / "model").mkdir()
    (folder / "model" / "MLmodel").write_text("flavors: {}\n")
    (folder / "model" / "requirements.txt").write_text("scikit-learn\n")
    found = plan(str(folder), Wishes())
    assert (found.entry_script, found.mlflow_model, found.requirements) == ("score.py", "", "")
    (folder / "score.py").unlink()
    (folder / "requirements.txt").write_text("scikit-learn\n")
    found = plan(str(folder), Wishes())
    assert (found.mlflow_model, found.requirements, found.base_image) == ("model", "requirements.txt", BASE_IMAGE)


def test_several_mlflow_models(tmp_path: Path) -> None:
    """Which of several models is meant has to be said."""
    for name in ("one", "two"):
        (tmp_path / "model" / name).mkdir(parents=True)
        (tmp_path / "model" / name / "MLmodel").write_text("flavors: {}\n")
    with pytest.raises(UsageError, match="one, two"):
        plan(str(tmp_path), Wishes())
    assert plan(str(tmp_path), Wishes(model_dir="model/two")).mlflow_model == "model/two"


def test_the_package(folder: Path) -> None:
    """The server is this version or newer, with its extras, or what was asked for, or a wheel of the folder."""
    (folder / "azmlinfsrv-1-py3-none-any.whl").touch()
    assert plan(str(folder), Wishes(extras="typed,blob")).package.startswith("azmlinfsrv[typed,blob]>=")
    assert plan(str(folder), Wishes(package="azmlinfsrv[otlp]==1.2")).package == "azmlinfsrv[otlp]==1.2"
    wheel = plan(str(folder), Wishes(package="azmlinfsrv-1-py3-none-any.whl", extras="typed")).package
    assert wheel == "./azmlinfsrv-1-py3-none-any.whl[typed]"


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("requirements.txt", "-r more.txt"),
        ("requirements.txt", "--constraint versions.txt"),
        ("requirements.txt", "./wheels/mine.whl"),
        ("requirements.txt", "mine @ file:///build/mine"),
        ("conda.yml", "    - -r requirements.txt"),
        ("conda.yml", '    - "-e ."'),
    ],
)
def test_lists_that_name_other_files(name: str, line: str, folder: Path) -> None:
    """A list of packages that names files of the folder is installed with the whole folder at hand."""
    (folder / name).write_text(f"numpy\n{line}\n")
    assert plan(str(folder), Wishes()).whole_folder


@pytest.mark.parametrize("line", ["numpy>=1", "--extra-index-url https://index.test/simple", "# -r more.txt"])
def test_lists_that_name_none(line: str, folder: Path) -> None:
    """Other lines leave the list of packages alone in its layer."""
    (folder / "requirements.txt").write_text(line + "\n")
    assert not plan(str(folder), Wishes()).whole_folder


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("requirements.txt", "azureml-inference-server-http~=1.0\n", True),
        ("conda.yml", "dependencies:\n  - pip:\n    - azureml_inference_server_http\n", True),
        ("requirements.txt", "# azureml-inference-server-http\nazmlinfsrv\n", False),
        ("score.txt", "azureml-inference-server-http", False),
    ],
)
def test_the_released_server_is_noticed(name: str, text: str, told: bool, folder: Path) -> None:
    """A list of packages that names the server whose place this one takes is noticed."""
    (folder / name).write_text(text)
    assert lists_released_server(str(folder), plan(str(folder), Wishes())) is told

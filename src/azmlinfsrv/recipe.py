"""What an image of a user's folder is made of: what is given, and what is found in the folder."""

from __future__ import annotations

import ast
import json
import os
import re
from dataclasses import dataclass

from azmlinfsrv._version import __version__
from azmlinfsrv.errors import ConfigurationError, UsageError
from azmlinfsrv.mlflow_folder import MODEL_FILE, find_model

BASE_IMAGE = "python:3.12-slim-bookworm"
# Conda brings its own Python.
CONDA_BASE_IMAGE = "debian:bookworm-slim"
CONDA_FILES = ("conda.yml", "conda.yaml", "environment.yml", "environment.yaml", "conda_env.yml", "conda_env.yaml")
REQUIREMENTS = "requirements.txt"
_SCRIPTS = ("score.py", "main.py")
# Lines of a requirements file, or of pip's in a conda file.
_OTHER_FILE = r"\s*(-\s+)?['\"]?(-r|-c|-e|--req|--con|--edit|\.|\S+ @ file:|file:)"
_RELEASED_SERVER = r"[\s'\"-]*azureml[-_.]inference[-_.]server[-_.]http\b"


@dataclass(frozen=True)
class Recipe:
    """What an image is made of. Paths are relative to the user's folder, with forward slashes.

    Attributes:
        base_image: the image that it begins with, of Debian or Ubuntu.
        entry_script: path of the script, or "" where config.json names it or an MLflow model needs none.
        requirements: path of a requirements file, or "".
        conda_file: path of conda's file, or "".
        model_dir: path of the model, or "".
        package: what pip installs as the server: a requirement, or the path of a wheel in the folder.
        whole_folder: whether these files name others of the folder, so that all of it is needed to install them.
        mlflow_model: path of the MLflow model that is served without a script, or "".
    """

    base_image: str
    entry_script: str
    requirements: str = ""
    conda_file: str = ""
    model_dir: str = ""
    package: str = "azmlinfsrv"
    whole_folder: bool = False
    mlflow_model: str = ""


@dataclass(frozen=True)
class Wishes:
    """What the user says of an image; "" is not said. Paths are in the folder.

    Attributes:
        entry_script: path of the script.
        requirements: path of a requirements file.
        conda_file: path of conda's file; it goes before a requirements file that is only found.
        model_dir: path of the model; a folder `model` is found, and so is an MLflow model.
        base_image: the image to begin with.
        package: what pip installs as the server, a requirement or a wheel in the folder; else this version or newer.
        extras: extras of the package, with commas between them.
    """

    entry_script: str = ""
    requirements: str = ""
    conda_file: str = ""
    model_dir: str = ""
    base_image: str = ""
    package: str = ""
    extras: str = ""


def plan(folder: str, wishes: Wishes) -> Recipe:
    """Return the recipe for a folder: what is wished, and for the rest what is found in it.

    Raises:
        UsageError: something is missing, not in the folder, or cannot be told.
    """
    if not os.path.isdir(folder):
        raise UsageError(f"{folder} is not a folder")
    if wishes.requirements and wishes.conda_file:
        raise UsageError("give --requirements or --conda_file, not both: a conda file lists pip's packages too")
    model_dir = _inside(folder, wishes.model_dir or _found_model_dir(folder))
    script, mlflow_model = _inside(folder, wishes.entry_script), ""
    if not script:
        script, mlflow_model = _served(folder, model_dir)
    requirements, conda_file = _lists_of_packages(folder, wishes, mlflow_model)
    base_image = CONDA_BASE_IMAGE if conda_file else BASE_IMAGE.replace("3.12", _python_of(folder, mlflow_model))
    return Recipe(
        base_image=_image(wishes.base_image) or base_image,
        entry_script=script,
        requirements=requirements,
        conda_file=conda_file,
        model_dir=model_dir,
        package=_package(folder, wishes.package, _extras(wishes, mlflow_model)),
        whole_folder=_lists(os.path.join(folder, requirements or conda_file), _OTHER_FILE),
        mlflow_model=mlflow_model,
    )


def _found_model_dir(folder: str) -> str:
    """Return the folder of the model: `model`, or the whole folder where that is an MLflow model itself."""
    if os.path.isdir(os.path.join(folder, "model")):
        return "model"
    return "." if os.path.isfile(os.path.join(folder, MODEL_FILE)) else ""


def _served(folder: str, model_dir: str) -> tuple[str, str]:
    """Return the script of a folder, or the MLflow model that needs none; both are "" where config.json names a script.

    Raises:
        UsageError: there is neither, or it cannot be told which.
    """
    try:
        return find_script(folder), ""
    except UsageError:
        if not model_dir:
            raise
        try:
            model = find_model(os.path.join(folder, model_dir))
        except ConfigurationError as error:
            raise UsageError(error.message) from error
        if model is None:
            raise
        return "", _inside(folder, os.path.relpath(model, folder))


def _lists_of_packages(folder: str, wishes: Wishes, mlflow_model: str) -> tuple[str, str]:
    """Return the requirements file and conda's file, of which one is "": as wished, found, or the model's own.

    Raises:
        UsageError: one that is wished is not there.
    """
    if wishes.requirements or wishes.conda_file:
        return _inside(folder, wishes.requirements), _inside(folder, wishes.conda_file)
    for name in CONDA_FILES:
        if os.path.isfile(os.path.join(folder, name)) and mlflow_model != ".":
            return "", name
    places = [REQUIREMENTS, *([os.path.join(mlflow_model, REQUIREMENTS)] if mlflow_model else [])]
    return next((_inside(folder, place) for place in places if os.path.isfile(os.path.join(folder, place))), ""), ""


def _python_of(folder: str, mlflow_model: str) -> str:
    """Return the Python that an MLflow model was saved with, which may be the only one that can load it; else 3.12."""
    found = None
    if mlflow_model:
        with open(os.path.join(folder, mlflow_model, MODEL_FILE), encoding="utf-8", errors="replace") as file:
            found = re.search(r"^\s*[\"']?python_version[\"']?: *[\"']?(3\.\d+)\b", file.read(), re.MULTILINE)
    return found[1] if found else "3.12"


def _extras(wishes: Wishes, mlflow_model: str) -> str:
    """Return the extras that are wished, and that which an MLflow model needs; a requirement names its own."""
    names = wishes.extras.split(",") if wishes.extras else []
    if mlflow_model and "mlflow" not in names and (not wishes.package or wishes.package.endswith(".whl")):
        names.append("mlflow")
    return ",".join(names)


def lists_released_server(folder: str, recipe: Recipe) -> bool:
    """Return whether the list of packages names the server whose place this one takes."""
    return _lists(os.path.join(folder, recipe.requirements or recipe.conda_file), _RELEASED_SERVER)


def find_script(folder: str) -> str:
    """Return the one script of a folder that has init() and run(), or "" where config.json names it.

    Raises:
        UsageError: there is none, or several and none is called score.py or main.py.
    """
    if _config_names_script(os.path.join(folder, "config.json")):
        return ""
    names = sorted(name for name in os.listdir(folder) if name.endswith(".py"))
    found = [name for name in names if _is_script(os.path.join(folder, name))]
    preferred = [name for name in _SCRIPTS if name in found] or found
    if not preferred:
        raise UsageError(f"no .py file in {folder} has init() and run(): name the script with --entry_script")
    if len(preferred) > 1 and preferred[0] not in _SCRIPTS:
        raise UsageError(f"several scripts have init() and run(): {', '.join(found)}; choose one with --entry_script")
    return preferred[0]


def _config_names_script(path: str) -> bool:
    """Return whether a file is a configuration of the server that names its script.

    Raises:
        UsageError: it is not valid.
    """
    if not os.path.isfile(path) or not os.path.getsize(path):
        return False
    try:
        with open(path, encoding="utf-8-sig") as file:
            content = json.load(file)
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} is not valid JSON: {error}") from error
    return isinstance(content, dict) and bool(content.get("AZUREML_ENTRY_SCRIPT") or content.get("AML_ENTRY_SCRIPT"))


def _is_script(path: str) -> bool:
    """Return whether a file defines or imports init() and run() at its top level."""
    try:
        with open(path, "rb") as file:
            body = ast.parse(file.read()).body
    except (OSError, SyntaxError, ValueError):
        return False
    names: set[str] = set()
    for statement in body:
        if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef)):
            names.add(statement.name)
        elif isinstance(statement, (ast.Import, ast.ImportFrom)):
            names.update(alias.asname or alias.name for alias in statement.names)
        elif isinstance(statement, ast.Assign):
            names.update(target.id for target in statement.targets if isinstance(target, ast.Name))
    return {"init", "run"} <= names


def _inside(folder: str, path: str) -> str:
    """Return a path relative to the folder, whether it was given from there or from the working directory.

    Raises:
        UsageError: it does not exist, is not in the folder, or a Dockerfile cannot spell it.
    """
    if not path:
        return ""
    within = os.path.join(folder, path)
    actual = os.path.realpath(within if os.path.exists(within) else path)
    if not os.path.exists(actual):
        raise UsageError(f"{path} does not exist in {folder}")
    relative = os.path.relpath(actual, os.path.realpath(folder)).replace(os.sep, "/")
    if relative == ".." or relative.startswith("../"):
        raise UsageError(f"{path} is not in {folder}: an image can only hold what is in its folder")
    if not re.fullmatch(r"[\w ./@+,=:~()-]+", relative):
        raise UsageError(f"{relative!r} has characters that a Dockerfile cannot spell: rename it")
    return relative


def _image(name: str) -> str:
    if name and not re.fullmatch(r"[\w./:@-]+", name):
        raise UsageError(f"{name!r} is not the name of an image")
    return name


def _package(folder: str, package: str, extras: str) -> str:
    """Return what pip is to install.

    Raises:
        UsageError: the wheel is not in the folder, or the extras are no names.
    """
    if extras and not re.fullmatch(r"[\w-]+(,[\w-]+)*", extras):
        raise UsageError(f"{extras!r} are not names of extras with commas between them")
    brackets = f"[{extras}]" if extras else ""
    if package.endswith(".whl"):
        return f"./{_inside(folder, package)}{brackets}"
    if package and extras:
        raise UsageError(f"name the extras in the package: --package 'azmlinfsrv[{extras}]…'")
    if "\n" in package:
        raise UsageError(f"{package!r} is not a requirement")
    return package or f"azmlinfsrv{brackets}>={__version__}"


def _lists(path: str, pattern: str) -> bool:
    """Return whether a line of a list of packages begins with a pattern; where there is no list, none does."""
    if not os.path.isfile(path):
        return False
    with open(path, encoding="utf-8", errors="replace") as file:
        return any(re.match(pattern, line, re.IGNORECASE) for line in file)

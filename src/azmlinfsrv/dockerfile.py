"""A Dockerfile for a user's folder.

The image is as that of ``docker/Dockerfile``: nginx and the server under one init, an unprivileged user, the folder at
/var/azureml-app. It needs no image of this project's, only the package.
"""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Iterator

from azmlinfsrv.errors import UsageError
from azmlinfsrv.recipe import Recipe

CONDA_IMAGE = "condaforge/miniforge3"

# Left out of the image; a Dockerfile in the folder is of no use in it.
IGNORED = """\
.git
.venv
venv
.env
.dockerignore
Dockerfile
.ipynb_checkpoints
.mypy_cache
.pytest_cache
.ruff_cache
**/__pycache__
**/*.pyc
"""


def render(recipe: Recipe) -> str:
    """Return the Dockerfile."""
    parts = (_head(recipe), _conda_stage(recipe) if recipe.conda_file else _pip_stage(recipe), _final_stage(recipe))
    return "\n".join(line for part in parts for line in part) + "\n"


def _head(recipe: Recipe) -> Iterator[str]:
    yield "# Made by `azmlinfsrv dockerfile`; yours to change."
    yield "#"
    yield "#   docker build -t scoring ."
    yield "#   docker run --rm -p 5001:5001 scoring"
    yield ""
    yield f"ARG BASE_IMAGE={recipe.base_image}"
    if recipe.conda_file:
        yield f"ARG CONDA_IMAGE={CONDA_IMAGE}"
    yield ""


# Optional secrets, for an index, a proxy or certificates of one's own; they stay out of the image.
_SECRETS = (
    "# docker build --secret id=pip,src=pip.conf --secret id=certificates,src=ca.crt: both may be left out.",
    "RUN --mount=type=secret,id=pip,target=/run/secrets/pip \\",
    "    --mount=type=secret,id=certificates,target=/run/secrets/certificates \\",
    "    set -eu; \\",
    "    if [ -s /run/secrets/pip ]; then export PIP_CONFIG_FILE=/run/secrets/pip; fi; \\",
)
_AUTHORITIES = "if [ -s /run/secrets/certificates ]; then export {}; fi; \\"
_CERTIFICATES = "/run/secrets/certificates"


def _copied(recipe: Recipe) -> str:
    """Return the instruction that copies what is needed to install: not the script, which changes most often."""
    listed = recipe.conda_file or recipe.requirements
    wheel = recipe.package.partition("[")[0].removeprefix("./") if recipe.package.startswith("./") else ""
    if recipe.whole_folder:
        return "COPY . /build/"
    lines = [f"COPY {json.dumps([path, '/build/' + path], ensure_ascii=False)}" for path in (listed, wheel) if path]
    return "\n".join(lines)


def _pip_stage(recipe: Recipe) -> Iterator[str]:
    yield "FROM ${BASE_IMAGE} AS build"
    yield "# Debian packages that only the installation needs, such as git or build-essential."
    yield 'ARG BUILD_PACKAGES=""'
    yield "USER root"
    yield 'RUN set -eu; export DEBIAN_FRONTEND=noninteractive; packages="${BUILD_PACKAGES}"; \\'
    yield "    python3 -c 'import ensurepip, venv' 2>/dev/null || packages=\"$packages python3 python3-venv\"; \\"
    yield '    if [ -n "${packages# }" ]; then \\'
    yield "        apt-get update; apt-get install --yes --no-install-recommends $packages; \\"
    yield "    fi"
    yield "WORKDIR /build"
    if copied := _copied(recipe):
        yield copied
    yield from _SECRETS
    yield "    " + _AUTHORITIES.format(f"PIP_CERT={_CERTIFICATES}")
    yield "    python3 -m venv /opt/environment; \\"
    listed = f" -r {shlex.quote(recipe.requirements)}" if recipe.requirements else ""
    yield f"    /opt/environment/bin/pip install --no-cache-dir {shlex.quote(recipe.package)}{listed}"
    yield ""


def _conda_stage(recipe: Recipe) -> Iterator[str]:
    yield "# Conda makes the environment, pip's packages of the file included; the image has no conda."
    yield "FROM ${CONDA_IMAGE} AS build"
    yield "USER root"
    yield "WORKDIR /build"
    yield _copied(recipe)
    yield from _SECRETS
    variables = ("PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")
    yield "    " + _AUTHORITIES.format(" ".join(f"{name}={_CERTIFICATES}" for name in variables))
    yield f"    conda env create --quiet --prefix /opt/environment --file {shlex.quote(recipe.conda_file)}; \\"
    yield "    [ -x /opt/environment/bin/pip ] || conda install --quiet --yes --prefix /opt/environment python pip; \\"
    yield f"    /opt/environment/bin/python -m pip install --no-cache-dir {shlex.quote(recipe.package)}; \\"
    yield "    conda clean --all --yes --quiet"
    yield ""


def _final_stage(recipe: Recipe) -> Iterator[str]:
    yield "FROM ${BASE_IMAGE}"
    yield "# Debian packages that the script needs, such as libgomp1."
    yield 'ARG PACKAGES=""'
    yield "USER root"
    yield 'RUN set -eu; export DEBIAN_FRONTEND=noninteractive; packages="nginx-light tini ${PACKAGES}"; \\'
    if not recipe.conda_file:
        yield '    command -v python3 >/dev/null || packages="$packages python3"; \\'
    yield "    apt-get update; apt-get install --yes --no-install-recommends $packages; \\"
    yield "    rm -rf /var/lib/apt/lists/*; \\"
    yield "    getent passwd 1000 >/dev/null || useradd --uid 1000 --user-group --create-home azmlinfsrv"
    yield "COPY --from=build /opt/environment /opt/environment"
    yield 'ENV PATH="/opt/environment/bin:${PATH}" \\'
    if recipe.conda_file:
        yield "    AZUREML_CONDA_ENVIRONMENT_PATH=/opt/environment \\"
        yield "    LD_LIBRARY_PATH=/opt/environment/lib \\"
    yield "    AML_APP_ROOT=/var/azureml-app \\"
    if recipe.entry_script:
        yield f'    AZUREML_ENTRY_SCRIPT="{recipe.entry_script}" \\'
    if recipe.model_dir:
        model_dir = "" if recipe.model_dir == "." else f"/{recipe.model_dir}"
        yield f'    AZUREML_MODEL_DIR="/var/azureml-app{model_dir}" \\'
    yield "    AZMLINFSRV_NGINX=true"
    yield "WORKDIR /var/azureml-app"
    yield "COPY --chown=1000:1000 . /var/azureml-app/"
    yield "USER 1000:1000"
    yield "EXPOSE 5001"
    yield "STOPSIGNAL SIGTERM"
    yield "HEALTHCHECK --interval=30s --timeout=5s --start-period=120s --retries=3 \\"
    check = "import http.client as c, sys; s = c.HTTPConnection('127.0.0.1', 5001, timeout=4); s.request('GET', '/'); "
    yield f"    CMD {json.dumps(['python3', '-IS', '-c', check + 'sys.exit(s.getresponse().status != 200)'])}"
    # Not the command: where a package brings the released server along, it may be that one's.
    yield 'ENTRYPOINT ["tini", "-s", "--", "python3", "-m", "azmlinfsrv"]'


def write(folder: str, recipe: Recipe, *, force: bool) -> list[tuple[str, bool]]:
    """Write Dockerfile and .dockerignore.

    Args:
        folder: the user's folder.
        recipe: what the image is made of.
        force: whether to write over files that are there.

    Returns:
        The paths, each with whether it was written: a .dockerignore that is there is left as it is.

    Raises:
        UsageError: there is a Dockerfile already, or the folder cannot be written to.
    """
    path, ignored = os.path.join(folder, "Dockerfile"), os.path.join(folder, ".dockerignore")
    keeps = os.path.lexists(ignored) and not force
    try:
        with open(path, "w" if force else "x", encoding="utf-8", newline="\n") as file:
            file.write(render(recipe))
        if not keeps:
            with open(ignored, "w", encoding="utf-8", newline="\n") as file:
                file.write(IGNORED)
    except FileExistsError:
        raise UsageError(f"{path} is there already: --force writes over it") from None
    except OSError as error:
        raise UsageError(f"{error.filename} cannot be written: {error.strerror}") from error
    return [(path, True), (ignored, not keeps)]

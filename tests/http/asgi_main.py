"""Serves the ASGI adapter of the application under uvicorn: `python asgi_main.py SCRIPT PORT`."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import uvicorn

from azmlinfsrv import boot
from azmlinfsrv.configuration import load_configuration

if TYPE_CHECKING:
    from azmlinfsrv.asgi import ScoringApp


def make_asgi_app(script_path: str) -> ScoringApp:
    """Return the ASGI application that serves this script, with the limits that the environment sets."""
    configuration = load_configuration({"entry_script": script_path}, os.environ, os.getcwd())
    return boot.make_asgi_app(boot.load(configuration), configuration.settings)


if __name__ == "__main__":
    uvicorn.run(
        make_asgi_app(sys.argv[1]),
        host="127.0.0.1",
        port=int(sys.argv[2]),
        http="httptools",
        lifespan="on",
        log_level="warning",
        timeout_keep_alive=5,
    )

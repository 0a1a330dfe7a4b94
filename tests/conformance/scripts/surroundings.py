"""Undecorated: writes down what it sees around itself, at import and in init(), and answers with parts of it."""

import json
import logging
import os
import sys
import threading
from pathlib import Path

HERE = Path(__file__).resolve().parent


def place():
    """Where the script finds itself."""
    return {
        "cwd": os.getcwd(),
        "file": __file__,
        "name": __name__,
        "main_thread": threading.current_thread() is threading.main_thread(),
        "path": [entry for entry in dict.fromkeys(sys.path) if str(HERE.parent) in entry],
        "root_handlers": [type(handler).__name__ for handler in logging.getLogger().handlers],
        "root_level": logging.getLogger().level,
    }


SEEN = {"environment": dict(os.environ), "place": place()}


def init():
    """Write down what was seen."""
    SEEN["init"] = {"changed": sorted(set(os.environ.items()) - set(SEEN["environment"].items())), **place()}
    (HERE / "seen.json").write_text(json.dumps(SEEN), "utf-8")


def run(data):
    """Give the variable that is named, and the place."""
    return {"value": os.environ.get(data), "main_thread": place()["main_thread"], "cwd": os.getcwd()}

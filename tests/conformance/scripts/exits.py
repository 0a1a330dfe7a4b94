"""Undecorated: raises what `except Exception` does not cover."""

import json
import sys


class OwnBase(BaseException):
    """An exception beside Exception."""


def init():
    """Nothing to prepare."""


def run(data):
    """Raise as named."""
    kind = json.loads(data)
    if kind == "exit":
        sys.exit(1)
    if kind == "interrupt":
        raise KeyboardInterrupt
    if kind == "base":
        raise OwnBase("beside")
    return kind

"""Undecorated: fails in the way that the request names."""

import json

import flask
import werkzeug.exceptions


class OwnError(Exception):
    """An exception of the script's own."""

    def __init__(self, code):
        super().__init__(f"own error {code}")
        self.code = code


def chained():
    """Raise from another exception."""
    try:
        return {}["missing"]
    except KeyError as error:
        raise RuntimeError("could not look up") from error


def during():
    """Raise while handling another exception."""
    try:
        return [][1]
    except IndexError:
        raise RuntimeError("while handling")  # noqa: B904


def hidden():
    """Raise and hide where it came from."""
    try:
        return [][1]
    except IndexError:
        raise RuntimeError("hidden") from None


def endless():
    """Call itself without end."""
    return endless()


def fail(error):
    """Raise an exception."""
    raise error


FAILURES = {
    "value": lambda: fail(ValueError("boom")),
    "empty": lambda: fail(ValueError()),
    "class": lambda: fail(ValueError),
    "own": lambda: fail(OwnError(7)),
    "unicode": lambda: fail(ValueError("żółw 🎉")),
    "lines": lambda: fail(ValueError("first\nsecond\n\nfourth")),
    "percent": lambda: fail(ValueError("100% of {x} %s %(a)d")),
    "chained": chained,
    "during": during,
    "hidden": hidden,
    "assertion": lambda: fail(AssertionError("must be")),
    "timeout": lambda: fail(TimeoutError("the script's own")),
    "connection": lambda: fail(ConnectionResetError("peer")),
    "file": lambda: open("/nowhere/at/all"),
    "division": lambda: 1 / 0,
    "recursion": endless,
    "memory": lambda: fail(MemoryError("no more")),
    "stop-iteration": lambda: fail(StopIteration("stop")),
    "key": lambda: fail(KeyError("k")),
    "abort-404": lambda: flask.abort(404),
    "abort-418": lambda: flask.abort(418, "short and stout"),
    "abort-503": lambda: flask.abort(503, "come back later"),
    "abort-response": lambda: flask.abort(flask.Response("as it is", 409)),
    "bad-request": lambda: fail(werkzeug.exceptions.BadRequest("not like this")),
    "too-many": lambda: fail(werkzeug.exceptions.TooManyRequests("slower", retry_after=5)),
}


def init():
    """Nothing to prepare."""


def run(data):
    """Fail as named."""
    return FAILURES[json.loads(data)]()

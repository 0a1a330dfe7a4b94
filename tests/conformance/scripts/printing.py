"""Undecorated: prints and logs in every way, at import, in init() and as the request names."""

import json
import logging
import os
import subprocess
import sys
import threading
import traceback
import warnings

print("print at import")
logging.warning("root warning at import")
sys.stdout.write("write at import\n")
sys.stderr.write("stderr at import\n")


class Shown:
    """An object with a text of its own."""

    def __str__(self):
        """Its text."""
        return "shown\nin two lines"


def in_thread(action):
    """Do something in a thread, and wait for it."""
    thread = threading.Thread(target=action)
    thread.start()
    thread.join()


def trace():
    """Print a traceback."""
    try:
        return 1 / 0
    except ZeroDivisionError:
        traceback.print_exc()


def log_exception():
    """Log an exception."""
    try:
        return 1 / 0
    except ZeroDivisionError:
        logging.exception("could not divide %s", 1)


def levels(name):
    """Log at every level."""
    logger = logging.getLogger(name)
    for level in ("debug", "info", "warning", "error", "critical"):
        getattr(logger, level)("%s by %r", level, name)


def stream():
    """Print while streaming."""
    import flask

    def pieces():
        print("in the first piece")
        yield "a"
        logging.warning("in the second piece")
        yield "b"

    return flask.Response(pieces())


WAYS = {
    "print": lambda: print("hello"),
    "print-many": lambda: print("a", 1, None, [2.0], sep=", "),
    "print-end": lambda: [print("no newline", end=""), print(" and on", end="!\n")] and None,
    "print-empty": lambda: print(),
    "print-lines": lambda: print("one\ntwo\n\nfour\n"),
    "print-unicode": lambda: print("żółw 🎉"),
    "print-object": lambda: print(Shown()),
    "print-percent": lambda: print("100% %s {x}"),
    "print-long": lambda: print("x" * 20000),
    "print-flush": lambda: print("flushed", flush=True),
    "print-stdout": lambda: print("to stdout", file=sys.stdout),
    "print-stderr": lambda: print("to stderr", file=sys.stderr),
    "print-dunder-stdout": lambda: print("to the original", file=sys.__stdout__),
    "print-carriage-return": lambda: print("10%\r20%"),
    "print-thread": lambda: in_thread(lambda: print("from a thread")),
    "print-like-a-log": lambda: print("2024-01-01 00:00:00,000 I [1] azmlinfsrv - fake"),
    "write": lambda: sys.stdout.write("written\n") and None,
    "write-parts": lambda: [sys.stdout.write(part) for part in ("a", "b", "\n", "c\nd\n")] and None,
    "write-lines": lambda: sys.stdout.writelines(["one\n", "two\n"]),
    "write-thread": lambda: in_thread(lambda: sys.stdout.write("written in a thread\n")),
    "write-bytes": lambda: [sys.stdout.buffer.write(b"bytes\n"), sys.stdout.buffer.flush()] and None,
    "stderr-write": lambda: sys.stderr.write("written to stderr\n") and None,
    "stderr-parts": lambda: [sys.stderr.write(part) for part in ("a", "b", "\n")] and None,
    "stderr-thread": lambda: in_thread(lambda: sys.stderr.write("from a thread\n")),
    "stderr-unicode": lambda: sys.stderr.write("żółw\n") and None,
    "fd-1": lambda: os.write(1, b"by descriptor\n") and None,
    "fd-2": lambda: os.write(2, b"by descriptor\n") and None,
    "child-process": lambda: subprocess.run(["/bin/echo", "from a child"], check=True) and None,
    "child-stderr": lambda: subprocess.run(["/bin/sh", "-c", "echo child >&2"], check=True) and None,
    "log-root": lambda: levels(None),
    "log-named": lambda: levels("score"),
    "log-name-root": lambda: levels("root"),
    "log-server": lambda: levels("azmlinfsrv"),
    "log-server-child": lambda: levels("azmlinfsrv.mine"),
    "log-gunicorn": lambda: levels("gunicorn.error"),
    "log-dunder-name": lambda: levels(__name__),
    "log-lines": lambda: logging.warning("one\ntwo"),
    "log-thread": lambda: in_thread(lambda: logging.warning("from a thread")),
    "log-exception": log_exception,
    "warning": lambda: warnings.warn("careful", stacklevel=1),
    "traceback": trace,
    "print-stream": stream,
    "print-and-fail": lambda: print("before failing") or {}["missing"],
    "about-stdout": lambda: {
        "isatty": sys.stdout.isatty(),
        "fileno": sys.stdout.fileno(),
        "encoding": sys.stdout.encoding.lower(),
        "writable": sys.stdout.writable(),
        "has_buffer": hasattr(sys.stdout, "buffer"),
    },
    "about-stderr": lambda: {"isatty": sys.stderr.isatty(), "fileno": sys.stderr.fileno()},
    "about-handlers": lambda: {
        "root": [type(handler).__name__ for handler in logging.getLogger().handlers],
        "level": logging.getLogger().level,
        "server": [type(handler).__name__ for handler in logging.getLogger("azmlinfsrv").handlers],
        "propagate": logging.getLogger("azmlinfsrv").propagate,
    },
}


def init():
    """Print and log."""
    print("print in init")
    logging.info("root info in init")
    logging.warning("root warning in init")
    sys.stdout.write("write in init\n")
    sys.stderr.write("stderr in init\n")
    os.write(1, b"descriptor in init\n")
    in_thread(lambda: print("thread in init"))


def run(data):
    """Print and log as named."""
    return WAYS[json.loads(data)]()

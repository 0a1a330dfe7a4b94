"""Is stuck in native code where a request asks for it, with or without the interpreter lock."""

import ctypes
import json
import os


def init():
    """Do nothing."""


def lock_twice(library, started):
    mutex = ctypes.create_string_buffer(64)
    library.pthread_mutex_lock(mutex)
    open(started, "w").close()
    library.pthread_mutex_lock(mutex)


def run(data):
    """Answer with the process, or never."""
    asked = json.loads(data)
    if "stuck" in asked:
        # PyDLL keeps the interpreter lock while it calls, CDLL does not.
        library = ctypes.PyDLL(None) if asked.get("holds_lock") else ctypes.CDLL(None)
        lock_twice(library, asked["stuck"])
    return os.getpid()

"""Does what each request asks for, as `{"do": NAME, ...}`."""

import json
import logging
import os
import sys
import threading
import time

CALLS = 0


def init():
    """Leave a trace of each call."""
    print("User init function invoked.")
    if "INIT_FILE" in os.environ:
        with open(os.environ["INIT_FILE"], "a") as file:
            file.write(f"{os.getpid()}\n")


def run(data):
    """Do one of the things below."""
    global CALLS
    CALLS += 1
    asked = json.loads(data)
    return ACTIONS[asked.pop("do")](**asked)


def pid():
    return os.getpid()


def calls():
    return CALLS


def variable(name):
    return os.environ.get(name)


def sleep(seconds):
    time.sleep(seconds)
    return "slept"


def spin(seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass
    return "spun"


def wait(started, go, seconds=20, busy=False):
    """Say that the call has begun, and wait until it may end; busy ones compute meanwhile."""
    open(started, "w").close()
    end = time.monotonic() + seconds
    while not os.path.exists(go):
        if time.monotonic() > end:
            return "tired of waiting"
        if not busy:
            time.sleep(0.005)
    return "waited"


def fail(text):
    raise ValueError(text)


def output():
    """Write in every way that a script can."""
    print("printed by run")
    sys.stderr.write("complained by run\n")
    thread = threading.Thread(target=print, args=("printed by a thread",))
    thread.start()
    thread.join()
    print("without an end", end="")
    return "written"


def log():
    """Log with a logger below the server's, at every level."""
    logger = logging.getLogger("azmlinfsrv.user")
    for level in ("debug", "info", "warning", "error"):
        getattr(logger, level)("of level %s", level)
    return "logged"


ACTIONS = {function.__name__: function for function in (pid, calls, variable, sleep, spin, wait, fail, output, log)}

"""Tells what it finds in its container, as `{"do": NAME, ...}` asks."""

import json
import os
import subprocess
import sys
import time


def init():
    print("init() was called")


def run(data):
    asked = json.loads(data)
    return ACTIONS[asked.pop("do")](**asked)


def surroundings():
    return {
        "user": os.getuid(),
        "folder": os.getcwd(),
        "prefix": sys.prefix,
        "import_path": sys.path,
        "environment": dict(os.environ),
    }


def echo(value):
    print("echo was called")
    return value


def load(module):
    return __import__(module).__name__


def fail():
    raise ValueError("the script's own")


def leave_orphan():
    """Start a process that outlives its parent, and return its id."""
    line = "import subprocess as s; print(s.Popen(['sleep', '0.2'], stdin=-3, stdout=-3, stderr=-3).pid)"
    return int(subprocess.run([sys.executable, "-c", line], check=True, capture_output=True).stdout)


def wait(folder):
    """Say that the call has begun, and wait until it may end."""
    open(os.path.join(folder, "started"), "w").close()
    end = time.monotonic() + 20
    while not os.path.exists(os.path.join(folder, "go")):
        if time.monotonic() > end:
            return "tired of waiting"
        time.sleep(0.005)
    return "waited"


ACTIONS = {function.__name__: function for function in (surroundings, echo, load, fail, leave_orphan, wait)}

"""Tells how often threads have their turns in the interpreter, which it may set itself."""

import os
import sys


def init():
    """Choose, where that is asked for."""
    if "TURNS_S" in os.environ:
        sys.setswitchinterval(float(os.environ["TURNS_S"]))


def run(data):
    """Answer with the seconds."""
    return sys.getswitchinterval()

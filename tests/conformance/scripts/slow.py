"""Undecorated: takes its time, in the way that the request names."""

import json
import time


def spin(seconds):
    """Compute for a while."""
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass
    return "spun"


def stubborn(seconds):
    """Swallow what Exception covers."""
    try:
        time.sleep(seconds)
    except Exception as error:
        return f"swallowed {type(error).__name__}"
    return "slept"


def cleaned(seconds):
    """Clean up on the way out."""
    try:
        time.sleep(seconds)
    finally:
        print("cleaned up")


WAYS = {
    "sleep": time.sleep,
    "spin": spin,
    "stubborn": stubborn,
    "cleaned": cleaned,
    "fast": lambda seconds: "fast",
}


def init():
    """Nothing to prepare."""


def run(data):
    """Take time as named."""
    way, seconds = json.loads(data)
    return WAYS[way](seconds)

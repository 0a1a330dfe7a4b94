"""Undecorated, as most scripts are."""

import json


def init():
    """Prepare what run() needs."""
    global factor
    factor = 2


def run(raw_data):
    """Multiply the numbers."""
    return {"result": [factor * number for number in json.loads(raw_data)["data"]]}

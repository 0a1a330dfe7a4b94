"""Undecorated: answers with what the JSON text it is given says."""

import json


def init():
    """Nothing to prepare."""


def run(raw_data):
    """Parse and give back."""
    return json.loads(raw_data)

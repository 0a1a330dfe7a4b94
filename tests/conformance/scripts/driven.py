"""Undecorated: scores behind a driver."""


def init():
    """Say so."""
    print("driven init")


def run(payload):
    """Give back the text."""
    return {"driven": payload}

"""Undecorated: answers with the very text it is given."""


def init():
    """Nothing to prepare."""


def run(raw_data):
    """Give back the text and its type."""
    return {"type": type(raw_data).__name__, "length": len(raw_data), "text": raw_data[:400]}

"""Fails in its own code, some calls deep."""


def load(path):
    """Fail as a model does that is not there."""
    raise LookupError(f"no model at {path}")


def init():
    """Fail."""
    load("nowhere")


def run(data):
    """Fail, with a cause."""
    try:
        load(data)
    except LookupError as error:
        raise RuntimeError("cannot score") from error

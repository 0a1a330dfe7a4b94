"""Takes its input as text."""


def init():
    """Load nothing."""


def run(data):
    """Return its length."""
    return len(data)

"""The least that a script can do, so that the server is what is measured."""


def init() -> None:
    """Load nothing."""


def run(data: str) -> dict[str, int]:  # noqa: ARG001 - the input does not matter
    """Answer the same always."""
    return {"ok": 1}

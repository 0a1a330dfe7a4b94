"""The trivial work."""

from ray import serve
from starlette.requests import Request


@serve.deployment
class Trivial:
    """The function, in a replica of its own."""

    async def __call__(self, request: Request) -> dict[str, int]:
        """Answer the same always."""
        await request.json()
        return {"ok": 1}


app = Trivial.bind()

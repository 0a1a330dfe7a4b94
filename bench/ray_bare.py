"""A bare deployment of Ray Serve that calls a script's `run()`: what ours is compared with."""

from __future__ import annotations

from typing import Any

from ray import serve
from trivial import init, run


@serve.deployment(
    name="scoring", max_ongoing_requests=100, health_check_period_s=2, ray_actor_options={"num_cpus": 0.1}
)
class Bare:
    """Calls `init()` once and `run()` for each request, on the replica's event loop."""

    def __init__(self) -> None:
        init()

    async def __call__(self, request: Any) -> Any:
        """Answer one request of Starlette's."""
        return run((await request.body()).decode())


app = Bare.bind()  # type: ignore[attr-defined]

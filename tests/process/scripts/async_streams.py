"""An async generator whose second chunk waits for a file."""

import asyncio
import json
import os


def init():
    """Load nothing."""


async def run(data):
    """Stream two chunks, or answer at once without a file."""
    go = json.loads(data).get("go")
    if go is None:
        yield "at once"
        return
    yield "first"
    for _ in range(2000):
        if os.path.exists(go):
            break
        await asyncio.sleep(0.005)
    yield "second"

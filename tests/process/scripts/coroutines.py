"""Answers only once as many requests are inside as the first parameter says."""

import asyncio
import json

INSIDE = 0
ENOUGH = asyncio.Event()


def init():
    """Load nothing."""


async def run(data):
    """Wait for the others, and fail if they do not come."""
    global INSIDE
    asked = json.loads(data)
    INSIDE += 1
    if asked["wait_for"] <= INSIDE:
        ENOUGH.set()
    await asyncio.wait_for(ENOUGH.wait(), asked["patience"])
    return INSIDE

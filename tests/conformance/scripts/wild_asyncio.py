"""As published: runs coroutines to their end inside run()."""

import asyncio
import json
import threading


async def work(value):
    """Wait a moment and double."""
    await asyncio.sleep(0.001)
    return value * 2


def init():
    """Make a loop of its own."""
    global loop
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)


def run(raw_data):
    """Run as named."""
    way, value = json.loads(raw_data)
    if way == "run":
        result = asyncio.run(work(value))
        asyncio.set_event_loop(loop)
        return result
    if way == "get_event_loop":
        return asyncio.get_event_loop().run_until_complete(work(value))
    if way == "gather":
        return loop.run_until_complete(asyncio.gather(*(work(value) for _ in range(3))))
    try:
        asyncio.get_running_loop()
    except RuntimeError as error:
        return [str(error), threading.current_thread() is threading.main_thread()]
    return "a loop is running"

"""Is called with several inputs at a time."""

import time

from azmlinfsrv import batched


def init():
    pass


@batched(max_batch_size=8, max_wait_ms=200)
def run(inputs):
    time.sleep(0.05)
    return [len(inputs) for _ in inputs]

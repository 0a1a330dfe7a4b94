"""How threads share the processors and the interpreter.

How many of them the numerical libraries of a script may start is told by the variables that these read.

Left alone, each worker's BLAS and OpenMP start a thread for every processor of the machine: with several workers, or
in a container that may use a few processors of many, they are in one another's way.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from azmlinfsrv.processors import usable_processors
from azmlinfsrv.setting import row

OPENMP = "OMP_NUM_THREADS"
# These take OpenMP's number where they have none of their own, and Accelerate does not.
_FOLLOWERS = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
VARIABLES = (OPENMP, *_FOLLOWERS, "VECLIB_MAXIMUM_THREADS")
# While `run()` computes in Python, the I/O thread waits this long for each of its turns; Python's own choice is 5 ms.
SWITCH_INTERVAL_S = 0.001


@dataclass(frozen=True)
class ThreadSettings:
    """The row of the table of settings about the threads of libraries."""

    thread_limits_enabled: bool = row(
        True,
        "Workers",
        "Have BLAS and OpenMP start as many threads as there are processors for each call of `run()` that may run at "
        "the same time; OMP_NUM_THREADS and its like win where they are set.",
        "AZMLINFSRV_THREAD_LIMITS_ENABLED",
        in_file=True,
    )


def thread_limits(calls: int, processors: float, machine: int, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables to set before the script is loaded.

    A variable that is set is the user's and stays, and so do those that follow OMP_NUM_THREADS where that is set.
    Nothing is to be set where a call may have all processors of the machine, which is what the libraries take anyway.

    Args:
        calls: how many calls of ``run()`` there may be at a time, in all workers.
        processors: how many processors they may use together.
        machine: how many processors the machine has.
        environ: the environment so far.
    """
    limit = max(1, int(processors / calls))
    if limit >= machine:
        return {}
    users = {name for name in VARIABLES if name in environ}
    if OPENMP in environ:
        users.update(_FOLLOWERS)
    return {name: str(limit) for name in VARIABLES if name not in users}


def own_thread_limits(workers: int, worker_threads: int, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the same for this process and the workers that are forked from it.

    Args:
        workers: how many there are.
        worker_threads: how many calls of ``run()`` each may have at a time.
        environ: the environment so far.
    """
    return thread_limits(workers * worker_threads, usable_processors(), os.cpu_count() or 1, environ)


def share_interpreter() -> None:
    """Have a thread that computes in Python let others have their turn; called before the script, which may differ."""
    sys.setswitchinterval(SWITCH_INTERVAL_S)

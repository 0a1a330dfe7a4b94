"""The children of a process that have ended."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator


def ended_children() -> Iterator[tuple[int, int]]:
    """Collect the children that have ended; yields their ids, with the exit code or minus the number of a signal."""
    with contextlib.suppress(ChildProcessError):  # there are none
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            yield pid, os.waitstatus_to_exitcode(status)

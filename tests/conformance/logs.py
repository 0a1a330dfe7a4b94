"""What a server process writes, read piece by piece and attributed to what caused it."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path

POLL_S = 0.01


class LogFile:
    """A file that a process writes its standard output or standard error to."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._taken = 0

    def _unread(self) -> bytes:
        with self.path.open("rb") as file:
            file.seek(self._taken)
            return file.read()

    def peek(self) -> str:
        """Text that was written since the last `take`."""
        return self._unread().decode("utf-8", "backslashreplace")

    def take(self) -> str:
        """Text that was written since the last `take`, which is not given again."""
        content = self._unread()
        self._taken += len(content)
        return content.decode("utf-8", "backslashreplace")

    def wait_for(self, pattern: str, timeout_s: float, gone: Callable[[], bool] = lambda: False) -> bool:
        """Wait until a pattern is found in what was written since the last `take`.

        Args:
            pattern: Regular expression.
            timeout_s: How long to wait at most.
            gone: Tells that nobody writes any more.
        """
        deadline = time.monotonic() + timeout_s
        while not re.search(pattern, self.peek()):
            if gone() or time.monotonic() > deadline:
                return bool(re.search(pattern, self.peek()))
            time.sleep(POLL_S)
        return True


def without_lines(text: str, marker: str) -> str:
    """A text without the lines that contain a marker."""
    return "".join(line for line in text.splitlines(keepends=True) if marker not in line)

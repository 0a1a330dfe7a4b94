"""The folder that a supervisor keeps its files in: removed at its end, or by the next one where it was killed."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import stat
import tempfile
from typing import NamedTuple

_PREFIX = "azmlinfsrv-"
_LOCK = "lock"


class PrivateFolder(NamedTuple):
    """A folder that nobody else writes to.

    Attributes:
        path: where it is.
        lock: a descriptor; while a process has it open, nobody takes the folder for a dead one's.
    """

    path: str
    lock: int

    def remove(self) -> None:
        """Remove it with all that is in it."""
        os.close(self.lock)
        shutil.rmtree(self.path, ignore_errors=True)


def make(parent: str) -> PrivateFolder:
    """Make a folder, and remove those that killed processes of this user have left behind.

    Args:
        parent: where.

    Raises:
        OSError: it cannot be made.
    """
    _remove_dead(parent)
    path = tempfile.mkdtemp(prefix=_PREFIX, dir=parent)
    unlocked = os.path.join(path, "unlocked")
    lock = os.open(unlocked, os.O_CREAT | os.O_RDWR, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.rename(unlocked, os.path.join(path, _LOCK))  # from now on it can be told whether somebody holds it
    return PrivateFolder(path, lock)


def _remove_dead(parent: str) -> None:
    with os.scandir(parent) as entries:
        paths = [entry.path for entry in entries if entry.name.startswith(_PREFIX)]
    for path in paths:
        with contextlib.suppress(OSError):
            found = os.lstat(path)
            if stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid():
                _remove_if_free(path)


def _remove_if_free(path: str) -> None:
    """Remove a folder whose lock nobody holds; one without a lock is only being made, or is no supervisor's.

    Raises:
        OSError: it has no lock, or somebody holds it.
    """
    lock = os.open(os.path.join(path, _LOCK), os.O_RDWR | os.O_NOFOLLOW)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(path, ignore_errors=True)
    finally:
        os.close(lock)

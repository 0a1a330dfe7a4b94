"""How many processors this process may use: those that it may run on, within the quota of its control groups."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import NamedTuple


def usable_processors() -> float:
    """Return how many processors this process may use, in parts of one where a quota says so."""
    limit = quota()
    return runnable_processors() if limit is None else min(runnable_processors(), limit)


def runnable_processors() -> int:
    """Return on how many processors the system lets this process run."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def quota(root: str = "/") -> float | None:
    """Return how many processors' time the control groups of this process may take, or None where they may take all.

    Those of version 2 and of version 1 are asked, each up to the root of the hierarchy that can be seen.

    Args:
        root: where /proc and the mounted hierarchies are looked for.
    """
    own = _own_groups(root)
    found = [
        limit
        for mount in _mounts(root)
        if mount.controllers in own
        for folder in _folders(mount, own[mount.controllers], root)
        if (limit := _limit(folder)) is not None
    ]
    return min(found, default=None)


class _Mount(NamedTuple):
    """A mounted hierarchy: `controllers` is "" for version 2 and "cpu" for that controller's of version 1."""

    controllers: str
    root: str
    point: str


def _own_groups(root: str) -> dict[str, str]:
    """Return the paths of this process's groups: ``/proc/self/cgroup`` has ``number:controllers:path`` (cgroups(7))."""
    groups = {}
    for line in _lines(os.path.join(root, "proc/self/cgroup")):
        _, _, rest = line.partition(":")
        controllers, separator, path = rest.partition(":")
        for controller in controllers.split(",") if separator else ():
            groups[controller] = path
    return groups


def _mounts(root: str) -> Iterator[_Mount]:
    """Yield the hierarchies that may have a quota, as ``/proc/self/mountinfo`` has them (proc(5))."""
    for line in _lines(os.path.join(root, "proc/self/mountinfo")):
        before, _, after = line.partition(" - ")
        fields, kind = before.split(" "), after.split(" ")
        if len(fields) < 5 or len(kind) < 3:
            continue
        if kind[0] == "cgroup2":
            yield _Mount("", _unescaped(fields[3]), _unescaped(fields[4]))
        elif kind[0] == "cgroup" and "cpu" in kind[2].split(","):
            yield _Mount("cpu", _unescaped(fields[3]), _unescaped(fields[4]))


def _unescaped(path: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), path)


def _folders(mount: _Mount, group: str, root: str) -> Iterator[str]:
    """Yield the folders of a group and of those above it, up to the mount point.

    A container often sees its group's path as the host has it, and its own group as the mount point.
    """
    top = os.path.join(root, mount.point.lstrip("/"))
    parts: list[str] = []
    if os.path.commonpath([group, mount.root]) == os.path.normpath(mount.root):
        parts = [part for part in os.path.relpath(group, mount.root).split("/") if part != "."]
    if ".." in parts:
        parts = []
    for length in range(len(parts), -1, -1):
        yield os.path.join(top, *parts[:length])


def _limit(folder: str) -> float | None:
    """Return a group's quota in processors; None: it has none, or cannot be read."""
    of_version_2 = _lines(os.path.join(folder, "cpu.max"))
    if of_version_2:
        words = of_version_2[0].split()
    else:
        words = [
            word
            for name in ("cpu.cfs_quota_us", "cpu.cfs_period_us")
            for word in _lines(os.path.join(folder, name))[:1]
        ]
    if len(words) != 2 or not all(word.isdecimal() and int(word) for word in words):
        return None  # "max", -1, or nothing that is known
    return int(words[0]) / int(words[1])


def _lines(path: str) -> list[str]:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read().splitlines()
    except OSError:
        return []

"""Memory and descriptors of all processes of a server over time, and whether they grow."""

from __future__ import annotations

import contextlib
import statistics
from pathlib import Path
from typing import NamedTuple

import psutil

MB = 1e6
# What may grow between the two halves of a quiet time without being a leak: caches, arenas, connections on their way.
MEMORY_SLACK, MEMORY_SLACK_MB = 0.04, 8.0
DESCRIPTOR_SLACK = 4
# The parent's memory between its first reload and the end.
PARENT_SLACK_MB = 4.0
EARLY, LATE = (0.50, 0.70), (0.80, 1.01)
PARENT_EARLY = (0.12, 0.40)


class Sample(NamedTuple):
    """What was seen at one moment.

    Attributes:
        when: share of the whole time that had passed.
        processes: number of processes.
        memory_mb: memory of all of them without what is mapped from files, whose share in PSS follows what other
            programs run; what they share is counted once.
        descriptors: open descriptors of all of them.
        parent_mb: memory of the process that was started.
        parent_descriptors: its descriptors.
    """

    when: float
    processes: int
    memory_mb: float
    descriptors: int
    parent_mb: float
    parent_descriptors: int


class Verdict(NamedTuple):
    """What is found of the samples.

    Attributes:
        table: the figures as Markdown.
        problems: what grows.
    """

    table: str
    problems: list[str]


def sample(pid: int, when: float) -> Sample:
    """Return what is seen now of a process and its descendants."""
    parent = psutil.Process(pid)
    count, memory, descriptors = 0, 0.0, 0
    for process in [parent, *parent.children(recursive=True)]:
        with contextlib.suppress(psutil.Error):
            used, opened = _own_bytes(process.pid), process.num_fds()
            count, memory, descriptors = count + 1, memory + used, descriptors + opened
    return Sample(when, count, memory / MB, descriptors, parent.memory_full_info().uss / MB, parent.num_fds())


def _own_bytes(pid: int) -> int:
    """Return the memory of a process that is no file's.

    Raises:
        psutil.NoSuchProcess: it has ended.
    """
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text("ascii").splitlines()
    except OSError:
        raise psutil.NoSuchProcess(pid) from None
    fields = dict(line.split()[:2] for line in lines[1:])
    return sum(int(fields[name]) for name in ("Pss_Anon:", "Pss_Shmem:")) * 1024


def judge(samples: list[Sample]) -> Verdict:
    """Compare the beginning of the second half, in which nothing is replaced, with its end; the parent's, earlier."""
    rows = []
    problems = []

    def compare(what: str, name: str, early: tuple[float, float], slack: float, *, least: bool) -> None:
        middle = statistics.median if not least else min  # the least shows a leak, and no connection on its way
        before = middle(getattr(each, name) for each in within(samples, early))
        after = middle(getattr(each, name) for each in within(samples, LATE))
        rows.append(f"| {what} | {before:.1f} | {after:.1f} |")
        if after > before + slack:
            problems.append(f"{what} grow from {before:.1f} to {after:.1f}")

    quiet = [each.memory_mb for each in within(samples, EARLY)]
    slack = max(MEMORY_SLACK_MB, MEMORY_SLACK * statistics.median(quiet))
    compare("MB of memory of all processes, without files", "memory_mb", EARLY, slack, least=False)
    compare("descriptors of all processes", "descriptors", EARLY, DESCRIPTOR_SLACK, least=True)
    compare("MB of the first process's own memory", "parent_mb", PARENT_EARLY, PARENT_SLACK_MB, least=False)
    compare("descriptors of the first process", "parent_descriptors", PARENT_EARLY, DESCRIPTOR_SLACK, least=True)
    head = "| what | early | late |\n| --- | --- | --- |\n"
    return Verdict(head + "\n".join(rows), problems)


def within(samples: list[Sample], span: tuple[float, float]) -> list[Sample]:
    """Return the samples of a span of the time."""
    return [each for each in samples if span[0] <= each.when < span[1]]

"""What was found, as a page."""

from __future__ import annotations

import os
import re
import sys

from comparison import aims
from comparison.catalogue import OURS, System, load
from comparison.measure import START
from comparison.open import OPEN
from comparison.store import Store
from comparison.tables import Rows, load_table, median, open_table, rows_of, start_table, title
from comparison.works import WORKS


def version_of(system: System, found: dict[str, str]) -> str:
    """Return the versions of what a system was asked to be installed from, and of what most depends on."""
    wanted = {re.split(r"[\[=<>]", part)[0].lower() for part in system.requirements}
    wanted |= {"uvicorn", "uvloop", "gunicorn", "numpy", "scikit-learn", "onnxruntime", "azmlinfsrv"}
    return ", ".join(f"{name} {version}" for name, version in sorted(found.items()) if name in wanted)


def section(store: Store, work: str, heading: str) -> list[str]:
    """Return the tables of a work, and who is not in them."""
    loads = list(
        dict.fromkeys(sample.load for sample in store.samples if sample.work == work and sample.load != "none")
    )
    if not loads and not store.failures.get(work):
        return []
    lines = [f"## {heading}", ""]
    for named in loads:
        rows = rows_of(store, work, named)
        turns = len({turn for mine in rows.values() for turn in mine})
        rounds = "1 round" if turns == 1 else f"{turns} rounds"
        if work == START:
            lines += [f"{rounds}:", "", *start_table(rows), ""]
            continue
        rounds += f" of {median(rows[next(iter(rows))], 'seconds'):g} s"
        if work == OPEN:
            lines += [f"At {named}, {rounds}:", "", *open_table(rows), ""]
        else:
            plural = "connection" if named == "1" else "connections"
            lines += [f"{named} {plural}, {rounds}:", "", *load_table(rows | programs(store, work)), ""]
    return lines + absent(store, work)


def bars(store: Store, connections: int) -> list[tuple[str, float, str]]:
    """Return label, requests/s and kind of each system at the trivial work, the fastest first."""
    found = []
    for name, mine in rows_of(store, WORKS[0].name, str(connections)).items():
        label = title(name)
        kind = "ours" if name == OURS else "limit" if label.startswith("limit") else "other"
        found.append((label, median(mine, "requests_per_s"), kind))
    return sorted(found, key=lambda bar: -bar[1])


def programs(store: Store, work: str) -> Rows:
    """Return the samples of what is no server."""
    return rows_of(store, work, "none")


def absent(store: Store, work: str) -> list[str]:
    """Return who is not in the tables of a work, and why."""
    setup = next((each.setup for each in WORKS if each.name == work), "")
    lines = [f"- {title(name)} failed: {why}" for name, why in store.failures.get(work, {}).items()]
    lines += [f"- {each.title} is left out: {each.left_out[setup]}." for each in load() if setup in each.left_out]
    seen = {sample.system for sample in store.samples if sample.work == work} | set(store.failures.get(work, {}))
    lines += [f"- {each.title} was not measured." for each in load() if each.does(setup) and each.name not in seen]
    return [*lines, ""] if lines else []


def page(store: Store) -> str:
    """Return the whole page."""
    lines = [
        "# Results",
        "",
        f"Made by `scripts/bench`, {os.cpu_count()} processors, Python {sys.version.split()[0]}; client and server on "
        "one machine, default logging to a file, one worker each.",
        "What each system is told is under `bench/systems`; how it is measured, and what the columns mean, is in "
        "[README.md](README.md).",
        "The systems take turns. Only ratios count: they are the median and the range over the rounds, each made "
        "within one round.",
        "",
        "![Requests/s of the trivial function](results.svg)",
        "",
    ]
    lines += ["## Aims", "", *aims.table(store), ""]
    for work in WORKS:
        lines += section(store, work.name, work.title)
    lines += section(store, OPEN, "At a rate that does not wait for answers")
    lines += section(store, START, "Start to the first answer to a probe, and memory then")
    lines += ["## Versions", ""]
    lines += [f"- {title(name)}: {version}" for name, version in store.versions.items() if version]
    return "\n".join(lines).rstrip() + "\n"

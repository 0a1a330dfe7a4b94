"""The reviewed list of what differs on purpose, and which differences it covers."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from .compare import Item

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

HERE = Path(__file__).resolve().parent
SHARED = HERE.parents[2] / "shared"


@dataclass(frozen=True)
class Sides:
    """What each side may have where a difference is: regular expressions that match it in whole, None for any."""

    release: str | None = None
    current: str | None = None

    def match(self, item: Item) -> bool:
        """Whether a difference found is as expected.

        A line that one side alone has needs a pattern for that side, unless there is none for either.
        """
        pairs = ((self.release, item.release), (self.current, item.current))
        if item.release is None or item.current is None:
            if self.release is None and self.current is None:
                return True
            return all(text is None or (pattern is not None and full(pattern, text)) for pattern, text in pairs)
        return all(pattern is None or full(pattern, text or "") for pattern, text in pairs)


@dataclass(frozen=True)
class Difference:
    """One intended difference.

    Attributes:
        id: Its name.
        title: What differs, in a few words for the reader of the documentation.
        cases: Patterns of case ids.
        aspects: What may differ, by pattern of aspect.
        bodies: What this server's body has to be, by case id, for cases whose bodies differ.
        why: Why it differs.
        source: Document that says so, under the shared folder beside the project.
        says: A line of it, or a part of a line, to the letter.
        detail_source: Where that line refers to another document: that one.
        detail: The line there, or a part of it.
    """

    id: str
    title: str
    cases: tuple[str, ...]
    aspects: Mapping[str, Sides]
    bodies: Mapping[str, str]
    why: str
    source: str
    says: str
    detail_source: str = ""
    detail: str = ""

    def is_about(self, case_id: str) -> bool:
        """Whether a case is among those that may differ."""
        return any(fnmatchcase(case_id, pattern) for pattern in self.cases)

    def covers(self, case_id: str, item: Item) -> bool:
        """Whether a difference found in a case is this one."""
        if not self.is_about(case_id):
            return False
        if item.aspect == "body" and self.bodies.get(case_id, item.current) != item.current:
            return False
        return any(fnmatchcase(item.aspect, pattern) and sides.match(item) for pattern, sides in self.aspects.items())


def full(pattern: str, text: str) -> bool:
    """Whether a regular expression matches a text in whole."""
    return re.fullmatch(pattern, text, re.DOTALL) is not None


def load_differences(path: Path = HERE / "differences.toml") -> list[Difference]:
    """Read the list; `uses` of a difference adds aspects that several of them share."""
    data = tomllib.loads(path.read_text("utf-8"))
    return [parse_difference(table, data.get("shared", {})) for table in data["difference"]]


def parse_difference(table: Mapping[str, Any], shared: Mapping[str, Any]) -> Difference:
    """Make a difference from its table."""
    aspects: dict[str, Sides] = {}
    for group in (*(shared[name] for name in table.get("uses", [])), table.get("aspects", {})):
        aspects |= {aspect: Sides(**sides) for aspect, sides in group.items()}
    return Difference(
        id=table["id"],
        title=table["title"],
        cases=tuple(table["cases"]),
        aspects=aspects,
        bodies=table.get("bodies", {}),
        why=table["why"],
        source=table["source"],
        says=table["says"],
        detail_source=table.get("detail_source", ""),
        detail=table.get("detail", ""),
    )


def unlisted(case_id: str, items: Iterable[Item], differences: Iterable[Difference]) -> list[Item]:
    """What differs in a case without being listed."""
    listed = [difference for difference in differences if difference.is_about(case_id)]
    return [item for item in items if not any(difference.covers(case_id, item) for difference in listed)]

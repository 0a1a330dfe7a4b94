"""Compare what two servers showed, aspect by aspect."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .cases import Request
from .client import Answer
from .normalise import Names, Normaliser
from .process import Exchange, Observation

UNCOMPARED_HEADERS = frozenset({"server", "date", "connection", "keep-alive"})
ABSENT = "<absent>"
Sides = tuple[Normaliser, Normaliser]


@dataclass(frozen=True)
class Item:
    """One difference: the aspect, and what each side has there.

    For a line of a log one side is None: the line is on the other side only.
    """

    aspect: str
    release: str | None
    current: str | None

    def __str__(self) -> str:
        """The difference as a report shows it."""
        sides = [("release", self.release), ("current", self.current)]
        return "\n".join(f"{self.aspect} {side}: {shortened(text)}" for side, text in sides if text is not None)


def shortened(text: str, limit: int = 2000) -> str:
    """A text, cut where it is too long to read."""
    return text if len(text) <= limit else f"{text[:limit]}… ({len(text)} characters)"


def meaning(value: Any) -> str:
    """One text for JSON values that mean the same to Python; 1 and 1.0 differ, NaN equals NaN."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def is_json(answer: Answer) -> bool:
    """Whether an answer says that it is JSON, or a kind of it (RFC 6839)."""
    types = [value.split(";")[0].strip() for value in answer.header("content-type")]
    return any(one == "application/json" or one.endswith("+json") for one in types)


def body_text(answer: Answer, names: Names, normaliser: Normaliser) -> str:
    """A body as it is compared: parsed meaning for JSON, otherwise its bytes as text."""
    text = normaliser.text(answer.body.decode("utf-8", "backslashreplace"), names)
    if is_json(answer):
        try:
            return f"JSON {meaning(json.loads(text))}"
        except (ValueError, RecursionError):
            pass
    return text


def header_lists(answer: Answer, names: Names, normaliser: Normaliser, method: str) -> dict[str, list[str]]:
    """Values by lower-case header name, each list sorted; the length of a body is compared with the body."""
    lists: dict[str, list[str]] = {}
    for name, value in sorted((n.lower(), v) for n, v in answer.headers if n.lower() not in UNCOMPARED_HEADERS):
        if name == "content-length" and method != "HEAD" and value == str(len(answer.body)):
            value = "<length of the body>"
        elif name == "x-ms-run-fn-exec-ms":
            whole, _, fraction = value.partition(".")
            value = "<ms>" if whole.isdigit() and len(fraction) == 3 and fraction.isdigit() else value
        elif name == "allow":
            value = ", ".join(sorted(part.strip() for part in value.split(",")))
        else:
            value = normaliser.text(value, names)
        lists.setdefault(name, []).append(value)
    return lists


def compare_mappings(prefix: str, release: Mapping[str, Any], current: Mapping[str, Any]) -> list[Item]:
    """One difference for each key whose values differ."""
    sides = [{key: str(value) for key, value in side.items()} for side in (release, current)]
    return [
        Item(f"{prefix}:{key}", sides[0].get(key, ABSENT), sides[1].get(key, ABSENT))
        for key in sorted({*release, *current})
        if sides[0].get(key) != sides[1].get(key)
    ]


def compare_lines(aspect: str, release: str, current: str, unordered: bool = False) -> list[Item]:
    """One difference for each line that is on one side only."""
    left, right = (text.splitlines() for text in (release, current))
    if unordered:
        left, right = sorted(left), sorted(right)
    items: list[Item] = []
    for tag, i1, i2, j1, j2 in difflib.SequenceMatcher(None, left, right, autojunk=False).get_opcodes():
        if tag != "equal":
            items += [Item(aspect, line, None) for line in left[i1:i2]]
            items += [Item(aspect, None, line) for line in right[j1:j2]]
    return items


def lengths(exchange: Exchange) -> list[int]:
    """Body lengths that the log may give for an exchange."""
    if exchange.request is not None and exchange.request.method == "HEAD":
        return [int(value) for value in exchange.answer.header("content-length")]
    return [len(exchange.answer.body)]


def compare_exchange(pair: tuple[Exchange | None, Exchange | None], sides: Sides, request: Request) -> list[Item]:
    """Compare what one request brought about on the two sides."""
    if pair[0] is None or pair[1] is None:
        return [Item("served", *("yes" if side else "no" for side in pair))] if any(pair) else []
    given = " ".join([request.path, *(value for _, value in request.headers)])
    views = [exchange_view(one, side, given, request.method) for one, side in zip(pair, sides, strict=True) if one]
    items = [item for aspect in ("fault", "status", "reason", "reuse") for item in compare_value(aspect, views)]
    items += compare_mappings("header", views[0]["headers"], views[1]["headers"])
    items += compare_value("body", views)
    for aspect in ("stdout", "stderr"):
        items += compare_lines(aspect, views[0][aspect], views[1][aspect])
    return items


def compare_value(aspect: str, views: list[dict[str, Any]]) -> list[Item]:
    """The difference in one value of two views, if there is one."""
    values = [str(view[aspect]) for view in views]
    return [] if values[0] == values[1] else [Item(aspect, *values)]


def exchange_view(exchange: Exchange, side: Normaliser, given: str, method: str) -> dict[str, Any]:
    """An exchange as it is compared."""
    answer, names = exchange.answer, side.names(given)
    return {
        "fault": answer.fault,
        "status": answer.status,
        "reason": answer.reason,
        "reuse": answer.reuse,
        "headers": header_lists(answer, names, side, method),
        "body": body_text(answer, names, side),
        "stdout": side.log(exchange.stdout, names, lengths(exchange)),
        "stderr": side.log(exchange.stderr, names),
    }


def flat(values: Mapping[str, Any], side: Normaliser, names: Names) -> dict[str, str]:
    """What a script saw, one level unfolded, each value as normalised JSON."""
    out: dict[str, str] = {}
    for key, value in values.items():
        inner = value.items() if isinstance(value, dict) else [("", value)]
        out |= {f"{key}.{k}".rstrip("."): side.text(meaning(v), names) for k, v in inner}
    return out


def compare_process(release: Observation, current: Observation, sides: Sides, unordered: bool) -> list[Item]:
    """Compare how two processes started, what the script saw, how they stopped, and what they wrote by then."""
    views = [process_view(one, side) for one, side in zip((release, current), sides, strict=True)]
    items = compare_value("state", views) + compare_mappings("seen", views[0]["seen"], views[1]["seen"])
    items += compare_lines("stdout:start", views[0]["stdout:start"], views[1]["stdout:start"], unordered)
    for key in ("stderr:start", "stdout:stop", "stderr:stop"):
        items += compare_lines(key, views[0][key], views[1][key], unordered)
    return items + compare_value("exit", views)


def process_view(observation: Observation, side: Normaliser) -> dict[str, Any]:
    """A process as it is compared."""
    names = side.names()
    view: dict[str, Any] = {"state": observation.state, "exit": observation.exit}
    view["seen"] = flat(observation.saw, side, names)
    known = [length for exchange in observation.exchanges.values() for length in lengths(exchange)]
    for moment, exchange in (("start", observation.start), ("stop", observation.stop)):
        view[f"stdout:{moment}"] = side.log(exchange.stdout, names, known)
        view[f"stderr:{moment}"] = side.log(exchange.stderr, names)
    return view

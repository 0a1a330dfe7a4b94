"""Replace what must differ between two runs: ids, times, durations, ports, processes, versions and paths."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from datetime import datetime, timedelta, timezone
from pathlib import Path

from .tracebacks import reduce_tracebacks

UUID = re.compile(
    r"\b[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}\b"
)  # version 4, as both generate
STAMP = re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d[,.]\d+")
LOCAL_ZONE = timezone(timedelta(hours=9))  # what TZ says in the environment of both servers
TOLERANCE = timedelta(minutes=30)
PACKAGE = re.compile(r"""/[^\s"'<>]*/(?:azureml_inference_server_http|azmlinfsrv)(?=/)""")
SITE = re.compile(r"""/[^\s"'<>]*/site-packages(?=[/\s"'])""")
STDLIB = re.compile(rf"""/[^\s"'<>]*/python{sys.version_info.major}\.{sys.version_info.minor}(?=[/\s"'])""")

# Which lines exist at all, or what they call a class, follows gunicorn's version and not the server.
GUNICORN_NOISE = re.compile(r"^.*gunicorn\.error - Control socket .*\n", re.MULTILINE)

# Where a script was looked for: what the two installations have there differs, the case's own folders do not.
SEARCHED = re.compile(r"(in PYTHONPATH: )\[(.*)\]")

PATTERNS = (
    (re.compile(r"\[(\d\d)/\w{3}/\d{4}:\d\d:\d\d:\d\d ([+-]\d{4})\]"), r"[<time> \2]"),
    (re.compile(r"(<\w+ time> [A-Z]) \[\d+\]"), r"\1 [<pid>]"),
    (re.compile(r"\b(pid[: ] ?)\d+"), r"\1<pid>"),
    (re.compile(r"(Listening at: .*) \(\d+\)"), r"\1 (<pid>)"),
    (re.compile(r"\b\d+\.\d{3}ms\b"), "<ms>"),
    (re.compile(r"\b0x[0-9a-f]{6,}\b"), "0x<address>"),
    (re.compile(r"\bazmlinfsrv/\d[\w.+]*"), "azmlinfsrv/<version>"),
    (re.compile(r"\b(HTTP server v)\d[\w.+]*"), r"\1<version>"),
    (re.compile(r"\b(gunicorn[ /])\d+\.\d[\w.]*"), r"\1<version>"),
    (re.compile(r"(Using worker: ).*"), r"\1<class>"),
)


class Normaliser:
    """Knows what is particular to one side of one server block.

    Args:
        root: Folder the side was laid out in.
        ports: Serving port and health port.
    """

    def __init__(self, root: Path, ports: tuple[int, int]) -> None:
        self._literals = [(str(root), "<root>")]
        self._ports = [
            (re.compile(rf"\b{port}\b"), name) for port, name in zip(ports, ("<port>", "<health>"), strict=True)
        ]

    def names(self, given: str = "") -> Names:
        """Names for the ids of one case; an id that the request itself gave is left as it is."""
        return Names(given)

    def text(self, text: str, names: Names) -> str:
        """Normalise a text of any kind."""
        for literal, name in self._literals:
            text = text.replace(literal, name)
        for pattern, name in ((PACKAGE, "<package>"), (SITE, "<site>"), (STDLIB, "<python>")):
            text = pattern.sub(name, text)
        text = STAMP.sub(stamp_name, text)
        for pattern, name in (*PATTERNS, *self._ports):  # a process may have the number of a port
            text = pattern.sub(name, text)
        text = SEARCHED.sub(searched_name, text)
        return UUID.sub(lambda match: names.name(match[0]), text)

    def log(self, text: str, names: Names, lengths: Iterable[int] = ()) -> str:
        """Normalise what a process wrote.

        Args:
            text: Text of standard output or standard error.
            names: Names for ids.
            lengths: Body lengths that the line of a request may give.
        """
        text = reduce_tracebacks(self.text(GUNICORN_NOISE.sub("", text), names))
        for length in set(lengths):
            text = re.sub(rf'(" \d{{3}}|\d{{3}} <ms>) {length}(?=\s)', r"\1 <length>", text)
        return text


class Names:
    """Gives every generated id a name, in the order in which ids appear, so that equal ids stay equal."""

    def __init__(self, given: str) -> None:
        self._given = given
        self._names: dict[str, str] = {}

    def name(self, uuid: str) -> str:
        """Name of an id, or the id itself where it was not generated."""
        if uuid in self._given:
            return uuid
        return self._names.setdefault(uuid, f"<id {len(self._names) + 1}>")


def searched_name(match: re.Match[str]) -> str:
    """The folders of the case among those where a script was looked for."""
    own = [entry for entry in match[2].split(", ") if "<root>" in entry]
    return f"{match[1]}[{', '.join(own)}]"


def stamp_name(match: re.Match[str]) -> str:
    """Name of a time stamp: whether it is now in UTC, now in the servers' local zone, or neither."""
    text = match[0].replace(",", ".").replace("T", " ")
    for name, zone in (("<utc time>", timezone.utc), ("<local time>", LOCAL_ZONE)):
        moment = datetime.strptime(text[:26], "%Y-%m-%d %H:%M:%S.%f").replace(tzinfo=zone)
        if abs(moment - datetime.now(zone)) < TOLERANCE:
            return name
    return match[0]

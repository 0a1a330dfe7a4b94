"""Reduce printed tracebacks to what both servers must show: the user's frames and the exception.

The released server prints its own frames around the user's and chains an exception of its own; this server
prints the user's alone. Paths and line numbers inside installed packages depend on versions.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

HEAD = "Traceback (most recent call last):"
LINKS = (
    "The above exception was the direct cause of the following exception:",
    "During handling of the above exception, another exception occurred:",
)
FRAME = re.compile(r'^\s+File "(?P<file>[^"]+)", line (?P<line>\d+)(, in (?P<function>.+))?$')
RECORD = re.compile(r"<\w+ time> [A-Z] \[")
MARKS = re.compile(r"^\s+[~^]+\s*$")
REPEATED = re.compile(r"\[Previous line repeated \d+ more times\]")  # how many depends on the frames above
OWN_ERROR = re.compile(r"^(azureml_inference_server_http|azmlinfsrv)\.[\w.]+: ?")
WRAPPERS = (
    "Caught an unhandled exception from the user script",
    "Failed to import user script because it raised an unhandled exception",
)


@dataclass
class Block:
    """One exception of a printed chain: what stood before it on its line, its frames, and what it says."""

    prefix: str
    frames: list[list[str]] = field(default_factory=list)
    message: str = ""
    more: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        """The block as it is compared: without its head where it has no frame of the script's."""
        user = next((i for i, frame in enumerate(self.frames) if "<root>" in frame[0]), len(self.frames))
        kept = [line for frame in self.frames[user:] for line in reduced_frame(frame)]
        rest = [*kept, self.message, *self.more]
        if any((match := FRAME.match(line)) and match["function"] for line in kept):
            return [f"{self.prefix}{HEAD}", *rest]
        return [f"{self.prefix}{rest[0]}", *rest[1:]]


def reduced_frame(frame: list[str]) -> list[str]:
    """One frame, where it is the script's; frames of libraries depend on versions."""
    if FRAME.match(frame[0]) and "<root>" not in frame[0]:
        return []
    return [REPEATED.sub("[Previous line repeated]", line) for line in frame]


def read_block(lines: list[str], start: int) -> tuple[Block, int]:
    """Read the block whose head is at a line, and give the number of the line after it."""
    block = Block(lines[start].split(HEAD)[0])
    at = start + 1
    while at < len(lines) and lines[at].startswith("  "):
        if FRAME.match(lines[at]) or not block.frames:
            block.frames.append([])
        block.frames[-1].append(lines[at])
        at += 1
    if at < len(lines):
        block.message = OWN_ERROR.sub("", lines[at])
        at += 1
    return block, at


def read_chain(lines: list[str], start: int) -> tuple[list[Block], list[str], int]:
    """Read blocks that are chained from a line on: the blocks, the links between them, and the line after."""
    block, at = read_block(lines, start)
    blocks: list[Block] = [block]
    links: list[str] = []
    while (link := next_link(lines, at)) is not None:
        blocks[-1].more = lines[at : link - 1]
        links.append(lines[link])
        block, at = read_block(lines, link + 2)
        blocks.append(block)
    return blocks, links, at


def next_link(lines: list[str], start: int) -> int | None:
    """Line that links the exception before a line to the next one, with the rest of its message in between."""
    for at in range(start, len(lines) - 2):
        if RECORD.search(lines[at]) or HEAD in lines[at]:
            return None
        if lines[at] in LINKS and HEAD in lines[at + 2]:
            return at
    return None


def shown_chain(blocks: list[Block], links: list[str]) -> list[str]:
    """A chain without the exceptions that a server wraps around the user's."""
    while len(blocks) > 1 and blocks[-1].message in WRAPPERS:
        blocks, links = blocks[:-1], links[:-1]
    out = blocks[0].lines()
    for block, link in zip(blocks[1:], links, strict=True):
        out += ["", link, "", *block.lines()]
    return out


def reduce_tracebacks(text: str) -> str:
    """A text, paths in it already normalised, with every traceback reduced."""
    lines, out, at = [line for line in text.split("\n") if not MARKS.match(line)], [], 0
    while at < len(lines):
        if HEAD in lines[at]:
            blocks, links, at = read_chain(lines, at)
            out += shown_chain(blocks, links)
            while at < len(lines) - 1 and not lines[at].strip():
                at += 1  # one server ends a traceback with an empty line, the other does not
        else:
            out.append(lines[at])
            at += 1
    return "\n".join(out)

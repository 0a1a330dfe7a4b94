"""Reads what a server answered to anything, and says what is wrong with it."""

from __future__ import annotations

import json
import re

_HEAD = re.compile(rb"HTTP/1\.1 (\d{3}) [ -~]*\r\n((?:[!#$%&'*+.^_`|~0-9A-Za-z-]+: [\t -~\x80-\xff]*\r\n)*)\r\n")
_LEAKS = (b"Traceback", b'File "', b"site-packages", b"azmlinfsrv/src")
# What nobody's input may cause.
_FAULTS = frozenset({500, 502, 504})


class JudgementError(AssertionError):
    """An answer that must not be."""


def judge(received: bytes, *, is_whole: bool = True) -> list[int]:
    """Return the statuses of the answers in what was received.

    Args:
        received: all bytes of one connection.
        is_whole: whether the last answer must be complete.

    Raises:
        JudgementError: it is no HTTP/1.1, an error that is no JSON, a fault of the server's, or tells of its inside.
    """
    statuses, rest = [], received
    while rest:
        head = _HEAD.match(rest)
        if head is None:
            if is_whole or b"\r\n\r\n" in rest:
                raise JudgementError(f"no answer: {rest[:300]!r}")
            break
        status, fields, rest = int(head[1]), head[2].lower(), rest[head.end() :]
        statuses.append(status)
        if status in _FAULTS:
            raise JudgementError(f"a fault: {received[:500]!r}")
        body, rest = _body(status, fields, rest, is_whole)
        if any(leak in body for leak in _LEAKS):
            raise JudgementError(f"an answer tells of the inside: {body[:300]!r}")
        if status >= 400 and body:
            _check_error(body)
    return statuses


def _check_error(body: bytes) -> None:
    try:
        content = json.loads(body)
    except ValueError:
        raise JudgementError(f"an error that is no JSON: {body[:300]!r}") from None
    if not isinstance(content.get("message"), str):
        raise JudgementError(f"an error without a message: {body[:300]!r}")


def _body(status: int, fields: bytes, rest: bytes, is_whole: bool) -> tuple[bytes, bytes]:
    """Return a body and what follows it; an answer to HEAD has none, and no body here begins as an answer does."""
    found = re.search(rb"^content-length: (\d+)\r$", fields, re.MULTILINE)
    if status < 200 or status in (204, 304) or not rest or rest.startswith(b"HTTP/1.1 "):
        return b"", rest
    if found is None:
        raise JudgementError(f"a body without a length: {fields!r} {rest[:200]!r}")
    length = int(found[1])
    if is_whole and len(rest) < length:
        raise JudgementError(f"an answer that breaks off: {rest[:200]!r}")
    return rest[:length], rest[length:]

"""Request ids: which headers carry them in and out (`inference-server.md`, "Request ID", the eight-row table)."""

from __future__ import annotations

import os
from typing import NamedTuple

from azmlinfsrv.errors import HeaderTooLongError, InvalidIdError

REQUEST_ID = "x-request-id"
LEGACY_ID = "x-ms-request-id"
CLIENT_ID = "x-ms-client-request-id"
NO_REQUEST = "00000000-0000-0000-0000-000000000000"
MAX_LENGTH = 100

_POOL_IDS = 256
# The hexadecimal digit with its two highest bits replaced by the variant of RFC 9562, 4.1.
_VARIANTS = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}


class RequestIds(NamedTuple):
    """The ids of one request.

    Attributes:
        request_id: id of this request, the caller's or a new one; the letter A of the table.
        legacy_id: what ``x-ms-request-id`` answers.
        client_id: the caller's own id, or "" where it sent none.
    """

    request_id: str
    legacy_id: str
    client_id: str


class IdSource:
    """Makes version-4 UUIDs (RFC 9562) from a pool of random bytes that is refilled every 256 ids.

    Not shared between threads; make it after a fork, so that two processes never share a pool.
    """

    def __init__(self) -> None:
        self._pool = ""
        self._next = 0

    def new(self) -> str:
        """Return a new id of 36 characters."""
        start = self._next
        if start >= len(self._pool):
            self._pool = os.urandom(16 * _POOL_IDS).hex()
            start = 0
        self._next = start + 32
        h = self._pool[start : start + 32]
        return f"{h[:8]}-{h[8:12]}-4{h[13:16]}-{_VARIANTS[h[16]]}{h[17:20]}-{h[20:]}"


def resolve_ids(request_id: str, legacy_id: str, client_id: str, source: IdSource) -> RequestIds:
    """Apply the table: from the three headers of a request ("" where absent) to the ids of its answer.

    Raises:
        HeaderTooLongError: an id has more than 100 characters (431).
        InvalidIdError: an id has control characters, or others that cannot be shown (400).
    """
    if len(request_id) > MAX_LENGTH:
        raise HeaderTooLongError(f"{REQUEST_ID} must not exceed {MAX_LENGTH} characters")
    _check_printable(REQUEST_ID, request_id)
    if not request_id:
        request_id = source.new()
    if not (legacy_id or client_id):
        return RequestIds(request_id, request_id, "")
    client_id = client_id or legacy_id
    legacy_id = legacy_id or client_id
    if len(legacy_id) > MAX_LENGTH or len(client_id) > MAX_LENGTH:
        raise HeaderTooLongError(f"{LEGACY_ID} and {CLIENT_ID} must not exceed {MAX_LENGTH} characters")
    _check_printable(f"{LEGACY_ID} and {CLIENT_ID}", legacy_id + client_id)
    return RequestIds(request_id, legacy_id, client_id)


def fallback_ids(request_id: str, source: IdSource) -> RequestIds:
    """Return the ids of an answer whose request carried ids that cannot be used."""
    if not request_id or len(request_id) > MAX_LENGTH or not _is_printable(request_id):
        request_id = source.new()
    return RequestIds(request_id, request_id, "")


def _is_printable(value: str) -> bool:
    """Return whether an id can be shown, in the one or the other encoding: some clients send theirs as UTF-8."""
    if value.isprintable():
        return True
    try:
        return value.encode("latin-1").decode().isprintable()
    except UnicodeError:
        return False


def _check_printable(name: str, value: str) -> None:
    if not _is_printable(value):
        raise InvalidIdError(f"{name} must have printable characters only")

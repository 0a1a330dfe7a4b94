"""Request ids: the eight-row table, the limit, and new ids."""

from __future__ import annotations

import os
import uuid

import pytest

from azmlinfsrv.errors import HeaderTooLongError, InvalidIdError
from azmlinfsrv.identity import NO_REQUEST, IdSource, RequestIds, fallback_ids, resolve_ids


class KnownIds(IdSource):
    """A source whose only id is `new`."""

    def new(self) -> str:
        """Return the id."""
        return "new"


# `inference-server.md`: what a request carries in x-request-id, x-ms-request-id and x-ms-client-request-id;
# what its answer has in the same; Request ID and Client Request ID of telemetry.
TABLE = [
    (("", "", ""), ("new", "new", ""), ("new", "")),
    (("A", "", ""), ("A", "A", ""), ("A", "")),
    (("", "B", ""), ("new", "B", "B"), ("new", "B")),
    (("", "", "C"), ("new", "C", "C"), ("new", "C")),
    (("A", "B", ""), ("A", "B", "B"), ("A", "B")),
    (("", "B", "C"), ("new", "B", "C"), ("new", "C")),
    (("A", "", "C"), ("A", "C", "C"), ("A", "C")),
    (("A", "B", "C"), ("A", "B", "C"), ("A", "C")),
]
LONGEST, TOO_LONG = "x" * 100, "x" * 101


@pytest.mark.parametrize(("request_headers", "answer", "telemetry"), TABLE)
def test_the_table(
    request_headers: tuple[str, str, str], answer: tuple[str, str, str], telemetry: tuple[str, str]
) -> None:
    """Each row of the document's table holds."""
    ids = resolve_ids(*request_headers, KnownIds())
    assert (ids.request_id, ids.legacy_id, ids.client_id) == answer
    assert (ids.request_id, ids.client_id) == telemetry


@pytest.mark.parametrize("position", range(3))
def test_a_hundred_characters_are_allowed(position: int) -> None:
    """An id of 100 characters is taken in each of the three headers, and comes back whole."""
    request_id, legacy_id, client_id = (LONGEST if each == position else "" for each in range(3))
    assert LONGEST in resolve_ids(request_id, legacy_id, client_id, KnownIds())


@pytest.mark.parametrize(
    ("position", "message"),
    [
        (0, "x-request-id must not exceed 100 characters"),
        (1, "x-ms-request-id and x-ms-client-request-id must not exceed 100 characters"),
        (2, "x-ms-request-id and x-ms-client-request-id must not exceed 100 characters"),
    ],
)
@pytest.mark.parametrize("others", ["", "ok"])
def test_one_more_is_not(position: int, message: str, others: str) -> None:
    """An id of 101 characters is refused with 431 and the released server's message."""
    request_id, legacy_id, client_id = (TOO_LONG if each == position else others for each in range(3))
    with pytest.raises(HeaderTooLongError) as caught:
        resolve_ids(request_id, legacy_id, client_id, KnownIds())
    assert (caught.value.status, caught.value.message) == (431, message)


@pytest.mark.parametrize(
    ("given", "kept"), [("", "new"), ("A", "A"), (LONGEST, LONGEST), (TOO_LONG, "new")], ids=["none", "A", "100", "101"]
)
def test_ids_of_a_refused_request(given: str, kept: str) -> None:
    """An answer to a request whose ids cannot be used has the caller's request id if that can be, else a new one."""
    assert fallback_ids(given, KnownIds()) == RequestIds(kept, kept, "")


def test_new_ids_are_random_uuids() -> None:
    """Each new id is a UUID of version 4 in its usual form, over more than one filling of the pool."""
    source = IdSource()
    ids = [source.new() for _ in range(1000)]
    assert len(set(ids)) == 1000
    for new in ids:
        parsed = uuid.UUID(new)
        assert (str(parsed), parsed.version, parsed.variant) == (new, 4, uuid.RFC_4122)


def test_every_variant_digit_occurs() -> None:
    """The bits that are free in a UUID are random: all four digits of the variant occur."""
    source = IdSource()
    assert {source.new()[19] for _ in range(500)} == set("89ab")


def test_random_bytes_are_fetched_seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    """One call of the system serves 256 ids, and no byte of it serves two."""
    calls = []

    def urandom(count: int) -> bytes:
        calls.append(count)
        return bytes((number // 16 * 7 + number) % 256 for number in range(count))

    monkeypatch.setattr(os, "urandom", urandom)
    source = IdSource()
    first = [source.new() for _ in range(256)]
    assert len(calls) == 1
    assert source.new() == first[0]
    assert len(calls) == 2


def test_zeros_outside_of_requests() -> None:
    """The id of lines that belong to no request is the documented row of zeros."""
    assert str(uuid.UUID(int=0)) == NO_REQUEST


@pytest.mark.parametrize("bad", ["a\x01", "\x1b[31m", "a\tb", "a\x7f", "a\x9bb", "\xad", "a\r\nX: 1", "\0"])
def test_ids_that_cannot_be_shown(bad: str) -> None:
    """An id with control characters is refused: it would be written to logs and answers."""
    for ids in ((bad, "", ""), ("", bad, ""), ("", "", bad)):
        with pytest.raises(InvalidIdError, match="printable") as caught:
            resolve_ids(*ids, IdSource())
        assert caught.value.status == 400
    assert bad not in fallback_ids(bad, IdSource())


def test_ids_in_utf_8() -> None:
    """An id that is text in UTF-8 is taken, though its bytes read otherwise are not."""
    sent = "\u017c\xf3\u0142w".encode().decode("latin-1")
    assert not sent.isprintable()
    assert resolve_ids(sent, "", "", IdSource()).request_id == fallback_ids(sent, IdSource()).request_id == sent
    with pytest.raises(InvalidIdError):
        resolve_ids("\u202e".encode().decode("latin-1"), "", "", IdSource())

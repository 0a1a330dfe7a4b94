"""Compressed bodies: what they expand to, and where that stops."""

from __future__ import annotations

import contextlib
import gzip
import inspect
import random
import tracemalloc
import zlib
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from azmlinfsrv.content_coding import expand_body
from azmlinfsrv.errors import BadInputError, BodyTooLargeError, UnsupportedCodingError
from azmlinfsrv.inputs import input_parser
from azmlinfsrv.messages import Request
from azmlinfsrv.outputs import error_response
from azmlinfsrv.script import Style
from tests.unit.http_fakes import headers_of, request

LIMIT = 1_000_000
TEXT = b'{"data": [1, 2, 3]}'


def raw_deflate(data: bytes) -> bytes:
    """Return the data as RFC 1951 has it, without a header."""
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


PACK: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "x-gzip": gzip.compress, "deflate": zlib.compress}


def compressed(body: bytes, coding: str = "gzip", method: str = "POST") -> Request:
    """Return a request with this body and Content-Encoding."""
    return request(method, "/score", body, content_encoding=coding, content_type="application/json")


def expanded(body: bytes, coding: str = "gzip", limit: int = LIMIT) -> bytes:
    """Return what the body of a request expands to."""
    sent = compressed(body, coding)
    expand_body(sent, limit)
    return bytes(sent.body)


@pytest.mark.parametrize("coding", [*PACK, "GZIP", " gzip ", "gzip,", "identity, gzip"])
@pytest.mark.parametrize("size", [0, 1, 65_535, 65_536, 65_537, 700_000])
def test_what_was_compressed_comes_back(coding: str, size: int) -> None:
    """gzip, by its old name too, and deflate are expanded, whatever their case."""
    data = random.Random(size).randbytes(size)  # noqa: S311 - repeatable data
    pack = PACK[coding.strip(" ,").rpartition(", ")[2].lower()]
    assert expanded(pack(data), coding) == data


def test_deflate_without_its_header() -> None:
    """What some clients send as deflate, without the header of RFC 1950, is taken too."""
    assert expanded(raw_deflate(TEXT), "deflate") == TEXT


@pytest.mark.parametrize("coding", ["", "identity", "utf-8", "UTF8", "identity, identity"])
def test_no_coding(coding: str) -> None:
    """The coding identity is none, and neither is a charset, which clients put there by mistake."""
    assert expanded(TEXT, coding) == TEXT


@pytest.mark.parametrize("coding", ["br", "zstd", "compress", "gzip, gzip", "deflate, gzip", "gzip;q=1", "*", "\xff"])
def test_an_unknown_coding(coding: str) -> None:
    """Any other, and several, get 415 with those that are known."""
    with pytest.raises(UnsupportedCodingError) as caught:
        expanded(TEXT, coding)
    answer = error_response(caught.value)
    assert answer.status == 415
    assert headers_of(answer)["accept-encoding"] == "gzip, deflate"


def test_several_members() -> None:
    """The members of a gzip body are one text; zeros may follow, as from tapes."""
    assert expanded(gzip.compress(TEXT, mtime=0) + gzip.compress(b"") + gzip.compress(b"more")) == TEXT + b"more"
    assert expanded(gzip.compress(TEXT, mtime=0) + bytes(512)) == TEXT


@pytest.mark.parametrize(
    "body",
    [
        *(
            TEXT,
            b"\x1f\x8b",
            gzip.compress(TEXT, mtime=0)[:-1],
            gzip.compress(TEXT, mtime=0)[:12],
            gzip.compress(TEXT, mtime=0) + b"junk",
        ),
        *(
            gzip.compress(TEXT, mtime=0)[:-8] + bytes(8),
            gzip.compress(TEXT, mtime=0) + b"\x1f\x8b",
            b"\0" * 100,
            b"\x1f",
        ),
        *(gzip.compress(TEXT, mtime=0) + bytes(70_000) + b"x", gzip.compress(b"") * 20_000),
    ],
)
def test_what_is_not_gzip(body: bytes) -> None:
    """What is corrupt, cut short, followed by something else or in too many pieces gets 400."""
    with pytest.raises(BadInputError, match="cannot be expanded as gzip"):
        expanded(body)


@pytest.mark.parametrize("body", [TEXT, zlib.compress(TEXT)[:-1], zlib.compress(TEXT) * 2, b"x", b"\0\0"])
def test_what_is_not_deflate(body: bytes) -> None:
    """The same of deflate, which has one member."""
    with pytest.raises(BadInputError, match="cannot be expanded as deflate"):
        expanded(body, "deflate")


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
@pytest.mark.parametrize("size", [LIMIT - 1, LIMIT])
def test_up_to_the_limit(coding: str, size: int) -> None:
    """A body that expands to the limit is taken."""
    assert len(expanded(PACK[coding](bytes(size)), coding)) == size


@pytest.mark.parametrize("bomb", [gzip.compress(bytes(LIMIT + 1)), gzip.compress(bytes(LIMIT // 2)) * 3])
def test_beyond_the_limit(bomb: bytes) -> None:
    """One that expands to more gets 413, also where each of its members is small."""
    with pytest.raises(BodyTooLargeError, match="larger than 1000000 bytes") as caught:
        expanded(bomb)
    assert caught.value.status == 413


def test_a_bomb_takes_no_memory() -> None:
    """A body of 200 kB that would expand to 200 MB is left at the limit, and never held."""
    bomb = gzip.compress(bytes(200_000_000))
    sent = compressed(bomb)
    tracemalloc.start()
    try:
        with pytest.raises(BodyTooLargeError):
            expand_body(sent, LIMIT)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 3 * LIMIT


def test_a_limit_of_nothing() -> None:
    """With a limit of 0 an empty body is taken, and no other."""
    assert expanded(gzip.compress(b""), limit=0) == b""
    with pytest.raises(BodyTooLargeError):
        expanded(gzip.compress(b"x"), limit=0)


@given(body=st.binary(max_size=300), coding=st.sampled_from(["gzip", "deflate"]))
@settings(max_examples=300, deadline=None)
def test_any_bytes(body: bytes, coding: str) -> None:
    """Whatever a client sends, it is expanded or refused with an error of ours."""
    for sent in (body, PACK[coding](TEXT)[: len(body)] + body, PACK[coding](body)):
        with contextlib.suppress(BadInputError, BodyTooLargeError):
            expanded(sent, coding)
    assert expanded(PACK[coding](body), coding) == body


class _Typed:
    def __init__(self) -> None:
        self.parameters: list[inspect.Parameter] = []
        self.hints: dict[str, Any] = {}

    def from_json(self, body: bytes) -> dict[str, Any]:
        return {"body": body}


def script(style: Style, *, typed: object = None) -> Any:
    """Return as much of a script as its parser of requests wants."""

    def run(data: object) -> object:
        return data

    (parameter,) = inspect.signature(run).parameters.values()
    return SimpleNamespace(run=run, parameters=[parameter], style=style, typed=typed, takes_headers=False, parse=None)


@pytest.mark.parametrize(
    ("of", "arguments"),
    [
        (script(Style.JSON_TEXT), {"data": TEXT.decode()}),
        (script(Style.SCHEMA), {"data": [1, 2, 3]}),
        (script(Style.SCHEMA, typed=_Typed()), {"body": TEXT}),
    ],
    ids=["plain", "schema", "typed"],
)
def test_each_style(of: Any, arguments: dict[str, Any]) -> None:
    """Plain, decorated and typed scripts get what was compressed, within the limit."""
    assert input_parser(of, lambda _: None)(compressed(gzip.compress(TEXT, mtime=0))) == arguments
    assert input_parser(of, lambda _: None)(compressed(TEXT, "")) == arguments
    with pytest.raises(BodyTooLargeError):
        input_parser(of, lambda _: None, 10)(compressed(gzip.compress(TEXT, mtime=0)))


def test_raw_scripts_get_what_was_sent() -> None:
    """A script that takes the HTTP request gets the body as it came: it may expand it itself."""
    sent = compressed(gzip.compress(TEXT, mtime=0))
    assert input_parser(script(Style.RAW), lambda each: each.body)(sent) == {"data": gzip.compress(TEXT, mtime=0)}


def test_a_query_has_no_coding() -> None:
    """GET has its input in the query, and its Content-Encoding means nothing."""
    assert input_parser(script(Style.JSON_TEXT), lambda _: None)(compressed(b"", "br", "GET")) == {"data": "{}"}

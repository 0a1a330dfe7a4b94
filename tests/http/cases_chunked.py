"""Cases: chunked requests (RFC 9112 section 7.1)."""

from __future__ import annotations

from tests.http.case import (
    HEALTHY,
    MAX_HEADER_BYTES,
    After,
    Case,
    Expect,
    Quiet,
    Step,
    chunked_head,
    chunks,
    echo,
    error,
    get,
    lines,
)

HEAD = chunked_head()


def _body(name: str, claim: str, raw: bytes, body: bytes, *, rfc: str = "9112 7.1", asgi: bool = True) -> Case:
    """Return the case of a chunked body that is well-formed, with a request behind it."""
    return Case(name, rfc, claim, (HEAD + raw + get("/"),), (echo("POST", body), HEALTHY), asgi=asgi)


def _refused(name: str, claim: str, raw: bytes, *, rfc: str = "9112 7.1", statuses: tuple[int, ...] = (400,)) -> Case:
    """Return the case of a chunked body that is refused, with a request behind it that is not answered."""
    expect = (error(*statuses, connection="close"),)
    return Case(name, rfc, claim, (HEAD + raw + get("/nowhere"),), expect, After.CLOSED)


WELL_FORMED = (
    _body("chunked-one", "one chunk", b"5\r\nhello\r\n0\r\n\r\n", b"hello"),
    _body("chunked-two", "two chunks are one body", b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n", b"hello"),
    _body("chunked-bytes", "chunks of one byte", chunks(*(b"%d" % n for n in range(10))), b"0123456789"),
    _body("chunked-empty", "no chunk but the last is an empty body", b"0\r\n\r\n", b""),
    _body("chunked-last-zeros", "the last chunk may have several zeros", b"2\r\nhi\r\n000\r\n\r\n", b"hi"),
    _body("chunked-upper-hex", "sizes in upper case", b"1A\r\n" + b"u" * 26 + b"\r\n0\r\n\r\n", b"u" * 26),
    _body("chunked-lower-hex", "and in lower case", b"1a\r\n" + b"l" * 26 + b"\r\n0\r\n\r\n", b"l" * 26),
    _body("chunked-leading-zeros", "zeros before a size", b"0005\r\nhello\r\n0\r\n\r\n", b"hello"),
    _body("chunked-large", "a chunk of 300 000 bytes", chunks(b"x" * 300_000), b"x" * 300_000),
    _body("chunked-many", "two thousand chunks", chunks(*(b"ab" for _ in range(2000))), b"ab" * 2000),
    _body("chunked-crlf-data", "line ends in data are data", chunks(b"\r\n0\r\n\r\n"), b"\r\n0\r\n\r\n"),
    _body(
        "chunked-extension",
        "extensions are ignored",
        b"5;name=value\r\nhello\r\n0;last\r\n\r\n",
        b"hello",
        rfc="9112 7.1.1",
    ),
    _body("chunked-extension-bare", "also without a value", b"2;a;b\r\nhi\r\n0\r\n\r\n", b"hi", rfc="9112 7.1.1"),
    _body(
        "chunked-extension-quoted",
        "also quoted, with a semicolon inside",
        b'5;a="x; y=\\"z\\"";b=1\r\nhello\r\n0\r\n\r\n',
        b"hello",
        rfc="9112 7.1.1",
    ),
    _body(
        "chunked-trailer",
        "trailer fields are read and dropped",
        b"2\r\nhi\r\n0\r\nX-Check: abc\r\nX-More: 1\r\n\r\n",
        b"hi",
        rfc="9112 7.1.2",
    ),
)

TRAILERS = (
    Case(
        id="chunked-trailer-no-field",
        rfc="9112 7.1.2; 9110 6.5.1",
        claim="a trailer field never becomes a header field",
        steps=(HEAD + b"2\r\nhi\r\n0\r\nX-Echo: from the trailer\r\n\r\n" + get("/"),),
        expect=(echo("POST", b"hi", echo=None), HEALTHY),
    ),
    Case(
        id="chunked-trailer-framing",
        rfc="9110 6.5.1",
        claim="framing fields in a trailer change nothing, or are refused",
        steps=(HEAD + b"2\r\nhi\r\n0\r\nContent-Length: 40\r\nTransfer-Encoding: chunked\r\n\r\n",),
        expect=(Expect((200, 400)),),
        after=After.EITHER,
    ),
    Case(
        id="chunked-trailer-connection",
        rfc="9110 6.5.1",
        claim="a trailer does not route or close",
        steps=(HEAD + b"2\r\nhi\r\n0\r\nHost: u\r\nConnection: close\r\n\r\n",),
        expect=(Expect((200, 400)),),
        after=After.EITHER,
    ),
    Case(
        id="chunked-trailer-pieces",
        rfc="9112 7.1.2",
        claim="the request is complete with the empty line after the trailer, not before",
        steps=(
            HEAD + b"2\r\nhi\r\n0\r\n",
            Quiet(50),
            b"X-Check: ",
            Quiet(50),
            b"abc\r\n",
            Quiet(50),
            b"\r\n",
        ),
        expect=(echo("POST", b"hi"),),
        asgi=True,
    ),
    _refused(
        "chunked-trailer-too-large",
        "a trailer has the limit of a header block",
        b"0\r\nX-Big: " + b"x" * (MAX_HEADER_BYTES + 2000) + b"\r\n\r\n",
        rfc="9112 7.1.2; 9110 5.4",
        statuses=(400, 413, 431),
    ),
    _refused(
        "chunked-trailer-many",
        "also when it has many fields",
        b"0\r\n" + b"".join(b"X-Field-%d: %d\r\n" % (n, n) for n in range(2000)) + b"\r\n",
        rfc="9112 7.1.2; 9110 5.4",
        statuses=(400, 413, 431),
    ),
    _refused(
        "chunked-trailer-malformed",
        "a trailer field is a field line",
        b"0\r\nno colon here\r\n\r\n",
        rfc="9112 7.1.2",
    ),
)

MALFORMED = (
    _refused("chunked-size-word", "a size is a number", b"xyz\r\nhello\r\n0\r\n\r\n"),
    _refused("chunked-size-missing", "a size is there", b"\r\nhello\r\n0\r\n\r\n"),
    _refused("chunked-size-only-extension", "before the extension too", b";a=b\r\nhello\r\n0\r\n\r\n"),
    _refused("chunked-size-negative", "a size has no minus sign", b"-5\r\nhello\r\n0\r\n\r\n"),
    _refused("chunked-size-plus", "nor a plus sign", b"+5\r\nhello\r\n0\r\n\r\n"),
    _refused("chunked-size-0x", "nor a prefix, which int() takes", b"0x5\r\nhello\r\n0\r\n\r\n"),
    _refused("chunked-size-underscore", "nor an underscore, which int() takes", b"0_5\r\nhello\r\n0\r\n\r\n"),
    _refused("chunked-size-leading-space", "nor a space before it", b" 5\r\nhello\r\n0\r\n\r\n"),
    _refused("chunked-size-bad-digit", "nor a letter beyond F", b"5g\r\nhello\r\n0\r\n\r\n"),
    _refused("chunked-size-then-junk", "nor a second number", b"5 6\r\nhello\r\n0\r\n\r\n"),
    _refused(
        "chunked-size-17-digits",
        "a size that overflows 64 bits is refused",
        b"10000000000000005\r\nhello\r\n0\r\n\r\n",
        statuses=(400, 413),
    ),
    _refused(
        "chunked-size-endless",
        "a size of a million digits is refused",
        b"0" * 1_000_000 + b"5\r\nhello\r\n0\r\n\r\n",
        statuses=(400, 413, 431),
    ),
    _refused("chunked-size-bare-lf", "a bare LF does not end a size", b"5\nhello\r\n0\r\n\r\n"),
    _refused("chunked-size-bare-cr", "nor does a bare CR", b"5\rhello\r\n0\r\n\r\n"),
    _refused("chunked-no-crlf-after-data", "data ends with CRLF", b"5\r\nhello0\r\n\r\n"),
    _refused("chunked-lf-after-data", "not with a bare LF", b"5\r\nhello\n0\r\n\r\n"),
    _refused("chunked-data-too-long", "data is as long as its size", b"3\r\nhello\r\n0\r\n\r\n"),
    _refused("chunked-data-too-short", "and no shorter", b"6\r\nhello\r\n0\r\n\r\n"),
    _refused(
        "chunked-extension-bare-lf",
        "an extension has no bare LF",
        b"5;a\nb\r\nhello\r\n0\r\n\r\n",
        rfc="9112 7.1.1; 11.2",
    ),
    _refused(
        "chunked-extension-bare-cr",
        "nor a bare CR",
        b"5;a\rb\r\nhello\r\n0\r\n\r\n",
        rfc="9112 7.1.1; 11.2",
    ),
    _refused(
        "chunked-extension-endless",
        "an extension of a million bytes is refused: a recipient limits them",
        b"5;" + b"a" * 1_000_000 + b"\r\nhello\r\n0\r\n\r\n",
        rfc="9112 7.1.1",
        statuses=(400, 413, 431),
    ),
    _refused(
        "chunked-extensions-many",
        "so are small ones that are many in sum",
        b"1;abcdefghijklmnopqrstuvwxyz\r\nx\r\n" * 10_000 + b"0\r\n\r\n",
        rfc="9112 7.1.1",
        statuses=(400, 413, 431),
    ),
)


def _pieces(raw: bytes, cuts: tuple[int, ...]) -> tuple[Step, ...]:
    """Return steps that send `raw` cut at these offsets, with a pause between."""
    steps: list[Step] = []
    for start, end in zip((0, *cuts), (*cuts, len(raw)), strict=True):
        steps += [raw[start:end], Quiet(20)] if end < len(raw) else [raw[start:end]]
    return tuple(steps)


SPLIT = (
    Case(
        id="chunked-split-size",
        rfc="9112 7.1.3",
        claim="a size may come digit by digit, its CR apart from its LF",
        steps=_pieces(HEAD + b"0010;x=y\r\n0123456789abcdef\r\n0\r\n\r\n", tuple(len(HEAD) + n for n in range(11))),
        expect=(echo("POST", b"0123456789abcdef"),),
        asgi=True,
    ),
    Case(
        id="chunked-split-end",
        rfc="9112 7.1.3",
        claim="and so may the end",
        steps=_pieces(HEAD + b"5\r\nhello\r\n0\r\n\r\n", tuple(len(HEAD) + n for n in range(7, 15))),
        expect=(echo("POST", b"hello"),),
        asgi=True,
    ),
    Case(
        id="chunked-space-around-extension",
        rfc="9112 7.1.1",
        claim="bad whitespace around an extension is removed, or refused, but never misread",
        steps=(HEAD + b"5 ; a = b\r\nhello\r\n0\r\n\r\n",),
        expect=(Expect((200, 400)),),
        after=After.EITHER,
    ),
    Case(
        id="chunked-then-closed",
        rfc="9112 7.1; 9.6",
        claim="a chunked request that closes is answered first",
        steps=(chunked_head("Connection: close") + chunks(b"hello") + lines("junk"),),
        expect=(echo("POST", b"hello"),),
        after=After.CLOSED,
    ),
)

CASES = WELL_FORMED + TRAILERS + MALFORMED + SPLIT

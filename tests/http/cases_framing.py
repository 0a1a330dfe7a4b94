"""Cases: where a request's body ends (RFC 9112 sections 6 and 11.2)."""

from __future__ import annotations

from tests.http.case import (
    HEALTHY,
    After,
    Case,
    Expect,
    HalfClose,
    Quiet,
    Wait,
    chunks,
    echo,
    error,
    get,
    lines,
    post,
)

SMUGGLED = get("/nowhere")
LONG = bytes(range(256)) * 2000 + b"\r\n\r\n"


def _length(name: str, claim: str, *values: str | bytes, statuses: tuple[int, ...] = (400,)) -> Case:
    """Return the case of Content-Length lines that are refused; nothing behind them is read as a request."""
    fields = [b"Content-Length:" + (v if isinstance(v, bytes) else v.encode("latin-1")) for v in values]
    request = lines("POST /score HTTP/1.1", "Host: t", *fields) + b"hello" + SMUGGLED
    return Case(name, "9112 6.2; 6.3", claim, (request,), (error(*statuses, connection="close"),), After.CLOSED)


def _coding(name: str, claim: str, *fields: str | bytes, statuses: tuple[int, ...] = (400,)) -> Case:
    """Return the case of Transfer-Encoding lines that are refused."""
    request = lines("POST /score HTTP/1.1", "Host: t", *fields) + chunks(b"hello") + SMUGGLED
    return Case(name, "9112 6.1; 6.3", claim, (request,), (error(*statuses, connection="close"),), After.CLOSED)


LENGTHS = (
    _length("length-different", "two lengths that differ are refused", " 5", " 6"),
    _length("length-different-list", "also in one line", " 5, 6"),
    _length("length-empty", "a length is not empty", ""),
    _length("length-plus", "a length has no plus sign", " +5"),
    _length("length-minus", "nor a minus sign", " -5"),
    _length("length-minus-zero", "not even minus zero", " -0"),
    _length("length-hex", "a length is decimal", " 0x5"),
    _length("length-hex-digit", "without hexadecimal digits", " a"),
    _length("length-fraction", "a length is whole", " 5.0"),
    _length("length-exponent", "and has no exponent", " 5e0"),
    _length("length-underscore", "nor an underscore, which int() takes", " 1_0"),
    _length("length-inner-space", "nor a space", " 1 0"),
    _length("length-word", "nor is it a word", " five"),
    _length("length-other-digits", "nor made of other digits, which int() takes", b" \xd9\xa5"),
    _length("length-superscript", "nor of Latin-1's superscripts, which isdigit() takes", b" \xb2"),
    _length("length-vertical-tab", "nor padded with a vertical tab, which strip() takes", b" \x0b5"),
    _length("length-no-break-space", "nor with a no-break space", b" \xa05"),
    _length("length-semicolon", "nor has it parameters", " 5;q=1"),
    _length("length-overflow-64", "2^64 + 5 is not 5", " 18446744073709551621", statuses=(400, 413)),
    _length("length-overflow-63", "2^63 is not negative", " 9223372036854775808", statuses=(400, 413)),
    _length("length-overflow-32", "2^32 + 5 is not 5", " 4294967301", statuses=(400, 413)),
    _length("length-endless", "5000 digits are no length", " " + "9" * 5000, statuses=(400, 413)),
    Case(
        id="length-same-twice",
        rfc="9112 6.3",
        claim="two lengths that agree are refused, or taken for one",
        steps=(lines("POST /score HTTP/1.1", "Host: t", "Content-Length: 5", "Content-Length: 5") + b"hello",),
        expect=(Expect((200, 400)),),
        after=After.EITHER,
    ),
    Case(
        id="length-same-list",
        rfc="9110 8.6",
        claim="also in one line",
        steps=(lines("POST /score HTTP/1.1", "Host: t", "Content-Length: 5, 5") + b"hello",),
        expect=(Expect((200, 400)),),
        after=After.EITHER,
    ),
    Case(
        id="length-leading-zeros",
        rfc="9110 8.6",
        claim="leading zeros are digits, and decimal",
        steps=(lines("POST /score HTTP/1.1", "Host: t", "Content-Length: 0010") + b"0123456789",),
        expect=(echo("POST", b"0123456789"),),
        asgi=True,
    ),
    Case(
        id="length-padded",
        rfc="9112 5.1",
        claim="space around a length is no part of it",
        steps=(lines("POST /score HTTP/1.1", "Host: t", "Content-Length:\t 5 \t") + b"hello",),
        expect=(echo("POST", b"hello"),),
        asgi=True,
    ),
    Case(
        id="length-zero",
        rfc="9112 6.3",
        claim="a length of zero is an empty body",
        steps=(post(b"") + get("/"),),
        expect=(echo("POST"), HEALTHY),
        asgi=True,
    ),
    Case(
        id="length-none",
        rfc="9112 6.3",
        claim="a request without a length has no body, whatever its method",
        steps=(lines("POST /score HTTP/1.1", "Host: t") + get("/"),),
        expect=(echo("POST"), HEALTHY),
        asgi=True,
    ),
    Case(
        id="length-too-small",
        rfc="9112 6.3; 11.2",
        claim="what is beyond the length is the next request, here a malformed one",
        steps=(lines("POST /score HTTP/1.1", "Host: t", "Content-Length: 2") + b"hello" + get("/"),),
        expect=(echo("POST", b"he"), error(400, 405, 501, connection="close")),
        after=After.CLOSED,
    ),
    Case(
        id="body-split-in-pieces",
        rfc="9112 6.3",
        claim="a body may come in pieces of any size",
        steps=(post(b"hello world")[:-11], Quiet(20), b"h", Quiet(20), b"ello wor", Quiet(20), b"ld"),
        expect=(echo("POST", b"hello world"),),
        asgi=True,
    ),
    Case(
        id="body-any-bytes",
        rfc="9112 6",
        claim="a body is octets, line ends and NUL among them",
        steps=(post(bytes(range(256)) * 300 + b"\r\n\r\n0\r\n\r\n"),),
        expect=(echo("POST", bytes(range(256)) * 300 + b"\r\n\r\n0\r\n\r\n"),),
        asgi=True,
    ),
    Case(
        id="body-long",
        rfc="9112 6.3; 9.3.2",
        claim="a long body ends where its length says, and the next request begins behind it",
        steps=(post(LONG) + get("/") + post(LONG) + post(b"hi"),),
        expect=(echo("POST", LONG), HEALTHY, echo("POST", LONG), echo("POST", b"hi")),
        asgi=True,
    ),
    Case(
        id="body-long-split-in-pieces",
        rfc="9112 6.3",
        claim="a long body may come in pieces of any size, its last together with the next request",
        steps=(post(LONG)[: -len(LONG) + 1], Quiet(20), LONG[1:-1], Quiet(20), LONG[-1:] + get("/")),
        expect=(echo("POST", LONG), HEALTHY),
        asgi=True,
    ),
    Case(
        id="body-long-behind-slow",
        rfc="9112 9.3.2",
        claim="a long body that comes while another request is answered waits for its turn",
        steps=(get("/score?sleep_ms=200") + post(LONG)[: -len(LONG) + 1], LONG[1:] + get("/")),
        expect=(echo("GET"), echo("POST", LONG), HEALTHY),
        asgi=True,
    ),
    Case(
        id="body-long-late",
        rfc="9110 15.5.9",
        claim="a long body that does not go on is ended by 408, and what comes of it later is no request",
        steps=(post(LONG)[:-200_000], Wait(), get("/")),
        expect=(error(408, connection="close"),),
        after=After.CLOSED,
    ),
    Case(
        id="body-long-cut-off",
        rfc="9112 8",
        claim="a long body that the client ends before its end gets 400",
        steps=(post(LONG)[:-200_000], HalfClose()),
        expect=(error(400, connection="close"),),
        after=After.CLOSED,
    ),
)

CHUNKED = "Transfer-Encoding: chunked"

CODINGS = (
    _coding("coding-and-length", "both framings at once are refused", CHUNKED, "Content-Length: 5"),
    _coding("coding-and-length-before", "in either order", "Content-Length: 5", CHUNKED),
    _coding("coding-and-length-zero", "also with a length of zero", "Content-Length: 0", CHUNKED),
    _coding("coding-twice", "chunked is applied once", "Transfer-Encoding: chunked, chunked"),
    _coding("coding-twice-two-lines", "also over two lines", CHUNKED, CHUNKED, statuses=(400, 501)),
    _coding("coding-chunked-first", "chunked comes last", "Transfer-Encoding: chunked, gzip", statuses=(400, 501)),
    _coding(
        "coding-chunked-identity",
        "`identity` after chunked is no way around that",
        "Transfer-Encoding: chunked, identity",
        statuses=(400, 501),
    ),
    _coding(
        "coding-chunked-then-line",
        "nor is a second line",
        CHUNKED,
        "Transfer-Encoding: identity",
        statuses=(400, 501),
    ),
    _coding(
        "coding-identity",
        "`identity` is no transfer coding",
        "Transfer-Encoding: identity",
        statuses=(400, 501),
    ),
    _coding("coding-unknown", "an unknown coding", "Transfer-Encoding: frobnicate", statuses=(400, 501)),
    _coding(
        "coding-gzip",
        "a coding that is not implemented",
        "Transfer-Encoding: gzip, chunked",
        statuses=(400, 501),
    ),
    _coding("coding-gzip-only", "also without chunked", "Transfer-Encoding: gzip", statuses=(400, 501)),
    _coding(
        "coding-xchunked",
        "a coding that ends like chunked",
        "Transfer-Encoding: xchunked",
        statuses=(400, 501),
    ),
    _coding("coding-chunked-x", "or begins like it", "Transfer-Encoding: chunkedx", statuses=(400, 501)),
    _coding("coding-parameter", "chunked has no parameters", "Transfer-Encoding: chunked;q=1", statuses=(400, 501)),
    _coding("coding-quoted", "nor quotes", 'Transfer-Encoding: "chunked"', statuses=(400, 501)),
    _coding(
        "coding-vertical-tab",
        "nor control characters",
        b"Transfer-Encoding: \x0bchunked",
        statuses=(400, 501),
    ),
    _coding("coding-no-break-space", "nor other spaces", b"Transfer-Encoding: \xa0chunked", statuses=(400, 501)),
    _coding("coding-empty", "an empty Transfer-Encoding", "Transfer-Encoding:", statuses=(400, 501)),
    Case(
        id="coding-on-http10",
        rfc="9112 6.1",
        claim="Transfer-Encoding on 1.0 is faulty framing",
        steps=(lines("POST /score HTTP/1.0", "Host: t", CHUNKED, "Connection: keep-alive") + chunks(b"hello"),),
        expect=(error(400),),
        after=After.CLOSED,
        http_minor=0,
    ),
    Case(
        id="coding-any-case",
        rfc="9112 7",
        claim="codings have no case",
        steps=(lines("POST /score HTTP/1.1", "Host: t", "tRANSFER-eNCODING: cHUNKED") + chunks(b"hello"),),
        expect=(echo("POST", b"hello"),),
        asgi=True,
    ),
    Case(
        id="coding-padded",
        rfc="9112 5.1",
        claim="space around the coding is no part of it",
        steps=(lines("POST /score HTTP/1.1", "Host: t", "Transfer-Encoding:  chunked  ") + chunks(b"hello"),),
        expect=(echo("POST", b"hello"),),
    ),
    Case(
        id="coding-padded-with-tabs",
        rfc="9112 5.1",
        claim="tabs around the coding are no part of it either, or refused, but never misread",
        steps=(lines("POST /score HTTP/1.1", "Host: t", "Transfer-Encoding:\tchunked\t") + chunks(b"hello"),),
        expect=(Expect((200, 400)),),
        after=After.EITHER,
    ),
    Case(
        id="coding-on-get",
        rfc="9112 6.3",
        claim="a GET may be chunked",
        steps=(lines("GET /score HTTP/1.1", "Host: t", CHUNKED) + chunks(b"hello"),),
        expect=(echo("GET", b"hello"),),
        asgi=True,
    ),
    Case(
        id="te-field",
        rfc="9110 10.1.4",
        claim="TE says what the client would take, and asks for nothing",
        steps=(get("/", "TE: trailers, gzip;q=0.5", "Connection: TE"),),
        expect=(HEALTHY,),
        asgi=True,
    ),
    Case(
        id="content-encoding-on-request",
        rfc="9110 8.4",
        claim="Content-Encoding is no framing: the script gets the bytes as they were sent, or 415",
        steps=(post(b"\x1f\x8bnot really", "Content-Encoding: x-unknown"),),
        expect=(Expect((200, 415)),),
        asgi=True,
    ),
)

UNDERSCORES = tuple(
    Case(
        id=f"underscore-{name}",
        rfc="9112 11.2",
        claim=f"{field} is some other field, not {field.replace('_', '-')}",
        steps=(post(b"hello", f"{field}: {value}") + get("/"),),
        expect=(echo("POST", b"hello"), HEALTHY),
    )
    for name, field, value in (("length", "Content_Length", "99"), ("coding", "Transfer_Encoding", "chunked"))
)

CASES = LENGTHS + CODINGS + UNDERSCORES

"""Cases: what attackers send (RFC 9112 section 11, RFC 9110 section 17); more of it is where its subject is."""

from __future__ import annotations

from tests.http.case import (
    HEALTHY,
    NOT_FOUND,
    After,
    Case,
    Expect,
    chunked_head,
    chunks,
    echo,
    error,
    get,
    lines,
    post,
)

SMUGGLED = get("/score?smuggled=1")
CHUNKED = b"Transfer-Encoding: chunked"


def _coding(name: str, claim: str, *fields: bytes) -> Case:
    """Return the case of a disguised Transfer-Encoding beside a Content-Length, which is refused whole."""
    request = lines("POST /score HTTP/1.1", "Host: t", "Content-Length: 5", *fields) + chunks(b"hello") + SMUGGLED
    expect = (error(400, 501, connection="close"),)
    return Case(f"hidden-coding-{name}", "9112 6.1; 11.2", claim, (request,), expect, After.CLOSED)


HIDDEN_CODINGS = (
    _coding("space-before-colon", "a space before the colon hides no coding", b"Transfer-Encoding : chunked"),
    _coding("tab-before-colon", "nor does a tab", b"Transfer-Encoding\t: chunked"),
    _coding("vertical-tab", "nor a vertical tab", b"Transfer-Encoding:\x0bchunked"),
    _coding("form-feed", "nor a form feed", b"Transfer-Encoding:\x0cchunked"),
    _coding("nul-after", "nor a NUL behind it", b"Transfer-Encoding: chunked\x00"),
    _coding("nul-in-name", "or in its name", b"Transfer\x00-Encoding: chunked"),
    _coding("bare-lf-before", "nor a bare LF before it", b"X: a\n" + CHUNKED),
    _coding("bare-cr-before", "nor a bare CR", b"X: a\r" + CHUNKED),
    _coding("bare-lf-after", "nor a bare LF behind it", CHUNKED + b"\nX: a"),
    _coding("folded-name", "nor a folded line", b"X: a", b" " + CHUNKED),
    _coding("folded-value", "nor a folded value", b"Transfer-Encoding:", b" chunked"),
    _coding("quoted", "nor quotes", b'Transfer-Encoding: "chunked"'),
    _coding("list", "nor a list around it", b"Transfer-Encoding: identity, chunked, identity"),
    _coding("comma", "nor a comma before it", b"Transfer-Encoding: ,chunked"),
    _coding("twice", "nor two of them", CHUNKED, b"Transfer-Encoding: x"),
    _coding("high-byte", "nor a byte beyond ASCII", b"Transfer-Encoding: chunked\xff"),
    _coding("no-colon", "nor a line without a colon", b"Transfer-Encoding chunked"),
)


def _chunks(name: str, claim: str, raw: bytes) -> Case:
    """Return the case of chunks that another parser would cut elsewhere; nothing behind them is answered."""
    expect = (error(400, 408, 413, connection="close"),)
    steps = (chunked_head() + raw + SMUGGLED,)
    return Case(f"odd-chunks-{name}", "9112 7.1; 11.2", claim, steps, expect, After.CLOSED)


ODD_CHUNKS = (
    _chunks("size-two-crs", "a size ends with one CR", b"5\r\r\nhello\r\n0\r\n\r\n"),
    _chunks("size-tab", "and not with a tab", b"5\t\r\nhello\r\n0\r\n\r\n"),
    _chunks("data-ends-anyhow", "data ends with CRLF, and not with any two bytes", b"5\r\nhelloXX0\r\n\r\n"),
    _chunks("data-ends-with-lf-cr", "in this order", b"5\r\nhello\n\r0\r\n\r\n"),
    _chunks("last-lf", "the end is no bare LF", b"5\r\nhello\r\n0\r\n\n"),
    _chunks("last-size-lf", "nor is that of the last size", b"5\r\nhello\r\n0\n\r\n"),
    _chunks("last-cr", "nor a bare CR", b"5\r\nhello\r\n0\r\n\r\r\n"),
    _chunks("size-16-digits", "a size does not go round 64 bits", b"ffffffffffffffff\r\nhello\r\n0\r\n\r\n"),
    _chunks("size-wraps", "nor beyond them", b"100000000000000000\r\nhello\r\n0\r\n\r\n"),
    _chunks("size-nul", "a size has no NUL", b"5\x00\r\nhello\r\n0\r\n\r\n"),
    _chunks("size-high-digit", "nor digits beyond ASCII", b"\xb2\r\nhe\r\n0\r\n\r\n"),
    _chunks("extension-quoted-crlf", "a quoted extension does not span lines", b'5;a="\r\nhello\r\n0\r\n\r\n'),
    _chunks("extension-nul", "an extension has no NUL", b"5;a\x00\r\nhello\r\n0\r\n\r\n"),
    _chunks("trailer-space-before-colon", "a trailer is no way round", b"0\r\nX : 1\r\n\r\n"),
    _chunks("trailer-folded", "nor folded", b"0\r\nX: 1\r\n  2\r\n\r\n"),
    _chunks("trailer-bare-lf", "nor ended by LF", b"0\r\nX: 1\n\r\n"),
    _chunks("trailer-nul", "nor with a NUL", b"0\r\nX: a\x00b\r\n\r\n"),
)

BODIES = (
    Case(
        id="body-like-a-request",
        rfc="9112 11.2",
        claim="a body that reads like a request is a body",
        steps=(post(SMUGGLED) + get("/"),),
        expect=(echo("POST", SMUGGLED), HEALTHY),
        asgi=True,
    ),
    Case(
        id="body-of-get-like-a-request",
        rfc="9110 9.3.1; 9112 11.2",
        claim="also that of a GET",
        steps=(lines("GET /score HTTP/1.1", "Host: t", f"Content-Length: {len(SMUGGLED)}") + SMUGGLED + get("/"),),
        expect=(echo("GET", SMUGGLED), HEALTHY),
        asgi=True,
    ),
    Case(
        id="body-of-404-like-a-request",
        rfc="9112 11.2",
        claim="and that of a request that finds nothing",
        steps=(post(SMUGGLED, target="/nowhere") + get("/"),),
        expect=(NOT_FOUND, HEALTHY),
        asgi=True,
    ),
    Case(
        id="body-of-head-like-a-request",
        rfc="9110 9.3.2; 9112 11.2",
        claim="and that of a HEAD",
        steps=(lines("HEAD / HTTP/1.1", "Host: t", f"Content-Length: {len(SMUGGLED)}") + SMUGGLED + get("/"),),
        expect=(Expect(200, head=True), HEALTHY),
        asgi=True,
    ),
    Case(
        id="behind-the-last-on-http10",
        rfc="9112 9.3; 9.6",
        claim="nothing behind a request that closes is taken, also where it asks for both and is of 1.0",
        steps=(lines("GET / HTTP/1.0", "Connection: keep-alive, close") + SMUGGLED + post(b"hello"),),
        expect=(Expect(200, body=b"Healthy"),),
        after=After.CLOSED,
        http_minor=0,
    ),
    Case(
        id="compressed-body-of-raw-script",
        rfc="9110 8.4",
        claim="a script that takes the HTTP request gets a compressed body as it was sent",
        steps=(post(b"\x1f\x8b\x08\x00", "Content-Encoding: gzip"),),
        expect=(echo("POST", b"\x1f\x8b\x08\x00"),),
        asgi=True,
    ),
)


def _id(name: str, claim: str, value: bytes, header: str = "x-request-id") -> Case:
    """Return the case of an id that is refused with a new id; what is no field value at all ends the connection."""
    request = get("/score", header.encode() + b": " + value)
    if any((byte < 0x20 and byte != 0x09) or byte == 0x7F for byte in value):
        return Case(f"id-{name}", "9110 5.5; 17", claim, (request,), (error(400, connection="close"),), After.CLOSED)
    return Case(f"id-{name}", "9110 5.5; 17", claim, (request + get("/"),), (error(400), HEALTHY))


IDS = (
    _id("control", "an id has no control character", b"a\x01b"),
    _id("escape", "nor a terminal's escape sequence", b"\x1b[2J\x1b[31mred"),
    _id("csi", "also the one of one byte", b"\x9b31mred"),
    _id("tab", "nor a tab", b"a\tb"),
    _id("delete", "nor DEL", b"a\x7f"),
    _id("client", "the same of the caller's own id", b"a\x9bb", "x-ms-client-request-id"),
    _id("legacy", "and of the one that is deprecated", b"a\x9bb", "x-ms-request-id"),
    Case(
        id="id-on-404",
        rfc="9110 5.5",
        claim="where nothing is found, an id that is not valid is replaced",
        steps=(get("/nowhere", b"x-request-id: a\x9bb"),),
        expect=(NOT_FOUND,),
    ),
    Case(
        id="id-of-trace",
        rfc="9110 5.5",
        claim="an id of a trace that is not valid does not come back",
        steps=(get("/", b"TraceId: a\x9bb"),),
        expect=(Expect(200, without=("traceid",)),),
    ),
)


def _nowhere(name: str, target: str | bytes) -> Case:
    """Return the case of a target that is not that of the script, however it is read elsewhere."""
    line = b"GET " + (target.encode("latin-1") if isinstance(target, str) else target) + b" HTTP/1.1"
    return Case(
        f"path-{name}",
        "9110 4.2.3; 3986 6.2",
        "a path is compared as it is, once decoded: no dots, slashes or parameters are taken out of it",
        (lines(line, "Host: t"),),
        (error(400, 404),),
        After.EITHER,
    )


PATHS = (
    _nowhere("dots", "/a/../score"),
    _nowhere("dots-first", "/../score"),
    _nowhere("dot", "/./score"),
    _nowhere("dots-escaped", "/a/%2e%2e/score"),
    _nowhere("dots-escaped-first", "/%2e%2e/%2e%2e/etc/passwd"),
    _nowhere("dots-escaped-slash", "/..%2fscore"),
    _nowhere("dots-escaped-twice", "/%252e%252e/score"),
    _nowhere("slash-escaped", "/%2fscore"),
    _nowhere("slash-inside", "/score//"),
    _nowhere("slash-after", "/score/"),
    _nowhere("backslash", "/\\score"),
    _nowhere("backslash-escaped", "/%5cscore"),
    _nowhere("backslash-for-slash", "\\score"),
    _nowhere("backslash-dots", "/..\\score"),
    _nowhere("parameter", "/score;a=1"),
    _nowhere("nul-then-extension", "/score%00.json"),
    _nowhere("line-end", "/score%0d%0aX-Injected:%201"),
    _nowhere("overlong-utf8", "/%c0%ae%c0%ae/score"),
    _nowhere("full-width", "/%ef%bd%93core"),
    _nowhere("other-scheme", "file:///score"),
    _nowhere("script-scheme", "javascript:/score"),
    _nowhere("two-authorities", "//t//score"),
)

CASES = HIDDEN_CODINGS + ODD_CHUNKS + BODIES + IDS + PATHS

"""Cases: the request line (RFC 9112 sections 2 and 3, RFC 9110 sections 2.5 and 9)."""

from __future__ import annotations

from tests.http.case import (
    HEALTHY,
    NOT_ALLOWED,
    NOT_FOUND,
    After,
    Case,
    Expect,
    HalfClose,
    echo,
    error,
    get,
    lines,
    post,
)


def _refused(name: str, rfc: str, claim: str, request: str | bytes, *statuses: int) -> Case:
    """Return the case of a request line that is refused, with 400 if no status is given."""
    return Case(name, rfc, claim, (lines(request, "Host: t"),), (error(*(statuses or (400,))),), After.CLOSED)


def _unknown(name: str, claim: str, request: str) -> Case:
    """Return the case of a method that is not known; the connection may go on."""
    return Case(name, "9110 9.1", claim, (lines(request, "Host: t"),), (error(400, 405, 501),), After.EITHER)


MALFORMED = (
    _refused("line-space-in-target", "9112 3", "a target has no space", "GET /a b HTTP/1.1"),
    _refused("line-leading-space", "9112 3", "a request line starts with its method", " GET / HTTP/1.1"),
    _refused("line-no-target", "9112 3", "a request line has a target", "GET HTTP/1.1"),
    _refused("line-empty-target", "9112 3", "the target is not empty", "GET  HTTP/1.1"),
    _refused("line-no-method", "9112 3", "a request line has a method", "/ HTTP/1.1"),
    _refused("line-tab", "9112 3", "one space, not a tab, divides the parts", "GET\t/\tHTTP/1.1"),
    _refused("line-trailing-word", "9112 3", "nothing follows the version", "GET / HTTP/1.1 extra"),
    _refused("line-only-word", "9112 3", "one word is no request line", "HELLO"),
    _refused("line-relative-target", "9112 3.2.1", "a path starts with a slash", "GET score HTTP/1.1"),
    _refused("line-control-in-target", "9112 3.2", "a target has no control character", "GET /\x01 HTTP/1.1"),
    _refused("line-delete-in-target", "9112 3.2", "nor DEL", "GET /a\x7f HTTP/1.1"),
    _refused("line-nul-in-target", "9112 3.2", "nor NUL", "GET /a\x00b HTTP/1.1"),
    _refused("line-bare-cr", "9112 2.2", "a bare CR does not end the line", b"GET / HTTP/1.1\rX: y"),
    _refused("line-bare-lf", "9112 2.2", "a bare LF does not end the line", b"GET / HTTP/1.1\nX: y"),
    _refused("line-nul", "9112 2.2", "NUL bytes are no request", b"\x00\x00\x00\x00"),
    _refused("line-tls-hello", "9112 3", "a TLS hello on the plain port", b"\x16\x03\x01\x02\x00\x01\x00"),
    _refused("method-not-a-token", "9110 9.1", "a method is a token", "GE(T) / HTTP/1.1"),
    _unknown("method-unknown", "an unknown method", "BREW /score HTTP/1.1"),
    _unknown("method-prefix", "a method that only begins like one", "GETX / HTTP/1.1"),
    _unknown("method-lower-case", "methods have case", "get / HTTP/1.1"),
    _refused("version-0.9", "9110 2.5", "HTTP/0.9 by name", "GET / HTTP/0.9", 400, 505),
    _refused("version-2.0", "9110 2.5", "HTTP/2.0 is not a version of this syntax", "GET / HTTP/2.0", 400, 505),
    _refused("version-3.0", "9110 2.5", "nor HTTP/3.0", "GET / HTTP/3.0", 400, 505),
    _refused("version-lower-case", "9112 2.3", "the name of HTTP has case", "GET / http/1.1"),
    _refused("version-no-minor", "9112 2.3", "a version has two digits", "GET / HTTP/1"),
    _refused("version-two-digit-minor", "9112 2.3", "each of one digit", "GET / HTTP/1.10"),
    _refused("version-two-digit-major", "9112 2.3", "on both sides", "GET / HTTP/11.1"),
    _refused("version-comma", "9112 2.3", "divided by a dot", "GET / HTTP/1,1"),
    _refused("version-other-name", "9112 2.3", "another protocol's name", "GET / HTTPS/1.1"),
    _refused("version-rtsp-method", "9112 2.3", "a method of RTSP", "SETUP / RTSP/1.0", 400, 405, 501, 505),
    _refused("version-icecast", "9112 2.3", "a version of Icecast", "SOURCE / ICE/1.0", 400, 405, 501, 505),
)

VERSIONS = (
    Case(
        id="version-none",
        rfc="9112 2.3; 3",
        claim="a request line without a version (HTTP/0.9) is refused",
        steps=(b"GET /\r\n\r\n",),
        expect=(error(400, 505, connection="close"),),
        after=After.CLOSED,
    ),
    Case(
        id="version-1.2",
        rfc="9110 2.5",
        claim="a higher minor version is served as 1.1, or refused",
        steps=(lines("GET / HTTP/1.2", "Host: t"),),
        expect=(Expect((200, 400, 505)),),
        after=After.EITHER,
    ),
    Case(
        id="version-http2-preface",
        rfc="9110 2.5; 9113 3.4",
        claim="the preface of HTTP/2 gets an HTTP/1.1 error",
        steps=(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",),
        expect=(error(400, 405, 505, connection="close"),),
        after=After.CLOSED,
    ),
    Case(
        id="empty-line-before-request",
        rfc="9112 2.2",
        claim="an empty line before the request line is ignored",
        steps=(b"\r\n" + get("/"),),
        expect=(HEALTHY,),
        asgi=True,
    ),
    Case(
        id="empty-lines-before-request",
        rfc="9112 2.2",
        claim="so are a few, also in a piece of their own",
        steps=(b"\r\n", b"\r\n\r\n" + get("/")),
        expect=(HEALTHY,),
        asgi=True,
    ),
)

TARGETS = (
    Case(
        id="target-query",
        rfc="9112 3.2.1",
        claim="path and query arrive as they were sent",
        steps=(get("/score?a=1&b=%20x+y&c=%2F?&&"),),
        expect=(echo("GET", path="/score", query="a=1&b=%20x+y&c=%2F?&&"),),
        asgi=True,
    ),
    Case(
        id="target-empty-query",
        rfc="9112 3.2.1",
        claim="an empty query is allowed",
        steps=(get("/score?"),),
        expect=(echo("GET", path="/score", query=""),),
        asgi=True,
    ),
    Case(
        id="target-percent-encoded",
        rfc="9112 3.2; 9110 4.2.3",
        claim="an encoded letter is the letter",
        steps=(get("/%73c%6Fre?x=%41"),),
        expect=(echo("GET", path="/score", query="x=%41"),),
        asgi=True,
    ),
    Case(
        id="target-encoded-question-mark",
        rfc="9110 4.2.3",
        claim="an encoded question mark is part of the path",
        steps=(get("/score%3Fa=1"),),
        expect=(NOT_FOUND,),
        asgi=True,
    ),
    Case(
        id="target-encoded-nul",
        rfc="9110 4.2.3",
        claim="an encoded NUL is a path that does not exist",
        steps=(get("/score%00"),),
        expect=(error(400, 404),),
        after=After.EITHER,
        asgi=True,
    ),
    Case(
        id="target-bad-percent",
        rfc="9110 4.2.3",
        claim="a percent sign without two digits finds nothing",
        steps=(get("/sc%zz%"),),
        expect=(error(400, 404),),
        after=After.EITHER,
        asgi=True,
    ),
    Case(
        id="target-encoded-utf8",
        rfc="9110 4.2.3",
        claim="encoded bytes that are not UTF-8 find nothing",
        steps=(get("/%ff%fe/%C3%A9"),),
        expect=(error(400, 404),),
        after=After.EITHER,
        asgi=True,
    ),
    Case(
        id="target-raw-bytes",
        rfc="9112 3.2",
        claim="bytes outside ASCII have no place in a target",
        steps=(lines(b"GET /\xc3\xa9\xff HTTP/1.1", "Host: t"),),
        expect=(error(400, 404),),
        after=After.EITHER,
    ),
    Case(
        id="target-fragment",
        rfc="9112 3.2.1",
        claim="a target has no fragment: refused, not found, or not part of the path",
        steps=(get("/score#part"),),
        expect=(Expect((200, 400, 404)),),
        after=After.EITHER,
    ),
    Case(
        id="target-case",
        rfc="9110 4.2.3",
        claim="paths have case",
        steps=(get("/Score"),),
        expect=(NOT_FOUND,),
        asgi=True,
    ),
    Case(
        id="target-absolute",
        rfc="9112 3.2.2",
        claim="a server accepts the absolute form",
        steps=(lines("GET http://t/score?a=1 HTTP/1.1", "Host: t"),),
        expect=(echo("GET", path="/score", query="a=1"),),
    ),
    Case(
        id="target-absolute-no-path",
        rfc="9112 3.2.1; 3.2.2",
        claim="an absolute form without a path means `/`",
        steps=(lines("GET http://t HTTP/1.1", "Host: t"),),
        expect=(HEALTHY,),
    ),
    Case(
        id="target-absolute-query-only",
        rfc="9112 3.2.2",
        claim="also before a query",
        steps=(lines("GET http://t:80?x=/score HTTP/1.1", "Host: t:80"),),
        expect=(Expect((200, 400)),),
        after=After.EITHER,
    ),
    Case(
        id="target-absolute-upper-case",
        rfc="9110 4.2.3",
        claim="a scheme has no case",
        steps=(lines("GET HTTP://T:80/score HTTP/1.1", "Host: t:80"),),
        expect=(echo("GET", path="/score"),),
    ),
    Case(
        id="target-absolute-other-host",
        rfc="9112 3.2.2",
        claim="the Host field beside an absolute form is ignored",
        steps=(lines("GET http://one.test/score HTTP/1.1", "Host: two.test"),),
        expect=(echo("GET", path="/score"),),
    ),
    Case(
        id="target-absolute-post",
        rfc="9112 3.2.2",
        claim="the absolute form carries a body as well",
        steps=(lines("POST https://t/score HTTP/1.1", "Host: t", "Content-Length: 2") + b"ab",),
        expect=(echo("POST", b"ab", path="/score"),),
    ),
    Case(
        id="target-asterisk-options",
        rfc="9112 3.2.4; 9110 9.3.7",
        claim="`OPTIONS *` asks about the server, and never reaches the script",
        steps=(lines("OPTIONS * HTTP/1.1", "Host: t"),),
        expect=(Expect((200, 204, 400, 404, 405)),),
        after=After.EITHER,
    ),
    Case(
        id="target-asterisk-get",
        rfc="9112 3.2.4",
        claim="the asterisk is for OPTIONS only",
        steps=(lines("GET * HTTP/1.1", "Host: t"),),
        expect=(error(400, 404),),
        after=After.EITHER,
    ),
    Case(
        id="target-authority-connect",
        rfc="9112 3.2.3; 9110 9.3.6",
        claim="CONNECT is refused, and no tunnel begins: the connection ends or serves on",
        steps=(lines("CONNECT t:443 HTTP/1.1", "Host: t:443"),),
        expect=(error(400, 404, 405, 501),),
        after=After.EITHER,
    ),
    Case(
        id="target-connect-then-request",
        rfc="9110 9.3.6",
        claim="what follows a refused CONNECT is not taken for tunnel data that waits for ever",
        steps=(lines("CONNECT t:443 HTTP/1.1", "Host: t:443") + b"\x16\x03\x01\x00\x00", HalfClose()),
        expect=(error(400, 404, 405, 501), error(400)),
        after=After.ENDED,
        may_be_silent=True,
    ),
    Case(
        id="target-connect-with-body",
        rfc="9110 9.3.6; 9112 11.2",
        claim="what a CONNECT announces as its body is never taken for a request",
        steps=(
            lines("CONNECT t:443 HTTP/1.1", "Host: t:443", f"Content-Length: {len(get('/score'))}") + get("/score"),
        ),
        expect=(error(400, 404, 405, 501),),
        after=After.EITHER,
    ),
    Case(
        id="target-connect-path",
        rfc="9112 3.2.3",
        claim="CONNECT to a path is refused",
        steps=(lines("CONNECT /score HTTP/1.1", "Host: t"),),
        expect=(error(400, 405, 501),),
        after=After.EITHER,
    ),
    Case(
        id="target-authority-get",
        rfc="9112 3.2.3",
        claim="the authority form is for CONNECT only",
        steps=(lines("GET t:443 HTTP/1.1", "Host: t:443"),),
        expect=(error(400, 404),),
        after=After.EITHER,
    ),
)

NOT_ALLOWED_METHODS = tuple(
    Case(
        id=f"method-{method.lower()}",
        rfc="9110 9.1; 15.5.6",
        claim=f"{method} is known and not allowed on /score: 405 with Allow",
        steps=(lines(f"{method} /score HTTP/1.1", "Host: t", "Content-Length: 0"),),
        expect=(NOT_ALLOWED,),
        asgi=True,
    )
    for method in ("PUT", "DELETE", "PATCH", "TRACE", "PROPFIND", "PURGE")
)

METHODS = (
    Case(
        id="method-post-on-health",
        rfc="9110 15.5.6",
        claim="POST is not allowed on /",
        steps=(post(b"{}", target="/"),),
        expect=(NOT_ALLOWED,),
        asgi=True,
    ),
    Case(
        id="method-options",
        rfc="9110 9.3.7",
        claim="OPTIONS reaches a raw script",
        steps=(lines("OPTIONS /score HTTP/1.1", "Host: t"),),
        expect=(echo("OPTIONS"),),
        asgi=True,
    ),
    Case(
        id="method-get-with-body",
        rfc="9110 9.3.1; 9112 6.3",
        claim="the body of a GET is framed like any other",
        steps=(lines("GET /score HTTP/1.1", "Host: t", "Content-Length: 5") + b"hello",),
        expect=(echo("GET", b"hello"),),
        asgi=True,
    ),
    Case(
        id="method-get-health-with-body",
        rfc="9110 9.3.1; 9112 9.3",
        claim="the body of a health probe is read away",
        steps=(lines("GET / HTTP/1.1", "Host: t", "Content-Length: 5") + b"GET /",),
        expect=(HEALTHY,),
        asgi=True,
    ),
    Case(
        id="method-delete-with-body",
        rfc="9112 6.3; 9.3",
        claim="the body of a method that is not allowed is read away",
        steps=(lines("DELETE /score HTTP/1.1", "Host: t", "Content-Length: 5") + b"hello",),
        expect=(NOT_ALLOWED,),
        asgi=True,
    ),
)

CASES = MALFORMED + VERSIONS + TARGETS + NOT_ALLOWED_METHODS + METHODS

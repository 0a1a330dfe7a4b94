"""Cases: answers to HEAD, streams, statuses without a body (RFC 9112 section 6, RFC 9110 section 9.3.2)."""

from __future__ import annotations

from tests.http.case import (
    HEALTHY,
    After,
    Answers,
    Case,
    Expect,
    chunked_head,
    chunks,
    echo,
    filler,
    get,
    lines,
    post,
)

STREAM_BODY = b"piece-0;piece-1;piece-2;piece-3;piece-4;"
STREAM = Expect(200, body=STREAM_BODY, framing="chunked", headers={"transfer-encoding": "chunked"})


def head(target: str, *fields: str) -> bytes:
    """Return a HEAD request of HTTP/1.1."""
    return lines(f"HEAD {target} HTTP/1.1", "Host: t", *fields)


HEADS = (
    Case(
        id="head-health",
        rfc="9110 9.3.2",
        claim="HEAD has the fields of GET, Content-Length too, and no body",
        steps=(head("/"),),
        expect=(Expect(200, head=True, headers={"content-length": "7"}),),
        asgi=True,
    ),
    Case(
        id="head-script",
        rfc="9110 9.3.2",
        claim="HEAD of what a script returns tells its length",
        steps=(head("/score?size=1000") + get("/score?size=1000"),),
        expect=(Expect(200, head=True, headers={"content-length": "1000"}), Expect(200, body=filler(1000))),
        asgi=True,
    ),
    Case(
        id="head-not-found",
        rfc="9110 9.3.2",
        claim="an error for HEAD has no body either",
        steps=(head("/nowhere") + get("/"),),
        expect=(Expect(404, head=True, headers={"content-type": "application/json"}), HEALTHY),
        asgi=True,
    ),
    Case(
        id="head-stream",
        rfc="9112 6.1; 9110 9.3.2",
        claim="HEAD of a stream sends no chunk, not even the last",
        steps=(head("/score?stream=1") + get("/"),),
        expect=(Expect(200, head=True, without=("content-length",)), HEALTHY),
        asgi=True,
    ),
    Case(
        id="head-then-get",
        rfc="9112 6.3",
        claim="answers to HEAD and GET do not run into each other",
        steps=((head("/") + get("/")) * 3,),
        expect=(Expect(200, head=True), HEALTHY) * 3,
        asgi=True,
    ),
    Case(
        id="head-with-body",
        rfc="9112 6.3",
        claim="the body of a HEAD request is read away",
        steps=(head("/", "Content-Length: 5") + b"hello" + get("/"),),
        expect=(Expect(200, head=True, headers={"content-length": "7"}), HEALTHY),
        asgi=True,
    ),
    Case(
        id="head-close",
        rfc="9112 9.6",
        claim="HEAD that closes sends nothing but the header block",
        steps=(head("/", "Connection: close"),),
        expect=(Expect(200, head=True, headers={"content-length": "7"}),),
        after=After.CLOSED,
        asgi=True,
    ),
    Case(
        id="head-http10",
        rfc="9110 9.3.2",
        claim="HEAD of 1.0",
        steps=(lines("HEAD /score?stream=1 HTTP/1.0"),),
        expect=(Expect(200, head=True, without=("transfer-encoding", "content-length")),),
        after=After.CLOSED,
        http_minor=0,
    ),
    Case(
        id="head-malformed",
        rfc="9110 9.3.2; 9112 9.6",
        claim="a HEAD request that is refused (no Host) gets a header block, and the connection ends",
        steps=(lines("HEAD / HTTP/1.1"),),
        expect=(Expect(400, head=True),),
        after=After.CLOSED,
    ),
)

STREAMS = (
    Case(
        id="stream-chunked",
        rfc="9112 7.1",
        claim="a stream to a 1.1 client is chunked, and the connection goes on",
        steps=(get("/score?stream=1"), Answers(), post(b"x")),
        expect=(STREAM, echo("POST", b"x")),
        asgi=True,
    ),
    Case(
        id="stream-empty",
        rfc="9112 7.1",
        claim="a stream of nothing is a last chunk",
        steps=(get("/score?stream=empty") + get("/"),),
        expect=(Expect(200, body=b""), HEALTHY),
        asgi=True,
    ),
    Case(
        id="stream-close",
        rfc="9112 9.6",
        claim="a stream to a 1.1 client that closes is still chunked",
        steps=(get("/score?stream=1", "Connection: close"),),
        expect=(STREAM,),
        after=After.CLOSED,
    ),
    Case(
        id="stream-http10",
        rfc="9112 6.3; 6.1",
        claim="a stream to a 1.0 client ends with the connection",
        steps=(lines("GET /score?stream=1 HTTP/1.0"),),
        expect=(Expect(200, body=STREAM_BODY, framing="close"),),
        after=After.CLOSED,
        http_minor=0,
    ),
    Case(
        id="stream-http10-keep-alive",
        rfc="9112 6.3; 9.3",
        claim="also if the client asked to keep it",
        steps=(lines("GET /score?stream=1 HTTP/1.0", "Connection: keep-alive"),),
        expect=(Expect(200, body=STREAM_BODY, framing="close"),),
        after=After.CLOSED,
        http_minor=0,
    ),
    Case(
        id="stream-of-chunked-request",
        rfc="9112 7.1",
        claim="chunked both ways",
        steps=(chunked_head(target="/score?stream=1") + chunks(b"a", b"b") + get("/"),),
        expect=(STREAM, HEALTHY),
        asgi=True,
    ),
    Case(
        id="stream-fails",
        rfc="9112 8",
        claim="a stream that fails is broken off without its last chunk, so that the client can tell",
        steps=(get("/score?stream=fail"),),
        expect=(Expect(200, framing="chunked", complete=False),),
        after=After.ENDED,
        asgi=True,
    ),
    Case(
        id="stream-fails-in-pipeline",
        rfc="9112 8; 9.3.2",
        claim="and nothing behind it is answered",
        steps=(get("/score?stream=fail") + get("/"),),
        expect=(Expect(200, framing="chunked", complete=False),),
        after=After.ENDED,
    ),
)

STATUSES = (
    Case(
        id="status-204",
        rfc="9110 15.3.5; 8.6",
        claim="204 has no body, no Content-Length and no Transfer-Encoding",
        steps=(get("/score?status=204") + get("/"),),
        expect=(Expect(204, framing="none", without=("content-length", "transfer-encoding")), HEALTHY),
    ),
    Case(
        id="status-304",
        rfc="9110 15.4.5",
        claim="304 has no body",
        steps=(get("/score?status=304") + get("/"),),
        expect=(Expect(304, framing="none"), HEALTHY),
    ),
    Case(
        id="status-205",
        rfc="9110 15.3.6",
        claim="205 is followed by the next answer, whatever the script put into it",
        steps=(get("/score?status=205") + get("/"),),
        expect=(Expect(205), HEALTHY),
    ),
    Case(
        id="status-299",
        rfc="9110 15",
        claim="a status that is not registered goes through",
        steps=(get("/score?status=299") + get("/"),),
        expect=(Expect(299, body=b"a body that some statuses do not have"), HEALTHY),
        asgi=True,
    ),
    Case(
        id="answer-empty",
        rfc="9110 8.6",
        claim="an empty answer says that its length is zero",
        steps=(get("/score?size=0") + get("/"),),
        expect=(Expect(200, body=b"", framing="length", headers={"content-length": "0"}), HEALTHY),
        asgi=True,
    ),
    Case(
        id="answer-large-slow-reader",
        rfc="9112 9.5",
        claim="a large answer arrives whole at a client with a small window",
        steps=(get("/score?size=4000000"),),
        expect=(Expect(200, body=filler(4_000_000), framing="length"),),
        narrow=True,
        asgi=True,
    ),
)

CASES = HEADS + STREAMS + STATUSES

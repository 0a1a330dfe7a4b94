"""Cases: 100-continue and Upgrade (RFC 9110 sections 10.1.1 and 7.8)."""

from __future__ import annotations

from tests.http.case import (
    CONTINUE,
    HEALTHY,
    MAX_BODY_BYTES,
    TOO_LARGE,
    After,
    Answers,
    Case,
    Expect,
    Quiet,
    Wait,
    chunked_head,
    chunks,
    echo,
    error,
    get,
    lines,
    post,
)

EXPECT_100 = "Expect: 100-continue"

CONTINUES = (
    Case(
        id="continue-then-body",
        rfc="9110 10.1.1",
        claim="100 comes before the body, the final answer after it",
        steps=(post(b"hello", EXPECT_100)[:-5], Answers(), Quiet(50), b"hello"),
        expect=(CONTINUE, echo("POST", b"hello")),
        asgi=True,
    ),
    Case(
        id="continue-any-case",
        rfc="9110 10.1.1",
        claim="the expectation has no case",
        steps=(post(b"hello", "eXPECT: 100-Continue")[:-5], Answers(), b"hello"),
        expect=(CONTINUE, echo("POST", b"hello")),
        asgi=True,
    ),
    Case(
        id="continue-chunked",
        rfc="9110 10.1.1",
        claim="100 invites a chunked body as well",
        steps=(chunked_head(EXPECT_100), Answers(), chunks(b"he", b"llo")),
        expect=(CONTINUE, echo("POST", b"hello")),
        asgi=True,
    ),
    Case(
        id="continue-body-sent-anyway",
        rfc="9110 10.1.1",
        claim="a client that does not wait gets its answer, with or without a 100",
        steps=(post(b"hello", EXPECT_100),),
        expect=(echo("POST", b"hello"),),
        extra_interim=True,
        asgi=True,
    ),
    Case(
        id="continue-once",
        rfc="9110 10.1.1",
        claim="there is one 100, however many pieces the body has",
        steps=(post(b"hello", EXPECT_100)[:-5], Answers(), b"he", Quiet(30), b"ll", Quiet(30), b"o"),
        expect=(CONTINUE, echo("POST", b"hello")),
        asgi=True,
    ),
    Case(
        id="continue-twice-on-connection",
        rfc="9110 10.1.1",
        claim="each request that expects it gets its own 100",
        steps=(
            *(post(b"one", EXPECT_100)[:-3], Answers(), b"one", Answers()),
            *(post(b"two", EXPECT_100)[:-3], Answers(), b"two"),
        ),
        expect=(CONTINUE, echo("POST", b"one"), CONTINUE, echo("POST", b"two")),
        asgi=True,
    ),
    Case(
        id="continue-pipelined-behind-slow",
        rfc="9110 10.1.1; 9112 9.3.2",
        claim="the 100 of a pipelined request comes after the answer before it",
        steps=(get("/score?sleep_ms=200") + post(b"hello", EXPECT_100)[:-5], Answers(2), b"hello"),
        expect=(echo("GET"), CONTINUE, echo("POST", b"hello")),
    ),
    Case(
        id="continue-without-body",
        rfc="9110 10.1.1",
        claim="a request without a body is answered, for there is nothing to wait for",
        steps=(get("/", EXPECT_100), Answers(), post(b"", EXPECT_100)),
        expect=(HEALTHY, echo("POST")),
        extra_interim=True,
    ),
    Case(
        id="continue-on-http10",
        rfc="9110 10.1.1",
        claim="a 1.0 client gets no 100",
        steps=(lines("POST /score HTTP/1.0", "Content-Length: 5", EXPECT_100), Quiet(150), b"hello"),
        expect=(echo("POST", b"hello"),),
        after=After.CLOSED,
        http_minor=0,
    ),
    Case(
        id="continue-refused-for-size",
        rfc="9110 10.1.1; 15.5.14",
        claim="a body that is declared too large gets 413 instead of 100",
        steps=(lines("POST /score HTTP/1.1", "Host: t", f"Content-Length: {MAX_BODY_BYTES + 1}", EXPECT_100),),
        expect=(TOO_LARGE,),
        after=After.CLOSED,
    ),
    Case(
        id="expectation-unknown",
        rfc="9110 15.5.18",
        claim="an expectation that is not known gets 417",
        steps=(post(b"hello", "Expect: 200-maybe"),),
        expect=(error(417),),
        after=After.EITHER,
    ),
    Case(
        id="expectation-unknown-beside-known",
        rfc="9110 10.1.1",
        claim="also beside one that is known",
        steps=(post(b"hello", "Expect: 100-continue, 200-maybe"),),
        expect=(error(417),),
        after=After.EITHER,
        extra_interim=True,
    ),
    Case(
        id="expectation-unknown-waits",
        rfc="9110 10.1.1",
        claim="417 comes without the body",
        steps=(post(b"hello", "Expect: 200-maybe")[:-5], Wait()),
        expect=(error(417),),
        after=After.CLOSED,
    ),
)

UPGRADES = (
    Case(
        id="upgrade-websocket",
        rfc="9110 7.8",
        claim="an upgrade to WebSocket is ignored, and the connection goes on in HTTP/1.1",
        steps=(get("/score", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13") + get("/"),),
        expect=(echo("GET"), HEALTHY),
    ),
    Case(
        id="upgrade-h2c",
        rfc="9110 7.8",
        claim="so is one to h2c",
        steps=(
            get("/", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk") + get("/score"),
        ),
        expect=(HEALTHY, echo("GET")),
    ),
    Case(
        id="upgrade-with-body",
        rfc="9110 7.8",
        claim="the body of a request that offers an upgrade is its body",
        steps=(post(b"hello", "Connection: Upgrade", "Upgrade: h2c") + post(b"again"),),
        expect=(echo("POST", b"hello"), echo("POST", b"again")),
    ),
    Case(
        id="upgrade-body-that-looks-like-a-request",
        rfc="9110 7.8; 9112 11.2",
        claim="that body is never taken for a request",
        steps=(post(get("/nowhere"), "Connection: Upgrade", "Upgrade: websocket") + get("/"),),
        expect=(echo("POST", get("/nowhere")), HEALTHY),
    ),
    Case(
        id="upgrade-chunked",
        rfc="9110 7.8",
        claim="also a chunked one",
        steps=(
            lines(
                *("POST /score HTTP/1.1", "Host: t", "Connection: upgrade", "Upgrade: foo/2"),
                "Transfer-Encoding: chunked",
            )
            + b"3\r\nabc\r\n0\r\n\r\n"
            + get("/"),
        ),
        expect=(echo("POST", b"abc"), HEALTHY),
    ),
    Case(
        id="upgrade-unannounced",
        rfc="9110 7.8",
        claim="an Upgrade field that Connection does not name means nothing",
        steps=(get("/", "Upgrade: websocket"),),
        expect=(HEALTHY,),
        asgi=True,
    ),
    Case(
        id="upgrade-and-close",
        rfc="9110 7.8; 9112 9.6",
        claim="`close` beside an upgrade closes",
        steps=(get("/", "Connection: Upgrade, close", "Upgrade: websocket"),),
        expect=(Expect(200, body=b"Healthy"),),
        after=After.CLOSED,
    ),
)

CASES = CONTINUES + UPGRADES

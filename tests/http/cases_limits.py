"""Cases: limits on bodies and header blocks, slow clients, timeouts (RFC 9110 section 15.5, RFC 6585)."""

from __future__ import annotations

from tests.http.case import (
    BODY_TIMEOUT_MS,
    HEADER_TIMEOUT_MS,
    HEALTHY,
    KEEP_ALIVE_TIMEOUT_MS,
    MAX_BODY_BYTES,
    MAX_HEADER_BYTES,
    REQUEST_TIMEOUT_MS,
    TIMED_OUT,
    TOO_LARGE,
    After,
    Answers,
    Case,
    Quiet,
    Step,
    Trickle,
    Unread,
    chunked_head,
    chunks,
    echo,
    error,
    filler,
    get,
    lines,
    post,
)

FULL = filler(MAX_BODY_BYTES)
# Clocks that are not the same one.
SLACK_MS = 100
HEADERS_TOO_LARGE = error(431, connection="close")
TARGET_TOO_LONG = error(414, 431, connection="close")


def _declared(size: int, *fields: str) -> bytes:
    return lines("POST /score HTTP/1.1", "Host: t", f"Content-Length: {size}", *fields)


def _slow(*pieces: bytes, ms: int) -> tuple[Step, ...]:
    """Return steps that send the pieces with a pause after each but the last."""
    steps: list[Step] = []
    for piece in pieces[:-1]:
        steps += [piece, Quiet(ms)]
    return (*steps, pieces[-1])


BODIES = (
    Case(
        id="body-at-limit",
        rfc="9110 15.5.14",
        claim="a body of exactly the limit (1 MB) is taken",
        steps=(post(FULL), Answers(), get("/")),
        expect=(echo("POST", FULL), HEALTHY),
        asgi=True,
    ),
    Case(
        id="body-at-limit-chunked",
        rfc="9110 15.5.14",
        claim="also chunked: the limit counts data, not framing",
        steps=(chunked_head() + chunks(*(FULL[at : at + 4096] for at in range(0, MAX_BODY_BYTES, 4096))),),
        expect=(echo("POST", FULL),),
        asgi=True,
    ),
    Case(
        id="body-over-limit-declared",
        rfc="9110 15.5.14",
        claim="a body that is declared one byte larger gets 413 before it is sent",
        steps=(_declared(MAX_BODY_BYTES + 1),),
        expect=(TOO_LARGE,),
        after=After.CLOSED,
    ),
    Case(
        id="body-over-limit-sent",
        rfc="9110 15.5.14; 9112 9.6",
        claim="a client that sends 3 MB before it reads still gets the 413, and no reset",
        steps=(post(FULL * 3), Unread(200)),
        expect=(TOO_LARGE,),
        after=After.CLOSED,
    ),
    Case(
        id="body-over-limit-chunked",
        rfc="9110 15.5.14",
        claim="a chunked body gets 413 when it passes the limit",
        steps=(chunked_head() + chunks(FULL, b"x"),),
        expect=(TOO_LARGE,),
        after=After.CLOSED,
    ),
    Case(
        id="body-over-limit-chunked-sent",
        rfc="9110 15.5.14; 9112 9.6",
        claim="also if three times as much is sent before the client reads",
        steps=(chunked_head() + chunks(*(FULL[:65536] for _ in range(48))), Unread(200)),
        expect=(TOO_LARGE,),
        after=After.CLOSED,
    ),
    Case(
        id="body-over-limit-one-chunk",
        rfc="9110 15.5.14",
        claim="also if it is one chunk, and the client waits in it",
        steps=(chunked_head() + b"1000000\r\n" + FULL + b"x",),
        expect=(TOO_LARGE,),
        after=After.CLOSED,
    ),
    Case(
        id="body-over-limit-then-request",
        rfc="9112 9.6",
        claim="nothing behind a body that is too large is answered",
        steps=(get("/") + _declared(MAX_BODY_BYTES + 1) + get("/") * 20,),
        expect=(HEALTHY, TOO_LARGE),
        after=After.CLOSED,
    ),
    Case(
        id="body-over-limit-elsewhere",
        rfc="9110 15.5.14",
        claim="the limit holds on every path",
        steps=(lines("POST /nowhere HTTP/1.1", "Host: t", f"Content-Length: {MAX_BODY_BYTES * 100}"),),
        expect=(TOO_LARGE,),
        after=After.CLOSED,
    ),
    Case(
        id="body-over-limit-http10",
        rfc="9110 15.5.14",
        claim="and for 1.0",
        steps=(lines("POST /score HTTP/1.0", f"Content-Length: {MAX_BODY_BYTES + 1}"),),
        expect=(error(413),),
        after=After.CLOSED,
        http_minor=0,
    ),
    Case(
        id="body-over-limit-asgi",
        rfc="9110 15.5.14",
        claim="413 through any server, without waiting for the body",
        steps=(_declared(MAX_BODY_BYTES + 1, "Connection: close"),),
        expect=(error(413),),
        after=After.ENDED,
        asgi=True,
    ),
    Case(
        id="body-over-limit-chunked-asgi",
        rfc="9110 15.5.14",
        claim="413 through any server, also for a chunked body that is too large",
        steps=(chunked_head() + chunks(FULL + b"x"),),
        expect=(error(413),),
        after=After.EITHER,
        asgi=True,
    ),
)

HEADERS = (
    Case(
        id="headers-under-limit",
        rfc="9110 5.4",
        claim="a header block just under the limit is taken",
        steps=(get("/", "X-Big: " + "x" * (MAX_HEADER_BYTES - 1000)),),
        expect=(HEALTHY,),
        asgi=True,
    ),
    Case(
        id="headers-one-giant",
        rfc="9110 5.4; 6585 5",
        claim="one field over the limit gets 431",
        steps=(get("/", "X-Big: " + "x" * (MAX_HEADER_BYTES + 1000)),),
        expect=(HEADERS_TOO_LARGE,),
        after=After.CLOSED,
    ),
    Case(
        id="headers-giant-name",
        rfc="9110 5.4; 6585 5",
        claim="also if its name is giant",
        steps=(get("/", "X" * (MAX_HEADER_BYTES + 1000) + ": 1"),),
        expect=(HEADERS_TOO_LARGE,),
        after=After.CLOSED,
    ),
    Case(
        id="headers-many",
        rfc="9110 5.4; 6585 5",
        claim="many small fields over the limit get 431",
        steps=(get("/", *(f"X-Field-{number}: {number}" for number in range(1500))),),
        expect=(HEADERS_TOO_LARGE,),
        after=After.CLOSED,
    ),
    Case(
        id="headers-endless",
        rfc="9110 5.4; 6585 5",
        claim="a block without an end gets 431 when it passes the limit, without waiting for its end",
        steps=(get("/")[:-2] + b"X-Big: " + b"x" * (MAX_HEADER_BYTES + 1000),),
        expect=(HEADERS_TOO_LARGE,),
        after=After.CLOSED,
    ),
    Case(
        id="headers-in-pieces",
        rfc="9110 5.4; 6585 5",
        claim="the limit counts over pieces",
        steps=_slow(get("/")[:-2], *(b"X-Part: %s\r\n" % (b"x" * 5000) for _ in range(4)), ms=20),
        expect=(HEADERS_TOO_LARGE,),
        after=After.CLOSED,
    ),
    Case(
        id="headers-300-kb-sent",
        rfc="6585 5; 9112 9.6",
        claim="a client that sends 300 kB of header before it reads still gets the 431, and no reset",
        steps=(get("/", *("X-Big: " + "x" * 1000 for _ in range(300))), Unread(200)),
        expect=(HEADERS_TOO_LARGE,),
        after=After.CLOSED,
    ),
    Case(
        id="headers-second-request",
        rfc="9110 5.4",
        claim="each request has the limit for itself",
        steps=(get("/", "X-Big: " + "x" * 9000) * 5,),
        expect=(HEALTHY,) * 5,
        asgi=True,
    ),
    Case(
        id="headers-limit-not-for-body",
        rfc="9110 5.4",
        claim="a body that arrives with its header block does not count",
        steps=(post(FULL[: MAX_HEADER_BYTES * 3], "X-Big: " + "x" * 8000),),
        expect=(echo("POST", FULL[: MAX_HEADER_BYTES * 3]),),
        asgi=True,
    ),
    Case(
        id="target-giant",
        rfc="9112 3; 9110 15.5.15",
        claim="a target over the limit gets 414 or 431",
        steps=(get("/score?" + "q" * (MAX_HEADER_BYTES + 1000)),),
        expect=(TARGET_TOO_LONG,),
        after=After.CLOSED,
    ),
    Case(
        id="target-endless",
        rfc="9112 3; 9110 15.5.15",
        claim="also before its end has come",
        steps=(b"GET /" + b"q" * (MAX_HEADER_BYTES + 1000),),
        expect=(TARGET_TOO_LONG,),
        after=After.CLOSED,
    ),
    Case(
        id="target-8000",
        rfc="9112 3",
        claim="a request line of 8000 octets is taken",
        steps=(get("/score?" + "q" * 7900),),
        expect=(echo("GET", query="q" * 7900),),
        asgi=True,
    ),
    Case(
        id="method-giant",
        rfc="9112 3",
        claim="a method without an end is refused",
        steps=(b"G" * (MAX_HEADER_BYTES + 1000),),
        expect=(error(400, 414, 431, 501, connection="close"),),
        after=After.CLOSED,
    ),
)

PIPELINES = (
    Case(
        id="limit-not-over-pipeline",
        rfc="9110 5.4; 9112 9.3.2",
        claim="requests before it do not count for the header limit of a request that is cut in two",
        steps=(get("/") * 2000 + get("/score")[:20], Answers(2000), get("/score")[20:]),
        expect=(HEALTHY,) * 2000 + (echo("GET"),),
        asgi=True,
    ),
    Case(
        id="limit-not-over-pipeline-body",
        rfc="9110 5.4; 9112 9.3.2",
        claim="nor for what surrounds a body",
        steps=(get("/") * 2000 + post(b"hello")[:-2], Answers(2000), b"lo"),
        expect=(HEALTHY,) * 2000 + (echo("POST", b"hello"),),
        asgi=True,
    ),
    Case(
        id="timeout-not-over-pipeline",
        rfc="9112 9.5; 9.3.2",
        claim="the time of a request starts with its own first byte, not with the slow one before it",
        steps=(
            *_slow(post(b"abc")[:-3], b"a", b"b", b"c" + get("/score")[:20], ms=900),
            *(Answers(), Quiet(HEADER_TIMEOUT_MS - 1300), get("/score")[20:]),
        ),
        expect=(echo("POST", b"abc"), echo("GET")),
    ),
    Case(
        id="timeout-not-while-held-back",
        rfc="9112 9.5; 9.3.2",
        claim="the time during which the server does not read is not the client's",
        steps=(
            get(f"/score?sleep_ms={HEADER_TIMEOUT_MS + 300}") + get("/") + get("/score")[:20],
            *(Quiet(100), get("/score")[20:]),
        ),
        expect=(echo("GET"), HEALTHY, echo("GET")),
    ),
)

SLOW = (
    Case(
        id="slow-body",
        rfc="9112 9.5",
        claim="a body in pieces is waited for as long as each piece is in time",
        steps=_slow(post(b"abcde")[:-5], b"a", b"b", b"c", b"d", b"e", ms=300),
        expect=(echo("POST", b"abcde"),),
        asgi=True,
    ),
    Case(
        id="slow-body-chunked",
        rfc="9112 9.5",
        claim="also a chunked one",
        steps=_slow(chunked_head(), b"1\r\na\r\n", b"1\r", b"\nb\r\n", b"0\r\n", b"\r\n", ms=250),
        expect=(echo("POST", b"ab"),),
        asgi=True,
    ),
    Case(
        id="slow-run",
        rfc="9112 9.5",
        claim="no timeout of the connection runs while `run()` does",
        steps=(get(f"/score?sleep_ms={KEEP_ALIVE_TIMEOUT_MS + 300}") + get("/"),),
        expect=(echo("GET"), HEALTHY),
    ),
    Case(
        id="slow-body-behind-slow-run",
        rfc="9112 9.5; 9.3.2",
        claim="a pipelined request in good time is not timed out for the slowness of the one before it",
        steps=(post(b"one", target=f"/score?sleep_ms={HEADER_TIMEOUT_MS + 300}") + post(b"two"), Quiet(100)),
        expect=(echo("POST", b"one"), echo("POST", b"two")),
    ),
)


def _times_out(name: str, claim: str, steps: tuple[Step, ...], ms: int, extra_interim: bool = False) -> Case:
    """Return the case of a request that is cut off by 408 this long after its last bytes that are a step."""
    return Case(
        *(name, "9110 15.5.9; 9112 9.5", claim, steps, (TIMED_OUT,), After.CLOSED),
        extra_interim=extra_interim,
        ends_after_ms=ms - SLACK_MS,
    )


TIMEOUTS = (
    _times_out("timeout-request-line", "half a request line gets 408", (b"GET /sco",), HEADER_TIMEOUT_MS),
    _times_out("timeout-header", "half a header block gets 408", (get("/")[:-2],), HEADER_TIMEOUT_MS),
    _times_out(
        "timeout-header-trickle",
        "the time is for the whole block, not between its bytes",
        (b"GET / HTTP/1.1\r\n", Trickle(b"x", 200)),
        HEADER_TIMEOUT_MS,
    ),
    _times_out("timeout-body", "a body that stops gets 408", (post(b"hello")[:-1],), BODY_TIMEOUT_MS),
    _times_out("timeout-body-none", "so does one that never begins", (post(b"hello")[:-5],), BODY_TIMEOUT_MS),
    _times_out("timeout-chunk", "so does a chunked one", (chunked_head() + b"5\r\nhel",), BODY_TIMEOUT_MS),
    _times_out(
        "timeout-trailer",
        "also in its trailer",
        (chunked_head() + b"1\r\na\r\n0\r\nX-Check: ",),
        BODY_TIMEOUT_MS,
    ),
    _times_out(
        "timeout-continue",
        "also after 100",
        (post(b"hello", "Expect: 100-continue")[:-5],),
        BODY_TIMEOUT_MS,
        extra_interim=True,
    ),
    _times_out(
        "timeout-whole-request",
        "a body that always moves and never ends gets 408 as well",
        (_declared(1000), Trickle(b"x", 200)),
        REQUEST_TIMEOUT_MS,
    ),
    Case(
        id="timeout-second-request",
        rfc="9110 15.5.9; 9112 9.5",
        claim="a second request that is cut short gets 408, after the first one's answer",
        steps=(get("/") + get("/score")[:-2],),
        expect=(HEALTHY, TIMED_OUT),
        after=After.CLOSED,
        ends_after_ms=HEADER_TIMEOUT_MS - SLACK_MS,
    ),
    Case(
        id="timeout-idle-after-answer",
        rfc="9112 9.5",
        claim="an idle connection ends in silence",
        steps=(get("/"), Answers()),
        expect=(HEALTHY,),
        after=After.ENDED,
        ends_after_ms=KEEP_ALIVE_TIMEOUT_MS - SLACK_MS,
    ),
    Case(
        id="timeout-idle-is-per-request",
        rfc="9112 9.5",
        claim="each answer starts the idle time again",
        steps=(
            *(get("/"), Answers(), Quiet(KEEP_ALIVE_TIMEOUT_MS * 5 // 9)),
            *(get("/"), Answers(), Quiet(KEEP_ALIVE_TIMEOUT_MS * 5 // 9)),
        ),
        expect=(HEALTHY, HEALTHY),
    ),
    Case(
        id="timeout-nothing-sent",
        rfc="9112 9.5",
        claim="a connection on which nothing is sent ends in silence",
        steps=(),
        after=After.ENDED,
        ends_after_ms=HEADER_TIMEOUT_MS - SLACK_MS,
    ),
    Case(
        id="timeout-empty-lines",
        rfc="9112 2.2; 9.5",
        claim="empty lines alone do not keep a connection: it ends, in silence or with 408",
        steps=(b"\r\n\r\n",),
        expect=(TIMED_OUT,),
        after=After.ENDED,
        may_be_silent=True,
        ends_after_ms=HEADER_TIMEOUT_MS - SLACK_MS,
    ),
)

CASES = BODIES + HEADERS + PIPELINES + SLOW + TIMEOUTS

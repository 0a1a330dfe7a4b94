"""What the fuzzer begins with: every case of the HTTP table, published smuggling vectors, and what to put into them."""

from __future__ import annotations

from tests.http.case import chunked_head, chunks, get, lines, post
from tests.http.table import CASES

SMUGGLED = b"GET /score?smuggled=1 HTTP/1.1\r\nHost: t\r\n\r\n"
_HEAD = b"POST /score HTTP/1.1\r\nHost: t\r\n"
_CODING = b"Transfer-Encoding: chunked\r\n"
_LARGEST = 20_000

# Families of request smuggling (names as they are used in publications): which of two lengths counts.
VECTORS = (
    _HEAD + b"Content-Length: 6\r\n" + _CODING + b"\r\n0\r\n\r\nG",  # CL.TE
    _HEAD + b"Content-Length: 4\r\n" + _CODING + b"\r\n5c\r\nGPOST / HTTP/1.1\r\n\r\n0\r\n\r\n",  # TE.CL
    _HEAD + _CODING + b"Transfer-Encoding: cow\r\nContent-Length: 4\r\n\r\n0\r\n\r\n" + SMUGGLED,  # TE.TE
    _HEAD + b"Content-Length: 0\r\nContent-Length: 44\r\n\r\n" + SMUGGLED,  # CL.CL
    lines("GET / HTTP/1.1", "Host: t", f"Content-Length: {len(SMUGGLED)}") + SMUGGLED,  # CL.0
    lines("OPTIONS /score HTTP/1.1", "Host: t", "Transfer-Encoding: chunked") + b"0\r\n\r\n" + SMUGGLED,  # TE.0
    _HEAD + b"Expect: 100-continue\r\nContent-Length: 44\r\n\r\n" + SMUGGLED,  # 0.CL by Expect
    _HEAD + b"Expect: x 100-continue\r\nContent-Length: 44\r\n\r\n" + SMUGGLED,
    _HEAD + _CODING + b"\r\n2;\nxx\r\n43\r\n0\r\n\r\n" + SMUGGLED,  # TERM.EXT
    _HEAD + _CODING + b"\r\n2\nxx\r\n0\r\n\r\n" + SMUGGLED,  # a bare LF behind a size
    _HEAD + _CODING + b"\r\n5\r\nhelloXX0\r\n\r\n" + SMUGGLED,  # two bytes behind data
    _HEAD + _CODING + b"\r\n5\r\nAAAAAXX\r\n0\r\n\r\n" + SMUGGLED,  # data that spills
    _HEAD + _CODING + b"\r\n0\r\nContent-Length: 44\r\nX: y\r\n\r\n" + SMUGGLED,  # a length in the trailer
    _HEAD + b"Transfer-Encoding\x0b: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n" + SMUGGLED,
    _HEAD + b"Transfer-Encoding: \x00chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n" + SMUGGLED,
    _HEAD + b"X: y\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n" + SMUGGLED,
    _HEAD + b"X:\r\n Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n" + SMUGGLED,
    _HEAD + b"Connection: Content-Length\r\nContent-Length: 44\r\n\r\n" + SMUGGLED,  # a length that is hop by hop
    _HEAD + b"Content_Length: 44\r\nContent-Length: 0\r\n\r\n" + SMUGGLED,
    b"GET /score HTTP/1.0\r\nConnection: keep-alive\r\n" + _CODING + b"\r\n0\r\n\r\n" + SMUGGLED,
    b"GET /score?a HTTP/1.1\r\nHost: t\r\nContent-Length: 44 \r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n"
    + SMUGGLED,
    lines("GET /score HTTP/1.1", "Host: t", "Range: bytes=0-1", "Content-Encoding: gzip") + SMUGGLED,
    chunked_head("Trailer: Host") + chunks(b"hello") + post(b"world") + get("/live"),
    get("/") * 3 + post(b"[1]", "Content-Type: application/json") + get("/swagger.json"),
)

# What a mutation puts in.
WORDS = (
    *(b"\r\n", b"\n", b"\r", b"\r\r\n", b"\n\r", b"\r\n\r\n", b"\x00", b"\t", b" ", b"\x0b", b"\x0c", b"\x7f", b"\x80"),
    *(b"\xff", b"\xa0", b":", b",", b";", b'"', b"=", b"/", b"//", b"\\", b"?", b"#", b"%00", b"%2e", b"%0d%0a", b"*"),
    *(b"Content-Length: 5\r\n", b"Content-Length: 0\r\n", b"Content-Length: 18446744073709551616\r\n"),
    *(b"Content-Length:\r\n 5\r\n", _CODING, b"Transfer-Encoding: gzip\r\n", b"Transfer-Encoding:\tchunked\r\n"),
    *(b"Connection: close\r\n", b"Connection: keep-alive, upgrade\r\n", b"Upgrade: websocket\r\n"),
    *(b"Expect: 100-continue\r\n", b"Host: t\r\n", b"Host: u, v\r\n", b"Content-Encoding: gzip\r\n"),
    *(b"0\r\n\r\n", b"5\r\nhello\r\n", b"ffffffffffffffff\r\n", b"5;a=b\r\n", b"-1\r\n", b"0x5\r\n", b"00000005\r\n"),
    *(b"HTTP/1.0", b"HTTP/1.1", b"HTTP/2.0", b"HTTP/0.9", b"GET ", b"POST ", b"HEAD ", b"CONNECT ", b"OPTIONS "),
    *(b"http://t/", b"https://u@t:1/score", SMUGGLED, b"x-request-id: \x9b\r\n", b"Authorization: Bearer x\r\n"),
    *(b"traceparent: 00-\r\n", b"Origin: null\r\n", b"Accept: */*;q=a\r\n", b"a" * 300, b"1" * 40, b"\x1f\x8b\x08\x00"),
)


def seeds() -> tuple[bytes, ...]:
    """Return the requests to mutate: what the cases of the table send, each in one piece, and the vectors."""
    sent = (b"".join(step for step in case.steps if isinstance(step, bytes)) for case in CASES)
    return (*VECTORS, *(each for each in dict.fromkeys(sent) if 0 < len(each) <= _LARGEST))

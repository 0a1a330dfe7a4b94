"""Bodies that clients have compressed (RFC 9110, 8.4), expanded up to a limit.

Called on scoring threads: the I/O thread has others to serve.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from azmlinfsrv.errors import BadInputError, BodyTooLargeError, UnsupportedCodingError
from azmlinfsrv.messages import Body, Request

_GZIP, _ZLIB, _DEFLATE = 31, 15, -15
_GZIP_NAMES = frozenset({"gzip", "x-gzip"})
# Clients write the charset here by mistake; the released server lets them.
_NOTHING = frozenset({"", "identity", "utf-8", "utf8"})
_PIECE_BYTES = 64 * 1024
# A gzip file may have members without end, each of a few bytes.
_MOST_MEMBERS = 10_000


def expand_body(request: Request, limit: int) -> None:
    """Replace the body of a request by what it was before it was compressed; its fields stay as they are.

    Args:
        request: the request.
        limit: largest body, in bytes; no more than that and a piece is ever expanded.

    Raises:
        UnsupportedCodingError: it has a coding that is not known, or several.
        BodyTooLargeError: it is larger.
        BadInputError: it is not what its coding makes, or cut short.
    """
    names = request.header(b"content-encoding").lower().split(",")
    codings = [name for name in map(str.strip, names) if name not in _NOTHING]
    if not codings or not request.body:
        return
    if (codings[0] not in _GZIP_NAMES and codings[0] != "deflate") or len(codings) > 1:
        raise UnsupportedCodingError("The Content-Encoding is not supported: expects gzip, deflate or none")
    pieces, size = [], 0
    try:
        for piece in _inflate(request.body, codings[0]):
            pieces.append(piece)
            size += len(piece)
            if size > limit:
                raise BodyTooLargeError(f"The request body is larger than {limit} bytes")
    except (zlib.error, EOFError) as error:
        raise BadInputError(f"The body cannot be expanded as {codings[0]}: {error}") from None
    request.body = b"".join(pieces)


def _inflate(body: Body, coding: str) -> Iterator[bytes]:
    """Yield the content piece by piece.

    Raises:
        zlib.error: it is corrupt.
        EOFError: it is cut short, or something else follows it.
    """
    kind = _GZIP if coding != "deflate" else _ZLIB if _is_zlib(body) else _DEFLATE
    inflater, members = zlib.decompressobj(kind), 1
    rest = memoryview(body)
    while True:
        source: bytes | memoryview = rest[:_PIECE_BYTES]
        taken = len(source)
        found = True
        # As many as there are: what a piece expands to may be a thousand times as long.
        while not inflater.eof and (source or found):
            piece = inflater.decompress(source, _PIECE_BYTES)
            source, found = inflater.unconsumed_tail, bool(piece)
            yield piece
        rest = rest[taken - len(inflater.unused_data) :]
        if not inflater.eof:
            if not rest:
                raise EOFError("it is cut short")
            continue
        if not rest or (kind == _GZIP and not any(rest[:_PIECE_BYTES]) and not bytes(rest).strip(b"\0")):
            return
        members += 1
        if kind != _GZIP or members > _MOST_MEMBERS:
            raise EOFError("something else follows it")
        inflater = zlib.decompressobj(kind)


def _is_zlib(body: Body) -> bool:
    """Return whether it begins as RFC 1950 has it; some clients send RFC 1951 alone under this name."""
    return len(body) > 1 and body[0] & 0x0F == 8 and (body[0] << 8 | body[1]) % 31 == 0

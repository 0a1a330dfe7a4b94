"""A stand-in for the ingestion endpoint of Application Insights, on the loopback interface.

It speaks ``POST /v2.1/track`` as the service documents it: a JSON array, or a stream of JSON lines, plain or gzip;
200 with the numbers received and accepted, 206 with the errors of single items, 4xx and 5xx for whole batches.
"""

from __future__ import annotations

import gzip
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

KEY = "01234567-89ab-cdef-0123-456789abcdef"
PATIENCE_S = 30.0

Envelope = dict[str, Any]


class Answer(NamedTuple):
    """What a batch gets.

    Attributes:
        status: status code of the whole.
        refused: index of an envelope in the batch to the status of its error; for 206.
        headers: more header fields.
    """

    status: int = 200
    refused: dict[int, int] = {}  # noqa: RUF012 - a default that nobody changes
    headers: dict[str, str] = {}  # noqa: RUF012 - likewise


class Ingestion:
    """The stand-in.

    Attributes:
        batches: the envelopes of each request that arrived, accepted or not.
        envelopes: those that were accepted.
        encodings: the content coding of each request.
        answer: decides on a batch; called with the number of the request, from 0, and its envelopes.
        hang: whether requests are read and never answered, until it is cleared.
    """

    def __init__(self) -> None:
        self.batches: list[list[Envelope]] = []
        self.envelopes: list[Envelope] = []
        self.encodings: list[str] = []
        self.requests: list[str] = []
        self.answer: Callable[[int, list[Envelope]], Answer] = lambda _number, _envelopes: Answer()
        self.hang = threading.Event()
        self._go_on = threading.Event()
        self._arrived = threading.Condition()
        self._server = _Server(("127.0.0.1", 0), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """The address, without a path."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def connection_string(self) -> str:
        """What a user would set."""
        return f"InstrumentationKey={KEY};IngestionEndpoint={self.url}/;LiveEndpoint={self.url}/"

    def track(self, line: str, coding: str, body: bytes) -> tuple[Answer, bytes] | None:
        """Take a request, and return its answer, or None to close the connection."""
        text = gzip.decompress(body) if coding == "gzip" else body
        envelopes = parse(text.decode("utf-8"))
        with self._arrived:
            number = len(self.batches)
            self.batches.append(envelopes)
            self.encodings.append(coding)
            self.requests.append(line)
            self._arrived.notify_all()
        if self.hang.is_set():
            self._go_on.wait(PATIENCE_S)
            return None
        answer = self.answer(number, envelopes)
        refused = dict(answer.refused) if answer.status in {200, 206} else dict.fromkeys(range(len(envelopes)), 500)
        with self._arrived:
            self.envelopes += [each for index, each in enumerate(envelopes) if index not in refused]
            self._arrived.notify_all()
        errors = [{"index": i, "statusCode": s, "message": "refused"} for i, s in sorted(refused.items())]
        report = {
            "itemsReceived": len(envelopes),
            "itemsAccepted": len(envelopes) - len(refused),
            "errors": errors,
        }
        return answer, json.dumps(report).encode()

    def wait_for(self, condition: Callable[[], object], within_s: float = PATIENCE_S) -> None:
        """Wait until the condition holds; looked at whenever something arrives."""
        with self._arrived:
            held = self._arrived.wait_for(condition, within_s)
        assert held, f"{len(self.batches)} batches, {len(self.envelopes)} envelopes: {self.envelopes}"

    def of_type(self, base_type: str) -> list[Envelope]:
        """Return the accepted envelopes whose data is of a type, such as ``RequestData``."""
        return [each for each in list(self.envelopes) if each["data"]["baseType"] == base_type]

    def wait_for_type(self, base_type: str, count: int = 1, within_s: float = PATIENCE_S) -> list[Envelope]:
        """Return the envelopes of a type, once so many have arrived."""
        self.wait_for(lambda: len(self.of_type(base_type)) >= count, within_s)
        return self.of_type(base_type)

    def close(self) -> None:
        """Answer what hangs, and listen no longer."""
        self._go_on.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(PATIENCE_S)


def parse(text: str) -> list[Envelope]:
    """Return the envelopes of a body: a JSON array, one object, or a line each."""
    try:
        content = json.loads(text)
    except ValueError:
        content = [json.loads(line) for line in text.splitlines() if line]
    return content if isinstance(content, list) else [content]


@contextmanager
def refusing_url() -> Iterator[str]:
    """An address at which every connection is refused: bound, but nothing listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{sock.getsockname()[1]}"


def wait_until(condition: Callable[[], object], within_s: float = PATIENCE_S) -> None:
    """Wait until the condition holds, looking at it again and again."""
    end = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < end, "the condition did not hold in time"
        threading.Event().wait(0.02)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that leave."""


def _handler(ingestion: Ingestion) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.path.rstrip("/") != "/v2.1/track":
                ingestion.requests.append(self.requestline)
                self.send_error(404)
                return
            answered = ingestion.track(self.requestline, self.headers.get("Content-Encoding", ""), body)
            if answered is None:
                self.close_connection = True
                return
            answer, content = answered
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    return Handler

"""Plain records of what happened. They are made where it happens, and turned into telemetry on another thread.

Texts are cut when a record is made, so that the records that wait have a bounded size.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

# Azure Monitor takes property values of at most 8,192 characters, and messages of at most 32,768.
VALUE_LIMIT = 8192
TEXT_LIMIT = 32768


class Service(NamedTuple):
    """What all telemetry of a server has in common.

    Attributes:
        name: SERVICE_NAME.
        workspace: WORKSPACE_NAME.
        container: HOSTNAME.
        models: ``name:version`` of each model.
        instance: name of the machine, or of the container.
        version: version of the server.
    """

    name: str
    workspace: str
    container: str
    models: Sequence[str]
    instance: str
    version: str


class Origin(NamedTuple):
    """The request to which a record belongs.

    Attributes:
        request_id: its id.
        client_id: the caller's id, or "".
        received: its `time.perf_counter`, which tells it from others with the same id.
        traceparent: the header of W3C Trace Context, or b"".
        tracestate: likewise.
        name: path of the request.
    """

    request_id: str
    client_id: str
    received: float
    traceparent: bytes
    tracestate: bytes
    name: str


class RequestRecord(NamedTuple):
    """A request that has been answered, or has come to nothing.

    Attributes:
        origin: its ids.
        method: HTTP method.
        path: path, percent-decoded.
        target: request target as received.
        scheme: ``http`` or ``https``.
        host: its Host header, or the address it came to.
        client: address of the peer.
        user_agent: header, or b"".
        version: version of HTTP.
        route: path of the route that took it, or "".
        status: status code of the answer.
        start_ns: when it had arrived, since the epoch.
        duration_ns: from there to its last byte sent.
        run_ms: how long ``run()`` took, or None where it did not come to its end.
        response: the first bytes of the answer, or None where they are not kept or not known.
        is_cut: whether the answer has more bytes than these.
        sent_bytes: number of bytes of the answer's body that were sent.
        outcome: what kept the answer from being whole, or "".
        body: the first bytes of the request's body, where model data is collected, or None.
        is_text: whether ``run()`` got the body as a text, so that model data has it as a JSON string (release 1.5.1).
    """

    origin: Origin
    method: str
    path: str
    target: bytes
    scheme: str
    host: str
    client: str
    user_agent: bytes
    version: str
    route: str
    status: int
    start_ns: int
    duration_ns: int
    run_ms: float | None
    response: bytes | None
    is_cut: bool
    sent_bytes: int
    outcome: str
    body: bytes | None
    is_text: bool


class PrintedLine(NamedTuple):
    """A line that the script printed.

    Attributes:
        time_ns: when, since the epoch.
        stream: ``stdout`` or ``stderr``.
        request_id: id of the request, or zeros.
        text: the line, without its end.
        origin: the request, where it is known.
    """

    time_ns: int
    stream: str
    request_id: str
    text: str
    origin: Origin | None


class Failure(NamedTuple):
    """An exception, as text: what it refers to must not be kept alive.

    Attributes:
        type_name: name of its class.
        message: its text.
        stack: traceback with the user's frames.
        frames: file, line and function of each of the user's frames, the innermost last.
    """

    type_name: str
    message: str
    stack: str
    frames: tuple[tuple[str, int, str], ...]


class ExceptionRecord(NamedTuple):
    """An exception of the user's code.

    Attributes:
        time_ns: when, since the epoch.
        failure: what it was.
        origin: the request, or None outside of requests.
    """

    time_ns: int
    failure: Failure
    origin: Origin | None


class LogLine(NamedTuple):
    """A record of the script's own logging.

    Attributes:
        time_ns: when, since the epoch.
        level: number of its level.
        logger: name of its logger.
        message: its text.
        place: file, line and function.
        failure: the exception that it carries, or None.
        origin: the request, or None outside of requests.
    """

    time_ns: int
    level: int
    logger: str
    message: str
    place: tuple[str, int, str]
    failure: Failure | None
    origin: Origin | None


Record = RequestRecord | PrintedLine | ExceptionRecord | LogLine | Any
"""What a back end gets; Any is a span of OpenTelemetry that the user's code has ended."""

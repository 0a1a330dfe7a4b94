"""The errors of the server, one tree; each knows the answer that a client gets for it.

::

    ServerError                      500
    ├── ConfigurationError           stops the start, exit code 3
    │   └── UsageError               stops the start, exit code 1, with the usage
    ├── ScriptError                  stops the start, exit code 3
    │   └── ScriptFailedError        the script raised: its own traceback is kept
    ├── RequestError                 an answer of 4xx or 5xx, made before run() was called
    │   ├── BadInputError            400
    │   │   └── InvalidInputError    400, with every error's place and reason
    │   ├── BodyTooLargeError        413, once the body is expanded
    │   ├── UnsupportedInputError    415
    │   │   └── UnsupportedCodingError  415, of a compressed body
    │   ├── UnsupportedMethodError   405, or 200 for OPTIONS
    │   ├── NotFoundError            404
    │   ├── MethodNotAllowedError    405
    │   ├── InvalidIdError           400
    │   │   └── HeaderTooLongError   431
    │   ├── SwaggerVersionError      404
    │   ├── WorkerStuckError         503
    │   ├── OverloadError            429 or 503: there is too much to do
    │   ├── LateError                504: the caller's deadline passed before its turn
    │   ├── ClientLeftError          499: nobody is there for the answer
    │   └── ProtocolError            4xx or 5xx, and the connection is closed
    │       └── UnauthorizedError    401; the connection is closed only where a body was to come
    └── RunError                     500, run() was called and failed
        ├── RunFailedError           run() raised
        └── RunTimeoutError          the deadline passed
            └── CallerTimeoutError   504: the caller's deadline passed
    ScoringInterrupt                 BaseException: ends run() at its deadline
    StopServing                      BaseException: ends run() because the worker must stop at once

Source of the messages: release 1.5.1.
"""

from __future__ import annotations

NOT_FOUND = (
    "The requested URL was not found on the server. "
    "If you entered the URL manually please check your spelling and try again."
)
METHOD_NOT_ALLOWED = "The method is not allowed for the requested URL."
INTERNAL = "An unexpected internal error occurred. Check the logs for more info."
RUN_FAILED = "An unexpected error occurred in scoring script. Check the logs for more info."


class ServerError(Exception):
    """Base of all errors of the server.

    Attributes:
        status: HTTP status that a client gets.
        message: text of the JSON answer ``{"message": …}``.
        run_function_failed: value of the ``x-ms-run-function-failed`` header.
        headers: fields that its answer has besides.
        retry_after_s: value of the ``Retry-After`` header; 0 leaves it out.
    """

    status: int = 500
    run_function_failed: bool = False
    headers: tuple[tuple[str, str], ...] = ()
    retry_after_s: int = 0

    def __init__(self, message: str = INTERNAL) -> None:
        super().__init__(message)
        self.message = message


class ConfigurationError(ServerError):
    """A setting has a value that cannot be used. Stops the start with exit code 3."""


class UsageError(ConfigurationError):
    """The command line cannot be used. Stops the start with exit code 1."""


class ScriptError(ServerError):
    """The entry script cannot be used. Stops the start with exit code 3."""


class ScriptFailedError(ScriptError):
    """Code of the user's script raised while it was imported or in ``init()``.

    The user's exception is the ``__cause__``.
    """


class RequestError(ServerError):
    """A request that never reaches ``run()``."""

    status = 400


class BadInputError(RequestError):
    """The body or the query cannot be turned into arguments of ``run()``."""


class InvalidInputError(BadInputError):
    """The input does not fit the annotations of a typed ``run()``.

    Attributes:
        errors: for each error its ``path``, ``reason`` and the JSON type that was ``received``.
    """

    def __init__(self, message: str, errors: list[dict[str, str]]) -> None:
        super().__init__(message)
        self.errors = errors


class UnsupportedInputError(RequestError):
    """The content type of the body is not one that the script's ``run()`` takes."""

    status = 415


class UnsupportedCodingError(UnsupportedInputError):
    """The body is compressed in a way that is not known."""

    headers = (("Accept-Encoding", "gzip, deflate"),)


class BodyTooLargeError(RequestError):
    """The body is larger than it may be once it is expanded."""

    status = 413


class UnsupportedMethodError(RequestError):
    """The style of ``run()`` does not take this HTTP method."""

    status = 405

    def __init__(self, message: str = "Method not allowed") -> None:
        super().__init__(message)


class NotFoundError(RequestError):
    """No route has this path."""

    status = 404

    def __init__(self, message: str = NOT_FOUND) -> None:
        super().__init__(message)


class MethodNotAllowedError(RequestError):
    """The route does not take this HTTP method."""

    status = 405

    def __init__(self, message: str = METHOD_NOT_ALLOWED) -> None:
        super().__init__(message)


class InvalidIdError(RequestError):
    """A request id has characters that cannot be shown, and would be written to logs and answers."""


class HeaderTooLongError(InvalidIdError):
    """A request id has more than 100 characters."""

    status = 431


class SwaggerVersionError(RequestError):
    """The script has no schema in this version of OpenAPI."""

    status = 404


class WorkerStuckError(RequestError):
    """The request waited behind a call of ``run()`` that does not come back; another worker can take it."""

    status = 503

    def __init__(self, message: str = "The worker does not come back from run(), and is replaced. Try again.") -> None:
        super().__init__(message)


class OverloadError(RequestError):
    """There is too much to do for one more request, or it has waited for too long.

    Attributes:
        reason: which limit it was, a word for metrics and log.
    """

    def __init__(self, status: int, reason: str, message: str, retry_after_s: int = 1) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.retry_after_s = retry_after_s


class LateError(RequestError):
    """The caller's deadline passed while its request waited: ``run()`` was not called."""

    status = 504

    def __init__(self, message: str = "The deadline of the request passed before it could be scored") -> None:
        super().__init__(message)


class ClientLeftError(RequestError):
    """The client left while its request waited or an ``async def run()`` worked; the status is nginx's."""

    status = 499

    def __init__(self, message: str = "The client closed its side of the connection") -> None:
        super().__init__(message)


class ProtocolError(RequestError):
    """The bytes of the request are not HTTP/1.1 that the server accepts (RFC 9112), or exceed a limit."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


class UnauthorizedError(ProtocolError):
    """The request lacks an API key, or has one that is not valid.

    Args:
        message: text of the answer.
        challenge: value of its ``WWW-Authenticate`` (RFC 6750, 3).
    """

    def __init__(self, message: str, challenge: str) -> None:
        super().__init__(message, 401)
        self.headers = (("WWW-Authenticate", challenge),)


class RunError(ServerError):
    """``run()`` was called and did not return a result."""

    run_function_failed = True

    def __init__(self, message: str = RUN_FAILED) -> None:
        super().__init__(message)


class RunFailedError(RunError):
    """``run()`` raised. The user's exception is the ``__cause__``."""


class RunTimeoutError(RunError):
    """``run()`` did not return within SCORING_TIMEOUT_MS."""

    def __init__(self, timeout_ms: int, message: str = "") -> None:
        super().__init__(message or f"Scoring timeout after {timeout_ms} ms")
        self.timeout_ms = timeout_ms


class CallerTimeoutError(RunTimeoutError):
    """``run()`` did not return before the deadline that its caller had given."""

    status = 504

    def __init__(self, timeout_ms: int) -> None:
        super().__init__(timeout_ms, "The deadline of the request passed while it was scored")


class ScoringInterrupt(BaseException):
    """Raised inside ``run()`` at its deadline.

    Not an ``Exception``, so that an ``except Exception`` of the user's does not swallow it.
    """


class StopServing(BaseException):
    """Raised inside ``run()`` when the worker must stop at once (SIGINT, SIGQUIT)."""

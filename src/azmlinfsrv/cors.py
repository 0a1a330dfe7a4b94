"""Cross-origin resource sharing: which browsers' pages may call the service.

Source: `inference-server.md`, "CORS Support"; the rules of release 1.5.1 (flask-cors with GET and POST); the Fetch
standard for the names of the headers.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from azmlinfsrv.errors import ConfigurationError
from azmlinfsrv.messages import Request, Response

ALLOW_ORIGIN = "Access-Control-Allow-Origin"
_METHODS = ("GET", "POST")
_PATTERN_CHARACTERS = frozenset("*\\]?$^[]()")


class Cors:
    """Adds the headers that allow a page of a listed origin to read the answer.

    Args:
        origins: origins (``https://www.bing.com``), domains (``www.bing.com``: any scheme), regular expressions, or
            ``*``, separated by commas.

    Attributes:
        origins: these, one by one.
        without_origin: what answers to requests without an origin allow, or "".
        varies: whether every answer depends on the origin, because several may be allowed.
    """

    def __init__(self, origins: str) -> None:
        self.origins = [origin.strip() for origin in origins.split(",")]
        self._listed = {origin.lower() for origin in self.origins}
        self._any = "*" in self.origins
        literal = [origin for origin in self.origins if not is_pattern(origin)]
        self._matchers = [_matcher(origin) for origin in self.origins]
        self.without_origin = "*" if self._any else min(literal, default="")
        self.varies = len(self.origins) > 1 or len(literal) < len(self.origins)

    def apply(self, request: Request, response: Response) -> None:
        """Add the headers, unless the script set its own."""
        if any(name.lower() == "access-control-allow-origin" for name, _ in response.headers):
            return
        allowed = self._allowed(request.header(b"origin"))
        if not allowed:
            return
        headers = response.headers
        headers.append((ALLOW_ORIGIN, allowed))
        if request.header(b"access-control-request-private-network") == "true":
            headers.append(("Access-Control-Allow-Private-Network", "false"))
        if request.method == "OPTIONS" and request.header(b"access-control-request-method").upper() in _METHODS:
            wanted = request.header(b"access-control-request-headers")
            if wanted:
                names = sorted(name.strip() for name in wanted.split(","))
                headers.append(("Access-Control-Allow-Headers", ", ".join(names)))
            headers.append(("Access-Control-Allow-Methods", ", ".join(_METHODS)))
        varies = self.varies or allowed.lower() not in self._listed  # a domain stands for several origins
        if varies and allowed != "*":
            headers.append(("Vary", "Origin"))

    def _allowed(self, origin: str) -> str:
        if not origin:
            return self.without_origin
        return origin if self._any or any(match(origin) for match in self._matchers) else ""


def is_pattern(origin: str) -> bool:
    """Return whether a listed origin is a regular expression."""
    return not _PATTERN_CHARACTERS.isdisjoint(origin)


def _matcher(listed: str) -> Callable[[str], bool]:
    if listed == "*":
        return lambda origin: True
    if is_pattern(listed):
        try:
            pattern = re.compile(listed, re.IGNORECASE)
        except re.error as error:
            raise ConfigurationError(f"the origin {listed!r} of AML_CORS_ORIGINS is not a pattern: {error}") from error
        return lambda origin: pattern.match(origin) is not None
    listed = listed.lower()
    if "://" in listed:
        return lambda origin: origin.lower() == listed
    # A domain: the origin of its pages has a scheme before it.
    return lambda origin: origin.lower().rpartition("://")[2] == listed

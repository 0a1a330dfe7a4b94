"""Connection strings and instrumentation keys of Application Insights.

Source: "Connection strings in Application Insights" (Azure Monitor documentation); release 1.5.1 for bare keys.
"""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import urlsplit

DEFAULT_ENDPOINT = "https://dc.services.visualstudio.com"
TRACK_PATH = "/v2.1/track"

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\Z", re.IGNORECASE)
_TRACK_PATHS = (TRACK_PATH, "/v2/track")


class Target(NamedTuple):
    """Where telemetry goes.

    Attributes:
        key: the instrumentation key, in lower case.
        endpoint: address of the ingestion endpoint, without its path and without a slash at its end.
        rest: the other parts of the connection string, as ``Name=value`` joined by semicolons.
    """

    key: str
    endpoint: str
    rest: str = ""

    @property
    def connection_string(self) -> str:
        """The same as a connection string."""
        parts = [f"InstrumentationKey={self.key}", f"IngestionEndpoint={self.endpoint}", self.rest]
        return ";".join(part for part in parts if part)


def parse_target(key: str | None, endpoint: str = "", other: str = "") -> Target | None:
    """Return where telemetry goes, or None where the key cannot be one.

    Args:
        key: an instrumentation key (a UUID) or a connection string.
        endpoint: address that was set beside it, with or without the path of its interface; it wins.
        other: a connection string whose endpoint serves a bare key, as in release 1.5.1.
    """
    parts = _parts(key or "")
    found = parts.pop("instrumentationkey", "") if parts else (key or "")
    if not _UUID.match(found) or parts.get("authorization", "ikey").lower() != "ikey":
        return None
    address = endpoint or _endpoint(parts) or _endpoint(_parts(other)) or DEFAULT_ENDPOINT
    address = _without_path(address)
    if urlsplit(address).scheme not in {"http", "https"} or not urlsplit(address).netloc:
        return None
    rest = ";".join(f"{name}={value}" for name, value in parts.items() if name in {"aadaudience", "applicationid"})
    return Target(found.lower(), address, rest)


def _parts(text: str) -> dict[str, str]:
    """Return the parts of a connection string by their names in lower case, or nothing where it is none."""
    pairs = [part.partition("=") for part in text.split(";") if part.strip()]
    if not all(separator for _, separator, _ in pairs):
        return {}
    return {name.strip().lower(): value.strip() for name, _, value in pairs}


def _endpoint(parts: dict[str, str]) -> str:
    """Return the ingestion endpoint of a connection string, or "" where it names none."""
    suffix = parts.get("endpointsuffix", "")
    place = parts.get("location", "")
    made = f"https://{place}{'.' if place else ''}dc.{suffix}" if suffix else ""
    return parts.get("ingestionendpoint") or made


def _without_path(address: str) -> str:
    address = address.rstrip("/")
    for path in _TRACK_PATHS:
        address = address.removesuffix(path)
    return address.rstrip("/")

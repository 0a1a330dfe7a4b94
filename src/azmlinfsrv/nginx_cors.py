"""Cross-origin headers of the answers that nginx itself gives: the rules of `cors`, as maps of nginx's.

Preflights are left to the server: a browser takes no answer of 4xx or 5xx for one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from azmlinfsrv.cors import ALLOW_ORIGIN, Cors, is_pattern

# What Python's expressions and nginx's (PCRE) have in common; a pattern with more than that allows nothing here.
_COMMON = re.compile(r"(?:\(\?:|\((?!\?)|\[(?![\[:.=])|[A-Za-z0-9 :/_|.*+?^$)\]-]|\\[.dw/*+?:-])+")


def maps(cors: Cors) -> Iterator[tuple[str, str, list[tuple[str, str]]]]:
    """Yield the maps that `fields` uses: the source, the variable, and patterns with their values, not yet quoted."""
    allowed = [("~*" + pattern, "$http_origin") for pattern in map(_pattern, cors.origins) if pattern]
    yield "$http_origin", "$cors_origin", [("", cors.without_origin), *allowed, ("default", "")]
    same = [] if cors.varies else [(f"~*^{re.escape(cors.origins[0])}$", "")]
    yield "$cors_origin", "$cors_vary", [("", ""), ("*", ""), *same, ("default", "Origin")]
    asked = "$http_access_control_request_private_network:$cors_origin"
    yield asked, "$cors_private", [("~^true:.", "false"), ("default", "")]


def fields() -> Iterator[str]:
    """Yield the lines that add the headers; nginx leaves out those whose value is empty."""
    yield f"add_header {ALLOW_ORIGIN} $cors_origin always;"
    yield "add_header Access-Control-Allow-Private-Network $cors_private always;"
    yield "add_header Vary $cors_vary always;"


def _pattern(listed: str) -> str:
    """Return the expression of one listed origin, or "" where nginx has none that means the same."""
    if listed == "*":
        return "."
    if is_pattern(listed):
        return f"^(?:{listed})" if _COMMON.fullmatch(listed) else ""
    scheme = "" if "://" in listed else "(.*://)?"
    return f"^{scheme}{re.escape(listed)}$"

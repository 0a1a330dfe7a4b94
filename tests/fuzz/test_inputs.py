"""Whatever a client sends as its input, a script of any style answers or refuses: no fault of the server's, no hang."""

from __future__ import annotations

import gzip
import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from azmlinfsrv.errors import InvalidIdError
from azmlinfsrv.flask_bridge import FlaskBridge
from azmlinfsrv.identity import IdSource, fallback_ids, resolve_ids
from azmlinfsrv.inputs import input_parser, query_texts, query_values
from azmlinfsrv.logs import printable
from azmlinfsrv.messages import Request, Response
from azmlinfsrv.scorer import Scorer
from azmlinfsrv.script import load_script
from azmlinfsrv.settings import Settings
from azmlinfsrv.telemetry.prometheus import accepts_openmetrics
from azmlinfsrv.telemetry.trace_context import parse_traceparent
from tests.schemas import own_schemas
from tests.unit.http_fakes import headers_of, request

SCRIPTS = Path(__file__).parent / "scripts"
# scripts/fuzz asks for more.
EXAMPLES = int(os.environ.get("AZMLINFSRV_FUZZ_EXAMPLES", "60"))
LIMIT = 100_000
FUZZED = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)

NUMBERS = st.one_of(
    st.integers(),
    st.floats(),
    st.sampled_from([10**18, 2**63, 2**64, -(2**63) - 1, 10**400, 1e308, -0.0, float("nan"), float("inf")]),
)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(st.characters(), max_size=20),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=8), inner, max_size=5),
    max_leaves=20,
)
NAMES = st.sampled_from(["array", "table", "name", "numbers", "items", "count", "tags", "data"])
ITEM = st.dictionaries(st.sampled_from(["name", "price", "when", "parts", "a", "b", "c", "0", "x"]), VALUES, max_size=4)
OBJECTS = st.dictionaries(
    NAMES, VALUES | st.lists(ITEM, max_size=3) | st.lists(st.lists(NUMBERS, max_size=3)), max_size=5
)
DEEP = st.integers(1, 200_000).map(lambda depth: b"[" * depth)
LONG = st.integers(1, 10_000).map(lambda digits: b'{"items": [], "count": %s}' % (b"9" * digits))
TEXTS = st.one_of(
    OBJECTS.map(lambda value: json.dumps(value).encode()),
    OBJECTS.map(lambda value: json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")),
    VALUES.map(lambda value: json.dumps(value).encode("utf-16")),
    st.binary(max_size=200),
    DEEP,
    DEEP.map(lambda deep: deep + b"]" * len(deep)),
    DEEP.map(lambda deep: b'{"items": %s%s, "array": %s, "table": 1}' % (deep, b"]" * len(deep), deep)),
    DEEP.map(lambda deep: deep.replace(b"[", b'{"parts":')),
    LONG,
)
CUT = st.tuples(TEXTS, st.integers(0, 300), st.binary(max_size=3)).map(lambda t: t[0][: t[1]] + t[2] + t[0][t[1] :])
BODIES = TEXTS | CUT
TYPES = st.one_of(
    st.sampled_from(
        [
            *("application/json", "application/json; charset=utf-16", "application/vnd.x+json", "text/plain", ""),
            *("application/x-www-form-urlencoded", "multipart/form-data; boundary=b", "multipart/form-data", "a/b;;="),
            *(
                'multipart/form-data; boundary="',
                "multipart/form-data; boundary=" + "b" * 300,
                "application/octet-stream",
            ),
        ]
    ),
    st.text(st.characters(max_codepoint=255, exclude_categories=["Cc"]), max_size=30),
)
FIELDS = st.text(st.characters(max_codepoint=255, exclude_characters="\r\n\0"), max_size=40)
PARTS = st.tuples(FIELDS, st.binary(max_size=50)).map(
    lambda part: b"--b\r\nContent-Disposition: form-data; name=%s\r\n\r\n%s\r\n" % (part[0].encode("latin-1"), part[1])
)
FORMS = st.lists(PARTS, max_size=4).map(lambda parts: b"".join(parts) + b"--b--\r\n")

CONTROL = re.compile(r"[\x00-\x1f\x7f]")

Ask = Callable[[Request], Response]


def asking(name: str) -> Ask:
    """Return a function that has a script of `scripts` answer a request."""
    script = load_script(Settings(entry_script=str(SCRIPTS / f"{name}.py"), app_root=str(SCRIPTS)))
    bridge = FlaskBridge(flask_one=True)
    scorer = Scorer(script, input_parser(script, bridge.request, LIMIT), bridge.context)
    return lambda request: scorer.score(request, lambda function, arguments: function(**arguments))


@pytest.fixture(scope="module")
def ask() -> Iterator[Callable[[str], Ask]]:
    """A function that returns the script of a name; all of them are loaded once."""
    # inference-schema keeps what it was told by the names of functions, which all scripts share: the one with it last.
    with own_schemas():
        yield {name: asking(name) for name in ("raw", "plain", "typed", "schema")}.__getitem__


def check(response: Response, *statuses: int) -> None:
    """Check that an answer is one of these, and tells nothing of the inside."""
    assert response.status in statuses, (response.status, response.body[:500])
    assert b"Traceback" not in response.body and b"site-packages" not in response.body
    assert response.status == 200 or "message" in json.loads(response.body)
    assert "content-type" in headers_of(response)


@pytest.mark.parametrize("name", ["plain", "schema", "typed"])
@given(body=BODIES, content_type=TYPES, coding=st.sampled_from(["", "gzip", "deflate", "packed", "br"]))
@example(body=b"", content_type="application/json", coding="")
@FUZZED
def test_bodies(ask: Callable[[str], Ask], name: str, body: bytes, content_type: str, coding: str) -> None:
    """A body gets its result, or 400, 413 or 415."""
    fields = {"content_type": content_type.encode("latin-1", "replace").decode("latin-1")}
    if coding == "packed":
        body, coding = gzip.compress(body), "gzip"
    if coding:
        fields["content_encoding"] = coding
    check(ask(name)(request("POST", "/score", body, **fields)), 200, 400, 413, 415)


@pytest.mark.parametrize("name", ["plain", "schema", "typed"])
@given(query=st.binary(max_size=100) | st.lists(st.tuples(NAMES, VALUES.map(json.dumps))).map(str).map(str.encode))
@FUZZED
def test_queries(ask: Callable[[str], Ask], name: str, query: bytes) -> None:
    """A query gets its result, or 400."""
    asked = request("GET", "/score")
    asked.query = query
    check(ask(name)(asked), 200, 400)
    assert set(query_values(query)) == set(query_texts(query))


@given(
    body=BODIES | FORMS, content_type=TYPES, field=FIELDS, name=st.sampled_from(["cookie", "accept", "range", "host"])
)
@FUZZED
def test_raw_requests(ask: Callable[[str], Ask], body: bytes, content_type: str, field: str, name: str) -> None:
    """A script that takes the HTTP request can ask it for forms, files, JSON and fields, whatever they are."""
    fields = {"content_type": content_type, name: field, "accept_language": field, "if_modified_since": field}
    check(ask("raw")(request("POST", "/score?" + field.replace("#", ""), body, **fields)), 200, 400, 413, 415)


@given(ids=st.tuples(*[st.text(st.characters(max_codepoint=255), max_size=110)] * 3))
@FUZZED
def test_ids(ids: tuple[str, str, str]) -> None:
    """What is taken for an id can be written to a header and a line of the log; the rest is refused."""
    source = IdSource()
    try:
        resolved = resolve_ids(*ids, source)
    except InvalidIdError:
        resolved = fallback_ids(ids[0], source)
    assert all(printable(each).isprintable() and not CONTROL.search(each) and len(each) <= 100 for each in resolved)


@given(value=st.binary(max_size=80) | st.text("0123456789abcdef-", max_size=60).map(str.encode))
@FUZZED
def test_trace_context(value: bytes) -> None:
    """A traceparent is one, or there is none."""
    parsed = parse_traceparent(value)
    assert parsed is None or (len(parsed[0]), len(parsed[1])) == (32, 16)


@given(value=FIELDS)
@FUZZED
def test_accept(value: str) -> None:
    """Any Accept is answered in one of the two formats."""
    assert accepts_openmetrics(value) in (True, False)


@given(value=VALUES)
@FUZZED
def test_results(value: Any) -> None:
    """What JSON may hold comes out as it went in, by the standard library's measure."""
    from azmlinfsrv import codec

    text = codec.dumps(value)
    assert json.dumps(json.loads(text)) == json.dumps(json.loads(json.dumps(value)))
    assert json.dumps(codec.loads(text)) == json.dumps(json.loads(text))

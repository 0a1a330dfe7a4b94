"""The CORS policy, by the rules that the module records: the documentation, release 1.5.1, the Fetch standard."""

from __future__ import annotations

import pytest

from azmlinfsrv.cors import Cors
from azmlinfsrv.messages import Response
from tests.unit.http_fakes import request

ONE = "http://www.one.test"
PREFLIGHT = {"access_control_request_method": "POST", "access_control_request_headers": "x-own, content-type"}


def cors_headers(
    origins: str, origin: str = "", method: str = "POST", own: list[tuple[str, str]] | None = None, /, **headers: str
) -> dict[str, str]:
    """Return the CORS headers of an answer, and Vary, under their lower-case names.

    Args:
        origins: AML_CORS_ORIGINS.
        origin: the Origin header of the request, or "" for none.
        method: method of the request.
        own: headers that the script set.
        **headers: other headers of the request.
    """
    if origin:
        headers["origin"] = origin
    response = Response(200, b"", list(own or []))
    Cors(origins).apply(request(method, "/score", **headers), response)
    found = {name.lower(): value for name, value in response.headers}
    assert len(found) == len(response.headers), f"a header stands twice: {response.headers}"
    return found


@pytest.mark.parametrize(
    ("origins", "origin"),
    [
        ("http://www.one.test", ONE),
        ("http://www.two.test, http://www.one.test", ONE),
        (" http://www.one.test ,www.two.test", ONE),
        ("HTTP://WWW.ONE.TEST", ONE),
        ("http://www.one.test", "http://WWW.One.Test"),
        ("www.one.test", ONE),
        ("www.one.test", "https://www.one.test"),
        ("www.one.test", "www.one.test"),
        ("WWW.one.test ", ONE),
        ("www.one.test:8080", "https://www.one.test:8080"),
        ("*", ONE),
        ("*", "null"),
        ("http://www.two.test,*", ONE),
        (r"http://.*\.one\.test", ONE),
        (r"HTTPS?://www\.(one|two)\.test$", ONE),
    ],
)
def test_listed_origins_are_allowed(origins: str, origin: str) -> None:
    """An origin, the domain of any scheme, a pattern or `*` allows the origin, which is answered as it was sent."""
    assert cors_headers(origins, origin)["access-control-allow-origin"] == origin


@pytest.mark.parametrize(
    ("origins", "origin"),
    [
        ("http://www.one.test", "https://www.one.test"),
        ("http://www.one.test", "http://www.one.test:8080"),
        ("http://www.one.test", "http://www.one.test.evil.test"),
        ("http://www.one.test", "null"),
        ("www.one.test", "http://one.test"),
        ("www.one.test", "http://evil-www.one.test"),
        ("www.one.test", "http://www.one.test.evil.test"),
        ("www.one.test", "http://www.one.test:8080"),
        (r"http://.*\.one\.test$", "http://www.one.test.evil.test"),
        (r"http://www\.one\.test", "https://www.one.test"),
    ],
)
def test_other_origins_get_nothing(origins: str, origin: str) -> None:
    """An origin that is not listed gets no CORS header, for a simple request or a preflight."""
    assert set(cors_headers(origins, origin)) <= {"vary"}
    assert set(cors_headers(origins, origin, "OPTIONS", **PREFLIGHT)) <= {"vary"}


@pytest.mark.parametrize(
    ("origins", "expected"),
    [
        ("*", "*"),
        ("http://www.one.test", "http://www.one.test"),
        ("http://b.test, http://a.test", "http://a.test"),
        (r"http://a.*\.test,http://b.test", "http://b.test"),
    ],
)
def test_requests_without_an_origin(origins: str, expected: str) -> None:
    """Without an Origin header the answer names `*`, or the first of the listed origins, as the release does."""
    assert cors_headers(origins)["access-control-allow-origin"] == expected


def test_a_pattern_alone_names_nothing_without_an_origin() -> None:
    """A pattern is no origin that an answer could name."""
    assert cors_headers(r"http://.*\.test") == {}


@pytest.mark.parametrize("method", ["GET", "POST", "HEAD", "OPTIONS"])
def test_simple_requests_get_the_origin_only(method: str) -> None:
    """What is no preflight gets no lists of methods and headers."""
    assert cors_headers(ONE, ONE, method) == {"access-control-allow-origin": ONE}


@pytest.mark.parametrize("wanted", ["GET", "POST", "post"])
def test_preflight(wanted: str) -> None:
    """A preflight for GET or POST is told the methods, and the headers that it asked for, sorted."""
    headers = PREFLIGHT | {"access_control_request_method": wanted}
    assert cors_headers(ONE, ONE, "OPTIONS", **headers) == {
        "access-control-allow-origin": ONE,
        "access-control-allow-headers": "content-type, x-own",
        "access-control-allow-methods": "GET, POST",
    }


def test_preflight_without_headers() -> None:
    """A preflight that asks for no headers is told the methods alone."""
    assert cors_headers(ONE, ONE, "OPTIONS", access_control_request_method="POST") == {
        "access-control-allow-origin": ONE,
        "access-control-allow-methods": "GET, POST",
    }


@pytest.mark.parametrize("wanted", ["PUT", "DELETE", "PATCH", ""])
def test_preflight_for_another_method(wanted: str) -> None:
    """A preflight for a method that the service does not take is told no methods."""
    headers = PREFLIGHT | {"access_control_request_method": wanted}
    assert cors_headers(ONE, ONE, "OPTIONS", **headers) == {"access-control-allow-origin": ONE}


def test_private_networks_are_not_opened() -> None:
    """A page of the public network that asks for a private one is told that it may not, as the release says."""
    found = cors_headers(ONE, ONE, "OPTIONS", access_control_request_private_network="true", **PREFLIGHT)
    assert found["access-control-allow-private-network"] == "false"


@pytest.mark.parametrize("name", ["Access-Control-Allow-Origin", "access-control-allow-origin"])
def test_the_scripts_own_headers_are_left_alone(name: str) -> None:
    """A `@rawhttp` script that answers CORS itself is not added to (`inference-server.md`, "CORS Support")."""
    own = [(name, "http://own.test"), ("Access-Control-Max-Age", "60")]
    assert cors_headers("*", ONE, "OPTIONS", own, **PREFLIGHT) == {
        "access-control-allow-origin": "http://own.test",
        "access-control-max-age": "60",
    }


@pytest.mark.parametrize("origins", ["http://www.one.test,http://www.two.test", r"http://.*\.test", "*"])
def test_vary(origins: str) -> None:
    """An answer that names one of several possible origins says that it varies by origin."""
    assert cors_headers(origins, ONE)["vary"] == "Origin"


def test_one_origin_does_not_vary() -> None:
    """One listed origin is named in every answer that has it."""
    assert "vary" not in cors_headers(ONE, ONE)
    assert "vary" not in cors_headers(ONE)


def test_any_origin_does_not_vary_without_one() -> None:
    """The answer `*` is the same for everybody."""
    assert cors_headers("*") == {"access-control-allow-origin": "*"}


def test_a_domain_varies() -> None:
    """A domain stands for the origins of every scheme, so the answer depends on the Origin (Fetch, CORS and caches)."""
    assert cors_headers("www.one.test", "http://www.one.test")["vary"] == "Origin"


def test_vary_of_the_script_stays() -> None:
    """What the script says about Vary is kept beside the server's own."""
    response = Response(200, b"", [("Vary", "Accept")])
    Cors("*").apply(request("POST", "/score", origin=ONE), response)
    assert [value for name, value in response.headers if name == "Vary"] == ["Accept", "Origin"]

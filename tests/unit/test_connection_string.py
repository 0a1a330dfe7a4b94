"""Instrumentation keys and connection strings."""

from __future__ import annotations

import pytest

from azmlinfsrv.connection_string import DEFAULT_ENDPOINT, parse_target

KEY = "01234567-89ab-cdef-0123-456789abcdef"


@pytest.mark.parametrize(
    "key",
    [
        "",
        None,
        "not-a-key",
        "a" * 36,
        KEY[:-1],
        f"{KEY}0",
        f"InstrumentationKey={KEY[:-1]}",
        "IngestionEndpoint=https://example.org/",
        f"InstrumentationKey={KEY};nonsense",
        f"InstrumentationKey={KEY};Authorization=other",
        f"InstrumentationKey={KEY};IngestionEndpoint=file:///tmp",
    ],
)
def test_what_is_no_key(key: str | None) -> None:
    """What has no UUID as its key, or no address that can be one, is no target."""
    assert parse_target(key) is None


@pytest.mark.parametrize("key", [KEY, KEY.upper(), f"InstrumentationKey={KEY}", f"instrumentationkey={KEY};"])
def test_a_key_alone(key: str) -> None:
    """A key in any case of letters, bare or in a connection string, goes to Azure's own endpoint."""
    target = parse_target(key)
    assert target is not None
    assert (target.key, target.endpoint) == (KEY, DEFAULT_ENDPOINT)


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [
        ("IngestionEndpoint=https://westeurope-5.in.test/", "https://westeurope-5.in.test"),
        ("INGESTIONENDPOINT=http://127.0.0.1:5000", "http://127.0.0.1:5000"),
        ("EndpointSuffix=example.cn", "https://dc.example.cn"),
        ("Location=west;EndpointSuffix=example.cn", "https://west.dc.example.cn"),
    ],
)
def test_endpoints_of_connection_strings(text: str, endpoint: str) -> None:
    """The endpoint is named, or made from suffix and location."""
    target = parse_target(f"InstrumentationKey={KEY};{text}")
    assert target is not None
    assert target.endpoint == endpoint


@pytest.mark.parametrize("path", ["", "/", "/v2/track", "/v2.1/track", "/v2/track/"])
def test_an_endpoint_with_a_path(path: str) -> None:
    """The path of the interface may stand in the endpoint, as in its documented default; what is before it stays."""
    target = parse_target(KEY, f"http://proxy.test/prefix{path}")
    assert target is not None
    assert target.endpoint == "http://proxy.test/prefix"


def test_the_connection_string_of_the_exporter() -> None:
    """The exporter is told key, endpoint and audience, and nothing that would have it talk to somebody else."""
    text = (
        f"InstrumentationKey={KEY.upper()};IngestionEndpoint=http://a.test/;LiveEndpoint=http://live.test;AADAudience=x"
    )
    target = parse_target(text)
    assert target is not None
    assert target.connection_string == f"InstrumentationKey={KEY};IngestionEndpoint=http://a.test;aadaudience=x"

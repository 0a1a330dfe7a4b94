"""Cases: header fields and Host (RFC 9112 sections 2.2, 3.2 and 5, RFC 9110 sections 5 and 7.2)."""

from __future__ import annotations

from tests.http.case import HEALTHY, REFUSED_AND_CLOSED, After, Case, Expect, echo, get, lines


def _refused(name: str, rfc: str, claim: str, *fields: str | bytes) -> Case:
    """Return the case of a GET whose header block, Host aside, is these lines, and which is malformed."""
    return Case(name, rfc, claim, (get("/", *fields),), (REFUSED_AND_CLOSED,), After.CLOSED)


def _value(name: str, rfc: str, claim: str, line: str, value: str, *, asgi: bool = True) -> Case:
    """Return the case of an X-Echo field line whose value the script must see as given."""
    return Case(name, rfc, claim, (get("/score", line),), (echo("GET", echo=value),), asgi=asgi)


def _host(name: str, rfc: str, claim: str, *hosts: str) -> Case:
    """Return the case of Host lines that are refused."""
    request = lines("GET / HTTP/1.1", *hosts)
    return Case(name, rfc, claim, (request,), (REFUSED_AND_CLOSED,), After.CLOSED)


MALFORMED = (
    _refused("name-space-before-colon", "9112 5.1", "no space before the colon", "X-Bad : 1"),
    _refused("name-tab-before-colon", "9112 5.1", "nor a tab", "X-Bad\t: 1"),
    _refused("name-length-space-colon", "9112 5.1", "least of all in Content-Length", "Content-Length : 5"),
    _refused("name-with-space", "9110 5.1", "a name has no space", "Bad Name: 1"),
    _refused("name-empty", "9110 5.1", "a name is not empty", ": 1"),
    _refused("name-no-colon", "9112 5", "a field line has a colon", "NoColonHere"),
    _refused("name-control", "9110 5.1", "a name has no control character", "X-\x01Bad: 1"),
    _refused("name-nul", "9110 5.1", "nor NUL", "X-\x00Bad: 1"),
    _refused("name-delimiter", "9110 5.6.2", "nor a delimiter", "X(Bad): 1"),
    _refused("name-quoted", "9110 5.6.2", "nor quotes", '"X-Bad": 1'),
    _refused("name-not-ascii", "9110 5.1", "nor a byte outside ASCII", b"X-\xc3\xa9: 1"),
    _refused("value-nul", "9110 5.5", "a value has no NUL", "X-Bad: a\x00b"),
    _refused("value-bare-cr", "9112 2.2", "a bare CR in a value", b"X-Bad: a\rb"),
    _refused("value-bare-cr-field", "9112 2.2", "a bare CR does not end a field line", b"X-A: 1\rX-B: 2"),
    _refused("value-bare-lf", "9112 2.2", "a bare LF does not end a field line", b"X-A: 1\nX-B: 2"),
    _refused("value-double-cr", "9112 2.2", "CR CR LF does not end a field line", b"X-A: 1\r"),
    _refused("fold-space", "9112 5.2", "a folded line", "X-Fold: a", " b"),
    _refused("fold-tab", "9112 5.2", "also folded with a tab", "X-Fold: a", "\tb"),
    _refused("fold-length", "9112 5.2", "a folded Content-Length", "Content-Length:", " 5"),
    _refused("fold-coding", "9112 5.2", "a folded Transfer-Encoding", "Transfer-Encoding:", " chunked"),
    _refused("fold-blank", "9112 5.2", "a line of one space does not end the block", "X-A: 1", " "),
)

RAW = (
    Case(
        id="space-before-first-field",
        rfc="9112 2.2",
        claim="a first field line that begins with space is refused",
        steps=(lines("GET / HTTP/1.1", " Host: t", "Host: t"),),
        expect=(REFUSED_AND_CLOSED,),
        after=After.CLOSED,
    ),
    Case(
        id="bare-lf-everywhere",
        rfc="9112 2.2",
        claim="a request with LF for every line end is refused (the parser is strict)",
        steps=(b"GET / HTTP/1.1\nHost: t\n\n",),
        expect=(REFUSED_AND_CLOSED,),
        after=After.CLOSED,
    ),
    Case(
        id="bare-lf-ends-block",
        rfc="9112 2.2",
        claim="a bare LF does not end the header block",
        steps=(b"GET / HTTP/1.1\r\nHost: t\r\n\n",),
        expect=(REFUSED_AND_CLOSED,),
        after=After.CLOSED,
    ),
    Case(
        id="bare-cr-ends-block",
        rfc="9112 2.2",
        claim="nor does a bare CR",
        steps=(b"GET / HTTP/1.1\r\nHost: t\r\n\rX",),
        expect=(REFUSED_AND_CLOSED,),
        after=After.CLOSED,
    ),
)

VALUES = (
    _value("value-plain", "9112 5", "a value arrives", "X-Echo: plain", "plain"),
    _value(
        *("value-trimmed", "9112 5.1", "space around a value is not part of it", "X-Echo:  a b  ", "a b"),
        asgi=False,
    ),
    _value("value-trimmed-tabs", "9112 5.1", "nor are tabs", "X-Echo: \t a b \t ", "a b", asgi=False),
    _value("value-no-space", "9112 5.1", "the space after the colon is optional", "X-Echo:tight", "tight"),
    _value("value-empty", "9112 5", "a value may be empty", "X-Echo:", ""),
    _value("value-tab-inside", "9110 5.5", "a tab inside stays", "X-Echo: a\tb", "a\tb"),
    _value("value-obs-text", "9110 5.5", "bytes above 127 are opaque", "X-Echo: caf\xe9", "caf\xe9"),
    _value("value-colon", "9112 5", "a value may have colons", "X-Echo: a:b: c", "a:b: c"),
    _value("name-any-case", "9110 5.1", "names have no case", "x-eCHO: yes", "yes"),
    _value(
        "value-twice",
        "9110 5.3",
        "two lines of a name are one list, in order",
        "X-Echo: a\r\nX-Echo: b",
        "a,b",
    ),
    Case(
        id="name-all-token-characters",
        rfc="9110 5.6.2",
        claim="every character of a token may be in a name",
        steps=(get("/", "!#$%&'*+-.^_`|~09azAZ: 1"),),
        expect=(HEALTHY,),
        asgi=True,
    ),
    Case(
        id="value-control",
        rfc="9110 5.5",
        claim="a control character in a value is refused or kept, and breaks nothing",
        steps=(get("/", "X-Control: a\x01b"),),
        expect=(Expect((200, 400)),),
        after=After.EITHER,
    ),
    Case(
        id="fields-many",
        rfc="9110 5.4",
        claim="a hundred fields are no trouble",
        steps=(get("/", *(f"X-Field-{number}: {number}" for number in range(100))),),
        expect=(HEALTHY,),
        asgi=True,
    ),
)

REFUSED_HOSTS = (
    _host("host-missing", "9112 3.2", "a request of 1.1 without Host is refused"),
    _host("host-twice", "9112 3.2", "two Host lines are refused", "Host: t", "Host: u"),
    _host("host-twice-same", "9112 3.2", "even when they agree", "Host: t", "Host: t"),
    _host("host-with-space", "9112 3.2", "a Host with a space in it", "Host: a b"),
    _host("host-list", "9112 3.2", "a list of hosts", "Host: a, b"),
    _host("host-with-path", "9112 3.2", "a Host with a path", "Host: t/score"),
    _host("host-with-scheme", "9112 3.2", "a URL for a Host", "Host: http://t"),
    _host("host-with-user", "9110 7.2", "a Host with user information", "Host: user@t"),
    _host("host-bad-port", "9110 7.2", "a Host whose port is not a number", "Host: t:port"),
    Case(
        id="host-missing-on-absolute",
        rfc="9112 3.2",
        claim="the absolute form does not replace Host on 1.1",
        steps=(lines("GET http://t/ HTTP/1.1"),),
        expect=(REFUSED_AND_CLOSED,),
        after=After.CLOSED,
    ),
    Case(
        id="host-missing-on-http10",
        rfc="9112 3.2",
        claim="a request of 1.0 needs no Host",
        steps=(lines("GET / HTTP/1.0"),),
        expect=(Expect(200, body=b"Healthy"),),
        after=After.CLOSED,
        http_minor=0,
        asgi=True,
    ),
    Case(
        id="host-twice-on-http10",
        rfc="9112 3.2",
        claim="two Host lines are refused on any version",
        steps=(lines("GET / HTTP/1.0", "Host: t", "Host: t"),),
        expect=(Expect(400),),
        after=After.CLOSED,
        http_minor=0,
    ),
)

TAKEN_HOSTS = tuple(
    Case(
        id=f"host-{name}",
        rfc="9112 3.2; 9110 7.2",
        claim=f"a Host may be {value or 'empty'}",
        steps=(lines("GET / HTTP/1.1", f"Host: {value}".rstrip()),),
        expect=(HEALTHY,),
        asgi=True,
    )
    for name, value in (
        ("empty", ""),
        ("port", "example.test:5001"),
        ("empty-port", "example.test:"),
        ("ipv4", "127.0.0.1:80"),
        ("ipv6", "[::1]:80"),
        ("sub-delims", "a_b-c~d!$&'()*+;=.test"),
        ("percent-encoded", "caf%C3%A9.test"),
    )
)

CASES = MALFORMED + RAW + VALUES + REFUSED_HOSTS + TAKEN_HOSTS

"""The suite itself: its cases, its list of differences, and how it tells one text from another."""

from __future__ import annotations

import errno
import socket
import sys

import pytest

from tests.ports import ReservedPort

from .cases import CaseError, load_blocks, parse_request
from .client import Answer
from .compare import Item, compare_exchange, compare_lines
from .compatibility import DOCUMENT, outdated
from .differences import SHARED, Difference, Sides, load_differences, unlisted
from .normalise import Normaliser
from .process import Exchange
from .tracebacks import reduce_tracebacks

AT_LEAST = 300
ID = "5b4fca9b-68a1-4a6a-a4f0-9c1f9a5f8f6e"
OTHER_ID = "0c8f7a52-7b53-4c5e-9b0e-4f5a7a3d2c11"


@pytest.fixture
def sides(tmp_path_factory: pytest.TempPathFactory) -> tuple[Normaliser, Normaliser]:
    """Normalisers of two servers, each with its own folder and ports."""
    roots = (tmp_path_factory.mktemp("release"), tmp_path_factory.mktemp("current"))
    return Normaliser(roots[0], (20001, 20002)), Normaliser(roots[1], (20003, 20004))


@pytest.fixture
def difference() -> Difference:
    """A difference of one header in one group."""
    return Difference(
        "x", "x", ("group/*",), {"header:x": Sides("old", "new.*")}, {}, "why", "spec/contract.md", "says"
    )


def test_there_are_enough_cases() -> None:
    """The suite has at least as many cases as were asked for, each with an id of its own."""
    ids = [case_id for block in load_blocks() for case_id in block.case_ids]
    assert len(ids) == len(set(ids)) and len(ids) >= AT_LEAST


def test_unknown_key_is_refused() -> None:
    """A misspelt key of a case file is an error, not a case that tests less than it says."""
    with pytest.raises(CaseError, match="heders"):
        parse_request({"id": "x", "heders": {}})


@pytest.mark.parametrize("entry", load_differences(), ids=lambda entry: entry.id)
def test_difference_quotes_its_source(entry: Difference) -> None:
    """The lines that allow a difference stand in the documents that it names."""
    if not SHARED.is_dir():
        pytest.skip("the shared folder is not beside the project")
    assert entry.says in (SHARED / entry.source).read_text("utf-8")
    if entry.detail_source:
        assert entry.detail in (SHARED / entry.detail_source).read_text("utf-8")


def test_differences_have_ids_of_their_own() -> None:
    """An entry can be told from every other by its id, and says why."""
    entries = load_differences()
    assert len({entry.id for entry in entries}) == len(entries) and all(entry.why for entry in entries)


def test_document_is_up_to_date() -> None:
    """The documentation lists exactly the intended differences."""
    assert not outdated(), f"run python -m tests.conformance.compatibility to write {DOCUMENT.name} anew"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a server listen on a port that is held")
def test_reserved_port_is_a_server_s_alone() -> None:
    """A server can listen on a reserved port; one that has not been told of it cannot, nor any once it is occupied."""

    def listen(reuse: bool) -> int:
        with socket.socket() as server:
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, reuse)
            try:
                server.bind(("127.0.0.1", port.number))
                server.listen()
            except OSError as error:
                return error.errno or 0
        return 0

    with ReservedPort() as port:
        assert [listen(True), listen(True), listen(False)] == [0, 0, errno.EADDRINUSE]
        port.occupy()
        assert listen(True) == errno.EADDRINUSE


def test_changed_wire_string_is_found(sides: tuple[Normaliser, Normaliser]) -> None:
    """One letter of an error message is a difference."""
    request = parse_request({"id": "x", "body": "1"})
    headers = (("Content-Type", "application/json"),)
    left = Exchange(request, Answer(400, "BAD REQUEST", headers, b'{"message": "Method not allowed"}'))
    right = Exchange(request, Answer(400, "BAD REQUEST", headers, b'{"message":"Method not allowed."}'))
    items = compare_exchange((left, right), sides, request)
    assert [item.aspect for item in items] == ["body"]


def test_json_is_compared_by_meaning(sides: tuple[Normaliser, Normaliser]) -> None:
    """Spaces, escapes and the order of keys do not count; NaN equals NaN; 1 and 1.0 differ."""
    request = parse_request({"id": "x"})
    headers = (("Content-Type", "application/json"),)

    def answer(body: bytes) -> Exchange:
        return Exchange(request, Answer(200, "OK", headers, body))

    first = answer(b'{"a": NaN, "b": "\\u00e9"}')
    assert not compare_exchange((first, answer('{"b":"é","a":NaN}'.encode())), sides, request)
    assert compare_exchange((answer(b"[1]"), answer(b"[1.0]")), sides, request)


def test_repeated_headers_count(sides: tuple[Normaliser, Normaliser]) -> None:
    """A header that comes twice is not the same as one that comes once."""
    request = parse_request({"id": "x"})
    once = Exchange(request, Answer(200, "OK", (("x-own", "1"),)))
    twice = Exchange(request, Answer(200, "OK", (("X-Own", "1"), ("x-own", "1"))))
    assert [item.aspect for item in compare_exchange((once, twice), sides, request)] == ["header:x-own"]


def test_generated_ids_keep_their_relations(sides: tuple[Normaliser, Normaliser]) -> None:
    """Two generated ids that are equal on one side have to be equal on the other."""
    request = parse_request({"id": "x"})
    same = Exchange(request, Answer(200, "OK", (("x-a", ID), ("x-b", ID))))
    unequal = Exchange(request, Answer(200, "OK", (("x-a", ID), ("x-b", OTHER_ID))))
    assert [item.aspect for item in compare_exchange((same, unequal), sides, request)] == ["header:x-b"]


def test_id_of_the_request_is_not_hidden(sides: tuple[Normaliser, Normaliser]) -> None:
    """An id that the request gave is compared as it is."""
    request = parse_request({"id": "x", "headers": {"x-request-id": ID}})
    kept = Exchange(request, Answer(200, "OK", (("x-request-id", ID),)))
    lost = Exchange(request, Answer(200, "OK", (("x-request-id", OTHER_ID),)))
    assert compare_exchange((kept, lost), sides, request)


def test_log_lines_are_compared_one_by_one() -> None:
    """A line more on one side is one difference, whatever comes after it."""
    assert compare_lines("stdout", "a\nb\nc\n", "a\nc\n") == [Item("stdout", "b", None)]


def test_times_have_to_be_utc(sides: tuple[Normaliser, Normaliser]) -> None:
    """A time stamp far from now is no time stamp of the server's."""
    text = "2001-02-03 04:05:06,789 I [12] azmlinfsrv - x"
    assert sides[0].log(text, sides[0].names()) == text


def test_user_frames_are_kept_and_server_frames_are_not() -> None:
    """A traceback is reduced to the script's frames and its exception, whatever is wrapped around it."""
    printed = [
        "E - Encountered Exception: Traceback (most recent call last):",
        '  File "<package>/server/user_script.py", line 1, in invoke_run',
        "    run()",
        '  File "<root>/app/score.py", line 2, in run',
        '    raise ValueError("a")',
        "ValueError: a",
        "second line",
        "",
        "The above exception was the direct cause of the following exception:",
        "",
        "Traceback (most recent call last):",
        '  File "<package>/server/routes.py", line 3, in handle_score',
        "    timed_result = 1",
        "azureml_inference_server_http.server.user_script.UserScriptException: "
        "Caught an unhandled exception from the user script",
        "",
        "after",
    ]
    assert reduce_tracebacks("\n".join(printed)).split("\n") == [
        "E - Encountered Exception: Traceback (most recent call last):",
        '  File "<root>/app/score.py", line 2, in run',
        '    raise ValueError("a")',
        "ValueError: a",
        "second line",
        "after",
    ]


@pytest.mark.parametrize(
    ("case_id", "item", "covered"),
    [
        ("group/one", Item("header:x", "old", "new one"), True),
        ("group/one", Item("header:x", "old", "other"), False),
        ("group/one", Item("header:y", "old", "new"), False),
        ("other/one", Item("header:x", "old", "new"), False),
        ("group/one", Item("header:x", "older", None), False),
        ("group/one", Item("header:x", None, "new"), True),
    ],
)
def test_difference_covers_only_what_it_says(difference: Difference, case_id: str, item: Item, covered: bool) -> None:
    """An entry excuses its cases, its aspects and its values, and nothing beside them."""
    assert bool(unlisted(case_id, [item], [difference])) is not covered


def test_pinned_body_has_to_be_met(difference: Difference) -> None:
    """Where an entry says what the body has to be, another body is not excused."""
    pinned = Difference("x", "x", ("g/*",), {"body": Sides()}, {"g/one": "JSON 1"}, "why", "source", "says")
    assert not unlisted("g/one", [Item("body", "JSON 2", "JSON 1")], [difference, pinned])
    assert unlisted("g/one", [Item("body", "JSON 2", "JSON 3")], [difference, pinned])

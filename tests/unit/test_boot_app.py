"""How the parts of a worker's application are put together."""

from __future__ import annotations

from azmlinfsrv import boot
from azmlinfsrv.errors import ClientLeftError
from azmlinfsrv.messages import Request, Response
from azmlinfsrv.outputs import error_response
from tests.unit.http_fakes import FakeScript, request


def test_what_is_collected() -> None:
    """A request whose turn never came is no call of run(), and is not collected; an answered one is."""
    script, collected, answered = FakeScript(), list[Request](), list[int]()

    def record(request: Request, _: Response) -> None:
        collected.append(request)

    submit = boot._recorded(script.submit, record)
    dropped, scored = request(), request()
    for each in (dropped, scored):
        submit(each, lambda _, response: answered.append(response.status))
    dropped.dropped = True
    script.answer(error_response(ClientLeftError()))
    script.answer()
    assert answered == [499, 200]
    assert collected == [scored]

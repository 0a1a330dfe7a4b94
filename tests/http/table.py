"""The table: every case of HTTP/1.1, in the order of the RFC's subjects."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.http import (
    cases_chunked,
    cases_connection,
    cases_expect,
    cases_fields,
    cases_framing,
    cases_hostile,
    cases_limits,
    cases_pipelining,
    cases_request_line,
    cases_responses,
)

if TYPE_CHECKING:
    from tests.http.case import Case

CASES: tuple[Case, ...] = (
    *cases_request_line.CASES,
    *cases_fields.CASES,
    *cases_framing.CASES,
    *cases_chunked.CASES,
    *cases_connection.CASES,
    *cases_expect.CASES,
    *cases_pipelining.CASES,
    *cases_responses.CASES,
    *cases_limits.CASES,
    *cases_hostile.CASES,
)

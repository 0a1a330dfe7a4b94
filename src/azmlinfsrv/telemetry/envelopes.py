"""Records as envelopes of Application Insights: the JSON that its ingestion endpoint takes.

The names of the custom dimensions are release 1.5.1's (`appinsights_client.py`) and `inference-server.md`'s
("Application insights"); ``STDOUT`` and ``Content`` are those of "Monitor and collect data from ML web service
endpoints" (Azure Machine Learning documentation). Schema: Bond schemas of Application Insights, version 2.
"""

from __future__ import annotations

import codecs
import json
import logging
import time
from collections.abc import Mapping
from typing import Any

from azmlinfsrv.identity import NO_REQUEST
from azmlinfsrv.telemetry.records import (
    TEXT_LIMIT,
    VALUE_LIMIT,
    ExceptionRecord,
    Failure,
    LogLine,
    Origin,
    PrintedLine,
    RequestRecord,
    Service,
)
from azmlinfsrv.telemetry.trace_context import SpanIds, span_ids

NO_TEXT = json.dumps("Scoring request response payload is a non serializable object or raw binary")
MODEL_DATA = "model_data_collection"

_URL_LIMIT = 2048
_NAME_LIMIT = 1024
_VERBOSE, _INFORMATION, _WARNING, _ERROR, _CRITICAL = range(5)

Envelope = dict[str, Any]


class Envelopes:
    """Makes envelopes; used on one thread.

    Args:
        key: instrumentation key.
        service: what all envelopes have in common.
        log_response: APP_INSIGHTS_LOG_RESPONSE_ENABLED.
    """

    def __init__(self, key: str, service: Service, log_response: bool) -> None:
        self._key = key
        self._service = service
        self._log_response = log_response
        self._models = json.dumps(list(service.models))
        self._tags = {
            "ai.cloud.role": service.name,
            "ai.cloud.roleInstance": service.instance,
            "ai.internal.nodeName": service.instance,
            "ai.internal.sdkVersion": f"azmlinfsrv:{service.version}",
        }
        self._second = (-1, "")

    def request(self, record: RequestRecord) -> list[Envelope]:
        """Return the envelope of a request, and that of its model data, if that is collected and ``run()`` returned."""
        origin, ids = record.origin, span_ids(record.origin)
        start, duration_ms = self._time(record.start_ns), record.duration_ns // 1_000_000
        url = full_url(record)
        success = record.status < 400 and not record.outcome
        properties = {
            **self._dimensions(origin),
            "name": record.path[:VALUE_LIMIT],
            "url": url[:VALUE_LIMIT],
            "start_time": start,
            "duration": release_duration(duration_ms),
            "resultCode": str(record.status),
            "success": str(success),
            "http_method": record.method,
            "Workspace Name": self._service.workspace,
            "Service Name": self._service.name,
        }
        if self._log_response:
            properties["Response Value"] = response_value(record)
        if record.outcome:
            properties["outcome"] = record.outcome
        data = {
            "ver": 2,
            "id": ids.span_id,
            "name": record.path[:_NAME_LIMIT],
            "duration": timespan(record.duration_ns),
            "success": success,
            "responseCode": str(record.status),
            "url": url[:_URL_LIMIT],
            "properties": properties,
        }
        if record.run_ms is not None:
            data["measurements"] = {"run_ms": record.run_ms}
        tags = {**self._tags, "ai.operation.id": ids.trace_id, "ai.operation.name": record.path[:_NAME_LIMIT]}
        if ids.parent_id:
            tags["ai.operation.parentId"] = ids.parent_id
        envelopes = [self._envelope("Request", start, tags, data)]
        if record.body is not None and record.run_ms is not None:
            envelopes.append(self._model_data(record, ids))
        return envelopes

    def _model_data(self, record: RequestRecord, ids: SpanIds) -> Envelope:
        text = decode(record.body or b"", len(record.body or b"") >= VALUE_LIMIT)
        if text is None:
            text = NO_TEXT
        elif record.is_text:
            text = json.dumps(text)
        properties = {
            **self._dimensions(record.origin),
            "Workspace Name": self._service.workspace,
            "Service Name": self._service.name,
            "Models": self._models,
            "Input": text[:VALUE_LIMIT],
            "Prediction": response_value(record),
        }
        when = self._time(record.start_ns + record.duration_ns)
        return self._message(MODEL_DATA, _INFORMATION, properties, when, self._tags_of(record.origin, ids))

    def printed(self, record: PrintedLine) -> Envelope:
        """Return the envelope of a printed line, with its request id before it as the documents say."""
        origin = record.origin or Origin(record.request_id, "", 0.0, b"", b"", "")
        properties = {
            **self._dimensions(origin),
            "Workspace Name": self._service.workspace,
            "Service Name": self._service.name,
            "Content": f"{record.request_id},{record.text}"[:VALUE_LIMIT],
        }
        level = _ERROR if record.stream == "stderr" else _INFORMATION
        tags = self._tags_of(record.origin)
        return self._message(record.stream.upper(), level, properties, self._time(record.time_ns), tags)

    def log_line(self, record: LogLine) -> Envelope:
        """Return the envelope of a record of the script's logging: an exception, where it carries one."""
        file, line, function = record.place
        properties = {
            **self._dimensions(record.origin or _NOWHERE),
            "Workspace Name": self._service.workspace,
            "Service Name": self._service.name,
            "logger_name": record.logger,
            "code.file.path": file,
            "code.function.name": function,
            "code.line.number": str(line),
        }
        tags, when = self._tags_of(record.origin), self._time(record.time_ns)
        if record.failure is not None:
            properties["Message"] = record.message[:VALUE_LIMIT]
            return self._exception(record.failure, properties, when, tags, severity(record.level))
        return self._message(record.message, severity(record.level), properties, when, tags)

    def exception(self, record: ExceptionRecord) -> Envelope:
        """Return the envelope of an exception of the user's code."""
        # Release 1.5.1 gives "Unknown" as the id of a failure of init().
        origin = record.origin or Origin("Unknown", "", 0.0, b"", b"", "")
        properties = {
            **self._dimensions(origin),
            "Workspace Name": self._service.workspace,
            "Service Name": self._service.name,
        }
        tags = self._tags_of(record.origin)
        return self._exception(record.failure, properties, self._time(record.time_ns), tags, _ERROR)

    # -- parts ---------------------------------------------------------------------------------------------------

    def _exception(
        self, failure: Failure, properties: Mapping[str, str], when: str, tags: Mapping[str, str], level: int
    ) -> Envelope:
        frames = [
            {"level": level, "method": function, "fileName": file, "line": line}
            for level, (file, line, function) in enumerate(reversed(failure.frames))
        ]
        details = {
            "typeName": failure.type_name[:_NAME_LIMIT],
            "message": failure.message[:TEXT_LIMIT] or failure.type_name[:_NAME_LIMIT],
            "hasFullStack": True,
            "stack": failure.stack[:TEXT_LIMIT],
            "parsedStack": frames,
        }
        data = {"ver": 2, "exceptions": [details], "severityLevel": level, "properties": properties}
        return self._envelope("Exception", when, tags, data)

    def _message(
        self, message: str, level: int, properties: Mapping[str, str], when: str, tags: Mapping[str, str]
    ) -> Envelope:
        # The endpoint refuses a message without text.
        text = message[:TEXT_LIMIT] if message.strip() else "n/a"
        data = {"ver": 2, "message": text, "severityLevel": level, "properties": properties}
        return self._envelope("Message", when, tags, data)

    def _envelope(self, kind: str, when: str, tags: Mapping[str, str], data: Mapping[str, Any]) -> Envelope:
        return {
            "ver": 1,
            "name": f"Microsoft.ApplicationInsights.{kind}",
            "time": when,
            "iKey": self._key,
            "tags": tags,
            "data": {"baseType": f"{kind}Data", "baseData": data},
        }

    def _dimensions(self, origin: Origin) -> dict[str, str]:
        return {
            "Container Id": self._service.container,
            "Request Id": origin.request_id,
            "Client Request Id": origin.client_id,
        }

    def _tags_of(self, origin: Origin | None, ids: SpanIds | None = None) -> dict[str, str]:
        """Return the tags of what happened within a request: its span is the parent."""
        if origin is None:
            return self._tags
        ids = ids or span_ids(origin)
        return {
            **self._tags,
            "ai.operation.id": ids.trace_id,
            "ai.operation.parentId": ids.span_id,
            "ai.operation.name": origin.name[:_NAME_LIMIT],
        }

    def _time(self, time_ns: int) -> str:
        """Return a time as ISO 8601 has it, in UTC."""
        second, rest_ns = divmod(time_ns, 1_000_000_000)
        if second != self._second[0]:
            self._second = (second, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second)))
        return f"{self._second[1]}.{rest_ns // 1000:06d}Z"


_NOWHERE = Origin(NO_REQUEST, "", 0.0, b"", b"", "")


def full_url(record: RequestRecord) -> str:
    """Return the URL that the client asked for, parameters included."""
    target = record.target.decode("latin-1")
    return f"{record.scheme}://{record.host}{target}" if target.startswith("/") else target


def response_value(record: RequestRecord) -> str:
    """Return the answer's text, or release 1.5.1's sentence where it has none to show: streams and binary bodies."""
    text = None if record.response is None else decode(record.response, record.is_cut)
    return NO_TEXT if text is None else text


def decode(data: bytes, is_cut: bool) -> str | None:
    """Return UTF-8 as text, leaving out a character that was cut in two, or None where it is none."""
    try:
        return codecs.getincrementaldecoder("utf-8")().decode(data, final=not is_cut)
    except UnicodeDecodeError:
        return None


def timespan(duration_ns: int) -> str:
    """Return a duration as the schema has it: ``d.hh:mm:ss.ffffff``."""
    seconds, rest_ns = divmod(duration_ns, 1_000_000_000)
    if seconds == 0:
        return f"0.00:00:00.{rest_ns // 1000:06d}"
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    return f"{days}.{hours:02d}:{minutes:02d}:{seconds:02d}.{rest_ns // 1000:06d}"


def release_duration(duration_ms: int) -> str:
    """Return a duration as release 1.5.1 writes it: ``hh:mm:ss.fff``, with days before it where there are any."""
    if duration_ms < 1000:
        return f"00:00:00.{duration_ms:03d}"
    seconds, rest_ms = divmod(duration_ms, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    text = f"{hours:02d}:{minutes:02d}:{seconds:02d}.{rest_ms:03d}"
    return f"{days}.{text}" if days else text


def severity(level: int) -> int:
    """Return the severity of a level of `logging`."""
    for limit, number in ((logging.CRITICAL, _CRITICAL), (logging.ERROR, _ERROR), (logging.WARNING, _WARNING)):
        if level >= limit:
            return number
    return _INFORMATION if level >= logging.INFO else _VERBOSE

"""A script that does what telemetry tells of: prints, logs, spans, failures, streams, threads."""

import json
import logging
import sys
import threading
import time

logger = logging.getLogger("told.script")


def init():
    print("init printed")
    logger.warning("init logged")


def run(data):
    content = json.loads(data)
    return globals()[content["do"]](content)


def echo(content):
    print("run printed")
    print("run complained", file=sys.stderr)
    logger.warning("run logged %s", "this")
    logger.info("too quiet")
    return {"got": content.get("value")}


def fail(content):
    raise ValueError("user's mistake")


def log_exception(content):
    try:
        fail(content)
    except ValueError:
        logger.exception("caught it")
    return "ok"


def slow(content):
    time.sleep(30)


def stream(content):
    for number in range(3):
        yield f"part {number};"


def broken_stream(content):
    yield "part;"
    raise RuntimeError("broke off")


def binary(content):
    from azureml_inference_server_http.api.aml_response import AMLResponse

    return AMLResponse(b"\xff\xd8\xff\x00", 200)


def long(content):
    return "x" * content["length"]


def spans(content):
    from opentelemetry import trace

    tracer = trace.get_tracer("told.script")
    with tracer.start_as_current_span("outer") as span:
        span.set_attribute("rows", 3)
        with tracer.start_as_current_span("inner"):
            pass

    def work():
        print("thread printed")
        with tracer.start_as_current_span("in thread"):
            pass

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    return "ok"

"""As published: uses flask itself: its responses, its request, its context."""

import flask
from azureml_inference_server_http.api.aml_request import rawhttp
from flask import Response, g, request as current, stream_with_context


def init():
    """Nothing to load."""


def pieces(text):
    """A stream that goes on after run() has returned, and reads the current request."""
    for word in text.split():
        print("sends", word)
        yield f"data: {word} {current.method}\n\n"


@rawhttp
def run(request):
    """Answer with flask's own means."""
    use = request.args.get("use")
    if use == "stream":
        return Response(stream_with_context(pieces("a b c")), mimetype="text/event-stream", status=200)
    if use == "current":
        return {
            "same": current.path == request.path,
            "args": dict(current.args),
            "has": flask.has_request_context(),
        }
    if use == "g":
        g.own = 1
        return {"own": g.own, "other": g.get("other"), "app_context": flask.has_app_context()}
    if use == "app":
        return {"name": type(flask.current_app).__name__, "debug": flask.current_app.debug}
    if use == "url_for":
        return flask.url_for("main.handle_score")
    return Response("plain", status=201, headers={"x-own": "1"})

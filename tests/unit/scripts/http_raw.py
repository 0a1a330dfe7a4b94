import flask
from azureml.contrib.services.aml_request import AMLRequest, rawhttp
from azureml.contrib.services.aml_response import AMLResponse


def init():
    pass


def facts(request):
    return {
        "is_aml": isinstance(request, AMLRequest),
        "is_current": flask.request._get_current_object() is request,
        "app": flask.current_app.name,
        "method": request.method,
        "path": request.path,
        "full_path": request.full_path,
        "query": request.args.to_dict(flat=False),
        "form": request.form.to_dict(flat=False),
        "files": {name: [file.filename, file.read().decode()] for name, file in request.files.items()},
        "headers": [list(pair) for pair in request.headers],
        "body": request.get_data(as_text=True),
    }


@rawhttp
def run(request):
    case = request.args.get("case")
    if case == "status":
        return AMLResponse("a body", int(request.args["status"]))
    if case == "cookies":
        response = AMLResponse("", 200)
        response.set_cookie("a", "1")
        response.set_cookie("b", "2")
        return response
    if case == "abort":
        flask.abort(418, "no coffee")
    if case == "g":
        seen = flask.g.get("seen", 0)
        flask.g.seen = seen + 1
        return {"seen": seen}
    if case == "jsonify":
        return flask.jsonify(a=1)
    if case == "stream_with_context":
        return flask.Response(flask.stream_with_context(word for word in [request.path, ";", flask.request.method]))
    return AMLResponse(facts(request), 200, json_str=True)

"""Raw: answers with what the request object says of the request."""

from azureml.contrib.services.aml_request import rawhttp


def init():
    """Nothing to prepare."""


@rawhttp
def run(request):
    """Describe the request."""
    body = request.get_data()
    return {
        "method": request.method,
        "path": request.path,
        "full_path": request.full_path,
        "query": request.query_string.decode("latin-1"),
        "args": {key: request.args.getlist(key) for key in request.args},
        "content_type": request.content_type,
        "mimetype": request.mimetype,
        "content_length": request.content_length,
        "is_json": request.is_json,
        "body_length": len(body),
        "body": body.decode("latin-1")[:400],
        "form": {key: request.form.getlist(key) for key in request.form},
        "headers": sorted([name, value] for name, value in request.headers if name != "Host"),
        "remote": request.remote_addr,
    }

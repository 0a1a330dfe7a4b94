"""Takes the HTTP request, and asks it for all that it has."""

from azureml.contrib.services.aml_request import AMLRequest, rawhttp


def init():
    """Load nothing."""


@rawhttp
def run(request: AMLRequest):
    """Return how much of each there is."""
    return {
        "form": len(request.form),
        "files": sum(len(file.read()) for file in request.files.values()),
        "args": len(request.args),
        "json": request.get_json(silent=True) is not None,
        "types": [str(request.accept_mimetypes), request.mimetype, str(request.accept_languages)],
        "dates": [str(request.if_modified_since), str(request.range)],
        "cookies": len(request.cookies),
        "data": len(request.get_data()),
    }

"""As published: what raw scripts do with the request object, as the path's argument names it."""

import json

from azureml.contrib.services.aml_request import rawhttp
from azureml.contrib.services.aml_response import AMLResponse

USES = {
    "get_data": lambda r: r.get_data().decode(),
    "get_data_uncached": lambda r: r.get_data(False).decode(),
    "get_data_text": lambda r: r.get_data(as_text=True),
    "get_data_uncached_text": lambda r: r.get_data(cache=False, as_text=True),
    "get_data_twice": lambda r: [r.get_data().decode(), r.get_data().decode()],
    "get_data_uncached_twice": lambda r: [r.get_data(False).decode(), r.get_data(False).decode()],
    "data_then_get_data": lambda r: [r.data.decode(), r.get_data().decode()],
    "get_data_then_json": lambda r: [len(r.get_data()), r.json],
    "stream": lambda r: r.stream.read().decode(),
    "json": lambda r: r.json,
    "get_json": lambda r: r.get_json(force=True, silent=True),
    "json_loads": lambda r: json.loads(r.get_data(False)),
    "method": lambda r: r.method,
    "full_path": lambda r: r.full_path,
    "url": lambda r: [
        r.path,
        r.base_url.split(":")[0],
        r.url_root.split(":")[0],
        r.scheme,
        r.query_string.decode(),
    ],
    "headers_pairs": lambda r: sorted(f"{name}={value}" for name, value in r.headers if name != "Host"),
    "headers_dict": lambda r: sorted(set(dict(r.headers)) - {"Host"}),
    "headers_get": lambda r: [
        r.headers.get("content-type"),
        r.headers.get("missing"),
        r.headers["User-Agent"],
    ],
    "headers_text": lambda r: len(str(r.headers).splitlines()),
    "text": lambda r: str(r).replace(r.host, "host"),
    "dict_keys": lambda r: [key for key in ("method", "environ", "shallow") if key in r.__dict__],
    "args_keys": lambda r: sorted(r.args.keys()),
    "args_dict": lambda r: dict(r.args),
    "args_get": lambda r: [r.args.get("a"), r.args.get("a", type=int), r.args.get("missing", "default")],
    "args_missing": lambda r: r.args["missing"],
    "args_lists": lambda r: r.args.to_dict(flat=False),
    "values": lambda r: sorted(r.values.items()),
    "form": lambda r: r.form.to_dict(),
    "cookies": lambda r: dict(r.cookies),
    "content_length": lambda r: [r.content_length, r.content_type, r.mimetype],
    "remote": lambda r: [r.remote_addr, r.access_route],
    "accept": lambda r: [r.accept_mimetypes.best, r.is_json, r.is_secure],
    "authorization": lambda r: r.authorization and [r.authorization.username, r.authorization.password],
    "environ": lambda r: sorted(
        k for k in r.environ if k.startswith(("HTTP_", "REQUEST_", "PATH_", "QUERY_", "CONTENT_"))
    ),
    "environ_values": lambda r: [r.environ[k] for k in ("REQUEST_METHOD", "PATH_INFO", "QUERY_STRING", "SCRIPT_NAME")],
    "environ_more": lambda r: [
        r.environ.get(k) for k in ("SERVER_PROTOCOL", "wsgi.url_scheme", "RAW_URI", "REMOTE_ADDR")
    ],
    "endpoint": lambda r: [r.endpoint, r.blueprint, str(r.url_rule), r.view_args],
    "user_agent": lambda r: [str(r.user_agent), r.user_agent.string],
    "files_missing": lambda r: r.files["image"].filename,
    "pickle_of_body": lambda r: list(bytearray(r.get_data()))[:5],
}


def init():
    """Nothing to load."""


@rawhttp
def run(request):
    """Use the request as the argument `use` tells."""
    print("Request:", request.method)
    if request.method == "OPTIONS":
        response = AMLResponse("", 200)
        response.headers["Allow"] = "OPTIONS, GET, POST"
        response.headers["Access-Control-Allow-Headers"] = "*"
        return response
    return AMLResponse(USES[request.args["use"]](request), 200, json_str=True)

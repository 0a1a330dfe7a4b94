"""nginx in front of the server: its configuration, made from the settings alone, and the program.

What nginx can and cannot do, as seen with 1.22: it decides about buffering by the answer's ``X-Accel-Buffering``; it
has no limit for the whole of a request; a request that is too slow loses its connection without an answer of 408; an
answer of its own has ``Server: nginx``.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Collection, Iterator
from typing import NamedTuple

from azmlinfsrv import codec, nginx_cors
from azmlinfsrv.cors import Cors
from azmlinfsrv.environment import SERVER_VERSION
from azmlinfsrv.errors import INTERNAL, METHOD_NOT_ALLOWED, NOT_FOUND, ConfigurationError
from azmlinfsrv.inference_settings import PREFIX
from azmlinfsrv.settings import Settings
from azmlinfsrv.sockets import BACKLOG, PROXY_IDLE_S, parse_internal_address, spelt

# `inference-server.md`, "Network configuration".
TIMEOUT_S = 1000
# The oldest that long-lived distributions have.
OLDEST = (1, 18)
# More than nginx adds to a header block: the server behind it must not refuse what nginx let through.
ADDED_BYTES = 1024

_FOLDERS = ("/usr/local/sbin", "/usr/sbin", "/usr/local/nginx/sbin", "/opt/homebrew/bin")
_MODULES = ("fastcgi", "uwsgi", "scgi")
_LEVELS = {"DEBUG": "notice", "INFO": "error", "WARNING": "error", "ERROR": "error", "CRITICAL": "crit"}
_INVALID = "The request is not valid HTTP/1.1"
_HEADER_TOO_LARGE = "The request header is too large"

# Statuses that nginx itself answers with, the one that clients get, and the message.
_ERRORS = (
    ((400, 497), 400, _INVALID),  # 497: plain HTTP where TLS is spoken
    ((404,), 404, NOT_FOUND),
    ((405,), 405, METHOD_NOT_ALLOWED),
    ((408,), 408, "The request took too long to arrive"),
    ((414, 494), 431, _HEADER_TOO_LARGE),
    ((500,), 500, INTERNAL),
    ((501,), 501, "The transfer coding is not supported"),
    ((502,), 502, "The server cannot be reached, or ended before it answered"),
    ((503,), 503, "The server is not available"),
    ((504,), 504, "The server did not answer in time"),
    ((505,), 505, "The HTTP version is not supported"),
)


class Nginx(NamedTuple):
    """The program.

    Attributes:
        path: where it is.
        version: its version.
        modules: those of fastcgi, uwsgi and scgi that it has; each wants a folder.
    """

    path: str
    version: tuple[int, ...]
    modules: tuple[str, ...]


class Site(NamedTuple):
    """What the configuration needs to know of the machine.

    Attributes:
        addresses: numeric addresses to listen on, as ``host:port``, IPv6 in brackets.
        connections: how many connections a process of nginx may have.
        user: user and group of nginx's workers, or "" for those that it is started as.
        modules: see `Nginx`.
    """

    addresses: tuple[str, ...]
    connections: int
    user: str = ""
    modules: tuple[str, ...] = _MODULES


def find(program: str) -> Nginx:
    """Return the program nginx.

    Raises:
        ConfigurationError: it is missing or too old; one line that says how to get it.
    """
    folders = os.pathsep.join([os.environ.get("PATH", os.defpath), *_FOLDERS])
    path = shutil.which(program, path=folders)
    if path is None:
        message = f"{program} is not installed: apt-get install nginx-light (Debian, Ubuntu), or see https://nginx.org"
        raise ConfigurationError(message)
    try:
        printed = subprocess.run([path, "-V"], check=False, capture_output=True, text=True, timeout=10)  # noqa: S603 - the administrator's choice
    except (OSError, subprocess.SubprocessError) as error:
        raise ConfigurationError(f"{path} cannot be run: {error}") from error
    return parse_version(path, printed.stderr + printed.stdout)


def parse_version(path: str, printed: str) -> Nginx:
    """Return what ``nginx -V`` says.

    Raises:
        ConfigurationError: it is not nginx, or too old.
    """
    found = re.search(r"nginx/(\d+(?:\.\d+)*)", printed)
    if found is None:
        raise ConfigurationError(f"{path} is not nginx")
    version = tuple(int(part) for part in found[1].split("."))
    if version < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        raise ConfigurationError(f"{path} is version {found[1]}, too old: nginx {oldest} or newer is needed")
    return Nginx(path, version, tuple(name for name in _MODULES if f"--without-http_{name}_module" not in printed))


def render(settings: Settings, site: Site, given: Collection[str] = ()) -> str:
    """Return the configuration; its paths are relative, to the folder that ``nginx -p`` names.

    Args:
        settings: the settings.
        site: the machine.
        given: names of the settings that are not at their defaults because somebody said so.

    Raises:
        ConfigurationError: the server's address is not valid.
    """
    read_s = read_timeout_s(settings, is_given="scoring_timeout_ms" in given)
    lines = [
        *_main(settings, site),
        "http {",
        *_indented(_http(settings, site)),
        *_indented(_maps()),
        *_indented(_cors_maps(settings)),
        *_indented(_inference_maps(settings)),
        *_indented(_upstream(settings)),
        "    server {",
        *_indented(_server(settings, site, read_s), 2),
        "    }",
        "}",
    ]
    return "\n".join(lines) + "\n"


def quote(text: str) -> str:
    """Return a value as one word of the configuration; there are no variables in it."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _indented(lines: Iterator[str], depth: int = 1) -> Iterator[str]:
    return ("    " * depth + line if line else line for line in lines)


def _main(settings: Settings, site: Site) -> Iterator[str]:
    yield "daemon off;"
    if site.user:
        yield f"user {site.user};"
    yield f"worker_processes {1 + settings.worker_count // 4};"
    yield "pid nginx.pid;"
    yield f"error_log stderr {_LEVELS[settings.log_level or 'INFO']};"
    yield "events {"
    yield f"    worker_connections {site.connections};"
    yield "}"


def _http(settings: Settings, site: Site) -> Iterator[str]:
    yield "types { }"
    yield "default_type application/octet-stream;"
    yield "server_tokens off;"
    yield "sendfile on;"
    yield "tcp_nopush on;"
    yield from ("underscores_in_headers on;", "merge_slashes off;", "absolute_redirect off;")
    # Bodies and answers that are larger than their buffers wait in these folders.
    yield "client_body_temp_path body;"
    yield "proxy_temp_path answer;"
    yield from (f"{name}_temp_path {name};" for name in site.modules)
    yield "proxy_cache_path cache levels=1 keys_zone=pages:1m max_size=16m inactive=1m use_temp_path=off;"
    # The supervisor puts these lines into the server's format.
    yield (
        """log_format supervised '$msec $pid $remote_addr "$request" $status $body_bytes_sent """
        """"$http_referer" "$http_user_agent" $remote_user';"""
    )
    shown = settings.log_level in (None, "DEBUG", "INFO")
    yield "access_log /dev/stdout supervised if=$made_here;" if shown else "access_log off;"


def _maps() -> Iterator[str]:
    valid = r'"~^[\x20-\x7e]{1,100}$"'
    yield from _map("$request_id", "$new_id", _UUID)
    for header, variable in _ID_HEADERS:
        yield from _map(header, variable, (valid, header), ("default", '""'))
    # The table of `inference-server.md`, "Request ID".
    yield from _map("$sent_id", "$answer_id", ('""', "$new_id"), ("default", "$sent_id"))
    yield from _map("$sent_client_id", "$client_id", ('""', "$sent_legacy_id"), ("default", "$sent_client_id"))
    yield from _map("$client_id", "$id_without_legacy", ('""', "$answer_id"), ("default", "$client_id"))
    yield from _map("$sent_legacy_id", "$legacy_id", ('""', "$id_without_legacy"), ("default", "$sent_legacy_id"))
    # An id that is not valid is the server's to refuse.
    yield from _map("$http_x_request_id", "$passed_id", ('""', "$new_id"), ("default", "$http_x_request_id"))
    for header, variable in _ID_HEADERS:
        yield from _map(header, f"{variable}_is_long", (r'"~^.{101}"', "1"), ("default", '""'))
    yield from _map("$http_host", "$passed_host", ('""', "localhost"), ("default", "$http_host"))
    yield from _map(
        "$http_x_forwarded_proto", "$passed_proto", ("http", "http"), ("https", "https"), ("default", "$scheme")
    )
    # Which access lines nginx writes: those of requests that the server did not answer, and so does not log.
    # 499 is a client that left while the server worked, which logs it.
    yield from _map(
        '"$status:$upstream_cache_status:$upstream_http_x_request_id"',
        "$made_here",
        (r'"~^499"', "0"),
        (r'"~^\d+:(HIT|STALE|UPDATING|REVALIDATED):"', "1"),
        (r'"~^\d+:[A-Z]*:."', "0"),
        ("default", "1"),
    )


def _inference_maps(settings: Settings) -> Iterator[str]:
    if settings.v2_enabled:
        yield from _map("$request_uri", "$error_name", (f'"~^{PREFIX}([/?]|$)"', "error"), ("default", "message"))


def _cors_maps(settings: Settings) -> Iterator[str]:
    if settings.cors_origins:
        for source, variable, cases in nginx_cors.maps(Cors(settings.cors_origins)):
            yield from _map(quote(source), variable, *((quote(pattern), quote(value)) for pattern, value in cases))


# Version 4 (RFC 9562) of the 32 digits that nginx makes.
_UUID = (
    '"~^(?<id_a>.{8})(?<id_b>.{4}).(?<id_c>.{3}).(?<id_d>.{3})(?<id_e>.{12})$"',
    '"$id_a-$id_b-4$id_c-a$id_d-$id_e"',
)
_ID_HEADERS = (
    ("$http_x_request_id", "$sent_id"),
    ("$http_x_ms_request_id", "$sent_legacy_id"),
    ("$http_x_ms_client_request_id", "$sent_client_id"),
)


def _map(source: str, variable: str, *cases: tuple[str, str]) -> Iterator[str]:
    yield f"map {source} {variable} {{"
    yield from (f"    {pattern} {value};" for pattern, value in cases)
    yield "}"


def _upstream(settings: Settings) -> Iterator[str]:
    address = parse_internal_address(settings.server_address)
    target = f"unix:{address}" if isinstance(address, str) else spelt(*address)
    yield "upstream scoring {"
    # One server: a failure must not make nginx stop asking it for a while.
    yield f"    server {quote(target)} max_fails=0;"
    yield "    keepalive 256;"
    yield "    keepalive_requests 1000000;"
    yield f"    keepalive_timeout {PROXY_IDLE_S}s;"
    yield "}"


def read_timeout_s(settings: Settings, is_given: bool) -> int:
    """Return how long nginx waits for an answer: the documented time, or longer where run() may take longer.

    Args:
        settings: the settings.
        is_given: whether SCORING_TIMEOUT_MS was set; its default, an hour, leaves the documented time as it is.
    """
    return max(TIMEOUT_S, settings.scoring_timeout_ms // 1000 + 30) if is_given else TIMEOUT_S


def _server(settings: Settings, site: Site, read_s: int) -> Iterator[str]:
    encrypted = " ssl" if settings.tls_certificate else ""
    for address in site.addresses:
        yield f"listen {address}{encrypted} default_server backlog={BACKLOG};"
    yield from _tls(settings)
    yield "server_name _;"
    yield f"client_header_timeout {settings.header_timeout_ms}ms;"
    yield f"client_body_timeout {settings.body_timeout_ms}ms;"
    yield f"send_timeout {settings.write_timeout_ms}ms;"
    yield f"keepalive_timeout {settings.keep_alive_timeout_ms}ms;"
    yield "keepalive_requests 1000000;"
    # 0 would be no limit: the server refuses the one byte that this lets through.
    yield f"client_max_body_size {max(1, settings.max_body_bytes)};"
    yield "client_body_buffer_size 1m;"
    yield f"client_header_buffer_size {min(4096, settings.max_header_bytes)};"
    yield f"large_client_header_buffers 4 {settings.max_header_bytes + ADDED_BYTES};"
    yield ""
    yield from _proxy(read_s)
    yield ""
    yield from _errors(settings)
    yield from _location("/", ["proxy_pass http://scoring;"])
    yield from _location("= /swagger.json", list(_cached()))
    if settings.docs_enabled:
        yield from _location("= /docs", list(_cached()))


def _tls(settings: Settings) -> Iterator[str]:
    if settings.tls_certificate is not None:
        yield f"ssl_certificate {quote(os.path.abspath(settings.tls_certificate))};"
        yield f"ssl_certificate_key {quote(os.path.abspath(settings.tls_key or settings.tls_certificate))};"
        yield "ssl_protocols TLSv1.2 TLSv1.3;"
        yield "ssl_session_cache shared:tls:1m;"


def _proxy(read_s: int) -> Iterator[str]:
    yield "proxy_http_version 1.1;"
    yield f"proxy_connect_timeout {TIMEOUT_S}s;"
    yield f"proxy_send_timeout {TIMEOUT_S}s;"
    yield f"proxy_read_timeout {read_s}s;"
    # A request is passed on once it is whole, and its answer taken at once, however slow the client is.
    yield "proxy_request_buffering on;"
    yield from ("proxy_buffering on;", "proxy_buffer_size 32k;", "proxy_buffers 16 32k;")
    # A request may have reached run(): it is never sent twice.
    yield "proxy_next_upstream off;"
    yield 'proxy_set_header Connection "";'
    yield "proxy_set_header Host $passed_host;"
    yield "proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;"
    yield "proxy_set_header X-Forwarded-Proto $passed_proto;"
    yield "proxy_set_header X-Request-Id $passed_id;"
    yield "proxy_pass_header Server;"
    # A script's answer must not have nginx fetch something else.
    yield "proxy_ignore_headers X-Accel-Redirect X-Accel-Expires X-Accel-Limit-Rate X-Accel-Charset;"


def _cached() -> Iterator[str]:
    """The pages that do not change while a script is served: asked for once in a while, for all clients."""
    yield "proxy_pass http://scoring;"
    yield "proxy_cache pages;"
    # Not one of the client's fields can end another's: nginx has refused control characters.
    yield 'proxy_cache_key "$uri\\n$args\\n$http_origin\\n$http_access_control_request_private_network";'
    yield "proxy_cache_valid 200 5s;"
    yield "proxy_cache_lock on;"
    fresh = " ".join(["$http_authorization", *(f"{variable}_is_long" for _, variable in _ID_HEADERS)])
    yield f"proxy_cache_bypass {fresh};"
    yield f"proxy_no_cache {fresh};"
    yield (
        "proxy_ignore_headers Cache-Control Expires Vary "
        "X-Accel-Redirect X-Accel-Expires X-Accel-Limit-Rate X-Accel-Charset;"
    )
    for name in ("x-request-id", "x-ms-request-id", "x-ms-client-request-id", "TraceId", "trace-id"):
        yield f"proxy_hide_header {name};"
    yield from _id_fields()


def _id_fields() -> Iterator[str]:
    """The fields that every answer has; nginx leaves out those whose value is empty."""
    yield "add_header x-request-id $answer_id always;"
    yield "add_header x-ms-request-id $legacy_id always;"
    yield "add_header x-ms-client-request-id $client_id always;"
    yield "add_header TraceId $http_traceid always;"
    yield "add_header trace-id $http_trace_id always;"


def _errors(settings: Settings) -> Iterator[str]:
    too_large = f"The request body is larger than {settings.max_body_bytes} bytes"
    for statuses, status, message in (*_ERRORS, ((413,), 413, too_large)):
        page = f"/.azmlinfsrv/{status}"  # not a named location: a request line that is not valid has no path
        yield f"error_page {' '.join(map(str, statuses))} ={status} {page};"
        lines = ["internal;", "default_type application/json;", *_id_fields()]
        lines.append("add_header x-ms-run-function-failed False always;")
        if settings.cors_origins:
            lines += nginx_cors.fields()
        if settings.send_server_version:
            lines.append(f"add_header x-ms-server-version {quote(SERVER_VERSION)} always;")
        if status == 405:
            lines.append('add_header Allow "GET, HEAD, OPTIONS, POST" always;')
        body = codec.dumps({"$error_name" if settings.v2_enabled else "message": message}).decode()
        yield from _location(f"= {page}", [*lines, f"return {status} {quote(body)};"])


def _location(name: str, lines: list[str]) -> Iterator[str]:
    yield f"location {name} {{"
    yield from (f"    {line}" for line in lines)
    yield "}"

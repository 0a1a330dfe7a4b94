"""Read the case files: what to lay out, how to start a server, and what to send to it.

A case file is TOML. `[sets]` holds lists of requests that several servers share; every `[[server]]` is one
server block, started once on each side, whose requests are sent in order. `README.md` beside this module
describes every key.
"""

from __future__ import annotations

import base64
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

HERE = Path(__file__).resolve().parent
BOUNDARY = "conformance-part"

SERVER_KEYS = frozenset(
    {
        "name",
        "script",
        "run",
        "args",
        "bare",
        "env",
        "files",
        "copies",
        "ends",
        "unordered",
        "workers",
        "occupied",
        "fenced",
        "cwd",
        "seen",
        "uses",
        "requests",
    }
)
REQUEST_KEYS = frozenset(
    {
        "id",
        "method",
        "path",
        "headers",
        "type",
        "body",
        "parts",
        "base64",
        "file",
        "multipart",
        "chunked",
        "version",
        "raw",
        "keep_alive",
    }
)


class CaseError(ValueError):
    """A case file says something that cannot be carried out."""


@dataclass(frozen=True)
class Request:
    """One request, as bytes will be written from it."""

    id: str
    method: str
    path: str
    headers: tuple[tuple[str, str], ...]
    body: bytes | None
    chunked: bool
    version: str
    raw: bytes | None
    keep_alive: bool


@dataclass(frozen=True)
class ServerBlock:
    """One server to start on each side, and what is asked of it.

    `ends` is "ready" (serves until it is told to stop) or "stops" (ends by itself while starting).
    """

    id: str
    script: str | None
    args: tuple[str, ...]
    env: Mapping[str, str]
    files: Mapping[str, bytes]
    ends: str
    unordered: bool
    workers: int
    occupied: bool
    fenced: bool
    cwd: str
    seen: str
    requests: tuple[Request, ...]

    @property
    def case_ids(self) -> list[str]:
        """Ids of this block's cases: the process itself, then each request."""
        return [f"{self.id}/process", *(f"{self.id}/{request.id}" for request in self.requests)]


def expand(parts: Any) -> str:
    """Join the pieces of a generated text.

    Args:
        parts: A string, or a list of strings and of tables `{repeat = "text", times = N}`.
    """
    if isinstance(parts, str):
        return parts
    pieces = parts if isinstance(parts, list) else [parts]
    return "".join(p if isinstance(p, str) else p["repeat"] * p["times"] for p in pieces)


def multipart_body(fields: list[dict[str, Any]]) -> bytes:
    """Encode form fields as `multipart/form-data` (RFC 7578) with the fixed boundary."""
    out: list[bytes] = []
    for field in fields:
        disposition = f'form-data; name="{field["name"]}"'
        if "filename" in field:
            disposition += f'; filename="{field["filename"]}"'
        head = f"--{BOUNDARY}\r\nContent-Disposition: {disposition}\r\n"
        if "type" in field:
            head += f"Content-Type: {field['type']}\r\n"
        content = field_content(field)
        out.append(head.encode() + b"\r\n" + content + b"\r\n")
    return b"".join(out) + f"--{BOUNDARY}--\r\n".encode()


def field_content(field: Mapping[str, Any]) -> bytes:
    """Content of one form field: the text it gives, or the file it names."""
    if "file" in field:
        return Path(HERE, "files", str(field["file"])).read_bytes()
    return str(field["text"]).encode()


def request_body(data: Mapping[str, Any]) -> bytes | None:
    """Body of a request, from whichever of the body keys it has."""
    if "body" in data:
        return str(data["body"]).encode()
    if "parts" in data:
        return expand(data["parts"]).encode()
    if "base64" in data:
        return base64.b64decode(data["base64"])
    if "file" in data:
        return Path(HERE, "files", str(data["file"])).read_bytes()
    if "multipart" in data:
        return multipart_body(data["multipart"])
    return None


def request_headers(data: Mapping[str, Any], has_body: bool) -> tuple[tuple[str, str], ...]:
    """Header pairs of a request; a list of strings as a value sends the header once for each."""
    pairs: list[tuple[str, str]] = []
    default = f"multipart/form-data; boundary={BOUNDARY}" if "multipart" in data else "application/json"
    content_type = data.get("type", default if has_body else "")
    if content_type:
        pairs.append(("Content-Type", content_type))
    for name, value in data.get("headers", {}).items():
        many = isinstance(value, list) and all(isinstance(v, str) for v in value)
        pairs.extend((name, v) for v in (value if many else [expand(value)]))
    return tuple(pairs)


def parse_request(data: Mapping[str, Any]) -> Request:
    """Make a request from its table.

    Raises:
        CaseError: A key is unknown, or the id is missing.
    """
    unknown = set(data) - REQUEST_KEYS
    if unknown or "id" not in data:
        raise CaseError(f"request {data.get('id')}: unknown keys {sorted(unknown)} or no id")
    body = request_body(data)
    raw = data.get("raw")
    return Request(
        id=data["id"],
        method=data.get("method", "GET" if body is None else "POST"),
        path=expand(data.get("path", "/score")),
        headers=request_headers(data, body is not None),
        body=body,
        chunked=data.get("chunked", False),
        version=data.get("version", "1.1"),
        raw=None if raw is None else raw.encode("latin-1"),
        keep_alive=data.get("keep_alive", False),
    )


def laid_out_files(data: Mapping[str, Any]) -> dict[str, bytes]:
    """Files to lay out, by their path under the block's folder, the script among them."""
    files = {path: str(text).encode() for path, text in data.get("files", {}).items()}
    for path, source in data.get("copies", {}).items():
        files[path] = (HERE / source).read_bytes()
    script = data.get("script")
    if script and f"app/{script}" not in files:
        rest = f"\n\n{data['run']}" if "run" in data else ""
        files[f"app/{script}"] = (HERE / "scripts" / script).read_bytes() + rest.encode()
    return files


def parse_server(data: Mapping[str, Any], group: str, sets: Mapping[str, Any]) -> ServerBlock:
    """Make a server block from its table, with the requests of the sets that it uses.

    Raises:
        CaseError: A key is unknown, or two requests have the same id.
    """
    unknown = set(data) - SERVER_KEYS
    if unknown:
        raise CaseError(f"server {group}/{data.get('name')}: unknown keys {sorted(unknown)}")
    tables = [table for name in data.get("uses", []) for table in sets[name]] + data.get("requests", [])
    requests = tuple(parse_request(table) for table in tables)
    if len({request.id for request in requests}) != len(requests):
        raise CaseError(f"server {group}/{data['name']}: a request id is used twice")
    script = data.get("script")
    default_args = ["--port", "{port}"] if data.get("bare") is None else []
    if script and default_args:
        default_args = ["--entry_script", script, *default_args]
    return ServerBlock(
        id=f"{group}/{data['name']}",
        script=script,
        args=(*default_args, *data.get("bare", []), *data.get("args", [])),
        env=data.get("env", {}),
        files=laid_out_files(data),
        ends=data.get("ends", "ready"),
        unordered=data.get("unordered", False),
        workers=data.get("workers", 1),
        occupied=data.get("occupied", False),
        fenced=data.get("fenced", True),
        cwd=data.get("cwd", "app"),
        seen=data.get("seen", ""),
        requests=requests,
    )


def load_blocks(folder: Path = HERE / "cases") -> list[ServerBlock]:
    """Read every case file of a folder, in the order of their names.

    Raises:
        CaseError: A file says something that cannot be carried out, or two servers share a name.
    """
    loaded = {path.stem: tomllib.loads(path.read_text("utf-8")) for path in sorted(folder.glob("*.toml"))}
    sets = {name: tables for data in loaded.values() for name, tables in data.get("sets", {}).items()}
    blocks = [parse_server(table, group, sets) for group, data in loaded.items() for table in data.get("server", [])]
    if len({block.id for block in blocks}) != len(blocks):
        raise CaseError("two servers have the same name")
    return blocks

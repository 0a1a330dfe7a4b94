"""A bare ASGI application: what a server of this kind costs at the least. No thread, no log of requests."""

import json
from typing import Any

HEADERS = [(b"content-type", b"application/json")]


def run(data: Any) -> dict[str, int]:
    """Answer the same always."""
    return {"ok": 1}


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Read the body, parse it, call the function, and answer."""
    if scope["type"] != "http":
        return
    body = b""
    while True:
        message = await receive()
        body += message["body"]
        if not message["more_body"]:
            break
    answer = json.dumps(run(json.loads(body) if body else None)).encode()
    length = (b"content-length", str(len(answer)).encode())
    await send({"type": "http.response.start", "status": 200, "headers": [*HEADERS, length]})
    await send({"type": "http.response.body", "body": answer})

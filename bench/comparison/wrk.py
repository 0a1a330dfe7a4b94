"""Load by wrk: as many requests as so many connections can, each waiting for its answer."""

from __future__ import annotations

import json
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

from comparison.servers import Server

SCRIPT = """
local file = io.open("{body}", "rb")
wrk.method, wrk.body = "POST", file:read("*a")
wrk.headers["Content-Type"] = "{content_type}"
file:close()
function done(summary, latency, requests)
  local e = summary.errors
  print(string.format('figures {{"requests":%d,"duration_us":%d,"p50_us":%d,"p99_us":%d,"errors":%d}}',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    e.connect + e.read + e.write + e.status + e.timeout))
end
"""


class Load(NamedTuple):
    """What a load found.

    Attributes:
        requests_per_s: answers a second.
        p50_ms: the latency that half of the answers had at the most.
        p99_ms: the latency that 99 of 100 had at the most.
        errors: connections that broke, answers that did not come within two seconds, or were not a success.
        cpu_us: processor time of all processes of the server for each answer.
    """

    requests_per_s: float
    p50_ms: float
    p99_ms: float
    errors: int
    cpu_us: float


def load(server: Server, connections: int, seconds: float) -> Load:
    """Return what a load of so many connections finds."""
    with tempfile.TemporaryDirectory() as folder:
        body, script = Path(folder) / "body", Path(folder) / "script.lua"
        body.write_bytes(server.body.content)
        script.write_text(SCRIPT.format(body=body, content_type=server.body.content_type), "utf-8")
        command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", str(script)]
        used = server.tree.cpu_s()
        printed = subprocess.run(
            [*command, f"http://127.0.0.1:{server.port}{server.path}"], check=True, capture_output=True, text=True
        ).stdout
        used = server.tree.cpu_s() - used
    found = json.loads(printed.partition("figures ")[2].splitlines()[0])
    answers = max(1, found["requests"])
    return Load(
        found["requests"] / found["duration_us"] * 1e6,
        found["p50_us"] / 1e3,
        found["p99_us"] / 1e3,
        found["errors"],
        used / answers * 1e6,
    )

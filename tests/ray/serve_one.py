"""Serves one script by a Ray cluster that runs already, with the command line of the server.

It takes the server's arguments and environment, deploys them as an application at `/`, and passes on what comes to
`--port`; what the replica writes is its output. One runs at a time.

Usage: serve_one.py DASHBOARD PORT LOGS --entry_script … --port …
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from azmlinfsrv.cli import make_parser
from azmlinfsrv.ray_arguments import NOT_UNDER_RAY
from azmlinfsrv.settings import rows

NAME = "one"
POLL_S = 0.05
TIMEOUT_S = 60.0
# What is this program's, and no setting of the server to be tested.
OWN_VARIABLES = ("PATH", "HOME", "TMPDIR", "PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED")
FEW = {"num_cpus": 0.1, "graceful_shutdown_wait_loop_s": 0.05, "graceful_shutdown_timeout_s": 5, "max_surge_percent": 0}


def given_application(arguments: dict[str, Any]) -> dict[str, Any]:
    """Return the application that the command line and the environment ask for."""
    names = ("entry_script", "config_file", "model_dir")
    paths = {name: os.path.abspath(arguments[name]) for name in names if arguments.get(name)}
    settings = {name: value for name, value in arguments.items() if name in rows() and name not in NOT_UNDER_RAY}
    root = {} if "AML_APP_ROOT" in os.environ else {"app_root": os.getcwd()}
    env = {name: value for name, value in os.environ.items() if name not in OWN_VARIABLES}
    return {
        "name": NAME,
        "route_prefix": "/",
        "import_path": "azmlinfsrv.ray:build",
        "runtime_env": {"env_vars": env},
        "args": {**root, **settings, **paths, **FEW, "max_constructor_retry_count": 1},
    }


@contextlib.contextmanager
def alone(logs: Path) -> Iterator[None]:
    """Wait until no other of these programs uses the cluster."""
    with (logs / "serve-one.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


async def deployed(client: httpx.AsyncClient, port: str, *applications: dict[str, Any]) -> int:
    """Deploy applications instead of those that are there, and wait for them.

    Returns:
        The process of the replica; 0 where there are to be none.
    """
    config = {"http_options": {"host": "127.0.0.1", "port": int(port)}, "applications": list(applications)}
    (await client.put("/api/serve/applications/", json=config)).raise_for_status()
    while True:
        found = (await client.get("/api/serve/applications/")).json()["applications"]
        if not applications and not found:
            return 0
        if applications and found.get(NAME, {}).get("status") == "DEPLOY_FAILED":
            sys.exit(str(found[NAME]))
        if applications and found.get(NAME, {}).get("status") == "RUNNING":
            (replica,) = found[NAME]["deployments"]["scoring"]["replicas"]
            return int(replica["pid"])
        await asyncio.sleep(POLL_S)


async def copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    """Pass on what comes until its end."""
    with contextlib.suppress(ConnectionError):
        while piece := await source.read(65536):
            target.write(piece)
            await target.drain()
        target.write_eof()


async def passed_on(port: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Pass a connection on to Ray's proxy."""
    with contextlib.suppress(ConnectionError):
        answers, requests = await asyncio.open_connection("127.0.0.1", int(port))
        await asyncio.gather(copy(reader, requests), copy(answers, writer))
        requests.close()
        writer.close()


def outputs(logs: Path, pid: int) -> tuple[Path, Path]:
    """Return the files that Ray keeps the output of a process in."""
    return next(logs.glob(f"worker-*-{pid}.out")), next(logs.glob(f"worker-*-{pid}.err"))


async def follow(path: Path, target: int) -> None:
    """Write what is appended to a file, without Ray's own first lines."""
    with path.open("rb") as file:
        while True:
            if line := file.readline():
                if not line.startswith((b":job_id:", b":actor_name:", b":task_name:")):
                    os.write(target, line)
            else:
                await asyncio.sleep(POLL_S)


async def main(dashboard: str, port: str, logs: Path, arguments: dict[str, Any]) -> None:
    """Serve until SIGTERM."""
    done = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, done.set)
    async with httpx.AsyncClient(base_url=dashboard, timeout=TIMEOUT_S, trust_env=False) as client:
        pid = await deployed(client, port, given_application(arguments))
        out, err = outputs(logs, pid)
        followers = [asyncio.create_task(follow(out, 1)), asyncio.create_task(follow(err, 2))]
        server = await asyncio.start_server(lambda *ends: passed_on(port, *ends), "127.0.0.1", arguments["port"])
        await done.wait()
        server.close()
        for follower in followers:
            follower.cancel()
        await deployed(client, port)


if __name__ == "__main__":
    logs_folder = Path(sys.argv[3])
    with alone(logs_folder):
        asyncio.run(main(sys.argv[1], sys.argv[2], logs_folder, vars(make_parser().parse_args(sys.argv[4:]))))

"""The image of docker/Dockerfile, really built and run."""

from __future__ import annotations

import contextlib
import os
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from azmlinfsrv.errors import NOT_FOUND, RUN_FAILED
from tests.image.conftest import Serve
from tests.image.container import PATIENCE_S, Container, Image

pytestmark = [pytest.mark.image, pytest.mark.timeout(120)]

APP = "/var/azureml-app"
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


def test_what_the_image_says_of_itself(image: Image) -> None:
    """Port, signal, user, init, health check and labels are in its configuration."""
    config = image.config
    assert config["User"] == "1000:1000" and config["WorkingDir"] == APP
    assert list(config["ExposedPorts"]) == ["5001/tcp"] and config["StopSignal"] == "SIGTERM"
    assert config["Entrypoint"][0] == "tini" and not config["Cmd"]
    assert config["Labels"]["org.opencontainers.image.title"] == "azmlinfsrv"
    assert config["Labels"]["org.opencontainers.image.version"]


def test_nothing_of_the_build_is_left(image: Image) -> None:
    """There is no compiler, no source, no list of packages, and nothing of the build's secrets."""
    script = "ls /source /run/secrets/pip /var/lib/apt/lists/*_Packages; command -v gcc cc make; true"
    assert image.run("sh", "-c", script).stdout == ""
    assert "pip" not in " ".join(image.config["Env"]).lower()


def test_a_request_goes_through_nginx(running: Container) -> None:
    """On 5001 nginx listens, and passes on to 31311; an id goes all the way and back; a request has one access line."""
    headers = {"x-request-id": "an id", "User-Agent": "one-line"}
    response = running.client.post("/score", content=b'{"do": "echo", "value": [1, 2]}', headers=headers)
    assert response.status_code == 200 and response.json() == [1, 2]
    assert response.headers["x-request-id"] == response.headers["x-ms-request-id"] == "an id"
    assert response.headers["x-ms-run-function-failed"] == "False"
    assert UUID.fullmatch(running.client.get("/").headers["x-request-id"])
    running.wait_until(lambda: "one-line" in running.stdout)
    assert len([line for line in running.stdout.splitlines() if "one-line" in line]) == 1
    running.wait_until(lambda: "azmlinfsrv.print - echo was called" in running.stdout)
    assert listeners(running, "nginx") == {("0.0.0.0", 5001)}  # noqa: S104 - an address that is read
    assert ("127.0.0.1", 31311) in listeners(running, "python")


def listeners(container: Container, name: str) -> set[tuple[str, int]]:
    """Return where the processes of this name listen, by what the kernel knows of their sockets."""
    found = set()
    table = Path(f"/proc/{container.process.pid}/net/tcp").read_text().splitlines()[1:]
    rows = {int(fields[9]): fields for fields in map(str.split, table) if fields[3] == "0A"}
    held = set()
    for process in container.processes():
        with contextlib.suppress(psutil.NoSuchProcess, OSError):  # it ends, or closes a file, while it is looked at
            if process.name().startswith(name):
                held |= {os.readlink(link) for link in Path(f"/proc/{process.pid}/fd").iterdir()}
    for inode, fields in rows.items():
        if f"socket:[{inode}]" in held:
            address, port = fields[1].split(":")
            found.add((".".join(str(octet) for octet in reversed(bytes.fromhex(address))), int(port, 16)))
    return found


ERRORS = {
    "404": ("GET", "/nowhere", b"", 404, NOT_FOUND, "False"),
    "405": ("DELETE", "/", b"", 405, "The method is not allowed for the requested URL.", "False"),
    "413": ("POST", "/score", b"x" * 1001, 413, "The request body is larger than 1000 bytes", "False"),
    "500": ("POST", "/score", b'{"do": "fail"}', 500, RUN_FAILED, "True"),
}


@pytest.mark.parametrize(("method", "path", "body", "status", "message", "failed"), ERRORS.values(), ids=ERRORS)
def test_errors_are_as_without_nginx(
    method: str, path: str, body: bytes, status: int, message: str, failed: str, running: Container
) -> None:
    """An error is the server's JSON with its ids, and the same from nginx's port as from the server's."""
    headers = {"x-request-id": "mine"}
    outer, inner = (
        client.request(method, path, content=body, headers=headers) for client in (running.client, running.inner)
    )
    assert outer.status_code == inner.status_code == status
    assert outer.json() == inner.json()
    assert message in outer.text or outer.json() == {"message": message}
    for response in (outer, inner):
        assert response.headers["content-type"] == "application/json"
        assert response.headers["x-request-id"] == response.headers["x-ms-request-id"] == "mine"
        assert response.headers["x-ms-run-function-failed"] == failed


def test_a_failure_is_logged(running: Container) -> None:
    """The traceback of the script's exception is in the container's log, with the request's id."""
    running.client.post("/score", content=b'{"do": "fail"}', headers={"x-request-id": "failed-one"})
    running.wait_until(lambda: "ValueError: the script's own" in running.output)
    running.wait_until(lambda: "failed-one" in running.output)


def test_no_process_is_roots(running: Container) -> None:
    """Every process runs as user and group 1000, nginx's master too."""
    assert {process.uids().real for process in running.processes()} == {1000}
    assert {process.gids().real for process in running.processes()} == {1000}
    assert running.ask("surroundings")["user"] == 1000
    assert len(running.processes("nginx")) >= 2


def test_health_is_told(running: Container, image: Image) -> None:
    """The health check's command ends with 0 where the server answers, and with 1 where none does."""
    assert running.check_health() == 0
    assert image.run(*image.config["Healthcheck"]["Test"][1:]).returncode == 1


def test_a_sick_server_is_not_healthy(image: Image, app: Path, serve: Serve) -> None:
    """The health check fails while init() has not ended, although nginx listens."""
    (app / "slow.py").write_text(
        "import os, time\n\n\ndef init():\n    open('begun', 'w').close()\n    while not os.path.exists('go'):\n"
        "        time.sleep(0.01)\n\n\ndef run(data):\n    return 1\n"
    )
    container = serve(image, wait=False, env={"AZUREML_ENTRY_SCRIPT": "slow.py"}, volumes={app: APP})
    container.wait_until((app / "begun").exists)
    assert container.check_health() != 0
    (app / "go").touch()
    container.wait_ready()
    assert container.check_health() == 0


def test_a_stop_finishes_what_runs(image: Image, app: Path, serve: Serve) -> None:
    """At SIGTERM a request that is under way gets its answer, and the container ends with 0."""
    container = serve(image, env={"AZUREML_ENTRY_SCRIPT": "inside.py"}, volumes={app: APP})
    with ThreadPoolExecutor(2) as pool:
        answer = pool.submit(container.ask, "wait", folder=APP)
        container.wait_until((app / "started").exists)
        code = pool.submit(container.stop)
        container.wait_until(lambda: not listeners(container, "nginx"))
        (app / "go").touch()
        assert answer.result(PATIENCE_S) == "waited"
        assert code.result(PATIENCE_S) == 0


def test_orphans_are_collected(running: Container) -> None:
    """What a script left behind is collected when it ends, though its parent is gone."""
    orphan = running.ask("leave_orphan")
    running.wait_until(lambda: not psutil.pid_exists(orphan))


def test_what_dies_is_started_again(image: Image, app: Path, serve: Serve) -> None:
    """After the death of nginx and of the server's arbiter, requests are answered again."""
    container = serve(image, env={"AZUREML_ENTRY_SCRIPT": "inside.py"}, volumes={app: APP})
    supervisor = container.processes()[1]
    for child in supervisor.children():
        child.kill()
    container.wait_until(lambda: "starting it again" in container.output)
    container.wait_ready()
    assert container.ask("echo", value=1) == 1


@pytest.mark.parametrize("way", ["variable", "argument"])
def test_the_number_of_workers(way: str, image: Image, app: Path, serve: Serve) -> None:
    """WORKER_COUNT, and arguments after the image's name, reach the server."""
    env = {"AZUREML_ENTRY_SCRIPT": "inside.py"} | ({"WORKER_COUNT": "2"} if way == "variable" else {})
    container = serve(image, *([] if way == "variable" else ["--worker_count=2"]), env=env, volumes={app: APP})
    supervisor = container.processes()[1]
    (arbiter,) = [child for child in supervisor.children() if child.name().startswith("python")]
    container.wait_until(lambda: len(arbiter.children()) == 2)
    assert "Worker Count: 2" in container.stdout


def test_the_documented_folders(image: Image, app: Path, serve: Serve, tmp_path: Path) -> None:
    """AML_APP_ROOT may be another folder; AZUREML_MODEL_DIR is passed on; modules of AML_SERVER_ROOT are found."""
    server_root = tmp_path / "modules"
    server_root.mkdir()
    (server_root / "only_there.py").touch()
    env = {
        "AML_APP_ROOT": "/elsewhere",
        "AZUREML_ENTRY_SCRIPT": "inside.py",
        "AZUREML_MODEL_DIR": "/elsewhere/model",
        "AML_SERVER_ROOT": "/modules",
    }
    container = serve(image, env=env, volumes={app: "/elsewhere", server_root: "/modules"})
    found = container.ask("surroundings")
    assert found["folder"] == "/elsewhere" and "/elsewhere" in found["import_path"]
    assert found["environment"]["AZUREML_MODEL_DIR"] == "/elsewhere/model"
    assert found["environment"]["PYTHONPATH"].split(":")[0] == "/modules"
    assert container.ask("load", module="only_there") == "only_there"


def test_config_json_names_the_script(image: Image, app: Path, serve: Serve) -> None:
    """A config.json in the folder is enough."""
    (app / "config.json").write_text(f'{{"AZUREML_ENTRY_SCRIPT": "{APP}/inside.py"}}')
    assert serve(image, volumes={app: APP}).ask("echo", value="read") == "read"


@pytest.fixture
def environment(image: Image, tmp_path: Path) -> Path:
    """An environment that stands for conda's: the image's packages, and a module of its own."""
    path = tmp_path / "environment"
    path.mkdir(mode=0o777)
    path.chmod(0o777)
    lines = "python3 -m venv --without-pip /env && cd /env/lib/python3*/site-packages && touch only_here.py"
    made = image.run("sh", "-c", lines, volumes={path: "/env"})
    assert made.returncode == 0, made.stderr
    return path


def packages(environment: Path) -> Path:
    """Return the folder of an environment's packages."""
    return next(environment.glob("lib/python3*/site-packages"))


def test_an_environment_at_run_time(environment: Path, image: Image, app: Path, serve: Serve) -> None:
    """With AZUREML_CONDA_ENVIRONMENT_PATH its Python runs the server; its programs and libraries are found first."""
    version = packages(environment).parent.name
    (packages(environment) / "server.pth").write_text(f"/opt/azmlinfsrv/lib/{version}/site-packages\n")
    env = {"AZUREML_ENTRY_SCRIPT": "inside.py", "AZUREML_CONDA_ENVIRONMENT_PATH": "/env"}
    container = serve(image, env=env, volumes={app: APP, environment: "/env"})
    found = container.ask("surroundings")
    assert found["prefix"] == "/env"
    assert found["environment"]["PATH"].startswith("/env/bin:")
    assert found["environment"]["LD_LIBRARY_PATH"] == "/env/lib"
    assert container.ask("load", module="only_here") == "only_here"
    assert container.check_health() == 0


def test_an_environment_that_cannot_be_used(environment: Path, image: Image) -> None:
    """An environment that is not there, or has no server, ends the start with one line that says so."""
    entry = image.config["Entrypoint"]
    missing = image.run(*entry, env={"AZUREML_CONDA_ENVIRONMENT_PATH": "/nowhere"})
    assert missing.returncode == 1 and "/nowhere has no bin/python" in missing.stderr
    env = {"AZUREML_CONDA_ENVIRONMENT_PATH": "/env"}
    bare = image.run(*entry, env=env, volumes={environment: "/env"})
    assert bare.returncode == 1 and "azmlinfsrv is not installed in /env" in bare.stderr


def test_no_script(image: Image) -> None:
    """Without a script the container ends with 1, and one line that says how to give it one."""
    ended = image.run(*image.config["Entrypoint"])
    assert ended.returncode == 1
    assert "there is no script to serve: mount its folder at /var/azureml-app" in ended.stderr


def test_a_script_that_is_not_there(image: Image, app: Path) -> None:
    """A script that is named and not there ends the container with 3, and its name."""
    ended = image.run(*image.config["Entrypoint"], env={"AZUREML_ENTRY_SCRIPT": "none.py"}, volumes={app: APP})
    assert ended.returncode == 3 and "none.py" in ended.stdout + ended.stderr


def test_other_commands(image: Image) -> None:
    """A command in place of options is run in the image's environment."""
    ended = image.run(*image.config["Entrypoint"], "python", "-c", "import azmlinfsrv, sys; print(sys.prefix)")
    assert (ended.returncode, ended.stdout) == (0, "/opt/azmlinfsrv\n")

"""The unit is one that systemd takes, is hardened, and starts, reloads and stops the server as it says."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from azmlinfsrv import supervisor
from azmlinfsrv.settings import rows
from tests.conftest import RequireProgram
from tests.deploy.rendering import DEPLOY
from tests.ports import ReservedPort
from tests.process.asking import answer_of, ask
from tests.servers import RunningServer, server_environment

UNIT = DEPLOY / "systemd" / "azmlinfsrv@.service"
EXAMPLE = DEPLOY / "systemd" / "example.env"
STEPS = Path(__file__).parents[1] / "process" / "scripts" / "steps.py"
PROGRAM = "/opt/azmlinfsrv/bin/azmlinfsrv"
# What the unit's own command line reads, and what the server's libraries do.
OTHER_VARIABLES = {"PORT", "HOME"}
# systemd's scale is 0 to 10; up to 2 it is OK.
MOST_EXPOSURE_TENTHS = 15

pytestmark = [pytest.mark.process, pytest.mark.timeout(120)]


def directives(name: str) -> list[str]:
    """Return the values of a directive of the unit."""
    return re.findall(rf"^{name}=(.*)$", UNIT.read_text("utf-8"), re.MULTILINE)


def only(name: str) -> str:
    """Return the one value of a directive of the unit."""
    (value,) = directives(name)
    return value


def variables(lines: list[str]) -> dict[str, str]:
    """Return the variables of `NAME=value` lines."""
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


@pytest.fixture
def analyze(require_program: RequireProgram) -> str:
    """The program that checks units."""
    return require_program("systemd-analyze")


@pytest.fixture
def instance(tmp_path: Path) -> Path:
    """An instance of the unit whose program is there."""
    program = tmp_path / "azmlinfsrv"
    program.write_text("#!/bin/sh\n", "utf-8")
    program.chmod(0o755)
    text = UNIT.read_text("utf-8")
    assert text.count(PROGRAM) == 1
    (tmp_path / UNIT.name).write_text(text.replace(PROGRAM, str(program)), "utf-8")
    return tmp_path / UNIT.name.replace("@", "@iris")


def test_systemd_takes_the_unit(analyze: str, instance: Path) -> None:
    """`systemd-analyze verify` has nothing to say."""
    result = subprocess.run([analyze, "verify", str(instance)], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_systemd_finds_mistakes(analyze: str, instance: Path) -> None:
    """The check can fail: a misspelt directive is reported."""
    template = instance.with_name(UNIT.name)
    template.write_text(template.read_text("utf-8").replace("ProtectSystem=", "ProtectSytem="), "utf-8")
    result = subprocess.run([analyze, "verify", str(instance)], capture_output=True, text=True, check=False)
    assert "ProtectSytem" in result.stderr


def test_the_unit_is_hardened(analyze: str, instance: Path) -> None:
    """Systemd itself rates the exposure as OK."""
    options = ["security", "--offline=true", "--no-pager", f"--threshold={MOST_EXPOSURE_TENTHS}"]
    result = subprocess.run([analyze, *options, str(instance)], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "OK" in result.stdout.splitlines()[-1]


def test_a_stop_has_the_time_that_it_takes() -> None:
    """Systemd kills nothing before the server has ended by itself, and asks the main process alone to stop."""
    graceful_s = int(variables(directives("Environment"))["AZMLINFSRV_GRACEFUL_TIMEOUT"])
    assert int(only("TimeoutStopSec")) > graceful_s + supervisor._KILL_S
    assert only("KillMode") == "mixed"


@pytest.mark.parametrize(
    "lines", [directives("Environment"), EXAMPLE.read_text("utf-8").splitlines()], ids=["unit", "example"]
)
def test_variables_are_settings(lines: list[str]) -> None:
    """Every variable of the unit and of the example's file is in the table of settings."""
    known = {variable for row in rows().values() for variable in row.spec.variables}
    found = set(variables(lines))
    assert found - OTHER_VARIABLES <= known
    assert "AZUREML_ENTRY_SCRIPT" in found


class Instance:
    """A server started by the unit's own command line and environment, in the places of a test.

    Args:
        unshare: the program that makes namespaces.
        folder: an empty folder: the machine's `/srv`, `/run` and `/var/cache`.
        port: the port of clients.
    """

    def __init__(self, unshare: str, folder: Path, port: int) -> None:
        places = {"%t": folder / "run", "%C": folder / "cache"}
        for place in places.values():
            (place / "azmlinfsrv-steps").mkdir(parents=True)
        lines = "\n".join(directives("Environment"))
        for specifier, place in places.items():
            lines = lines.replace(specifier, str(place))
        told = variables(lines.replace("%i", "steps").replace("/srv/azmlinfsrv/steps", str(STEPS.parent)).splitlines())
        told |= {"AZUREML_ENTRY_SCRIPT": STEPS.name, "AZMLINFSRV_NGINX": "true", "PORT": str(port)}
        command = only("ExecStart").replace("${PORT}", told["PORT"])
        assert command.startswith(PROGRAM) and "%" not in command + lines.replace("%i", "")
        words = [unshare, "--user", "--map-user=1000", "--map-group=1000"]  # not root, as under systemd
        words += [sys.executable, "-m", "azmlinfsrv", *shlex.split(command)[1:]]
        self.server = RunningServer(words, port, folder, server_environment({}) | told)
        self.socket = Path(told["AZMLINFSRV_SERVER_ADDRESS"].removeprefix("unix:"))


@pytest.fixture
def running(unshare: str) -> Iterator[Instance]:
    """An instance behind nginx, stopped after the test, in a folder whose name leaves room for that of a socket."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        started = Instance(unshare, folder, stack.enter_context(ReservedPort()).number)
        stack.callback(started.server.stop)
        started.server.wait_ready(50)
        yield started


def test_the_unit_starts_reloads_and_stops_the_server(running: Instance) -> None:
    """The command serves with nginx by a socket of its own, the reload replaces the worker, SIGTERM is code 0."""
    before = answer_of(running.server, "pid")
    assert running.socket.is_socket()
    reload_program, signal_name, target = shlex.split(only("ExecReload"))
    assert (signal_name, target) == ("-HUP", "$MAINPID")
    subprocess.run([reload_program, signal_name, str(running.server.process.pid)], check=True)

    def is_replaced() -> bool:
        answer = ask(running.server, "pid")  # nginx may have met the worker that ends
        return answer.status_code == 200 and answer.json() != before

    running.server.wait_until(is_replaced, 50)
    assert running.server.stop() == 0
    assert not running.socket.exists()

"""How a server starts, or says why it does not: the table "Bad input gets", exit codes, help and version."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.conftest import StartServer
from tests.ports import ReservedPort
from tests.servers import START_S, RunningServer, server_environment

pytestmark = pytest.mark.process

FINE = "def init():\n    pass\n\n\ndef run(data):\n    return data\n"


@pytest.fixture
def unused() -> Iterator[int]:
    """A port that nobody listens on, and that no other test is given."""
    with ReservedPort() as port:
        yield port.number


@pytest.fixture
def occupied() -> Iterator[int]:
    """A port that this test listens on."""
    with ReservedPort() as port:
        port.occupy()
        yield port.number


def command(*arguments: str, module: str = "azmlinfsrv") -> subprocess.CompletedProcess[str]:
    """Return what the command did, which may not take for ever."""
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        env=server_environment({}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=START_S,
        check=False,
    )


def frames_of_the_server(text: str) -> list[str]:
    """Return the lines of a traceback that lie in the server or what it runs on, none of which the user wrote."""
    return [line for line in text.splitlines() if re.search(r'File ".*(azmlinfsrv|gunicorn|importlib)', line)]


# -- the command line ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("module", ["azmlinfsrv", "azureml_inference_server_http"])
def test_help(module: str) -> None:
    """`--help` lists the flags of the released server and ends with 0, under both names of the module."""
    done = command("--help", module=module)
    assert (done.returncode, done.stderr) == (0, "")
    for flag in (
        "--entry_script",
        "--model_dir",
        "--port",
        "--health_port",
        "--worker_count",
        "--config_file",
        "--access_control_allow_origins",
        "--appinsights_instrumentation_key",
    ):
        assert flag in done.stdout


def test_version() -> None:
    """`--version` tells the version and ends with 0."""
    done = command("--version")
    assert done.returncode == 0
    assert re.fullmatch(r"azmlinfsrv \d+\.\d+\.\d+\S*\n", done.stdout)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--colour", "red"], "--colour"),
        (["score.py"], "score.py"),
        (["--port"], "--port"),
        (["--port", "0"], "from 1 to 65535"),
        (["--port", "65536"], "from 1 to 65535"),
        (["--port", "http"], "from 1 to 65535"),
        (["--health_port", "70000"], "from 1 to 65535"),
        (["--worker_count", "0"], "from 1 to 1024"),
        (["--worker_count", "two"], "from 1 to 1024"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_command_line(tmp_path: Path, arguments: list[str], said: str) -> None:
    """A wrong flag or value is one line that says what is allowed, the usage, and exit code 1."""
    script = tmp_path / "score.py"
    script.write_text(FINE)
    done = command("--entry_script", str(script), *arguments)
    assert done.returncode == 1
    assert done.stderr.startswith("usage: azmlinfsrv")
    last = done.stderr.splitlines()[-1]
    assert last.startswith("azmlinfsrv: error: ") and said in last
    assert "Traceback" not in done.stderr and "Traceback" not in done.stdout


def test_no_script(server: StartServer) -> None:
    """Without a script, the usage and one line say how to name one, and the exit code is 1."""
    running = server(None, wait=False)
    assert running.wait_exit() == 1
    assert "usage: azmlinfsrv" in running.stderr
    (line,) = [line for line in running.output.splitlines() if "provide an entry_script" in line]
    assert "--entry_script" in line and "--config_file" in line
    assert "Traceback" not in running.output


def test_worker_count_of_the_environment(server: StartServer) -> None:
    """A number of workers that cannot be stops the start, and names the variable, its value and the range."""
    running = server(FINE, env={"WORKER_COUNT": "0"}, wait=False)
    assert running.wait_exit() == 3
    assert "'0' from environment variable WORKER_COUNT" in running.output
    assert "from 1 to 1024" in running.output
    assert "Traceback" not in running.output


# -- ports -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hosting", ["gunicorn", "single"])
@pytest.mark.parametrize("which", ["port", "health_port"])
def test_a_port_in_use(server: StartServer, occupied: int, hosting: str, which: str) -> None:
    """A port that somebody listens on stops the start, with a line that names it."""
    arguments = ["--hosting", hosting, f"--{which}", str(occupied)]
    running = server(FINE, *arguments, env={"SEPERATE_HEALTH_ENDPOINT": "true"}, wait=False)
    assert running.wait_exit() == 1
    (line,) = [line for line in running.output.splitlines() if "in use" in line]
    assert str(occupied) in line
    assert "Traceback" not in running.output


def test_a_port_that_is_free_again(server: StartServer) -> None:
    """A server starts on the port of one that has just been stopped, although connections linger there."""
    first = server(FINE)
    with socket.create_connection(("127.0.0.1", first.port)) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: t\r\n\r\n")
        assert client.recv(100).startswith(b"HTTP/1.1 200")
        assert first.stop() == 0
    second = server(FINE, "--port", str(first.port), wait=False)
    second.wait_until(lambda: is_healthy(first.port))


def is_healthy(port: int) -> bool:
    """Return whether a server answers on the port."""
    try:
        return httpx.get(f"http://127.0.0.1:{port}/", timeout=START_S, trust_env=False).text == "Healthy"
    except httpx.TransportError:
        return False


@pytest.mark.parametrize("hosting", ["gunicorn", "single"])
def test_separate_health_endpoint(server: StartServer, unused: int, hosting: str) -> None:
    """SEPERATE_HEALTH_ENDPOINT opens a second port for probes, and the banner names both."""
    arguments = ["--hosting", hosting, "--health_port", str(unused)]
    running = server(FINE, *arguments, env={"SEPERATE_HEALTH_ENDPOINT": "true"})
    assert is_healthy(unused) and is_healthy(running.port)
    assert f"Liveness Probe: GET   127.0.0.1:{unused}/" in running.stdout
    assert f"Score:          POST  127.0.0.1:{running.port}/score" in running.stdout


def test_the_health_port_is_closed_by_default(server: StartServer, unused: int) -> None:
    """Without SEPERATE_HEALTH_ENDPOINT nothing listens on the health port."""
    server(FINE, "--health_port", str(unused))
    assert not is_healthy(unused)


@pytest.mark.parametrize("hosting", ["gunicorn", "single"])
def test_the_modules_of_both_names_serve(tmp_path: Path, unused: int, hosting: str) -> None:
    """`python -m azureml_inference_server_http` serves like `python -m azmlinfsrv`, with the command installed too."""
    script = tmp_path / "score.py"
    script.write_text(FINE)
    line = [sys.executable, "-m", "azureml_inference_server_http", "--entry_script", str(script)]
    command_line = [*line, "--port", str(unused), "--hosting", hosting]
    running = RunningServer(command_line, unused, tmp_path, server_environment({}))
    try:
        running.wait_ready()
        assert running.client.post("/score", content=b"1").json() == "1"
    finally:
        assert running.stop() == 0


def test_the_installed_command(tmp_path: Path) -> None:
    """The command `azmlinfsrv` is installed and knows its version."""
    path = Path(sys.executable).with_name("azmlinfsrv")
    done = subprocess.run([path, "--version"], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert (done.returncode, done.stdout.split()[0]) == (0, "azmlinfsrv")


# -- config.json -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", ["is not valid JSON"]),
        ("[1]", ["JSON object"]),
        ('{"SCORING_TIMEOUT_MS": "soon"}', ["SCORING_TIMEOUT_MS", "'soon'", "an integer of at least 0"]),
        ('{"SCORING_TIMEOUT_MS": -1}', ["SCORING_TIMEOUT_MS", "-1", "an integer of at least 0"]),
        ('{"AML_APP_INSIGHTS_ENABLED": "perhaps"}', ["AML_APP_INSIGHTS_ENABLED", "'perhaps'", "true or false"]),
        ('{"SERVICE_NAME": 5}', ["SERVICE_NAME", "5", "a string"]),
        ('{"AZUREML_LOG_LEVEL": "LOUD"}', ["AZUREML_LOG_LEVEL", "'LOUD'", "DEBUG"]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_wrong_config_file(server: StartServer, tmp_path: Path, content: str, said: list[str]) -> None:
    """A config.json that cannot be used names file, key, value and what was expected, and ends with 3."""
    file = tmp_path / "wrong.json"
    file.write_text(content)
    running = server(FINE, "--config_file", str(file), wait=False)
    assert running.wait_exit() == 3
    (line,) = [line for line in running.output.splitlines() if str(file) in line]
    assert all(part in line for part in said), line
    assert "Configuration Error" in running.output
    assert "Traceback" not in running.output


def test_a_missing_config_file(server: StartServer) -> None:
    """A config file that is named and not there is warned of, and the server starts, as release 1.5.1 does."""
    running = server(FINE, "--config_file", "nowhere.json")
    (line,) = [line for line in running.stdout.splitlines() if "nowhere.json does not exist" in line]
    assert " W [" in line


@pytest.mark.parametrize("content", ["{", '{"version": 1, "handlers": {"x": {"class": "no.such.Handler"}}}'])
def test_a_wrong_logging_json(server: StartServer, tmp_path: Path, content: str) -> None:
    """A logging.json that cannot be used ends with 3 and the released server's message, not with a traceback."""
    (tmp_path / "logging.json").write_text(content)
    (tmp_path / "score.py").write_text(FINE)
    running = server(tmp_path / "score.py", wait=False)
    assert running.wait_exit() == 3
    assert "Invalid config file!: " in running.output and "logging.json" in running.output
    assert "Traceback" not in running.output


def test_origins_that_are_no_pattern(server: StartServer) -> None:
    """AML_CORS_ORIGINS that cannot be matched is a configuration error that names the value."""
    running = server(FINE, env={"AML_CORS_ORIGINS": "*.one.test"}, wait=False)
    running.wait_until(lambda: running.process.poll() is not None or "ready for serving" in running.stdout)
    assert running.process.poll() == 3, "the server serves"
    assert "*.one.test" in running.output and "Traceback" not in running.output


@pytest.mark.parametrize("hosting", ["gunicorn", "single"])
def test_a_syslog_that_is_not_there(server: StartServer, tmp_path: Path, hosting: str) -> None:
    """A syslog address that cannot be reached is a configuration error that names it."""
    address = str(tmp_path / "no-such-socket")
    running = server(FINE, "--hosting", hosting, env={"AZMLINFSRV_SYSLOG_ADDRESS": address}, wait=False)
    assert running.wait_exit() == 3
    assert address in running.output and "Traceback" not in running.output


# -- scripts that cannot be served -----------------------------------------------------------------------------


def test_a_script_that_is_not_there(server: StartServer, tmp_path: Path) -> None:
    """An entry script that does not exist ends with 3 and names the path."""
    running = server(tmp_path / "nowhere.py", wait=False)
    assert running.wait_exit() == 3
    assert str(tmp_path / "nowhere.py") in running.output and "Traceback" not in running.output


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("def run(data):\n    pass\n", "does not have a init() function"),
        ("def init():\n    pass\n", "does not have a run() function"),
        ("def init():\n    pass\n\n\ndef run():\n    pass\n", "run() needs to accept an argument for input data."),
        ("def init():\n    pass\n\n\ndef run(*a):\n    pass\n", "run() cannot accept positional-only arguments"),
    ],
)
def test_a_script_that_lacks_something(server: StartServer, source: str, said: str) -> None:
    """A script without what it must have ends with 3 and the released server's message."""
    running = server(source, wait=False)
    assert running.wait_exit() == 3
    assert said in running.output and "Traceback" not in running.output


IMPORT_FAILURES = {
    "missing module": ("import json\nimport nothing_like_this\n", "ModuleNotFoundError: No module named", 2),
    "raises": ("def load():\n    raise RuntimeError('no weights')\n\n\nload()\n", "RuntimeError: no weights", 2),
    "syntax": ("def init():\n    pass\n\n\ndef run(data)\n    return data\n", "SyntaxError", 5),
    "exits": ("import sys\n\nsys.exit(7)\n", "SystemExit: 7", 3),
}


@pytest.mark.parametrize("hosting", ["gunicorn", "single"])
@pytest.mark.parametrize("name", IMPORT_FAILURES)
def test_a_script_that_cannot_be_imported(server: StartServer, tmp_path: Path, name: str, hosting: str) -> None:
    """A script that fails at its import ends with 3 and the user's own traceback, without frames of the server."""
    source, error, line = IMPORT_FAILURES[name]
    script = tmp_path / "score.py"
    script.write_text(source)
    running = server(script, "--hosting", hosting, wait=False)
    assert running.wait_exit() == 3
    assert error in running.output
    assert f'File "{script}", line {line}' in running.output
    assert frames_of_the_server(running.output) == []


BROKEN_INIT = """
    def load():
        raise RuntimeError("no weights")


    def init():
        print("before")
        load()


    def run(data):
        return data
"""


@pytest.mark.parametrize("hosting", ["gunicorn", "single"])
@pytest.mark.parametrize("preload", ["false", "true"])
def test_an_init_that_raises(server: StartServer, tmp_path: Path, hosting: str, preload: str) -> None:
    """A failing init() ends with 3, the user's own traceback and the tree of the model folder."""
    model = make_model(tmp_path, 3)
    env = {"WORKER_PRELOAD": preload}
    running = server(BROKEN_INIT, "--model_dir", str(model), "--hosting", hosting, env=env, wait=False)
    assert running.wait_exit() == 3
    assert "User's init function failed" in running.output
    assert re.search(r'score\.py", line \d+, in init\n\s+load\(\)\n', running.output)
    assert "RuntimeError: no weights" in running.output
    assert "azmlinfsrv.print - before" in running.output
    assert frames_of_the_server(running.output) == []
    assert_tree(running.output, ["model/", "weights-000.bin", "weights-001.bin", "weights-002.bin"])


def test_an_import_that_fails_shows_the_model(server: StartServer, tmp_path: Path) -> None:
    """A script that fails at its import gets the tree of the model folder too (issue 2, part 5)."""
    running = server("import nothing_like_this\n", "--model_dir", str(make_model(tmp_path, 2)), wait=False)
    assert running.wait_exit() == 3
    assert_tree(running.output, ["model/", "weights-000.bin", "weights-001.bin"])


def test_a_large_model_folder(server: StartServer, tmp_path: Path) -> None:
    """The tree of the model folder has 200 lines at most, and says that it was cut."""
    running = server(BROKEN_INIT, "--model_dir", str(make_model(tmp_path, 250)), wait=False)
    assert running.wait_exit() == 3
    assert running.output.count("weights-") == 199
    assert "Output Truncated. First 200 lines shown." in running.output


def make_model(folder: Path, files: int) -> Path:
    """Make a model folder with so many files."""
    model = folder / "model"
    model.mkdir()
    for number in range(files):
        (model / f"weights-{number:03}.bin").write_bytes(b"x" * 10)
    return model


def assert_tree(output: str, names: list[str]) -> None:
    """Check that a line of the log each ends with these names, in this order."""
    lines = [line.rpartition(" ")[2] for line in output.splitlines()]
    assert [line for line in lines if line in names] == names, output


# -- what a script finds ---------------------------------------------------------------------------------------


def test_the_environment_of_the_script(server: StartServer, tmp_path: Path) -> None:
    """The variables that the release sets are there before the script is loaded (`contract.md`)."""
    source = """
        import json
        import os

        AT_IMPORT = dict(os.environ)


        def init():
            pass


        def run(data):
            return AT_IMPORT
    """
    running = server(source, "--model_dir", str(tmp_path), "--worker_count", "1")
    found = running.client.post("/score", content=b"").json()
    assert os.path.basename(found["AZUREML_ENTRY_SCRIPT"]) == "score.py"
    assert found["AZUREML_MODEL_DIR"] == str(tmp_path)
    assert (found["SERVER_PORT"], found["HEALTH_PORT"]) == (str(running.port), str(running.port))
    assert (found["WORKER_COUNT"], found["AML_APP_INSIGHTS_ENABLED"]) == ("1", "false")
    assert found["HTTP_X_MS_SERVER_VERSION"] == running.client.get("/").headers["x-ms-server-version"]
    assert found["AML_APP_ROOT"] == str(tmp_path / "server-0")

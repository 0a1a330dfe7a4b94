"""Where settings come from: command line, environment, config.json, and gunicorn's own sources."""

from __future__ import annotations

import json
from pathlib import Path

import psutil
import pytest

from tests.conftest import StartServer
from tests.process.asking import answer_of
from tests.servers import RunningServer

pytestmark = pytest.mark.process

KEY = "AML_CORS_ORIGINS"
SERVE = "def init():\n    pass\n\n\ndef run(data):\n    return {!r}\n"


def config(folder: Path, **content: object) -> Path:
    """Write a config.json into a folder and return its path."""
    folder.mkdir(exist_ok=True)
    path = folder / "config.json"
    path.write_text(json.dumps(content))
    return path


def origin(server: RunningServer) -> str:
    """Return the origin that answers allow."""
    headers = server.client.get("/").headers
    return str(headers.get("access-control-allow-origin", ""))


# -- config.json -----------------------------------------------------------------------------------------------


def test_config_in_the_app_root(server: StartServer, scripts: Path, tmp_path: Path) -> None:
    """A config.json in AML_APP_ROOT is found."""
    config(tmp_path / "root", **{KEY: "http://root.test"})
    running = server(scripts / "steps.py", env={"AML_APP_ROOT": str(tmp_path / "root")})
    assert origin(running) == "http://root.test"


def test_config_in_the_working_directory(server: StartServer, scripts: Path, tmp_path: Path) -> None:
    """Without AML_APP_ROOT, the working directory of the command takes its place."""
    config(tmp_path / "cwd", **{KEY: "http://cwd.test"})
    assert origin(server(scripts / "steps.py", cwd=tmp_path / "cwd")) == "http://cwd.test"


def test_config_beside_the_script(server: StartServer, tmp_path: Path) -> None:
    """A config.json beside the scoring script is found."""
    config(tmp_path / "beside", **{KEY: "http://beside.test"})
    (tmp_path / "beside" / "score.py").write_text(SERVE.format(1))
    assert origin(server(tmp_path / "beside" / "score.py")) == "http://beside.test"


def test_the_app_root_comes_before_the_script(server: StartServer, tmp_path: Path) -> None:
    """Of two files in the default places, the one in AML_APP_ROOT counts alone."""
    config(tmp_path / "root", **{KEY: "http://root.test"})
    config(tmp_path / "beside", **{KEY: "http://beside.test", "SERVICE_NAME": "beside"})
    (tmp_path / "beside" / "score.py").write_text(SERVE.format(1))
    running = server(tmp_path / "beside" / "score.py", env={"AML_APP_ROOT": str(tmp_path / "root")})
    assert origin(running) == "http://root.test"
    assert running.client.get("/swagger.json").json()["info"]["title"] == "ML service"


@pytest.mark.parametrize("how", ["flag", "variable"])
def test_a_named_config(server: StartServer, tmp_path: Path, how: str) -> None:
    """--config_file and AZUREML_CONFIG_FILE name a file, which may name the script, and others are not read."""
    (tmp_path / "score.py").write_text(SERVE.format("from the config"))
    path = config(tmp_path / "named", AZUREML_ENTRY_SCRIPT=str(tmp_path / "score.py"), SERVICE_NAME="named")
    config(tmp_path / "cwd", **{KEY: "http://cwd.test"})
    running = (
        server(None, "--config_file", str(path), cwd=tmp_path / "cwd")
        if how == "flag"
        else server(None, env={"AZUREML_CONFIG_FILE": str(path)}, cwd=tmp_path / "cwd")
    )
    assert running.client.post("/score", content=b"").json() == "from the config"
    assert running.client.get("/swagger.json").json()["info"]["title"] == "named"
    assert origin(running) == ""


def test_a_relative_script_in_the_config(server: StartServer, tmp_path: Path) -> None:
    """A relative entry script in the config is relative to AML_APP_ROOT."""
    config(tmp_path / "root", AZUREML_ENTRY_SCRIPT="score.py")
    (tmp_path / "root" / "score.py").write_text(SERVE.format("relative"))
    running = server(None, env={"AML_APP_ROOT": str(tmp_path / "root")})
    assert running.client.post("/score", content=b"").json() == "relative"


def test_priorities(server: StartServer, scripts: Path, tmp_path: Path) -> None:
    """The command line comes before the environment, and that before the config file."""
    path = str(config(tmp_path / "c", **{KEY: "http://file.test"}))
    flag = ("--access_control_allow_origins", "http://flag.test")
    variable = {KEY: "http://variable.test"}
    script = scripts / "steps.py"
    assert origin(server(script, "--config_file", path)) == "http://file.test"
    assert origin(server(script, "--config_file", path, env=variable)) == "http://variable.test"
    assert origin(server(script, "--config_file", path, *flag, env=variable)) == "http://flag.test"


def test_unknown_keys_are_warned_of(server: StartServer, scripts: Path, tmp_path: Path) -> None:
    """A key that is no setting is named in a warning, and the server starts (`contract.md`)."""
    path = config(tmp_path / "c", NO_SUCH_KEY=1, SERVICE_NAME="x")
    running = server(scripts / "steps.py", "--config_file", str(path))
    assert "NO_SUCH_KEY" in running.stdout and "SERVICE_NAME" not in running.stdout.partition("NO_SUCH_KEY")[2][:40]


def test_main_py_is_the_default_script(server: StartServer, tmp_path: Path) -> None:
    """Without an entry script, main.py in the working directory is served."""
    (tmp_path / "main.py").write_text(SERVE.format("main"))
    running = server(None, cwd=tmp_path)
    assert running.client.post("/score", content=b"").json() == "main"


# -- gunicorn --------------------------------------------------------------------------------------------------


def test_gunicorn_cmd_args(server: StartServer, scripts: Path, tmp_path: Path) -> None:
    """GUNICORN_CMD_ARGS is honoured, but for what is a setting of the server's."""
    pid_file = tmp_path / "pid"
    arguments = f"--pid {pid_file} --env FROM_ARGUMENTS=1 --bind 127.0.0.1:1 --workers 3"
    running = server(scripts / "steps.py", env={"GUNICORN_CMD_ARGS": arguments})
    assert pid_file.read_text().strip() == str(running.process.pid)
    assert answer_of(running, "variable", name="FROM_ARGUMENTS") == "1"
    assert len(psutil.Process(running.process.pid).children()) == 1


def test_gunicorn_conf_py(server: StartServer, scripts: Path, tmp_path: Path) -> None:
    """A gunicorn.conf.py in the working directory is honoured, its hooks too."""
    (tmp_path / "gunicorn.conf.py").write_text(
        'raw_env = ["FROM_FILE=1"]\n'
        "def post_fork(server, worker):\n"
        f"    open({str(tmp_path / 'forked')!r}, 'w').write(str(worker.pid))\n"
        "def worker_exit(server, worker):\n"
        f"    open({str(tmp_path / 'exited')!r}, 'w').write(str(worker.pid))\n"
    )
    running = server(scripts / "steps.py", cwd=tmp_path)
    pid = answer_of(running, "pid")
    assert answer_of(running, "variable", name="FROM_FILE") == "1"
    assert running.stop() == 0
    assert (tmp_path / "forked").read_text() == (tmp_path / "exited").read_text() == str(pid)


def test_max_requests(server: StartServer, scripts: Path) -> None:
    """A worker is replaced after gunicorn's max_requests, which users set against leaks."""
    running = server(scripts / "steps.py", env={"GUNICORN_CMD_ARGS": "--max-requests 5"})
    first = answer_of(running, "pid")
    running.wait_until(lambda: answer_of(running, "pid") != first)


def test_other_gunicorn_arguments_are_refused(server: StartServer, scripts: Path) -> None:
    """GUNICORN_CMD_ARGS that gunicorn does not know stop the start and are named."""
    running = server(scripts / "steps.py", env={"GUNICORN_CMD_ARGS": "--no-such-argument"}, wait=False)
    assert running.wait_exit() != 0
    assert "--no-such-argument" in running.output and "Traceback" not in running.output

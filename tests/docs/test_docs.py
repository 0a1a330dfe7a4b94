"""The documents are true: their commands run, their answers come, their tables are complete."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from azmlinfsrv.settings import rows
from tests.conftest import RequireProgram
from tests.documented import KEYS, VARIABLES
from tests.ports import ReservedPort

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
SCRIPTS = [page for page in PAGES if "def run(" in page.read_text(encoding="utf-8")]


class Block(NamedTuple):
    """One fenced block of a page."""

    language: str
    text: str


def blocks(page: Path) -> list[Block]:
    """Return the fenced blocks of a page, in order."""
    return [
        Block(*found)
        for found in re.findall(r"^```(\w*)\n(.*?)^```", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    ]


@pytest.fixture
def curl(require_program: RequireProgram) -> str:
    """The path of curl, whose lines the pages show."""
    return require_program("curl")


@pytest.fixture
def port() -> Iterator[int]:
    """A port for one server at a time."""
    with ReservedPort() as reserved:
        yield reserved.number


@contextlib.contextmanager
def serving(command: list[str], port: int, cwd: Path, **variables: str) -> Iterator[None]:
    """Run a command that serves on a port, from its readiness to its end."""
    process = subprocess.Popen(command, cwd=cwd, env={**os.environ, **variables}, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 50
        while not is_answered(f"http://127.0.0.1:{port}/"):
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.05)
            assert process.poll() is None, f"{command} ended"
            assert time.monotonic() < deadline, f"{command} is not ready"
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def is_answered(url: str) -> bool:
    """Return whether a server answers there."""
    try:
        urllib.request.urlopen(url, timeout=5).close()  # noqa: S310 - our own server
    except OSError:
        return False
    return True


def answer(curl: str, line: str, port: int, cwd: Path) -> str:
    """Run a curl line of a page against another port, and return what it prints."""
    arguments = shlex.split(line.replace(":5001/", f":{port}/"))
    return subprocess.run(
        [curl, *arguments[1:]], cwd=cwd, check=True, capture_output=True, text=True, timeout=20
    ).stdout


@pytest.mark.docs
def test_reference_pages_are_current() -> None:
    """The generated pages are what the code generates."""
    result = subprocess.run(
        [sys.executable, ROOT / "scripts" / "generate-reference", "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.docs
def test_every_documented_variable_is_a_setting() -> None:
    """Every variable and config key of the documented system is in the table."""
    variables = {variable for row in rows().values() for variable in row.spec.variables}
    keys = {variable for row in rows().values() if row.spec.in_file for variable in row.spec.variables}
    assert {*VARIABLES, "SEPERATE_HEALTH_ENDPOINT"} <= variables
    assert set(KEYS) <= keys


@pytest.mark.docs
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    """Every relative link of a page leads to a file."""
    for target in re.findall(r"\]\(([^)#]+)", page.read_text("utf-8")):
        assert target.startswith("http") or (page.parent / target).exists(), target


@pytest.mark.docs
@pytest.mark.process
@pytest.mark.timeout(300)
def test_readme_example_runs(curl: str, port: int) -> None:
    """`./scripts/serve` and its curl line give the answer that the README shows."""
    found = blocks(ROOT / "README.md")
    assert found[0] == Block("sh", "./scripts/serve\n")
    assert found[1].text.startswith("curl ") and found[2].language == "json"
    assert found[3] == Block("sh", "./scripts/test\n")
    with serving([str(ROOT / "scripts" / "serve")], port, ROOT, PORT=str(port)):
        assert json.loads(answer(curl, found[1].text, port, ROOT)) == json.loads(found[2].text)


@pytest.mark.docs
@pytest.mark.process
@pytest.mark.parametrize("name", ["README.md", "docs/tutorial/first-service.md"])
def test_own_script_gives_the_answers_shown(name: str, curl: str, port: int, tmp_path: Path) -> None:
    """The page's script, served by the page's command, gives the page's answers."""
    found = blocks(ROOT / name)
    start = next(index for index, block in enumerate(found) if block.language == "python")
    (tmp_path / "score.py").write_text(found[start].text, "utf-8")
    command = next(block.text for block in found[start:] if "--entry_script score.py" in block.text)
    checked = 0
    program = [sys.executable, "-m", "azmlinfsrv", *shlex.split(command)[1:], "--port", str(port)]
    with serving(program, port, tmp_path):
        for block, shown in zip(found[start:], found[start + 1 :], strict=False):
            if block.text.startswith("curl "):
                got = answer(curl, block.text, port, tmp_path)
                expected = shown.text.strip()
                assert json.loads(got) == json.loads(expected) if shown.language == "json" else got == expected
                checked += 1
    assert checked


@pytest.mark.docs
@pytest.mark.process
@pytest.mark.parametrize("page", SCRIPTS, ids=lambda page: page.name)
def test_scripts_of_pages_are_served(page: Path, port: int, tmp_path: Path) -> None:
    """Every scoring script in the documents is one that the server takes, and that answers."""
    for number, block in enumerate(block for block in blocks(page) if "def run(" in block.text):
        script = tmp_path / f"score_{number}.py"
        script.write_text(block.text, "utf-8")
        with serving(
            [sys.executable, "-m", "azmlinfsrv", "--entry_script", str(script), "--port", str(port)], port, tmp_path
        ):
            body = b'{"values": [1.0]}' if "values" in block.text else b"[1]"
            is_json = "from pydantic" in block.text
            if "@input_schema" in block.text:
                body, is_json = b'{"values": [1.0]}' if "values" in block.text else b'{"data": [[1, 2, 3, 4]]}', True
            elif ", Frame(" in block.text:
                body, is_json = b'{"people": [{"name": "Ada", "age": 36}]}', True
            elif is_json:
                body = next(each for each in blocks(page) if each.language == "json").text.encode()
            url, headers = f"http://127.0.0.1:{port}/score", {"Content-Type": "application/json"}
            request = urllib.request.Request(url, body, headers if is_json else {})
            with urllib.request.urlopen(request, timeout=10) as response:  # noqa: S310 - our own server
                assert response.status == 200


@pytest.mark.docs
@pytest.mark.process
def test_binary_clients_print_what_is_shown(port: int, tmp_path: Path) -> None:
    """The page's clients send and get arrays and frames in binary, and print what the page shows."""
    found = blocks(ROOT / "docs/how-to/binary.md")
    checked = 0
    for number, block in enumerate(found):
        if "def run(" not in block.text:
            continue
        (tmp_path / "score.py").write_text(block.text, "utf-8")
        options = ["--entry_script", "score.py", "--port", str(port)]
        with serving([sys.executable, "-m", "azmlinfsrv", *options], port, tmp_path):
            for client, shown in zip(found[number + 1 :: 2], found[number + 2 :: 2], strict=False):
                if "def run(" in client.text:
                    break
                (tmp_path / "client.py").write_text(client.text.replace(":5001", f":{port}"), "utf-8")
                ran = subprocess.run(
                    [sys.executable, "client.py"], cwd=tmp_path, capture_output=True, text=True, check=False
                )
                assert (ran.stdout, ran.stderr) == (shown.text, "")
                checked += 1
    assert checked == 3


@pytest.mark.docs
@pytest.mark.process
def test_clients_of_the_open_inference_protocol(curl: str, port: int, tmp_path: Path) -> None:
    """The page's curl lines and Python clients get from the page's script what the page shows."""
    found = blocks(ROOT / "docs/how-to/open-inference-protocol.md")
    (tmp_path / "score.py").write_text(found[0].text, "utf-8")
    program = [sys.executable, "-m", "azmlinfsrv", *shlex.split(found[1].text)[1:], "--port", str(port)]
    checked = 0
    with serving(program, port, tmp_path):
        for asked, shown in zip(found[2::2], found[3::2], strict=True):
            if asked.language == "sh":
                assert json.loads(answer(curl, asked.text, port, tmp_path)) == json.loads(shown.text)
            else:
                client = asked.text.replace(":5001", f":{port}")
                ran = subprocess.run(
                    [sys.executable, "-c", client], cwd=tmp_path, capture_output=True, text=True, check=False
                )
                assert (ran.stdout, ran.stderr) == (shown.text, "")
            checked += 1
    assert checked == 5


@pytest.mark.docs
@pytest.mark.process
@pytest.mark.timeout(300)
def test_a_client_can_be_generated(port: int, tmp_path: Path) -> None:
    """The page's commands make a client of a typed script's document, and its program scores with it."""
    install, generate, program = (block.text for block in blocks(ROOT / "docs/how-to/generate-client.md"))
    example = ROOT / "examples" / "iris_typed"
    model = tmp_path / "example" / "model"
    shutil.copytree(example, model.parent, ignore=shutil.ignore_patterns("model"))
    subprocess.run([sys.executable, model.parent / "train.py"], check=True)
    options = ["--entry_script", str(example / "score.py"), "--model_dir", str(model), "--port", str(port)]
    for line in install.splitlines():
        subprocess.run(
            [sys.executable if word == "python" else word for word in line.split()], cwd=tmp_path, check=True
        )
    with serving([sys.executable, "-m", "azmlinfsrv", *options], port, tmp_path):
        subprocess.run(generate.replace(":5001/", f":{port}/").split(), cwd=tmp_path, check=True)
        (tmp_path / "ask.py").write_text(program.replace(":5001", f":{port}"), "utf-8")
        asked = subprocess.run(
            [tmp_path / "generator/bin/python", "ask.py"], cwd=tmp_path, check=True, capture_output=True, text=True
        )
    species, probability = asked.stdout.split()
    assert species == "setosa" and 0.9 < float(probability) <= 1

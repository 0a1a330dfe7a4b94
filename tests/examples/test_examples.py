"""The examples: each is trained, served, and answers its page's request as its page says."""

from __future__ import annotations

import functools
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.ports import ReservedPort
from tests.servers import RunningServer, server_command, server_environment

if TYPE_CHECKING:
    import httpx

pytestmark = [pytest.mark.long, pytest.mark.process, pytest.mark.timeout(300)]

NAMES = ["batched_forest", "diabetes", "digits_image", "iris_mlflow", "iris_typed", "stream", "wine_schema"]
Serve = Callable[[str], RunningServer]
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Page(NamedTuple):
    """What an example's README.md says.

    Attributes:
        headers: headers of the `curl` line's request.
        body: path of the file that it sends, relative to the project.
        answer: the block after it.
    """

    headers: dict[str, str]
    body: str
    answer: str


def read_page(readme: Path) -> Page:
    """Return the request and the answer that an example's page shows."""
    blocks = [match.groups() for match in FENCE.finditer(readme.read_text("utf-8"))]
    position = next(number for number, (_, text) in enumerate(blocks) if text.startswith("curl "))
    words = shlex.split(blocks[position][1])
    headers = dict(words[number + 1].split(": ", 1) for number, word in enumerate(words) if word == "-H")
    body = next(word[1:] for word in words if word.startswith("@"))
    return Page(headers, body, blocks[position + 1][1])


@pytest.fixture(scope="module")
def trained(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of examples/ without anything made there before, in which every example has been trained."""
    copy = tmp_path_factory.mktemp("project") / "examples"
    made = shutil.ignore_patterns("model", "*.png", "__pycache__")
    shutil.copytree(project / "examples", copy, ignore=made)
    for name in NAMES:
        environ = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"}
        subprocess.run([sys.executable, copy / name / "train.py"], check=True, stdout=subprocess.DEVNULL, env=environ)
    return copy


@pytest.fixture(scope="module")
def serve(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    """A function that returns the server of a trained example, which the tests of the module share."""
    with ExitStack() as stack:

        def start(name: str) -> RunningServer:
            port = stack.enter_context(ReservedPort()).number
            script = trained / name / "score.py"
            args = ["--model_dir", str(trained / name / "model")]
            command = server_command(script if script.exists() else None, port, args)
            running = RunningServer(command, port, tmp_path_factory.mktemp("server"), server_environment({}))
            stack.callback(running.stop)
            running.wait_ready(60)
            return running

        yield functools.cache(start)


def ask(running: RunningServer, page: Page, project: Path) -> httpx.Response:
    """Send a page's request, with the file that it names taken from below `project`."""
    answer = running.client.post("/score", headers=page.headers, content=(project / page.body).read_bytes())
    assert answer.status_code == 200, f"{answer.text}\n{running.output}"
    return answer


def expect_batched_forest(text: str) -> None:
    """One flower's species, and how many of the trees say so."""
    answer = json.loads(text)
    assert answer["species"] == "setosa" and 0.5 < answer["share"] <= 1


def expect_diabetes(text: str) -> None:
    """Two patients' progression, on the data set's scale."""
    answer = json.loads(text)
    assert list(answer) == ["progression"]
    assert len(answer["progression"]) == 2
    assert all(25 <= value <= 346 for value in answer["progression"])


def expect_digits_image(text: str) -> None:
    """A digit and the size of the picture."""
    assert json.loads(text) == {"digit": 2, "size": [160, 160]}


def expect_wine_schema(text: str) -> None:
    """Three wines' probabilities, each row one, and each wine's own cultivar the likeliest."""
    answer = json.loads(text)
    assert [len(row) for row in answer] == [3, 3, 3]
    assert all(sum(row) == pytest.approx(1, abs=0.001) for row in answer)
    assert [row.index(max(row)) for row in answer] == [0, 1, 2]


def expect_stream(text: str) -> None:
    """Eight lines of sixteen shades."""
    assert re.fullmatch(r"([.:\-=+*#%@]{16}\n){8}", text)


def expect_iris_typed(text: str) -> None:
    """Three flowers, each of the species that the data set has for it."""
    answer = json.loads(text)
    assert [each["species"] for each in answer] == ["setosa", "versicolor", "virginica"]
    assert all(0.5 < each["probability"] <= 1 for each in answer)


def expect_iris_mlflow(text: str) -> None:
    """Three flowers, each of the species that the data set has for it."""
    assert json.loads(text) == ["setosa", "versicolor", "virginica"]


EXPECT = {
    "batched_forest": expect_batched_forest,
    "diabetes": expect_diabetes,
    "digits_image": expect_digits_image,
    "iris_mlflow": expect_iris_mlflow,
    "iris_typed": expect_iris_typed,
    "stream": expect_stream,
    "wine_schema": expect_wine_schema,
}


def test_every_example_is_listed(project: Path) -> None:
    """No folder under examples/ is without a test."""
    assert sorted(program.parent.name for program in project.glob("examples/*/train.py")) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_the_pages_request_gets_the_pages_answer(name: str, trained: Path, serve: Serve) -> None:
    """The `curl` line of an example's page gets the answer printed below it, and a plausible one."""
    page = read_page(trained / name / "README.md")
    answer = ask(serve(name), page, trained.parent)
    EXPECT[name](answer.text)
    assert answer.text.strip() == page.answer.strip()


def test_a_stream_of_strings_is_chunked_text(trained: Path, serve: Serve) -> None:
    """The strings of a generator are sent as plain text whose length nobody knows beforehand."""
    page = read_page(trained / "stream" / "README.md")
    answer = ask(serve("stream"), page, trained.parent)
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.headers["transfer-encoding"] == "chunked"
    assert "content-length" not in answer.headers


def test_a_raw_script_chooses_its_own_errors(serve: Serve) -> None:
    """The status and the body of an `AMLResponse` are those that the client gets."""
    running = serve("digits_image")
    no_image = running.client.post("/score", content=b"hello")
    assert (no_image.status_code, no_image.json()) == (415, {"error": "the body is not an image"})
    no_post = running.client.get("/score")
    assert (no_post.status_code, no_post.json()) == (405, {"error": "POST an image"})


def test_a_missing_column_is_the_clients_fault(serve: Serve) -> None:
    """A wine without one of the schema's columns gets 400, and the answer names the parameter."""
    running = serve("wine_schema")
    answer = running.client.post("/score", json={"wines": [{"alcohol": 13}], "shares": [1, 1, 1]})
    assert answer.status_code == 400
    assert "wines" in answer.json()["message"]


def test_a_schema_script_wants_a_content_type(serve: Serve) -> None:
    """Without `Content-Type: application/json` the answer is 415, as the example's page says."""
    running = serve("wine_schema")
    assert running.client.post("/score", content=b"{}").status_code == 415

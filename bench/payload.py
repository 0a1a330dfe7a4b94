"""What payloads cost: large and small requests as JSON and in binary, against the released server.

Each work is one client's requests, one after the other, as a client makes them: on one connection where the server
keeps it, on a new one where it does not. Both servers are up, take turns, and every round's figure is the median of
its requests. The aims: 10 times for 2 MB of JSON into NumPy, 8 times for 0.5 MB into pandas.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import io
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from azmlinfsrv import binary
from bench import HERE, Running, System, serving

RELEASED, OURS = "released server 1.5.1", "azmlinfsrv"
JSON = "application/json"
ROWS, COLUMNS, RECORDS, FIELDS = 1000, 100, 1000, 20

_SCRIPT = """
import numpy as np
import pandas as pd
from inference_schema.parameter_types.numpy_parameter_type import NumpyParameterType
from inference_schema.parameter_types.pandas_parameter_type import PandasParameterType
from inference_schema.schema_decorators import input_schema

ANSWER = np.random.default_rng(2).standard_normal(({rows}, {columns}))


def init():
    pass


@input_schema("data", {sample})
def run(data):
    return {result}
"""
_ARRAY = "NumpyParameterType(np.zeros((1, {columns})))"
_FRAME = "PandasParameterType(pd.DataFrame({{f'field_{{i}}': [0.5] for i in range({columns})}}))"
_SUM = "float(data.sum())"


class Script(NamedTuple):
    """A scoring script: the sample of its input, its width, and what it returns."""

    sample: str
    columns: int
    result: str

    def write(self, path: Path) -> Path:
        """Write it down."""
        sample = self.sample.format(columns=self.columns)
        path.write_text(_SCRIPT.format(rows=ROWS, columns=COLUMNS, sample=sample, result=self.result), "utf-8")
        return path


class Work(NamedTuple):
    """One kind of request to one of the scripts; a server that does not know its form is left out."""

    name: str
    form: str
    script: str
    body: bytes
    content_type: str
    accept: str
    released: bool


SCRIPTS = {
    "array": Script(_ARRAY, COLUMNS, _SUM),
    "frame": Script(_FRAME, FIELDS, "float(data.to_numpy().sum())"),
    "row": Script(_ARRAY, 4, _SUM),
    "list answer": Script(_ARRAY, 4, "ANSWER.tolist()"),
    "array answer": Script(_ARRAY, 4, "ANSWER"),
}


def works() -> list[Work]:
    """Return what is measured."""
    random = np.random.default_rng(1)
    array = random.standard_normal((ROWS, COLUMNS))
    frame = pd.DataFrame(random.standard_normal((RECORDS, FIELDS)), columns=[f"field_{i}" for i in range(FIELDS)])
    row = np.array([[1.5, 2.5, 3.5, 4.5]])
    as_array = json.dumps({"data": array.tolist()}).encode()
    as_frame = json.dumps({"data": frame.to_dict("records")}).encode()
    as_row = json.dumps({"data": row.tolist()}).encode()
    in_array, in_frame, one = "NumPy, 1000 by 100 floats in", "pandas, 1000 by 20 floats in", "NumPy, one row in"
    out = "NumPy, 1000 by 100 floats out"
    return [
        Work(in_array, "JSON", "array", as_array, JSON, "*/*", True),
        Work(in_array, "`.npy`", "array", npy(array), binary.NPY, "*/*", False),
        Work(in_array, "bare numbers", "array", array.tobytes(), binary.RAW, "*/*", False),
        Work(in_frame, "JSON", "frame", as_frame, JSON, "*/*", True),
        Work(in_frame, "Arrow", "frame", binary.write_arrow(frame) or b"", binary.ARROW, "*/*", False),
        Work(one, "JSON", "row", as_row, JSON, "*/*", True),
        Work(one, "`.npy`", "row", npy(row), binary.NPY, "*/*", False),
        Work(one, "bare numbers", "row", row.tobytes(), binary.RAW, "*/*", False),
        Work(out, "JSON, `tolist()`", "list answer", as_row, JSON, "*/*", True),
        Work(out, "JSON, the array", "array answer", as_row, JSON, "*/*", False),
        Work(out, "`.npy`", "array answer", as_row, JSON, binary.NPY, False),
    ]


def npy(array: object) -> bytes:
    """Return an array as a file."""
    file = io.BytesIO()
    np.save(file, np.asarray(array))
    return file.getvalue()


class Client:
    """One client of one server."""

    def __init__(self, running: Running) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=60)

    def ask(self, work: Work) -> bytes:
        """Return the answer; the connection is opened again where the server has closed it."""
        headers = {"Content-Type": work.content_type, "Accept": work.accept}
        self._connection.request("POST", "/score", work.body, headers)
        answer = self._connection.getresponse()
        content = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{work.name}, {work.form}: {answer.status} {content[:500]!r}")
        return content

    def median_ms(self, work: Work, seconds: float) -> float:
        """Return the median time of the requests that fit in some seconds, three at the least, in ms."""
        taken: list[float] = []
        end = time.perf_counter() + seconds
        while len(taken) < 3 or time.perf_counter() < end:
            begun = time.perf_counter()
            self.ask(work)
            taken.append((time.perf_counter() - begun) * 1000)
        return statistics.median(taken)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


@contextlib.contextmanager
def clients(systems: list[System], folder: Path) -> Iterator[Callable[[str, str], Client]]:
    """Have every script served by every system; yields what gives the client of a system and a script."""
    found = {}
    with contextlib.ExitStack() as stack:
        for name, script in SCRIPTS.items():
            path = script.write(folder / f"{name.replace(' ', '_')}.py")
            for system in systems:
                client = Client(stack.enter_context(serving(system, path)))
                stack.callback(client.close)
                found[system.name, name] = client
        yield lambda system, name: found[system, name]


def measure(systems: list[System], rounds: int, seconds: float) -> dict[Work, list[tuple[float, float]]]:
    """Return the released server's and our time of every work in every round, in ms.

    A form that the released server does not know is compared with its JSON in the same round.
    """
    figures: dict[Work, list[tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory() as folder, clients(systems, Path(folder)) as client_of:
        todo = works()
        for number in range(rounds + 1):
            released: dict[str, float] = {}
            for work in todo:
                names = [RELEASED, OURS] if work.released else [OURS]
                taken = {
                    name: client_of(name, work.script).median_ms(work, seconds)
                    for name in (names if number % 2 else names[::-1])
                }
                released.setdefault(work.name, taken.get(RELEASED, 0.0))
                if number:  # the first round warms up
                    figures.setdefault(work, []).append((released[work.name], taken[OURS]))
                    print(f"{work.name}, {work.form}: {released[work.name]:.2f} · {taken[OURS]:.2f} ms", flush=True)
    return figures


def table(figures: dict[Work, list[tuple[float, float]]]) -> str:
    """Return the figures as a Markdown table: medians, and how many times quicker ours is, with its spread."""
    lines = ["| work | form | body, kB | released, ms | ours, ms | times quicker | spread |", "| --- " * 7 + "|"]
    for work, rows in figures.items():
        released, ours = (statistics.median(column) for column in zip(*rows, strict=True))
        ratios = sorted(row[0] / row[1] for row in rows)
        cells = [
            work.name,
            work.form,
            f"{len(work.body) / 1000:,.1f}",
            f"{released:.2f}" if work.released else f"({released:.2f})",
            f"{ours:.2f}",
            f"{statistics.median(ratios):.1f}",
            f"{ratios[0]:.1f} to {ratios[-1]:.1f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--release", type=Path, required=True, help="Python with the released server, NumPy and pandas")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=0.7, help="of requests for each work, server and round")
    parser.add_argument("--output", type=Path, default=HERE / "payload.md")
    options = parser.parse_args()
    systems = [
        System(RELEASED, [str(options.release.absolute()), "-m", "azureml_inference_server_http"]),
        System(OURS, [sys.executable, "-m", "azmlinfsrv"]),
    ]
    figures = measure(systems, options.rounds, options.seconds)
    page = (
        "# What payloads cost\n\n"
        f"Made by `python bench/payload.py --rounds {options.rounds} --seconds {options.seconds}`, "
        f"{os.cpu_count()} processors, Python {sys.version.split()[0]}, NumPy {np.__version__}, pandas "
        f"{pd.__version__}, with the extras `fast` and `arrow`; client and servers on one machine, one worker, default "
        "logging to a file.\n"
        "A decorated script adds its input up, or answers with an array; one client sends one request after the other, "
        "and the times are those that it waits.\n"
        "The servers take turns. Only the ratios count; they are the median and the range of the rounds.\n"
        "What the released server does not know, in brackets, is compared with its JSON.\n\n"
        f"{table(figures)}\n"
    )
    options.output.write_text(page, "utf-8")
    print(page)


if __name__ == "__main__":
    main()

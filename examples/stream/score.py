"""Draw the rest of a handwritten digit whose upper rows are given, row by row, each sent as it is drawn."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import joblib

SIDE = 8
SHADES = ".:-=+*#%@"


def init() -> None:
    """Load the models, once per worker: one for each row that may have to be drawn."""
    global models
    models = joblib.load(Path(os.environ["AZUREML_MODEL_DIR"]) / "model.joblib")


def run(raw_data: str) -> Iterator[str]:
    """Answer a JSON document `{"rows": [[0 to 16, eight times], …]}`, one row at least, with a picture.

    Yields:
        One line per row of the picture: first those given, then those that the models draw from all above.
    """
    given = json.loads(raw_data)["rows"]
    above: list[float] = []
    for number in range(SIDE):
        row = given[number] if number < len(given) else models[number].predict([above])[0].tolist()
        above += row
        yield draw(row)


def draw(row: list[float]) -> str:
    """Return a row of values from 0 to 16 as a line of text, darker signs for higher values."""
    return "".join(SHADES[round(value * (len(SHADES) - 1) / 16)] * 2 for value in row) + "\n"

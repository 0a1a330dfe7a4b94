"""The other works, chosen by BENCH_WORK. Usage: python works.py PORT."""

import os
import sys
from collections.abc import Iterator
from typing import Any

import functions
import litserve
import numpy as np
import pandas as pd


class Numpy(litserve.LitAPI):
    """Adds rows of numbers up."""

    def setup(self, device: str) -> None:
        """Load nothing."""

    def decode_request(self, request) -> np.ndarray:
        """Make the array."""
        return np.array(request["data"])

    def predict(self, rows: np.ndarray) -> dict[str, float]:
        """Take one request."""
        return {"sum": float(rows.sum())}


class Pandas(Numpy):
    """Adds the numbers of a table up."""

    def decode_request(self, request) -> pd.DataFrame:
        """Make the table."""
        return pd.DataFrame(request["data"])

    def predict(self, table: pd.DataFrame) -> dict[str, float]:
        """Take one request."""
        return {"sum": float(table.to_numpy().sum())}


class Forest(Numpy):
    """A random forest."""

    def setup(self, device: str) -> None:
        """Load the model."""
        self.model = functions.load_forest()

    def predict(self, rows: np.ndarray) -> list[dict[str, int]]:
        """Take one request."""
        return [{"class": number} for number in self.model.predict(rows).tolist()]


class Batched(Forest):
    """The same, in batches."""

    def batch(self, inputs: list[np.ndarray]) -> np.ndarray:
        """Join the rows of several requests."""
        return np.concatenate(inputs)

    def unbatch(self, output: list[dict[str, int]]) -> list[list[dict[str, int]]]:
        """Return each its own; each has one row."""
        return [[one] for one in output]


class Onnx(Numpy):
    """An ONNX model."""

    def setup(self, device: str) -> None:
        """Load the model."""
        self.network = functions.load_network()

    def predict(self, rows: np.ndarray) -> dict[str, list[int]]:
        """Take one request."""
        return {"classes": functions.classes(self.network, rows)}


class Stream(litserve.LitAPI):
    """A stream."""

    def setup(self, device: str) -> None:
        """Load nothing."""

    def predict(self, request: Any) -> Iterator[str]:
        """Yield the chunks, one at a time."""
        for number in range(functions.CHUNKS):
            yield functions.chunk(number).decode()

    def encode_response(self, output):
        """Send them as they are."""
        yield from output


OPTIONS = {
    "numpy": (Numpy, {}),
    "pandas": (Pandas, {}),
    "forest": (Forest, {}),
    "batched": (Batched, {"max_batch_size": 64, "batch_timeout": 0.005}),
    "onnx": (Onnx, {}),
    "stream": (Stream, {"stream": True}),
}

if __name__ == "__main__":
    kind, options = OPTIONS[os.environ["BENCH_WORK"]]
    server = litserve.LitServer(kind(**options))
    server.run(host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False)

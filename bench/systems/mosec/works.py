"""The other works, chosen by BENCH_WORK."""

import os
import sys
from typing import Any

import functions
import numpy as np
import pandas as pd
from mosec import Server, Worker


class Numpy(Worker):
    """Adds rows of numbers up."""

    def forward(self, data: Any) -> dict[str, float]:
        """Take one request."""
        return {"sum": float(np.array(data["data"]).sum())}


class Pandas(Worker):
    """Adds the numbers of a table up."""

    def forward(self, data: Any) -> dict[str, float]:
        """Take one request."""
        return {"sum": float(pd.DataFrame(data["data"]).to_numpy().sum())}


class Forest(Worker):
    """A random forest."""

    def __init__(self) -> None:
        """Load the model."""
        self.model = functions.load_forest()

    def forward(self, data: Any) -> list[dict[str, int]]:
        """Take one request."""
        return [{"class": number} for number in self.model.predict(np.array(data["data"])).tolist()]


class Batched(Forest):
    """The same, in batches."""

    def forward(self, data: list[Any]) -> list[list[dict[str, int]]]:
        """Take several requests of a row each."""
        found = self.model.predict(np.concatenate([one["data"] for one in data]))
        return [[{"class": number}] for number in found.tolist()]


class Onnx(Worker):
    """An ONNX model."""

    def __init__(self) -> None:
        """Load the model."""
        self.network = functions.load_network()

    def forward(self, data: Any) -> dict[str, list[int]]:
        """Take one request."""
        return {"classes": functions.classes(self.network, np.array(data["data"]))}


class Image(Worker):
    """Tells the size of an image."""

    def deserialize(self, data: bytes) -> bytes:
        """Take the bytes as they are."""
        return data

    def forward(self, data: bytes) -> dict[str, int]:
        """Take one request."""
        return functions.size_of(data)


WORKERS = {kind.__name__.lower(): kind for kind in (Numpy, Pandas, Forest, Batched, Onnx, Image)}

if __name__ == "__main__":
    # It parses the command line itself: the work comes by the environment.
    kind = WORKERS[os.environ["BENCH_WORK"]]
    server = Server()
    if kind is Batched:
        server.append_worker(kind, num=1, max_batch_size=64, max_wait_time=5)
    else:
        server.append_worker(kind, num=1)
    sys.exit(server.run())

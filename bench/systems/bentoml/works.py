"""The other works: a service each."""

from collections.abc import Generator

import bentoml
import functions
import numpy as np
import pandas as pd


@bentoml.service
class Numpy:
    """Adds rows of numbers up."""

    @bentoml.api
    def score(self, data: np.ndarray) -> dict[str, float]:
        """Take one request."""
        return {"sum": float(data.sum())}


@bentoml.service
class Pandas:
    """Adds the numbers of a table up."""

    @bentoml.api
    def score(self, data: pd.DataFrame) -> dict[str, float]:
        """Take one request."""
        return {"sum": float(data.to_numpy().sum())}


@bentoml.service
class Forest:
    """A random forest."""

    def __init__(self) -> None:
        """Load the model."""
        self.model = functions.load_forest()

    @bentoml.api
    def score(self, data: np.ndarray) -> list[dict[str, int]]:
        """Take one request."""
        return [{"class": number} for number in self.model.predict(data).tolist()]


@bentoml.service
class Batched:
    """The same, in batches, which its dispatcher makes as large as its latency lets it."""

    def __init__(self) -> None:
        """Load the model."""
        self.model = functions.load_forest()

    @bentoml.api(batchable=True, max_batch_size=64)
    def score(self, data: np.ndarray) -> list[dict[str, int]]:
        """Take the rows of several requests."""
        return [{"class": number} for number in self.model.predict(data).tolist()]


@bentoml.service
class Onnx:
    """An ONNX model."""

    def __init__(self) -> None:
        """Load the model."""
        self.network = functions.load_network()

    @bentoml.api
    def score(self, data: np.ndarray) -> dict[str, list[int]]:
        """Take one request."""
        return {"classes": functions.classes(self.network, data)}


@bentoml.service
class Stream:
    """A stream."""

    @bentoml.api
    def score(self, data: list[int]) -> Generator[str, None, None]:
        """Yield the chunks, one at a time."""
        for number in range(functions.CHUNKS):
            yield functions.chunk(number).decode()

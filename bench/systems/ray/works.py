"""The other works: a deployment each."""

from collections.abc import Iterator
from typing import Any

import functions
import numpy as np
import pandas as pd
from ray import serve
from starlette.requests import Request
from starlette.responses import StreamingResponse


@serve.deployment
class Numpy:
    """Adds rows of numbers up."""

    async def __call__(self, request: Request) -> dict[str, float]:
        """Take one request."""
        return {"sum": float(np.array((await request.json())["data"]).sum())}


@serve.deployment
class Pandas:
    """Adds the numbers of a table up."""

    async def __call__(self, request: Request) -> dict[str, float]:
        """Take one request."""
        return {"sum": float(pd.DataFrame((await request.json())["data"]).to_numpy().sum())}


@serve.deployment
class Forest:
    """A random forest."""

    def __init__(self) -> None:
        """Load the model."""
        self.model = functions.load_forest()

    async def __call__(self, request: Request) -> list[dict[str, int]]:
        """Take one request."""
        rows = np.array((await request.json())["data"])
        return [{"class": number} for number in self.model.predict(rows).tolist()]


# Its page on dynamic batching: max_ongoing_requests has to be as large as a batch at least.
@serve.deployment(max_ongoing_requests=128)
class Batched:
    """The same, in batches."""

    def __init__(self) -> None:
        """Load the model."""
        self.model = functions.load_forest()

    @serve.batch(max_batch_size=64, batch_wait_timeout_s=0.005)
    async def predict(self, rows: list[Any]) -> list[list[dict[str, int]]]:
        """Take several requests of a row each."""
        found = self.model.predict(np.concatenate(rows))
        return [[{"class": number}] for number in found.tolist()]

    async def __call__(self, request: Request) -> list[dict[str, int]]:
        """Take one request."""
        return await self.predict((await request.json())["data"])


@serve.deployment
class Onnx:
    """An ONNX model."""

    def __init__(self) -> None:
        """Load the model."""
        self.network = functions.load_network()

    async def __call__(self, request: Request) -> dict[str, list[int]]:
        """Take one request."""
        return {"classes": functions.classes(self.network, np.array((await request.json())["data"]))}


@serve.deployment
class Image:
    """Tells the size of an image."""

    async def __call__(self, request: Request) -> dict[str, int]:
        """Take one request."""
        return functions.size_of(await request.body())


@serve.deployment
class Stream:
    """A stream."""

    def chunks(self) -> Iterator[bytes]:
        """Yield the chunks, one at a time."""
        for number in range(functions.CHUNKS):
            yield functions.chunk(number)

    def __call__(self, request: Request) -> StreamingResponse:
        """Take one request."""
        return StreamingResponse(self.chunks(), media_type="text/plain")


numpy, pandas, forest, batched = Numpy.bind(), Pandas.bind(), Forest.bind(), Batched.bind()
onnx, image, stream = Onnx.bind(), Image.bind(), Stream.bind()

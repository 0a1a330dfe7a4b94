"""The other works: a router each would be one service, so each is an application of its own, chosen by its name."""

from collections.abc import Iterator
from contextlib import asynccontextmanager
from typing import Any

import functions
import numpy as np
import pandas as pd
from fastapi import Body, FastAPI
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

models: dict[str, Any] = {}


class Rows(BaseModel):
    """Rows of numbers, validated by pydantic, as its tutorial shows."""

    data: list[list[float]]


class Records(BaseModel):
    """Records of a table."""

    data: list[dict[str, float]]


@asynccontextmanager
async def forest_lifespan(app: FastAPI) -> Any:
    """Load the random forest at the start (its page "Lifespan events")."""
    models["forest"] = functions.load_forest()
    yield


@asynccontextmanager
async def network_lifespan(app: FastAPI) -> Any:
    """Load the ONNX model at the start."""
    models["network"] = functions.load_network()
    yield


numpy, pandas, image, stream = FastAPI(), FastAPI(), FastAPI(), FastAPI()
forest, onnx = FastAPI(lifespan=forest_lifespan), FastAPI(lifespan=network_lifespan)
for app in (numpy, pandas, image, stream, forest, onnx):
    app.get("/")(lambda: "Healthy")


@numpy.post("/score")
def add_rows(rows: Rows) -> dict[str, float]:
    """Add the numbers up."""
    return {"sum": float(np.array(rows.data).sum())}


@pandas.post("/score")
def add_records(records: Records) -> dict[str, float]:
    """Add the numbers up."""
    return {"sum": float(pd.DataFrame(records.data).to_numpy().sum())}


@forest.post("/score")
def predict(rows: Rows) -> list[dict[str, int]]:
    """Answer with the class of each row."""
    return [{"class": number} for number in models["forest"].predict(np.array(rows.data)).tolist()]


@onnx.post("/score")
def classify(rows: Rows) -> dict[str, list[int]]:
    """Answer with the class of each row."""
    return {"classes": functions.classes(models["network"], np.array(rows.data))}


@image.post("/score")
def measure(content: bytes = Body(media_type="application/octet-stream")) -> dict[str, int]:
    """Answer with the size of an image."""
    return functions.size_of(content)


@stream.post("/score")
def tell(body: dict[str, Any]) -> StreamingResponse:
    """Answer with the chunks, one at a time."""

    def chunks() -> Iterator[bytes]:
        for number in range(functions.CHUNKS):
            yield functions.chunk(number)

    return StreamingResponse(chunks(), media_type="text/plain")

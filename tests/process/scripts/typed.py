"""A typed script: models, a constrained number, an enumeration, an array and a frame."""

import enum
from typing import Annotated, Literal

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field

from azmlinfsrv import Array, Frame


class Port(enum.Enum):
    """Where a passenger came on board."""

    SOUTHAMPTON = "S"
    CHERBOURG = "C"


class Passenger(BaseModel):
    """One person on board."""

    model_config = ConfigDict(strict=True, extra="forbid")

    name: str = Field(description="Whole name.", min_length=1, max_length=40, examples=["Ada Lovelace"])
    age: Annotated[float, Field(ge=0, le=150, description="In years.")] | None = None
    port: Annotated[Port, Field(strict=False)] = Port.SOUTHAMPTON


class Prediction(BaseModel):
    """What the model says of one passenger."""

    name: str
    survived: bool
    share: float


def init():
    pass


def run(
    passengers: Annotated[list[Passenger], Field(max_length=20)],
    weights: Annotated[np.ndarray, Array("float64", "2")] = np.array([1.0, 0.5]),
    cabins: Annotated[pd.DataFrame, Frame(berths="float64")] | None = None,
    method: Literal["mean", "max"] = "mean",
) -> list[Prediction]:
    """Predict who survives.

    Younger passengers do, in the method's opinion.
    """
    rest = 0.0 if cabins is None else float(cabins["berths"].fillna(0).clip(0, 9).sum())
    factor = float(np.clip(weights, 0, 1).max() if method == "max" else np.clip(weights, 0, 1).mean())
    return [
        Prediction(name=each.name, survived=(each.age or 30) < 40, share=factor / (1 + (each.age or 30) + rest))
        for each in passengers
    ]

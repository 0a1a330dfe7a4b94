"""Tell the species of iris flowers, with an input and an output that are types."""

import os
from pathlib import Path
from typing import Annotated, Literal

import joblib
from pydantic import BaseModel, Field

Centimetres = Annotated[float, Field(gt=0, le=30)]


class Flower(BaseModel):
    """What was measured of one flower, in centimetres."""

    sepal_length: Centimetres = Field(examples=[5.1])
    sepal_width: Centimetres = Field(examples=[3.5])
    petal_length: Centimetres = Field(examples=[1.4])
    petal_width: Centimetres = Field(examples=[0.2])


class Prediction(BaseModel):
    """The likeliest species of one flower."""

    species: Literal["setosa", "versicolor", "virginica"]
    probability: float


SPECIES = ("setosa", "versicolor", "virginica")


def init() -> None:
    """Load the model, once per worker."""
    global model
    model = joblib.load(Path(os.environ["AZUREML_MODEL_DIR"]) / "model.joblib")


def run(flowers: Annotated[list[Flower], Field(min_length=1)], digits: int = 3) -> list[Prediction]:
    """Tell the species of each flower.

    The probabilities have as many decimals as digits says.
    """
    rows = [[each.sepal_length, each.sepal_width, each.petal_length, each.petal_width] for each in flowers]
    shares = model.predict_proba(rows)
    return [Prediction(species=SPECIES[row.argmax()], probability=round(row.max(), digits)) for row in shares]

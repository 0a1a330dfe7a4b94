"""Say which kind of iris flowers are, several requests at a time."""

import json
import os
from pathlib import Path
from typing import Any

import joblib

from azmlinfsrv import batched


def init() -> None:
    """Load the model, once per worker."""
    global model
    model = joblib.load(Path(os.environ["AZUREML_MODEL_DIR"]) / "model.joblib")


@batched(max_batch_size=64, max_wait_ms=5)
def run(inputs: Any) -> list[dict[str, Any]]:
    """Answer a list of JSON documents `{"flower": [sepal length, sepal width, petal length, petal width]}`.

    Returns:
        For each input the name of the species and its share of the trees.
    """
    flowers = [json.loads(text)["flower"] for text in inputs]
    return [_answer(shares) for shares in model.predict_proba(flowers)]


def _answer(shares: Any) -> dict[str, Any]:
    best = int(shares.argmax())
    return {"species": str(model.classes_[best]), "share": float(shares[best])}

"""Predict how a patient's diabetes progresses within a year, from ten measurements."""

import json
import os
from pathlib import Path
from typing import Any

import joblib


def init() -> None:
    """Load the model, once per worker."""
    global model
    model = joblib.load(Path(os.environ["AZUREML_MODEL_DIR"]) / "model.joblib")


def run(raw_data: str) -> dict[str, Any]:
    """Answer a JSON document `{"data": [[age, sex, bmi, bp, s1, s2, s3, s4, s5, s6], …]}`.

    Returns:
        The predicted progression of each row's patient, on the data set's scale of 25 to 346.
    """
    rows = json.loads(raw_data)["data"]
    return {"progression": model.predict(rows).round(1).tolist()}

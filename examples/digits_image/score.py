"""Read a handwritten digit from an image."""

import os
from io import BytesIO
from pathlib import Path

import joblib
import numpy as np
from PIL import Image, UnidentifiedImageError

from azureml.contrib.services.aml_request import AMLRequest, rawhttp
from azureml.contrib.services.aml_response import AMLResponse


def init() -> None:
    """Load the model, once per worker."""
    global model
    model = joblib.load(Path(os.environ["AZUREML_MODEL_DIR"]) / "model.joblib")


@rawhttp
def run(request: AMLRequest) -> AMLResponse:
    """Answer an image file's bytes, light strokes on a dark ground, with the digit that it shows.

    Returns:
        `{"digit": …, "size": [width, height]}`; 405 for other methods than POST, 415 for what is no image.
    """
    if request.method != "POST":
        return AMLResponse({"error": "POST an image"}, 405, json_str=True)
    try:
        image = Image.open(BytesIO(request.get_data(False)))
        small = image.convert("L").resize((8, 8), Image.Resampling.BOX)
    except (UnidentifiedImageError, OSError):
        return AMLResponse({"error": "the body is not an image"}, 415, json_str=True)
    pixels = np.asarray(small, dtype=float).reshape(1, 64) * (16 / 255)
    return AMLResponse({"digit": int(model.predict(pixels)[0]), "size": list(image.size)}, 200, json_str=True)

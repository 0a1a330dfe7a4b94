"""An ONNX model on rows of numbers."""

import json

import numpy as np
from functions import classes, load_network


def init() -> None:
    """Load the model."""
    global network
    network = load_network()


def run(raw_data: str) -> dict[str, list[int]]:
    """Answer with the class of each row."""
    return {"classes": classes(network, np.array(json.loads(raw_data)["data"]))}

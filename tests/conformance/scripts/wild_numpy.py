"""As published: NumPy in, `.tolist()` out, the parameter called input_data."""

import json
import logging
import time

import numpy as np


def init():
    """Make a model."""
    global weights
    weights = np.array([[1.0, 2.0], [3.0, 4.0]])
    logging.info("Init complete")


def run(input_data):
    """Predict."""
    started = time.time()
    logging.info("model 1: request received")
    data = np.array(json.loads(input_data)["data"])
    result = data @ weights
    print(f"took {time.time() - started < 60}")
    logging.info("Request processed")
    return result.tolist()

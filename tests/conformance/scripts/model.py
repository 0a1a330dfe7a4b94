"""Undecorated: finds its model below the model folder."""

import glob
import json
import os

model = None


def init():
    """Load the model."""
    global model
    folder = os.getenv("AZUREML_MODEL_DIR")
    path = glob.glob(os.path.join(folder, "**", "model.txt"), recursive=True)[0]
    with open(path, encoding="utf-8") as file:
        model = file.read()
    print("found", os.path.relpath(path, folder))


def run(raw_data):
    """Use the model."""
    return model * json.loads(raw_data)

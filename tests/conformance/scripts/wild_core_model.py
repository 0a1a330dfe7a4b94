"""As published: finds a registered model by way of azureml.core, reads its configuration from the environment."""

import json
import os

from azureml.core.model import Model

ENTRY = os.environ.get("AZUREML_ENTRY_SCRIPT")
FOLDER = os.environ.get("MLFLOW_MODEL_FOLDER", "model")


def init():
    """Load the model into a global."""
    global model
    path = Model.get_model_path(model_name="sklearn_regression")
    with open(path, encoding="utf-8") as file:
        model = json.load(file)


def run(raw_data):
    """Score, and give errors back as text."""
    try:
        data = json.loads(raw_data)["data"]
        result = [model["slope"] * value for value in data]
        return json.dumps({"result": result, "folder": FOLDER, "entry": os.path.basename(ENTRY)})
    except Exception as error:
        return str(error)

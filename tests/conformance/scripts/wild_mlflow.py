"""As published: loads an MLflow model from a folder that the environment names."""

import json
import os

import mlflow


def init():
    """Load the model."""
    global model
    folder = os.path.join(os.getenv("AZUREML_MODEL_DIR"), os.getenv("MLFLOW_MODEL_FOLDER"))
    model = mlflow.pyfunc.load_model(folder)


def run(raw_data):
    """Predict on the part of the input that counts."""
    data = json.loads(raw_data)
    if "input_data" not in data:
        raise Exception("Request must contain a top level key named 'input_data'")
    return model.predict(data["input_data"])

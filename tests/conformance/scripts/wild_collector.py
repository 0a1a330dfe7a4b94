"""As published: collects inputs and outputs with azureml.ai.monitoring, and with the older package."""

import json

import pandas as pd
from azureml.ai.monitoring import Collector
from azureml.monitoring import ModelDataCollector


def init():
    """Make the collectors."""
    global inputs, outputs, older
    inputs = Collector(name="model_inputs", on_error=lambda error: print("error", error))
    outputs = Collector(name="model_outputs")
    older = ModelDataCollector("model", designation="inputs", feature_names=["a"])


def run(data):
    """Collect and score."""
    frame = pd.DataFrame(json.loads(data)["data"])
    context = inputs.collect(frame)
    result = frame * 2
    outputs.collect(result, context)
    older.collect([1])
    return {"result": result.to_dict(), "context": context}

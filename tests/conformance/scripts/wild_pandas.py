"""As published: a table from records, answers of several kinds."""

import json

import pandas as pd


def init():
    """Nothing to load."""


def run(data):
    """Answer in the way that is asked for."""
    request = json.loads(data)
    frame = pd.DataFrame(request["data"])
    kind = request.get("kind", "to_json")
    if kind == "to_json":
        return frame.to_json()
    if kind == "records":
        return frame.to_json(orient="records")
    if kind == "frame":
        return frame
    if kind == "set":
        return {1, 2}
    if kind == "tuple":
        return {"error": "bad"}, 400
    return f"{len(frame)} rows of {kind}"

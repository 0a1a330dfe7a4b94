"""Says what it sees of its process, and does what the input says."""

import json
import os
import threading
import time

VERSION = os.environ.get("SERVICE_VERSION", "")
seen = {}


def init():
    if VERSION == "broken":
        raise RuntimeError("the model cannot be read")
    seen.update(inits=seen.get("inits", 0) + 1, thread=threading.get_ident())
    if os.environ.get("PREPARE_S"):
        time.sleep(float(os.environ["PREPARE_S"]))


def run(data):
    wish = json.loads(data)
    if wish == "fail":
        raise ValueError("as wished")
    if wish == "sleep":
        time.sleep(0.2)
    if wish == "hang":
        while True:
            try:
                time.sleep(3600)
            except BaseException:
                continue
    if wish == "version":
        return VERSION
    return {
        "pid": os.getpid(),
        "inits": seen["inits"],
        "same_thread": seen["thread"] == threading.get_ident(),
        "model_dir": os.environ.get("AZUREML_MODEL_DIR"),
        "folder": os.getcwd(),
        "input": wish,
    }

"""A generated driver: imports the script that scores and passes everything on to it."""

import importlib
import json
import logging
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
driver_module = importlib.import_module("scorer")


def init():
    """Prepare as drivers do: log, write the schema, then prepare the script."""
    logging.warning("driver prepares")
    with open(os.path.join(os.environ["AML_APP_ROOT"], "swagger3.json"), "w", encoding="utf-8") as file:
        json.dump({"openapi": "3.0.3", "made": "by the driver"}, file)
    driver_module.init()


def run(raw_data, request_headers=None):
    """Pass on; the server calls the script's own run() instead."""
    return "the driver's run: " + str(raw_data)

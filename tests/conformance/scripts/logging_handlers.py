"""Undecorated: adds handlers of its own to the root logger and to one of its own, in init()."""

import logging
import sys

LOGGER = logging.getLogger("mine")


def init():
    """Add handlers."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(logging.Formatter("own %(levelname)s %(message)s"))
    LOGGER.addHandler(handler)
    LOGGER.setLevel(logging.DEBUG)
    root = logging.getLogger("root")
    root.addHandler(logging.StreamHandler())
    root.setLevel(logging.INFO)
    LOGGER.info("in init")


def run(data):
    """Log to both."""
    LOGGER.debug("debug %s", data)
    logging.getLogger("root").info("root info")
    logging.getLogger("azmlinfsrv").info("server info")
    return data

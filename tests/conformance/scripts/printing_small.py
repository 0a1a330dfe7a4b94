"""Undecorated: prints and logs a little everywhere."""

import logging

print("at import")


def init():
    """Print and log."""
    print("in init")
    logging.warning("warning in init")


def run(data):
    """Print, log, and fail when told."""
    print("in run")
    logging.warning("warning in run")
    logging.getLogger("azmlinfsrv").warning("server warning in run")
    if data == "fail":
        raise ValueError("as told")
    return data

"""Undecorated: sets logging up by itself, at import."""

import logging

logging.basicConfig(level=logging.INFO, format="%(levelname)s:%(name)s:own %(message)s")
logging.info("info at import")
LOGGER = logging.getLogger(__name__)


def init():
    """Log."""
    LOGGER.info("info in init")
    logging.getLogger("azmlinfsrv").info("through the server's logger")


def run(data):
    """Log and print."""
    LOGGER.info("info in run: %s", data)
    logging.debug("not shown")
    print("printed in run")
    return data

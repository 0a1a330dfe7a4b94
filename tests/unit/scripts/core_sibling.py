"""Imports a module of its own by name, and has a class that is pickled by name."""

import dataclasses
import pickle

import core_sibling_helper


@dataclasses.dataclass
class Model:
    """A model."""

    size: int


def init():
    """Take a copy of a model."""
    global model
    model = pickle.loads(pickle.dumps(Model(core_sibling_helper.SIZE)))


def run(data):
    """Tell the size."""
    return model.size

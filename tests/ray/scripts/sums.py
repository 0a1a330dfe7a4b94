"""Sums of rows, with a schema."""

import numpy as np
from inference_schema.parameter_types.numpy_parameter_type import NumpyParameterType
from inference_schema.schema_decorators import input_schema


def init():
    pass


@input_schema("data", NumpyParameterType(np.zeros((1, 2))))
def run(data):
    return data.sum(axis=1)

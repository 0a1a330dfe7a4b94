"""Schema: what scripts of standard types share; the case adds a decorated run()."""

import datetime
import functools

from inference_schema.parameter_types.abstract_parameter_type import AbstractParameterType
from inference_schema.parameter_types.standard_py_parameter_type import StandardPythonParameterType as Standard
from inference_schema.schema_decorators import input_schema, output_schema


def init():
    """Nothing to prepare."""


def seen(*values):
    """Say what arrived."""
    return [f"{type(value).__name__} {value!r}" for value in values]

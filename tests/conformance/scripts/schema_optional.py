"""Schema: an optional parameter, a decorator's name in another case, a response object out."""

import datetime

from azureml_inference_server_http.api.aml_response import AMLResponse
from inference_schema.parameter_types.standard_py_parameter_type import StandardPythonParameterType
from inference_schema.schema_decorators import input_schema, output_schema


def init():
    """Nothing to prepare."""


@input_schema("when", StandardPythonParameterType(datetime.datetime(2024, 2, 29, 12, 30)))
@input_schema("note", StandardPythonParameterType("text"), optional=True)
@output_schema(StandardPythonParameterType("text"))
def run(when, note=None):
    """Give back both."""
    return AMLResponse({"when": repr(when), "note": note}, 203, {"x-own": "1"}, json_str=True)

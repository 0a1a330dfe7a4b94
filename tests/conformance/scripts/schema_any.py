"""Schema: a parameter type of the script's own, which takes whatever comes."""

from inference_schema.parameter_types.abstract_parameter_type import AbstractParameterType
from inference_schema.schema_decorators import input_schema, output_schema


class AnyParameterType(AbstractParameterType):
    """Takes any value and describes it as an object."""

    def deserialize_input(self, input_data):
        """Leave the value as it is."""
        return input_data

    def input_to_swagger(self):
        """Describe the value."""
        return {"type": "object", "example": self.sample_input}

    def supported_versions(self):
        """Versions of the description that can be made."""
        return ["2.0", "3.0", "3.1"]

    supported_versions = classmethod(supported_versions)


def init():
    """Nothing to prepare."""


@input_schema("data", AnyParameterType({"a": 1}))
@output_schema(AnyParameterType({"a": 1}))
def run(data):
    """Give back the value."""
    return {"data": data, "type": type(data).__name__}

"""Scripts with a typed ``run()``: pydantic validates the input and describes it.

Importing this module imports pydantic, an extra (``azmlinfsrv[typed]``); only typed scripts need it.
"""

from __future__ import annotations

import collections.abc
import copy
import dataclasses
import functools
import inspect
import logging
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pydantic
from pydantic.dataclasses import dataclass

from azmlinfsrv.errors import BadInputError, InvalidInputError, ScriptError
from azmlinfsrv.examples import example_of

logger = logging.getLogger("azmlinfsrv.user_script")

_REFERENCE = "#/components/schemas/{model}"
_STREAMS = (collections.abc.Iterator, collections.abc.AsyncIterator, collections.abc.Generator)
_JSON_TYPES = (
    (bool, "boolean"),
    (int, "integer"),
    (float, "number"),
    (str, "string"),
    (dict, "object"),
    (list, "array"),
)


class TypedRun:
    """What a typed ``run()`` takes and returns.

    Args:
        run: the function.
        parameters: its parameters but for ``request_headers``.
        hints: their annotations and the return annotation, resolved.
    """

    def __init__(
        self, run: Callable[..., Any], parameters: Sequence[inspect.Parameter], hints: Mapping[str, Any]
    ) -> None:
        """Prepare the validators.

        Raises:
            ScriptError: an annotation is not one that pydantic knows.
        """
        self.description = inspect.getdoc(run) or ""
        try:
            self._input: pydantic.TypeAdapter[Any] = pydantic.TypeAdapter(_input_type(parameters, hints))
            self._output = _output_adapter(hints)
        except pydantic.errors.PydanticUserError as error:
            raise ScriptError(f"The annotations of run() cannot be used: {error}") from error
        self.input_schema = self._input.json_schema(ref_template=_REFERENCE)
        self.input_schema.pop("title", None)
        self.output_schema = (
            self._output.json_schema(ref_template=_REFERENCE, mode="serialization") if self._output else {}
        )
        self.definitions = {**self.input_schema.pop("$defs", {}), **self.output_schema.pop("$defs", {})}
        self.example = self._checked_example()

    def from_json(self, body: bytes) -> dict[str, Any]:
        """Return the arguments in the JSON object of a body.

        Raises:
            InvalidInputError: the input does not fit the annotations; says where and why.
            BadInputError: the body is not JSON, or no object.
        """
        if not body:
            raise BadInputError("POST body is empty. Expecting a JSON dictionary.")
        try:
            arguments: dict[str, Any] = vars(self._input.validate_json(body))
        except pydantic.ValidationError as error:
            raise _bad_input(error) from None
        return arguments

    def from_values(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments in the values of a query.

        Raises:
            InvalidInputError: the input does not fit the annotations.
        """
        try:
            arguments: dict[str, Any] = vars(self._input.validate_python(dict(values)))
        except pydantic.ValidationError as error:
            raise _bad_input(error) from None
        return arguments

    def plain(self, result: Any) -> Any:
        """Return a result as something that JSON can hold, as its annotation says."""
        if self._output is None:
            return result
        return self._output.dump_python(result, mode="json", warnings=False)

    def _checked_example(self) -> dict[str, Any] | None:
        """Return an input that fits, and warn of examples of the user's that do not."""
        for place, example in _user_examples(self.input_schema, self.definitions):
            try:
                place.validate(example, self._input)
            except (pydantic.ValidationError, ValueError) as error:
                logger.warning("The example of %s does not fit its own schema: %s", place.name, _first_line(error))
        example = example_of(self.input_schema, self.definitions)
        try:
            self._input.validate_python(copy.deepcopy(example))
        except pydantic.ValidationError:
            return None
        return typing.cast("dict[str, Any]", example)


class _Place(typing.NamedTuple):
    name: str

    def validate(self, example: Any, adapter: pydantic.TypeAdapter[Any]) -> None:
        """Validate one parameter's example; errors of the parameters that are left out do not count."""
        try:
            adapter.validate_python({self.name: copy.deepcopy(example)})
        except pydantic.ValidationError as error:
            own = [each for each in error.errors() if each["loc"][:1] == (self.name,)]
            if own:
                raise ValueError(f"{own[0]['msg']} at {path_of(own[0]['loc'])}") from error


def _user_examples(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> list[tuple[_Place, Any]]:
    found = []
    for name, part in schema.get("properties", {}).items():
        target = definitions.get(part.get("$ref", "").rpartition("/")[2], part)
        found += [(_Place(name), example) for example in [*part.get("examples", ()), *target.get("examples", ())]]
    return found


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


def _input_type(parameters: Sequence[inspect.Parameter], hints: Mapping[str, Any]) -> type:
    """Return a dataclass with a field a parameter: any name will do, unlike in a model."""
    fields = []
    for parameter in parameters:
        default: Any = parameter.default
        options: dict[str, Any] = {}
        if isinstance(default, (list, dict, set)):
            options = {"default_factory": functools.partial(copy.deepcopy, default)}
        elif default is not inspect.Parameter.empty:
            options = {"default": default}
        field: Any = dataclasses.field(kw_only=True, **options)
        fields.append((parameter.name, hints.get(parameter.name, Any), field))
    plain = dataclasses.make_dataclass("ServiceInput", fields)
    validated: type = dataclass(plain, config=pydantic.ConfigDict(arbitrary_types_allowed=True))
    return validated


def _output_adapter(hints: Mapping[str, Any]) -> pydantic.TypeAdapter[Any] | None:
    """Return the adapter of the return annotation; None where there is none, or a stream or HTTP response."""
    annotation = hints.get("return", Any)
    if annotation in (Any, None, type(None)) or typing.get_origin(annotation) in _STREAMS:
        return None
    if isinstance(annotation, type) and annotation.__module__.partition(".")[0] in ("azmlinfsrv", "flask", "werkzeug"):
        return None
    return pydantic.TypeAdapter(annotation)


def _bad_input(error: pydantic.ValidationError) -> BadInputError:
    errors = error.errors(include_url=False, include_context=False)
    first = errors[0]
    if first["type"] == "json_invalid":
        return BadInputError(f"POST body could not be decoded as JSON: {first['msg'].removeprefix('Invalid JSON: ')}")
    if not first["loc"]:
        return BadInputError("POST body should be a JSON dictionary.")
    details = [
        {
            "path": path_of(each["loc"]),
            "reason": each["msg"],
            "received": "nothing" if each["type"] == "missing" else json_type(each["input"]),
        }
        for each in errors
    ]
    noun = "error" if len(details) == 1 else "errors"
    summary = "; ".join(f"{each['path']}: {each['reason']}" for each in details[:3])
    return InvalidInputError(f"The input is not valid, {len(details)} {noun}: {summary}", details)


def path_of(location: Sequence[int | str]) -> str:
    """Return a location as a path: ``passengers[0].age``."""
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def json_type(value: Any) -> str:
    """Return the name of the JSON type of a value."""
    if value is None:
        return "null"
    return next((name for kind, name in _JSON_TYPES if isinstance(value, kind)), type(value).__name__)

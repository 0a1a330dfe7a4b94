"""Scripts with a typed ``run()``: pydantic validates the input and describes it.

Importing this module imports pydantic, an extra (``azmlinfsrv[typed]``); only typed scripts need it.
"""

from __future__ import annotations

import collections.abc
import contextlib
import copy
import dataclasses
import functools
import inspect
import json
import logging
import sys
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pydantic
import pydantic_core
from pydantic.dataclasses import dataclass

from azmlinfsrv import codec
from azmlinfsrv.arrays import Array
from azmlinfsrv.errors import BadInputError, InvalidInputError, ScriptError
from azmlinfsrv.examples import example_of
from azmlinfsrv.messages import Body

logger = logging.getLogger("azmlinfsrv.user_script")

_REFERENCE = "#/components/schemas/{model}"
_ITERABLES = (collections.abc.Iterable, collections.abc.AsyncIterable)
# Names that the document has for itself.
RESERVED = {"ServiceInput", "ServiceOutput", "ErrorResponse", "HealthResponse"}
_STREAMS = (
    collections.abc.Iterator,
    collections.abc.Generator,
    collections.abc.AsyncIterator,
    collections.abc.AsyncGenerator,
    collections.abc.Iterable,
    collections.abc.AsyncIterable,
)
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

    Attributes:
        parameters: the same.
        hints: the same.
    """

    def __init__(
        self, run: Callable[..., Any], parameters: Sequence[inspect.Parameter], hints: Mapping[str, Any]
    ) -> None:
        """Prepare the validators.

        Raises:
            ScriptError: an annotation is not one that pydantic knows.
        """
        self.parameters, self.hints = parameters, hints
        self.description = inspect.getdoc(run) or ""
        annotation = hints.get("return", Any)
        self.media_type = _media_type(annotation)
        try:
            self._input: pydantic.TypeAdapter[Any] = pydantic.TypeAdapter(_input_type(parameters, hints))
            schemas, self._output = _schemas(self._input, annotation)
        except pydantic.errors.PydanticUserError as error:
            raise ScriptError(f"The annotations of run() cannot be used: {_first_line(error)}") from error
        self.input_schema, self.output_schema, self.definitions = schemas
        self._is_array = any(isinstance(part, Array) for part in getattr(annotation, "__metadata__", ()))
        self._has_null = _admits_null(self.output_schema, self.definitions)
        self._describe_defaults(parameters)
        self.example = self._checked_example()

    def from_json(self, body: Body) -> dict[str, Any]:
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
            raise _bad_input(error, lambda: pydantic_core.from_json(body)) from None
        return arguments

    def from_values(self, values: Mapping[str, Any], texts: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return the arguments in the values of a query.

        Args:
            values: what the texts mean as JSON.
            texts: the texts as they were sent, for parameters whose meaning as JSON does not fit.

        Raises:
            InvalidInputError: the input does not fit the annotations.
        """
        try:
            arguments: dict[str, Any] = vars(self._input.validate_python(dict(values)))
        except pydantic.ValidationError as error:
            unfit = {each["loc"][0] for each in error.errors(include_url=False, include_input=False) if each["loc"]}
            as_sent = {name: text for name, text in (texts or {}).items() if name in unfit}
            if as_sent:
                with contextlib.suppress(InvalidInputError):
                    return self.from_values({**values, **as_sent})
            raise _bad_input(error, lambda: values) from None
        return arguments

    def is_null(self, result: Any) -> bool:
        """Return whether a plain result is None where the annotation has None: described, and so written, as null."""
        return result is None and self._has_null

    def plain(self, result: Any) -> Any:
        """Return a result as something that JSON can hold, as its annotation says.

        A value of another type than the annotation's is left to the encoding of all results.
        """
        if self._output is None or (self._is_array and _is_numbers(result)):
            return result
        try:
            return self._output.dump_python(result, mode="json", by_alias=True, warnings=False)
        except pydantic_core.PydanticSerializationError:
            return self._output.dump_python(result, by_alias=True, warnings=False)

    def _describe_defaults(self, parameters: Sequence[inspect.Parameter]) -> None:
        """Add the defaults that pydantic leaves out, because each call gets a copy of its own."""
        for parameter in parameters:
            if _is_mutable(parameter.default):
                default = pydantic_core.to_jsonable_python(parameter.default, by_alias=True, fallback=codec.default)
                self.input_schema["properties"][parameter.name].setdefault("default", default)

    def _checked_example(self) -> dict[str, Any] | None:
        """Return an input that fits, and warn of examples of the user's that do not."""
        warned = False
        for name, own in _user_examples(self.input_schema, self.definitions):
            reason = self._misfit({name: own}, name)
            if reason:
                logger.warning("The example of %s does not fit its own schema: %s", name, reason)
                warned = True
        example: dict[str, Any] = example_of(self.input_schema, self.definitions)
        reason = self._misfit(example)
        if not reason:
            return example
        if not warned:
            nested = any("examples" in definition or "example" in definition for definition in _parts(self.definitions))
            level = logging.WARNING if nested else logging.INFO
            logger.log(level, "No example fits the description of run(): %s", reason)
        return None

    def _misfit(self, example: dict[str, Any], name: str | None = None) -> str:
        """Return why an example does not fit; with a name, only errors of this parameter count."""
        try:
            self._input.validate_python(copy.deepcopy(example))
        except pydantic.ValidationError as error:
            own = [each for each in _details(error, example) if name is None or each["path"].startswith(name)]
            return f"{own[0]['reason']} at {own[0]['path']}" if own else ""
        except Exception as error:  # noqa: BLE001 - validators may be the user's own code, and need what init() makes
            return f"{type(error).__name__}: {error}"
        return ""


def _user_examples(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> list[tuple[str, Any]]:
    found = []
    for name, part in schema.get("properties", {}).items():
        target = definitions.get(part.get("$ref", "").rpartition("/")[2], {})
        found += [(name, example) for example in [*part.get("examples", ()), *target.get("examples", ())]]
    return found


def _parts(schema: Any) -> Iterator[Mapping[str, Any]]:
    """Yield every object within a schema."""
    if isinstance(schema, Mapping):
        yield schema
    for part in schema.values() if isinstance(schema, Mapping) else schema if isinstance(schema, list) else ():
        yield from _parts(part)


def _admits_null(schema: Mapping[str, Any], definitions: Mapping[str, Any], seen: frozenset[str] = frozenset()) -> bool:
    """Return whether a schema names null among what it describes."""
    name = schema.get("$ref", "").rpartition("/")[2]
    if name and name not in seen:
        return _admits_null(definitions.get(name, {}), definitions, seen | {name})
    if schema.get("type") == "null" or None in [schema.get("const", ""), *schema.get("enum", ())]:
        return True
    choices = [*schema.get("anyOf", ()), *schema.get("oneOf", ())]
    return any(_admits_null(choice, definitions, seen) for choice in choices)


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


def _is_numbers(result: Any) -> bool:
    """Return whether a result is an array that the encoding of all results writes as `Array` would."""
    numpy = sys.modules.get("numpy")
    return numpy is not None and type(result) is numpy.ndarray and result.dtype.kind in "biuf"


def _is_mutable(default: Any) -> bool:
    return default is not inspect.Parameter.empty and type(default).__hash__ is None


def _input_type(parameters: Sequence[inspect.Parameter], hints: Mapping[str, Any]) -> type:
    """Return a dataclass with a field a parameter: any name will do, unlike in a model."""
    fields = []
    for parameter in parameters:
        default: Any = parameter.default
        options: dict[str, Any] = {}
        if _is_mutable(default):
            options = {"default_factory": functools.partial(copy.deepcopy, default)}
        elif default is not inspect.Parameter.empty:
            options = {"default": default}
        field: Any = dataclasses.field(kw_only=True, **options)
        fields.append((parameter.name, hints.get(parameter.name, Any), field))
    plain = dataclasses.make_dataclass("ServiceInput", fields)
    validated: type = dataclass(plain, config=pydantic.ConfigDict(arbitrary_types_allowed=True))
    return validated


_Schemas = tuple[dict[str, Any], dict[str, Any], dict[str, Any]]


def _schemas(adapter: pydantic.TypeAdapter[Any], annotation: Any) -> tuple[_Schemas, pydantic.TypeAdapter[Any] | None]:
    """Return the schemas of input and output with their definitions, and the adapter of the output.

    A result whose type pydantic does not know has no adapter, and a schema that says nothing.

    Raises:
        pydantic.errors.PydanticUserError: the input cannot be described.
    """
    given = [("input", "validation", adapter)]
    adapter.json_schema()
    output = None
    if _is_described(annotation):
        try:
            output = pydantic.TypeAdapter(annotation)
            output.json_schema(mode="serialization")
        except pydantic.errors.PydanticUserError as error:
            logger.info("The result of run() is not described: %s", _first_line(error))
            output = None
        else:
            given.append(("output", "serialization", output))
    roots, rest = pydantic.TypeAdapter.json_schemas(given, ref_template=_REFERENCE)  # type: ignore[arg-type]
    definitions = rest.get("$defs", {})
    root: dict[str, Any] = roots["input", "validation"]
    if "$ref" in root:
        root = definitions.pop(root["$ref"].rpartition("/")[2])
    root.pop("title", None)
    schemas = _without_clashes({"input": root, "output": roots.get(("output", "serialization"), {}), "of": definitions})
    return (schemas["input"], schemas["output"], schemas["of"]), output


def _without_clashes(schemas: dict[str, Any]) -> dict[str, Any]:
    """Rename definitions whose names the document needs for its own."""
    clashes = RESERVED & schemas["of"].keys()
    if not clashes:
        return schemas
    text = json.dumps(schemas)
    for name in clashes:
        text = text.replace(json.dumps(_REFERENCE.format(model=name)), json.dumps(_REFERENCE.format(model=f"{name}_")))
    renamed: dict[str, Any] = json.loads(text)
    renamed["of"] = {f"{name}_" if name in clashes else name: schema for name, schema in renamed["of"].items()}
    return renamed


def _is_described(annotation: Any) -> bool:
    """Return whether a result becomes JSON of a known type: no stream, no bytes, no HTTP response."""
    if annotation in (Any, bytes, bytearray) or typing.get_origin(annotation) in _STREAMS:
        return False
    return not _is_http(annotation) and not any(map(_is_http, typing.get_args(annotation)))


def _is_http(annotation: Any) -> bool:
    module = annotation.__module__ if isinstance(annotation, type) else ""
    return module.partition(".")[0] in ("azmlinfsrv", "azureml", "flask", "werkzeug")


def _media_type(annotation: Any) -> str:
    """Return the content type of the answer, ``*/*`` where the script decides."""
    if annotation in (bytes, bytearray):
        return "application/octet-stream"
    if typing.get_origin(annotation) in _STREAMS:
        item = next(iter(typing.get_args(annotation)), None)
        if item is None or typing.get_origin(annotation) in _ITERABLES:
            return "*/*"
        return "text/plain" if item is str else "application/octet-stream" if item is bytes else "application/x-ndjson"
    undecided = annotation is Any or _is_http(annotation) or any(map(_is_http, typing.get_args(annotation)))
    return "*/*" if undecided or annotation in _STREAMS else "application/json"


def _bad_input(error: pydantic.ValidationError, value: Callable[[], Any]) -> BadInputError:
    first = error.errors(include_url=False, include_context=False)[0]
    if first["type"] == "json_invalid":
        return BadInputError(f"POST body could not be decoded as JSON: {first['msg'].removeprefix('Invalid JSON: ')}")
    if not first["loc"]:
        return BadInputError("POST body should be a JSON dictionary.")
    details = _details(error, value())
    noun = "error" if len(details) == 1 else "errors"
    summary = "; ".join(f"{each['path']}: {each['reason']}" for each in details[:3])
    return InvalidInputError(f"The input is not valid, {len(details)} {noun}: {summary}", details)


def _details(error: pydantic.ValidationError, value: Any) -> list[dict[str, str]]:
    return [
        {
            "path": path_of(each["loc"], value, missing=each["type"] == "missing"),
            "reason": each["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, "),
            "received": "nothing" if each["type"] == "missing" else json_type(each["input"]),
        }
        for each in error.errors(include_url=False, include_context=False)
    ]


def path_of(location: Sequence[int | str], value: Any, missing: bool = False) -> str:
    """Return a location as a path: ``passengers[0].age``.

    Args:
        location: where pydantic found an error. It has parts that are in no input, such as the members of a union.
        value: the input, which tells those parts.
        missing: whether the last part is what is missing.
    """
    text = ""
    for part in location[:-1] if missing else location:
        if isinstance(value, Mapping) and part in value:
            text += f".{part}" if text else str(part)
            value = value[part]
        elif isinstance(value, (list, tuple)) and isinstance(part, int) and part < len(value):
            text += f"[{part}]"
            value = value[part]
    return f"{text}.{location[-1]}" if missing and text else str(location[-1]) if missing else text


def json_type(value: Any) -> str:
    """Return the name of the JSON type of a value."""
    if value is None:
        return "null"
    return next((name for kind, name in _JSON_TYPES if isinstance(value, kind)), type(value).__name__)

"""From a request to what an MLflow model's ``predict()`` takes, in every form that its callers use.

Sources: MLflow's scoring protocol (``dataframe_split``, ``dataframe_records``, ``instances``, ``inputs``, ``params``,
CSV); "Deployment in the MLflow built-in server vs. deployment in Azure Machine Learning inferencing server" in Azure
Machine Learning's documents (``input_data``). What a form means is left to MLflow's own functions.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from azmlinfsrv.errors import BadInputError, UnsupportedInputError, UnsupportedMethodError
from azmlinfsrv.inputs import is_json, json_object
from azmlinfsrv.messages import Body, Request
from azmlinfsrv.mlflow_signature import Signature
from azmlinfsrv.mlflow_values import first_change

INPUT_DATA, SPLIT, RECORDS, INSTANCES, INPUTS = FORMS = (
    "input_data",
    "dataframe_split",
    "dataframe_records",
    "instances",
    "inputs",
)
CSV, PARQUET = "text/csv", "application/vnd.apache.parquet"
# Bodies of language models, which MLflow hands to the model as they are (its "unified LLM input").
LANGUAGE_KEYS = ("messages", "prompt", "input")
_SPLIT_KEYS = {"columns", "index", "data"}
# What the conversions of MLflow and pandas raise on values that they do not expect.
_UNFIT = (ValueError, TypeError, LookupError, AttributeError, OverflowError, RecursionError)


class Conversions(NamedTuple):
    """MLflow's own conversions, with the model's schema in them.

    Attributes:
        frame: a data frame from JSON, by pandas' name of its form.
        tensors: arrays from the value of ``instances`` or ``inputs``, by that name.
        cast: a data frame whose columns have the signature's types.
        errors: what they raise on input that does not fit.
    """

    frame: Callable[[Any, str], Any]
    tensors: Callable[[Any, str], Any]
    cast: Callable[[Any], Any]
    errors: tuple[type[Exception], ...]


class ModelInput:
    """Makes the arguments of a model's call.

    Args:
        signature: the model's.
        conversions: MLflow's.
        is_strict: whether columns and parameters that the signature does not have are refused, and values that its
            types cannot hold.
        takes_raw: whether the model validates its input itself, by type hints.

    Attributes:
        signature: the same.
        takes_raw: the same.
    """

    def __init__(
        self, signature: Signature, conversions: Conversions, *, is_strict: bool = True, takes_raw: bool = False
    ) -> None:
        self.signature = signature
        self._convert = conversions
        self._is_strict = is_strict
        self.takes_raw = takes_raw
        self._unfit: tuple[type[Exception], ...] = (*conversions.errors, *_UNFIT)

    def arguments(self, request: Request) -> dict[str, Any]:
        """Return ``data`` and ``params`` of ``predict()``, and whether its result is an object's ``predictions``.

        Raises:
            BadInputError: the body is in none of the forms, or does not fit the signature.
            UnsupportedInputError: the content type is none that is taken.
            UnsupportedMethodError: not POST.
        """
        if request.method != "POST":
            raise UnsupportedMethodError
        media_type, charset = _content_type(request)
        if charset not in ("", "utf-8", "utf8"):
            raise UnsupportedInputError("Expects the charset of Content-Type to be utf-8")
        if is_json(request):
            return self._from_object(json_object(request.body))
        if media_type == CSV:
            data = self._from_csv(request.body)
        elif media_type == PARQUET:
            data = self._from_parquet(request.body)
        else:
            raise UnsupportedInputError(f"Expects Content-Type to be application/json, {CSV} or {PARQUET}")
        self._check_names(data)
        return {"data": data, "params": None, "wrapped": True}

    def _from_object(self, values: dict[str, Any]) -> dict[str, Any]:
        given = [form for form in FORMS if form in values]
        if not given and any(key in values for key in LANGUAGE_KEYS):
            known = self.signature.params
            own = {name: value for name, value in values.items() if name in known}
            rest = {name: value for name, value in values.items() if name not in known}
            return {"data": rest, "params": own or None, "wrapped": False}
        if len(given) != 1:
            found = f"has {' and '.join(given)}" if given else "has none of them"
            raise BadInputError(f"The input must have exactly one of {', '.join(FORMS)}; it {found}.")
        form = given[0]
        params = self._params(values.get("params"))
        data = self._input_data(values[form]) if form == INPUT_DATA else self._converted(form, values[form])
        self._check_names(data)
        return {"data": data, "params": params, "wrapped": form != INPUT_DATA}

    def _params(self, params: Any) -> dict[str, Any] | None:
        if params is None:
            return None
        if not isinstance(params, dict):
            raise BadInputError("'params' must be an object.")
        known = self.signature.params
        unknown = [name for name in params if name not in known]
        if unknown and self._is_strict:
            takes = f"takes {_listed(known)}" if known else "takes none"
            raise BadInputError(f"The model has no parameter {_listed(unknown)}; it {takes}.")
        return {name: value for name, value in params.items() if name in known} or None

    def _input_data(self, value: Any) -> Any:
        """Return the data of Azure Machine Learning's form: a frame, records, rows, tensors by name, or an array."""
        signature = self.signature
        if self.takes_raw:
            return value
        if isinstance(value, dict) and _is_split(value) and not value.keys() <= set(signature.names):
            return self._converted(SPLIT, value)
        if isinstance(value, list) and value:
            if all(isinstance(row, dict) for row in value):
                return self._converted(INSTANCES if signature.is_tensor else RECORDS, value)
            if signature.takes_rows and all(isinstance(row, list) for row in value):
                return self._converted(SPLIT, {"columns": signature.names, "data": self._rows(value)})
        return self._converted(INPUTS, value)

    def _rows(self, rows: list[list[Any]]) -> list[list[Any]]:
        names = self.signature.names
        for number, row in enumerate(rows):
            if len(row) != len(names):
                raise BadInputError(
                    f"Row {number} of 'input_data' has {len(row)} values for the columns {_listed(names)}."
                )
        return rows

    def _converted(self, form: str, value: Any) -> Any:
        if self.takes_raw:
            if form != INPUTS:
                raise BadInputError("The model takes its input as 'inputs' or 'input_data', whose value it validates.")
            return value
        if form in (SPLIT, RECORDS):
            self._check_frame(form, value)
            return self.cast(self._tried(lambda: self._convert.frame(value, form.removeprefix("dataframe_"))))
        try:
            tensors = self._tried(lambda: self._convert.tensors(value, form))
        except BadInputError as error:
            name = self._culprit(form, value)
            if name is None or repr(name) in error.message:
                raise
            raise BadInputError(f"The input {name!r} is not valid: {error.message}") from None
        if self._is_strict:
            self._check_tensors(value, tensors)
        return tensors

    def cast(self, frame: Any) -> Any:
        """Return a frame with the types of the signature.

        Raises:
            BadInputError: a value is not of its column's type.
        """
        names = self.signature.narrow(list(frame.columns)) if self._is_strict and frame.columns.is_unique else []
        before = {name: frame[name].to_numpy() for name in names}
        cast = self._tried(lambda: self._convert.cast(frame))
        for name, values in before.items():
            self._check_values(str(name), values, cast[name].to_numpy())
        return cast

    def _check_tensors(self, value: Any, tensors: Any) -> None:
        """Refuse arrays whose values are not those that were sent, by the names that they have."""
        import numpy

        parts = tensors if isinstance(tensors, dict) else {"": tensors}
        for name, tensor in parts.items():
            sent = value
            if name and isinstance(value, list) and value and isinstance(value[0], dict):
                sent = [row.get(name) for row in value]
            elif name and isinstance(value, dict):
                sent = value.get(name)
            if isinstance(tensor, numpy.ndarray) and tensor.dtype.kind in "biuf":
                with contextlib.suppress(*_UNFIT):  # a form that cannot be compared has been converted as it should
                    self._check_values(str(name), numpy.asarray(sent), tensor)

    def _check_values(self, name: str, before: Any, after: Any) -> None:
        changed = first_change(before, after)
        if changed is not None:
            of = f" {name!r}" if name else ""
            raise BadInputError(f"The value {changed!r} of the input{of} is not of its type, {after.dtype}.")

    def _check_frame(self, form: str, value: Any) -> None:
        """Refuse names that the signature does not have before MLflow converts the columns that it has.

        Raises:
            BadInputError: there are some, or one is missing.
        """
        if form == SPLIT and isinstance(value, dict) and isinstance(value.get("columns"), list):
            self._check_known(value["columns"])
        elif form == RECORDS and isinstance(value, list) and all(isinstance(row, dict) for row in value):
            self._check_known({name: None for row in value for name in row})

    def _culprit(self, form: str, value: Any) -> str | None:
        """Return the name of the input that cannot be converted, or None where it has no name."""
        rows = value if isinstance(value, list) else [value]
        for row in rows:
            for name, part in row.items() if isinstance(row, dict) else ():
                try:
                    self._convert.tensors([{name: part}] if form == INSTANCES else {name: part}, form)
                except self._unfit:
                    return str(name)
        return None

    def _tried(self, convert: Callable[[], Any]) -> Any:
        try:
            return convert()
        except self._convert.errors as error:
            raise BadInputError(str(getattr(error, "message", error))) from error
        except _UNFIT as error:
            raise BadInputError(f"The input cannot be converted: {error}") from error

    def _check_names(self, data: Any) -> None:
        columns = getattr(data, "columns", None)
        if columns is not None:
            self._check_known(list(columns))
        elif isinstance(data, dict):
            self._check_known(data)

    def _check_known(self, names: Iterable[Any]) -> None:
        """Refuse input without an input that the signature requires, or with one that it does not have.

        Raises:
            BadInputError: names it.
        """
        if not self.signature.names or self.takes_raw:
            return
        given = [str(name) for name in names]
        missing = [name for name in self.signature.required if name not in given]
        if missing:
            raise BadInputError(f"The input lacks the {_noun(missing)} {_listed(missing)} of the model's signature.")
        extra = [name for name in given if name not in self.signature.names]
        if extra and self._is_strict:
            raise BadInputError(
                f"The input has the {_noun(extra)} {_listed(extra)}, and the model's signature only "
                f"{_listed(self.signature.names)}."
            )

    def _from_csv(self, body: Body) -> Any:
        import pandas

        # Types that pandas must not guess: "007" is a text, and dates and bytes are converted from texts.
        texts = ("string", "binary", "datetime")
        types = {spec["name"]: str for spec in self.signature.inputs or () if spec["type"] in texts and "name" in spec}
        try:
            frame = pandas.read_csv(io.StringIO(body.decode()), dtype=types)
        except UnicodeDecodeError as error:
            raise BadInputError(f"Input cannot be decoded as UTF-8: {error}") from None
        except _UNFIT as error:
            raise BadInputError(f"The input cannot be read as CSV: {error}") from None
        self._check_names(frame)
        return self.cast(frame)

    def _from_parquet(self, body: Body) -> Any:
        import pandas

        try:
            return pandas.read_parquet(io.BytesIO(body))
        except ImportError as error:
            raise UnsupportedInputError(f"Expects Content-Type to be application/json or {CSV}") from error
        except (*_UNFIT, OSError) as error:
            raise BadInputError(f"The input cannot be read as Parquet: {error}") from None


def _content_type(request: Request) -> tuple[str, str]:
    """Return the media type of a request and its charset, in lower case."""
    media_type, *parameters = request.header(b"content-type").lower().split(";")
    given = dict(part.strip().partition("=")[::2] for part in parameters)
    return media_type.strip(), given.get("charset", "").strip('"')


def _is_split(value: Mapping[str, Any]) -> bool:
    return "data" in value and value.keys() <= _SPLIT_KEYS


def _noun(names: list[str]) -> str:
    return "column" if len(names) == 1 else "columns"


def _listed(names: Iterable[Any]) -> str:
    return ", ".join(map(repr, names))

"""The collectors that scripts use, `azureml.ai.monitoring.Collector` and `azureml.monitoring.ModelDataCollector`.

The classes have the interface of the packages azureml-ai-monitoring 1.0.0 and azureml-monitoring 0.1.0a21. The first
package sends to a sidecar of the platform and raises without one; the second needs native libraries of its time. Here,
what they collect goes where the server's model data goes, with the id of the request, and nowhere where that is off.
"""

from __future__ import annotations

import logging
import sys
import time
import uuid
import warnings
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from typing import Any, ClassVar, NoReturn

from azmlinfsrv import codec
from azmlinfsrv.capture import current_request

logger = logging.getLogger("azmlinfsrv")

# (collection, correlation id, JSON text, type of the data) -> whether it was taken.
Collect = Callable[[str, str, str, str], bool]

OFF = "custom logging is not enabled, drop the data"
FULL = "Too many requests lead to message queue is full, please reduce the number of requests."
NO_NAME = "collection name is not provided"

_DESIGNATIONS = ("inputs", "predictions", "labels", "signals", "general")


class CorrelationContext:
    """What belongs together has the same one."""

    def get_id(self) -> str:
        """Return the id."""
        return ""

    def __str__(self) -> str:
        return self.get_id()

    def __repr__(self) -> str:
        return self.get_id()


class BasicCorrelationContext(CorrelationContext):
    """A context with an id.

    Args:
        id: the id, or None for a new one.
        timestamp: seconds since the epoch, or None for now.
        headers: anything else to know.
    """

    def __init__(
        self,
        id: str | None = None,  # noqa: A002 - scripts pass it by name
        timestamp: int | None = None,
        headers: Mapping[str, Any] | None = None,
    ) -> None:
        self.id = id or str(uuid.uuid4())
        self.timestamp = timestamp or int(time.time())
        self.headers = headers or {}

    def get_id(self) -> str:
        """Return the id."""
        return self.id

    def get_timestamp(self) -> int:
        """Return the time."""
        return self.timestamp

    def get_headers(self) -> Mapping[str, Any]:
        """Return the rest."""
        return self.headers


def get_context() -> CorrelationContext:
    """Return a new context."""
    return BasicCorrelationContext()


def _raise(error: Exception) -> NoReturn:
    raise error


class Collector:
    """Collects tables (`pandas.DataFrame`) under a name.

    Args:
        name: name of the collection.
        on_error: gets each error; without it, mistakes of the script are raised, and data that is not collected,
            because that is off or there is too much of it, is not an error.
    """

    _collect: ClassVar[Collect | None] = None

    def __init__(self, *, name: str, on_error: Callable[[Exception], Any] | None = None) -> None:
        self.name = name
        self._on_error = on_error
        if not name:
            self._mistake(ValueError(NO_NAME))
        elif self._sink() is None:
            logger.info("What the collector %s gets is dropped: model data is not collected", name)
            self._tell(OFF)

    def collect(self, data: Any, correlation_context: CorrelationContext | None = None) -> CorrelationContext:
        """Collect a table.

        Args:
            data: a `pandas.DataFrame`.
            correlation_context: what an earlier call returned for the same thing.

        Returns:
            The context, a new one where none is given.
        """
        context = get_context() if correlation_context is None else correlation_context
        sink = self._sink()
        if sink is None:
            self._tell(OFF)
        elif not self.name:
            self._mistake(ValueError(NO_NAME))
        elif not _is_frame(data):
            kind = type(data).__name__
            self._mistake(TypeError(f"data type ({kind}) not supported, supported types: pandas.DataFrame"))
        elif not sink(self.name, context.get_id(), data.to_json(orient="records"), _type_name(data)):
            self._tell(FULL)
        return context

    def _sink(self) -> Collect | None:
        return type(self)._collect

    def _tell(self, message: str) -> None:
        if self._on_error is not None:
            self._on_error(RuntimeError(message))

    def _mistake(self, error: Exception) -> None:
        (self._on_error or _raise)(error)


class ModelDataCollector:
    """Collects rows under the name of a model and a designation; never raises.

    Args:
        model_name: name of the model.
        designation: ``inputs``, ``predictions``, ``labels``, ``signals``, ``general``.
        feature_names: names of the columns of lists and arrays.
        workspace: name of the workspace.
        webservice_name: name of the service.
        model_version: version of the model.
        collection_name: name of the collection, for signals and general data.
    """

    _collect: ClassVar[Collect | None] = None

    def __init__(
        self,
        model_name: str,
        designation: str = "default",
        feature_names: list[str] | None = None,
        workspace: str = "default/default/default",
        webservice_name: str = "default",
        model_version: str = "default",
        collection_name: str = "default",
    ) -> None:
        designation = "general" if designation == "default" else designation
        if designation not in _DESIGNATIONS:
            warnings.warn(f"designation is {designation!r}, and should be one of {_DESIGNATIONS}", stacklevel=2)
        self.model_name = model_name
        self.model_version = model_version
        self.workspace = workspace
        self.service_name = webservice_name
        self._designation = designation
        self._feature_names = list(feature_names or [])
        self._collection = f"{model_name}/{collection_name if designation in ('signals', 'general') else designation}"
        if type(self)._collect is None:
            logger.info("What the collector of %s gets is dropped: model data is not collected", model_name)

    def collect(self, input_data: Any, user_correlation_id: str = "") -> dict[str, Any] | None:
        """Collect rows.

        Args:
            input_data: a list (one row), a NumPy array, or a pandas or Spark DataFrame.
            user_correlation_id: beginning of the id by which the data can be found again.

        Returns:
            For inputs the columns for `add_correlations`; else None.
        """
        sink = type(self)._collect
        if sink is None:
            return None
        correlations = self._correlations(user_correlation_id) if self._designation == "inputs" else None
        identifier = correlations["$aml_dc_correlation_id"] if correlations else user_correlation_id
        try:
            text = self._text(input_data)
        except (TypeError, ValueError, RecursionError) as error:
            warnings.warn(f"collect failed: {error}", stacklevel=2)
            return None
        sink(self._collection, identifier, text, _type_name(input_data))
        return correlations

    def add_correlations(self, input_data: Any, correlations: dict[str, Any] | None) -> Any:
        """Return the data with the columns that `collect` returned for the inputs."""
        if not correlations:
            return input_data
        if isinstance(input_data, list):
            return input_data + list(correlations.values())
        if hasattr(input_data, "toPandas"):
            input_data = input_data.toPandas()
        if _is_frame(input_data):
            return input_data.assign(**correlations)
        numpy = sys.modules.get("numpy")
        if numpy is None or not isinstance(input_data, numpy.ndarray):
            return input_data
        rows = numpy.atleast_2d(input_data)
        columns = numpy.repeat(numpy.array([list(correlations.values())], dtype=object), len(rows), axis=0)
        return numpy.append(rows, columns, axis=1)

    def _correlations(self, user_id: str) -> dict[str, Any]:
        new = str(uuid.uuid4())
        return {
            "$aml_dc_correlation_id": f"{user_id}-{new}" if user_id else new,
            "$aml_dc_scoring_timestamp": datetime.now(timezone.utc).replace(tzinfo=None).isoformat(),
            "$aml_dc_boundary": 60 * 24,
            "$aml_workspace": self.workspace,
            "$aml_service_name": self.service_name,
            "$aml_model_name": self.model_name,
            "$aml_model_version": self.model_version,
            "$aml_request_id": current_request(),
        }

    def _text(self, data: Any) -> str:
        """Return the rows as JSON, each an object where the names of its columns are known."""
        if hasattr(data, "toPandas"):
            data = data.toPandas()
        if _is_frame(data):
            return str(data.to_json(orient="records"))
        if hasattr(data, "tolist"):
            data = data.tolist()
        if not isinstance(data, list):
            raise TypeError("input data must be a list, a NumPy array, or a DataFrame")
        names = self._feature_names
        rows = data if data and all(isinstance(row, list) for row in data) else [data]
        named = [dict(zip(names, row, strict=True)) if len(row) == len(names) else row for row in rows]
        return codec.dumps(named).decode()


def _is_frame(data: Any) -> bool:
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(data, pandas.DataFrame)


def _type_name(data: Any) -> str:
    kind = type(data)
    return f"{kind.__module__}.{kind.__qualname__}"

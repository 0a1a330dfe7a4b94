"""Whether a conversion to a signature's type has changed a value."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from azmlinfsrv.mlflow_values import first_change


@pytest.mark.parametrize(
    ("before", "after", "changed"),
    [
        ([1.0, 2.5], np.array([1, 2]), 2.5),
        ([1.0, 2.0], np.array([1, 2]), None),
        ([1, 2**40], np.array([1, 0], "int32"), 2**40),
        ([0, 1], np.array([False, True]), None),
        ([0, 2], np.array([False, True]), 2),
        ([0.1], np.array([0.1], "float32"), None),
        ([1e300, 1.0], np.array([np.inf, 1.0], "float32"), 1e300),
        ([float("inf")], np.array([np.inf], "float32"), None),
        (["7", 1], np.array([7, 1]), None),
        (["7", 1.5], np.array([7, 1]), 1.5),
        (["yes", True], np.array([True, True]), "yes"),
        ([None], np.array([np.nan]), None),
        (["a"], np.array(["a"]), None),
        ([1.5], np.array([[1]]), None),
    ],
)
def test_the_first_value_that_is_another(before: list[Any], after: np.ndarray[Any, Any], changed: Any) -> None:
    """It is found among numbers and in columns of objects; a value that was only rounded is the same."""
    is_mixed = any(isinstance(value, str) or value is None for value in before)
    assert first_change(np.array(before, dtype=object if is_mixed else None), after) == changed

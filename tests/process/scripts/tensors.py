"""A typed script that takes an array of each datatype of the Open Inference Protocol, and returns them."""

from typing import Annotated

import numpy as np

from azmlinfsrv import Array


def init():
    """Load nothing."""


def run(
    BOOL: Annotated[np.ndarray, Array("bool", "n 2")],
    UINT8: Annotated[np.ndarray, Array("uint8", "n 2")],
    UINT16: Annotated[np.ndarray, Array("uint16", "n 2")],
    UINT32: Annotated[np.ndarray, Array("uint32", "n 2")],
    UINT64: Annotated[np.ndarray, Array("uint64", "n 2")],
    INT8: Annotated[np.ndarray, Array("int8", "n 2")],
    INT16: Annotated[np.ndarray, Array("int16", "n 2")],
    INT32: Annotated[np.ndarray, Array("int32", "n 2")],
    INT64: Annotated[np.ndarray, Array("int64", "n 2")],
    FP16: Annotated[np.ndarray, Array("float16", "n 2")],
    FP32: Annotated[np.ndarray, Array("float32", "n 2")],
    FP64: Annotated[np.ndarray, Array("float64", "n 2")],
    BYTES: Annotated[np.ndarray, Array("str", "n 2")],
    fail: bool = False,
):
    """Return the arrays by name."""
    if fail:
        raise ValueError("as it was told")
    arrays = (BOOL, UINT8, UINT16, UINT32, UINT64, INT8, INT16, INT32, INT64, FP16, FP32, FP64, BYTES)
    names = "BOOL UINT8 UINT16 UINT32 UINT64 INT8 INT16 INT32 INT64 FP16 FP32 FP64 BYTES".split()
    return dict(zip(names, arrays))

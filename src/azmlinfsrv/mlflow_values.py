"""Whether values are the same after MLflow has made them the types of a signature.

Its scoring server converts 1.5 for a column of integers to 1, 2**40 for one of 32 bits to 0, and "no" for a boolean to
true; a signature promises the model that this does not happen.
"""

from __future__ import annotations

from typing import Any

_CHECKED = "biuf"


def first_change(before: Any, after: Any) -> Any:
    """Return the first value that a conversion has changed, or None.

    A float that is rounded to 32 bits is not changed, one that becomes infinite is.

    Args:
        before: values as JSON has them: an array of NumPy's, which may be one of objects.
        after: the array of the same shape that they became.
    """
    import numpy

    if after.dtype.kind not in _CHECKED or before.shape != after.shape or before.dtype == after.dtype:
        return None
    if before.dtype.kind in "biuf":
        with numpy.errstate(all="ignore"):
            if after.dtype.kind == "f":
                changed = numpy.isinf(after) & ~numpy.isinf(before)
            elif after.dtype.kind == "b":
                changed = (before != 0) & (before != 1)
            else:
                changed = before != after
        return before[changed].flat[0].item() if changed.any() else None
    for old, new in zip(before.flat, after.flat, strict=True):
        if _is_changed(old, new, after.dtype.kind):
            return old
    return None


def _is_changed(old: Any, new: Any, kind: str) -> bool:
    if old is None or kind == "f":
        return kind != "f"
    if isinstance(old, str):
        return kind == "b"
    return bool(old != new) if isinstance(old, (bool, int, float)) else False

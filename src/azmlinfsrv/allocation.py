"""What the C library does with memory that was given back: for scripts whose requests are large.

glibc returns a large block to the kernel as soon as it is free, and the next request's block comes back page by page.
For a body of 2 MB that took longer than copying it: 3 ms from its first byte to `run()`, 1 ms with the memory kept.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_BLOCK_BYTES = 32 * 1024 * 1024
_KEPT_BYTES = 64 * 1024 * 1024
_USERS_OWN = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TOP_PAD_", "GLIBC_TUNABLES")


def keep_freed(environment: Mapping[str, str]) -> bool:
    """Have glibc keep up to 64 MB of freed memory, and blocks of up to 32 MB in it; return whether it does.

    Where NumPy is not imported no request is worth it, other C libraries have no such setting, and a setting of the
    user's own stays as it is.

    Args:
        environment: where the user may have set it.
    """
    if "numpy" not in sys.modules or any(name in environment for name in _USERS_OWN):
        return False
    import ctypes  # NumPy has imported it

    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, _BLOCK_BYTES) and mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES))

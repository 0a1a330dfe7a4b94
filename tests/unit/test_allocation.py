"""Memory that was freed is kept where a script's requests are large."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest

from azmlinfsrv import allocation

PROGRAM = """
import os, resource, sys
import numpy
from azmlinfsrv.allocation import keep_freed

kept = keep_freed({})
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(50):
        bytes(4 * 1024 * 1024)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
print(kept, faults())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc is Linux's")
def test_blocks_are_used_again() -> None:
    """Once freed, a large block is had again without its pages."""
    ran = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    kept, faults = ran.stdout.split()
    assert kept == "True"
    assert int(faults) < 1024, "the pages of 50 blocks of 4 MB came from the kernel again"


@pytest.mark.parametrize("name", ["MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES"])
def test_a_setting_of_the_user_stays(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever has set glibc's own variables has decided."""
    monkeypatch.setattr(ctypes, "CDLL", lambda _: pytest.fail("it was set"))
    assert not allocation.keep_freed({name: "1"})


def test_without_numpy_nothing_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    """A script without NumPy has no large arrays."""
    monkeypatch.delitem(sys.modules, "numpy", raising=False)
    monkeypatch.setattr(ctypes, "CDLL", lambda _: pytest.fail("it was set"))
    assert not allocation.keep_freed({})


def no_function(_: str | None) -> object:
    """Return a library without the function, as on macOS."""
    return object()


def no_library(name: str | None) -> object:
    """Raise as on Windows, where there is no library that is everything."""
    raise TypeError(name)


@pytest.mark.parametrize("library", [no_function, no_library])
def test_other_libraries_are_left_alone(library: Callable[..., object], monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no such function, nothing happens."""
    monkeypatch.setitem(sys.modules, "numpy", np)
    monkeypatch.setattr(ctypes, "CDLL", library)
    assert not allocation.keep_freed({})

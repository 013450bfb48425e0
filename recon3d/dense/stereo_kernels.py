"""How the innermost stereo kernels are compiled: without reference counts, some into their callers."""

from __future__ import annotations

from typing import Any, cast

from numba import njit

from recon3d.core.kernels import F

_FAST = {"reassoc", "contract", "arcp", "nsz", "afn"}  # as recon3d.core.kernels.kernel


def lean_kernel(function: F) -> F:
    """Compile a function that other kernels call for every pixel and hypothesis; it must not create arrays.

    Counting the references of its array arguments, atomic operations that Numba cannot remove from functions with
    branches, would take as long as the arithmetic; the caller holds them.
    """
    compiled: Any = njit(nogil=True, cache=True, _nrt=False, fastmath=_FAST, error_model="numpy")(function)
    return cast(F, compiled)


def inner_kernel(function: F) -> F:
    """Compile like :func:`lean_kernel`, and into the caller."""
    compiled: Any = njit(nogil=True, cache=True, forceinline=True, _nrt=False, fastmath=_FAST, error_model="numpy")
    return cast(F, compiled(function))

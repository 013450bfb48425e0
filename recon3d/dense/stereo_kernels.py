"""How the innermost stereo kernels are compiled: without reference counts, some into their callers."""

from __future__ import annotations

from typing import Any, cast

from numba import njit

from recon3d.core.kernels import F

# As recon3d.core.kernels.kernel, but without Numba's memory management. A dictionary, since the stubs lack ``_nrt``.
_LEAN: dict[str, Any] = {
    "nogil": True,
    "cache": True,
    "fastmath": {"reassoc", "contract", "arcp", "nsz", "afn"},
    "error_model": "numpy",
    "_nrt": False,
}


def lean_kernel(function: F) -> F:
    """Compile a function that other kernels call for every pixel and hypothesis; it must not create arrays.

    Counting the references of its array arguments, atomic operations that Numba cannot remove from functions with
    branches, would take as long as the arithmetic; the caller holds them.
    """
    compiled: Any = njit(**_LEAN)(function)
    return cast(F, compiled)


def inner_kernel(function: F) -> F:
    """Compile like :func:`lean_kernel`, and into the caller."""
    compiled: Any = njit(forceinline=True, **_LEAN)(function)
    return cast(F, compiled)

"""Finding reference outputs and comparing with them; nothing here knows a set's names, sizes or values."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

DEFAULT_ROOT = Path(__file__).resolve().parents[3] / "shared" / "goldens"
ROOT = Path(os.environ.get("RECON3D_GOLDENS", DEFAULT_ROOT))


def cases(folder: str, pattern: str) -> list[Any]:
    """The files of one kind as parameters of a test; one skip with its reason where there is none."""
    found = sorted((ROOT / folder).glob(pattern))
    if found:
        return [pytest.param(path, id=path.stem) for path in found]
    return [pytest.param(None, id="none", marks=pytest.mark.skip(reason=f"no {folder}/{pattern} below {ROOT}"))]


def load(path: Path) -> dict[str, np.ndarray]:
    with np.load(path) as arrays:
        return {name: arrays[name] for name in arrays.files}


def assert_close(got: Any, want: np.ndarray, tolerance: float, *, item_axes: int = 1) -> None:
    """Every entry agrees relative to the largest of its item, which is what the last ``item_axes`` axes hold."""
    axes = tuple(range(want.ndim - item_axes, want.ndim))
    size = np.abs(want).max(axis=axes, keepdims=True)
    excess = np.abs(np.asarray(got, dtype=np.float64) - want) - tolerance * np.maximum(size, 1e-3)
    assert got.shape == want.shape
    assert excess.max(initial=-1.0) <= 0, f"off by {excess.max()} more than {tolerance} relative"


def relative_l2(got: Any, want: np.ndarray) -> float:
    difference = np.asarray(got, dtype=np.float64) - want
    return float(np.linalg.norm(difference) / max(float(np.linalg.norm(want)), 1e-12))

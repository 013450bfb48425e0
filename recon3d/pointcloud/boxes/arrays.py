"""One form for all kernels: boxes come as numpy arrays or torch tensors of any float type, and go back as they came."""

from __future__ import annotations

import math
from typing import Any, TypeVar

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from recon3d.core.errors import InputError, ShapeError

Array = TypeVar("Array", np.ndarray, Tensor)


def as_rows(values: Any, columns: int, name: str, *, finite: bool = True) -> Float64[np.ndarray, "n columns"]:
    """Return float64 rows of any array or tensor; what it holds is not changed.

    Args:
        values: array or tensor ``[n, >= columns]``; further columns are left out.
        columns: how many columns are needed.
        name: of the argument, for the error.
        finite: whether a number that is not finite is an error.

    Raises:
        ShapeError: not two axes, or too few columns.
        InputError: a number is not finite.
    """
    plain = values.detach().cpu().double().numpy() if isinstance(values, Tensor) else np.asarray(values, np.float64)
    if plain.ndim != 2 or plain.shape[1] < columns:
        raise ShapeError(f"{name} has the wrong shape", got=plain.shape, expected=f"[n, {columns}] or more columns")
    rows: Float64[np.ndarray, "n columns"] = np.ascontiguousarray(plain[:, :columns])
    if finite and not np.isfinite(rows).all():
        bad = int(np.flatnonzero(~np.isfinite(rows).all(1))[0])
        raise InputError(f"{name} holds a number that is not finite", got=f"row {bad}: {rows[bad]}")
    return rows


def as_given(values: np.ndarray, like: Array) -> Array:
    """Return a result in the kind of an argument: numpy as it is, torch on its device and with its float type.

    Args:
        values: the result; whole numbers and truth values keep their type.
        like: the argument.
    """
    if isinstance(like, Tensor):
        kind = like.dtype if values.dtype.kind == "f" and like.dtype.is_floating_point else None
        return torch.from_numpy(values).to(device=like.device, dtype=kind)
    return values


def wrapped(angle: Float[Array, "*n"]) -> Float[Array, "*n"]:
    """Return angles in [-pi, pi); those that are there already keep every bit.

    Args:
        angle: radians.
    """
    turned = (angle + math.pi) % (2 * math.pi) - math.pi
    turned[turned >= math.pi] = -math.pi
    inside = (angle >= -math.pi) & (angle < math.pi)
    turned[inside] = angle[inside]
    return turned

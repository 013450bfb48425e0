"""Checks of what the public functions are given; the back ends behind them trust it."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from recon3d.core.errors import InputError, ShapeError, UsageError

Shape = tuple[int | None, ...]


def check_shapes(values: Mapping[str, tuple[Tensor, Shape]]) -> None:
    """Raise ShapeError where a tensor does not have its shape; None in a shape stands for any size."""
    for name, (value, shape) in values.items():
        got = tuple(value.shape)
        fits = len(got) == len(shape) and all(want in (None, have) for want, have in zip(shape, got, strict=True))
        if not fits:
            wanted = "[" + ", ".join("any" if size is None else str(size) for size in shape) + "]"
            raise ShapeError(f"{name} has the wrong shape", got=list(got), expected=wanted)


def check_alike(values: Mapping[str, Tensor]) -> None:
    """Raise UsageError where tensors differ in device or dtype, or are no floating-point tensors."""
    (first, reference), *others = values.items()
    if not reference.is_floating_point():
        raise UsageError(f"{first} must be a floating-point tensor", got=reference.dtype)
    for name, value in others:
        if (value.device, value.dtype) != (reference.device, reference.dtype):
            got = f"{value.dtype} on {value.device}"
            expected = f"{reference.dtype} on {reference.device}, as {first}"
            raise UsageError(f"{name} has another type or device", got=got, expected=expected)


@torch.no_grad()
def check_intrinsics(K: Tensor) -> None:
    """Raise UsageError where a matrix ``[...,3,3]`` is not that of a pinhole without skew."""
    x, y, last = K[..., 0, :], K[..., 1, :], K[..., 2, :]
    zero = (x[..., 1] == 0) & (y[..., 0] == 0) & (last == last.new_tensor([0, 0, 1])).all(-1)
    if not bool((zero & (x[..., 0] > 0) & (y[..., 1] > 0)).all()):
        expected = "[[fx, 0, cx], [0, fy, cy], [0, 0, 1]] with positive focal lengths"
        raise UsageError("K is not that of a pinhole camera without skew", got=K.tolist(), expected=expected)


@torch.no_grad()
def check_finite(values: Mapping[str, Tensor]) -> None:
    """Raise InputError where a tensor holds NaN or infinite values, naming it and how many there are."""
    if not values:
        return
    # A sum is NaN or infinite if one term is, and costs a single pass; finite terms may overflow it, hence the count.
    if bool(torch.stack([value.sum() for value in values.values()]).isfinite().all()):
        return
    for name, value in values.items():
        n_bad = int(value.numel() - value.isfinite().sum())
        if n_bad:
            got, fix = f"{n_bad} of {value.numel()}", "remove or repair them, see torch.isfinite"
            raise InputError(f"{name} holds NaN or infinite values", got=got, expected="finite values", fix=fix)

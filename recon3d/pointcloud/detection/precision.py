"""The precision of matrix products."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

import torch

Precision = Literal["auto", "float32", "bfloat16"]


def autocast(precision: Precision, device: torch.device) -> AbstractContextManager[Any]:
    """Return the context in which a network runs at a precision.

    Args:
        precision: ``auto`` takes bfloat16 where the device is faster with it.
        device: that it runs on.
    """
    if precision == "auto":
        fast = torch.cuda.is_bf16_supported() if device.type == "cuda" else torch.cpu._is_avx512_bf16_supported()
        precision = "bfloat16" if fast else "float32"
    return torch.autocast(device.type, torch.bfloat16) if precision == "bfloat16" else nullcontext()

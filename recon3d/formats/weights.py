"""Tensors by name, as trainings publish them: safetensors, or files of ``torch.save`` without code."""

from __future__ import annotations

import codecs
import struct
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Shaped
from torch import Tensor

from recon3d.core.errors import FormatError, InputError
from recon3d.formats.safetensors import read_safetensors

# The class cannot be imported by its name, because no module of this package may import pickle.
_UNPICKLING_ERROR: type[Exception] = torch.serialization.pickle.UnpicklingError  # type: ignore[attr-defined]
# What torch.load raises on damaged files, as found by changing bytes at random.
_DAMAGE: tuple[type[Exception], ...] = (
    _UNPICKLING_ERROR,
    RuntimeError,
    EOFError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    AssertionError,
    OverflowError,
    struct.error,
)

# Trainings store scores as numpy's scalars beside the weights; what makes one runs no code of the file.
_SCALAR: Any = np.float64(0).__reduce__()[0]
_SCALARS: list[Any] = [
    *((_SCALAR, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
    np.dtype,
    *(type(np.dtype(kind)) for kind in ("?", "i4", "i8", "f4", "f8")),
    (codecs.encode, "_codecs.encode"),
]


def read_state(path: Path) -> dict[str, Shaped[Tensor, "..."]]:
    """Return the tensors of a checkpoint by name, whichever of the two formats it has.

    Raises:
        InputError: the file cannot be opened.
        FormatError: it is damaged or holds code.
    """
    if path.suffix not in (".pt", ".pth", ".bin"):
        return read_safetensors(path)
    try:
        with torch.serialization.safe_globals(_SCALARS):
            found = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise InputError(f"{path} cannot be read", got=error.strerror or error) from error
    except _DAMAGE as error:
        reason = str(error).strip().split("\n")[0]
        raise FormatError(f"{path} is no file of tensors", got=reason, fix="use the safetensors file") from error
    for key in ("model", "state_dict"):
        if isinstance(found, dict) and isinstance(found.get(key), dict):
            found = found[key]
    if not isinstance(found, dict) or not all(isinstance(one, Tensor) for one in found.values()):
        raise FormatError(f"{path} is no state dict", got=type(found).__name__, expected="tensors by name")
    return {str(name): tensor for name, tensor in found.items()}

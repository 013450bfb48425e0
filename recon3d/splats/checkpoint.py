"""Checkpoints: named arrays and a JSON header with a checksum, written atomically, read without trust.

Layout: magic, length of the header (8 bytes, little endian), header (JSON), arrays one after another, SHA-256 of all.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped

from recon3d.core.errors import FormatError, InputError
from recon3d.core.files import read_capped, write_bytes

_LOG = logging.getLogger(__name__)
_MAGIC = b"recon3d splat checkpoint 1\n"
_DTYPES = {name: np.dtype(name) for name in ("float32", "float64", "int64", "uint8")}
_DIGEST = 32
MAX_BYTES = 1 << 34
NAME = "splats.checkpoint"

Arrays = Mapping[str, Shaped[np.ndarray, "..."]]


def write_checkpoint(path: Path, key: str, values: Mapping[str, Any], arrays: Arrays) -> None:
    """Write a state atomically.

    Args:
        path: the file.
        key: of what the state belongs to; a state of another key is not resumed.
        values: JSON-ready values.
        arrays: arrays by name; float32, float64, int64 or uint8.
    """
    parts = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    entries = [[name, part.dtype.name, list(arrays[name].shape)] for name, part in parts.items()]
    header = json.dumps({"key": key, "values": values, "arrays": entries}, allow_nan=False).encode()
    body = b"".join([_MAGIC, len(header).to_bytes(8, "little"), header, *(part.tobytes() for part in parts.values())])
    write_bytes(path, body + hashlib.sha256(body).digest())


def read_checkpoint(path: Path) -> tuple[str, dict[str, Any], dict[str, Shaped[np.ndarray, "..."]]]:
    """Return the key, the values and the arrays of a checkpoint.

    Raises:
        InputError: it cannot be opened.
        FormatError: it is damaged.
    """
    data = read_capped(path, MAX_BYTES)
    body, digest = data[:-_DIGEST], data[-_DIGEST:]
    if not body.startswith(_MAGIC) or hashlib.sha256(body).digest() != digest:
        raise FormatError(f"{path} is not a complete checkpoint", got=f"{len(data)} bytes", fix="delete it")
    start = len(_MAGIC) + 8
    end = start + int.from_bytes(body[start - 8 : start], "little")
    try:
        header = json.loads(body[start:end])
        arrays = _arrays(body, end, header["arrays"])
        return str(header["key"]), dict(header["values"]), arrays
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise FormatError(f"{path} is not a checkpoint of this version", got=str(error), fix="delete it") from error


def _arrays(body: bytes, at: int, entries: list[Any]) -> dict[str, Shaped[np.ndarray, "..."]]:
    arrays = {}
    for name, kind, shape in entries:
        dtype, count = _DTYPES[kind], math.prod(shape)
        arrays[name] = np.frombuffer(body, dtype, count, at).reshape(shape).copy()
        at += count * dtype.itemsize
    return arrays


def resume(folder: Path | None, key: str) -> tuple[dict[str, Any], dict[str, Shaped[np.ndarray, "..."]]] | None:
    """Return the state that an interrupted run left for the same key; None where there is none that can be used."""
    if folder is None or not (folder / NAME).is_file():
        return None
    try:
        found, values, arrays = read_checkpoint(folder / NAME)
    except InputError as error:
        _LOG.warning("the optimisation starts from the beginning: %s", error)
        return None
    return (values, arrays) if found == key else None

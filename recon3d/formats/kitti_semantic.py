"""One number per point: SemanticKITTI's labels with instances, nuScenes' lidarseg, and plain integer masks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import Int64, Integer

from recon3d.core.errors import FormatError, UsageError
from recon3d.core.files import read_capped, write_bytes

MAX_FILE_BYTES = 2 << 30
_TYPES = ("u1", "u2", "u4", "i4", "i8")


def read_semantic_kitti(path: Path) -> tuple[Int64[np.ndarray, " n"], Int64[np.ndarray, " n"]]:
    """Read a ``.label`` file of SemanticKITTI.

    Args:
        path: the file, one uint32 per point.

    Returns:
        Semantic ids (the low 16 bits, before any learning map) and instance ids (the high 16 bits; 0 = none), ``[n]``.

    Raises:
        InputError: the file cannot be opened.
        FormatError: its size is no multiple of 4.
    """
    return parse_semantic_kitti(read_capped(path, MAX_FILE_BYTES), str(path))


def parse_semantic_kitti(data: bytes, name: str = "labels") -> tuple[Int64[np.ndarray, " n"], Int64[np.ndarray, " n"]]:
    """Read the bytes of a ``.label`` file; see :func:`read_semantic_kitti`.

    Raises:
        FormatError: their number is no multiple of 4.
    """
    both = parse_point_labels(data, "u4", name)
    return both & 0xFFFF, both >> 16


def write_semantic_kitti(
    path: Path, label: Integer[np.ndarray, " n"], instance: Integer[np.ndarray, " n"] | None = None
) -> None:
    """Write a ``.label`` file atomically.

    Args:
        path: the file.
        label: semantic ids in 0..65535, ``[n]``.
        instance: instance ids in 0..65535, ``[n]``; None writes zeros.

    Raises:
        UsageError: an id is out of range, or the lengths differ.
    """
    instance = np.zeros_like(label) if instance is None else instance
    if label.shape != instance.shape:
        raise UsageError("labels and instances differ in length", got=f"{len(label)} and {len(instance)}")
    for ids in (label, instance):
        _check_range(ids, "u2")
    write_bytes(path, (label.astype("<u4") | instance.astype("<u4") << 16).tobytes())


def read_point_labels(path: Path, dtype: str = "u1") -> Int64[np.ndarray, " n"]:
    """Read a file of one integer per point.

    Args:
        path: the file.
        dtype: ``u1`` for nuScenes' lidarseg, ``i8`` for the masks of mmdetection3d's ScanNet; or u2, u4, i4.

    Returns:
        The numbers, ``[n]``.

    Raises:
        InputError: the file cannot be opened.
        FormatError: its size is no whole number of entries.
    """
    return parse_point_labels(read_capped(path, MAX_FILE_BYTES), dtype, str(path))


def parse_point_labels(data: bytes, dtype: str = "u1", name: str = "labels") -> Int64[np.ndarray, " n"]:
    """Read the bytes of a file of one integer per point; see :func:`read_point_labels`.

    Raises:
        FormatError: they are no whole number of entries.
        UsageError: there is no such type.
    """
    if dtype not in _TYPES:
        raise UsageError("no type of labels", got=dtype, expected=", ".join(_TYPES))
    size = np.dtype(dtype).itemsize
    if len(data) % size:
        raise FormatError(f"{name} is no list of {dtype}", got=f"{len(data)} bytes", expected=f"a multiple of {size}")
    return np.frombuffer(data, f"<{dtype}").astype(np.int64)


def write_point_labels(path: Path, labels: Integer[np.ndarray, " n"], dtype: str = "u1") -> None:
    """Write a file of one integer per point atomically.

    Args:
        path: the file.
        labels: numbers that fit ``dtype``, ``[n]``.
        dtype: see :func:`read_point_labels`.

    Raises:
        UsageError: there is no such type, or a number does not fit it.
    """
    if dtype not in _TYPES:
        raise UsageError("no type of labels", got=dtype, expected=", ".join(_TYPES))
    _check_range(labels, dtype)
    write_bytes(path, labels.astype(f"<{dtype}").tobytes())


def _check_range(labels: Integer[np.ndarray, " n"], dtype: str) -> None:
    limits = np.iinfo(dtype)
    if labels.size and not limits.min <= labels.min() <= labels.max() <= limits.max:
        got = f"{labels.min()}..{labels.max()}"
        raise UsageError("a label does not fit the file", got=got, expected=f"{limits.min}..{limits.max}")

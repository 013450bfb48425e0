"""Tables of float32 without a header, as KITTI, nuScenes and others store scans: only the user knows the width."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import Float, Float32

from recon3d.core.errors import FormatError, UsageError
from recon3d.core.files import read_capped, write_bytes

MAX_FILE_BYTES = 8 << 30
_COMMON_WIDTHS = range(3, 9)


def read_kitti_points(path: Path, n_columns: int = 4, max_bytes: int = MAX_FILE_BYTES) -> Float32[np.ndarray, "n c"]:
    """Read a scan of float32 rows.

    Args:
        path: the file.
        n_columns: 4 for KITTI and SemanticKITTI (x, y, z in metres, reflectance 0..1), 5 for nuScenes (x, y, z,
            intensity 0..255, ring), 6 for Waymo as mmdetection3d converts it (x, y, z, intensity, elongation, time).
        max_bytes: longest file that is read.

    Returns:
        The rows, ``[n,n_columns]``, x forward, y left, z up in KITTI's velodyne frame.

    Raises:
        InputError: the file cannot be opened.
        FormatError: its size is no whole number of rows.
        UsageError: ``n_columns`` is less than 3.
    """
    return parse_kitti_points(read_capped(path, max_bytes), n_columns, str(path))


def parse_kitti_points(data: bytes, n_columns: int = 4, name: str = "scan") -> Float32[np.ndarray, "n c"]:
    """Read the bytes of a scan; see :func:`read_kitti_points`.

    Raises:
        FormatError: their number is no whole number of rows.
        UsageError: ``n_columns`` is less than 3.
    """
    if n_columns < 3:
        raise UsageError("a scan has at least the columns x, y and z", got=n_columns, expected="3 or more columns")
    if len(data) % (4 * n_columns):
        fitting = [width for width in _COMMON_WIDTHS if len(data) % (4 * width) == 0]
        fix = f"{' or '.join(map(str, fitting))} columns would fit" if fitting else "the file may be cut off"
        what = f"{name} is no table of {n_columns} float32 columns"
        raise FormatError(what, got=f"{len(data)} bytes", expected=f"a multiple of {4 * n_columns}", fix=fix)
    return np.frombuffer(data, "<f4").reshape(-1, n_columns).astype(np.float32)


def write_kitti_points(path: Path, rows: Float[np.ndarray, "n c"]) -> None:
    """Write a scan of float32 rows atomically.

    Args:
        path: the file.
        rows: its columns, ``[n,c]``; rounded to float32.

    Raises:
        UsageError: there are fewer than three columns.
    """
    if rows.ndim != 2 or rows.shape[1] < 3:
        raise UsageError("a scan has at least the columns x, y and z", got=list(rows.shape), expected="[n, 3 or more]")
    write_bytes(path, rows.astype("<f4").tobytes())

"""PCD 0.7, the format of the Point Cloud Library: ascii, binary and binary_compressed."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Shaped

from recon3d.core.errors import UsageError
from recon3d.core.files import read_capped, write_bytes
from recon3d.formats.pcd_body import ascii_body, compressed_body, read_body
from recon3d.formats.pcd_header import IDENTITY_VIEW, KINDS, PcdField, PcdHeader, parse_header
from recon3d.formats.reading import ByteReader

MAX_FILE_BYTES = 8 << 30
ENCODINGS = ("ascii", "binary", "binary_compressed")


@dataclass(frozen=True, eq=False)
class Pcd:
    """The contents of a PCD file.

    Args:
        fields: arrays by name, ``[n]`` or ``[n,count]``, in the file's own type; padding (``_``) is left out. Colours
            stay packed, see :func:`unpack_rgb`.
        width: points per row.
        height: rows; more than 1 where the points are those of an image, row by row, and the ones without a
            measurement are NaN.
        viewpoint: where the sensor was: ``tx ty tz qw qx qy qz``. The points are not moved by it.
    """

    fields: Mapping[str, Shaped[np.ndarray, "n ..."]]
    width: int
    height: int = 1
    viewpoint: tuple[float, ...] = IDENTITY_VIEW


def read_pcd(path: Path, max_bytes: int = MAX_FILE_BYTES) -> Pcd:
    """Read a PCD file.

    Args:
        path: the file.
        max_bytes: longest file that is read; memory stays within a small multiple of its length, expanded.

    Raises:
        InputError: the file cannot be opened.
        FormatError: it is not a valid PCD file.
    """
    return parse_pcd(read_capped(path, max_bytes), str(path))


def parse_pcd(data: bytes, name: str = "PCD data") -> Pcd:
    """Read the bytes of a PCD file; see :func:`read_pcd`.

    Raises:
        FormatError: they are not a valid PCD file.
    """
    reader = ByteReader(data, name)
    header = parse_header(reader)
    return Pcd(read_body(reader, header), header.width, header.height, header.viewpoint)


def write_pcd(
    path: Path,
    fields: Mapping[str, Shaped[np.ndarray, "n ..."]],
    *,
    encoding: str = "binary_compressed",
    height: int = 1,
    viewpoint: Sequence[float] = IDENTITY_VIEW,
) -> None:
    """Write a PCD file atomically.

    Args:
        path: the file.
        fields: arrays by name, ``[n]`` or ``[n,count]``: integers of 1 to 8 bytes, float32 or float64.
        encoding: ``ascii``, ``binary`` or ``binary_compressed``.
        height: rows of an organised cloud; it divides ``n``.
        viewpoint: ``tx ty tz qw qx qy qz``.

    Raises:
        UsageError: a field, the encoding or the height is unfit.
    """
    if encoding not in ENCODINGS:
        raise UsageError("no encoding of PCD", got=encoding, expected=", ".join(ENCODINGS))
    table, n_points = _table(fields)
    if height < 1 or n_points % height or len(viewpoint) != 7:
        got = f"{n_points} points in {height} rows, {len(viewpoint)} numbers of the viewpoint"
        raise UsageError("unfit for a PCD file", got=got, expected="a height that divides the points, and 7 numbers")
    header = PcdHeader(table, n_points // height, height, tuple(map(float, viewpoint)), encoding)
    columns = [np.ascontiguousarray(fields[each.name], f"<{each.code}") for each in table]
    if encoding == "ascii":
        body = ascii_body(columns)
    elif encoding == "binary_compressed":
        body = compressed_body(columns)
    else:
        rows = np.empty(n_points, header.dtype)
        for each, column in zip(table, columns, strict=True):
            rows[each.name] = column
        body = rows.tobytes()
    write_bytes(path, header.text().encode("ascii") + body)


def _table(fields: Mapping[str, Shaped[np.ndarray, "n ..."]]) -> tuple[tuple[PcdField, ...], int]:
    table = []
    for name, values in fields.items():
        if not re.fullmatch(r"[!-~]{1,64}", name) or name == "_" or values.dtype.str[1:] not in KINDS:
            got = f"{name!r} as {values.dtype}"
            raise UsageError("PCD cannot hold this field", got=got, expected=f"a plain name and {', '.join(KINDS)}")
        table.append(PcdField(name, values.dtype.str[1:], int(np.prod(values.shape[1:], dtype=np.int64))))
    lengths = {values.shape[0] for values in fields.values()}
    if len(lengths) != 1 or any(each.count < 1 for each in table) or any(v.ndim > 2 for v in fields.values()):
        shapes = {name: list(values.shape) for name, values in fields.items()}
        raise UsageError("PCD fields must have one length", got=shapes, expected="[n] or [n, count] each")
    return tuple(table), lengths.pop()

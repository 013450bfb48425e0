"""LAS 1.0 to 1.4 with every point format and extra bytes; LAZ and COPC through lazrs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Float64, Shaped

from recon3d.core.errors import FormatError, UsageError
from recon3d.core.files import read_capped, write_bytes
from recon3d.formats.las_header import LasHeader, LasVlr, las_header_bytes, parse_las_header
from recon3d.formats.las_points import (
    LasExtra,
    dimension_names,
    extras_bytes,
    pack_dimension,
    parse_extras,
    record_dtype,
    unpack_dimension,
)
from recon3d.formats.las_zipped import laszip_record, pack_laz, unpack_laz
from recon3d.formats.reading import ByteReader

MAX_FILE_BYTES = 16 << 30
EXTRA_BYTES = ("LASF_Spec", 4)
_COORDINATES = ("X", "Y", "Z")


@dataclass(frozen=True, eq=False)
class Las:
    """The contents of a LAS or LAZ file.

    Args:
        header: version, point format, scale, offset and variable-length records.
        records: the points as they stand in the file, structured, ``[n]``.
    """

    header: LasHeader
    records: Shaped[np.ndarray, " n"]

    @cached_property
    def extras(self) -> tuple[LasExtra, ...]:
        """The dimensions of the extra bytes that the file describes."""
        return _extras(self.header)

    @property
    def dimensions(self) -> tuple[str, ...]:
        """Names of all dimensions, the coordinates ``X``, ``Y`` and ``Z`` (integers of the file) first."""
        return dimension_names(self.header.point_format, self.extras)

    @property
    def xyz(self) -> Float64[np.ndarray, "n 3"]:
        """Positions, ``[n,3]``, float64: map coordinates do not fit float32."""
        columns = [self.records[axis] * self.header.scale[i] for i, axis in enumerate(_COORDINATES)]
        return np.stack(columns, 1) + np.array(self.header.offset, np.float64)

    def dimension(self, name: str) -> Shaped[np.ndarray, "n ..."]:
        """Return one dimension; extra bytes with their scale and offset applied.

        Args:
            name: one of :attr:`dimensions`.

        Raises:
            UsageError: there is no such dimension.
        """
        return unpack_dimension(self.records, self.header.point_format, name, self.extras)


def _extras(header: LasHeader) -> tuple[LasExtra, ...]:
    described = parse_extras(header.vlr(*EXTRA_BYTES) or b"")
    room = header.record_bytes - record_dtype(header.point_format).itemsize  # refuses unknown formats, too
    taken = set(dimension_names(header.point_format))
    found: list[LasExtra] = []
    for each in described:
        name = each.name if each.name not in taken else f"{each.name}_extra"
        room -= each.n_bytes
        if room < 0 or name in taken:
            return ()  # the descriptors are not those of these records
        taken.add(name)
        found.append(LasExtra(name, each.code, each.count, each.scale, each.offset))
    return tuple(each for each in found if each.count)


def read_las(path: Path, max_bytes: int = MAX_FILE_BYTES) -> Las:
    """Read a LAS or LAZ file.

    Args:
        path: the file.
        max_bytes: longest file that is read.

    Raises:
        InputError: the file cannot be opened.
        FormatError: it is not a valid LAS file.
        DependencyError: it is compressed and lazrs is not installed.
    """
    return parse_las(read_capped(path, max_bytes), str(path))


def parse_las(data: bytes, name: str = "LAS data") -> Las:
    """Read the bytes of a LAS or LAZ file; see :func:`read_las`.

    Raises:
        FormatError: they are not a valid LAS file.
        DependencyError: they are compressed and lazrs is not installed.
    """
    reader = ByteReader(data, name)
    header = parse_las_header(reader)
    layout = record_dtype(header.point_format, _extras(header), header.record_bytes)
    reader.offset = header.points_at
    if header.compressed:
        return Las(header, np.frombuffer(unpack_laz(reader, header), layout))
    return Las(header, reader.array(layout, header.n_points, "the points"))


def write_las(
    path: Path,
    xyz: Float64[np.ndarray, "n 3"],
    dimensions: Mapping[str, Shaped[np.ndarray, "n ..."]] | None = None,
    *,
    point_format: int = 7,
    scale: float = 0.001,
    extras: Sequence[LasExtra] = (),
    vlrs: Sequence[LasVlr] = (),
) -> None:
    """Write a LAS file atomically; a name that ends in ``.laz`` is compressed.

    Args:
        path: the file.
        xyz: finite positions, ``[n,3]``; rounded to ``scale``.
        dimensions: further dimensions by name, raw values as the file holds them, ``[n]``.
        point_format: 0..10; 6 and more make a LAS 1.4 file, 4 and 5 a LAS 1.3 file, the others 1.2.
        scale: metres per step of the integer coordinates.
        extras: the dimensions among these that go to the extra bytes.
        vlrs: further variable-length records.

    Raises:
        UsageError: a position or a dimension does not fit.
        DependencyError: the file is to be compressed and lazrs is not installed.
    """
    compressed = Path(path).suffix.lower() == ".laz"
    values = dict(dimensions or {})
    layout = record_dtype(_checked_format(point_format), extras)
    records = np.zeros(len(xyz), layout)
    offset = _place(records, xyz, scale)
    for name, column in values.items():
        if column.shape[:1] != (len(xyz),):
            raise UsageError(f"the dimension {name!r} does not match the points", got=column.shape, expected=len(xyz))
        pack_dimension(records, point_format, name, column)
    records_of_extras = [LasVlr(*EXTRA_BYTES, extras_bytes(extras))] if extras else []
    minor = 4 if point_format >= 6 else 3 if point_format >= 4 else 2
    header = LasHeader(
        minor=minor,
        point_format=point_format,
        compressed=compressed,
        points_at=0,
        record_bytes=layout.itemsize,
        n_points=len(xyz),
        scale=(scale,) * 3,
        offset=offset,
        vlrs=(*records_of_extras, *vlrs),
    )
    write_bytes(path, _file_bytes(header, records))


def _checked_format(point_format: int) -> int:
    try:
        record_dtype(point_format)
    except FormatError as error:
        raise UsageError(error.what, got=error.got, expected=error.expected) from error
    return point_format


def _place(
    records: Shaped[np.ndarray, " n"], xyz: Float64[np.ndarray, "n 3"], scale: float
) -> tuple[float, float, float]:
    """Write the integer coordinates and return their offset, whole metres below the middle."""
    if not np.isfinite(xyz).all() or not 0 < scale < np.inf:
        raise UsageError("LAS holds finite positions only", got=f"{len(xyz)} points, scale {scale}")
    middle = np.floor((xyz.min(0) + xyz.max(0)) / 2) if len(xyz) else np.zeros(3)
    steps = np.rint((xyz - middle) / scale)
    if np.abs(steps).max(initial=0) > 2**31 - 1:
        raise UsageError("the cloud is too large for this scale", got=scale, fix="write it with a larger scale")
    for axis, column in zip(_COORDINATES, steps.T, strict=True):
        records[axis] = column
    return float(middle[0]), float(middle[1]), float(middle[2])


def _file_bytes(header: LasHeader, records: Shaped[np.ndarray, " n"]) -> bytes:
    returns = unpack_dimension(records, header.point_format, "return_number")
    by_return = np.bincount(returns, minlength=16)[1:16].tolist()
    ends = [(0, 0)] * 3
    if len(records):
        ends = [(int(records[axis].max()), int(records[axis].min())) for axis in _COORDINATES]
    bounds = [end * header.scale[i] + header.offset[i] for i, pair in enumerate(ends) for end in pair]
    if not header.compressed:
        return las_header_bytes(header, bounds, by_return) + records.tobytes()
    n_extra = header.record_bytes - record_dtype(header.point_format).itemsize
    settings = laszip_record(header.point_format, n_extra)
    front = las_header_bytes(replace(header, vlrs=(*header.vlrs, settings)), bounds, by_return)
    return pack_laz(front, settings, records.tobytes())

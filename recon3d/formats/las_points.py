"""Point records of LAS (ASPRS LAS 1.4 R15): the eleven point formats, their packed bits, and extra bytes."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Shaped

from recon3d.core.errors import FormatError, UsageError

_OLD = [("X", "<i4"), ("Y", "<i4"), ("Z", "<i4"), ("intensity", "<u2"), ("bits", "u1"), ("class_bits", "u1")]
_OLD += [("scan_angle_rank", "i1"), ("user_data", "u1"), ("point_source_id", "<u2")]
_NEW = [("X", "<i4"), ("Y", "<i4"), ("Z", "<i4"), ("intensity", "<u2"), ("bits", "u1"), ("flag_bits", "u1")]
_NEW += [("classification", "u1"), ("user_data", "u1"), ("scan_angle", "<i2"), ("point_source_id", "<u2")]
_NEW += [("gps_time", "<f8")]
_GPS = [("gps_time", "<f8")]
_RGB = [("red", "<u2"), ("green", "<u2"), ("blue", "<u2")]
_NIR = [("nir", "<u2")]
_WAVE = [("wave_packet_index", "u1"), ("wave_offset", "<u8"), ("wave_size", "<u4"), ("return_location", "<f4")]
_WAVE += [("wave_x", "<f4"), ("wave_y", "<f4"), ("wave_z", "<f4")]
_FORMATS = [_OLD, _OLD + _GPS, _OLD + _RGB, _OLD + _GPS + _RGB, _OLD + _GPS + _WAVE, _OLD + _GPS + _RGB + _WAVE]
_FORMATS += [_NEW, _NEW + _RGB, _NEW + _RGB + _NIR, _NEW + _WAVE, _NEW + _RGB + _NIR + _WAVE]
N_FORMATS = len(_FORMATS)

# Packed byte -> name, first bit, number of bits.
_OLD_BITS = {
    "bits": [
        ("return_number", 0, 3),
        ("number_of_returns", 3, 3),
        ("scan_direction_flag", 6, 1),
        ("edge_of_flight_line", 7, 1),
    ],
    "class_bits": [("classification", 0, 5), ("synthetic", 5, 1), ("key_point", 6, 1), ("withheld", 7, 1)],
}
_NEW_BITS = {
    "bits": [("return_number", 0, 4), ("number_of_returns", 4, 4)],
    "flag_bits": [
        ("synthetic", 0, 1),
        ("key_point", 1, 1),
        ("withheld", 2, 1),
        ("overlap", 3, 1),
        ("scanner_channel", 4, 2),
        ("scan_direction_flag", 6, 1),
        ("edge_of_flight_line", 7, 1),
    ],
}
_EXTRA_TYPES = ("u1", "i1", "<u2", "<i2", "<u4", "<i4", "<u8", "<i8", "<f4", "<f8")
_DESCRIPTOR = struct.Struct("<2xBB32s4x24s24s24s3d3d32s")
_HAS_SCALE, _HAS_OFFSET = 8, 16


@dataclass(frozen=True)
class LasExtra:
    """One dimension of the extra bytes: raw type, count per point, and the linear map of its values."""

    name: str
    code: str
    count: int = 1
    scale: tuple[float, ...] | None = None
    offset: tuple[float, ...] | None = None
    description: str = ""

    @property
    def n_bytes(self) -> int:
        """Bytes per point."""
        return np.dtype(self.code).itemsize * self.count


def record_dtype(point_format: int, extras: Sequence[LasExtra] = (), n_bytes: int | None = None) -> np.dtype[np.void]:
    """Return the layout of one record.

    Args:
        point_format: 0..10.
        extras: dimensions behind those of the format.
        n_bytes: record length; None for the least.

    Raises:
        FormatError: there is no such format, or the record is too short for it.
    """
    if not 0 <= point_format < N_FORMATS:
        raise FormatError("no point format of LAS", got=point_format, expected=f"0..{N_FORMATS - 1}")
    base = np.dtype(_FORMATS[point_format])
    names, formats = list(base.names or ()), [base[name] for name in base.names or ()]
    offsets = [int(base.fields[name][1]) for name in names] if base.fields else []
    at = base.itemsize
    for each in extras:
        names.append(each.name)
        formats.append(np.dtype((each.code, (each.count,)) if each.count > 1 else each.code))
        offsets.append(at)
        at += each.n_bytes
    if len(set(names)) != len(names) or (n_bytes is not None and n_bytes < base.itemsize):
        got = f"{n_bytes} bytes for {', '.join(names)[:200]}"
        raise FormatError(f"impossible LAS records of format {point_format}", got=got)
    if n_bytes is not None and at > n_bytes:  # descriptors of more bytes than there are
        return record_dtype(point_format, (), n_bytes)
    return np.dtype({"names": names, "formats": formats, "offsets": offsets, "itemsize": n_bytes or at})


def dimension_names(point_format: int, extras: Sequence[LasExtra] = ()) -> tuple[str, ...]:
    """Return the names of all dimensions, packed bits apart, in the order of the record."""
    packed = _bits(point_format)
    names: list[str] = []
    for name in np.dtype(_FORMATS[point_format]).names or ():
        names += [part for part, _, _ in packed[name]] if name in packed else [name]
    return (*names, *(each.name for each in extras))


def _bits(point_format: int) -> Mapping[str, Sequence[tuple[str, int, int]]]:
    return _OLD_BITS if point_format < 6 else _NEW_BITS


def unpack_dimension(
    records: Shaped[np.ndarray, " n"], point_format: int, name: str, extras: Sequence[LasExtra] = ()
) -> Shaped[np.ndarray, "n ..."]:
    """Return one dimension in native byte order; extra bytes with their scale and offset applied.

    Args:
        records: structured records.
        point_format: 0..10.
        name: one of :func:`dimension_names`.
        extras: the dimensions of the extra bytes.

    Raises:
        UsageError: there is no such dimension.
    """
    for packed, parts in _bits(point_format).items():
        for part, first, n_bits in parts:
            if part == name:
                values: Shaped[np.ndarray, " n"] = records[packed] >> first & (1 << n_bits) - 1
                return values.astype(np.uint8)
    if name not in (records.dtype.names or ()):
        known = dimension_names(point_format, extras)
        raise UsageError("the records have no such dimension", got=name, expected=", ".join(known))
    raw = records[name].astype(records[name].dtype.newbyteorder("="))
    extra = next((each for each in extras if each.name == name), None)
    if extra is None or (extra.scale is None and extra.offset is None):
        return raw
    mapped: Shaped[np.ndarray, "n ..."] = raw * np.array(extra.scale or 1.0) + np.array(extra.offset or 0.0)
    return mapped


def pack_dimension(
    records: Shaped[np.ndarray, " n"], point_format: int, name: str, values: Shaped[np.ndarray, "n ..."]
) -> None:
    """Write one dimension into records, in place.

    Args:
        records: structured records, zero where nothing is written yet.
        point_format: 0..10.
        name: one of :func:`dimension_names`.
        values: integers within the dimension's range, or numbers where it is one of floats.

    Raises:
        UsageError: there is no such dimension, or a value does not fit it.
    """
    for packed, parts in _bits(point_format).items():
        for part, first, n_bits in parts:
            if part == name:
                _check(name, values, 0, (1 << n_bits) - 1)
                records[packed] |= values.astype(np.uint8) << first
                return
    if name not in (records.dtype.names or ()):
        got, known = name, dimension_names(point_format)
        raise UsageError(f"LAS format {point_format} has no such dimension", got=got, expected=", ".join(known))
    base = records.dtype[name].base
    if base.kind in "iu":
        _check(name, values, int(np.iinfo(base).min), int(np.iinfo(base).max))
    records[name] = values


def _check(name: str, values: Shaped[np.ndarray, "n ..."], least: int, most: int) -> None:
    if values.size and (values.dtype.kind not in "iub" or values.min() < least or values.max() > most):
        got = f"{values.dtype} in {values.min()}..{values.max()}"
        raise UsageError(f"LAS cannot hold this {name}", got=got, expected=f"integers in {least}..{most}")


def parse_extras(data: bytes) -> tuple[LasExtra, ...]:
    """Read the descriptors of extra bytes (VLR ``LASF_Spec`` 4).

    Raises:
        FormatError: a descriptor is damaged.
    """
    if len(data) % _DESCRIPTOR.size:
        raise FormatError("damaged LAS extra bytes", got=f"{len(data)} bytes", expected=f"{_DESCRIPTOR.size} each")
    return tuple(_extra(number, *fields) for number, fields in enumerate(_DESCRIPTOR.iter_unpack(data)))


def _extra(number: int, kind: int, options: int, name: bytes, *rest: bytes | float) -> LasExtra:
    text = name.partition(b"\0")[0].decode("utf-8", "replace").strip() or f"extra_{number}"
    if kind == 0:
        return LasExtra(text, "u1", options)
    if kind > 30:
        raise FormatError(f"unknown type of the LAS extra bytes {text!r}", got=kind, expected="0..30")
    count = (kind - 1) // 10 + 1
    numbers = [float(value) for value in rest[3:9] if not isinstance(value, bytes)]
    scale = tuple(numbers[:count]) if options & _HAS_SCALE else None
    offset = tuple(numbers[3 : 3 + count]) if options & _HAS_OFFSET else None
    return LasExtra(text, _EXTRA_TYPES[(kind - 1) % 10], count, scale, offset)


def extras_bytes(extras: Sequence[LasExtra]) -> bytes:
    """Return the descriptors of extra bytes, as they stand in a VLR.

    Raises:
        UsageError: a dimension has no type in LAS, or more than three values per point.
    """
    parts = []
    for each in extras:
        code = each.code if each.code[-1] == "1" else "<" + each.code[-2:]
        name, text = each.name.encode(), each.description.encode()[:32]
        plain = code == "u1" and each.count > 3  # undocumented bytes
        if code not in _EXTRA_TYPES or not (plain or 1 <= each.count <= 3) or not 1 <= len(name) <= 32:
            got = f"{each.name!r}: {each.count} of {each.code}"
            raise UsageError("LAS extra bytes cannot hold this", got=got, expected="1 to 3 numbers, or bytes")
        kind = 0 if plain else _EXTRA_TYPES.index(code) + 1 + 10 * (each.count - 1)
        options = each.count if plain else (_HAS_SCALE * bool(each.scale)) | (_HAS_OFFSET * bool(each.offset))
        scale, offset = [(*(values or ()), 0.0, 0.0, 0.0)[:3] for values in (each.scale, each.offset)]
        parts.append(_DESCRIPTOR.pack(kind, options, name, b"", b"", b"", *scale, *offset, text))
    return b"".join(parts)

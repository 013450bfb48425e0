"""SPZ: compressed Gaussians (Niantic's format; version 3 is written, 2 and 3 are read).

A gzip stream of a 16-byte header and, one block per attribute: positions (24-bit fixed point), alphas, colours, scales
(a byte each), rotations (version 3: the three smallest components in 4 bytes; version 2: x y z in 3 bytes) and
spherical harmonics (a byte each).

Axes: the numbers are those of the PLY. The format's description calls its axes right-up-back and those of PLY
right-down-front, but Niantic's own ``ply_to_spz`` turns nothing, and viewers show both files alike only when the
numbers are the same.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from recon3d.core.errors import FormatError, UsageError
from recon3d.core.files import read_capped, write_bytes
from recon3d.formats.reading import ByteReader
from recon3d.formats.splat_ply import COEFFICIENTS, SplatArrays, check_splats
from recon3d.formats.spz_fields import (
    decode_colours,
    decode_harmonics,
    decode_logits,
    decode_positions,
    decode_quats_v2,
    decode_quats_v3,
    decode_scales,
    encode_colours,
    encode_harmonics,
    encode_logits,
    encode_positions,
    encode_quats_v3,
    encode_scales,
    fitting_bits,
)

MAX_FILE_BYTES = 1 << 30
SH_BITS = (7, 6)  # Niantic takes 5 and 4: two thirds of the size, and two and a half times the error of a picture
MAX_POINTS = 10_000_000  # as in Niantic's reader
_HEADER = struct.Struct("<4sIIBBBB")
_MAGIC = b"NGSP"
_BYTE = np.dtype(np.uint8)
_GZIP = 31  # zlib's name for a gzip stream with the largest window
_ANTIALIASED, _EXTENSIONS = 1, 2
_MAX_BITS = 24
_DEFLATE_RATIO = 1032  # no stream of zlib expands by more


@dataclass(frozen=True)
class _Header:
    version: int
    n_points: int
    sh_degree: int
    fractional_bits: int

    @property
    def sizes(self) -> tuple[int, ...]:
        """Bytes of one Gaussian: position, alpha, colour, scale, rotation, harmonics."""
        return 9, 1, 3, 3, self.version + 1, 3 * (COEFFICIENTS[self.sh_degree] - 1)


def write_spz(path: Path, splats: SplatArrays, sh_bits: tuple[int, int] = SH_BITS, antialiased: bool = False) -> None:
    """Write an SPZ file of version 3 atomically; the same input gives the same bytes.

    What is lost: positions are off by at most half a step of ``2**-bits``, with as many fractional bits as the
    farthest centre leaves (22 where it is 1 from the origin, 12 at 2000; Niantic always takes 12, which wraps around
    beyond 2048); log scales by 1/32 within -10..5.9; opacities by 1/510; the constant colour coefficient by 1/76.5
    within -3.3..3.3 (0.94/255 in a channel); rotations by at most 0.35 degrees; the other coefficients
    by ``2**-sh_bits + 1/256`` within -1..1. What lies outside its range is moved to the edge.

    Args:
        path: the file.
        splats: finite numbers, display-referred colours.
        sh_bits: precision of the coefficients of degree 1 and of the higher degrees, 1 to 8.
        antialiased: whether the Gaussians were fitted with the antialiasing compensation; viewers use it.

    Raises:
        UsageError: the centres do not fit into 24 bits, or the colours are linear, which SPZ cannot say.
        FormatError: a number is not finite.
    """
    check_splats(splats, str(path))
    if splats.colour_space != "srgb":
        raise UsageError(f"cannot write {path}: SPZ holds sRGB colours only", got="linear colours", fix="write a .ply")
    if len(splats) > MAX_POINTS or not all(1 <= bits <= 8 for bits in sh_bits):
        got = f"{len(splats)} Gaussians, sh_bits {sh_bits}"
        raise UsageError(f"cannot write {path}", got=got, expected=f"at most {MAX_POINTS} Gaussians, 1 to 8 bits")
    bits = fitting_bits(splats.means, _MAX_BITS)
    blocks = [
        _HEADER.pack(_MAGIC, 3, len(splats), splats.sh_degree, bits, _ANTIALIASED if antialiased else 0, 0),
        encode_positions(splats.means, bits),
        encode_logits(splats.opacity_logits),
        encode_colours(splats.sh[:, 0]),
        encode_scales(splats.log_scales),
        encode_quats_v3(splats.quats),
        encode_harmonics(splats.sh[:, 1:], sh_bits),
    ]
    packer = zlib.compressobj(6, zlib.DEFLATED, _GZIP)
    write_bytes(path, b"".join([*map(packer.compress, blocks), packer.flush()]))


def read_spz(path: Path, max_bytes: int = MAX_FILE_BYTES, max_points: int = MAX_POINTS) -> SplatArrays:
    """Read an SPZ file of version 2 or 3.

    Args:
        path: the file.
        max_bytes: longest file that is read.
        max_points: most Gaussians; memory stays within a small multiple of what the header declares, which is checked
            against this and against what the file can hold at most.

    Raises:
        InputError: the file cannot be opened.
        FormatError: it is not a valid SPZ file.
    """
    return parse_spz(read_capped(path, max_bytes), str(path), max_points)


def parse_spz(data: bytes, name: str = "SPZ data", max_points: int = MAX_POINTS) -> SplatArrays:
    """Read the bytes of an SPZ file; see :func:`read_spz`.

    Raises:
        FormatError: they are not valid.
    """
    if data[:4] == _MAGIC:
        raise FormatError(f"{name}: SPZ version 4 is not read", expected="version 2 or 3")
    header, payload = _inflate(data, name, max_points)
    reader = ByteReader(payload, name)
    n = header.n_points
    position, alpha, colour, scale, rotation, harmonics = (
        reader.array(_BYTE, n * size, "the payload").reshape(n, size) for size in header.sizes
    )
    return SplatArrays(
        means=decode_positions(position, header.fractional_bits),
        quats=decode_quats_v3(rotation) if header.version == 3 else decode_quats_v2(rotation),
        log_scales=decode_scales(scale),
        opacity_logits=decode_logits(alpha),
        sh=_harmonics(decode_colours(colour), decode_harmonics(harmonics)),
    )


def _harmonics(dc: Float32[np.ndarray, "g 3"], rest: Float32[np.ndarray, "g j 3"]) -> Float32[np.ndarray, "g k 3"]:
    return np.concatenate([dc[:, None], rest], 1)


def _inflate(data: bytes, name: str, max_points: int) -> tuple[_Header, bytes]:
    """Unpack exactly what the header declares, and no byte more."""
    stream = zlib.decompressobj(_GZIP)
    try:
        header = _read_header(stream.decompress(data, _HEADER.size), name, max_points)
        size = header.n_points * sum(header.sizes)
        if size > _DEFLATE_RATIO * len(data):
            got = f"{header.n_points} Gaussians in {len(data)} bytes"
            raise FormatError(f"{name}: impossible number of Gaussians", got=got)
        payload = stream.decompress(stream.unconsumed_tail, size) if size else b""
        surplus = stream.decompress(stream.unconsumed_tail, 1)
    except zlib.error as error:
        raise FormatError(f"{name} is not an SPZ file", got=str(error), expected="a gzip stream") from error
    if len(payload) != size or surplus or not stream.eof or stream.unused_data:
        got = f"{len(payload)} bytes" if len(payload) < size else "more bytes, or an unfinished stream"
        raise FormatError(f"{name}: the payload is not what its header declares", got=got, expected=f"{size} bytes")
    return header, payload


def _read_header(raw: bytes, name: str, max_points: int) -> _Header:
    if len(raw) != _HEADER.size or raw[:4] != _MAGIC:
        raise FormatError(f"{name} is not an SPZ file", got=raw[:4], expected=f"{_MAGIC!r} inside a gzip stream")
    _, version, n_points, sh_degree, bits, flags, reserved = _HEADER.unpack(raw)
    if version not in (2, 3):
        raise FormatError(f"{name}: unknown version of SPZ", got=version, expected="2 or 3")
    if n_points > max_points:
        raise FormatError(f"{name}: too many Gaussians", got=n_points, expected=f"at most {max_points}")
    if flags & _EXTENSIONS:
        raise FormatError(f"{name}: SPZ extensions are not read", got=f"flags {flags}")
    if sh_degree > 3 or bits > _MAX_BITS or flags > _ANTIALIASED or reserved:
        got = f"degree {sh_degree}, {bits} fractional bits, flags {flags}, reserved {reserved}"
        raise FormatError(
            f"{name}: bad SPZ header", got=got, expected=f"degree 0..3, bits 0..{_MAX_BITS}, flags 0 or 1"
        )
    return _Header(version, n_points, sh_degree, bits)

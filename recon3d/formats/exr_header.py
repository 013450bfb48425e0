"""The headers of OpenEXR files."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from recon3d.core.errors import FormatError
from recon3d.formats.exr_blocks import NONE, PIZ, RLE, ZIP, ZIPS
from recon3d.formats.reading import ByteReader

_MAGIC = 20000630
_VERSION = 2
_LONG_NAMES = 0x400
_REFUSED_FLAGS = {0x200: "tiles", 0x800: "deep pixels", 0x1000: "several parts"}
_COMPRESSIONS = ["none", "RLE", "ZIPS", "ZIP", "PIZ", "PXR24", "B44", "B44A", "DWAA", "DWAB"]
_BLOCK_LINES = {NONE: 1, RLE: 1, ZIPS: 1, ZIP: 16, PIZ: 32}
_EXPANSION = {NONE: 1, RLE: 64, ZIPS: 1032, ZIP: 1032, PIZ: 512}  # the most that a byte of the file can stand for
_CODES = ("<u4", "<f2", "<f4")
_MAX_ATTRIBUTES, _MAX_CHANNELS = 1000, 1024
_MAX_NAME = 255
_REQUIRED = {"channels": "chlist", "compression": "compression", "dataWindow": "box2i", "lineOrder": "lineOrder"}
_SIZES = {"compression": 1, "dataWindow": 16, "lineOrder": 1}
_START = struct.Struct("<II")
_INT = struct.Struct("<i")
_BOX = struct.Struct("<iiii")
_CHANNEL = struct.Struct("<iB3xii")


@dataclass(frozen=True)
class ExrHeader:
    """What the pixels need.

    Args:
        channels: numpy type codes by name, in the order of the file.
        compression: code of the compression.
        top: first line of the data window.
        width: of the data window.
        height: of the data window.
    """

    channels: dict[str, str]
    compression: int
    top: int
    width: int
    height: int

    @property
    def line_bytes(self) -> int:
        """Bytes of one line of all channels."""
        return self.width * sum(np.dtype(code).itemsize for code in self.channels.values())

    @property
    def block_lines(self) -> int:
        """Lines that are compressed together."""
        return _BLOCK_LINES[self.compression]

    @property
    def most_expansion(self) -> int:
        """How many bytes of pixels one byte of the file can stand for at most."""
        return _EXPANSION[self.compression]


def write_header(names: Sequence[str], width: int, height: int) -> bytes:
    """Return the header of a ZIP-compressed file of float32 channels.

    Args:
        names: of the channels, sorted.
        width: of the image.
        height: of the image.
    """
    window = _BOX.pack(0, 0, width - 1, height - 1)
    entries = [name.encode() + b"\0" + _CHANNEL.pack(_CODES.index("<f4"), 0, 1, 1) for name in names]
    attributes = {
        ("channels", "chlist"): b"".join(entries) + b"\0",
        ("compression", "compression"): bytes([ZIP]),
        ("dataWindow", "box2i"): window,
        ("displayWindow", "box2i"): window,
        ("lineOrder", "lineOrder"): b"\0",
        ("pixelAspectRatio", "float"): struct.pack("<f", 1),
        ("screenWindowCenter", "v2f"): struct.pack("<ff", 0, 0),
        ("screenWindowWidth", "float"): struct.pack("<f", 1),
    }
    parts = [_START.pack(_MAGIC, _VERSION)]
    for (name, kind), value in attributes.items():
        parts += [name.encode(), b"\0", kind.encode(), b"\0", _INT.pack(len(value)), value]
    return b"".join([*parts, b"\0"])


def read_header(reader: ByteReader) -> ExrHeader:
    """Read a header; the reader then stands at the table of offsets.

    Raises:
        FormatError: it is not valid, or of a kind that is not read.
    """
    _read_version(reader)
    attributes = _read_attributes(reader)
    for name, size in _SIZES.items():
        if len(attributes[name]) != size:
            raise FormatError(f"{reader.name}: bad {name}", got=f"{len(attributes[name])} bytes", expected=size)
    compression, order = attributes["compression"][0], attributes["lineOrder"][0]
    if compression not in _BLOCK_LINES:
        known = _COMPRESSIONS[compression] if compression < len(_COMPRESSIONS) else f"number {compression}"
        expected = ", ".join(_COMPRESSIONS[each] for each in _BLOCK_LINES)
        fix = "save the image with ZIP compression"
        raise FormatError(f"{reader.name}: this compression is not read", got=known, expected=expected, fix=fix)
    if order > 1:
        raise FormatError(f"{reader.name}: bad line order", got=order, expected="0 or 1")
    left, top, right, bottom = _BOX.unpack(attributes["dataWindow"])
    if right < left or bottom < top:
        raise FormatError(f"{reader.name}: empty data window", got=(left, top, right, bottom))
    channels = _read_channels(ByteReader(attributes["channels"], f"{reader.name}: channels"))
    return ExrHeader(channels, compression, top, right - left + 1, bottom - top + 1)


def _read_version(reader: ByteReader) -> None:
    magic, version = map(int, reader.unpack(_START, "the header"))
    if magic != _MAGIC:
        raise FormatError(f"{reader.name} is not an OpenEXR file", got=reader.data[:4])
    for flag, what in _REFUSED_FLAGS.items():
        if version & flag:
            raise FormatError(f"{reader.name}: OpenEXR files with {what} are not read", expected="plain scan lines")
    if version & ~_LONG_NAMES != _VERSION:
        raise FormatError(f"{reader.name}: unknown version of OpenEXR", got=hex(version), expected=_VERSION)


def _read_attributes(reader: ByteReader) -> dict[str, bytes]:
    attributes: dict[str, bytes] = {}
    for _ in range(_MAX_ATTRIBUTES):
        name = reader.text(_MAX_NAME, "the name of an attribute")
        if not name:
            break
        kind = reader.text(_MAX_NAME, "the type of an attribute")
        size = reader.count(_INT, 1, "bytes of an attribute")
        if name in attributes or _REQUIRED.get(name, kind) != kind:
            raise FormatError(f"{reader.name}: bad attribute", got=repr(f"{name} of type {kind}"))
        attributes[name] = reader.take(size, "an attribute")
    else:
        raise FormatError(f"{reader.name}: too many attributes", expected=f"at most {_MAX_ATTRIBUTES}")
    missing = sorted(_REQUIRED.keys() - attributes.keys())
    if missing:
        raise FormatError(f"{reader.name}: attributes are missing", got=", ".join(attributes), expected=missing)
    return attributes


def _read_channels(reader: ByteReader) -> dict[str, str]:
    channels: dict[str, str] = {}
    while name := reader.text(_MAX_NAME, "the name of a channel"):
        kind, _, x_sampling, y_sampling = map(int, reader.unpack(_CHANNEL, "a channel"))
        known = 0 <= kind < len(_CODES) and name.isprintable()  # which bytes that are no UTF-8 are not
        if not known or name in channels or len(channels) == _MAX_CHANNELS:
            raise FormatError(f"{reader.name}: bad channel", got=repr(f"{name} of type {kind}"))
        if (x_sampling, y_sampling) != (1, 1):
            raise FormatError(f"{reader.name}: subsampled channels are not read", got=(x_sampling, y_sampling))
        channels[name] = _CODES[kind]
    reader.finish()
    if not channels or list(channels) != sorted(channels, key=str.encode):
        raise FormatError(f"{reader.name}: bad order of channels", got=list(channels), expected="sorted by name")
    return channels

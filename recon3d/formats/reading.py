"""Capped reading of untrusted bytes: every count is checked against the remaining bytes before use."""

from __future__ import annotations

import struct

import numpy as np
from jaxtyping import Shaped

from recon3d.core.errors import FormatError


class ByteReader:
    """A cursor over the bytes of one file that raises :class:`FormatError` instead of running past the end.

    Args:
        data: the whole file.
        name: how error texts call the file.
    """

    def __init__(self, data: bytes, name: str) -> None:
        self.data, self.name, self.offset = data, name, 0

    @property
    def remaining(self) -> int:
        """Bytes between the cursor and the end."""
        return len(self.data) - self.offset

    def need(self, n_bytes: int, what: str) -> None:
        """Raise :class:`FormatError` unless ``n_bytes`` more bytes are there."""
        if n_bytes > self.remaining:
            got = f"{self.remaining} bytes after byte {self.offset}"
            raise FormatError(f"{self.name}: {what} is cut off", got=got, expected=f"{n_bytes} bytes")

    def take(self, n_bytes: int, what: str) -> bytes:
        """Return the next ``n_bytes`` bytes."""
        self.need(n_bytes, what)
        start, self.offset = self.offset, self.offset + n_bytes
        return self.data[start : self.offset]

    def unpack(self, layout: struct.Struct, what: str) -> tuple[int | float, ...]:
        """Return the next fields in the given layout."""
        self.need(layout.size, what)
        values: tuple[int | float, ...] = layout.unpack_from(self.data, self.offset)
        self.offset += layout.size
        return values

    def count(self, layout: struct.Struct, least_bytes_each: int, what: str) -> int:
        """Return a count whose items, at least ``least_bytes_each`` bytes each, fit into the remaining bytes."""
        (value,) = self.unpack(layout, f"the number of {what}")
        n = int(value)
        if n < 0 or n * least_bytes_each > self.remaining:
            got = f"{n} in {self.remaining} bytes"
            raise FormatError(f"{self.name}: impossible number of {what}", got=got)
        return n

    def array(self, dtype: np.dtype[np.generic], n_items: int, what: str) -> Shaped[np.ndarray, " n"]:
        """Return ``n_items`` items as a read-only view of the file's bytes, ``[n]``."""
        self.need(n_items * dtype.itemsize, what)
        values = np.frombuffer(self.data, dtype, n_items, self.offset)
        self.offset += n_items * dtype.itemsize
        return values

    def text(self, max_bytes: int, what: str) -> str:
        """Return a NUL-terminated UTF-8 string of at most ``max_bytes`` bytes (other bytes as surrogates)."""
        end = self.data.find(b"\0", self.offset, self.offset + max_bytes + 1)
        if end < 0:
            raise FormatError(f"{self.name}: {what} has no end", expected=f"a NUL within {max_bytes} bytes")
        raw = self.data[self.offset : end]
        self.offset = end + 1
        return raw.decode("utf-8", "surrogateescape")

    def finish(self) -> None:
        """Raise :class:`FormatError` when bytes are left over."""
        if self.remaining:
            raise FormatError(f"{self.name}: {self.remaining} bytes too many", expected=f"{self.offset} bytes")

"""Numpy's own files (npy, npz) as clouds: nothing in them is executed, and no size is believed before it is checked."""

from __future__ import annotations

import io
import tokenize
import warnings
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Shaped

from recon3d.core.errors import FormatError, UsageError
from recon3d.core.files import read_capped, write_bytes

MAX_FILE_BYTES = 16 << 30
_MAX_DIMENSIONS = 8
_MAX_MEMBERS = 1000
_FREE_BYTES, _MAX_GROWTH = 4 << 20, 1032  # what deflate can reach at most
_DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError, ValueError)
Arrays = dict[str, Shaped[np.ndarray, "..."]]


def read_npy(path: Path, max_bytes: int = MAX_FILE_BYTES) -> Shaped[np.ndarray, "..."]:
    """Read an ``.npy`` file of numbers, or of records of numbers.

    Args:
        path: the file.
        max_bytes: longest file that is read.

    Raises:
        InputError: the file cannot be opened.
        FormatError: it is damaged, or holds Python objects.
    """
    return parse_npy(read_capped(path, max_bytes), str(path))


def parse_npy(data: bytes, name: str = "npy data") -> Shaped[np.ndarray, "..."]:
    """Read the bytes of an ``.npy`` file; see :func:`read_npy`.

    Raises:
        FormatError: they are damaged, or hold Python objects.
    """
    stream = io.BytesIO(data)
    shape, in_columns, dtype = _header(stream, name)
    n_items = 1
    for length in shape:
        n_items *= length
    rest = len(data) - stream.tell()
    if dtype.hasobject or dtype.itemsize == 0 or n_items * dtype.itemsize != rest or len(shape) > _MAX_DIMENSIONS:
        got = f"{list(shape)[:9]} of {str(dtype)[:80]} in {rest} bytes"
        raise FormatError(f"{name}: the array does not fit the file", got=got, expected="an array of plain numbers")
    flat = np.frombuffer(data, dtype, offset=stream.tell())
    return flat.reshape(shape, order="F" if in_columns else "C")


def _header(stream: io.BytesIO, name: str) -> tuple[tuple[int, ...], bool, np.dtype[np.generic]]:
    try:
        version = np.lib.format.read_magic(stream)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the literals in a damaged header
            shape, in_columns, dtype = read(stream)
    except (ValueError, TypeError, KeyError, IndexError, SyntaxError, RecursionError, MemoryError) as error:
        raise FormatError(f"{name} is not an npy file", got=str(error)[:200]) from error
    except (tokenize.TokenError, AttributeError, OverflowError) as error:
        raise FormatError(f"{name} has a damaged npy header", got=str(error)[:200]) from error
    if any(isinstance(length, bool) or length < 0 for length in shape):
        raise FormatError(f"{name} has a damaged npy header", got=shape)
    return shape, in_columns, dtype


def read_npz(path: Path, max_bytes: int = MAX_FILE_BYTES) -> Arrays:
    """Read an ``.npz`` file.

    Args:
        path: the file.
        max_bytes: longest file that is read, and the most that its arrays may take.

    Returns:
        Arrays by name.

    Raises:
        InputError: the file cannot be opened.
        FormatError: it is damaged, or holds Python objects.
    """
    return parse_npz(read_capped(path, max_bytes), str(path), max_bytes)


def parse_npz(data: bytes, name: str = "npz data", max_bytes: int = MAX_FILE_BYTES) -> Arrays:
    """Read the bytes of an ``.npz`` file; see :func:`read_npz`.

    Raises:
        FormatError: they are damaged, or hold Python objects.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
            total = sum(member.file_size for member in members)
            if len(members) > _MAX_MEMBERS or total > min(max_bytes, len(data) * _MAX_GROWTH + _FREE_BYTES):
                raise FormatError(f"{name}: impossible npz file", got=f"{len(members)} arrays of {total} bytes")
            raw = {member.filename: _member(archive, member) for member in members}
    except _DAMAGE as error:
        raise FormatError(f"{name} is not an npz file", got=str(error)[:200]) from error
    return {each.removesuffix(".npy"): parse_npy(part, f"{name}: {each[:80]}") for each, part in raw.items()}


def _member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    with archive.open(member) as stream:
        return stream.read(member.file_size)


def write_npy(path: Path, array: Shaped[np.ndarray, "..."]) -> None:
    """Write an ``.npy`` file atomically.

    Args:
        path: the file.
        array: of numbers, or of records of numbers.

    Raises:
        UsageError: it holds Python objects.
    """
    _plain(array)
    stream = io.BytesIO()
    np.lib.format.write_array(stream, array, allow_pickle=False)
    write_bytes(path, stream.getvalue())


def write_npz(path: Path, arrays: Mapping[str, Shaped[np.ndarray, "..."]]) -> None:
    """Write a compressed ``.npz`` file atomically; equal arrays give equal bytes.

    Args:
        path: the file.
        arrays: by name.

    Raises:
        UsageError: one holds Python objects.
    """
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in arrays.items():
            _plain(array)
            part = io.BytesIO()
            np.lib.format.write_array(part, array, allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), part.getvalue(), zipfile.ZIP_DEFLATED)
    write_bytes(path, stream.getvalue())


def _plain(array: Shaped[np.ndarray, "..."]) -> None:
    if array.dtype.hasobject:
        raise UsageError("Python objects cannot be written", got=array.dtype, expected="numbers")

"""The safetensors format: 8 bytes of length, a JSON header, then plain arrays; nothing in it can run code."""

from __future__ import annotations

import json
import math
import mmap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Shaped
from torch import Tensor

from recon3d.core.errors import FormatError, InputError
from recon3d.core.files import atomic_path

MAX_HEADER = 100_000_000
_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}


def read_safetensors(path: Path) -> dict[str, Shaped[Tensor, "..."]]:
    """Return the tensors of a file by name; they are read from the disk when they are used.

    Where modules share a tensor, the format's own writer keeps it once and notes its other names in the metadata, as in
    the published files of Depth Anything 3: it comes back under all of them.

    Args:
        path: the file.

    Raises:
        InputError: it cannot be opened.
        FormatError: it is damaged, or holds a type that this version does not know.
    """
    data = _mapped(path)
    try:
        start, header = _header(data)
        tensors = {name: _tensor(data, start, entry) for name, entry in header.items() if name != "__metadata__"}
        return _shared(tensors, header.get("__metadata__", {})) | tensors
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise FormatError(f"{path} is not a safetensors file", got=str(error), fix="fetch the file again") from error


def read_metadata(path: Path) -> dict[str, str]:
    """Return the strings that the header of a file holds besides its tensors.

    Args:
        path: the file.

    Raises:
        InputError: it cannot be opened.
        FormatError: it is damaged.
    """
    data = _mapped(path)
    try:
        return {str(name): str(text) for name, text in _header(data)[1].get("__metadata__", {}).items()}
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise FormatError(f"{path} is not a safetensors file", got=str(error), fix="fetch the file again") from error


def _mapped(path: Path) -> mmap.mmap | bytes:
    try:
        with path.open("rb") as file:
            size = path.stat().st_size
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY) if size else b""
    except OSError as error:
        raise InputError(f"{path} cannot be read", got=error.strerror) from error


def _header(data: mmap.mmap | bytes) -> tuple[int, dict[str, Any]]:
    """Return where the arrays start and what the header says of them."""
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or length > min(len(data) - 8, MAX_HEADER):
        raise ValueError(f"a header of {length} bytes in {len(data)}")
    header = json.loads(data[8 : 8 + length])
    if not isinstance(header, dict):
        raise ValueError("the header is no object")
    return 8 + length, header


def _shared(tensors: Mapping[str, Tensor], metadata: dict[str, Any]) -> dict[str, Tensor]:
    """Return the tensors that the metadata names once more, by their other names."""
    return {name: tensors[kept] for name, kept in metadata.items() if isinstance(kept, str) and kept in tensors}


def _tensor(data: mmap.mmap | bytes, start: int, entry: dict[str, Any]) -> Tensor:
    """Return one array without copying it."""
    dtype, shape, (begin, end) = _DTYPES[entry["dtype"]], entry["shape"], entry["data_offsets"]
    if not all(isinstance(n, int) and n >= 0 for n in (*shape, begin, end)):
        raise ValueError(f"sizes that are no sizes: {shape}, {begin}..{end}")
    count = math.prod(shape)
    if end - begin != count * dtype.itemsize or start + end > len(data):
        raise ValueError(f"bytes {begin}..{end} of {len(data) - start} for {shape} {entry['dtype']}")
    if count == 0:
        return torch.empty(shape, dtype=dtype)
    aligned = (start + begin) % dtype.itemsize == 0
    source, offset = (data, start + begin) if aligned else (bytearray(data[start + begin : start + end]), 0)
    return torch.frombuffer(source, dtype=dtype, count=count, offset=offset).reshape(shape)


def safetensors_bytes(tensors: Mapping[str, Shaped[Tensor, "..."]], metadata: Mapping[str, str] | None = None) -> bytes:
    """Return the file of some tensors, in the order of their names.

    Args:
        tensors: on any device, by name.
        metadata: strings to be kept in the header.

    Raises:
        FormatError: a type has no place in the format.
    """
    return b"".join(_pieces(tensors, metadata))


def write_safetensors(
    path: Path, tensors: Mapping[str, Shaped[Tensor, "..."]], metadata: Mapping[str, str] | None = None
) -> None:
    """Write a file as :func:`safetensors_bytes` makes it, atomically, with one tensor in memory at a time.

    Args:
        path: the file.
        tensors: on any device, by name.
        metadata: strings to be kept in the header.

    Raises:
        FormatError: a type has no place in the format.
        ResourceError: the disk is full.
    """
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        file.writelines(_pieces(tensors, metadata))


def _pieces(tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None) -> Iterator[bytes]:
    """Yield the header and then each tensor."""
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    end = 0
    for name in sorted(tensors):
        tensor = tensors[name]
        if tensor.dtype not in _NAMES:
            raise FormatError(
                f"{name} cannot be written as safetensors", got=tensor.dtype, expected=list(_NAMES.values())
            )
        begin, end = end, end + tensor.numel() * tensor.dtype.itemsize
        header[name] = {"dtype": _NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # so that the arrays are aligned
    yield len(text).to_bytes(8, "little") + text
    for name in sorted(tensors):
        yield tensors[name].detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()

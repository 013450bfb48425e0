"""Atomic writes, capped reads and content hashes."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from recon3d.core.errors import FormatError, InputError, ResourceError

_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)


def disk_error(error: OSError, path: Path) -> ResourceError | None:
    """Return what to tell the user where a disk is full or read-only, or a file too large for it; None otherwise.

    Args:
        error: of the system.
        path: what was written, for errors that do not name a file.
    """
    if error.errno not in _DISK_ERRORS:
        return None
    what, fix = f"cannot write {path}", "free some space or choose another --out, then run the same command again"
    return ResourceError(what, got=error.strerror, fix=fix)


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn the errors of a full or read-only disk inside the block into one of ours.

    Args:
        path: what is written.

    Raises:
        ResourceError: the disk is full or read-only.
    """
    try:
        yield
    except OSError as error:
        known = disk_error(error, path)
        if known is None:
            raise
        raise known from error


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` that replaces it when the block ends without an error.

    The bytes are flushed to disk before the rename, so that a kill at any moment leaves the old file or the new one.

    Args:
        path: the file to write; its parent is created.

    Yields:
        A path in the same folder to write to.

    Raises:
        ResourceError: the disk is full or read-only.
    """
    path = Path(path)
    temporary: Path | None = None
    try:
        with disk_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
            os.close(handle)
            temporary = Path(name)
            yield temporary
            _flush(temporary)
            temporary.chmod(0o644)
            os.replace(temporary, path)
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files that a killed :func:`atomic_path` left anywhere below a folder."""
    for path in Path(folder).rglob(".*.tmp"):
        if path.is_file():
            path.unlink()


def _flush(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def write_bytes(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path`` atomically."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Write ``text`` as UTF-8 with Unix line ends, atomically."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as indented JSON with sorted keys, atomically; NaN and infinity are refused."""
    write_text(path, json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n")


def read_capped(path: Path, max_bytes: int) -> bytes:
    """Return the bytes of a file no longer than ``max_bytes``.

    Raises:
        InputError: the file cannot be opened.
        FormatError: it is longer than the cap.
    """
    try:
        with Path(path).open("rb") as file:
            # read() allocates what it is asked for, so never ask for much more than is there
            data = file.read(min(os.fstat(file.fileno()).st_size, max_bytes) + 1)
    except OSError as error:
        raise InputError(f"cannot read {path}", got=error.strerror) from error
    if len(data) > max_bytes:
        raise FormatError(f"{path} is too large", got=f"more than {max_bytes} bytes", expected=f"at most {max_bytes}")
    return data


def sha256_file(path: Path) -> str:
    """Return the SHA-256 of a file's bytes as lower-case hex.

    Raises:
        InputError: the file cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with Path(path).open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise InputError(f"cannot read {path}", got=error.strerror) from error
    return digest.hexdigest()

"""Files that a mesh file refers to: found inside its own folder only, and capped."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

from recon3d.core.errors import FormatError, InputError
from recon3d.core.files import read_capped

MAX_ASSET_BYTES = 1 << 28
MAX_REFERENCE = 255  # bytes of a name are what file systems take; longer paths are no neighbours of a mesh


def read_asset(owner: Path, reference: str, max_bytes: int = MAX_ASSET_BYTES) -> bytes:
    """Return the bytes of a file that a mesh file names.

    Args:
        owner: the file that names it.
        reference: how it does: a path relative to its folder.
        max_bytes: longest file that is read.

    Raises:
        FormatError: the reference leaves the folder, also through a link, or the file is too large.
        InputError: the file is not there or cannot be read.
    """
    folder = owner.parent.resolve()
    parts = PurePosixPath(reference.replace("\\", "/"))
    outside = parts.is_absolute() or ".." in parts.parts or re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", reference)
    path = folder / parts
    if len(reference.encode("utf-8", "surrogateescape")) > MAX_REFERENCE:
        raise FormatError(f"{owner} names a file by an impossible name", got=f"{reference[:60]}...")
    if outside or "\0" in reference or not path.resolve().is_relative_to(folder):
        fix = "put the file beside the mesh and name it by its name alone"
        raise FormatError(f"{owner} names a file outside its folder", got=reference[:100], fix=fix)
    if not path.is_file():
        fix = "put the file there, or read the mesh with with_material=False"
        raise InputError(f"{owner} names a file that is not there", got=reference[:100], fix=fix)
    return read_capped(path, max_bytes)

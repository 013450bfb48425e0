"""Writing rendered frames as PNG: one picture, or a folder that appears whole or not at all."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterable
from glob import escape
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from recon3d.core.errors import UsageError
from recon3d.core.files import atomic_path

_FRAME = re.compile(r"frame_\d{5,}\.png")
_COMPRESSION = 3  # three times as fast as the default of 6, and a few per cent larger


def write_picture(path: Path, frame: UInt8[np.ndarray, "h w 3"]) -> None:
    """Write one PNG atomically."""
    with atomic_path(path) as temporary:
        Image.fromarray(frame).save(temporary, "PNG", compress_level=_COMPRESSION)


def remove_remains(target: Path) -> None:
    """Remove what a killed run that wrote the same target left beside it."""
    for path in target.parent.glob(f".{escape(target.name)}.*.tmp"):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def check_folder(folder: Path) -> None:
    """Refuse a folder that holds anything but the frames of an earlier run.

    Raises:
        UsageError: it holds something else, or is a file.
    """
    if folder.is_file():
        raise UsageError("the target is a file", got=folder, expected="a folder, or a name ending in .mp4 or .png")
    others = [path.name for path in folder.iterdir() if not _FRAME.fullmatch(path.name)] if folder.is_dir() else []
    if others:
        got = f"{others[0]}" + (f" and {len(others) - 1} more" if len(others) > 1 else "")
        raise UsageError(f"{folder} holds other files", got=got, fix="give a new or an empty folder")


def write_pictures(folder: Path, frames: Iterable[UInt8[np.ndarray, "h w 3"]]) -> int:
    """Write ``frame_00000.png``, ``frame_00001.png`` ... into a folder that replaces the old one when all are there.

    Args:
        folder: the target; the frames of an earlier run in it are replaced.
        frames: pictures, taken one at a time.

    Returns:
        The number of frames.

    Raises:
        UsageError: the folder holds other files.
    """
    check_folder(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}.", suffix=".tmp"))
    try:
        n_frames = 0
        for n_frames, frame in enumerate(frames, 1):
            Image.fromarray(frame).save(beside / f"frame_{n_frames - 1:05d}.png", "PNG", compress_level=_COMPRESSION)
        beside.chmod(0o755)
        if folder.is_dir():
            check_folder(folder)  # once more: rendering took a while
            shutil.rmtree(folder)
        beside.rename(folder)
        return n_frames
    finally:
        shutil.rmtree(beside, ignore_errors=True)

"""COLMAP sparse models: a folder of cameras, images and points3D files, binary or text."""

from __future__ import annotations

from pathlib import Path

from recon3d.core.errors import FormatError, InputError, UsageError
from recon3d.core.files import read_capped, write_bytes
from recon3d.formats import colmap_binary, colmap_text
from recon3d.formats.colmap_model import (
    CAMERA_MODEL_NAMES,
    CAMERA_MODEL_PARAMS,
    ColmapCamera,
    ColmapImage,
    ColmapModel,
    ColmapPoints,
    check_model,
)

__all__ = [
    "CAMERA_MODEL_NAMES",
    "CAMERA_MODEL_PARAMS",
    "ColmapCamera",
    "ColmapImage",
    "ColmapModel",
    "ColmapPoints",
    "check_model",
    "find_colmap",
    "read_colmap",
    "write_colmap",
]

MAX_FILE_BYTES = 4 << 30
_PARTS = ("cameras", "images", "points3D")
_RIG_PARTS = ("rigs", "frames")


def find_colmap(folder: Path) -> str | None:
    """Return ``.bin`` or ``.txt``, whichever complete COLMAP model lies in ``folder`` (binary first), or ``None``."""
    for suffix in (".bin", ".txt"):
        if all((Path(folder) / f"{part}{suffix}").is_file() for part in _PARTS):
            return suffix
    return None


def read_colmap(folder: Path, max_bytes: int = MAX_FILE_BYTES) -> ColmapModel:
    """Read a COLMAP model, binary or text (binary where both lie there).

    ``rigs`` and ``frames`` of COLMAP 4 are not needed: the images carry their own poses.

    Args:
        folder: holds ``cameras``, ``images`` and ``points3D`` as ``.bin`` or ``.txt``.
        max_bytes: largest file that is read; memory stays within a small multiple of it.

    Returns:
        The model; all its references hold.

    Raises:
        InputError: the folder or a file of the model is absent or cannot be read.
        FormatError: a file is not valid, or the files contradict each other.
    """
    folder = Path(folder)
    suffix = find_colmap(folder)
    if suffix is None:
        there = sorted(path.name for path in folder.iterdir())[:10] if folder.is_dir() else "no such folder"
        expected = "cameras, images and points3D, all .bin or all .txt"
        raise InputError(f"{folder} holds no COLMAP model", got=there, expected=expected)
    codec = colmap_binary if suffix == ".bin" else colmap_text
    paths = [folder / f"{part}{suffix}" for part in _PARTS]
    data = [read_capped(path, max_bytes) for path in paths]
    cameras = codec.decode_cameras(data[0], str(paths[0]))
    images = codec.decode_images(data[1], str(paths[1]))
    points = codec.decode_points(data[2], str(paths[2]))
    model = ColmapModel(cameras, images, points)
    check_model(model, str(folder))
    return model


def write_colmap(folder: Path, model: ColmapModel, binary: bool = True) -> tuple[Path, ...]:
    """Write a COLMAP model; each file is replaced atomically.

    Files of another model in the folder (other encoding, rigs, frames) are removed, because COLMAP would mix them in.

    Args:
        folder: created where absent.
        model: what to write.
        binary: ``.bin`` files, else ``.txt``.

    Returns:
        The paths of the three files.

    Raises:
        UsageError: a name cannot be stored, or the model refers to something that it does not hold.
    """
    codec = colmap_binary if binary else colmap_text
    suffix, other = (".bin", ".txt") if binary else (".txt", ".bin")
    _check_writable(model)
    encoded = (
        codec.encode_cameras(model.cameras),
        codec.encode_images(model.images),
        codec.encode_points(model.points),
    )
    stale = [f"{part}{other}" for part in _PARTS] + [f"{part}{each}" for part in _RIG_PARTS for each in (suffix, other)]
    for name in stale:
        (Path(folder) / name).unlink(missing_ok=True)
    paths = tuple(Path(folder) / f"{part}{suffix}" for part in _PARTS)
    for path, data in zip(paths, encoded, strict=True):
        write_bytes(path, data)
    return paths


def _check_writable(model: ColmapModel) -> None:
    try:
        check_model(model, "the COLMAP model to write")
    except FormatError as error:
        raise UsageError(error.what, got=error.got, expected=error.expected) from error

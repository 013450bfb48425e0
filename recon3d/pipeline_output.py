"""The output folder: where it is, what may be written into it, and what an earlier run left there."""

from __future__ import annotations

import glob
import os
import shutil
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path

from recon3d.core.errors import UsageError
from recon3d.scene_dense import (
    DENSE_POINTS,
    DEPTH,
    ENVIRONMENT,
    MESH,
    RELIGHTABLE,
    RELIGHTABLE_MESH,
    SPLATS,
    SPLATS_COMPRESSED,
)

WORK = ".recon3d"  # folder of the stages inside the output folder
EXPORT_FOLDERS = ("images", "colmap", "colmap_distorted", DEPTH)
_DENSE = (DENSE_POINTS, SPLATS, SPLATS_COMPRESSED, MESH, RELIGHTABLE, RELIGHTABLE_MESH, ENVIRONMENT)


def default_out(source: str | Path | Sequence[str | Path]) -> Path:
    """Return the output folder of a source: ``NAME_recon3d`` beside the folder, the video or the folder of files."""
    if isinstance(source, str | Path):
        base = _base(source)
    else:
        first = _base(source[0]) if source else Path.cwd()
        base = first if first.is_dir() else first.parent
    return base.parent / f"{base.stem if base.is_file() else base.name}_recon3d"


def _base(source: str | Path) -> Path:
    """Return the path that a source names, or the folder that a glob pattern starts from."""
    path = Path(os.path.abspath(Path(source).expanduser()))
    if path.exists() or not glob.has_magic(str(path)):
        return path
    return Path(*takewhile(lambda part: not glob.has_magic(part), path.parts))


def check_out(folder: Path, source: str | Path | Sequence[str | Path]) -> None:
    """Refuse an output folder in which something of the user's would be replaced.

    Args:
        folder: the output folder.
        source: what is reconstructed.

    Raises:
        UsageError: it is a file, cannot be written, holds the photos, or holds a model of other software.
    """
    if folder.exists() and not folder.is_dir():
        raise UsageError("the output folder is a file", got=folder, fix="choose another --out")
    _check_writable(folder)
    for item in [source] if isinstance(source, str | Path) else source:
        if _base(item).resolve().is_relative_to(folder.resolve()):
            raise UsageError("the photos lie inside the output folder", got=folder, fix="choose another --out")
    if not (folder / WORK).exists() and not (folder / "scene.json").exists():
        for name in EXPORT_FOLDERS:
            if (folder / name).exists():
                what = f"the output folder holds {name}, which recon3d did not write"
                raise UsageError(what, got=folder / name, fix="choose another --out")


def _check_writable(folder: Path) -> None:
    """Refuse a folder that cannot be written, or made, before hours are spent on what belongs there."""
    there = next(path for path in (folder, *folder.parents) if path.exists())
    if not there.is_dir():
        raise UsageError("the output folder would lie inside a file", got=there, fix="choose another --out")
    for path in (there, folder / WORK):
        if path.exists() and not os.access(path, os.W_OK | os.X_OK):
            raise UsageError("the output folder cannot be written", got=path, fix="choose another --out")


def remove_dense(folder: Path) -> None:
    """Remove depth maps, dense points, splats, meshes and light of an earlier run; the stages keep them for later."""
    for name in _DENSE:
        (folder / name).unlink(missing_ok=True)
    shutil.rmtree(folder / DEPTH, ignore_errors=True)


def remove_exports(folder: Path) -> None:
    """Remove what an earlier run wrote into an output folder, scene.json first, so that no refused model stays."""
    for name in ("scene.json", "transforms.json", "trajectory.tum", "points.ply"):
        (folder / name).unlink(missing_ok=True)
    for name in EXPORT_FOLDERS:
        shutil.rmtree(folder / name, ignore_errors=True)
    remove_dense(folder)

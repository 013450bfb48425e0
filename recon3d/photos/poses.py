"""Known poses beside the photos: a COLMAP model or a transforms.json."""

from __future__ import annotations

import logging
from pathlib import Path

from recon3d.core.errors import InputError

_LOG = logging.getLogger(__name__)
_PLACES = ("sparse/0", "sparse", "colmap/sparse/0", "colmap", ".")


def resolve_poses(poses: Path | None, root: Path) -> Path | None:
    """Return the model that ``poses`` names; without one, mention in the log a model that lies beside the photos.

    Args:
        poses: a COLMAP model folder, a folder that holds one in sparse/0 or sparse, or a transforms.json.
        root: folder of the photos.

    Returns:
        The model folder (the one with cameras.bin or cameras.txt) or the transforms.json.

    Raises:
        InputError: there is no model at ``poses``.
    """
    if poses is not None:
        found = _model_at(Path(poses))
        if found is None:
            raise InputError(f"{poses} holds no known poses", expected="cameras.bin, cameras.txt or transforms.json")
        return found
    seen = _model_at(root) or _model_at(root.resolve().parent)
    if seen is not None:
        _LOG.warning("%s holds camera poses; name it with --photos.poses to use them", seen)
    return None


def _model_at(path: Path) -> Path | None:
    if path.is_file():
        return path if path.suffix.lower() == ".json" else None
    for place in _PLACES:
        folder = path / place
        if any((folder / name).is_file() for name in ("cameras.bin", "cameras.txt")):
            return folder
    transforms = path / "transforms.json"
    return transforms if transforms.is_file() else None

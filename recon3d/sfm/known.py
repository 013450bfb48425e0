"""Known poses: cameras of a COLMAP model or a transforms.json for the photos of a capture."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from recon3d.core.errors import InputError
from recon3d.formats.colmap import read_colmap
from recon3d.formats.transforms import read_transforms
from recon3d.photos import Photo
from recon3d.render.cameras import Cameras
from recon3d.scene_convert import cameras_from_colmap, cameras_from_transforms
from recon3d.sfm.solve import known_model
from recon3d.sfm.types import Mapped


def known_cameras(photos: Sequence[Photo], group: Sequence[int], source: Path) -> Mapped:
    """Return the photos whose poses are known, as a model without points.

    A photo is found by its key, or by its file name where that is unique. Intrinsics belong to images of the stated
    size; for photos of another size they are scaled.

    Args:
        photos: the photos.
        group: camera group of each.
        source: COLMAP model folder or transforms.json.

    Raises:
        InputError: fewer than two photos have a pose.
        FormatError: the source is damaged.
    """
    names, cameras = _read(source)
    rows = _match([photo.key for photo in photos], names)
    posed = [index for index in range(len(photos)) if rows[index] >= 0]
    if len(posed) < 2:
        raise InputError(
            f"{source} knows fewer than two of the photos",
            got=f"names such as {names[:3]}",
            expected=f"names such as {[photo.key for photo in photos[:3]]}",
            fix="use the file names of the photos",
        )
    chosen = _scaled(cameras[np.array([rows[index] for index in posed])], [photos[index] for index in posed])
    return known_model(chosen, np.array(posed, np.int64), np.array([group[index] for index in posed], np.int64))


def _read(source: Path) -> tuple[list[str], Cameras]:
    if source.is_dir():
        model = read_colmap(source)
        return [image.name for image in model.images], cameras_from_colmap(model)
    transforms = read_transforms(source)
    return list(transforms.names), cameras_from_transforms(transforms)


def _match(keys: Sequence[str], names: Sequence[str]) -> list[int]:
    """Return the row of each key's pose, -1 where there is none: by the whole key, or by an unmistakable file name."""
    by_name = {name: row for row, name in enumerate(names)}
    by_base = {Path(name).name: row for row, name in enumerate(names)}
    in_names, in_keys = (Counter(Path(each).name for each in several) for several in (names, keys))
    found = []
    for key in keys:
        base = Path(key).name
        unmistakable = in_names[base] == in_keys[base] == 1
        found.append(by_name.get(key, by_base[base] if unmistakable else -1))
    return found


def _scaled(cameras: Cameras, photos: Sequence[Photo]) -> Cameras:
    size = np.array([(photo.width, photo.height) for photo in photos], np.int64)
    K = cameras.K.copy()
    K[:, 0] *= (size[:, 0] / cameras.width)[:, None]
    K[:, 1] *= (size[:, 1] / cameras.height)[:, None]
    return replace(cameras, K=K, width=size[:, 0], height=size[:, 1])

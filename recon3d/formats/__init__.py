"""Byte codecs, numpy in and out: COLMAP models, transforms.json, TUM trajectories and PLY.

Readers are for files from anywhere: whatever the bytes, they return or raise ``recon3d.core.errors.FormatError``, in
memory bounded by a small multiple of the file. Writers replace files atomically.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from recon3d.core.lazy import lazy_exports

if TYPE_CHECKING:
    from recon3d.formats.colmap import (
        find_colmap as find_colmap,
        read_colmap as read_colmap,
        write_colmap as write_colmap,
    )
    from recon3d.formats.colmap_model import (
        ColmapCamera as ColmapCamera,
        ColmapImage as ColmapImage,
        ColmapModel as ColmapModel,
        ColmapPoints as ColmapPoints,
    )
    from recon3d.formats.ply import Ply as Ply, read_ply as read_ply, write_ply as write_ply
    from recon3d.formats.quaternions import (
        quaternion_from_rotation as quaternion_from_rotation,
        rotation_from_quaternion as rotation_from_quaternion,
    )
    from recon3d.formats.transforms import (
        Transforms as Transforms,
        read_transforms as read_transforms,
        write_transforms as write_transforms,
    )
    from recon3d.formats.tum import Trajectory as Trajectory, read_tum as read_tum, write_tum as write_tum

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "colmap": ["find_colmap", "read_colmap", "write_colmap"],
        "colmap_model": ["ColmapCamera", "ColmapImage", "ColmapModel", "ColmapPoints"],
        "ply": ["Ply", "read_ply", "write_ply"],
        "quaternions": ["quaternion_from_rotation", "rotation_from_quaternion"],
        "transforms": ["Transforms", "read_transforms", "write_transforms"],
        "tum": ["Trajectory", "read_tum", "write_tum"],
    },
)

"""Byte codecs, numpy in and out: COLMAP models, transforms.json, TUM trajectories and PLY.

Readers are for files from anywhere: whatever the bytes, they return or raise ``recon3d.core.errors.FormatError``, in
memory bounded by a small multiple of the file. Writers replace files atomically.
"""

from __future__ import annotations

from recon3d.core.lazy import lazy_exports

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

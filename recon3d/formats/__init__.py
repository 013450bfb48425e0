"""Byte codecs, numpy in and out: COLMAP models, transforms.json, TUM trajectories, PLY, splats, meshes, EXR and HDR.

Readers are for files from anywhere: whatever the bytes, they return or raise ``recon3d.core.errors.FormatError``, in
memory bounded by a small multiple of the file, or of the size that its header declares, capped and checked before use.
Writers replace files atomically.
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
    from recon3d.formats.exr import read_exr as read_exr, write_exr as write_exr
    from recon3d.formats.glb import (
        MeshArrays as MeshArrays,
        gltf_from_world as gltf_from_world,
        read_glb as read_glb,
        world_from_gltf as world_from_gltf,
        write_glb as write_glb,
    )
    from recon3d.formats.hdr import read_hdr as read_hdr, write_hdr as write_hdr
    from recon3d.formats.ply import Ply as Ply, read_ply as read_ply, write_ply as write_ply
    from recon3d.formats.quaternions import (
        quaternion_from_rotation as quaternion_from_rotation,
        rotation_from_quaternion as rotation_from_quaternion,
    )
    from recon3d.formats.splat_ply import (
        SplatArrays as SplatArrays,
        read_splat_ply as read_splat_ply,
        write_splat_ply as write_splat_ply,
    )
    from recon3d.formats.spz import read_spz as read_spz, write_spz as write_spz
    from recon3d.formats.transforms import (
        Transforms as Transforms,
        read_transforms as read_transforms,
        write_transforms as write_transforms,
    )
    from recon3d.formats.tum import Trajectory as Trajectory, read_tum as read_tum, write_tum as write_tum
    from recon3d.formats.video_writer import write_mp4 as write_mp4

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "colmap": ["find_colmap", "read_colmap", "write_colmap"],
        "colmap_model": ["ColmapCamera", "ColmapImage", "ColmapModel", "ColmapPoints"],
        "exr": ["read_exr", "write_exr"],
        "glb": ["MeshArrays", "gltf_from_world", "read_glb", "world_from_gltf", "write_glb"],
        "hdr": ["read_hdr", "write_hdr"],
        "ply": ["Ply", "read_ply", "write_ply"],
        "quaternions": ["quaternion_from_rotation", "rotation_from_quaternion"],
        "splat_ply": ["SplatArrays", "read_splat_ply", "write_splat_ply"],
        "spz": ["read_spz", "write_spz"],
        "transforms": ["Transforms", "read_transforms", "write_transforms"],
        "tum": ["Trajectory", "read_tum", "write_tum"],
        "video_writer": ["write_mp4"],
    },
)

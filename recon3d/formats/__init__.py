"""Byte codecs, numpy in and out: COLMAP models, transforms.json, TUM, PLY, splats, meshes, EXR, HDR and point clouds.

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
    from recon3d.formats.e57 import E57Scan as E57Scan, read_e57 as read_e57, write_e57 as write_e57
    from recon3d.formats.exr import read_exr as read_exr, write_exr as write_exr
    from recon3d.formats.glb import (
        MeshArrays as MeshArrays,
        gltf_from_world as gltf_from_world,
        read_glb as read_glb,
        world_from_gltf as world_from_gltf,
        write_glb as write_glb,
    )
    from recon3d.formats.hdr import read_hdr as read_hdr, write_hdr as write_hdr
    from recon3d.formats.kitti import read_kitti_points as read_kitti_points, write_kitti_points as write_kitti_points
    from recon3d.formats.kitti_semantic import (
        read_point_labels as read_point_labels,
        read_semantic_kitti as read_semantic_kitti,
        write_point_labels as write_point_labels,
        write_semantic_kitti as write_semantic_kitti,
    )
    from recon3d.formats.kitti_text import (
        KittiCalibration as KittiCalibration,
        KittiObject as KittiObject,
        read_kitti_calibration as read_kitti_calibration,
        read_kitti_objects as read_kitti_objects,
        write_kitti_calibration as write_kitti_calibration,
        write_kitti_objects as write_kitti_objects,
    )
    from recon3d.formats.las import Las as Las, read_las as read_las, write_las as write_las
    from recon3d.formats.las_points import LasExtra as LasExtra
    from recon3d.formats.mcap_cloud import (
        RecordedCloud as RecordedCloud,
        read_bag_clouds as read_bag_clouds,
        read_mcap_clouds as read_mcap_clouds,
    )
    from recon3d.formats.npy_cloud import (
        read_npy as read_npy,
        read_npz as read_npz,
        write_npy as write_npy,
        write_npz as write_npz,
    )
    from recon3d.formats.pcd import Pcd as Pcd, read_pcd as read_pcd, write_pcd as write_pcd
    from recon3d.formats.pcd_colour import pack_rgb as pack_rgb, unpack_rgb as unpack_rgb
    from recon3d.formats.ply import Ply as Ply, read_ply as read_ply, write_ply as write_ply
    from recon3d.formats.pointcloud2 import (
        PointCloud2 as PointCloud2,
        pointcloud2_arrays as pointcloud2_arrays,
        pointcloud2_message as pointcloud2_message,
    )
    from recon3d.formats.pointcloud2_codec import (
        parse_pointcloud2 as parse_pointcloud2,
        pointcloud2_bytes as pointcloud2_bytes,
    )
    from recon3d.formats.quaternions import (
        quaternion_from_rotation as quaternion_from_rotation,
        rotation_from_quaternion as rotation_from_quaternion,
    )
    from recon3d.formats.range_image import (
        RangeImage as RangeImage,
        RangePoints as RangePoints,
        range_image_points as range_image_points,
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
        "e57": ["E57Scan", "read_e57", "write_e57"],
        "exr": ["read_exr", "write_exr"],
        "glb": ["MeshArrays", "gltf_from_world", "read_glb", "world_from_gltf", "write_glb"],
        "hdr": ["read_hdr", "write_hdr"],
        "kitti": ["read_kitti_points", "write_kitti_points"],
        "kitti_semantic": ["read_point_labels", "read_semantic_kitti", "write_point_labels", "write_semantic_kitti"],
        "kitti_text": [
            "KittiCalibration",
            "KittiObject",
            "read_kitti_calibration",
            "read_kitti_objects",
            "write_kitti_calibration",
            "write_kitti_objects",
        ],
        "las": ["Las", "read_las", "write_las"],
        "las_points": ["LasExtra"],
        "mcap_cloud": ["RecordedCloud", "read_bag_clouds", "read_mcap_clouds"],
        "npy_cloud": ["read_npy", "read_npz", "write_npy", "write_npz"],
        "pcd": ["Pcd", "read_pcd", "write_pcd"],
        "pcd_colour": ["pack_rgb", "unpack_rgb"],
        "ply": ["Ply", "read_ply", "write_ply"],
        "pointcloud2": ["PointCloud2", "pointcloud2_arrays", "pointcloud2_message"],
        "pointcloud2_codec": ["parse_pointcloud2", "pointcloud2_bytes"],
        "quaternions": ["quaternion_from_rotation", "rotation_from_quaternion"],
        "range_image": ["RangeImage", "RangePoints", "range_image_points"],
        "splat_ply": ["SplatArrays", "read_splat_ply", "write_splat_ply"],
        "spz": ["read_spz", "write_spz"],
        "transforms": ["Transforms", "read_transforms", "write_transforms"],
        "tum": ["Trajectory", "read_tum", "write_tum"],
        "video_writer": ["write_mp4"],
    },
)

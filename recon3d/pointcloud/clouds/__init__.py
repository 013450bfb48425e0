"""Clouds of points: the type, files, crops, voxels, normals, outliers, ground, sweeps and registration."""

from __future__ import annotations

from typing import TYPE_CHECKING

from recon3d.core.lazy import lazy_exports

if TYPE_CHECKING:
    from recon3d.pointcloud.clouds.crops import crop_box as crop_box, crop_radius as crop_radius
    from recon3d.pointcloud.clouds.fields import (
        cloud_from_fields as cloud_from_fields,
        cloud_from_message as cloud_from_message,
        cloud_to_message as cloud_to_message,
        fields_from_cloud as fields_from_cloud,
    )
    from recon3d.pointcloud.clouds.files import (
        cloud_format as cloud_format,
        load as load,
        load_recording as load_recording,
        save as save,
    )
    from recon3d.pointcloud.clouds.ground import (
        GroundOptions as GroundOptions,
        GroundPlane as GroundPlane,
        find_ground as find_ground,
    )
    from recon3d.pointcloud.clouds.neighbours import (
        estimate_normals as estimate_normals,
        radius_inliers as radius_inliers,
        statistical_inliers as statistical_inliers,
    )
    from recon3d.pointcloud.clouds.registration import (
        Registration as Registration,
        RegistrationOptions as RegistrationOptions,
        register_clouds as register_clouds,
    )
    from recon3d.pointcloud.clouds.sweeps import accumulate_sweeps as accumulate_sweeps
    from recon3d.pointcloud.clouds.types import PointCloud as PointCloud
    from recon3d.pointcloud.clouds.voxels import (
        Voxels as Voxels,
        voxel_downsample as voxel_downsample,
        voxelise as voxelise,
    )

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "crops": ["crop_box", "crop_radius"],
        "fields": ["cloud_from_fields", "cloud_from_message", "cloud_to_message", "fields_from_cloud"],
        "files": ["cloud_format", "load", "load_recording", "save"],
        "ground": ["GroundOptions", "GroundPlane", "find_ground"],
        "neighbours": ["estimate_normals", "radius_inliers", "statistical_inliers"],
        "registration": ["Registration", "RegistrationOptions", "register_clouds"],
        "sweeps": ["accumulate_sweeps"],
        "types": ["PointCloud"],
        "voxels": ["Voxels", "voxel_downsample", "voxelise"],
    },
)

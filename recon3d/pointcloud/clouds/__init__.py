"""Clouds of points: the type, files, crops, voxels, normals, outliers, ground, sweeps and registration."""

from __future__ import annotations

from typing import TYPE_CHECKING

from recon3d.core.lazy import lazy_exports

if TYPE_CHECKING:
    from recon3d.pointcloud.clouds.types import PointCloud as PointCloud

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "types": ["PointCloud"],
    },
)

"""Point clouds: files, voxels and boxes, sparse convolution, FlatFormer and Volt, detection, segmentation and metrics.

The shortest way in: ``load`` a cloud, and let a ``Detector`` or a ``Segmenter`` look at it. May import ``render``,
``formats`` and ``core``; only the reconstruction rooms and ``apps`` may import it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from recon3d.core.lazy import lazy_exports

if TYPE_CHECKING:
    from recon3d.pointcloud.boxes.types import Boxes3D as Boxes3D
    from recon3d.pointcloud.clouds.files import load as load, save as save
    from recon3d.pointcloud.clouds.types import PointCloud as PointCloud
    from recon3d.pointcloud.detection.detector import Detector as Detector
    from recon3d.pointcloud.segmentation.segmenter import Segmenter as Segmenter

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "boxes.types": ["Boxes3D"],
        "clouds.files": ["load", "save"],
        "clouds.types": ["PointCloud"],
        "detection.detector": ["Detector"],
        "segmentation.segmenter": ["Segmenter"],
    },
)

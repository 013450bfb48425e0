"""From points to the numbers of voxels that a segmenter reads."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

from recon3d.core.errors import InputError
from recon3d.pointcloud.segmentation.spec import SegmenterSpec
from recon3d.pointcloud.volt.batch import VoxelScene
from recon3d.pointcloud.volt.samples import Sample

_FAR_M = 50.0
_FLOOR_PERCENT = 1.0
_HEIGHTS_M = (-5.0, 20.0)


@dataclass(frozen=True)
class OnFloor:
    """Move the middle of a room to x = y = 0 and its floor, the height of its lowest hundredth, to z = 0."""

    def __call__(self, sample: Sample, rng: np.random.Generator | None = None) -> Sample:
        """Return the moved sample."""
        if not len(sample):
            return sample
        x, y = (sample.xyz[:, :2].min(0) + sample.xyz[:, :2].max(0)) / 2
        return sample.changed(xyz=sample.xyz - (x, y, np.percentile(sample.xyz[:, 2], _FLOOR_PERCENT)))


def voxel_scene(sample: Sample, spec: SegmenterSpec) -> VoxelScene:
    """Return the network's input.

    Args:
        sample: one point per voxel, with its grid; rooms stand on z = 0, sweeps lie in the frame of the sensor.
        spec: of the segmenter.

    Raises:
        InputError: the sample lacks what the segmenter needs.
    """
    if sample.grid is None:
        raise InputError("the points are not voxelised", expected="a sample with its grid")
    parts = [_feature(sample, name, spec) for name in spec.features]
    return VoxelScene(
        grid=sample.grid,
        features=np.ascontiguousarray(np.concatenate(parts, axis=1), np.float32),
        segment=sample.segment,
        instance=sample.instance,
    )


def _feature(sample: Sample, name: str, spec: SegmenterSpec) -> Float32[np.ndarray, "n c"]:
    if name == "one":
        values: np.ndarray = np.ones((len(sample), 1))
    elif name == "height":
        values = (sample.xyz[:, 2:] + (spec.mount_m if spec.kind == "outdoor" else 0.0)).clip(*_HEIGHTS_M)
    elif name == "distance":
        values = np.linalg.norm(sample.xyz, axis=1, keepdims=True) / _FAR_M
    elif name == "strength":
        values = _needed(sample.strength, "intensity")[:, None]
    elif name == "colour":
        values = _needed(sample.color, "colour") / 255.0
    else:
        values = np.abs(_needed(sample.normal, "normal"))
    return values.astype(np.float32)


def _needed(values: np.ndarray | None, name: str) -> np.ndarray:
    if values is None:
        raise InputError(f"the points have no {name}, which this segmenter needs", fix="use a model without it")
    return values

"""The changes of a training scene, with the full and with the naive recipe, up to the network's input."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recon3d.pointcloud.segmentation.features import OnFloor, voxel_scene
from recon3d.pointcloud.segmentation.options import TrainSegmenterOptions
from recon3d.pointcloud.segmentation.spec import SegmenterSpec
from recon3d.pointcloud.volt.augmentations import (
    Augmentation,
    AutoContrast,
    ColorJitter,
    ColorShift,
    Elastic,
    Jitter,
    PointDropout,
    RandomFlip,
    RandomScale,
    RandomTurn,
    SphereCrop,
    Voxelise,
    augmented,
)
from recon3d.pointcloud.volt.batch import VoxelScene
from recon3d.pointcloud.volt.instance_steps import InstanceColorDropout, InstanceMotion
from recon3d.pointcloud.volt.samples import Sample

_TILT = np.pi / 64
_ELASTIC = ((0.2, 0.1), (0.8, 0.4))  # a quarter of the released distortions: small rooms, few steps


@dataclass(frozen=True)
class StrengthScale:
    """Multiply all strengths by a factor between 1/``most`` and ``most``: sensors differ."""

    most: float = 1.5

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Return the sample with other strengths."""
        if sample.strength is None:
            return sample
        factor = np.exp(rng.uniform(-1, 1) * np.log(self.most))
        return sample.changed(strength=np.clip(sample.strength * factor, 0, 1).astype(np.float32))


@dataclass(frozen=True)
class ColourDrop:
    """With probability ``p``, set all colours to one grey, so that shape has to do."""

    p: float = 0.1

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Return the sample, perhaps without colours."""
        if sample.color is None or rng.random() >= self.p:
            return sample
        return sample.changed(color=np.full_like(sample.color, 128.0))


def training_steps(spec: SegmenterSpec, options: TrainSegmenterOptions) -> tuple[Augmentation, ...]:
    """Return the changes of a scene in their order, voxels and crop included.

    Args:
        spec: of the segmenter.
        options: of the training.
    """
    indoor = spec.kind == "indoor"
    crop = (Voxelise(spec.voxel_m), SphereCrop(low=0.4, most=options.most_voxels))
    start: list[Augmentation] = [OnFloor()] if indoor else []
    if not options.full:
        return (*start, RandomTurn("z", np.pi, p=1.0), RandomFlip(), *crop)
    moved: list[Augmentation] = [
        PointDropout(),
        RandomTurn("z", np.pi, p=1.0),
        RandomTurn("x", _TILT, about_middle=indoor),
        RandomTurn("y", _TILT, about_middle=indoor),
        RandomScale(),
        RandomFlip(),
        Jitter(),
    ]
    if indoor:
        return (
            *start,
            *moved,
            Elastic(_ELASTIC, p=0.5),
            AutoContrast(),
            ColorShift(),
            ColorJitter(),
            ColourDrop(),
            InstanceMotion("turn", (np.pi / 4, 0, 0)),
            InstanceMotion("scale", (0.1, 0, 0)),
            InstanceColorDropout(),
            *crop,
        )
    turn = InstanceMotion("turn", (np.pi / 2, 0, 0), p=0.3)
    return (*start, *moved, StrengthScale(), turn, InstanceMotion("scale", (0.1, 0, 0), p=0.3), *crop)


def training_scene(
    sample: Sample, spec: SegmenterSpec, steps: tuple[Augmentation, ...], rng: np.random.Generator
) -> VoxelScene:
    """Return one changed scene as the network's input.

    Args:
        sample: all of its points.
        spec: of the segmenter.
        steps: of :func:`training_steps`.
        rng: source of the changes.
    """
    return voxel_scene(augmented(sample, steps, rng), spec)

"""Random changes of a whole sample; each takes its random numbers from a generator that the caller gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float64

from recon3d.pointcloud.volt.elastic import elastic_noise_shape, elastically_moved
from recon3d.pointcloud.volt.geometry import box_centre, centred, clipped_distance, flipped, scaled, turned
from recon3d.pointcloud.volt.grid import sphere_rows, voxelised
from recon3d.pointcloud.volt.samples import Sample


@runtime_checkable
class Augmentation(Protocol):
    """A change of a sample."""

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Return the changed sample; the one that was given stays as it is."""


def augmented(sample: Sample, steps: Sequence[Augmentation], rng: np.random.Generator) -> Sample:
    """Apply changes one after another."""
    for step in steps:
        sample = step(sample, rng)
    return sample


@dataclass(frozen=True)
class CentreShift:
    """Move the bounding box over the origin; with ``floor``, its lowest point onto z = 0."""

    floor: bool = True

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Return the moved sample."""
        return centred(sample, floor=self.floor)


@dataclass(frozen=True)
class PointDropout:
    """With probability ``p``, drop a ``share`` of the points."""

    share: float = 0.2
    p: float = 0.2

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Return the sample, perhaps thinner."""
        if rng.random() >= self.p:
            return sample
        kept = rng.permutation(len(sample))[: len(sample) - int(self.share * len(sample))]
        return sample.selected(np.sort(kept))


@dataclass(frozen=True)
class RandomTurn:
    """With probability ``p``, turn by up to ``limit`` radians about the origin, or the middle of the bounding box."""

    axis: Literal["x", "y", "z"]
    limit: float
    p: float = 0.5
    about_middle: bool = False

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Return the sample, perhaps turned."""
        if rng.random() >= self.p:
            return sample
        centre = box_centre(sample.xyz) if self.about_middle else None
        return turned(sample, self.axis, rng.uniform(-self.limit, self.limit), centre)


@dataclass(frozen=True)
class RandomScale:
    """Scale by a factor between ``low`` and ``high``."""

    low: float = 0.9
    high: float = 1.1

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Return the scaled sample."""
        return scaled(sample, rng.uniform(self.low, self.high))


@dataclass(frozen=True)
class RandomFlip:
    """Flip x, and flip y, each with probability ``p``."""

    p: float = 0.5

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Return the sample, perhaps mirrored."""
        x, y = rng.random(2) < self.p
        sample = flipped(sample, 0) if x else sample
        return flipped(sample, 1) if y else sample


@dataclass(frozen=True)
class Jitter:
    """Move every coordinate by normal noise of ``sigma`` metres, cut at ``limit``."""

    sigma: float = 0.005
    limit: float = 0.02

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Return the noisy sample."""
        noise = rng.standard_normal(sample.xyz.shape) * self.sigma
        return sample.changed(xyz=sample.xyz + noise.clip(-self.limit, self.limit))


@dataclass(frozen=True)
class RandomShift:
    """Move by up to ``limit`` metres along each axis."""

    limit: tuple[float, float, float] = (0.2, 0.2, 0.2)

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Return the moved sample."""
        return sample.changed(xyz=sample.xyz + rng.uniform(-1, 1, 3) * self.limit)


@dataclass(frozen=True)
class ClipDistance:
    """Pull far points onto a sphere and clamp heights."""

    radius: float
    low: float = -4.0
    high: float = 2.0

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Return the clipped sample."""
        return clipped_distance(sample, self.radius, self.low, self.high)


@dataclass(frozen=True)
class Elastic:
    """With probability ``p``, distort the space at each (granularity, magnitude) in metres, one after another."""

    steps: tuple[tuple[float, float], ...] = ((0.2, 0.4), (0.8, 1.6))
    p: float = 0.95

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Return the sample, perhaps distorted."""
        if rng.random() >= self.p or not len(sample):
            return sample
        xyz = sample.xyz
        for granularity, magnitude in self.steps:
            noise = rng.standard_normal(elastic_noise_shape(xyz, granularity), np.float32)
            xyz = elastically_moved(xyz, noise, granularity, magnitude)
        return sample.changed(xyz=xyz)


@dataclass(frozen=True)
class AutoContrast:
    """With probability ``p``, blend the colours by a random share with colours stretched to 0..255."""

    p: float = 0.2

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Return the sample, perhaps with more contrast."""
        if sample.color is None or not len(sample) or rng.random() >= self.p:
            return sample
        low, high = sample.color.min(axis=0), sample.color.max(axis=0)
        stretched = (sample.color - low) * (255 / np.maximum(high - low, 1e-3))
        share = rng.random()
        return sample.changed(color=((1 - share) * sample.color + share * stretched).astype(np.float32))


@dataclass(frozen=True)
class ColorShift:
    """With probability ``p``, shift each channel by up to ``share`` of 255."""

    share: float = 0.05
    p: float = 0.95

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Return the sample, perhaps with other colours."""
        if sample.color is None or rng.random() >= self.p:
            return sample
        return _recolored(sample, rng.uniform(-1, 1, 3) * 255 * self.share)


@dataclass(frozen=True)
class ColorJitter:
    """With probability ``p``, add noise of ``sigma`` (of 255) to every colour."""

    sigma: float = 0.05
    p: float = 0.95

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Return the sample, perhaps with noisy colours."""
        if sample.color is None or rng.random() >= self.p:
            return sample
        return _recolored(sample, rng.standard_normal(sample.color.shape) * 255 * self.sigma)


def _recolored(sample: Sample, change: Float64[np.ndarray, "*n 3"]) -> Sample:
    return sample.changed(color=np.clip(sample.color + change, 0, 255).astype(np.float32))


@dataclass(frozen=True)
class Voxelise:
    """Keep a random point of every voxel of ``size`` metres."""

    size: float

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Return one point per voxel, with its grid."""
        return voxelised(sample, self.size, rng)[0]


@dataclass(frozen=True)
class SphereCrop:
    """Keep the points nearest to a random one: a share between ``low`` and ``high`` of them, at most ``most``."""

    low: float = 0.6
    high: float = 1.0
    most: int | None = None

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Return the points inside the sphere."""
        count = int(np.ceil(len(sample) * rng.uniform(self.low, self.high)))
        count = count if self.most is None else min(count, self.most)
        if count >= len(sample):
            return sample
        centre = sample.xyz[rng.integers(len(sample))]
        return sample.selected(sphere_rows(sample.xyz, centre, count))

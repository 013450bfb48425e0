"""Random changes of single instances, and instances pasted from other scenes (InstanceCutMix)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float64, Int64

from recon3d.pointcloud.volt.geometry import flipped, scaled, turned
from recon3d.pointcloud.volt.samples import Sample


@dataclass(frozen=True, eq=False)
class ParsedInstances:
    """Instances renumbered without gaps, and where they are.

    Args:
        instance: of each point, -1 for none, ``[n]``.
        centroid: mean of the point's instance, -1 for none, ``[n,3]``.
        box: middle and size of each instance's bounding box, yaw 0, and class counted without the ignored ones,
            ``[k,8]``.
    """

    instance: Int64[np.ndarray, " n"]
    centroid: Float64[np.ndarray, "n 3"]
    box: Float64[np.ndarray, "k 8"]


def parsed_instances(
    xyz: Float64[np.ndarray, "n 3"],
    segment: Int64[np.ndarray, " n"],
    instance: Int64[np.ndarray, " n"],
    ignored: Sequence[int] = (-1, 0, 1),
) -> ParsedInstances:
    """Drop the instances of ignored classes and describe the others.

    Args:
        xyz: points, ``[n,3]``.
        segment: class of each point, ``[n]``.
        instance: of each point, ``[n]``.
        ignored: classes without instances, such as wall and floor.
    """
    counted = ~np.isin(segment, ignored)
    number, centroid = np.full(len(xyz), -1), np.full((len(xyz), 3), -1.0)
    ids, number[counted] = np.unique(instance[counted], return_inverse=True)
    box = np.zeros((len(ids), 8))
    vacant = np.array([one for one in ignored if one >= 0])
    for one in range(len(ids)):
        rows = number == one
        points, kind = xyz[rows], segment[rows][0]
        low, high = points.min(axis=0), points.max(axis=0)
        centroid[rows] = points.mean(axis=0)
        box[one] = [*(low + high) / 2, *(high - low), 0.0, kind - (kind > vacant).sum()]
    return ParsedInstances(number, centroid, box)


Motion = Literal["shift", "turn", "flip", "scale"]


@dataclass(frozen=True)
class InstanceMotion:
    """Move each instance with probability ``p``; the points of no instance stay.

    Args:
        kind: ``shift`` by up to ``limit`` metres per axis; ``turn`` about the vertical through the centroid by up to
            ``limit[0]`` radians; ``flip`` x and y there, each in half of the cases; ``scale`` about the centroid by
            1 - ``limit[0]`` to 1 + ``limit[0]``.
        limit: see ``kind``.
        p: probability of each instance.
    """

    kind: Motion
    limit: tuple[float, float, float] = (0.1, 0.1, 0.1)
    p: float = 0.2

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Return the sample with moved instances."""
        rows_of_chosen = _chosen_instances(sample, self.p, rng)
        xyz, normal = sample.xyz.copy(), None if sample.normal is None else sample.normal.copy()
        for rows in rows_of_chosen:
            moved = self._moved(sample.selected(rows), rng)
            xyz[rows] = moved.xyz
            if normal is not None:
                normal[rows] = moved.normal
        return sample.changed(xyz=xyz, normal=normal) if rows_of_chosen else sample

    def _moved(self, part: Sample, rng: np.random.Generator) -> Sample:
        if self.kind == "shift":
            return part.changed(xyz=part.xyz + rng.uniform(-1, 1, 3) * self.limit)
        middle = part.xyz.mean(axis=0)
        part = part.changed(xyz=part.xyz - middle)
        if self.kind == "turn":
            part = turned(part, "z", rng.uniform(-self.limit[0], self.limit[0]))
        elif self.kind == "scale":
            part = scaled(part, rng.uniform(1 - self.limit[0], 1 + self.limit[0]))
        else:
            x, y = rng.random(2) < 0.5
            part = flipped(part, 0) if x else part
            part = flipped(part, 1) if y else part
        return part.changed(xyz=part.xyz + middle)


def _chosen_instances(sample: Sample, p: float, rng: np.random.Generator) -> list[Bool[np.ndarray, " n"]]:
    if sample.instance is None:
        return []
    ids = np.unique(sample.instance[sample.instance >= 0])
    return [sample.instance == one for one in ids[rng.random(len(ids)) < p]]


@dataclass(frozen=True)
class InstanceLabelDropout:
    """With probability ``p`` per instance, forget the classes of a ``share`` of its points; the points stay."""

    p: float = 0.1
    share: float = 0.5

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Return the sample with fewer labels."""
        if sample.segment is None:
            return sample
        segment = sample.segment.copy()
        for rows in _chosen_instances(sample, self.p, rng):
            inside = rows.nonzero()[0]
            segment[rng.permutation(inside)[: int(self.share * len(inside))]] = -1
        return sample.changed(segment=segment)


@dataclass(frozen=True)
class InstanceColorDropout:
    """With probability ``p`` per instance, make it black."""

    p: float = 0.2

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Return the sample with black instances."""
        if sample.color is None:
            return sample
        color = sample.color.copy()
        for rows in _chosen_instances(sample, self.p, rng):
            color[rows] = 0
        return sample.changed(color=color)


@dataclass(frozen=True)
class InstanceSwap:
    """Choose each instance with probability ``p``, and let random pairs of the chosen exchange their centroids."""

    p: float = 0.2

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Return the sample with exchanged instances."""
        chosen = _chosen_instances(sample, self.p, rng)
        xyz, order = sample.xyz.copy(), rng.permutation(len(chosen))
        for one, other in zip(order[0::2], order[1::2], strict=False):
            way = sample.xyz[chosen[other]].mean(axis=0) - sample.xyz[chosen[one]].mean(axis=0)
            xyz[chosen[one]] += way
            xyz[chosen[other]] -= way
        return sample.changed(xyz=xyz)


@dataclass(frozen=True, eq=False)
class InstanceCutMix:
    """Paste instances of other sweeps: turned about the sensor, scaled, and moved along their ray.

    Args:
        database: instances, each a sample with the arrays of the sweep, in the sensor's frame.
        count: instances that are pasted.
        scale: least and greatest factor about the centroid.
        distance: least and greatest factor of the horizontal distance from the sensor.
    """

    database: Sequence[Sample]
    count: int = 10
    scale: tuple[float, float] = (0.9, 1.1)
    distance: tuple[float, float] = (0.5, 2.0)

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Return the sweep with more instances; they get new instance numbers."""
        if not self.database:
            return sample
        number = -1 if sample.instance is None else int(sample.instance.max(initial=-1))
        pasted = []
        for one in rng.integers(len(self.database), size=self.count):
            number += 1
            part = self._placed(self.database[one], rng)
            pasted.append(part if sample.instance is None else part.changed(instance=np.full(len(part), number)))
        return sample.joined(pasted)

    def _placed(self, part: Sample, rng: np.random.Generator) -> Sample:
        part = turned(part, "z", rng.uniform(-np.pi, np.pi))
        middle = part.xyz.mean(axis=0)
        there = middle * [*[rng.uniform(*self.distance)] * 2, 1.0]
        return part.changed(xyz=(part.xyz - middle) * rng.uniform(*self.scale) + there)

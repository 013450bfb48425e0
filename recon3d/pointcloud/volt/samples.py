"""Labelled points as a training handles them, between the file and the voxels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64

from recon3d.core.errors import InputError, ShapeError
from recon3d.pointcloud.volt.batch import VoxelScene


@dataclass(frozen=True, eq=False, kw_only=True)
class Sample:
    """Points of one scene; what a scene does not have is None.

    Args:
        xyz: metres, z up, ``[n,3]``.
        color: 0 to 255, ``[n,3]``.
        normal: unit length, ``[n,3]``.
        strength: of the laser's return, ``[n]``.
        segment: class, -1 where unknown, ``[n]``.
        instance: instance, -1 for none, ``[n]``.
        grid: voxel of each point, once voxelised, ``[n,3]``.
    """

    xyz: Float64[np.ndarray, "n 3"]
    color: Float32[np.ndarray, "n 3"] | None = None
    normal: Float32[np.ndarray, "n 3"] | None = None
    strength: Float32[np.ndarray, " n"] | None = None
    segment: Int64[np.ndarray, " n"] | None = None
    instance: Int64[np.ndarray, " n"] | None = None
    grid: Int64[np.ndarray, "n 3"] | None = None

    def __post_init__(self) -> None:
        lengths = {name: len(one) for name, one in self._arrays().items()}
        if set(lengths.values()) != {len(self.xyz)}:
            raise ShapeError("a sample's arrays differ in length", got=lengths, expected="one row per point")

    def __len__(self) -> int:
        return len(self.xyz)

    def _arrays(self) -> dict[str, np.ndarray]:
        return {one.name: getattr(self, one.name) for one in fields(self) if getattr(self, one.name) is not None}

    def selected(self, rows: Int64[np.ndarray, " k"] | Bool[np.ndarray, " n"]) -> Sample:
        """Return some of the points, by row numbers or by a mask."""
        return replace(self, **{name: one[rows] for name, one in self._arrays().items()})

    def changed(self, **arrays: Any) -> Sample:
        """Return the sample with other arrays."""
        return replace(self, **arrays)

    def joined(self, others: Sequence[Sample]) -> Sample:
        """Return this sample with the points of others behind its own; all must have the arrays that it has.

        Raises:
            InputError: another sample lacks one of them.
        """
        own, parts = self._arrays(), [one._arrays() for one in others]
        lacking = sorted({name for part in parts for name in own.keys() - part.keys()})
        if lacking:
            raise InputError("a sample to be joined lacks arrays", got=", ".join(lacking), expected=", ".join(own))
        return replace(
            self, **{name: np.concatenate([one, *(part[name] for part in parts)]) for name, one in own.items()}
        )


def indoor_scene(sample: Sample, condition: str = "Default") -> VoxelScene:
    """Return a voxelised room with the six indoor features: colour in [0,1] and normal.

    Args:
        sample: one point per voxel, with colours, normals and grid.
        condition: the data set.

    Raises:
        InputError: one of them is missing.
    """
    color, normal = _needed(sample, "color"), _needed(sample, "normal")
    return _scene(sample, np.concatenate([color / np.float32(255), normal], axis=1), condition)


def outdoor_scene(sample: Sample, condition: str = "Default") -> VoxelScene:
    """Return a voxelised sweep with the four outdoor features: position in metres and strength.

    Args:
        sample: one point per voxel, with strengths and grid.
        condition: the data set.

    Raises:
        InputError: one of them is missing.
    """
    strength = _needed(sample, "strength")[:, None]
    return _scene(sample, np.concatenate([sample.xyz, strength], axis=1).astype(np.float32), condition)


def _needed(sample: Sample, name: str) -> np.ndarray:
    found: np.ndarray | None = getattr(sample, name)
    if found is None:
        raise InputError(f"the points have no {name}", fix=f"give {name}, or use a model that does not need it")
    return found


def _scene(sample: Sample, features: np.ndarray, condition: str) -> VoxelScene:
    return VoxelScene(
        grid=_needed(sample, "grid"),
        features=np.ascontiguousarray(features, np.float32),
        segment=sample.segment,
        instance=sample.instance,
        condition=condition,
    )

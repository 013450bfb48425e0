"""Voxels of several scenes in one batch, and the mixing of scenes in pairs (Mix3D)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64
from torch import Tensor

from recon3d.core.errors import InputError, ShapeError


@dataclass(frozen=True, eq=False, kw_only=True)
class VoxelScene:
    """One scene, ready for the network.

    Args:
        grid: voxel indices x, y, z, ``[m,3]``; not negative by habit, but any integers work.
        features: of each voxel, ``[m,c]``.
        segment: class of each voxel, -1 where unknown, ``[m]``; None without labels.
        instance: instance of each voxel, -1 for none, ``[m]``; None without labels.
        condition: the data set, which chooses the head.
    """

    grid: Int64[np.ndarray, "m 3"]
    features: Float32[np.ndarray, "m c"]
    segment: Int64[np.ndarray, " m"] | None = None
    instance: Int64[np.ndarray, " m"] | None = None
    condition: str = "Default"

    def __len__(self) -> int:
        return len(self.grid)


@dataclass(frozen=True, eq=False, kw_only=True)
class VoxelBatch:
    """Scenes one after another.

    Args:
        grid: voxel indices, ``[m,3]``.
        features: ``[m,c]``.
        offset: row after the last of each attention sequence; mixed scenes are one sequence, ``[sequences]``.
        unmixed_offset: row after the last of each original scene, ``[scenes]``.
        conditions: data set of each original scene.
        segment: labels, -1 where unknown, ``[m]``; None when any scene has none.
        instance: instances within their scene, ``[m]``; None when any scene has none.
    """

    grid: Int64[Tensor, "m 3"]
    features: Float[Tensor, "m c"]
    offset: Int64[Tensor, " sequences"]
    unmixed_offset: Int64[Tensor, " scenes"]
    conditions: tuple[str, ...]
    segment: Int64[Tensor, " m"] | None = None
    instance: Int64[Tensor, " m"] | None = None

    def __post_init__(self) -> None:
        m = len(self.grid)
        for name, ends in (("offset", self.offset), ("unmixed_offset", self.unmixed_offset)):
            steps = torch.diff(ends, prepend=ends.new_zeros(1))
            if len(ends) == 0 or int(ends[-1]) != m or bool((steps < 0).any()):
                raise ShapeError(
                    f"{name} does not divide the voxels", got=ends.tolist(), expected=f"rising ends to {m}"
                )
        if len(self.conditions) != len(self.unmixed_offset):
            raise ShapeError("scenes lack a condition", got=len(self.conditions), expected=len(self.unmixed_offset))

    def sequence(self) -> Int64[Tensor, " m"]:
        """Return the attention sequence of each voxel."""
        return rows_of(self.offset)

    def scene(self) -> Int64[Tensor, " m"]:
        """Return the original scene of each voxel."""
        return rows_of(self.unmixed_offset)

    def rows(self, condition: str) -> Int64[Tensor, " rows"]:
        """Return the voxels of the scenes of one data set."""
        chosen = torch.tensor([one == condition for one in self.conditions], device=self.grid.device)
        return chosen[self.scene()].nonzero()[:, 0]

    def to(self, device: torch.device | str) -> VoxelBatch:
        """Return the batch on a device."""
        moved: dict[str, Any] = {name: one.to(device) for name, one in vars(self).items() if isinstance(one, Tensor)}
        return replace(self, **moved)


def rows_of(offset: Int64[Tensor, " parts"]) -> Int64[Tensor, " m"]:
    """Return the part of each row, from the row after the last of each part."""
    counts = torch.diff(offset, prepend=offset.new_zeros(1))
    return torch.repeat_interleave(torch.arange(len(offset), device=offset.device), counts)


def mixed_offset(offset: Int64[Tensor, " scenes"]) -> Int64[Tensor, " sequences"]:
    """Merge the scenes (0,1), (2,3), ... into one sequence each; the last of an odd number stays alone (Mix3D).

    Coordinates do not move: the two scenes lie in each other and share attention and batch statistics.
    """
    return torch.cat([offset[1:-1:2], offset[-1:]])


def collate_scenes(
    scenes: Sequence[VoxelScene], *, mix_probability: float = 0.0, rng: np.random.Generator | None = None
) -> VoxelBatch:
    """Put scenes into one batch; empty ones are fine.

    Args:
        scenes: one or more, with equal feature channels.
        mix_probability: chance that the whole batch is mixed in pairs.
        rng: source of that chance; needed when the probability is above 0.

    Raises:
        InputError: there is no scene, or their channels differ, or there is no generator to mix with.
    """
    if not scenes or len({one.features.shape[1] for one in scenes}) != 1:
        got = [one.features.shape[1] for one in scenes]
        raise InputError("these scenes make no batch", got=f"feature channels {got}", expected="one or more, all equal")
    if mix_probability > 0 and rng is None:
        raise InputError("mixing scenes needs a random generator", fix="pass rng")
    unmixed = torch.tensor([len(one) for one in scenes]).cumsum(0)
    mix = rng is not None and rng.random() < mix_probability
    return VoxelBatch(
        grid=_joined([one.grid for one in scenes]),
        features=_joined([one.features for one in scenes]),
        offset=mixed_offset(unmixed) if mix else unmixed,
        unmixed_offset=unmixed,
        conditions=tuple(one.condition for one in scenes),
        segment=_labels([one.segment for one in scenes]),
        instance=_labels([one.instance for one in scenes]),
    )


def _joined(arrays: Sequence[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.concatenate(arrays))


def _labels(arrays: Sequence[np.ndarray | None]) -> Tensor | None:
    present = [one for one in arrays if one is not None]
    return _joined(present) if len(present) == len(arrays) else None

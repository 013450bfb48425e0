"""Views of a scene for testing, and the sum of what a model says about them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor

from recon3d.core.errors import UsageError
from recon3d.pointcloud.volt.batch import VoxelBatch, VoxelScene, collate_scenes
from recon3d.pointcloud.volt.geometry import flipped, scaled, turned
from recon3d.pointcloud.volt.grid import voxel_fragments, voxel_indices, voxel_order
from recon3d.pointcloud.volt.samples import Sample


@dataclass(frozen=True)
class SceneView:
    """A way to look at a scene: turned about z, scaled, and perhaps flipped in x and y together."""

    angle: float = 0.0
    scale: float = 1.0
    flip: bool = False

    def apply(self, sample: Sample) -> Sample:
        """Return the scene as seen in this view, normals included."""
        seen = scaled(turned(sample, "z", self.angle), self.scale)
        return flipped(seen, 0, 1) if self.flip else seen


def indoor_views() -> tuple[SceneView, ...]:
    """Return the 13 views of the released indoor tests."""
    turns = [quarter * np.pi / 2 for quarter in range(4)]
    return (*(SceneView(angle, scale) for scale in (1.0, 0.95, 1.05) for angle in turns), SceneView(flip=True))


def outdoor_views() -> tuple[SceneView, ...]:
    """Return the 10 views of the released outdoor tests."""
    scales = (0.9, 0.95, 1.0, 1.05, 1.1)
    return tuple(SceneView(scale=scale, flip=flip) for flip in (False, True) for scale in scales)


def voted_probabilities(
    model: Callable[[VoxelBatch], Tensor],
    sample: Sample,
    scene: Callable[[Sample], VoxelScene],
    *,
    voxel_size: float,
    views: Sequence[SceneView] = (SceneView(),),
    most_fragments: int | None = None,
) -> Float32[np.ndarray, "n classes"]:
    """Return the probabilities of every point, averaged over views and over the fragments that visit it.

    Args:
        model: from a batch to the logits of its voxels, on the CPU or elsewhere.
        sample: the points.
        scene: from a voxelised sample to the network's input, such as :func:`indoor_scene`.
        voxel_size: metres.
        views: looks at the scene.
        most_fragments: of each view; 1 for one point per voxel. Points that no fragment visits take what their voxel
            got. None to visit every point.

    Raises:
        UsageError: there are no views or no points.
    """
    if not views or not len(sample):
        raise UsageError("nothing to vote on", got=f"{len(views)} views, {len(sample)} points", expected="1 or more")
    parts = (_fragment_sum(model, view.apply(sample), scene, voxel_size, most_fragments) for view in views)
    sums: np.ndarray = reduce(np.add, parts)
    return np.asarray(sums / sums.sum(axis=1, keepdims=True), np.float32)


def _fragment_sum(
    model: Callable[[VoxelBatch], Tensor],
    sample: Sample,
    scene: Callable[[Sample], VoxelScene],
    voxel_size: float,
    most: int | None,
) -> np.ndarray:
    grid = voxel_indices(sample.xyz, voxel_size)
    order = voxel_order(grid)
    fragments = voxel_fragments(order)[:most]
    everywhere = len(fragments) < order.count.max()  # a voxel's probabilities go to all of its points
    sums = np.zeros(0, np.float32)
    for rows in fragments:
        found = _probabilities(model, scene(sample.selected(rows).changed(grid=grid[rows])))
        sums = np.zeros((len(sample), found.shape[1]), np.float32) if not sums.size else sums
        if everywhere:
            sums += found[order.inverse]
        else:
            sums[rows] += found
    return sums


@torch.inference_mode()
def _probabilities(model: Callable[[VoxelBatch], Tensor], scene: VoxelScene) -> np.ndarray:
    logits = model(collate_scenes([scene]))
    return logits.float().softmax(1).cpu().numpy()

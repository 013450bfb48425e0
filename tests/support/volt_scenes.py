"""Small seeded scenes and networks for the tests of Volt."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from recon3d.pointcloud.volt import VOLT_UNIT, Sample, Volt, VoltOptions, VoxelBatch, VoxelScene, collate_scenes

SMALL = replace(VOLT_UNIT, dim=32, heads=2, up_dim=8, patch_size=3)


def voxel_scene(seed: int, count: int = 60, *, extent: int = 12, condition: str = "Default") -> VoxelScene:
    """Distinct voxels in random order, with features and labels."""
    rng = np.random.default_rng(seed)
    cells = rng.permutation(extent**3)[:count]
    return VoxelScene(
        grid=np.stack(np.unravel_index(cells, (extent,) * 3), axis=1),
        features=rng.standard_normal((count, 6)).astype(np.float32),
        segment=rng.integers(-1, 4, count),
        condition=condition,
    )


def one_batch(*scenes: VoxelScene) -> VoxelBatch:
    return collate_scenes(scenes)


def network(options: VoltOptions = SMALL, seed: int = 0) -> Volt:
    """A network whose every parameter and statistic matters."""
    model = Volt(options)
    shake(model, seed)
    return model.eval()


def shake(model: nn.Module, seed: int) -> None:
    """Give every tensor of a network random values; the variances stay positive."""
    generator = torch.Generator().manual_seed(seed)

    def drawn(one: Tensor, size: float) -> Tensor:
        return torch.randn(one.shape, generator=generator) * size

    with torch.no_grad():
        for name, one in model.state_dict().items():
            if name.endswith("running_var"):
                one.copy_(1 + drawn(one, 0.2).abs())
            elif one.is_floating_point():
                one.copy_(
                    drawn(one, one.shape[-1] ** -0.5)
                    if one.ndim > 1
                    else drawn(one, 0.2) + name.endswith(("weight", "gamma"))
                )


def room_sample(seed: int = 0, count: int = 400) -> Sample:
    """Points in a room with everything that a sample can have: four instances, the first of an ignored class."""
    rng = np.random.default_rng(seed)
    normal = rng.standard_normal((count, 3)).astype(np.float32)
    instance = rng.integers(-1, 4, count)
    return Sample(
        xyz=rng.uniform((1, 2, -0.5), (4, 5, 2), (count, 3)),
        color=rng.uniform(20, 200, (count, 3)).astype(np.float32),
        normal=normal / np.linalg.norm(normal, axis=1, keepdims=True),
        strength=rng.random(count, np.float32),
        segment=np.maximum(instance, 0) + 1,
        instance=instance,
    )

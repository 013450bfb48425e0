from __future__ import annotations

import numpy as np
import pytest
import torch

from recon3d.render.cameras import Cameras
from recon3d.render.gaussians import Gaussians, rasterize
from recon3d.splats.types import SplatInputs

SIZE = 48


def ring(n: int, size: int = SIZE, distance: float = 4.0) -> Cameras:
    """Cameras on an arc that look at the origin."""
    poses = np.tile(np.eye(4), (n, 1, 1))
    for i, angle in enumerate(np.linspace(-0.5, 0.5, n)):
        c, s = np.cos(angle), np.sin(angle)
        poses[i, :3, :3] = [[c, 0, s], [0, 1, 0], [-s, 0, c]]
        poses[i, 2, 3] = distance
    K = np.tile(np.array([[1.2 * size, 0, size / 2], [0, 1.2 * size, size / 2], [0, 0, 1.0]]), (n, 1, 1))
    sizes = np.full(n, size, np.int64)
    return Cameras(poses, K, sizes, sizes.copy())


def coloured_blobs(seed: int = 0, n: int = 60) -> Gaussians:
    """Opaque blobs of different sizes in the unit ball."""
    generator = torch.Generator().manual_seed(seed)
    means = torch.randn(n, 3, generator=generator) * 0.45
    quats = torch.randn(n, 4, generator=generator)
    log_scales = torch.log(0.08 + 0.12 * torch.rand(n, 3, generator=generator))
    sh = 1.4 * torch.randn(n, 1, 3, generator=generator)
    return Gaussians(means, quats, log_scales, torch.full((n,), 2.0), sh)


def photos(gaussians: Gaussians, cameras: Cameras) -> tuple[np.ndarray, ...]:
    with torch.no_grad():
        image = rasterize(gaussians, cameras, antialiased=True).image.clamp(0, 1).numpy()
    return tuple(np.rint(one * 255).astype(np.uint8) for one in image)


@pytest.fixture(scope="session")
def tiny() -> SplatInputs:
    """Nine exact photos of blobs, and their centres as points."""
    truth, cameras = coloured_blobs(), ring(9)
    rgb = np.clip((truth.sh[:, 0].numpy() * 0.282 + 0.5) * 255, 0, 255).astype(np.uint8)
    keys = tuple(f"{i}.png" for i in range(9))
    return SplatInputs(keys, photos(truth, cameras), cameras, truth.means.double().numpy(), rgb)

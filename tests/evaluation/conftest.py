"""A synthetic truth and the transformations that evaluation must or must not see."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from recon3d.evaluation import Estimate, Truth
from recon3d.render.cameras import Cameras


def make_truth(n: int = 8, *, line: bool = False, seed: int = 5) -> Truth:
    """Cameras with random orientations at random centres, or on one line."""
    rng = np.random.default_rng(seed)
    centers = np.linspace(0.0, 4.0, n)[:, None] * np.array([[1.0, 0.5, 0.2]]) if line else rng.normal(size=(n, 3))
    poses = np.tile(np.eye(4), (n, 1, 1))
    poses[:, :3, :3] = Rotation.random(n, rng=rng).as_matrix()
    poses[:, :3, 3] = -np.einsum("nij,nj->ni", poses[:, :3, :3], centers)
    K = np.tile(np.array([[800.0, 0.0, 320.0], [0.0, 802.0, 240.0], [0.0, 0.0, 1.0]]), (n, 1, 1))
    size = np.full(n, 640, np.int64), np.full(n, 480, np.int64)
    return Truth("synthetic", "metre", tuple(f"p{i}.jpg" for i in range(n)), Cameras(poses, K, *size), ("other.jpg",))


@pytest.fixture
def truth() -> Truth:
    return make_truth()


@pytest.fixture
def perfect(truth: Truth) -> Estimate:
    return Estimate(truth.names, truth.cameras)

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from recon3d.core.errors import UsageError
from recon3d.feedforward.da3.known_cameras import Similarity, align_cameras, in_known_world, normalised_poses
from recon3d.feedforward.da3.model import Da3Prediction
from recon3d.feedforward.pose_encoding import homogeneous, inverted

MOVE = Similarity(Rotation.from_rotvec([0.3, -0.8, 0.4]).as_matrix(), np.array([1.0, -2.0, 0.5]), 2.5)


def cameras(n: int, seed: int = 0) -> np.ndarray:
    """Random ``cam_from_world``."""
    random = np.random.default_rng(seed)
    poses = np.tile(np.eye(4), (n, 1, 1))
    poses[:, :3, :3] = Rotation.random(n, random_state=seed).as_matrix()
    poses[:, :3, 3] = random.normal(size=(n, 3))
    return poses


def off(found: Similarity, want: Similarity) -> float:
    parts = ((getattr(one, name) for one in (found, want)) for name in ("rotation", "translation", "scale"))
    return max(float(np.abs(a - b).max()) for a, b in parts)


@pytest.mark.parametrize("n", [3, 4, 20])
@pytest.mark.parametrize("robust", [True, False])
def test_a_moved_world_is_found(n: int, robust: bool) -> None:
    source = cameras(n)
    found = align_cameras(source, MOVE.cameras(source), robust=robust)
    assert off(found, MOVE) < 1e-9
    np.testing.assert_allclose(found.cameras(source), MOVE.cameras(source), atol=1e-9)


def test_moving_keeps_what_a_camera_sees() -> None:
    source, points = cameras(4), np.random.default_rng(1).normal(size=(5, 3))
    before = points @ source[:, :3, :3].transpose(0, 2, 1) + source[:, None, :3, 3]
    moved = MOVE.cameras(source)
    after = MOVE.points(points) @ moved[:, :3, :3].transpose(0, 2, 1) + moved[:, None, :3, 3]
    np.testing.assert_allclose(after, MOVE.scale * before, atol=1e-9)


def test_some_wrong_cameras_do_not_matter_among_many() -> None:
    source = cameras(20)
    target = MOVE.cameras(source)
    target[:5, :3, 3] += 20.0
    assert off(align_cameras(source, target), MOVE) < 1e-6
    assert off(align_cameras(source, target, robust=False), MOVE) > 0.1


def test_the_draw_follows_the_seed() -> None:
    source = cameras(12)
    target = MOVE.cameras(source)
    target[:, :3, 3] += np.random.default_rng(2).normal(scale=0.05, size=(12, 3))
    one, again = (align_cameras(source, target, seed=3) for _ in range(2))
    assert off(one, again) == 0.0


def test_cameras_in_one_place_have_no_scale() -> None:
    source = np.tile(np.eye(4), (4, 1, 1))
    with pytest.raises(UsageError, match="cameras in one place have no scale; got: 4 cameras"):
        align_cameras(source, source)


def poses(n: int, scale: float = 1.0) -> torch.Tensor:
    pose = torch.from_numpy(cameras(n))[None, :, :3]
    return torch.cat([pose[..., :3], scale * pose[..., 3:]], -1)


def test_the_first_camera_becomes_the_world_and_the_median_distance_one() -> None:
    found = normalised_poses(poses(5))
    assert torch.allclose(found[0, 0], torch.eye(3, 4, dtype=torch.float64), atol=1e-12)
    assert inverted(found)[0, :, :, 3].norm(dim=-1).median() == pytest.approx(1.0)


def test_the_unit_and_the_world_of_the_user_do_not_matter() -> None:
    user = torch.from_numpy(MOVE.cameras(cameras(5)))[None, :, :3]
    assert torch.allclose(normalised_poses(user), normalised_poses(poses(5)), atol=1e-9)


def test_cameras_close_together_stay_close_together() -> None:
    pose = poses(3, 1e-3)
    centres = inverted(pose)[0, :, :, 3]
    expected = (centres - centres[0]).norm(dim=-1) / 0.1
    assert torch.allclose(inverted(normalised_poses(pose))[0, :, :, 3].norm(dim=-1), expected, atol=1e-9)


def test_the_answer_comes_in_the_unit_of_the_user() -> None:
    """The network saw the world at 0.4 of its size: depth is divided by that."""
    known, K = poses(4), torch.eye(3, dtype=torch.float64).expand(1, 4, 3, 3)
    depth = torch.rand(1, 4, 2, 3, dtype=torch.float64)
    predicted = normalised_poses(known)
    unit = float(predicted[0, 1, :, 3].norm() / (known @ homogeneous(inverted(known[:, :1])))[0, 1, :, 3].norm())
    found = in_known_world(Da3Prediction(cam_from_world=predicted, K=K * 2, depth_z=depth * unit), known, K)
    assert torch.allclose(found.depth_z, depth, atol=1e-9)
    assert torch.equal(found.cam_from_world, known) and torch.equal(found.K, K)


def test_a_network_of_single_photos_cannot_be_compared() -> None:
    prediction = Da3Prediction(depth_z=torch.ones(1, 2, 2, 2))
    with pytest.raises(UsageError, match="single photos"):
        in_known_world(prediction, poses(2), torch.eye(3, dtype=torch.float64).expand(1, 2, 3, 3))

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st
from scipy.spatial.transform import Rotation

from recon3d.feedforward.pose_encoding import (
    decode_cameras,
    encode_cameras,
    homogeneous,
    inverted,
    matrix_from_quaternion,
    quaternion_from_matrix,
    unproject,
)

SIZE = (60, 80)
quaternions = st.tuples(*[st.floats(-1.0, 1.0)] * 4).filter(lambda q: sum(x * x for x in q) > 1e-4)


def rotations(n: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(Rotation.random(n, random_state=seed).as_matrix())


def intrinsics(fx: float = 70.0, fy: float = 65.0) -> torch.Tensor:
    return torch.tensor([[fx, 0, SIZE[1] / 2], [0, fy, SIZE[0] / 2], [0, 0, 1]], dtype=torch.float64)


def poses(n: int, seed: int = 0) -> torch.Tensor:
    translation = torch.randn(n, 3, 1, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return torch.cat([rotations(n, seed), translation], -1)


def test_quaternions_are_those_of_scipy() -> None:
    matrices = rotations(50)
    want = torch.from_numpy(Rotation.from_matrix(matrices.numpy()).as_quat())
    found = quaternion_from_matrix(matrices)
    assert torch.allclose(found, want * torch.sign(want[:, 3:]), atol=1e-12)


@given(quaternions, st.floats(0.01, 100))
def test_the_length_of_a_quaternion_does_not_matter(q: tuple[float, ...], length: float) -> None:
    quaternion = torch.tensor(q, dtype=torch.float64)
    matrix = matrix_from_quaternion(quaternion)
    assert torch.allclose(matrix, matrix_from_quaternion(length * quaternion), atol=1e-9)
    assert torch.allclose(matrix @ matrix.mT, torch.eye(3, dtype=torch.float64), atol=1e-9)
    assert torch.allclose(matrix_from_quaternion(quaternion_from_matrix(matrix)), matrix, atol=1e-9)


@pytest.mark.parametrize("axis", [[1, 0, 0], [0, 1, 0], [0, 0, 1], [0.6, 0.8, 0], [0.6, 0, 0.8], [0, -0.6, 0.8]])
def test_half_turns_survive(axis: list[float]) -> None:
    """The trace is -1 there, and a formula that divides by w fails."""
    matrix = torch.from_numpy(Rotation.from_rotvec(math.pi * np.array(axis)).as_matrix())
    assert torch.allclose(matrix_from_quaternion(quaternion_from_matrix(matrix)), matrix, atol=1e-9)


def test_cameras_come_back() -> None:
    pose, K = poses(6).reshape(2, 3, 3, 4), intrinsics().expand(2, 3, 3, 3)
    found_pose, found_K = decode_cameras(encode_cameras(pose, K, SIZE), SIZE)
    assert torch.allclose(found_pose, pose, atol=1e-9)
    assert torch.allclose(found_K, K, atol=1e-9)


def test_the_nine_numbers() -> None:
    pose = torch.eye(3, 4, dtype=torch.float64)
    pose[:, 3] = 2.0
    encoding = encode_cameras(pose, intrinsics(40, 30), SIZE)
    assert torch.allclose(encoding[:7], torch.tensor([2, 2, 2, 0, 0, 0, 1], dtype=torch.float64))
    assert encoding[7] == pytest.approx(math.pi / 2)  # vertical: 60 pixels, focal 30
    assert encoding[8] == pytest.approx(math.pi / 2)  # horizontal: 80 pixels, focal 40


def test_a_wide_view_has_a_short_focal_length() -> None:
    encoding = torch.tensor([0, 0, 0, 0, 0, 0, 1, math.pi / 2, 2 * math.atan(0.5)])
    _, K = decode_cameras(encoding, SIZE)
    assert torch.allclose(K.diagonal(), torch.tensor([80.0, 30.0, 1.0]), atol=1e-4)
    assert K[0, 2] == 40 and K[1, 2] == 30


def test_no_view_at_all_stays_finite() -> None:
    pose, K = decode_cameras(torch.tensor([0, 0, 0, 0, 0, 0, 1.0, 0, 0]), SIZE)
    assert torch.isfinite(K).all() and torch.isfinite(pose).all()


def test_inverses_and_fourth_rows() -> None:
    pose = poses(4)
    product = homogeneous(pose) @ homogeneous(inverted(pose))
    assert torch.allclose(product, torch.eye(4, dtype=torch.float64).expand(4, 4, 4), atol=1e-12)


@pytest.mark.parametrize("first", [0.0, 0.5])
def test_unprojected_points_project_to_their_pixels(first: float) -> None:
    pose, K = poses(2), torch.stack([intrinsics(), intrinsics(50, 90)])
    depth = torch.rand(2, 5, 7, generator=torch.Generator().manual_seed(1), dtype=torch.float64) + 0.5
    points = unproject(depth, K, pose, first_centre=first)
    in_camera = torch.einsum("nij,nhwj->nhwi", pose[:, :, :3], points) + pose[:, None, None, :, 3]
    pixels = torch.einsum("nij,nhwj->nhwi", K, in_camera / in_camera[..., 2:])
    assert torch.allclose(in_camera[..., 2], depth, atol=1e-9)
    assert torch.allclose(pixels[0, ..., 0], torch.arange(7, dtype=torch.float64).expand(5, 7) + first, atol=1e-9)
    assert torch.allclose(
        pixels[1, ..., 1], torch.arange(5, dtype=torch.float64)[:, None].expand(5, 7) + first, atol=1e-9
    )


def test_pixels_are_centred_as_everywhere_in_recon3d() -> None:
    """The middle of an image of even width lies between two pixels, on the optical axis."""
    depth, eye = torch.ones(2, 2, dtype=torch.float64), torch.eye(3, 4, dtype=torch.float64)
    K = torch.tensor([[2.0, 0, 1], [0, 2.0, 1], [0, 0, 1]], dtype=torch.float64)
    assert torch.allclose(unproject(depth, K, eye).mean((0, 1)), torch.tensor([0.0, 0, 1], dtype=torch.float64))


def test_decoding_is_differentiable() -> None:
    encoding = torch.tensor([0.1, 0.2, 0.3, 0.5, -0.4, 0.2, 0.7, 1.0, 1.2], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: decode_cameras(x, SIZE), (encoding,))
    assert torch.autograd.gradcheck(lambda x: encode_cameras(x, intrinsics(), SIZE), (poses(1)[0].requires_grad_(),))

"""The frame, the motions of cameras and the exposures: round trips, groups, and what must not matter."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st
from scipy.spatial.transform import Rotation

from recon3d.core.errors import UsageError
from recon3d.render.cameras import Cameras
from recon3d.render.gaussians import rasterize
from recon3d.splats.exposure import IDENTITY, centred, fit_affine, regularised
from recon3d.splats.frame import Frame, find_frame
from recon3d.splats.poses import moved

from .conftest import coloured_blobs, ring

POINTS = np.random.default_rng(0).normal(size=(300, 3)) * 0.4
seeds = st.integers(0, 10_000)


def similarity(scale: float, seed: int) -> np.ndarray:
    matrix, random = np.eye(4), np.random.default_rng(seed)
    matrix[:3, :3] = scale * Rotation.random(random_state=seed).as_matrix()
    matrix[:3, 3] = random.normal(size=3) * 10 * scale
    return matrix


@pytest.mark.parametrize("scale", [1e-3, 1.0, 400.0])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_frame_follows_the_world(scale: float, seed: int) -> None:
    to_new = similarity(scale, seed)
    xyz = POINTS @ to_new[:3, :3].T + to_new[:3, 3]
    old, new = find_frame(ring(7), POINTS), find_frame(ring(7).transformed(to_new), xyz)
    assert new.unit == pytest.approx(scale * old.unit, rel=1e-6) and new.near == pytest.approx(old.near, rel=1e-6)
    # The median per axis turns with the world only nearly.
    wanted = to_new[:3, :3] @ old.centre + to_new[:3, 3]
    assert np.linalg.norm(new.centre - wanted) < 0.2 * new.unit


def test_the_order_of_cameras_and_points_does_not_matter() -> None:
    one, other = find_frame(ring(7), POINTS), find_frame(ring(7)[::-1], POINTS[::-1])
    assert one.unit == other.unit and one.near == other.near
    np.testing.assert_allclose(one.centre, other.centre, atol=1e-12)


@pytest.mark.parametrize("n_points", [0, 3, 4])
def test_too_few_points_are_no_measure(n_points: int) -> None:
    frame = find_frame(ring(5), POINTS[:n_points])
    assert (frame.near == 0.02) == (n_points < 4)
    assert frame.unit > 0 and np.isfinite(frame.centre).all()


def test_points_behind_and_beside_the_cameras_do_not_count() -> None:
    behind = np.concatenate([POINTS, POINTS - np.array([0, 0, 50]), POINTS + np.array([90, 0, 0])])
    assert find_frame(ring(5), behind).unit == find_frame(ring(5), POINTS).unit


def test_a_scene_needs_a_camera() -> None:
    with pytest.raises(UsageError, match="at least one camera"):
        find_frame(ring(5)[:0], POINTS)


@given(st.floats(-1e3, 1e3), st.floats(1e-3, 1e3))
def test_into_the_frame_and_back(shift: float, unit: float) -> None:
    frame, blobs = Frame(np.array([shift, -shift, 2.0]), unit, 0.1), coloured_blobs(n=5)
    back = frame.points(frame.to_world(blobs).means.double().numpy())
    np.testing.assert_allclose(back, blobs.means, atol=1e-5 + 4e-7 * (2 + abs(shift)) / unit)
    local = frame.frame_from_world @ [shift + unit, -shift, 2.0, 1.0]
    np.testing.assert_allclose(local, [1, 0, 0, 1], atol=1e-6 + 1e-12 * abs(shift) / unit)


def test_the_picture_is_the_same_in_the_frame_and_in_the_world() -> None:
    frame, blobs = Frame(np.array([30.0, -4.0, 7.0]), 25.0, 0.1), coloured_blobs()
    world_from_frame = np.linalg.inv(frame.frame_from_world)
    with torch.no_grad():
        inside = rasterize(blobs, ring(2)).image
        outside = rasterize(frame.to_world(blobs), ring(2).transformed(world_from_frame)).image
    assert (inside - outside).abs().max() < 2e-3 and inside.max() > 0.2


@given(seeds)
def test_a_motion_is_the_exponential_of_its_rotation_vector(seed: int) -> None:
    random = np.random.default_rng(seed)
    delta, pose = random.normal(size=6), similarity(1.0, seed)
    found = moved(torch.tensor(pose), torch.tensor(delta)).numpy()
    wanted = np.eye(4)
    wanted[:3, :3], wanted[:3, 3] = Rotation.from_rotvec(delta[:3]).as_matrix(), delta[3:]
    np.testing.assert_allclose(found, wanted @ pose, atol=1e-10)


@given(seeds)
def test_a_rotation_and_its_opposite_cancel(seed: int) -> None:
    delta = torch.tensor(np.random.default_rng(seed).normal(size=6))
    delta[3:] = 0
    pose = torch.tensor(similarity(1.0, seed))
    assert torch.allclose(moved(moved(pose, delta), -delta), pose, atol=1e-10)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("angle", [0.0, 9.9e-5, 1.01e-4, 1e-3])
def test_small_and_large_angles_meet_without_a_step(angle: float, dtype: torch.dtype) -> None:
    delta = torch.tensor([angle, 0, 0, 0, 0, 0], dtype=dtype)
    found = moved(torch.eye(4, dtype=dtype), delta)
    assert found[2, 1].item() == pytest.approx(np.sin(angle), rel=1e-6, abs=1e-12)
    assert found[1, 1].item() == pytest.approx(np.cos(angle), abs=1e-7 if dtype == torch.float32 else 1e-14)


@given(seeds)
def test_colours_are_fitted_like_the_normal_equations_say(seed: int) -> None:
    random = np.random.default_rng(seed)
    rendered, photo = random.random((40, 3)), random.random((40, 3))
    design = np.concatenate([rendered, np.ones((40, 1))], 1)
    wanted = np.linalg.lstsq(design, photo, rcond=None)[0].T
    np.testing.assert_allclose(fit_affine(rendered, photo, ridge=0.0), wanted, atol=1e-8)
    residual = [((design @ c.T - photo) ** 2).sum() for c in (fit_affine(rendered, photo), IDENTITY)]
    assert residual[0] <= residual[1]


@pytest.mark.parametrize("ridge", [1.0, 1e3, 1e6])
def test_a_strong_pull_leaves_the_colours_alone(ridge: float) -> None:
    random = np.random.default_rng(0)
    off = np.abs(fit_affine(random.random((99, 3)), random.random((99, 3)), ridge) - IDENTITY).max()
    assert off < 2 / ridge


def test_no_pixels_mean_no_colour_change() -> None:
    np.testing.assert_allclose(fit_affine(np.zeros((0, 3)), np.zeros((0, 3))), IDENTITY)


@given(st.integers(1, 9))
def test_centring_twice_changes_nothing_more(n: int) -> None:
    colours = torch.randn(n, 3, 4, generator=torch.Generator().manual_seed(n))
    once = centred(colours)
    assert torch.allclose(centred(once), once, atol=1e-5)
    assert torch.allclose(once.mean(0), torch.eye(3, 4), atol=1e-5)


def test_the_pull_is_the_derivative_of_half_the_squared_distance() -> None:
    colour = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    (1.5 / 2 * ((colour - torch.eye(3, 4)) ** 2).sum()).backward()  # type: ignore[no-untyped-call]
    grad = torch.randn(3, 4, dtype=torch.float64)
    assert colour.grad is not None
    assert torch.allclose(regularised(grad, colour.detach(), 1.5), grad + colour.grad)


def test_distorted_cameras_are_seen_as_their_pinhole_twins() -> None:
    bent = replace(ring(5), distortion=np.full((5, 4), 0.1))
    assert isinstance(bent, Cameras) and find_frame(bent, POINTS).unit == find_frame(ring(5), POINTS).unit

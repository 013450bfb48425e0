"""Depth of splats on bodies with exact truth: what each kind means, sigma by its formula, and what must not matter."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from depth_truth import cameras_at, look_at
from hypothesis import given, strategies as st
from scipy.spatial.transform import Rotation
from scipy.special import erfinv

from recon3d.core.errors import ShapeError, UsageError
from recon3d.dense.splat_depth import SplatDepthOptions, splat_depth, splat_depth_of
from recon3d.dense.types import DepthMap
from recon3d.formats.quaternions import quaternion_from_rotation
from recon3d.render.cameras import Cameras
from recon3d.render.gaussians import Gaussians

SIZE = 48


def camera(size: int = SIZE) -> Cameras:
    K = np.array([[[45.0 * size / 48, 0, size / 2], [0, 45.0 * size / 48, size / 2], [0, 0, 1]]])
    return Cameras(np.eye(4)[None], K, np.array([size]), np.array([size]))


def layer(z: float, logit: float = 8.0, half: float = 4.0) -> Gaussians:
    """Flat Gaussians on the plane z = const."""
    axis = torch.linspace(-half, half, 45)
    x, y = (one.reshape(-1) for one in torch.meshgrid(axis, axis, indexing="ij"))
    means = torch.stack([x, y, torch.full_like(x, z)], -1)
    scales = torch.tensor([0.14, 0.14, 0.001]).log().expand(len(x), 3).clone()
    quats = torch.tensor([[1.0, 0, 0, 0]]).repeat(len(x), 1)
    return Gaussians(means, quats, scales, torch.full((len(x),), logit), torch.zeros(len(x), 1, 3))


def ball(n: int = 3000) -> Gaussians:
    """Discs on the unit sphere."""
    z = 1 - 2 * (np.arange(n) + 0.5) / n
    angle = np.pi * (3 - np.sqrt(5)) * np.arange(n)
    normal = np.stack([np.sqrt(1 - z * z) * np.cos(angle), np.sqrt(1 - z * z) * np.sin(angle), z], -1)
    helper = np.where(np.abs(normal[:, :1]) < 0.9, [[1.0, 0, 0]], [[0.0, 1, 0]])
    x = np.cross(helper, normal)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    quats = quaternion_from_rotation(np.stack([x, np.cross(normal, x), normal], 2))
    scales = torch.tensor([0.05, 0.05, 0.001]).log().expand(n, 3).clone()
    means = torch.tensor(normal, dtype=torch.float32)
    return Gaussians(
        means, torch.tensor(quats, dtype=torch.float32), scales, torch.full((n,), 6.0), torch.zeros(n, 1, 3)
    )


def join(*parts: Gaussians) -> Gaussians:
    names = ("means", "quats", "log_scales", "opacity_logits", "sh")
    return Gaussians(*(torch.cat([getattr(part, name) for part in parts]) for name in names))


def inner(values: np.ndarray) -> np.ndarray:
    return values[6:-6, 6:-6]


@pytest.mark.parametrize("eye", [(3.0, 0, 0.5), (-1, 2.5, 1), (0.2, -1, -3)])
def test_a_ball_of_discs_has_the_depth_of_a_sphere(eye: tuple[float, ...]) -> None:
    cameras = cameras_at([look_at(eye)], 64)
    found = splat_depth_of(ball(), cameras)
    x = (np.arange(64) + 0.5 - 32) / cameras.K[0, 0, 0]
    rays = np.stack([*np.meshgrid(x, x), np.ones((64, 64))], -1)
    d = np.linalg.norm(eye)
    a, b = (rays**2).sum(-1), -d  # the centre lies at (0, 0, d) of the camera
    root = b * b - a * (d * d - 1)
    truth = np.where(root > 0, (d - np.sqrt(np.maximum(root, 0))) / a, 0)
    well_inside = (root > 0.5) & (found.depth_z > 0)
    assert well_inside.sum() > 300
    assert np.median(np.abs(found.depth_z - truth)[well_inside]) < 0.006
    assert np.quantile(np.abs(found.depth_z - truth)[well_inside], 0.95) < 0.02
    assert (found.depth_z[root < -0.5] == 0).all()


@pytest.mark.parametrize("kind", ["surface", "median", "expected"])
@pytest.mark.parametrize("z", [0.5, 3.0, 40.0])
def test_one_wall_has_one_depth_of_any_kind(kind: str, z: float) -> None:
    wall = layer(z, half=1.4 * z)
    wall = replace(wall, log_scales=wall.log_scales + np.log(z / 3))
    found = splat_depth_of(wall, camera(), SplatDepthOptions(kind=kind))  # type: ignore[arg-type]
    np.testing.assert_allclose(inner(found.depth_z), z, rtol=2e-3)


def test_the_median_jumps_where_half_of_the_light_is_gone() -> None:
    """Behind a layer that lets through more than half the median is the wall; expected lies between them."""
    for logit, wanted in ((-2.5, 5.0), (8.0, 4.0)):
        both, options = join(layer(4.0, logit), layer(5.0)), SplatDepthOptions(min_agreement=0.0)
        median = splat_depth_of(both, camera(), replace(options, kind="median"))
        expected = splat_depth_of(both, camera(), replace(options, kind="expected"))
        assert np.median(inner(median.depth_z)) == pytest.approx(wanted, rel=1e-3)
        assert (inner(expected.depth_z) > 3.99).all() and (inner(expected.depth_z) < 5.01).all()


@pytest.mark.parametrize("window", [0.01, 0.05, 0.2])
def test_sigma_of_a_clean_wall_is_the_window_over_its_quantile(window: float) -> None:
    found = splat_depth_of(layer(4.0), camera(), SplatDepthOptions(window=window))
    most = 4 * window / (np.sqrt(2) * erfinv(0.999))  # no more than 99.9 % is ever believed
    assert np.median(inner(found.sigma)) == pytest.approx(most, rel=0.02)


@pytest.mark.parametrize("least", [0.0, 0.3, 0.6, 0.9])
def test_less_agreement_than_asked_for_is_no_depth(least: float) -> None:
    both = join(layer(2.0, -1.8), layer(4.0))
    usual = splat_depth_of(both, camera(), SplatDepthOptions(min_agreement=0.0))
    found = splat_depth_of(both, camera(), SplatDepthOptions(min_agreement=least))
    gone = found.depth_z == 0
    limit = 0.05 / (np.sqrt(2) * erfinv(max(least, 1e-6)))
    assert (gone == (usual.sigma > usual.depth_z * limit * (1 + 1e-4))).mean() > 0.999
    assert (found.depth_z[~gone] == usual.depth_z[~gone]).all()


@pytest.mark.parametrize("min_alpha", [0.5, 0.95])
def test_pixels_must_be_opaque_enough(min_alpha: float) -> None:
    found = [
        splat_depth_of(layer(3.0, logit), camera(), SplatDepthOptions(min_alpha=min_alpha)).coverage
        for logit in (-3.9, -1.0, 8.0)
    ]
    assert found == sorted(found) and found[-1] == 1.0
    assert found[0] == 0  # where less than half of the light is stopped there is no median


@pytest.mark.parametrize("scale", [0.02, 1.0, 300.0])
@pytest.mark.parametrize("seed", [0, 1])
def test_depth_and_sigma_follow_the_world(scale: float, seed: int) -> None:
    turn, shift = Rotation.random(random_state=seed).as_matrix(), np.array([1.0, -2, 3]) * scale
    to_new = np.eye(4)
    to_new[:3, :3], to_new[:3, 3] = scale * turn, shift
    cameras = cameras_at([look_at((3, 0, 0.5))], SIZE)
    old = ball(1500)
    axes = Rotation.from_quat(np.roll(old.quats.double().numpy(), -1, 1)).as_matrix()
    new = Gaussians(
        torch.tensor(old.means.double().numpy() @ to_new[:3, :3].T + shift, dtype=torch.float32),
        torch.tensor(quaternion_from_rotation(turn @ axes), dtype=torch.float32),
        old.log_scales + float(np.log(scale)),
        old.opacity_logits,
        old.sh,
    )
    options = SplatDepthOptions()
    one, other = splat_depth_of(old, cameras, options), splat_depth_of(new, cameras.transformed(to_new), options)
    both = (one.depth_z > 0) & (other.depth_z > 0)
    assert both.sum() > 300 and ((one.depth_z > 0) == (other.depth_z > 0)).mean() > 0.99
    assert np.quantile(np.abs(other.depth_z[both] / scale / one.depth_z[both] - 1), 0.98) < 3e-3
    assert np.median(other.sigma[both] / one.sigma[both]) == pytest.approx(scale, rel=0.02)


def test_the_order_of_gaussians_does_not_matter() -> None:
    body = ball(1500)
    cameras = cameras_at([look_at((3, 0, 0.5))], SIZE)
    order = torch.randperm(1500, generator=torch.Generator().manual_seed(0))
    one, other = splat_depth_of(body, cameras), splat_depth_of(body[order], cameras)
    np.testing.assert_allclose(one.depth_z, other.depth_z, rtol=1e-4)


@pytest.mark.parametrize("scale", [0.25, 0.5, 1.0])
def test_smaller_maps_show_the_same_wall(scale: float) -> None:
    found = splat_depth(layer(3.0), camera(), SplatDepthOptions(scale=scale))[0]
    assert found.depth_z.shape == (round(SIZE * scale),) * 2
    np.testing.assert_allclose(found.depth_z[2:-2, 2:-2], 3.0, rtol=2e-3)


def test_many_cameras_are_each_for_itself() -> None:
    cameras = cameras_at([look_at((3, 0, 0.5)), look_at((0, 3, 0)), look_at((0, -2, 2))], 32)
    together = splat_depth(ball(800), cameras)
    for i, one in enumerate(together):
        alone = splat_depth_of(ball(800), cameras[i : i + 1])
        assert one.depth_z.tobytes() == alone.depth_z.tobytes() and one.sigma.tobytes() == alone.sigma.tobytes()


@pytest.mark.parametrize("antialiased", [False, True])
def test_there_is_a_sigma_exactly_where_there_is_a_depth(antialiased: bool) -> None:
    found = splat_depth_of(join(layer(3.0, 0.5, half=0.8), layer(5.0, -1.0)), camera(), antialiased=antialiased)
    assert ((found.sigma > 0) == (found.depth_z > 0)).all() and 0 < found.coverage <= 1
    assert np.isfinite(found.sigma).all() and found.normal_cam is None


@given(st.sampled_from(["min_alpha", "window", "min_agreement", "scale"]), st.sampled_from([-0.1, 1.1, float("nan")]))
def test_shares_outside_0_to_1_are_refused(name: str, value: float) -> None:
    with pytest.raises(UsageError, match=name):
        SplatDepthOptions(**{name: value})  # type: ignore[arg-type]


@pytest.mark.usefixtures("without_shape_checks")
@pytest.mark.parametrize("wrong", ["sigma", "normal_cam"])
def test_the_parts_of_a_depth_map_have_one_size(wrong: str) -> None:
    parts = {
        "depth_z": np.zeros((4, 5), np.float32),
        "sigma": np.zeros((4, 5), np.float32),
        "normal_cam": np.zeros((4, 5, 3), np.float32),
    }
    assert DepthMap(**parts).coverage == 0
    parts[wrong] = parts[wrong][:-1]
    with pytest.raises(ShapeError, match=wrong):
        DepthMap(**parts)


def test_coverage_is_the_share_of_pixels_with_a_depth() -> None:
    depth = np.array([[0.0, 1.0, 2.0, -1.0]], np.float32)
    assert DepthMap(depth, depth * 0).coverage == 0.5
    assert DepthMap(depth[:0], depth[:0]).coverage == 0.0

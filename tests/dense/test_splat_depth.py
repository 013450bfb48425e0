"""Depth of splats: planes of flat Gaussians whose depth is known at every pixel."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import erfinv

from recon3d.core.errors import UsageError
from recon3d.dense.splat_depth import SplatDepthOptions, splat_depth, splat_depth_of
from recon3d.render.cameras import Cameras
from recon3d.render.gaussians import Gaussians, rasterize

SIZE = 64


def camera(width: int = SIZE, height: int = SIZE) -> Cameras:
    K = np.array([[[60.0, 0, width / 2], [0, 60.0, height / 2], [0, 0, 1]]])
    return Cameras(np.eye(4)[None], K, np.array([width]), np.array([height]))


def plane(tilt: float, distance: float = 4.0, opacity: float = 8.0, flat: float = 0.002) -> Gaussians:
    """Flat Gaussians on the plane z = distance + tilt x, in front of a camera at the origin."""
    u, v = torch.meshgrid(torch.linspace(-4, 4, 60), torch.linspace(-4, 4, 60), indexing="ij")
    angle = -np.arctan(tilt)
    x, y = u.reshape(-1) * np.cos(angle), v.reshape(-1)
    means = torch.stack([x, y, distance + tilt * x], -1).float()
    quats = torch.tensor([np.cos(angle / 2), 0, np.sin(angle / 2), 0]).float().expand(len(means), 4)
    scales = torch.tensor([0.1, 0.1, flat]).log().float().expand(len(means), 3)
    sh = torch.zeros(len(means), 1, 3)
    return Gaussians(means, quats.clone(), scales.clone(), torch.full((len(means),), opacity), sh)


def true_depth(tilt: float, distance: float = 4.0) -> np.ndarray:
    x = (np.arange(SIZE) + 0.5 - SIZE / 2) / 60.0
    return np.broadcast_to(distance / (1 - tilt * x), (SIZE, SIZE))


def middle(values: np.ndarray) -> np.ndarray:
    return values[8:-8, 8:-8]


@pytest.mark.parametrize("backend", ["torch", "auto"])
@pytest.mark.parametrize("tilt", [0.0, 0.7, -0.8])
def test_slanted_planes_are_exact_between_the_centres(tilt: float, backend: str) -> None:
    depth = splat_depth_of(plane(tilt), camera(), backend=backend)  # type: ignore[arg-type]
    error = middle(depth.depth_z) / middle(true_depth(tilt)) - 1
    assert np.abs(error).max() < 2e-3
    assert np.abs(error).mean() < 5e-4


def test_the_median_alone_is_coarser() -> None:
    exact = splat_depth_of(plane(1.0), camera())
    median = splat_depth_of(plane(1.0), camera(), SplatDepthOptions(kind="median"))
    error = [np.abs(middle(one.depth_z) - middle(true_depth(1.0))).mean() for one in (exact, median)]
    assert error[0] < 0.2 * error[1]


def join(*parts: Gaussians) -> Gaussians:
    names = ("means", "quats", "log_scales", "opacity_logits", "sh")
    return Gaussians(*(torch.cat([getattr(part, name) for part in parts]) for name in names))


def test_sigma_follows_from_the_light_that_fog_in_front_lets_through() -> None:
    wall = plane(0.0, 4.0, opacity=8.0)
    sigmas = [middle(splat_depth_of(wall, camera()).sigma).mean()]
    for fog in (-5.0, -4.0, -3.0):
        front = plane(0.0, 2.0, opacity=fog)
        depth = splat_depth_of(join(front, wall), camera(), SplatDepthOptions(min_agreement=0.0))
        np.testing.assert_allclose(middle(depth.depth_z), 4.0, rtol=2e-3)
        through = 1 - rasterize(front, camera()).alpha[0].numpy()
        np.testing.assert_allclose(middle(depth.sigma), 4 * 0.05 / (np.sqrt(2) * erfinv(middle(through))), rtol=0.03)
        sigmas.append(middle(depth.sigma).mean())
    assert sigmas[0] < 0.02 * 4
    assert sigmas == sorted(sigmas)


def test_light_from_two_walls_is_no_surface() -> None:
    """Where as much light comes from elsewhere, the median is the wall behind and sigma says that it may be wrong."""
    both = join(plane(0.0, 4.0, opacity=-1.2), plane(0.0, 5.0, opacity=8.0))
    depth = splat_depth_of(both, camera(), SplatDepthOptions(min_agreement=0.0))
    assert (np.isclose(middle(depth.depth_z), 4.0, rtol=1e-3) | np.isclose(middle(depth.depth_z), 5.0, rtol=1e-3)).all()
    mean = splat_depth_of(both, camera(), SplatDepthOptions(kind="expected", min_agreement=0.0))
    assert ((middle(mean.depth_z) > 4.1) & (middle(mean.depth_z) < 4.95)).mean() > 0.9
    agreed = splat_depth_of(both, camera(), SplatDepthOptions(min_agreement=0.99))
    assert middle(agreed.depth_z).mean() < middle(depth.depth_z).mean()


def test_what_is_transparent_or_behind_has_no_depth() -> None:
    behind = plane(0.0, -4.0)
    assert (splat_depth_of(behind, camera()).depth_z == 0).all()
    faint = plane(0.0, opacity=-5.0)
    depth = splat_depth_of(faint, camera())
    assert (depth.depth_z == 0).all()
    assert (depth.sigma == 0).all()
    assert splat_depth_of(plane(0.0)[:0], camera()).coverage == 0


def test_sizes_follow_the_cameras() -> None:
    maps = splat_depth(plane(0.0), camera(), SplatDepthOptions(scale=0.5))
    assert maps[0].depth_z.shape == (SIZE // 2, SIZE // 2)
    assert maps[0].coverage == 1
    assert splat_depth_of(plane(0.3), camera(80, 40)).depth_z.shape == (40, 80)
    assert splat_depth(plane(0.0), camera()[:0]) == []


def test_options_are_checked() -> None:
    with pytest.raises(UsageError, match="min_alpha"):
        SplatDepthOptions(min_alpha=2.0)

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from true_network import HEIGHT, WIDTH, TrueNetwork, photos

from recon3d.feedforward.engine import ViewEstimates, estimate_views
from recon3d.feedforward.engine.surface import MAX_POINTS, confirmed, depth_difference, surface_points
from recon3d.render.cameras import Cameras


def views(n: int = 3, *, noise: tuple[float, float] = (0.0, 0.0)) -> ViewEstimates:
    return estimate_views(TrueNetwork(noise), photos(n), size=WIDTH)


def cameras(found: ViewEstimates, factor: int = 1) -> Cameras:
    """Cameras of photos that are larger than the network's images."""
    n = len(found)
    K = found.K * np.array([factor, factor, 1.0])[:, None]
    return Cameras(found.cam_from_world, K, np.full(n, WIDTH * factor), np.full(n, HEIGHT * factor))


def placed(found: ViewEstimates, factor: int) -> ViewEstimates:
    places = tuple(one._replace(scale_x=1 / factor, scale_y=1 / factor) for one in found.placements)
    return replace(found, placements=places)


def test_points_lie_on_the_surface_and_have_its_colours() -> None:
    found = views()
    red = [np.full((HEIGHT, WIDTH, 3), (250, 10, 10), np.uint8)] * 3
    points = surface_points(found, cameras(found), red)
    assert 500 < len(points) <= MAX_POINTS
    assert np.abs(points.xyz[:, 2] - 3.0 - 0.2 * points.xyz[:, 0]).max() < 0.02
    assert (points.rgb == (250, 10, 10)).all() and (points.sigma > 0).all()


def test_every_point_is_seen_by_two_photos_at_its_own_pixels() -> None:
    found = placed(views(), 4)
    given = cameras(found, 4)
    points = surface_points(found, given, photos(3, 20, 30))
    assert points.track_length.min() >= 2 and points.mean_error_px < 0.5
    pixels, depth = given.project(points.xyz[points.obs_point], points.obs_view.astype(np.int64))
    assert (depth > 0).all() and np.abs(pixels - points.obs_xy).max() < 3.0
    assert (np.diff(points.obs_point) >= 0).all()


def test_errors_grow_where_photos_disagree() -> None:
    exact, noisy = (views(noise=(level, level)) for level in (0.0, 0.03))
    small, large = (surface_points(one, cameras(one), photos(3)).mean_error_px for one in (exact, noisy))
    assert large > 5 * small and depth_difference(noisy) > 5 * depth_difference(exact)


def test_one_photo_gives_its_own_points() -> None:
    found = views(1)
    points = surface_points(found, cameras(found), photos(1))
    assert len(points) > 500 and (points.track_length == 1).all() and points.mean_error_px < 1e-3
    assert np.isnan(depth_difference(found))


def test_a_surface_that_floats_in_front_of_what_others_see_is_denied() -> None:
    found = views()
    depth = found.depth_z.copy()
    depth[1, 10:20, 20:30] *= 0.5
    kept = confirmed(replace(found, depth_z=depth)).valid
    assert kept[1, 11:19, 21:29].mean() < 0.05 and kept[1, 25:, :].mean() > 0.95
    # The hole in the middle view does not count against those that see past it.
    assert kept[0].mean() > 0.9 and kept[2].mean() > 0.9


@pytest.mark.parametrize("row", [0, 2])
def test_photos_without_depth_give_nothing(row: int) -> None:
    found = views()
    valid = found.valid.copy()
    valid[row] = False
    points = surface_points(replace(found, valid=valid), cameras(found), photos(3))
    assert len(points) and not (points.obs_view == row).any()

"""Multi-view stereo on a scene with exact depth, and on photos that hold none."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
import pytest
from stereo_scene import BallAndWall

from recon3d.core.errors import ShapeError, UsageError
from recon3d.core.kernels import threads
from recon3d.core.progress import Progress, Stage
from recon3d.dense.stereo import estimate_depth, stereo_cameras
from recon3d.dense.stereo_options import StereoOptions
from recon3d.dense.types import DepthMap

DEFAULT = StereoOptions()
MIDDLE = 2
LARGE = BallAndWall(width=160, height=128)


@lru_cache(maxsize=8)
def solve(scene: BallAndWall, options: StereoOptions = DEFAULT) -> tuple[DepthMap, ...]:
    return tuple(estimate_depth(scene.photos(), scene.cameras(), scene.points(), options))


def relative_error(found: DepthMap, scene: BallAndWall, view: int) -> np.ndarray:
    has = found.depth_z > 0
    return np.abs(found.depth_z[has] / scene.depth(view)[has] - 1)


@pytest.mark.parametrize("scene", [BallAndWall(), LARGE], ids=["one scale", "two scales"])
def test_depth_is_accurate_and_mostly_there(scene: BallAndWall) -> None:
    found = solve(scene)[MIDDLE]
    error = relative_error(found, scene, MIDDLE)
    assert found.coverage > 0.75
    assert np.median(error) < 0.002
    assert (error < 0.02).mean() > 0.97


def test_normals_follow_the_surface() -> None:
    found = solve(LARGE)[MIDDLE]
    has = found.depth_z > 0
    assert found.normal_cam is not None
    cosine = (found.normal_cam[has] * LARGE.normals(MIDDLE)[has]).sum(-1)
    assert np.degrees(np.median(np.arccos(np.clip(cosine, -1, 1)))) < 6
    np.testing.assert_allclose(np.linalg.norm(found.normal_cam[has], axis=1), 1, atol=1e-5)
    assert (found.normal_cam[~has] == 0).all()


def test_wall_beside_the_ball_is_not_pulled_forward() -> None:
    found, depth = solve(LARGE)[MIDDLE], LARGE.depth(MIDDLE)
    ball = depth < BallAndWall(width=160, height=128, wall_only=True).depth(MIDDLE) - 0.1
    wall = ~ball & (found.depth_z > 0)
    assert (found.depth_z[wall] < depth[wall] * 0.95).mean() < 0.02


def test_sigma_is_about_one_standard_deviation() -> None:
    scene = replace(LARGE, noise=8.0)
    scores = []
    for view, found in enumerate(solve(scene)):
        has = found.depth_z > 0
        assert (found.sigma[has] > 0).all() and (found.sigma[~has] == 0).all()
        scores.append(np.abs(found.depth_z[has] - scene.depth(view)[has]) / found.sigma[has])
    share = (np.concatenate(scores) < 1).mean()
    assert 0.5 < share < 0.95


def test_noise_makes_sigma_larger() -> None:
    clean, noisy = solve(LARGE)[MIDDLE], solve(replace(LARGE, noise=8.0))[MIDDLE]
    assert np.median(noisy.sigma[noisy.depth_z > 0]) > 1.2 * np.median(clean.sigma[clean.depth_z > 0])


@pytest.mark.parametrize("n_threads", [2, 5])
def test_bits_do_not_depend_on_threads(n_threads: int) -> None:
    scene = BallAndWall()
    with threads(1):
        one = estimate_depth(scene.photos(), scene.cameras(), scene.points())
    with threads(n_threads):
        many = estimate_depth(scene.photos(), scene.cameras(), scene.points())
    for a, b in zip(one, many, strict=True):
        assert a.depth_z.tobytes() == b.depth_z.tobytes()
        assert a.sigma.tobytes() == b.sigma.tobytes()
        assert a.normal_cam is not None and b.normal_cam is not None
        assert a.normal_cam.tobytes() == b.normal_cam.tobytes()


def test_seed_changes_guesses_but_not_the_surface() -> None:
    scene = BallAndWall()
    first, second = solve(scene)[MIDDLE], solve(scene, StereoOptions(seed=1))[MIDDLE]
    both = (first.depth_z > 0) & (second.depth_z > 0)
    assert (first.depth_z != second.depth_z).any()
    assert np.median(np.abs(first.depth_z[both] / second.depth_z[both] - 1)) < 0.002


@pytest.mark.parametrize("noise", [0.0, 0.7])
def test_flat_grey_gives_no_depth(noise: float) -> None:
    found = solve(BallAndWall(contrast=0.0, noise=noise))
    assert max(depth_map.coverage for depth_map in found) < 0.002


def test_depth_stays_in_the_range_of_the_points() -> None:
    scene = BallAndWall()
    points = scene.points()
    for view, depth_map in enumerate(solve(scene, StereoOptions(depth_margin=1.0))):
        seen = np.unique(points.obs_point[points.obs_view == view])
        z = scene.cameras().project(points.xyz[seen], np.full(len(seen), view))[1]
        found = depth_map.depth_z[depth_map.depth_z > 0]
        assert found.min() > 0.97 * z.min() and found.max() < 1.03 * z.max()


def test_two_photos_are_enough() -> None:
    scene = BallAndWall(n_views=2)
    for view, found in enumerate(solve(scene)):
        assert found.coverage > 0.5
        assert np.median(relative_error(found, scene, view)) < 0.005


def test_photo_without_neighbours_is_empty() -> None:
    scene = BallAndWall(n_views=3)
    points = scene.points()
    lonely = points.obs_view != 2
    points = replace(
        points, obs_point=points.obs_point[lonely], obs_view=points.obs_view[lonely], obs_xy=points.obs_xy[lonely]
    )
    found = estimate_depth(scene.photos(), scene.cameras(), points)
    assert found[2].depth_z.shape == (72, 96) and found[2].coverage == 0
    assert found[0].coverage > 0.5


def test_no_photos_and_no_points() -> None:
    scene = BallAndWall(n_views=2)
    nothing = scene.points(0)
    assert [m.coverage for m in estimate_depth(scene.photos(), scene.cameras(), nothing)] == [0, 0]
    assert estimate_depth([], scene.cameras()[:0], nothing) == []


def test_masked_pixels_stay_empty() -> None:
    scene = BallAndWall()
    mask = np.ones((72, 96), bool)
    mask[:, :40] = False
    found = estimate_depth(scene.photos(), scene.cameras(), scene.points(), masks=[None, None, mask, None, None])
    assert (found[2].depth_z[:, :40] == 0).all()
    assert (found[2].depth_z[:, 40:] > 0).mean() > 0.7


def test_masks_hold_at_every_scale() -> None:
    mask = np.random.default_rng(0).random((128, 160)) < 0.8
    found = estimate_depth(LARGE.photos(), LARGE.cameras(), LARGE.points(), masks=[None, None, mask, None, None])
    assert (found[MIDDLE].depth_z[~mask] == 0).all()
    assert (found[MIDDLE].depth_z[mask] > 0).mean() > 0.6


def test_large_photos_are_reduced() -> None:
    options = StereoOptions(max_image_size=120)
    found = solve(LARGE, options)[MIDDLE]
    camera = stereo_cameras(LARGE.cameras(), options)
    assert found.depth_z.shape == (96, 120) == (camera.height[0], camera.width[0])
    small = BallAndWall(width=120, height=96)
    has = found.depth_z > 0
    assert found.coverage > 0.7
    assert np.median(np.abs(found.depth_z[has] / small.depth(MIDDLE)[has] - 1)) < 0.005


class Counter(Progress, Stage):
    def __init__(self) -> None:
        self.done, self.totals = 0, list[int | None]()

    @contextmanager
    def stage(self, name: str, total: int | None = None) -> Iterator[Stage]:
        self.totals.append(total)
        yield self

    def advance(self, n: int = 1) -> None:
        self.done += n


def test_progress_counts_every_round() -> None:
    scene, counter = BallAndWall(n_views=2), Counter()
    estimate_depth(scene.photos(), scene.cameras(), scene.points(), progress=counter)
    assert counter.totals == [6] and counter.done == 6


def test_photos_that_do_not_fit_their_cameras_are_refused() -> None:
    scene = BallAndWall(n_views=2)
    photos = scene.photos()
    with pytest.raises(ShapeError, match="photos and cameras"):
        estimate_depth(photos[:1], scene.cameras(), scene.points())
    with pytest.raises(ShapeError, match="masks and cameras"):
        estimate_depth(photos, scene.cameras(), scene.points(), masks=[None])
    with pytest.raises(ShapeError, match="masks and cameras"):
        estimate_depth(photos, scene.cameras(), scene.points(), masks=[None, np.ones((5, 5), bool)])


@pytest.mark.parametrize("wrong", [{"n_sources": 0}, {"n_sources": 33}, {"n_best": 0}, {"depth_margin": 0.9}])
def test_impossible_options_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(wrong))):
        replace(StereoOptions(), **wrong)

"""Frames for people: what is painted, from one Gaussian whose picture is known."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from recon3d.core.errors import UsageError
from recon3d.render.cameras import Cameras
from recon3d.render.colormap import NO_VALUE, colour_table
from recon3d.render.gaussians.types import Gaussians
from recon3d.render.trajectories import framed, look_at
from recon3d.render.views import (
    Quantity,
    ViewOptions,
    normals_from_depth,
    path_depth_range,
    render_views,
    to_srgb8,
    turntable,
)

SH0 = 0.28209479177387814
SIZE = (32, 24)


def splats(xyz: list[list[float]], rgb: list[list[float]], scale: float = 0.5, opacity: float = 8.0) -> Gaussians:
    n = len(xyz)
    return Gaussians(
        torch.tensor(xyz).reshape(n, 3),
        torch.tensor([[1.0, 0, 0, 0]]).repeat(n, 1),
        torch.full((n, 3), float(np.log(scale))),
        torch.full((n,), opacity),
        ((torch.tensor(rgb).reshape(n, 3) - 0.5) / SH0)[:, None],
    )


def camera(distance: float = 4.0, n: int = 1) -> Cameras:
    eyes = np.tile([distance, 0.0, 0.0], (n, 1))
    return framed(look_at(eyes, np.zeros(3), np.array([0, 0, 1.0])), np.full(n, 0.8), SIZE)


RED = splats([[0.0, 0, 0]], [[1.0, 0.2, 0.0]])


def test_colour_over_the_background() -> None:
    (frame,) = render_views(RED, camera(), ViewOptions(background=(0.0, 0.0, 1.0)))
    assert frame.shape == (24, 32, 3)
    assert frame.dtype == np.uint8
    assert np.abs(frame[12, 16].astype(int) - [255, 51, 0]).max() <= 6
    assert frame[0, 0].tolist() == [0, 0, 255]


def test_alpha_is_grey() -> None:
    (frame,) = render_views(RED, camera(), ViewOptions("alpha"))
    assert (frame == frame[:, :, :1]).all()
    assert frame[12, 16, 0] > 250
    assert frame[0, 0, 0] == 0


def test_depth_is_bright_where_it_is_near_and_grey_where_there_is_none() -> None:
    options = ViewOptions("depth", depth_range=(3.0, 5.0))
    near, far = (next(render_views(RED, camera(distance), options)) for distance in (3.0, 5.0))
    assert near[12, 16].tolist() == colour_table("viridis")[255].tolist()
    assert far[12, 16].tolist() == colour_table("viridis")[0].tolist()
    assert near[0, 0].tolist() == list(NO_VALUE)


def test_one_range_of_depth_holds_for_all_frames() -> None:
    cameras = Cameras(
        np.concatenate([camera(3.0).cam_from_world, camera(5.0).cam_from_world]),
        np.tile(camera().K, (2, 1, 1)), np.full(2, 32), np.full(2, 24),
    )  # fmt: skip
    near, far = render_views(RED, cameras, ViewOptions("depth"))
    assert near[12, 16].tolist() == colour_table("viridis")[255].tolist()
    assert far[12, 16].tolist() == colour_table("viridis")[0].tolist()


def test_normals_of_a_plane_are_known() -> None:
    K = camera().K[0]
    x = (np.arange(32) + 0.5 - K[0, 2]) / K[0, 0]
    wanted = np.array([0.6, 0.0, -0.8])
    depth = np.tile(-2.0 / (wanted[0] * x + wanted[2]), (24, 1)).astype(np.float32)
    normals = normals_from_depth(depth, K)
    assert np.allclose(normals[1:-1, 1:-1], wanted, atol=0.01)
    depth[5, 5] = np.nan
    assert np.isnan(normals_from_depth(depth, K)[5, 4]).all()
    assert np.isnan(normals_from_depth(depth[:1], K)).all()


def test_a_wall_that_faces_the_camera_is_painted_so() -> None:
    grid = [[0.0, 0.3 * y, 0.3 * z] for y, z in itertools.product(range(-12, 13), range(-10, 11))]
    wall = splats(grid, [[0.5, 0.5, 0.5]] * len(grid), 0.3)
    (frame,) = render_views(wall, camera(), ViewOptions("normal"))
    assert np.abs(frame[8:16, 10:22].astype(int) - [128, 128, 255]).max() < 25


def test_linear_colours_are_encoded() -> None:
    image = np.array([[[0.0, 0.5, 1.0]]])
    assert to_srgb8(image)[0, 0].tolist() == [0, 128, 255]
    assert to_srgb8(image, "linear")[0, 0].tolist() == [0, 188, 255]
    assert to_srgb8(np.array([[[-1.0, 2.0, 0.0]]]))[0, 0].tolist() == [0, 255, 0]


def test_no_camera_gives_no_frame_and_no_gaussian_gives_background() -> None:
    assert list(render_views(RED, camera()[:0], ViewOptions("depth"))) == []
    empty = splats([], [])
    (frame,) = render_views(empty, camera(), ViewOptions(background=(1.0, 1.0, 1.0)))
    assert (frame == 255).all()


def test_frames_come_one_at_a_time() -> None:
    frames = render_views(RED, camera(n=10**6))
    assert next(frames).shape == (24, 32, 3)


def test_background_out_of_range_is_refused() -> None:
    with pytest.raises(UsageError, match="background"):
        ViewOptions(background=(0.0, 255.0, 0.0))


def test_a_turntable_goes_round_once() -> None:
    azimuth = np.radians(np.arange(0, 360, 30))
    eyes = 4 * np.stack([np.cos(azimuth), np.sin(azimuth), 0 * azimuth], axis=1)
    cameras = framed(look_at(eyes, np.zeros(3), np.array([0, 0, 1.0])), np.full(12, 0.8), SIZE)
    frames, path = turntable(RED, cameras, 6, (20, 14))
    assert [frame.shape for frame in frames] == [(14, 20, 3)] * 6
    assert path.is_closed
    assert all(frame[7, 10, 0] > 200 for frame in frames)


@pytest.mark.parametrize("what", ["colour", "alpha", "depth"])
def test_back_ends_paint_the_same(what: Quantity) -> None:
    rng = np.random.default_rng(5)
    cloud = splats(rng.normal(size=(40, 3)).tolist(), rng.uniform(size=(40, 3)).tolist(), 0.2, 1.0)
    frames = [
        next(render_views(cloud, camera(), ViewOptions(what, depth_range=(2.0, 6.0), backend=name)))
        for name in ("numba", "torch")
    ]
    differs = np.abs(frames[0].astype(int) - frames[1]).max(axis=2) > 2
    assert differs.mean() < 0.01  # a pixel at half coverage may fall to either side


def test_the_range_of_depth_is_that_of_what_is_seen() -> None:
    far_behind = splats([[0.0, 0, 0], [900.0, 0, 0]], [[1.0, 0, 0]] * 2)
    low, high = path_depth_range(far_behind, camera(4.0), ViewOptions())
    assert 3.9 < low <= high < 4.1


def test_antialiasing_thins_what_is_smaller_than_a_pixel() -> None:
    dust = splats([[0.0, 0, 0]], [[1.0, 1.0, 1.0]], 0.005)
    thin, thick = (next(render_views(dust, camera(), ViewOptions(antialiased=on))) for on in (True, False))
    assert int(thin.max()) < int(thick.max()) / 2

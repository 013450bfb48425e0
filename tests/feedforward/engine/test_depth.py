from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from true_network import FOCAL, HEIGHT, WIDTH, TrueNetwork, intrinsics, photos, poses, wall

from recon3d.feedforward.engine import ViewEstimates, estimate_views
from recon3d.feedforward.engine.depth import NetworkDepth
from recon3d.feedforward.engine.stored import load_views, save_views
from recon3d.render.cameras import Cameras
from recon3d.scene import Points, Scene, View

FACTOR = 3
KEYS = ("a.jpg", "b.jpg")


def scene(n_points: int = 0, scale: float = 1.0, distortion: tuple[float, ...] | None = None) -> Scene:
    """Two photos three times as large as the network's images, in a world whose unit is ``1 / scale`` of its own."""
    pose = poses(2)
    pose[:, :3, 3] *= scale
    K = intrinsics(2) * np.array([FACTOR, FACTOR, 1.0])[:, None]
    size = np.full(2, WIDTH * FACTOR), np.full(2, HEIGHT * FACTOR)
    lens = None if distortion is None else np.tile(distortion, (2, 1))
    cameras = Cameras(pose, K, *size, lens)
    world = np.diag([scale, scale, scale, 1.0])
    views = tuple(View(key, "registered") for key in KEYS)
    return Scene(
        views, cameras, cameras.pinhole(), seen(cameras, n_points, scale), np.zeros((2, 6)), world_from_sfm=world
    )


def seen(cameras: Cameras, n: int, scale: float) -> Points:
    rng = np.random.default_rng(0)
    xyz = np.column_stack([rng.uniform(-0.5, 0.5, (n, 2)), np.zeros(n)])
    xyz[:, 2] = 3.0 + 0.2 * xyz[:, 0]
    xyz *= scale
    view = np.zeros(n, np.int32)
    xy = cameras.project(xyz, view.astype(np.int64))[0] if n else np.zeros((0, 2))
    return Points(xyz, np.zeros((n, 3), np.uint8), np.zeros(n), np.zeros(n), np.arange(n, dtype=np.int32), view, xy)


@pytest.fixture
def depth(tmp_path: Path) -> NetworkDepth:
    found = estimate_views(TrueNetwork(), photos(2), size=WIDTH)
    places = tuple(one._replace(scale_x=1 / FACTOR, scale_y=1 / FACTOR) for one in found.placements)
    save_views(tmp_path / "views.npz", replace(found, placements=places))
    return NetworkDepth(tmp_path / "views.npz", "key", KEYS)


@pytest.mark.parametrize("width", [WIDTH, 2 * WIDTH, 40])
def test_maps_have_the_depth_of_the_surface_at_any_size(depth: NetworkDepth, width: int) -> None:
    given = scene()
    sized = given.pinhole_cameras.resized(np.full(2, width), np.full(2, round(width * HEIGHT / WIDTH)))
    found = depth.maps(given, KEYS, sized)[1]
    true = wall(sized.cam_from_world[1], sized.K[1], int(sized.height[1]), width)
    known = found.depth_z > 0
    assert known.mean() > 0.85 and np.abs(found.depth_z[known] / true[known] - 1).max() < 0.01
    assert (found.sigma[known] > 0).all() and (found.sigma[~known] == 0).all()


def test_the_points_of_a_photo_set_its_scale(depth: NetworkDepth) -> None:
    given = replace(scene(200, 2.5), world_from_sfm=np.eye(4))
    a, b = depth.maps(given, KEYS, given.pinhole_cameras.limited(WIDTH))
    assert np.median(a.depth_z[a.depth_z > 0]) == pytest.approx(2.5 * 3.0, rel=0.02)
    assert np.median(b.depth_z[b.depth_z > 0]) == pytest.approx(3.0, rel=0.02)  # it sees none of them


def test_without_points_the_world_sets_it(depth: NetworkDepth) -> None:
    given = scene(0, 0.5)
    found = depth.maps(given, KEYS[:1], given.pinhole_cameras.limited(WIDTH))[0]
    assert np.median(found.depth_z[found.depth_z > 0]) == pytest.approx(1.5, rel=0.02)


def test_a_lens_with_distortion_is_followed(depth: NetworkDepth) -> None:
    bent = scene(distortion=(0.1, 0.0, 0.0, 0.0))
    found = depth.maps(bent, KEYS[:1], bent.pinhole_cameras.limited(WIDTH))[0]
    plain = depth.maps(scene(), KEYS[:1], bent.pinhole_cameras.limited(WIDTH))[0]
    middle, corner = (HEIGHT // 2, WIDTH // 2), (3, WIDTH - 6)
    assert found.depth_z[middle] == pytest.approx(plain.depth_z[middle], rel=1e-3)
    assert abs(found.depth_z[corner] / plain.depth_z[corner] - 1) > 1e-3


def test_pixels_beside_a_hole_take_the_nearest_depth(tmp_path: Path) -> None:
    found = estimate_views(TrueNetwork(), photos(1), size=WIDTH)
    valid = np.ones_like(found.valid)
    valid[0, 10, 10] = False
    save_views(tmp_path / "v.npz", replace(found, valid=valid))
    given = scene()
    sized = given.pinhole_cameras[:1].resized(np.array([2 * WIDTH]), np.array([2 * HEIGHT]))
    one = NetworkDepth(tmp_path / "v.npz", "", KEYS[:1])
    places = tuple(place._replace(scale_x=1 / FACTOR, scale_y=1 / FACTOR) for place in found.placements)
    save_views(tmp_path / "v.npz", replace(found, valid=valid, placements=places))
    holes = one.maps(given, KEYS[:1], sized)[0].depth_z == 0
    assert holes.sum() == 4 and holes[20:22, 20:22].all()


def test_what_is_stored_is_what_was_estimated(tmp_path: Path) -> None:
    found = estimate_views(TrueNetwork((0.01, 0.02)), photos(2), size=WIDTH)
    save_views(tmp_path / "views.npz", found)
    again = load_views(tmp_path / "views.npz")
    assert isinstance(again, ViewEstimates) and again.placements == found.placements
    for name in ("cam_from_world", "K", "depth_z", "sigma", "confidence", "valid"):
        assert getattr(again, name).tobytes() == getattr(found, name).tobytes()
    assert (again.metric, again.sigma_source) == (found.metric, found.sigma_source)
    assert again.K[0, 0, 0] == FOCAL

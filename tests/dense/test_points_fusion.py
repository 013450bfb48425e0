"""Dense points from exact depth maps: where they lie, who must agree, and their file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from depth_truth import around, cameras_at, colours_of, look_at, render, ring, sphere, wall

from recon3d.core.errors import FormatError, InputError, ShapeError, UsageError
from recon3d.core.kernels import threads
from recon3d.dense.points_fusion import DensePoints, PointOptions, fuse_points
from recon3d.dense.types import DepthMap
from recon3d.formats.ply import write_ply
from recon3d.render.cameras import Cameras

Maps = list[tuple[DepthMap, np.ndarray]]


@pytest.fixture(scope="module")
def ball() -> tuple[Maps, Cameras]:
    cameras = cameras_at(around(20), 64)
    return render(cameras, [sphere((0, 0, 0), 1)], 0.01), cameras


@pytest.fixture(scope="module")
def points(ball: tuple[Maps, Cameras]) -> DensePoints:
    return fuse_points(*ball)


def test_points_lie_on_the_sphere_with_its_normals_and_colours(points: DensePoints) -> None:
    radius = np.linalg.norm(points.xyz, axis=1)
    assert np.abs(radius - 1).max() < 0.02
    assert np.abs(radius - 1).mean() < 0.003
    assert ((points.normals * points.xyz).sum(1) / radius).min() > 0.8
    assert np.abs(points.rgb - colours_of(points.xyz)).max() < 6


def test_they_cover_it_and_none_is_double(points: DensePoints, ball: tuple[Maps, Cameras]) -> None:
    pixel = 2.2 / ball[1].K[0, 0, 0]
    assert 0.3 < len(points) / (4 * np.pi / pixel**2) < 2.5
    octants = np.bincount((points.xyz > 0) @ (1, 2, 4), minlength=8)
    assert octants.min() > 0.5 * octants.mean()


def test_agreement_makes_sigma_smaller(points: DensePoints) -> None:
    assert (points.sigma <= 0.01 / np.sqrt(2)).all()
    assert (points.sigma > 0.001).all()


def test_any_number_of_threads_gives_the_same_bits(ball: tuple[Maps, Cameras], points: DensePoints) -> None:
    with threads(1):
        one = fuse_points(*ball)
    for name in ("xyz", "normals", "rgb", "sigma"):
        assert (getattr(one, name) == getattr(points, name)).all()


def test_what_only_one_map_shows_is_dropped(ball: tuple[Maps, Cameras]) -> None:
    maps, cameras = ball
    depth = maps[0][0].depth_z.copy()
    depth[20:40, 20:40] *= 0.8  # a ghost in front of the sphere
    wrong = [(DepthMap(depth, maps[0][0].sigma), maps[0][1]), *maps[1:]]
    assert np.abs(np.linalg.norm(fuse_points(wrong, cameras).xyz, axis=1) - 1).max() < 0.02
    alone = fuse_points(wrong, cameras, PointOptions(min_views=0))
    assert np.linalg.norm(alone.xyz, axis=1).max() > 1.2


def test_sigma_widens_what_agrees_up_to_a_bound() -> None:
    poses = [look_at((x, 0, -3), (x / 2, 0, 0), (0, -1, 0)) for x in (-0.4, 0.0, 0.4)]
    cameras = cameras_at(poses, 48)

    def count(offset: float, sigma: float) -> int:
        maps = [render(cameras[i : i + 1], [wall(z)], sigma)[0] for i, z in enumerate((0.0, offset, -offset))]
        return len(fuse_points(maps, cameras))

    assert count(0.0, 0.001) > 1000
    assert count(0.06, 0.001) < 0.1 * count(0.0, 0.001)
    assert count(0.06, 0.03) > 1000
    assert count(0.2, 0.5) < 0.1 * count(0.0, 0.001)


def test_merging_bounds_their_number(ball: tuple[Maps, Cameras], points: DensePoints) -> None:
    few = fuse_points(*ball, PointOptions(max_points=500))
    assert 100 < len(few) <= 500
    assert np.abs(np.linalg.norm(few.xyz, axis=1) - 1).max() < 0.06
    assert len(points) > 500


def test_a_lone_photo_agrees_with_nobody() -> None:
    cameras = cameras_at(ring(1), 32)
    maps = render(cameras, [sphere((0, 0, 0), 1)])
    assert len(fuse_points(maps, cameras)) == 0
    assert len(fuse_points([], cameras[:0])) == 0
    empty = DepthMap(np.zeros((32, 32), np.float32), np.zeros((32, 32), np.float32))
    assert len(fuse_points([(empty, maps[0][1])], cameras)) == 0


def test_files_come_back_with_the_same_bits(points: DensePoints, tmp_path: Path) -> None:
    points.save(tmp_path / "p.ply")
    again = DensePoints.load(tmp_path / "p.ply")
    for name in ("xyz", "normals", "rgb", "sigma"):
        assert (getattr(again, name) == getattr(points, name)).all()
    DensePoints.empty().save(tmp_path / "none.ply")
    assert len(DensePoints.load(tmp_path / "none.ply")) == 0


def test_other_files_are_refused(tmp_path: Path) -> None:
    write_ply(tmp_path / "xyz.ply", {axis: np.zeros(3, np.float32) for axis in "xyz"})
    (tmp_path / "junk.ply").write_bytes(b"ply\nnonsense")
    for name in ("xyz.ply", "junk.ply"):
        with pytest.raises(FormatError):
            DensePoints.load(tmp_path / name)
    with pytest.raises(InputError):
        DensePoints.load(tmp_path / "absent.ply")


def test_bad_arguments(ball: tuple[Maps, Cameras]) -> None:
    with pytest.raises(ShapeError, match="disagree"):
        fuse_points(ball[0][:3], ball[1])
    with pytest.raises(ShapeError, match="differ"):
        fuse_points([(ball[0][0][0], ball[0][0][1][:5])], ball[1][:1])
    for bad in ({"min_views": -1}, {"max_px": 0.0}, {"n_neighbours": 0}):
        with pytest.raises(UsageError, match=next(iter(bad))):
            PointOptions(**bad)  # type: ignore[arg-type]

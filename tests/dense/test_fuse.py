"""Fusion of exact depth maps: where the surface lies, whether it is closed, and what does not change it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import trimesh
from depth_truth import around, cameras_at, colours_of, look_at, render, ring, room, sphere, wall

from recon3d.core.errors import ResourceError, ResultError, ShapeError, UsageError
from recon3d.core.kernels import threads
from recon3d.dense.fuse import FusionStats, fuse_depth, fuse_with_stats
from recon3d.dense.fusion_options import FusionOptions
from recon3d.dense.mesh_cleanup import boundary_edges, face_components
from recon3d.dense.types import DepthMap
from recon3d.render.cameras import Cameras
from recon3d.render.mesh.types import Mesh

SIZE = 64
Maps = list[tuple[DepthMap, np.ndarray]]


@pytest.fixture(scope="module")
def ball() -> tuple[Maps, Cameras]:
    """A unit sphere seen from everywhere."""
    cameras = cameras_at(around(20), SIZE)
    return render(cameras, [sphere((0, 0, 0), 1)]), cameras


@pytest.fixture(scope="module")
def fused_ball(ball: tuple[Maps, Cameras]) -> tuple[Mesh, FusionStats]:
    return fuse_with_stats(*ball, FusionOptions(closing="open"))


def as_trimesh(mesh: Mesh) -> trimesh.Trimesh:
    return trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)


def test_a_sphere_is_closed_across_all_chunks(fused_ball: tuple[Mesh, FusionStats]) -> None:
    mesh = as_trimesh(fused_ball[0])
    assert fused_ball[1].n_blocks > 100
    assert mesh.is_watertight
    assert mesh.is_winding_consistent
    assert mesh.euler_number == 2
    assert mesh.volume == pytest.approx(4 / 3 * np.pi, rel=0.01)  # positive: faces look outwards


def test_its_surface_is_right_to_a_fraction_of_a_voxel(fused_ball: tuple[Mesh, FusionStats]) -> None:
    mesh, stats = fused_ball
    off = np.abs(np.linalg.norm(mesh.vertices, axis=1) - 1)
    assert off.max() < 0.5 * stats.voxel
    assert off.mean() < 0.06 * stats.voxel


def test_normals_and_colours_are_those_of_the_sphere(fused_ball: tuple[Mesh, FusionStats]) -> None:
    mesh, _ = fused_ball
    assert mesh.normals is not None
    assert mesh.rgb is not None
    radial = mesh.vertices / np.linalg.norm(mesh.vertices, axis=1, keepdims=True)
    assert (mesh.normals * radial).sum(1).min() > 0.95
    assert np.abs(mesh.rgb - colours_of(mesh.vertices)).max() < 4


def test_the_automatic_voxel_is_a_pixel_and_a_half(
    fused_ball: tuple[Mesh, FusionStats], ball: tuple[Maps, Cameras]
) -> None:
    focal = ball[1].K[0, 0, 0]
    assert fused_ball[1].voxel == pytest.approx(1.5 * 2.3 / focal, rel=0.1)


def test_any_number_of_threads_gives_the_same_bits(ball: tuple[Maps, Cameras]) -> None:
    options = FusionOptions(voxel_size=0.1)
    with threads(1):
        one = fuse_depth(*ball, options)
    with threads(3):
        three = fuse_depth(*ball, options)
    for name in ("vertices", "faces", "normals", "rgb"):
        assert (getattr(one, name) == getattr(three, name)).all()


def test_less_memory_means_coarser_voxels(ball: tuple[Maps, Cameras]) -> None:
    mesh, stats = fuse_with_stats(*ball, FusionOptions(closing="open"), max_memory_bytes=1_500_000)
    assert stats.memory_bytes <= 1_500_000
    assert stats.voxel > 0.06 > stats.wanted_voxel
    assert as_trimesh(mesh).is_watertight


def test_voxels_much_too_small_still_end_within_the_memory(ball: tuple[Maps, Cameras]) -> None:
    options = FusionOptions(closing="open", voxel_size=0.01)
    _, stats = fuse_with_stats(*ball, options, max_memory_bytes=600_000)
    assert stats.wanted_voxel == 0.01 and 0.02 < stats.voxel < 0.5 and stats.memory_bytes <= 600_000
    with pytest.raises(ResultError, match="voxels of this size"):  # pixels are far wider than these
        fuse_with_stats(*ball, replace(options, voxel_size=1e-5))
    with pytest.raises(ResourceError, match="too little memory for the voxels"):
        fuse_with_stats(*ball, options, max_memory_bytes=0)


def test_a_face_budget_means_coarser_voxels(ball: tuple[Maps, Cameras]) -> None:
    mesh, stats = fuse_with_stats(*ball, FusionOptions(closing="open", max_faces=3000))
    assert 500 < len(mesh.faces) <= 3000
    assert stats.voxel > 0.06


def test_two_bodies_stay_apart() -> None:
    cameras = cameras_at(around(20), SIZE)
    maps = render(cameras, [sphere((-0.7, 0, 0), 0.5), sphere((0.7, 0, 0), 0.5)])
    mesh = fuse_depth(maps, cameras, FusionOptions(closing="open"))
    assert face_components(mesh.faces, len(mesh.vertices)).max() == 1
    assert as_trimesh(mesh).euler_number == 4
    assert (np.abs(mesh.vertices[:, 0]) > 0.15).all()


def test_a_ring_of_photos_makes_a_solid() -> None:
    cameras = cameras_at(ring(12), SIZE)
    maps = render(cameras, [sphere((0, 0, 0), 1)])
    seen, _ = fuse_with_stats(maps, cameras, FusionOptions(closing="open"))
    assert len(boundary_edges(seen.faces)) > 100  # nobody saw the bottom
    solid, stats = fuse_with_stats(maps, cameras)
    mesh = as_trimesh(solid)
    assert stats.closed
    assert mesh.is_watertight
    assert mesh.euler_number == 2
    assert mesh.volume > 0.75 * 4 / 3 * np.pi
    assert np.linalg.norm(solid.vertices, axis=1).max() < 1 + stats.voxel  # it does not swell
    assert (solid.vertices.min(0) > seen.vertices.min(0) - 1e-4).all()  # what nobody saw stays inside what was seen
    assert (solid.vertices.max(0) < seen.vertices.max(0) + 1e-4).all()


def test_a_facade_stays_open_and_does_not_grow() -> None:
    poses = [look_at((x, y, -3), (x / 2, y / 2, 0), (0, -1, 0)) for x in (-1, 0, 1) for y in (-0.5, 0.5)]
    cameras = cameras_at(poses, SIZE)
    mesh, stats = fuse_with_stats(render(cameras, [wall(0, 0.9)]), cameras)
    assert not stats.closed
    assert np.abs(mesh.vertices[:, 2]).max() < 0.1 * stats.voxel
    assert np.abs(mesh.vertices[:, :2]).max() < 0.9 + stats.voxel
    assert mesh.normals is not None
    assert (mesh.normals[:, 2] < -0.9).all()  # towards the cameras


def test_a_room_from_inside_looks_inwards() -> None:
    angles = np.arange(12) * 2 * np.pi / 12
    poses = [look_at((0.2 * np.cos(a), 0.2 * np.sin(a), 0), (3 * np.cos(a), 3 * np.sin(a), 1)) for a in angles]
    cameras = cameras_at(poses, SIZE, 80)
    mesh, stats = fuse_with_stats(render(cameras, [room(1.0)]), cameras)
    assert not stats.closed
    assert np.abs(np.abs(mesh.vertices).max(1) - 1).max() < 0.5 * stats.voxel
    assert mesh.normals is not None
    assert ((mesh.normals * mesh.vertices).sum(1) < 0).mean() > 0.99


def test_noise_is_averaged_away_and_strays_are_dropped(ball: tuple[Maps, Cameras]) -> None:
    maps, cameras = ball
    generator = np.random.default_rng(0)
    noisy = []
    for depth, rgb in maps:
        z = depth.depth_z + np.where(depth.depth_z > 0, 0.03 * generator.normal(size=(SIZE, SIZE)), 0).astype(
            np.float32
        )
        z = np.where((generator.random(z.shape) < 0.01) & (z > 0), z * 0.5, z)  # one in a hundred is wrong
        noisy.append((DepthMap(z.astype(np.float32), np.where(z > 0, 0.03, 0).astype(np.float32)), rgb))
    mesh, _ = fuse_with_stats(noisy, cameras, FusionOptions(voxel_size=0.06, closing="open"))
    assert face_components(mesh.faces, len(mesh.vertices)).max() == 0
    assert np.abs(np.linalg.norm(mesh.vertices, axis=1) - 1).mean() < 0.02


def test_sigma_decides_between_contradicting_maps() -> None:
    pose = look_at((0, 0, -3), (0, 0, 0), (0, -1, 0))
    cameras = cameras_at([pose, pose], SIZE)
    (exact, rgb), (wrong, _) = (render(cameras[:1], [wall(z)], sigma)[0] for z, sigma in ((0.0, 0.005), (0.05, 0.2)))
    mesh = fuse_depth([(exact, rgb), (wrong, rgb)], cameras, FusionOptions(voxel_size=0.04, min_views=1))
    assert np.abs(mesh.vertices[:, 2]).max() < 0.01


def test_far_background_is_left_out() -> None:
    poses = [look_at((x, 0, -3), (x / 2, 0, 0), (0, -1, 0)) for x in (-0.5, 0, 0.5)]
    cameras = cameras_at(poses, SIZE)
    mesh = fuse_depth(render(cameras, [wall(0, 0.9), wall(300.0)]), cameras, FusionOptions(voxel_size=0.06))
    assert mesh.vertices[:, 2].max() < 0.1


def test_what_cannot_be_fused() -> None:
    cameras = cameras_at(ring(3), SIZE)
    maps = render(cameras, [sphere((0, 0, 0), 1)])
    with pytest.raises(ShapeError, match="disagree"):
        fuse_depth(maps[:2], cameras)
    empty = DepthMap(np.zeros((SIZE, SIZE), np.float32), np.zeros((SIZE, SIZE), np.float32))
    with pytest.raises(ResultError, match="empty"):
        fuse_depth([(empty, maps[0][1])] * 3, cameras)
    with pytest.raises(ResultError, match="no surface"):
        fuse_depth(maps, cameras, FusionOptions(min_views=200))
    with pytest.raises(ResultError, match="empty"):
        fuse_depth([], cameras[:0])


@pytest.mark.parametrize("bad", [{"voxel_size": -1.0}, {"truncation": 0.5}, {"voxel_px": 0.0}, {"min_faces": -1}])
def test_options_are_checked(bad: dict[str, float]) -> None:
    with pytest.raises(UsageError, match=next(iter(bad))):
        FusionOptions(**bad)  # type: ignore[arg-type]

"""Meshes of analytic bodies: exact truth, what must not change the surface, and how limits are kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import trimesh
from depth_truth import Body, around, cameras_at, look_at, render, ring, sphere, wall
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from recon3d.core.errors import ResultError
from recon3d.dense.fuse import fuse_depth, fuse_with_stats
from recon3d.dense.fusion_options import FusionOptions
from recon3d.dense.mesh_cleanup import boundary_edges, face_components
from recon3d.dense.surface import is_seen_all_round
from recon3d.dense.types import DepthMap
from recon3d.render.cameras import Cameras
from recon3d.render.mesh.types import Mesh

SIZE = 56
OPEN = FusionOptions(voxel_size=0.07, closing="open")
Maps = list[tuple[DepthMap, np.ndarray]]


def box(half: Sequence[float]) -> Body:
    """The outside of a box around the origin."""

    def cast(origin: np.ndarray, direction: np.ndarray) -> np.ndarray:
        with np.errstate(divide="ignore", invalid="ignore"):
            one, other = (-np.array(half) - origin) / direction, (np.array(half) - origin) / direction
            near, far = np.minimum(one, other).max(-1), np.maximum(one, other).min(-1)
        return np.where((near < far) & (near > 0), near, np.nan)

    return cast


def seen(bodies: list[Body], poses: list[np.ndarray], sigma: float = 0.0) -> tuple[Maps, Cameras]:
    cameras = cameras_at(poses, SIZE)
    return render(cameras, bodies, sigma), cameras


def facing(n: int = 5, z: float = -3.0) -> list[np.ndarray]:
    return [look_at((x, 0.3 * (i % 2), z), (x / 2, 0, 0), (0, -1, 0)) for i, x in enumerate(np.linspace(-0.8, 0.8, n))]


@pytest.fixture(scope="module")
def ball() -> tuple[Maps, Cameras]:
    return seen([sphere((0, 0, 0), 1)], around(14))


@pytest.fixture(scope="module")
def ball_mesh(ball: tuple[Maps, Cameras]) -> Mesh:
    return fuse_depth(*ball, OPEN)


def distances(mesh: Mesh, other: Mesh) -> np.ndarray:
    """How far the vertices of a mesh lie from the planes of the nearest faces of another."""
    a, b, c = (other.vertices[other.faces[:, k]].astype(float) for k in range(3))
    normal = np.cross(b - a, c - a)
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-12)
    centre = (a + b + c) / 3
    nearest = cKDTree(centre).query(mesh.vertices)[1]
    return np.asarray(np.abs(((mesh.vertices - centre[nearest]) * normal[nearest]).sum(1)))


def solid(mesh: Mesh) -> trimesh.Trimesh:
    return trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)


@pytest.mark.parametrize("half", [(0.8, 0.8, 0.8), (1.0, 0.6, 0.5)])
def test_a_box_has_its_volume_area_and_flat_sides(half: tuple[float, ...]) -> None:
    mesh, stats = fuse_with_stats(*seen([box(half)], around(24)), replace(OPEN, voxel_size=0.05, closing="closed"))
    body = solid(mesh)
    assert body.is_watertight and body.euler_number == 2
    assert body.volume == pytest.approx(8 * np.prod(half), rel=0.05)
    outside = np.maximum(np.abs(mesh.vertices) - half, 0)
    off = np.linalg.norm(outside, axis=1)  # where a pixel of the background would have said that nothing is there
    assert np.quantile(off, 0.9) < stats.voxel and off.max() < 2.5 * stats.voxel
    depth_inside = np.where(outside.any(1), 0, (half - np.abs(mesh.vertices)).min(1))
    assert np.quantile(depth_inside, 0.8) < 0.2 * stats.voxel


@pytest.mark.parametrize("gap", [0.5, 0.8])
def test_two_parallel_planes_keep_their_distance(gap: float) -> None:
    mesh = fuse_depth(*seen([wall(0.0, 0.5), wall(gap, 2.5)], facing()), OPEN)
    front = np.abs(mesh.vertices[:, 2]) < gap / 2
    assert np.abs(mesh.vertices[front, 2]).max() < 0.1 and np.median(np.abs(mesh.vertices[front, 2])) < 0.004
    assert np.median(np.abs(mesh.vertices[~front, 2] - gap)) < 0.004
    assert front.sum() > 50 and (~front).sum() > 50
    labels = face_components(mesh.faces, len(mesh.vertices))
    sides = front[mesh.faces].mean(1)
    assert not set(labels[sides > 0.9]) & set(labels[sides < 0.1])  # no skirt joins them


@pytest.mark.parametrize("tilt", [(0.0, 0.0), (0.4, 0.0), (-0.3, 0.5)])
def test_a_slanted_plane_is_flat_wherever_the_lattice_lies(tilt: tuple[float, float]) -> None:
    turn = Rotation.from_euler("xy", tilt).as_matrix()
    poses = [pose @ np.block([[turn.T, np.zeros((3, 1))], [np.zeros((1, 3)), np.ones((1, 1))]]) for pose in facing()]
    cameras = cameras_at(poses, SIZE)
    maps = render(cameras_at(facing(), SIZE), [wall(0.0, 0.9)])  # the same depth, in a turned world
    mesh = fuse_depth(maps, cameras, OPEN)
    off = mesh.vertices @ turn[:, 2]
    assert np.abs(off).max() < 0.02 and np.abs(off).mean() < 2e-3
    assert mesh.normals is not None and (mesh.normals @ turn[:, 2] < -0.95).mean() > 0.95


@pytest.mark.parametrize(("scale", "seed"), [(1.0, 1), (0.01, 0), (30.0, 2)])
def test_the_surface_follows_the_world(ball: tuple[Maps, Cameras], ball_mesh: Mesh, scale: float, seed: int) -> None:
    to_new = np.eye(4)
    to_new[:3, :3] = scale * Rotation.random(random_state=seed).as_matrix()
    to_new[:3, 3] = scale * np.array([4.0, -7, 2])
    maps = [(DepthMap(depth.depth_z * np.float32(scale), depth.sigma), rgb) for depth, rgb in ball[0]]
    mesh = fuse_depth(maps, ball[1].transformed(to_new), replace(OPEN, voxel_size=0.07 * scale))
    radius = np.linalg.norm(mesh.vertices - to_new[:3, 3], axis=1) / scale
    assert np.abs(radius - 1).max() < 0.035 and np.abs(radius - 1).mean() < 0.005
    assert len(boundary_edges(mesh.faces)) < 0.01 * len(mesh.faces)
    assert len(mesh.faces) == pytest.approx(len(ball_mesh.faces), rel=0.1)


def test_the_automatic_voxel_follows_the_scale(ball: tuple[Maps, Cameras]) -> None:
    big = [(DepthMap(20 * depth.depth_z, depth.sigma), rgb) for depth, rgb in ball[0]]
    one, other = (
        fuse_with_stats(maps, cameras, FusionOptions(closing="open"))[1].voxel
        for maps, cameras in (ball, (big, ball[1].transformed(np.diag([20.0, 20, 20, 1]))))
    )
    assert other == pytest.approx(20 * one, rel=1e-4)


def test_the_order_of_the_photos_moves_nothing(ball: tuple[Maps, Cameras], ball_mesh: Mesh) -> None:
    order = np.random.default_rng(0).permutation(14)
    mesh = fuse_depth([ball[0][i] for i in order], ball[1][order], OPEN)
    assert distances(mesh, ball_mesh).max() < 1e-4
    assert abs(len(mesh.faces) - len(ball_mesh.faces)) < 0.002 * len(mesh.faces)


def test_photos_of_another_size_than_the_maps_change_nothing(ball: tuple[Maps, Cameras], ball_mesh: Mesh) -> None:
    large = ball[1].resized(4 * ball[1].width, 4 * ball[1].height)
    mesh = fuse_depth(ball[0], large, OPEN)
    np.testing.assert_array_equal(mesh.faces, ball_mesh.faces)
    np.testing.assert_allclose(mesh.vertices, ball_mesh.vertices, atol=1e-6)


@pytest.mark.parametrize("n_lost", [1, 3])
def test_empty_maps_among_others_are_harmless(ball: tuple[Maps, Cameras], ball_mesh: Mesh, n_lost: int) -> None:
    none = DepthMap(np.zeros((SIZE, SIZE), np.float32), np.zeros((SIZE, SIZE), np.float32))
    maps = [(none, rgb) if i < n_lost else (depth, rgb) for i, (depth, rgb) in enumerate(ball[0])]
    mesh = fuse_depth(maps, ball[1], replace(OPEN, min_views=2))
    assert distances(mesh, ball_mesh).max() < 0.02


@pytest.mark.parametrize("bad", [np.nan, np.inf, -3.0])
def test_numbers_that_are_no_depth_are_no_surface(ball: tuple[Maps, Cameras], ball_mesh: Mesh, bad: float) -> None:
    random, maps = np.random.default_rng(1), []
    for depth, rgb in ball[0]:
        z = np.where(random.random(depth.depth_z.shape) < 0.05, bad, depth.depth_z).astype(np.float32)
        maps.append((DepthMap(z, depth.sigma), rgb))
    mesh = fuse_depth(maps, ball[1], OPEN)
    assert np.isfinite(mesh.vertices).all() and distances(mesh, ball_mesh).max() < 0.02


def test_a_masked_part_leaves_a_hole_of_its_size() -> None:
    maps, cameras = seen([wall(0.0)], facing())
    masked = []
    for i, (depth, rgb) in enumerate(maps):
        y, x = np.mgrid[:SIZE, :SIZE] + 0.5
        rays = np.stack([x, y, np.ones_like(x)], -1) @ np.linalg.inv(cameras.K[i]).T * depth.depth_z[..., None]
        world = (rays - cameras.cam_from_world[i, :3, 3]) @ cameras.cam_from_world[i, :3, :3]
        hidden = np.linalg.norm(world[..., :2], axis=-1) < 0.4
        masked.append((DepthMap(np.where(hidden, 0, depth.depth_z).astype(np.float32), depth.sigma), rgb))
    mesh = fuse_depth(masked, cameras, OPEN)
    centre = np.linalg.norm(mesh.vertices[:, :2], axis=1)
    assert 0.25 < centre.min() < 0.45
    edges = boundary_edges(mesh.faces)
    rim = np.linalg.norm(mesh.vertices[edges[:, 0], :2], axis=1)
    assert (rim < 0.6).sum() > 10  # the hole has a rim of its own


@pytest.mark.parametrize("n", [1, 2])
def test_one_or_two_photos_are_enough_for_an_open_surface(n: int) -> None:
    mesh, stats = fuse_with_stats(*seen([wall(0.0, 0.8)], facing()[:n]), OPEN)
    assert np.abs(mesh.vertices[:, 2]).max() < 0.02 and not stats.closed
    assert solid(mesh).area == pytest.approx(1.6**2, rel=0.2)


def test_photos_without_overlap_agree_on_nothing() -> None:
    poses = [look_at((x, 0, -3), (x, 0, 0), (0, -1, 0)) for x in (-20, 0, 20)]
    maps, cameras = seen([wall(0.0)], poses)
    with pytest.raises(ResultError, match="agree on no surface"):
        fuse_depth(maps, cameras, replace(OPEN, min_views=2))
    alone = fuse_depth(maps, cameras, replace(OPEN, min_views=1))
    assert face_components(alone.faces, len(alone.vertices)).max() == 2


@pytest.mark.parametrize("limit", [400_000, 1_000_000, 4_000_000, 1 << 30])
def test_memory_is_kept_whatever_the_voxel(ball: tuple[Maps, Cameras], limit: int) -> None:
    mesh, stats = fuse_with_stats(*ball, replace(OPEN, voxel_size=0.03), max_memory_bytes=limit)
    assert stats.memory_bytes <= limit
    assert (stats.voxel > 0.03) == (limit < 1 << 30)
    if stats.voxel < 0.2:  # coarser ones cannot show a unit sphere
        assert np.abs(np.linalg.norm(mesh.vertices, axis=1) - 1).max() < stats.voxel


@pytest.mark.parametrize("max_faces", [800, 2500])
def test_a_closed_mesh_also_keeps_its_number_of_faces(ball: tuple[Maps, Cameras], max_faces: int) -> None:
    mesh, stats = fuse_with_stats(*ball, replace(OPEN, closing="closed", max_faces=max_faces))
    assert len(mesh.faces) <= 1.1 * max_faces and stats.closed and len(boundary_edges(mesh.faces)) == 0


def test_coarser_voxels_make_fewer_faces_by_their_square(ball: tuple[Maps, Cameras]) -> None:
    n = [len(fuse_depth(*ball, replace(OPEN, voxel_size=v)).faces) for v in (0.06, 0.12)]
    assert n[0] / n[1] == pytest.approx(4, rel=0.15)


@pytest.mark.parametrize("floater", [0.12, 0.2])
def test_what_floats_beside_the_body_goes_or_stays_as_asked(floater: float) -> None:
    maps, cameras = seen([sphere((0, 0, 0), 0.8), sphere((1.15, 0, 0), floater)], around(14))
    n_pieces = []
    for least in (0.0, 0.5):
        mesh = fuse_depth(maps, cameras, replace(OPEN, voxel_size=0.05, min_component=least, min_faces=0))
        n_pieces.append(int(face_components(mesh.faces, len(mesh.vertices)).max()) + 1)
    assert n_pieces[0] > 1 and n_pieces[1] == 1


@pytest.mark.parametrize("shift", [0.02, 0.06])
def test_the_surface_lies_at_the_weighted_mean_of_what_the_maps_say(shift: float) -> None:
    pose = look_at((0, 0, -3), (0, 0, 0), (0, -1, 0))
    maps = [seen([wall(z)], [pose], sigma)[0][0] for z, sigma in ((0.0, 0.1), (shift, 0.3))]
    mesh = fuse_depth(maps, cameras_at([pose, pose], SIZE), replace(OPEN, voxel_size=0.05, min_views=1))
    usual = 0.2  # the median of both
    weight = np.array([1 / (1 + (s / usual) ** 2) for s in (0.1, 0.3)])
    middle = np.abs(mesh.vertices[:, :2]).max(1) < 0.5
    assert mesh.vertices[middle, 2].mean() == pytest.approx(shift * weight[1] / weight.sum(), abs=0.25 * shift)


def test_closing_changes_nothing_where_the_surface_was_seen() -> None:
    maps, cameras = seen([box((0.9, 0.7, 0.6))], ring(16, height=1.4))
    bare, closed = (fuse_depth(maps, cameras, replace(OPEN, closing=how)) for how in ("open", "closed"))  # type: ignore[arg-type]
    assert len(boundary_edges(closed.faces)) == 0 and solid(closed).is_volume
    assert np.quantile(distances(bare, closed), 0.98) < 0.02
    assert np.abs(closed.vertices).max() < 0.9 + 2.5 * 0.07  # unseen corners swell by two voxels, no more
    assert 0.6 < solid(closed).volume / (8 * 0.9 * 0.7 * 0.6) < 1.15


@pytest.mark.parametrize("angle", [0.0, 1.0, 2.5])
@pytest.mark.parametrize("scale", [0.01, 50.0])
def test_who_is_seen_all_round_does_not_depend_on_the_world(ball_mesh: Mesh, angle: float, scale: float) -> None:
    turn = scale * Rotation.from_rotvec([angle, 0.5 * angle, -angle]).as_matrix()
    centers = np.stack([-p[:3, :3].T @ p[:3, 3] for p in ring(12)])
    for n, wanted in ((12, True), (5, False)):
        assert (
            is_seen_all_round(
                ball_mesh.vertices @ turn.T + 7 * scale, ball_mesh.faces, centers[:n] @ turn.T + 7 * scale
            )
            == wanted
        )


@pytest.mark.parametrize("field", ["depth_z", "sigma"])
def test_maps_do_not_change_when_they_are_fused(ball: tuple[Maps, Cameras], field: str) -> None:
    before = [getattr(depth, field).copy() for depth, _ in ball[0]]
    fuse_depth(*ball, replace(OPEN, closing="closed", voxel_size=0.12))
    assert all((getattr(depth, field) == old).all() for (depth, _), old in zip(ball[0], before, strict=True))

"""Solids from depth and outlines: the visual hull of exact masks, and what is filled up to it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import trimesh
from depth_truth import Body, around, cameras_at, render, ring, sphere

from recon3d.core.errors import ShapeError
from recon3d.core.kernels import threads
from recon3d.dense.fuse import fuse_depth, fuse_with_stats
from recon3d.dense.fusion_options import FusionOptions
from recon3d.dense.hull_solid import Hull, flattened, hull_box
from recon3d.dense.mesh_cleanup import face_components
from recon3d.dense.tsdf_blocks import Lattice
from recon3d.dense.tsdf_close import Box, continue_field
from recon3d.dense.types import DepthMap
from recon3d.dense.visual_hull import Grid, Silhouettes, hull_field, is_outline
from recon3d.render.cameras import Cameras
from recon3d.render.mesh.types import Mesh

SIZE = 72
OPTIONS = FusionOptions(voxel_size=0.06)
FOOT = -0.95  # where the stick ends


def post(half: Sequence[float], centre: Sequence[float]) -> Body:
    """The outside of a box."""

    def cast(origin: np.ndarray, direction: np.ndarray) -> np.ndarray:
        start = origin - np.array(centre)
        with np.errstate(divide="ignore", invalid="ignore"):
            one, other = (-np.array(half) - start) / direction, (np.array(half) - start) / direction
            near, far = np.minimum(one, other).max(-1), np.maximum(one, other).min(-1)
        return np.where((near < far) & (near > 0), near, np.nan)

    return cast


BALL = sphere((0, 0, 0.4), 0.55)
STICK = post((0.1, 0.1, 0.5), (0, 0, FOOT + 0.5))


def masks_of(cameras: Cameras, *bodies: Body) -> list[np.ndarray]:
    return [depth.depth_z > 0 for depth, _ in render(cameras, bodies)]


@pytest.fixture(scope="module")
def lollipop() -> tuple[list[tuple[DepthMap, np.ndarray]], Cameras, list[np.ndarray]]:
    """A ball on a stick, seen slightly from above; no depth was found on the stick."""
    cameras = cameras_at([*ring(12, 3.2, 0.4), *ring(6, 2.8, 1.8)], SIZE)
    found = []
    for (depth, rgb), (ball, _) in zip(render(cameras, [BALL, STICK]), render(cameras, [BALL]), strict=True):
        z = np.where(depth.depth_z == ball.depth_z, depth.depth_z, np.float32(0))
        found.append((DepthMap(z, depth.sigma), rgb))
    return found, cameras, masks_of(cameras, BALL, STICK)


@pytest.fixture(scope="module")
def filled(lollipop: tuple[list[tuple[DepthMap, np.ndarray]], Cameras, list[np.ndarray]]) -> Mesh:
    maps, cameras, masks = lollipop
    with threads(1):
        return fuse_depth(maps, cameras, OPTIONS, masks=masks)


def solid(mesh: Mesh) -> trimesh.Trimesh:
    return trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)


def pixels(points: np.ndarray, cameras: Cameras, index: int) -> np.ndarray:
    seen = points @ cameras.cam_from_world[index, :3, :3].T + cameras.cam_from_world[index, :3, 3]
    return np.asarray((seen / seen[:, 2:] @ cameras.K[index].T)[:, :2])


def test_a_stick_without_depth_is_there_and_the_solid_is_one(lollipop, filled: Mesh) -> None:  # type: ignore[no-untyped-def]
    bare = fuse_depth(lollipop[0], lollipop[1], OPTIONS)
    assert bare.vertices[:, 2].min() > -0.3  # the masks make it
    body = solid(filled)
    assert body.is_watertight and body.is_winding_consistent and body.euler_number == 2
    assert face_components(filled.faces, len(filled.vertices)).max() == 0
    assert filled.vertices[:, 2].min() == pytest.approx(FOOT, abs=0.06)
    stick = filled.vertices[(filled.vertices[:, 2] < -0.3) & (filled.vertices[:, 2] > FOOT + 0.1)]
    assert 0.07 < np.abs(stick[:, :2]).max(axis=1).mean() < 0.13


def test_what_was_seen_stays(filled: Mesh) -> None:
    ball = filled.vertices[filled.vertices[:, 2] > 0.2]
    assert np.abs(np.linalg.norm(ball - [0, 0, 0.4], axis=1) - 0.55).max() < 0.03


def test_the_solid_keeps_to_all_masks_and_covers_them(lollipop, filled: Mesh) -> None:  # type: ignore[no-untyped-def]
    _, cameras, masks = lollipop
    for index, mask in enumerate(masks):
        col, row = pixels(filled.vertices.astype(np.float64), cameras, index).T
        around_px = np.array(np.nonzero(mask)).T + 0.5
        beside = [np.abs(around_px - at).max(axis=1).min() for at in np.stack([row, col], -1)[::7]]
        assert max(beside) < 1.6  # centres of the pixels of the object are half a pixel inside
        hit = np.zeros((SIZE, SIZE), bool)
        hit[row.astype(int), col.astype(int)] = True
        assert hit[mask].mean() > 0.6


def test_masks_that_show_no_object_change_no_bit(lollipop) -> None:  # type: ignore[no-untyped-def]
    maps, cameras, _ = lollipop
    person = np.ones((SIZE, SIZE), bool)
    person[20:60, 30:40] = False
    without = fuse_depth(maps, cameras, OPTIONS)
    for masks in ([None] * len(maps), [person] * len(maps)):
        mesh = fuse_depth(maps, cameras, OPTIONS, masks=masks)
        for name in ("vertices", "faces", "normals", "rgb"):
            assert (getattr(mesh, name) == getattr(without, name)).all()


def test_an_open_surface_is_not_carved(lollipop) -> None:  # type: ignore[no-untyped-def]
    maps, cameras, masks = lollipop
    options = FusionOptions(voxel_size=0.06, closing="open")
    nothing = [np.zeros_like(mask) for mask in masks]
    assert len(fuse_depth(maps, cameras, options, masks=nothing).faces) == len(fuse_depth(maps, cameras, options).faces)


def test_any_number_of_threads_gives_the_same_bits(lollipop, filled: Mesh) -> None:  # type: ignore[no-untyped-def]
    maps, cameras, masks = lollipop
    with threads(3):
        mesh = fuse_depth(maps, cameras, OPTIONS, masks=iter(masks))
    assert (mesh.vertices == filled.vertices).all() and (mesh.faces == filled.faces).all()


def test_some_photos_without_a_mask_and_masks_of_another_size(lollipop, filled: Mesh) -> None:  # type: ignore[no-untyped-def]
    maps, cameras, masks = lollipop
    given = [None if i % 6 == 5 else np.kron(mask, np.ones((3, 3), bool)) for i, mask in enumerate(masks)]
    body = solid(fuse_depth(maps, cameras, OPTIONS, masks=given))
    assert body.is_watertight and body.volume == pytest.approx(solid(filled).volume, rel=0.06)


def test_memory_is_kept(lollipop) -> None:  # type: ignore[no-untyped-def]
    maps, cameras, masks = lollipop
    mesh, stats = fuse_with_stats(maps, cameras, OPTIONS, masks=masks, max_memory_bytes=1_200_000)
    assert 0.06 < stats.voxel < 0.3 and solid(mesh).is_watertight


def test_masks_and_cameras_must_agree(lollipop) -> None:  # type: ignore[no-untyped-def]
    maps, cameras, masks = lollipop
    with pytest.raises(ShapeError, match="masks and cameras"):
        fuse_depth(maps, cameras, OPTIONS, masks=masks[1:])


def grid_around(half: float, n: int) -> tuple[Grid, np.ndarray]:
    grid = Grid(np.full(3, -half), 2 * half / (n - 1), np.full(3, n))
    return grid, np.stack(np.meshgrid(*[np.linspace(-half, half, n)] * 3, indexing="ij"), -1)


def test_the_hull_of_a_ball_seen_from_everywhere_is_its_distance() -> None:
    cameras = cameras_at(around(60), 128)
    grid, points = grid_around(1.3, 27)
    field = hull_field(Silhouettes(masks_of(cameras, sphere((0, 0, 0), 0.8)), cameras), grid, 0.3)
    truth = np.linalg.norm(points, axis=-1) - 0.8
    near = np.abs(truth) < 0.15
    assert np.abs(0.3 * field - truth)[near].mean() < 0.015
    assert (field[truth > 0.35] == 1).all() and (field[truth < -0.35] == -1).all()


def test_cells_far_from_the_outline_get_what_their_points_would() -> None:
    cameras = cameras_at(ring(5), SIZE)
    outlines = Silhouettes(masks_of(cameras, BALL), cameras)
    grid, _ = grid_around(1.5, 33)
    field = hull_field(outlines, grid, 0.1)
    for at in np.random.default_rng(0).integers(0, 33, (60, 3)):  # alone, a point is a cell of its own
        one = hull_field(outlines, Grid(grid.corner + grid.spacing * at, grid.spacing, np.ones(3, np.int64)), 0.1)
        assert one[0, 0, 0] == pytest.approx(field[tuple(at)], abs=1e-5)


def test_a_photo_that_cuts_the_object_off_says_nothing_beyond_its_border() -> None:
    cameras = cameras_at(ring(1), SIZE)
    whole, cut = np.zeros((2, SIZE, SIZE), bool)
    whole[30:40, 30:40] = True
    cut[30:40, :40] = True
    grid = Grid(cameras.centers[0] * 0 + [0.0, 40.0, 0.0], 1.0, np.ones(3, np.int64))  # to the side of the photo
    values = [hull_field(Silhouettes([mask], cameras), grid, 0.1)[0, 0, 0] for mask in (whole, cut)]
    assert values == [1.0, 1.0]  # nobody looks there, so it is empty all the same
    both = cameras_at([*ring(1), *ring(4, 60.0)[1:2]], SIZE)
    wide = np.zeros((SIZE, SIZE), bool)
    wide[5:-5, 5:-5] = True
    values = [hull_field(Silhouettes([mask, wide], both), grid, 0.1)[0, 0, 0] for mask in (whole, cut)]
    assert values == [1.0, -1.0]


@pytest.mark.parametrize("rows", [slice(10, 60), slice(10, None), slice(None)])
def test_an_object_leaves_most_of_the_border_free(rows: slice) -> None:
    mask = np.zeros((SIZE, SIZE), bool)
    mask[rows, 20:50] = True
    assert is_outline(mask)
    assert not is_outline(~mask) and not is_outline(np.zeros_like(mask)) and not is_outline(np.ones_like(mask))


def test_large_masks_are_reduced() -> None:
    mask = np.zeros((1400, 2600), bool)
    mask[200:600, 400:800] = True
    (one,) = Silhouettes([mask], cameras_at(ring(1), SIZE))
    assert one.outside_px.shape == (689, 1280) and one.whole
    assert one.outside_px.min() == pytest.approx(-200 * 1280 / 2600, abs=1)


def test_what_faces_no_camera_becomes_flat() -> None:
    cone = trimesh.creation.cone(radius=1, height=0.6, sections=32)
    vertices, faces = trimesh.remesh.subdivide_to_size(cone.vertices * [1, 1, -1], cone.faces[:, ::-1], 0.2)
    centers = np.array([[3 * np.cos(a), 3 * np.sin(a), 1.9] for a in np.arange(8) * np.pi / 4])
    top = np.array([[0, 0, 0.5]])
    moved = flattened(vertices, faces.astype(np.int32), top, centers)
    assert vertices[:, 2].min() == pytest.approx(-0.6) and np.abs(moved[:, 2]).max() < 1e-6
    low = np.concatenate([centers, centers * [1, 1, -1]])
    assert (flattened(vertices, faces.astype(np.int32), top, low) == vertices).all()


def test_the_continuation_fades() -> None:
    field, fixed = np.zeros((40, 24, 24), np.float32), np.zeros((40, 24, 24), np.bool_)
    field[20], fixed[20] = 1.0, True
    values = continue_field(field, fixed, 0.0, 2.0)[20:28, 12, 12]
    assert np.abs(values[:5] - np.exp(-np.arange(5) / 2.0)).max() < 0.05


def test_the_box_holds_the_hull_beyond_what_was_seen() -> None:
    cameras = cameras_at(ring(12), SIZE)
    lattice = Lattice((0.0, 0.0, 0.0), 0.05, 0.2, 4.0)
    outlines = Silhouettes(masks_of(cameras, BALL, STICK), cameras)
    seen = np.array([[-8.0, -8, 0], [8, 8, 18]])
    box, bare = hull_box(outlines, seen, lattice), Box.around(seen, lattice)
    assert box.low[2] * 0.05 < FOOT < bare.low[2] * 0.05
    assert (box.size % 4 == 0).all() and (box.size < 3 * bare.size).all()
    hull = Hull.of(outlines, box, lattice, 0.04)
    assert hull.outside.shape == tuple(box.size) and (hull.outside < 0).any()

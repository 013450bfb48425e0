"""Parts of the fusion: blocks, normals, weights, the continuation of the field, and who was seen all round."""

from __future__ import annotations

import numpy as np
import pytest
from depth_truth import around, cameras_at, look_at, render, ring, sphere, wall
from hypothesis import given, strategies as st

from recon3d.core.errors import ShapeError
from recon3d.dense.surface import is_seen_all_round
from recon3d.dense.tsdf import TsdfVolume
from recon3d.dense.tsdf_blocks import HALF_RANGE, SIDE, Lattice, blocks_of_map, find_block, pack, unpack
from recon3d.dense.tsdf_close import Box, continue_field
from recon3d.dense.tsdf_extract import CHUNK, march
from recon3d.dense.tsdf_pixels import PixelRays, depth_normals, map_lens, prepare_pixels
from recon3d.dense.types import DepthMap

LATTICE = Lattice((0.0, 0.0, 0.0), 0.05, 0.2, 4.0)
coordinates = st.integers(-HALF_RANGE, HALF_RANGE - 1)


@given(st.lists(st.tuples(coordinates, coordinates, coordinates), min_size=1, max_size=20))
def test_packed_blocks_come_back_and_sort_like_their_coordinates(blocks: list[tuple[int, int, int]]) -> None:
    coords = np.array(blocks, np.int32)
    keys = pack(coords)
    assert (unpack(keys) == coords).all()
    assert [blocks[i] for i in np.argsort(keys, kind="stable")] == sorted(blocks)


def test_blocks_are_found_or_not() -> None:
    keys = np.sort(pack(np.array([[0, 0, 0], [0, 0, 1], [-5, 3, 2]], np.int32)))
    assert [find_block(keys, 0, 0, 1), find_block(keys, -5, 3, 2), find_block(keys, 0, 1, 0)] == [2, 0, -1]
    assert find_block(keys[:0], 0, 0, 0) == -1


def facing(z: float, size: int = 48) -> tuple[DepthMap, np.ndarray, PixelRays]:
    cameras = cameras_at([look_at((0, 0, -3), (0, 0, 0), (0, -1, 0))], size)
    depth, rgb = render(cameras, [wall(z)])[0]
    return depth, rgb, PixelRays.of(depth.depth_z, cameras, 0)


def test_the_blocks_of_a_wall_cover_its_truncation_and_little_more() -> None:
    coords = unpack(blocks_of_map(facing(0.0)[2], LATTICE))
    side = SIDE * LATTICE.voxel
    low, high = coords[:, 2].min() * side, (coords[:, 2].max() + 1) * side
    assert low <= -0.2 < 0.2 <= high
    assert high - low <= 2 * (0.2 + side)
    columns = {(x, y) for x, y, _ in coords.tolist()}
    half = 3 * np.tan(np.radians(25))
    assert len(columns) >= (2 * half / side) ** 2


def test_blocks_beyond_reach_are_ignored() -> None:
    assert len(blocks_of_map(facing(300.0)[2], LATTICE)) == 0


@pytest.mark.parametrize("tilt", [(0, 0, -3), (2, 0, -2), (1, 2, -2)])
def test_normals_of_a_plane_are_exact(tilt: tuple[float, float, float]) -> None:
    cameras = cameras_at([look_at(tilt, (0, 0, 0), (0, -1, 0))], 48)
    depth, _ = render(cameras, [wall(0)])[0]
    normals = depth_normals(PixelRays.of(depth.depth_z, cameras, 0))
    wanted = cameras.cam_from_world[0, :3, :3] @ (0, 0, -1)
    assert np.abs(normals[4:-4, 4:-4] - wanted).max() < 5e-3


def test_lone_pixels_have_no_normal_and_no_weight() -> None:
    depth, rgb, rays = facing(0.0)
    z = np.zeros_like(depth.depth_z)
    z[10, 10], z[30:34, 30:34] = 3.0, 3.0
    cameras = cameras_at([rays.cam_from_world], 48)
    pixels = prepare_pixels(DepthMap(z, z * 0), rgb, cameras, 0, 0.0)
    assert pixels.weight[10, 10] == 0
    assert (pixels.weight[30:34, 30:34] > 1.6).all()


def test_weights_follow_sigma_and_angle() -> None:
    depth, rgb, rays = facing(0.0)
    cameras = cameras_at([rays.cam_from_world], 48)
    half = DepthMap(
        depth.depth_z, np.where(np.arange(48) < 24, 0.01, 0.03).astype(np.float32) * np.ones_like(depth.depth_z)
    )
    weight = prepare_pixels(half, rgb, cameras, 0, 0.01).weight
    assert weight[24, 12] / weight[24, 35] == pytest.approx(5, rel=0.05)
    slanted = cameras_at([look_at((3, 0, -2), (0, 0, 0), (0, -1, 0))], 48)
    other, colours = render(slanted, [wall(0)])[0]
    middle = prepare_pixels(other, colours, slanted, 0, 0.0)
    assert middle.weight[23:25, 23:25].mean() == pytest.approx(2 * 2 / np.sqrt(13), rel=0.01)
    assert middle.slant[23:25, 23:25].mean() == pytest.approx(2 / np.sqrt(13), rel=0.01)


def test_colours_must_fit_the_depth() -> None:
    depth, rgb, rays = facing(0.0)
    with pytest.raises(ShapeError, match="differ"):
        prepare_pixels(depth, rgb[:-1], cameras_at([rays.cam_from_world], 48), 0, 0.0)


def test_lenses_follow_the_size_of_the_map() -> None:
    cameras = cameras_at([np.eye(4)], 100)
    assert map_lens(cameras, 0, 50, 200) == pytest.approx(cameras.K[0][[0, 1, 0, 1], [0, 1, 2, 2]] * (2, 0.5, 2, 0.5))


def test_the_field_of_one_map_is_the_distance_to_its_wall() -> None:
    depth, rgb, rays = facing(0.0)
    cameras = cameras_at([rays.cam_from_world], 48)
    keys = blocks_of_map(rays, LATTICE)
    volume = TsdfVolume.empty(LATTICE, keys)
    volume.integrate(prepare_pixels(depth, rgb, cameras, 0, 0.0))
    index = np.arange(512)
    voxel = np.stack([index >> 6, (index >> 3) & 7, index & 7], -1)
    z = (unpack(keys)[:, None] * SIDE + voxel)[..., 2] * LATTICE.voxel
    known = volume.weight > 0
    wanted = np.minimum(-z / LATTICE.truncation, 1)
    assert np.abs(volume.distance - wanted)[known].max() < 0.02
    assert z[known].max() < LATTICE.truncation
    assert (volume.n_views[known & (np.abs(wanted) < 0.9)] == 1).all()
    assert (volume.n_views[~known] == 0).all()


def test_chunks_join_without_a_gap_or_a_double_vertex() -> None:
    centre, radius = np.array([CHUNK, CHUNK + 0.3, CHUNK - 0.4]), 40.0

    def field(chunk: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        grid = np.stack(np.meshgrid(*(np.arange(CHUNK + 1) + c * CHUNK for c in chunk), indexing="ij"), -1)
        values = ((np.linalg.norm(grid - centre, axis=-1) - radius) / 10).astype(np.float32)
        return values, np.ones(values.shape, bool), np.ones(values.shape, bool)

    vertices, faces = march(np.array(list(np.ndindex(2, 2, 2)), np.int32), field)
    assert len(vertices) - len(faces) // 2 == 2
    assert len(np.unique(vertices, axis=0)) == len(vertices)
    assert np.abs(np.linalg.norm(vertices - centre, axis=1) - radius).max() < 0.02


def test_nothing_to_march() -> None:
    ones = np.ones((CHUNK + 1,) * 3, np.float32)
    vertices, faces = march(np.zeros((1, 3), np.int32), lambda _: (ones, ones > 0, ones > 0))
    assert (len(vertices), len(faces)) == (0, 0)


def test_the_continued_field_is_harmonic_and_keeps_what_is_known() -> None:
    field, fixed = np.zeros((24, 20, 28), np.float32), np.zeros((24, 20, 28), bool)
    field[10:14, 8:12, 12:16], fixed[10:14, 8:12, 12:16] = -1.0, True
    done = continue_field(field.copy(), fixed.copy())
    assert (done[10:14, 8:12, 12:16] == -1).all()
    assert (done[0] == 1).all()
    assert (done[:, :, -1] == 1).all()
    assert done.min() >= -1
    assert done.max() <= 1
    inner = done[1:-1, 1:-1, 1:-1]
    mean = sum(np.roll(done, step, axis)[1:-1, 1:-1, 1:-1] for axis in range(3) for step in (1, -1)) / 6
    assert np.abs(inner - mean)[~fixed[1:-1, 1:-1, 1:-1]].mean() < 0.01


def test_boxes_have_room() -> None:
    box = Box.around(np.array([[0.0, 0, 0], [10.0, 50.0, 20.0]]), LATTICE)
    assert (box.low <= -5).all()
    assert (box.low + box.size >= np.array([15, 55, 25])).all()
    assert (box.size % 4 == 0).all()


def ball(n: int = 40) -> tuple[np.ndarray, np.ndarray]:
    a, b = np.meshgrid(np.linspace(0, np.pi, n), np.linspace(0, 2 * np.pi, n), indexing="ij")
    vertices = np.stack([np.sin(a) * np.cos(b), np.sin(a) * np.sin(b), np.cos(a)], -1).reshape(-1, 3)
    i = (np.arange(n - 1)[:, None] * n + np.arange(n - 1)).ravel()
    return vertices, np.concatenate([np.stack([i, i + n, i + 1], -1), np.stack([i + 1, i + n, i + n + 1], -1)])


def test_who_was_seen_all_round() -> None:
    vertices, faces = ball()
    centers = np.stack([-pose[:3, :3].T @ pose[:3, 3] for pose in ring(12)])
    assert is_seen_all_round(vertices, faces, centers)
    assert is_seen_all_round(vertices, faces, np.stack([-p[:3, :3].T @ p[:3, 3] for p in around(12)]))
    assert not is_seen_all_round(vertices, faces, centers[:6])  # half a ring
    assert not is_seen_all_round(vertices, faces, centers * 0.1)  # from inside
    assert not is_seen_all_round(vertices * (9, 9, 0.01), faces, centers * 9)  # ground
    assert not is_seen_all_round(vertices, faces[:0], centers)
    assert not is_seen_all_round(vertices, faces, centers[:2])


def test_a_sphere_hides_nothing_of_its_far_side() -> None:
    """A grazing ray leaves a curved body again behind its surface; that must not push the surface outwards."""
    cameras = cameras_at(around(12), 48)
    maps = render(cameras, [sphere((0, 0, 0), 1)])
    lattice = Lattice((0.0, 0.0, 0.0), 0.1, 0.4, 4.0)
    keys = np.unique(
        np.concatenate([blocks_of_map(PixelRays.of(d.depth_z, cameras, i), lattice) for i, (d, _) in enumerate(maps)])
    )
    volume = TsdfVolume.empty(lattice, keys)
    for index, (depth, rgb) in enumerate(maps):
        volume.integrate(prepare_pixels(depth, rgb, cameras, index, 0.0))
    index = np.arange(512)
    voxel = np.stack([index >> 6, (index >> 3) & 7, index & 7], -1)
    radius = np.linalg.norm((unpack(keys)[:, None] * SIDE + voxel) * lattice.voxel, axis=-1)
    near = (np.abs(radius - 1) < 0.02) & (volume.weight > 0.5)
    assert abs(volume.distance[near].mean()) * lattice.truncation < 0.012

"""Every kernel of the fusion against a direct statement of the same in numpy."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from depth_truth import around, cameras_at, colours_of, look_at, render, ring, sphere, wall
from hypothesis import given, settings, strategies as st

from recon3d.core.kernels import threads
from recon3d.dense.tsdf import BYTES_PER_BLOCK, N_VOXELS, TsdfVolume
from recon3d.dense.tsdf_blocks import SIDE, Lattice, blocks_of_map, find_block, pack, unpack
from recon3d.dense.tsdf_close import Box, closed_surface, continue_field
from recon3d.dense.tsdf_extract import CHUNK, extract_surface, march, vertex_colours
from recon3d.dense.tsdf_pixels import PixelMap, PixelRays, depth_normals, prepare_pixels
from recon3d.dense.types import DepthMap
from recon3d.render.cameras import Cameras

LATTICE = Lattice((0.3, -0.2, 0.1), 0.06, 0.25, 4.0)
SIZE = 40
INDEX = np.arange(N_VOXELS)
VOXEL = np.stack([INDEX >> 6, (INDEX >> 3) & 7, INDEX & 7], -1)
seeds = st.integers(0, 10_000)


def sphere_maps(n: int = 3) -> tuple[list[tuple[DepthMap, np.ndarray]], Cameras]:
    cameras = cameras_at(around(n), SIZE)
    return render(cameras, [sphere((0, 0, 0), 1)]), cameras


def world_of(keys: np.ndarray, lattice: Lattice = LATTICE) -> np.ndarray:
    """Positions of all voxels of blocks, ``[b,512,3]``."""
    return np.asarray((unpack(keys)[:, None] * SIDE + VOXEL) * lattice.voxel + lattice.origin)


def in_camera(xyz: np.ndarray, cameras: Cameras, index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Column, row and depth along z of world points."""
    cam = xyz @ cameras.cam_from_world[index, :3, :3].T + cameras.cam_from_world[index, :3, 3]
    K = cameras.K[index]
    with np.errstate(all="ignore"):
        return K[0, 0] * cam[..., 0] / cam[..., 2] + K[0, 2], K[1, 1] * cam[..., 1] / cam[..., 2] + K[1, 2], cam[..., 2]


def filled(n: int = 3, lattice: Lattice = LATTICE) -> TsdfVolume:
    maps, cameras = sphere_maps(n)
    rays = [PixelRays.of(depth.depth_z, cameras, i) for i, (depth, _) in enumerate(maps)]
    volume = TsdfVolume.empty(lattice, np.unique(np.concatenate([blocks_of_map(one, lattice) for one in rays])))
    for i, (depth, rgb) in enumerate(maps):
        volume.integrate(prepare_pixels(depth, rgb, cameras, i, 0.0))
    return volume


@given(st.lists(st.tuples(*[st.integers(-40, 40)] * 3), max_size=30), st.tuples(*[st.integers(-40, 40)] * 3))
def test_blocks_are_found_where_a_search_of_the_list_finds_them(blocks: list, wanted: tuple[int, int, int]) -> None:
    keys = np.unique(pack(np.array(blocks, np.int32).reshape(-1, 3)))
    for one in [*blocks, wanted]:
        at = find_block(keys, *one)
        assert (at >= 0) == (one in blocks)
        assert at < 0 or tuple(unpack(keys[at : at + 1])[0]) == one


@pytest.mark.parametrize(
    "pose", [look_at((0, 0, -3), (0, 0, 0), (0, -1, 0)), look_at((2, 1, -2)), look_at((-3, 0.1, 1))]
)
def test_every_block_that_the_surface_crosses_is_there(pose: np.ndarray) -> None:
    cameras = cameras_at([pose], SIZE)
    ((depth, _),) = render(cameras, [sphere((0, 0, 0), 1)])
    found = set(blocks_of_map(PixelRays.of(depth.depth_z, cameras, 0), LATTICE).tolist())
    row, col = np.nonzero(depth.depth_z)
    K, back = cameras.K[0], cameras.world_from_cam[0]
    z = depth.depth_z[row, col].astype(float)
    rays = np.stack([(col + 0.5 - K[0, 2]) / K[0, 0], (row + 0.5 - K[1, 2]) / K[1, 1], np.ones(len(z))], -1)
    for off, share in ((-LATTICE.truncation, 0.97), (0, 0.999), (LATTICE.truncation, 0.97)):
        points = (rays * (z + off)[:, None]) @ back[:3, :3].T + back[:3, 3]
        block = np.floor((points - LATTICE.origin) / (LATTICE.voxel * SIDE)).astype(np.int32)
        assert np.isin(pack(block), list(found)).mean() > share  # rays are two voxels apart; a corner may be missed


def test_blocks_come_sorted_once_and_the_same_for_any_band() -> None:
    ((depth, _),) = render(cameras_at([look_at((0, 0, -3), (0, 0, 0), (0, -1, 0))], SIZE), [wall(0)])
    rays = PixelRays.of(depth.depth_z, cameras_at([look_at((0, 0, -3), (0, 0, 0), (0, -1, 0))], SIZE), 0)
    keys = blocks_of_map(rays, LATTICE)
    assert (np.diff(keys) > 0).all()
    nothing = PixelRays(np.zeros((0, 0), np.float32), rays.lens, rays.cam_from_world)
    assert len(blocks_of_map(nothing, LATTICE)) == 0
    assert len(blocks_of_map(PixelRays.of(depth.depth_z * 0, cameras_at([np.eye(4)], SIZE), 0), LATTICE)) == 0


def expected_field(pixels: PixelMap, cameras: Cameras, keys: np.ndarray, lattice: Lattice) -> tuple[np.ndarray, ...]:
    """Distance, weight and colour sums of one map, by its definition."""
    u, v, z = in_camera(world_of(keys, lattice), cameras, 0)
    inside = (z > lattice.voxel) & (u >= 0) & (v >= 0) & (u < SIZE) & (v < SIZE)
    col, row = (np.where(inside, x, 0).astype(int) for x in (u, v))
    inverse = pixels.rays.inverse_z
    known = inside & (pixels.weight[row, col] > 0)
    with np.errstate(divide="ignore"):
        depth = np.where(known, 1 / inverse[row, col], np.nan)
    distance = np.minimum((depth - z) * pixels.slant[row, col] / lattice.truncation, 1)
    known &= z - depth < lattice.truncation
    weight = np.where(distance < -0.25, (1 + distance) / 0.75, 1.0) * pixels.weight[row, col]
    return known, np.where(known, distance, 0), np.where(known, weight, 0), row, col


def test_one_map_is_integrated_as_its_definition_says() -> None:
    cameras = cameras_at([look_at((0, 0, -3), (0.2, 0.1, 0), (0, -1, 0))], SIZE)
    ((depth, rgb),) = render(cameras, [wall(0.0)])
    flat = DepthMap(np.full_like(depth.depth_z, 3.0), depth.sigma)  # one depth: pixels and what lies between agree
    pixels = prepare_pixels(flat, rgb, cameras, 0, 0.0)
    volume = TsdfVolume.empty(LATTICE, blocks_of_map(pixels.rays, LATTICE))
    volume.integrate(pixels)
    known, distance, weight, row, col = expected_field(pixels, cameras, volume.keys, LATTICE)
    clear = np.abs(np.abs(distance) - 1) > 1e-4
    differs = (volume.weight > 0) != (known & (weight > 0))
    assert (differs & clear).mean() < 1e-3  # a voxel on the border of a pixel may fall on either side
    both = (volume.weight > 0) & known & ~differs
    np.testing.assert_allclose(volume.distance[both], distance[both], atol=2e-3)
    assert np.quantile(np.abs(volume.weight[both] - weight[both]), 0.99) < 0.02
    coloured = both & (np.abs(distance) < 0.49)
    mean = volume.colour[coloured][:, :3] / volume.colour[coloured][:, 3:]
    assert np.quantile(np.abs(mean - rgb[row, col][coloured]), 0.99) < 4


@pytest.mark.parametrize("times", [2, 5])
def test_the_same_map_again_adds_weight_and_changes_no_distance(times: int) -> None:
    maps, cameras = sphere_maps(1)
    pixels = prepare_pixels(*maps[0], cameras, 0, 0.0)
    keys = blocks_of_map(pixels.rays, LATTICE)
    once, often = TsdfVolume.empty(LATTICE, keys), TsdfVolume.empty(LATTICE, keys)
    once.integrate(pixels)
    for _ in range(times):
        often.integrate(pixels)
    np.testing.assert_allclose(often.distance, once.distance, atol=1e-6)
    np.testing.assert_allclose(often.weight, times * once.weight, rtol=1e-5)
    assert (often.n_views == times * once.n_views).all()


def test_the_number_of_views_stops_at_255() -> None:
    maps, cameras = sphere_maps(1)
    pixels = prepare_pixels(*maps[0], cameras, 0, 0.0)
    volume = TsdfVolume.empty(LATTICE, blocks_of_map(pixels.rays, LATTICE)[:40])
    for _ in range(260):
        volume.integrate(pixels)
    assert volume.n_views.max() == 255


def test_the_order_of_maps_changes_only_rounding() -> None:
    maps, cameras = sphere_maps(5)
    one = filled(5)
    other = TsdfVolume.empty(LATTICE, one.keys)
    for i in reversed(range(5)):
        other.integrate(prepare_pixels(*maps[i], cameras, i, 0.0))
    np.testing.assert_allclose(one.distance, other.distance, atol=2e-6)
    np.testing.assert_allclose(one.weight, other.weight, rtol=1e-5)
    assert (one.n_views == other.n_views).all()


def test_any_number_of_threads_fills_the_same_bits() -> None:
    fields = []
    for n in (1, 3):
        with threads(n):
            volume = filled(2)
            fields.append([getattr(volume, name).tobytes() for name in ("distance", "weight", "colour", "n_views")])
    assert fields[0] == fields[1]


def test_a_block_takes_the_memory_that_is_planned_for_it() -> None:
    volume = TsdfVolume.empty(LATTICE, np.arange(7))
    fields = (volume.distance, volume.weight, volume.colour, volume.n_views)
    assert sum(field.nbytes for field in fields) == 7 * BYTES_PER_BLOCK


def test_blocks_outside_the_view_are_not_touched() -> None:
    maps, cameras = sphere_maps(1)
    coords = np.array(list(product(range(-6, 7), repeat=3)), np.int32)
    volume = TsdfVolume.empty(LATTICE, np.sort(pack(coords)))
    volume.integrate(prepare_pixels(*maps[0], cameras, 0, 0.0))
    u, v, z = in_camera(world_of(volume.keys), cameras, 0)
    outside = ~((z > 0) & (u > -0.01) & (v > -0.01) & (u < SIZE + 0.01) & (v < SIZE + 0.01))
    assert (volume.weight[outside] == 0).all() and (volume.weight > 0).any()


@settings(max_examples=25)
@given(seeds)
def test_normals_are_those_of_the_least_squares_plane_in_inverse_depth(seed: int) -> None:
    random = np.random.default_rng(seed)
    h, w, lens = 9, 11, np.array([30.0, 25.0, 5.2, 4.1])
    inverse = (0.3 + 0.002 * random.normal(size=(h, w))).astype(np.float32)
    inverse[random.random((h, w)) < 0.2] = 0
    normals = depth_normals(PixelRays(inverse, lens, np.eye(4)))
    for row, col in zip(*np.nonzero(inverse), strict=True):
        rows, cols = slice(max(row - 3, 0), row + 4), slice(max(col - 3, 0), col + 4)
        r, c = np.meshgrid(np.arange(h)[rows], np.arange(w)[cols], indexing="ij")
        q = inverse[rows, cols].astype(float)
        use = (q > 0) & (np.abs(q - inverse[row, col]) < 0.05 * inverse[row, col])
        if use.sum() < 12:
            continue
        design = np.stack([c[use] - col, r[use] - row, np.ones(use.sum())], -1)
        a, b, _ = np.linalg.lstsq(design, q[use], rcond=None)[0]
        a, b = a * lens[0], b * lens[1]
        x, y = (col + 0.5 - lens[2]) / lens[0], (row + 0.5 - lens[3]) / lens[1]
        plane = -np.array([a, b, inverse[row, col] - a * x - b * y])
        np.testing.assert_allclose(normals[row, col], plane / np.linalg.norm(plane), atol=0.01)


@given(st.floats(0.1, 8), st.floats(0.0, 0.1))
def test_weights_are_cosine_times_certainty(usual: float, sigma: float) -> None:
    cameras = cameras_at([look_at((1, 0.5, -3), (0, 0, 0), (0, -1, 0))], 16)
    ((depth, rgb),) = render(cameras, [wall(0)])
    normal = np.broadcast_to(cameras.cam_from_world[0, :3, :3] @ (0, 0, -1), (16, 16, 3)).astype(np.float32)
    given_sigma = DepthMap(depth.depth_z, np.full_like(depth.depth_z, sigma), np.ascontiguousarray(normal))
    found = prepare_pixels(given_sigma, rgb, cameras, 0, 0.01 * usual)
    at = (np.arange(16) + 0.5 - 8) / cameras.K[0, 0, 0]
    rays = np.stack([*np.meshgrid(at, at), np.ones((16, 16))], -1)
    facing = np.abs((rays * normal).sum(-1))
    cosine = facing / np.linalg.norm(rays, axis=-1)
    np.testing.assert_allclose(found.slant, facing, rtol=1e-4)
    np.testing.assert_allclose(found.weight, 2 * cosine / (1 + (sigma / (0.01 * usual)) ** 2), rtol=1e-3)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -1.0, 0.0])
def test_depths_that_are_none_weigh_nothing(bad: float) -> None:
    maps, cameras = sphere_maps(1)
    depth = maps[0][0].depth_z.copy()
    depth[10:20, 10:20] = bad
    pixels = prepare_pixels(DepthMap(depth, maps[0][0].sigma), maps[0][1], cameras, 0, 0.0)
    assert (pixels.weight[10:20, 10:20] == 0).all() and (pixels.rays.inverse_z[10:20, 10:20] == 0).all()
    assert np.isfinite(pixels.weight).all() and pixels.weight.max() <= 2 + 1e-5


@pytest.mark.parametrize(("min_weight", "min_views"), [(0.0, 1), (1.0, 1), (1.0, 2), (2.5, 3)])
def test_the_surface_lies_only_where_voxels_are_known_and_confirmed(min_weight: float, min_views: int) -> None:
    volume = filled(12)
    vertices, faces = extract_surface(volume, min_weight, min_views)
    voxels = unpack(volume.keys)[:, None] * SIDE + VOXEL
    known = {tuple(p) for p in voxels[(volume.weight >= min_weight) & (volume.n_views > 0)].tolist()}
    centres = vertices[faces].mean(1)
    corners = np.floor(centres).astype(int)[:, None] + np.array(list(product((0, 1), repeat=3)))
    complete = [all(tuple(c) in known for c in cell.tolist()) for cell in corners[:: max(1, len(corners) // 200)]]
    assert len(faces) > 100 and np.mean(complete) > 0.97  # a triangle between two cells may be counted to either
    radius = np.linalg.norm(vertices * LATTICE.voxel + LATTICE.origin, axis=1)
    assert np.abs(radius - 1).max() < 0.6 * LATTICE.voxel


def test_asking_for_more_views_or_weight_never_adds_surface() -> None:
    volume = filled(6)
    n = [[len(extract_surface(volume, weight, views)[1]) for views in (1, 2, 4)] for weight in (0.5, 2.0)]
    assert n[0] == sorted(n[0], reverse=True) and n[1] == sorted(n[1], reverse=True)
    assert all(a >= b for a, b in zip(n[0], n[1], strict=True))
    assert len(extract_surface(volume, 1.0, 250)[1]) == 0


@settings(max_examples=20)
@given(seeds)
def test_colours_of_vertices_are_trilinear_means_of_their_voxels(seed: int) -> None:
    random = np.random.default_rng(seed)
    volume = TsdfVolume.empty(LATTICE, np.sort(pack(np.array(list(product((-1, 0), repeat=3)), np.int32))))
    weight = random.integers(0, 3, volume.colour.shape[:2])
    rgb = random.integers(0, 256, (*weight.shape, 3))
    volume.colour[..., :3], volume.colour[..., 3] = weight[..., None] * rgb, weight
    vertices = random.uniform(-6, 6, (5, 3))
    place = {
        tuple(p): (b, i)
        for (b, i), p in zip(
            np.ndindex(8, N_VOXELS), (unpack(volume.keys)[:, None] * SIDE + VOXEL).reshape(-1, 3).tolist(), strict=True
        )
    }
    found = vertex_colours(volume, vertices)
    for vertex, colour in zip(vertices, found, strict=True):
        total = np.zeros(4)
        for corner in product((0, 1), repeat=3):
            at = np.floor(vertex).astype(int) + corner
            b, i = place[tuple(at.tolist())]
            near = np.prod(1 - np.abs(vertex - at)) * (weight[b, i] > 0)
            total += near * np.append(rgb[b, i], 1)
        if total[3] > 1e-3:
            np.testing.assert_allclose(colour, total[:3] / total[3], atol=0.51)


def test_vertices_without_a_colour_take_that_of_the_nearest() -> None:
    volume = TsdfVolume.empty(LATTICE, pack(np.zeros((1, 3), np.int32)))
    volume.colour[:] = (10, 20, 30, 1)
    found = vertex_colours(volume, np.array([[3.0, 3.0, 3.0], [90.0, 0.0, 0.0]]))
    assert found.tolist() == [[10, 20, 30]] * 2
    volume.colour[:] = 0
    assert vertex_colours(volume, np.ones((2, 3))).tolist() == [[0, 0, 0]] * 2


def harmonic(shape: tuple[int, ...], seed: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    field, fixed = np.ones(shape, np.float32), np.zeros(shape, bool)
    for _ in range(4):
        at = tuple(random.integers(2, n - 5) for n in shape)
        part = tuple(slice(a, a + 3) for a in at)
        field[part], fixed[part] = random.uniform(-1, 1), True
    return field, fixed


@pytest.mark.parametrize("shape", [(12, 12, 12), (16, 20, 28), (33, 17, 41), (8, 64, 8)])
@pytest.mark.parametrize("seed", [0, 1])
def test_what_is_continued_lies_between_what_is_known(shape: tuple[int, ...], seed: int) -> None:
    field, fixed = harmonic(shape, seed)
    done = continue_field(field.copy(), fixed.copy())
    inner = fixed.copy()
    inner[[0, -1]] = inner[:, [0, -1]] = inner[:, :, [0, -1]] = False
    assert (done[inner] == field[inner]).all()
    assert done.min() >= field[fixed].min() - 1e-6 and done.max() <= 1 + 1e-6
    for border in (done[0], done[-1], done[:, 0], done[:, -1], done[:, :, 0], done[:, :, -1]):
        assert (border == 1).all()


def test_with_nothing_known_all_is_empty() -> None:
    assert (continue_field(np.zeros((20, 16, 24), np.float32), np.zeros((20, 16, 24), bool)) == 1).all()


@pytest.mark.parametrize("n", [1, 3])
def test_a_continued_field_has_the_same_bits_on_any_threads_and_turns_with_its_axes(n: int) -> None:
    field, fixed = harmonic((24, 24, 24), 3)
    with threads(n):
        one = continue_field(field.copy(), fixed.copy())
        turned = continue_field(
            np.ascontiguousarray(field.transpose(2, 0, 1)), np.ascontiguousarray(fixed.transpose(2, 0, 1))
        )
    with threads(2):
        assert (continue_field(field.copy(), fixed.copy()) == one).all()
    np.testing.assert_allclose(turned.transpose(1, 2, 0), one, atol=1e-5)


@pytest.mark.parametrize("min_views", [1, 2])
def test_a_closed_surface_is_watertight_and_keeps_what_was_seen(min_views: int) -> None:
    lattice = Lattice((0.0, 0.0, 0.0), 0.1, 0.4, 4.0)
    maps, cameras = render(cameras_at(ring(8), SIZE), [sphere((0, 0, 0), 1)]), cameras_at(ring(8), SIZE)
    rays = [PixelRays.of(depth.depth_z, cameras, i) for i, (depth, _) in enumerate(maps)]
    volume = TsdfVolume.empty(lattice, np.unique(np.concatenate([blocks_of_map(one, lattice) for one in rays])))
    for i, one in enumerate(maps):
        volume.integrate(prepare_pixels(*one, cameras, i, 0.0))
    seen, _ = extract_surface(volume, 1.0, 2)
    vertices, faces = closed_surface(volume, Box.around(seen, lattice), 1.0, rays, min_views)
    edges = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1)
    assert (np.unique(edges, axis=0, return_counts=True)[1] % 2 == 0).all()
    radius = np.linalg.norm(vertices * lattice.voxel, axis=1)
    assert radius.max() < 1.1 and np.median(np.abs(radius - 1)) < 0.02


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("height", [10.25, CHUNK - 0.5, CHUNK + 0.25])
def test_marched_planes_are_exact_and_face_the_positive_side(axis: int, height: float) -> None:
    def field(chunk: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        grid = np.stack(np.meshgrid(*(np.arange(CHUNK + 1) + c * CHUNK for c in chunk), indexing="ij"), -1)
        values = ((grid[..., axis] - height) / 16).astype(np.float32)
        known = np.ones(values.shape, bool)
        return values, known, known

    chunks = np.zeros((2, 3), np.int32)
    chunks[1, axis] = 1
    vertices, faces = march(chunks, field)
    np.testing.assert_allclose(vertices[:, axis], height, atol=1e-4)
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    assert (np.cross(b - a, c - a)[:, axis] > 0).all()
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2
    assert area == pytest.approx(CHUNK**2, rel=1e-4)


@given(st.lists(st.tuples(*[st.floats(-300, 300)] * 3), min_size=1, max_size=9))
def test_a_box_holds_its_surface_with_room_around_it(points: list[tuple[float, ...]]) -> None:
    vertices = np.array(points)
    room = max(LATTICE.truncation / LATTICE.voxel, 0.1 * np.ptp(vertices, axis=0).max())
    box = Box.around(vertices, LATTICE)
    assert (box.low + room <= vertices.min(0)).all() and (box.low + box.size - 1 - room >= vertices.max(0)).all()
    assert box.memory_bytes == 16 * box.size.prod() and (box.size % 4 == 0).all()


def test_colours_of_a_filled_sphere_are_those_of_its_points() -> None:
    volume = filled(8)
    vertices, _ = extract_surface(volume, 1.0, 1)
    found = vertex_colours(volume, vertices).astype(float)
    wanted = colours_of(vertices * LATTICE.voxel + LATTICE.origin)
    assert np.median(np.abs(found - wanted)) < 2 and np.quantile(np.abs(found - wanted), 0.99) < 8

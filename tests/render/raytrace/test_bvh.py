"""The hierarchy finds what brute force in float64 finds, lets nothing through, and says what it does not take."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from ray_scenes import grid_faces, sphere

from recon3d.core.errors import InputError, ShapeError, UsageError
from recon3d.core.kernels import threads
from recon3d.render.raytrace import Bvh, brute_force
from recon3d.render.raytrace.bvh_nodes import N_LANES
from recon3d.render.raytrace.bvh_tree import MAX_LEAF, build_tree

Soup = tuple[np.ndarray, np.ndarray]


def soup(n: int, size: float, seed: int) -> Soup:
    """Triangles without neighbours."""
    rng = np.random.default_rng(seed)
    corners = rng.normal(size=(n, 1, 3)) + size * rng.normal(size=(n, 3, 3))
    return corners.reshape(-1, 3).astype(np.float32), np.arange(3 * n, dtype=np.int32).reshape(-1, 3)


def needles(n: int, seed: int) -> Soup:
    """Triangles a thousand times longer than wide, along all directions."""
    rng = np.random.default_rng(seed)
    start, along, across = rng.normal(size=(3, n, 3))
    corners = np.stack([start, start + 3 * along, start + 0.003 * across], axis=1)
    return corners.reshape(-1, 3).astype(np.float32), np.arange(3 * n, dtype=np.int32).reshape(-1, 3)


def geometric(n: int) -> Soup:
    """Triangles whose sizes and places shrink by a third each: what makes a tree deep."""
    scale = (2.0 / 3.0) ** np.arange(n)[:, None, None]
    corners = scale * np.array([[1, 0, 0], [1, 1, 0], [1, 0, 1]])
    return corners.reshape(-1, 3).astype(np.float32), np.arange(3 * n, dtype=np.int32).reshape(-1, 3)


def copies(n: int) -> Soup:
    """The same triangle again and again."""
    return np.array([[0, 0, 1], [1, 0, 1], [0, 1, 1]], np.float32), np.tile([[0, 1, 2]], (n, 1)).astype(np.int32)


def flat_grid() -> Soup:
    x, y = np.meshgrid(np.linspace(-1, 1, 12), np.linspace(-1, 1, 12), indexing="ij")
    return np.stack([x, y, 0 * x], axis=-1).reshape(-1, 3).astype(np.float32), grid_faces(12, 12)


MESHES = {
    "one triangle": soup(1, 1.0, 0),
    "sixteen": soup(16, 0.5, 1),
    "seventeen": soup(17, 0.5, 2),
    "small triangles": soup(900, 0.1, 3),
    "large triangles": soup(300, 3.0, 4),
    "needles": needles(400, 5),
    "geometric": geometric(80),
    "flat": flat_grid(),
    "sphere": (sphere().vertices, sphere().faces),
    "copies": copies(70),
}


def rays_about(vertices: np.ndarray, n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rays from in and around a mesh to places in it, and some along the axes."""
    rng = np.random.default_rng(seed)
    low, high = vertices.min(axis=0).astype(float), vertices.max(axis=0).astype(float)
    spread = (high - low).max()
    origins = rng.uniform(low - spread, high + spread, (n, 3))
    directions = rng.uniform(low, high, (n, 3)) - origins
    directions *= rng.lognormal(0, 2, (n, 1))
    axis = rng.integers(0, 3, n // 4)
    directions[: n // 4] = np.eye(3)[axis] * rng.choice([-1.0, 1.0], (n // 4, 1))
    return origins.astype(np.float32), directions.astype(np.float32)


def margins(mesh: Soup, origins: np.ndarray, directions: np.ndarray, face: np.ndarray) -> np.ndarray:
    """How far inside its triangle a hit is, as its least weight; 0 = on the border."""
    _, uv = brute_force.crossings(mesh[0], mesh[1], origins, directions)
    own = uv[np.arange(len(face)), face]
    return np.minimum(own.min(axis=-1), 1 - own.sum(axis=-1))


@pytest.mark.parametrize("name", MESHES)
def test_hits_are_those_of_brute_force(name: str) -> None:
    mesh = MESHES[name]
    origins, directions = rays_about(mesh[0], 1500, seed=7)
    got, want = Bvh(*mesh).closest_hit(origins, directions), brute_force.closest_hit(*mesh, origins, directions)
    same = got.face == want.face
    both = same & (want.face >= 0)
    assert both.any()
    np.testing.assert_allclose(got.t[both], want.t[both], rtol=2e-4)
    np.testing.assert_allclose(got.uv[both], want.uv[both], atol=2e-3 if name == "needles" else 1e-4)
    # The others lie on the border of a triangle, or in two triangles at the same distance.
    for one, other in ((got, want), (want, got)):
        rows = np.flatnonzero(~same & (one.face >= 0))
        tie = np.isclose(one.t[rows], other.t[rows], rtol=1e-5)
        edge = np.abs(margins(mesh, origins[rows], directions[rows], one.face[rows])) < 1e-4
        assert (tie | edge).all()
    assert (~same).mean() < 0.01


@pytest.mark.parametrize("name", MESHES)
def test_any_hit_says_whether_there_is_a_closest_one(name: str) -> None:
    bvh = Bvh(*MESHES[name])
    origins, directions = rays_about(MESHES[name][0], 1500, seed=8)
    near, far = 0.125, np.random.default_rng(0).uniform(0, 2, 1500).astype(np.float32)
    hits = bvh.closest_hit(origins, directions, near, far)
    np.testing.assert_array_equal(bvh.any_hit(origins, directions, near, far), hits.face >= 0)
    found = hits.face >= 0
    assert (hits.t[found] > near).all()
    assert (hits.t[found] < far[found]).all()
    assert np.isinf(hits.t[~found]).all()


def test_no_ray_slips_through_edges_and_corners() -> None:
    """A closed surface of triangles of all shapes, seen from inside, through its vertices and points of its edges."""
    rng = np.random.default_rng(11)
    mesh = sphere(25)
    bent = (mesh.vertices * rng.uniform(0.5, 1.5, (len(mesh.vertices), 1))).astype(np.float32)
    bent = bent.reshape(25, 49, 3)
    bent[:, -1], bent[0], bent[-1] = bent[:, 0], bent[0, 0], bent[-1, 0]  # closed across the seam and at the poles
    vertices = bent.reshape(-1, 3)
    corners = vertices[mesh.faces]
    start = rng.normal(size=(3, 3)).astype(np.float32) * 0.05
    along = rng.random((len(corners), 1)).astype(np.float32)
    targets = np.concatenate([vertices, *(corners[:, k] * along + corners[:, k - 1] * (1 - along) for k in range(3))])
    bvh = Bvh(vertices, mesh.faces)
    for origin in start:
        origins = np.broadcast_to(origin, targets.shape)
        assert bvh.any_hit(origins, targets - origin).all()
        assert (bvh.closest_hit(origins, targets - origin).face >= 0).all()


def test_no_ray_slips_through_a_grid_seen_along_its_edges() -> None:
    vertices, faces = flat_grid()
    bvh = Bvh(vertices, faces)
    lines = np.linspace(-1, 1, 12, dtype=np.float32)
    x, y = np.meshgrid(lines, np.linspace(-1, 1, 500, dtype=np.float32))
    for columns in ((0, 1), (1, 0)):
        origins = np.zeros((x.size, 3), np.float32)
        origins[:, columns[0]], origins[:, columns[1]], origins[:, 2] = x.ravel(), y.ravel(), 5
        assert bvh.any_hit(origins, np.broadcast_to(np.float32([0, 0, -1]), origins.shape)).all()


def test_far_origins_do_not_open_gaps() -> None:
    mesh = sphere(25)
    rng = np.random.default_rng(2)
    origins = rng.normal(size=(2000, 3)).astype(np.float32) * 3e4
    targets = 0.5 * rng.normal(size=(2000, 3)) / 3
    inside = np.linalg.norm(targets, axis=1) < 0.9
    hit = Bvh(mesh.vertices, mesh.faces).any_hit(origins, (targets - origins).astype(np.float32))
    assert hit[inside].all()


@pytest.mark.parametrize("exponent", [-120, -40, 0, 40, 110])
def test_the_scale_of_the_world_does_not_matter(exponent: int) -> None:
    mesh, scale = MESHES["small triangles"], np.float32(2.0**exponent)
    origins, directions = rays_about(mesh[0], 500, seed=5)
    one = Bvh(*mesh).closest_hit(origins, directions)
    other = Bvh(mesh[0] * scale, mesh[1]).closest_hit(origins * scale, directions)
    np.testing.assert_array_equal(one.face, other.face)
    np.testing.assert_array_equal(one.t * scale, other.t)


@settings(max_examples=20)
@given(st.integers(-100, 100))
def test_the_length_of_a_direction_only_scales_the_distance(exponent: int) -> None:
    origins, directions = rays_about(MESHES["sphere"][0], 200, seed=6)
    scale = np.float32(2.0**exponent)
    bvh = Bvh(*MESHES["sphere"])
    one, other = bvh.closest_hit(origins, directions), bvh.closest_hit(origins, directions * scale)
    np.testing.assert_array_equal(one.face, other.face)
    np.testing.assert_array_equal(one.t, other.t * scale)


def test_of_equally_near_faces_the_first_is_hit() -> None:
    bvh = Bvh(*MESHES["copies"])
    hits = bvh.closest_hit(np.array([[0.2, 0.2, 0.0]]), np.array([[0.0, 0.0, 1.0]]))
    assert hits.face.tolist() == [0]
    assert hits.t.tolist() == [1.0]


def test_bounds_are_open() -> None:
    bvh = Bvh(*MESHES["copies"])
    origins, directions = np.tile([[0.2, 0.2, 0.0]], (4, 1)), np.tile([[0.0, 0.0, 1.0]], (4, 1))
    near, far = np.array([0.0, 1.0, 0.0, 0.99]), np.array([1.0, 2.0, 1.01, 1.01])
    assert (bvh.closest_hit(origins, directions, near, far).face >= 0).tolist() == [False, False, True, True]
    assert bvh.any_hit(origins, directions, near, far).tolist() == [False, False, True, True]


def test_a_triangle_is_hit_from_both_sides() -> None:
    bvh = Bvh(*MESHES["copies"])
    both = bvh.closest_hit(np.array([[0.2, 0.2, 0.0], [0.2, 0.2, 2.0]]), np.array([[0, 0, 1.0], [0, 0, -1.0]]))
    np.testing.assert_array_equal(both.face, [0, 0])
    np.testing.assert_allclose(both.uv, [[0.2, 0.2], [0.2, 0.2]], atol=1e-6)


@pytest.mark.parametrize(
    ("origin", "direction"),
    [
        ([0, 0, 0], [0, 0, 0]),
        ([0, 0, 0], [0, np.nan, 1]),
        ([0, 0, 0], [0, 0, np.inf]),
        ([np.nan, 0, 0], [0, 0, 1]),
        ([0.2, 0.2, -np.inf], [0, 0, 1]),
        ([0.2, 0.2, -1e30], [0, 0, 1]),
        ([0.2, 0.2, 0.0], [0, 0, 1e-200]),
    ],
)
def test_rays_without_meaning_hit_nothing(origin: list[float], direction: list[float]) -> None:
    bvh = Bvh(*MESHES["copies"])
    hits = bvh.closest_hit(np.array([origin], float), np.array([direction], float))
    assert (hits.face[0], hits.t[0], hits.uv.tolist()) == (-1, np.inf, [[0, 0]])
    assert not bvh.any_hit(np.array([origin], float), np.array([direction], float))[0]


def test_an_empty_mesh_is_hit_by_nothing() -> None:
    bvh = Bvh(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.int32))
    assert bvh.closest_hit(np.zeros((5, 3)), np.ones((5, 3))).face.tolist() == [-1] * 5
    assert not bvh.any_hit(np.zeros((5, 3)), np.ones((5, 3))).any()
    assert len(bvh.closest_hit(np.zeros((0, 3)), np.zeros((0, 3))).face) == 0


def test_triangles_with_equal_corners_are_never_hit_and_hide_nothing() -> None:
    vertices, faces = MESHES["copies"]
    none = np.array([[0, 0, 0], [0, 1, 1], [1, 1, 2], [2, 2, 2]], np.int32)
    line = np.array([[0.125, 0.125, 0.5], [0.25, 0.25, 0.5], [0.375, 0.375, 0.5]], np.float32)
    mesh = np.concatenate([vertices, line]), np.concatenate([none, [[3, 4, 5]], faces]).astype(np.int32)
    hits = Bvh(*mesh).closest_hit(np.array([[0.25, 0.25, 0.0]]), np.array([[0, 0, 1.0]]))
    assert hits.face.tolist() == [5]


def test_refit_finds_what_a_new_hierarchy_finds() -> None:
    vertices, faces = MESHES["small triangles"]
    moved = (vertices * 3 + np.random.default_rng(1).normal(size=vertices.shape)).astype(np.float32)
    bvh = Bvh(vertices, faces)
    bvh.refit(moved)
    origins, directions = rays_about(moved, 1000, seed=3)
    fresh = Bvh(moved, faces).closest_hit(origins, directions)
    for one, other in zip(bvh.closest_hit(origins, directions), fresh, strict=True):
        np.testing.assert_array_equal(one, other)
    bvh.refit(vertices)
    origins, directions = rays_about(vertices, 1000, seed=3)
    np.testing.assert_array_equal(
        bvh.closest_hit(origins, directions).t, Bvh(vertices, faces).closest_hit(origins, directions).t
    )


def test_threads_change_no_bit() -> None:
    bvh = Bvh(*MESHES["small triangles"])
    origins, directions = rays_about(MESHES["small triangles"][0], 20000, seed=4)
    results = []
    for n_threads in (1, 3):
        with threads(n_threads):
            results.append((*bvh.closest_hit(origins, directions), bvh.any_hit(origins, directions)))
    for one, other in zip(*results, strict=True):
        np.testing.assert_array_equal(one, other)


def test_rays_keep_their_order() -> None:
    bvh = Bvh(*MESHES["sphere"])
    origins, directions = rays_about(MESHES["sphere"][0], 9000, seed=4)
    order = np.random.default_rng(0).permutation(9000)
    there, mixed = bvh.closest_hit(origins, directions), bvh.closest_hit(origins[order], directions[order])
    np.testing.assert_array_equal(there.t[order], mixed.t)
    np.testing.assert_array_equal(there.face[order], mixed.face)


@pytest.mark.parametrize("name", MESHES)
def test_every_face_is_in_one_leaf_inside_the_boxes_of_its_parents(name: str) -> None:
    nodes = Bvh(*MESHES[name]).nodes
    held = nodes.faces[nodes.faces >= 0]
    assert sorted(held.tolist()) == list(range(len(MESHES[name][1])))
    assert (nodes.faces >= 0).sum(axis=1).min() >= 1
    planes = nodes.boxes[:, :72].reshape(-1, 3, 3, 8)
    np.testing.assert_array_equal(planes[:, :, 0], planes[:, :, 2])
    for node, children in enumerate(nodes.children):
        for child, what in enumerate(children):
            low, high = planes[node, :, 0, child], planes[node, :, 1, child]
            if what >= 0:
                assert what > node
                assert (low == planes[what, :, 0].min(axis=1)).all()
                assert (high == planes[what, :, 1].max(axis=1)).all()
            elif what != np.iinfo(np.int32).min:
                block = nodes.blocks[~what].reshape(3, 3, N_LANES)
                np.testing.assert_array_equal(low, np.nanmin(block, axis=(0, 2)))
                np.testing.assert_array_equal(high, np.nanmax(block, axis=(0, 2)))
            else:
                assert (low > high).all()


def test_leaves_are_small_and_no_tree_is_deep() -> None:
    corners = geometric(200)[0].reshape(-1, 3, 3)
    tree = build_tree(corners.min(axis=1), corners.max(axis=1))
    depth = np.zeros(len(tree.first), int)
    for node in np.flatnonzero(tree.n_faces == 0):
        depth[tree.first[node] : tree.first[node] + 2] = depth[node] + 1
    assert tree.n_faces.max() <= MAX_LEAF
    assert depth.max() < 128


def test_what_is_not_taken() -> None:
    vertices, faces = MESHES["copies"]
    with pytest.raises(InputError, match="vertex 1 of face 0 is not finite"):
        Bvh(np.array([[0, 0, 0], [np.nan, 0, 0], [0, 1, 0]]), faces)
    with pytest.raises(InputError, match="not finite in float32"):
        Bvh(vertices.astype(np.float64) * 1e39, faces)
    Bvh(np.concatenate([vertices, [[np.nan] * 3]]), faces)  # no face uses it
    with pytest.raises(ShapeError, match="names a vertex that is not there; got: 3"):
        Bvh(vertices, np.array([[0, 1, 3]]))
    with pytest.raises(ShapeError, match="names a vertex that is not there; got: -1"):
        Bvh(vertices, np.array([[0, 1, -1]]))
    bvh, ray = Bvh(vertices, faces), np.ones((2, 3))
    with pytest.raises(InputError):
        bvh.refit(np.full((3, 3), np.inf))
    with pytest.raises(ShapeError, match="the same vertices"):
        bvh.refit(vertices[:2])
    for bad in (-1.0, np.nan):
        with pytest.raises(UsageError, match="t_min must not be negative or NaN"):
            bvh.closest_hit(ray, ray, bad)
        with pytest.raises(UsageError, match="t_max must not be negative or NaN"):
            bvh.any_hit(ray, ray, 0.0, bad)


@pytest.mark.usefixtures("without_shape_checks")
def test_shapes_that_do_not_agree_are_refused() -> None:
    vertices, faces = MESHES["copies"]
    with pytest.raises(ShapeError, match="three vertices"):
        Bvh(vertices, faces[:, :2])
    with pytest.raises(ShapeError, match="three coordinates"):
        Bvh(vertices[:, :2], np.zeros((0, 3), np.int32))
    bvh = Bvh(vertices, faces)
    with pytest.raises(ShapeError, match="rays do not agree"):
        bvh.closest_hit(np.ones((2, 3)), np.ones((3, 3)))
    with pytest.raises(ShapeError, match="t_max is one number or one for every ray"):
        bvh.closest_hit(np.ones((2, 3)), np.ones((2, 3)), 0.0, np.ones(3))

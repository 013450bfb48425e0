"""Rasterisation of triangles: parity with the oracle, edges, clipping, ties, gradients, determinism and errors."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from small_meshes import HEIGHT, WIDTH, ball, grid, small_cameras, triangle_soup

from recon3d.core.errors import InputError, ShapeError, UsageError
from recon3d.core.kernels import threads
from recon3d.render.gaussians.cameras import CameraTensors
from recon3d.render.mesh import Fragments, interpolate, interpolate_corners, rasterize_mesh
from recon3d.render.mesh.cpu_exact import exact_sign
from recon3d.render.mesh.rasterization import points_in_cameras

ONE_FACE = torch.tensor([[0, 1, 2]], dtype=torch.int32)


def both(vertices: torch.Tensor, faces: torch.Tensor, cameras: CameraTensors, **more: Any) -> tuple[Fragments, ...]:
    return tuple(rasterize_mesh(vertices, faces, cameras, backend=name, **more) for name in ("numba", "torch"))  # type: ignore[arg-type]


@settings(max_examples=8)
@given(st.integers(0, 10_000), st.sampled_from([0.4, 1.0, 3.0]), st.sampled_from([torch.float32, torch.float64]))
def test_numba_sees_what_the_oracle_sees(seed: int, depth: float, dtype: torch.dtype) -> None:
    """Also with the camera among the faces, so that many of them are cut."""
    vertices, faces = triangle_soup(seed, depth=depth, dtype=dtype)
    ours, oracle = both(vertices, faces, small_cameras(2, dtype))
    assert torch.equal(ours.face, oracle.face)
    assert torch.allclose(ours.barycentrics, oracle.barycentrics, atol=1e-6 if dtype == torch.float32 else 1e-12)
    assert torch.allclose(ours.depth, oracle.depth, rtol=1e-6)
    assert ours.barycentrics.dtype == ours.depth.dtype == dtype and ours.mask.any()


def test_fragments_are_points_of_the_surface() -> None:
    vertices, faces = triangle_soup(3)
    cameras = small_cameras(1)
    seen = rasterize_mesh(vertices, faces, cameras)
    points = interpolate(vertices, faces, seen)[0]
    mask = seen.mask[0]
    y, x = torch.nonzero(mask, as_tuple=True)
    image = points[mask][:, :2] / points[mask][:, 2:] * torch.tensor([40.0, 38]) + torch.tensor([20.0, 15])
    assert torch.allclose(image, torch.stack([x, y], 1).double() + 0.5, atol=1e-9)
    assert torch.allclose(points[mask][:, 2], seen.depth[0][mask])
    assert torch.allclose(seen.barycentrics[0][mask].sum(1), torch.ones(len(x), dtype=torch.float64))
    assert (seen.barycentrics >= 0).all() and not seen.depth[0][~mask].any() and not seen.barycentrics[0][~mask].any()


@settings(max_examples=10)
@given(st.integers(0, 10_000), st.sampled_from([0.0, 0.7]), st.booleans())
def test_each_pixel_of_a_sheet_belongs_to_exactly_one_face(seed: int, jitter: float, aligned: bool) -> None:
    """Also where edges and corners run through the centres of pixels."""
    vertices, faces = grid(4, jitter, seed)
    if aligned:  # corners at centres of pixels
        vertices[:, :2] = ((vertices[:, :2] * 8).round() + 0.5) * 2
    K = torch.tensor([[[1.0, 0, 12], [0, 1.0, 12], [0, 0, 1]]], dtype=torch.float64)
    if not aligned:
        K[:, 0, 0] = K[:, 1, 1] = 17.3
    cameras = CameraTensors(torch.eye(4, dtype=torch.float64)[None], K, 24, 24)
    count = sum(rasterize_mesh(vertices, face[None], cameras).mask[0].int() for face in faces)
    whole, oracle = both(vertices, faces, cameras)
    assert isinstance(count, torch.Tensor) and count.max() == 1 and torch.equal(count == 1, whole.mask[0])
    assert (count[4:20, 4:20] == 1).all()  # the sheet ends at 4.5 and 20.5, or a little outside of them
    assert torch.equal(whole.face, oracle.face)


@settings(max_examples=200)
@given(
    st.tuples(*[st.integers(-4, 4)] * 6), st.tuples(*[st.integers(-3, 3)] * 6), st.sampled_from([1.0, 0.1, 1e7 + 0.1])
)
def test_signs_are_exact(places: tuple[int, ...], steps: tuple[int, ...], unit: float) -> None:
    """Places on a grid, each moved by a few of the smallest steps there are, against fractions."""
    values = [(place + 5) * unit for place in places]
    values = [value + step * float(np.spacing(value)) for value, step in zip(values, steps, strict=True)]
    ax, ay, bx, by, px, py = map(Fraction, values)
    exact = (ax - px) * (by - py) - (ay - py) * (bx - px)
    assert exact_sign(*values) == (exact > 0) - (exact < 0)


def test_faces_are_cut_at_the_near_plane() -> None:
    """A floor that runs below the camera and behind it: seen up to where it comes nearer than the plane."""
    floor = torch.tensor([[-50.0, 1, -10], [50, 1, -10], [0, 1, 90]], dtype=torch.float64)
    cameras = small_cameras(1)
    for seen in both(floor, ONE_FACE, cameras, near=3.0):
        rows = torch.arange(HEIGHT) + 0.5
        distance = 38 / (rows - 15)  # of the floor at a row; negative above the horizon
        expected = (distance > 3) & (distance < 90)
        assert torch.equal(seen.mask[0, :, WIDTH // 2], expected)
        assert torch.allclose(seen.depth[0, expected, WIDTH // 2], distance[expected].double())
    (behind, _) = both(floor - torch.tensor([0.0, 0, 200]), ONE_FACE, cameras)
    assert not behind.mask.any()


def test_a_sheet_that_is_cut_has_no_cracks() -> None:
    """Cut faces share the corners that appear, bit for bit."""
    vertices, faces = grid(10, 0.9, 0)
    vertices = vertices @ torch.tensor([[1.0, 0, 0], [0, 0.05, 1], [0, 0, 0.2]], dtype=torch.float64)
    cameras = small_cameras(1)
    count = sum(rasterize_mesh(vertices, face[None], cameras, near=0.35).mask[0].int() for face in faces)
    whole = rasterize_mesh(vertices, faces, cameras, near=0.35).mask[0]
    assert isinstance(count, torch.Tensor) and count.max() == 1 and torch.equal(count == 1, whole) and whole.any()
    filled = whole[:, 5:35].any(1)
    assert whole[filled][:, 12:28].all()


def test_of_faces_equally_near_the_first_counts_and_both_sides_show() -> None:
    vertices, _ = triangle_soup(1)
    faces = torch.tensor([[0, 1, 2]] * 3, dtype=torch.int32)
    turned = torch.tensor([[0, 2, 1]], dtype=torch.int32)
    for one, other in zip(
        both(vertices, faces, small_cameras(1)), both(vertices, turned, small_cameras(1)), strict=True
    ):
        assert one.mask.any() and (one.face[one.mask] == 0).all()
        assert torch.equal(one.mask, other.mask)
        assert torch.allclose(one.barycentrics, other.barycentrics[..., [0, 2, 1]])


def test_faces_without_area_cover_nothing() -> None:
    vertices = torch.tensor([[0.0, 0, 1], [0.1, 0.1, 1], [0.2, 0.2, 1], [0, 0, 2]], dtype=torch.float64)
    faces = torch.tensor([[0, 1, 2], [0, 0, 1], [1, 1, 1], [0, 3, 0]], dtype=torch.int32)
    for seen in both(vertices, faces, small_cameras(1)):
        assert not seen.mask.any()


def test_needles_have_sound_weights() -> None:
    """Faces a millionth of a pixel wide: the few pixels that they catch stay within them."""
    along = torch.linspace(-0.4, 0.4, 40, dtype=torch.float64)
    a = torch.stack([along, torch.zeros_like(along), torch.ones_like(along)], 1)
    vertices = torch.cat([a, a * torch.tensor([1.0, 0, 1]) + torch.tensor([1e-9, 0.35, 0]), a.mean(0, keepdim=True)])
    faces = torch.tensor([[i, i + 40, 80] for i in range(40)] + [[i, i + 1, i + 40] for i in range(39)]).int()
    for seen in both(vertices, faces, small_cameras(1)):
        assert seen.barycentrics.min() >= 0 and seen.barycentrics.max() <= 1 and seen.depth.isfinite().all()


def test_nothing_to_see() -> None:
    nobody, no_faces = torch.zeros(0, 3, dtype=torch.float64), torch.zeros(0, 3, dtype=torch.int32)
    for seen in both(nobody, no_faces, small_cameras(2)):
        assert seen.face.shape == (2, HEIGHT, WIDTH) and not seen.mask.any() and not seen.depth.any()
        assert interpolate(torch.zeros(0, 4, dtype=torch.float64), no_faces, seen).shape == (2, HEIGHT, WIDTH, 4)


@pytest.mark.parametrize("backend", ["numba", "torch"])
@pytest.mark.parametrize("depth", [0.5, 3.0])
def test_gradients_are_those_of_differences(backend: Any, depth: float) -> None:
    """Vertices, poses and intrinsics; the faces at the pixels must not change by the small steps, hence few of them."""
    vertices, faces = triangle_soup(5, 9, 3, depth)
    cameras = small_cameras(2)
    seen = rasterize_mesh(vertices, faces, cameras, backend=backend)
    home = __import__(f"recon3d.render.mesh.{'cpu' if backend == 'numba' else 'reference'}", fromlist=["fragments"])
    inner = (seen.barycentrics.amin(-1) > 0.02) & (torch.arange(WIDTH) % 7 == 0)
    face = torch.where(inner, seen.face, -1)
    assert (face >= 0).sum() > 10

    def values(v: torch.Tensor, poses: torch.Tensor, k: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        K = torch.stack([torch.diag(each) for each in k]) + cameras.K * (1 - torch.eye(3, dtype=torch.float64))
        found: tuple[torch.Tensor, torch.Tensor] = home.fragments(points_in_cameras(v, poses), faces, K, face)
        return tuple(each[face >= 0] for each in found)  # type: ignore[return-value]

    focal = torch.diagonal(cameras.K, dim1=1, dim2=2).clone().requires_grad_()
    inputs = (vertices.requires_grad_(), cameras.cam_from_world.requires_grad_(), focal)
    assert torch.autograd.gradcheck(values, inputs, fast_mode=True)


def test_gradients_of_numba_and_the_oracle_agree() -> None:
    vertices, faces = triangle_soup(7, 60, 60, 1.0)
    colours = torch.rand(60, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    found = []
    for backend in ("numba", "torch"):
        cameras = small_cameras(2)
        leaves = [each.detach().requires_grad_() for each in (vertices, cameras.cam_from_world, cameras.K)]
        seen = rasterize_mesh(leaves[0], faces, CameraTensors(leaves[1], leaves[2], WIDTH, HEIGHT), backend=backend)  # type: ignore[arg-type]
        picture = interpolate(colours, faces, seen, backend=backend)  # type: ignore[arg-type]
        found.append(torch.autograd.grad(picture.square().sum() + seen.depth.square().sum(), [*leaves, colours]))
    for ours, oracle in zip(*found, strict=True):
        assert torch.allclose(ours, oracle, rtol=1e-9, atol=1e-9 * float(oracle.abs().max()))


@pytest.mark.parametrize("backend", ["numba", "torch"])
def test_gradients_of_attributes_are_those_of_differences(backend: Any) -> None:
    vertices, faces = triangle_soup(2, 8, 4)
    seen = rasterize_mesh(vertices, faces, small_cameras(1))
    rows = Fragments(seen.face[:, ::6], seen.barycentrics[:, ::6], seen.depth[:, ::6])
    values = torch.rand(8, 2, dtype=torch.float64, requires_grad=True)
    weights = rows.barycentrics.clone().requires_grad_()
    assert torch.autograd.gradcheck(
        lambda v, w: interpolate(v, faces, Fragments(rows.face, w, rows.depth), backend=backend), (values, weights)
    )


def test_corners_of_their_own() -> None:
    vertices, faces = triangle_soup(2)
    seen = rasterize_mesh(vertices, faces, small_cameras(1))
    colours = torch.rand(30, 3, dtype=torch.float64)
    assert torch.equal(interpolate_corners(colours[faces.long()], seen), interpolate(colours, faces, seen))


@settings(max_examples=5)
@given(st.integers(0, 1000))
def test_the_same_bits_for_any_number_of_threads(seed: int) -> None:
    vertices, faces = triangle_soup(seed, 200, 300, 1.5, torch.float32)
    found = []
    for count in (1, 3):
        leaves = [vertices.clone().requires_grad_(), torch.rand(200, 3, generator=torch.Generator().manual_seed(1))]
        leaves[1].requires_grad_()
        with threads(count):
            seen = rasterize_mesh(leaves[0], faces, small_cameras(3, torch.float32, 4))
            picture = interpolate(leaves[1], faces, seen)
            (picture.square().sum() + seen.depth.sum()).backward()
        found.append([seen.face, seen.depth, seen.barycentrics, picture, *(leaf.grad for leaf in leaves)])
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


def test_a_closed_mesh_has_no_holes() -> None:
    vertices, faces = ball(12, dtype=torch.float32)
    cameras = small_cameras(1, torch.float32, 4)
    seen = rasterize_mesh(vertices + torch.tensor([0.0, 0.0, 3.0]), faces, cameras)
    rows, columns = torch.nonzero(seen.mask[0], as_tuple=True)
    for row in rows.unique():
        inside = columns[rows == row]
        assert int(inside.max() - inside.min()) + 1 == len(inside)
    assert seen.depth[seen.mask].max() < 3.01  # nothing of the far side shines through


def refused() -> list[tuple[dict[str, Any], type[Exception], str]]:
    vertices, faces = triangle_soup(0)
    bad = vertices.clone()
    bad[3, 1] = torch.nan
    cameras = small_cameras(1)
    skewed = CameraTensors(cameras.cam_from_world, cameras.K + torch.ones(3, 3) * 0.1, WIDTH, HEIGHT)
    return [
        ({"vertices": bad}, InputError, "vertices holds NaN or infinite values; got: 1 of 90"),
        ({"vertices": vertices[:, :2]}, ShapeError, "vertices has the wrong shape"),
        ({"vertices": vertices.float()}, UsageError, "cam_from_world has another type or device"),
        ({"vertices": vertices.long()}, UsageError, "vertices must be a floating-point tensor"),
        ({"faces": faces + 25}, ShapeError, r"names a vertex that is not there; got: 2\d\.\.5\d; expected: 0\.\.29"),
        ({"faces": faces - 25}, ShapeError, r"got: -2\d\.\."),
        ({"faces": faces.long()}, ShapeError, r"wrong type; got: torch.int64; expected: torch.int32"),
        ({"faces": faces[:, :2]}, ShapeError, "faces has the wrong shape"),
        ({"cameras": skewed}, UsageError, "not that of a pinhole camera"),
        ({"near": 0.0}, UsageError, "near plane must be before the camera; got: 0.0"),
        ({"backend": "vulkan"}, UsageError, "no such back end; got: vulkan; expected: auto, pytorch3d, numba, torch"),
    ]


@pytest.mark.usefixtures("without_shape_checks")
@pytest.mark.parametrize("case", range(len(refused())))
def test_what_is_refused(case: int) -> None:
    change, kind, text = refused()[case]
    vertices, faces = triangle_soup(0)
    given_ = {"vertices": vertices, "faces": faces, "cameras": small_cameras(1), **change}
    with pytest.raises(kind, match=text):
        rasterize_mesh(**given_)


@pytest.mark.usefixtures("without_shape_checks")
def test_attributes_that_do_not_fit() -> None:
    vertices, faces = triangle_soup(0)
    seen = rasterize_mesh(vertices, faces, small_cameras(1))
    with pytest.raises(ShapeError, match="names a vertex that is not there"):
        interpolate(torch.zeros(5, 1, dtype=torch.float64), faces, seen)
    with pytest.raises(ShapeError, match="the fragments name a face that is not there"):
        interpolate(vertices, faces[:1], seen)
    with pytest.raises(UsageError, match="another type"):
        interpolate(vertices.float(), faces, seen)
    with pytest.raises(ShapeError, match="attributes has the wrong shape"):
        interpolate_corners(vertices, seen)

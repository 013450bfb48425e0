"""The projection kernels one by one, each against a plain statement of the same in float64."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, no_type_check

import numpy as np
import pytest
import torch
from numba import njit
from scipy.spatial.transform import Rotation
from scipy.special import sph_harm_y
from small_gaussians import camera, random_scene
from torch import Tensor

from recon3d.core.kernels import threads
from recon3d.render.gaussians import (
    cpu,
    cpu_harmonics,
    cpu_projection,
    cpu_projection_backward as backward,
    cpu_projection_math as geometry,
    reference,
)
from recon3d.render.gaussians.cpu_simd import scratch, store
from recon3d.render.gaussians.options import ProjectionOptions
from recon3d.render.gaussians.types import Projection

Array = np.ndarray[Any, Any]
SIZE = (40, 30)
K = torch.tensor([[35.0, 0, 19], [0, 38.0, 16], [0, 0, 1]], dtype=torch.float64)


@njit
@no_type_check
def geometry_of(rows, pose, intrinsics, eps2d, out):
    """Write, row by row of sixteen, what each function of the projection's geometry returns."""
    w, x, y, z, inverse = geometry.unit_quats(rows)
    axes = geometry.principal_axes(rows)
    cx, cy, cz = geometry.to_camera(rows, pose)
    nx, ny, nz = geometry.in_camera(axes, pose)
    slopes = geometry.jacobian(cx, cy, cz, intrinsics)
    xx, xy, yy, wide, narrow = geometry.widened(nx, ny, eps2d)
    a, b, c = geometry.scales_of(rows)
    found = (w, x, y, z, inverse, a, b, c, *axes[0], *axes[1], *axes[2], cx, cy, cz, *nx, *ny, *nz)
    place = 0
    for value in found:
        store(out, place, value)
        place += 16
    for value in (*slopes, xx, xy, yy, wide, narrow):
        store(out, place, value)
        place += 16


@njit
@no_type_check
def there_and_back(array, index, first, n, out):
    rows = scratch(3 * 16)
    geometry.gather(array, index, first, n, 3, rows, 0)
    geometry.scatter(rows, 0, index, first, n, 3, out)
    return rows.copy()


def sixteen(seed: int) -> tuple[Array, Array, Array]:
    rng = np.random.default_rng(seed)
    means = rng.normal([0, 0, 4], 1, (16, 3))
    return means, rng.normal(size=(16, 4)), rng.normal(-1, 0.5, (16, 3))


def test_the_geometry_of_sixteen_gaussians() -> None:
    means, quats, log_scales = sixteen(0)
    rows = np.zeros(11 * 16, np.float32)
    rows[:48], rows[48:112], rows[112:160] = means.T.ravel(), quats.T.ravel(), log_scales.T.ravel()
    turn = Rotation.from_euler("xyz", [0.2, -0.1, 0.3]).as_matrix()
    pose = np.column_stack([turn, [0.1, -0.2, 0.3]])
    home = cpu_projection.pinhole_camera(np.vstack([pose, [0, 0, 0, 1]]).astype("f4"), K.numpy().astype("f4"), *SIZE)
    out = np.zeros(40 * 16, np.float32)
    geometry_of(rows, home.pose, home.intrinsics, np.float32(0.3), out)
    found = iter(out.reshape(-1, 16).astype(np.float64))

    def check(*wanted: Array) -> None:
        for value in wanted:
            np.testing.assert_allclose(next(found), value, rtol=2e-5, atol=2e-6)

    length = np.linalg.norm(quats, axis=1)
    check(*(quats / length[:, None]).T, 1 / length)
    scales = np.exp(log_scales)
    check(*scales.T)
    axes = Rotation.from_quat(quats[:, [1, 2, 3, 0]]).as_matrix() * scales[:, None]
    check(*axes.reshape(16, 9).T)
    centre = means @ turn.T + pose[:, 3]
    check(*centre.T)
    in_camera = turn @ axes
    check(*in_camera.reshape(16, 9).T)
    slopes = centre[:, :2] / centre[:, 2:]
    focal, middle, size = K.numpy().diagonal()[:2], K.numpy()[:2, 2], np.array(SIZE)
    limited = np.clip(slopes, -(middle + 0.15 * size) / focal, (1.15 * size - middle) / focal)
    check(1 / centre[:, 2], *slopes.T, *limited.T)
    p = in_camera[:, :2]
    covariance = p @ p.transpose(0, 2, 1)
    wide = covariance + 0.3 * np.eye(2)
    check(wide[:, 0, 0], wide[:, 0, 1], wide[:, 1, 1], np.linalg.det(wide), np.linalg.det(covariance))


@pytest.mark.parametrize("n", [1, 5, 16, 19])
def test_rows_of_sixteen_are_filled_with_the_last_one_and_put_back(n: int) -> None:
    rng = np.random.default_rng(n)
    array, index = rng.normal(size=(30, 3)).astype(np.float32), rng.permutation(30)[:n].astype(np.int32)
    for first in range(0, n, 16):
        out = np.zeros_like(array)
        rows = there_and_back(array, index, first, n, out).reshape(3, 16)
        chosen = index[np.minimum(first + np.arange(16), n - 1)]
        np.testing.assert_array_equal(rows, array[chosen].T)
        wanted = np.zeros_like(array)
        wanted[chosen] = array[chosen]
        np.testing.assert_array_equal(out, wanted)


@pytest.mark.parametrize("n", [0, 1, 40])
def test_what_is_in_front_and_what_is_seen(n: int) -> None:
    rng = np.random.default_rng(n)
    means, pose = rng.normal(size=(n, 3)).astype(np.float32), np.eye(3, 4, dtype=np.float32)
    rules = np.array([0.3, 0.1, 1.5, 0, 0, 0], np.float32)
    index = np.full(n + 1, -1, np.int32)
    depth = means[:, 2]
    count = cpu_projection._in_front(0, n, means, pose, rules, index)
    np.testing.assert_array_equal(index[:count], np.flatnonzero((depth > rules[1]) & (depth < rules[2])))
    radii = rng.integers(0, 3, (n, 2)).astype(np.int32)
    count = backward._seen(0, n, radii, index)
    np.testing.assert_array_equal(index[:count], np.flatnonzero((radii > 0).all(1)))


def unit_vectors(n: int) -> Array:
    found = np.random.default_rng(3).normal(size=(n, 3))
    return np.asarray(found / np.linalg.norm(found, axis=1, keepdims=True))


def real_harmonics(x: float, y: float, z: float) -> list[float]:
    """Real harmonics from scipy's complex ones, Condon-Shortley phase kept, which gives the signs of 3DGS."""
    polar, azimuth = np.arccos(np.clip(z, -1, 1)), np.arctan2(y, x)
    values = []
    for degree in range(4):
        for order in range(-degree, degree + 1):
            value = sph_harm_y(degree, abs(order), polar, azimuth)
            part = value.imag if order < 0 else value.real
            values.append(float(part * (np.sqrt(2) if order else 1)))
    return values


@pytest.mark.parametrize("degree", range(4))
def test_the_harmonics_are_those_of_scipy(degree: int) -> None:
    n = (degree + 1) ** 2
    for x, y, z in unit_vectors(10):
        out = np.zeros(16)
        cpu_harmonics._bases(x, y, z, degree, out)
        np.testing.assert_allclose(out[:n], real_harmonics(x, y, z)[:n], atol=1e-12)
        assert not out[n:].any()


@pytest.mark.parametrize("degree", range(4))
def test_the_slope_of_the_harmonics_is_that_of_differences(degree: int) -> None:
    """Along the sphere only: off it, the kernel's polynomials may go on as they like."""
    rng, n, step = np.random.default_rng(degree), (degree + 1) ** 2, 1e-6
    for unit in unit_vectors(6):
        weights = np.zeros(16)
        weights[:n] = rng.normal(size=n)
        along = np.cross(unit, rng.normal(size=3))
        values = []
        for sign in (1, -1):
            moved, out = unit + sign * step * along, np.zeros(16)
            cpu_harmonics._bases(*(moved / np.linalg.norm(moved)), degree, out)
            values.append(out @ weights)
        slope = np.array(cpu_harmonics._gradient(*unit, degree, weights)) @ along
        assert slope == pytest.approx((values[0] - values[1]) / (2 * step), abs=1e-7)


def test_harmonics_have_the_same_bits_for_any_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    directions, coefficients = rng.normal(size=(100, 3)).astype("f4"), rng.normal(size=(100, 16, 3)).astype("f4")
    by = rng.normal(size=(100, 3)).astype("f4")
    whole = cpu_harmonics.harmonics_forward(directions, coefficients, 3)
    grads = cpu_harmonics.harmonics_backward(directions, coefficients, 3, by)
    monkeypatch.setattr(cpu_harmonics, "_CHUNK", 7)
    for n_threads in (1, 3):
        with threads(n_threads):
            np.testing.assert_array_equal(cpu_harmonics.harmonics_forward(directions, coefficients, 3), whole)
            for got, want in zip(cpu_harmonics.harmonics_backward(directions, coefficients, 3, by), grads, strict=True):
                np.testing.assert_array_equal(got, want)


def test_a_direction_has_no_slope_along_itself() -> None:
    rng = np.random.default_rng(2)
    directions, coefficients = rng.normal(size=(50, 3)).astype("f4"), rng.normal(size=(50, 16, 3)).astype("f4")
    by_directions, _ = cpu_harmonics.harmonics_backward(directions, coefficients, 3, np.ones((50, 3), "f4"))
    along = np.einsum("gi,gi->g", by_directions, directions) / np.linalg.norm(by_directions, axis=1)
    np.testing.assert_allclose(along, 0, atol=1e-5)


INPUTS = ("means", "quats", "log_scales", "pose")
OUTPUTS = ("means2d", "depths", "conics", "compensations")


def inputs_of(seed: int) -> dict[str, Tensor]:
    scene, pose = random_scene(12, seed=seed), camera().cam_from_world[0].clone()
    pose[:3, :3] = torch.from_numpy(Rotation.from_euler("xyz", [0.1, -0.2, 0.3]).as_matrix())
    return {"means": scene.means, "quats": scene.quats, "log_scales": scene.log_scales, "pose": pose}


def projected(home: Any, given: dict[str, Tensor]) -> Projection:
    where = (*(given[name] for name in INPUTS), K.to(given["pose"].dtype), *SIZE)
    seen: Projection = home.project(*where, options=ProjectionOptions(bounds="gsplat"))
    return seen


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("name", INPUTS)
def test_each_slope_of_the_projection_is_that_of_differences(name: str, output: str) -> None:
    """Along a random direction in one input, by one output: differences of the oracle, gradient of the kernels."""
    given, source = inputs_of(1), torch.Generator().manual_seed(2)
    seen = projected(reference, given)
    weights = torch.randn(getattr(seen, output).shape, generator=source, dtype=torch.float64)
    along = torch.randn(given[name].shape, generator=source, dtype=torch.float64)
    if name == "pose":
        along[3] = 0
    values, step = [], 1e-6
    for sign in (1, -1):
        moved = projected(reference, given | {name: given[name] + sign * step * along})
        assert torch.equal(moved.radii > 0, seen.radii > 0)
        values.append(float((getattr(moved, output) * weights).sum()))
    slope = (values[0] - values[1]) / (2 * step)
    leaf = given[name].float().requires_grad_()
    found = projected(cpu, {other: value.float() for other, value in given.items()} | {name: leaf})
    (getattr(found, output) * weights.float()).sum().backward()
    assert leaf.grad is not None
    scale = float((leaf.grad.double() * along).abs().sum())
    assert float((leaf.grad.double() * along).sum()) == pytest.approx(slope, abs=2e-4 * scale + 1e-6)


@pytest.mark.parametrize(
    "log_scale", [-3e38, -200.0, -100.0, -88.0, -50.0, 4.0, 30.0, 40.0, 60.0, 89.0, 100.0, 200.0, 3e38]
)
def test_sizes_beyond_float32_vanish_or_are_left_out(log_scale: float) -> None:
    """The least are points, drawn as wide as eps2d makes them; what is too large for a float32 is not drawn."""
    given = {name: value.float() for name, value in inputs_of(0).items()}
    given["means"] = torch.tensor([[0.1, 0.1, 3.0]]).repeat(12, 1)
    given["log_scales"] = torch.full((12, 3), log_scale)
    leaves = {name: value.clone().requires_grad_() for name, value in given.items()}
    seen, wanted = projected(cpu, leaves), projected(reference, given)
    assert torch.equal(seen.radii, wanted.radii)
    torch.testing.assert_close(seen.conics, wanted.conics, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(seen.compensations, wanted.compensations, rtol=1e-4, atol=1e-6)
    (seen.conics.sum() + seen.compensations.sum()).backward()
    for leaf in leaves.values():
        assert leaf.grad is not None and leaf.grad.isfinite().all()


def test_no_rotation_at_all_is_none() -> None:
    given = {name: value.float() for name, value in inputs_of(0).items()}
    still = given | {"quats": torch.tensor([[1.0, 0, 0, 0]]).repeat(12, 1)}
    nothing = given | {"quats": torch.zeros(12, 4).requires_grad_()}
    seen = projected(cpu, nothing)
    torch.testing.assert_close(seen.conics, projected(cpu, still).conics)
    seen.conics.sum().backward()
    assert nothing["quats"].grad is not None and nothing["quats"].grad.isfinite().all()


@pytest.mark.parametrize("eps2d", [0.0, 0.1, 2.0])
@pytest.mark.parametrize("bounds", ["tight", "gsplat"])
def test_widening_is_a_parameter(eps2d: float, bounds: Any) -> None:
    given = inputs_of(5)
    options = ProjectionOptions(eps2d=eps2d, bounds=bounds, near=1.5, far=2.5)
    opacities = torch.linspace(0, 1, 12, dtype=torch.float64)
    where = [given[name] for name in INPUTS]
    wanted = reference.project(*where, K, *SIZE, opacities=opacities, options=options)
    found = cpu.project(*(value.float() for value in (*where, K)), *SIZE, opacities=opacities.float(), options=options)
    assert torch.equal(found.radii, wanted.radii) and 0 < (wanted.radii > 0).all(1).sum() < 12
    for name in OUTPUTS:
        torch.testing.assert_close(getattr(found, name).double(), getattr(wanted, name), rtol=2e-4, atol=1e-5)


@pytest.mark.parametrize("home", [cpu, reference], ids=["numba", "torch"])
def test_the_near_and_the_far_plane_do_not_belong_to_what_is_seen(home: Any) -> None:
    dtype = torch.float32 if home is cpu else torch.float64
    depths = torch.tensor([0.5, 0.5 + 1e-6, 1.0, 2.0 - 1e-6, 2.0], dtype=dtype)
    means = torch.stack([0 * depths, 0 * depths, depths], -1)
    quats, scales = torch.ones(5, 4, dtype=dtype), torch.full((5, 3), -3.0, dtype=dtype)
    options = replace(ProjectionOptions(), near=0.5, far=2.0)
    seen = home.project(means, quats, scales, torch.eye(4, dtype=dtype), K.to(dtype), *SIZE, options=options)
    assert (seen.radii > 0).all(1).tolist() == [False, True, True, True, False]

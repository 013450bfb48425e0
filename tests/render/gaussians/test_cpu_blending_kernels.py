"""The blending kernels against loops over pixels and Gaussians in float64, at every odd size of image and list."""

from __future__ import annotations

from typing import Any, NamedTuple, no_type_check

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from numba import njit

from recon3d.core.kernels import threads
from recon3d.render.gaussians import cpu, cpu_backward, cpu_blocks, cpu_forward, cpu_scene, cpu_tiles
from recon3d.render.gaussians.cpu_simd import aligned, bits
from recon3d.render.gaussians.options import RasterOptions
from recon3d.render.gaussians.types import Projection

Array = np.ndarray[Any, Any]
SIZES = [(1, 1), (15, 17), (33, 16), (16, 16), (17, 1), (1, 40)]
FIELDS = ("means2d", "conics", "depths", "opacities", "features", "background")
EVERYWHERE = 1 << 12  # a radius that reaches all tiles
DEFAULT = RasterOptions()


class Scene(NamedTuple):
    """Projected Gaussians in float64, and the background."""

    means2d: Array
    conics: Array
    depths: Array
    opacities: Array
    features: Array
    background: Array


def scene(n: int, size: tuple[int, int], channels: int = 3, seed: int = 0) -> Scene:
    rng = np.random.default_rng(seed)
    half = rng.normal(size=(n, 2, 2)) * 0.35
    conics = half @ half.transpose(0, 2, 1) + 0.02 * np.eye(2)
    found = Scene(
        rng.uniform(-2, 2, (n, 2)) + rng.uniform(0, 1, (n, 2)) * size,
        conics[:, [0, 0, 1], [0, 1, 1]],
        rng.integers(1, 5, n).astype(float),  # many ties
        rng.uniform(0.02, 1, n),
        rng.normal(size=(n, channels)),
        rng.normal(size=channels),
    )
    return Scene(*(value.astype(np.float32).astype(np.float64) for value in found))


class Pictures(NamedTuple):
    image: Array
    alpha: Array
    expected: Array
    median: Array
    margin: Array  # how far the nearest decision was from falling the other way


def blended_by_hand(given: Scene, size: tuple[int, int], rules: RasterOptions = DEFAULT) -> Pictures:
    """Blend pixel by pixel and Gaussian by Gaussian, as the documentation says it."""
    (width, height), channels = size, len(given.background)
    out = Pictures(np.zeros((height, width, channels)), *(np.zeros((height, width)) for _ in range(4)))
    order = np.argsort(given.depths, kind="stable")
    for y in range(height):
        for x in range(width):
            light, depth, margin = 1.0, 0.0, 1.0
            for g in order:
                dx, dy = given.means2d[g] - [x + 0.5, y + 0.5]
                a, b, c = given.conics[g]
                alpha = given.opacities[g] * np.exp(-0.5 * (a * dx * dx + c * dy * dy) - b * dx * dy)
                margin = min(margin, abs(alpha - rules.max_alpha), abs(alpha / rules.min_alpha - 1))
                alpha = min(alpha, rules.max_alpha)
                if alpha < rules.min_alpha:
                    continue
                after = light * (1 - alpha)
                margin = min(margin, abs(after / max(rules.min_transmittance, 1e-300) - 1), abs(after - 0.5))
                if after <= rules.min_transmittance:
                    break
                out.image[y, x] += light * alpha * given.features[g]
                depth += light * alpha * given.depths[g]
                if light > 0.5 >= after:
                    out.median[y, x] = given.depths[g]
                light = after
            out.image[y, x] += light * given.background
            out.alpha[y, x], out.margin[y, x] = 1 - light, margin
            out.expected[y, x] = depth / (1 - light) if light < 1 else 0
    return out


def as_tensors(given: Scene, dtype: torch.dtype = torch.float32) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(getattr(given, name)).to(dtype) for name in FIELDS}


def rendered(
    given: dict[str, torch.Tensor], size: tuple[int, int], rules: RasterOptions = DEFAULT
) -> tuple[torch.Tensor, ...]:
    n = len(given["depths"])
    radii = torch.full((n, 2), EVERYWHERE, dtype=torch.int32)
    seen = Projection(given["means2d"], given["depths"], given["conics"], torch.ones(n), radii)
    return cpu.rasterize_projected(
        seen, given["opacities"], given["features"], *size, background=given["background"], options=rules
    )


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("channels", [0, 1, 3, 6])
def test_pictures_of_any_size_are_those_of_a_plain_loop(size: tuple[int, int], channels: int) -> None:
    given = scene(25, size, channels, seed=channels)
    wanted, found = blended_by_hand(given, size), rendered(as_tensors(given), size)
    settled = wanted.margin > 1e-4
    assert settled.mean() > 0.9
    for want, got in zip(wanted[:4], found, strict=True):
        assert got.shape == want.shape
        np.testing.assert_allclose(got.numpy()[settled], want[settled], atol=1e-4)


@pytest.mark.parametrize("n", [1, 31, 32, 33, 63, 64, 65, 127, 128, 129, 255, 257])
def test_lists_of_any_length_in_one_tile(n: int) -> None:
    """Even veils of one opacity: what is seen of the i-th is a geometric series, whatever batch it is in."""
    opacity, size = 0.02, (5, 3)
    flat = np.tile([1e-9, 0.0, 1e-9], (n, 1))
    given = Scene(np.zeros((n, 2)), flat, np.arange(n) + 1.0, np.full(n, opacity), np.eye(n, 7), np.zeros(7))
    leaves = {name: value.requires_grad_() for name, value in as_tensors(given).items()}
    image, alpha, expected, _ = rendered(leaves, size)
    weights = opacity * (1 - opacity) ** np.arange(n)
    np.testing.assert_allclose(alpha.detach().numpy(), 1 - (1 - opacity) ** n, rtol=1e-5)
    np.testing.assert_allclose(image.detach().numpy()[1, 2][: min(n, 7)], weights[:7], rtol=1e-5)
    mean = weights @ given.depths / weights.sum()
    np.testing.assert_allclose(expected.detach().numpy(), mean, rtol=1e-4)
    alpha.sum().backward()
    by_opacity = leaves["opacities"].grad
    assert by_opacity is not None
    np.testing.assert_allclose(by_opacity.numpy(), 15 * (1 - opacity) ** (n - 1), rtol=1e-4)


@settings(max_examples=12)
@given(st.integers(0, 10_000), st.integers(1, 40), st.integers(1, 40), st.integers(0, 30))
def test_any_scene_is_finite_and_bounded(seed: int, width: int, height: int, n: int) -> None:
    given = scene(n, (width, height), 2, seed)
    leaves = {name: value.requires_grad_() for name, value in as_tensors(given).items()}
    image, alpha, expected, median = rendered(leaves, (width, height))
    assert image.shape == (height, width, 2) and image.isfinite().all()
    assert (alpha >= 0).all() and (alpha <= 1 - DEFAULT.min_transmittance + 1e-6).all()
    most = given.depths.max(initial=0.0)
    assert (expected >= 0).all() and (expected <= most * (1 + 1e-3)).all() and (median <= most).all()
    (image.sum() + alpha.sum() + expected.sum()).backward()
    assert all(leaf.grad is not None and leaf.grad.isfinite().all() for leaf in leaves.values())


@pytest.mark.parametrize("output", [0, 1, 2])
@pytest.mark.parametrize("name", FIELDS)
def test_each_slope_of_blending_is_that_of_differences(name: str, output: int) -> None:
    """By one picture, along a random direction in one input: float64 loops against the gradient of the kernels."""
    size, rules, rng = (
        (9, 6),
        RasterOptions(min_alpha=1e-5, min_transmittance=0.0, max_alpha=1.0),
        np.random.default_rng(3),
    )
    given = scene(8, size, 2, seed=4)._replace(depths=np.arange(1.0, 9.0), opacities=rng.uniform(0.2, 0.8, 8))
    given = given._replace(conics=given.conics * 0.3)
    along, step = rng.normal(size=getattr(given, name).shape), 1e-6
    weights = rng.normal(size=blended_by_hand(given, size, rules)[output].shape)
    values = []
    for sign in (1, -1):
        moved = given._replace(**{name: getattr(given, name) + sign * step * along})
        values.append(float((blended_by_hand(moved, size, rules)[output] * weights).sum()))
    slope = (values[0] - values[1]) / (2 * step)
    leaves = {key: value.requires_grad_() for key, value in as_tensors(given).items()}
    (rendered(leaves, size, rules)[output] * torch.from_numpy(weights).float()).sum().backward()
    grad = leaves[name].grad
    assert grad is not None
    parts = grad.double().numpy() * along
    assert parts.sum() == pytest.approx(slope, abs=2e-3 * np.abs(parts).sum() + 1e-5)


def test_opaque_layers_without_a_limit_keep_their_gradients() -> None:
    """Far below what float32 can hold, light that is left must not be divided to find what it was in front."""
    n = 60
    flat = np.tile([1e-9, 0.0, 1e-9], (n, 1))
    given = Scene(np.zeros((n, 2)), flat, np.arange(n) + 1.0, np.full(n, 0.97), np.ones((n, 1)), np.zeros(1))
    leaves = {name: value.requires_grad_() for name, value in as_tensors(given).items()}
    image, *_ = rendered(leaves, (4, 4), RasterOptions(min_transmittance=0.0))
    image.sum().backward()
    by_features = leaves["features"].grad
    assert by_features is not None
    wanted = 16 * 0.97 * 0.03 ** np.arange(6)
    np.testing.assert_allclose(by_features[:6, 0].numpy(), wanted, rtol=1e-3)


@pytest.mark.parametrize("opacity", [0.0, 1e-30, 1 / 255 - 1e-6, 1 / 255 + 1e-6, 0.5, 0.999, 1.0])
def test_extremes_of_opacity(opacity: float) -> None:
    given = scene(1, (8, 8))._replace(opacities=np.array([opacity]), means2d=np.array([[4.5, 4.5]]))
    leaves = {name: value.requires_grad_() for name, value in as_tensors(given).items()}
    image, alpha, *_ = rendered(leaves, (8, 8))
    wanted = 0.0 if opacity < 1 / 255 else min(opacity, 0.999)
    assert float(alpha.detach()[4, 4]) == pytest.approx(wanted, abs=2e-6)
    image.sum().backward()
    assert all(leaf.grad is not None and leaf.grad.isfinite().all() for leaf in leaves.values())


def test_radii_may_be_any_integers() -> None:
    given, size = as_tensors(scene(6, (20, 20))), (20, 20)
    shape = (given["means2d"], given["depths"], given["conics"], torch.ones(6))
    rest = (given["opacities"], given["features"], *size)
    pictures = [
        cpu.rasterize_projected(Projection(*shape, torch.full((6, 2), 9, dtype=kind)), *rest)[0]
        for kind in (torch.int32, torch.int64)
    ]
    assert torch.equal(*pictures)


def splats(given: Scene) -> cpu_scene.Splats:
    values = {name: value.contiguous().numpy() for name, value in as_tensors(given).items() if name != "background"}
    n = len(given.depths)
    return cpu_scene.Splats(radii=np.full((n, 2), 30, np.int32), **values)


def test_records_hold_the_cholesky_factor_and_the_visible_ellipse() -> None:
    given = scene(40, (30, 30), 5)
    tiled = cpu_scene.tile_scene(splats(given), 30, 30, DEFAULT)
    assert tiled.visible.tolist() == list(range(40)) and tiled.records.shape == (40, 8 + 8)
    x, y, a, b, d, strength, half_width, half_height = tiled.records[:, :8].astype(float).T
    np.testing.assert_allclose(np.stack([x, y], 1), given.means2d, rtol=1e-6)
    dx, dy = np.random.default_rng(0).normal(size=(2, 40)) * 3
    p, q, r = given.conics.T
    wanted = given.opacities * np.exp(-0.5 * (p * dx * dx + r * dy * dy) - q * dx * dy)
    u, v = a * dx + b * dy, d * dy
    np.testing.assert_allclose(np.exp2(strength - u * u - v * v), wanted, rtol=1e-4)
    reach = 2 * np.log(255 * given.opacities)
    covariance = np.linalg.inv(given.conics[:, [0, 1, 1, 2]].reshape(-1, 2, 2))
    np.testing.assert_allclose(half_width, np.sqrt(reach * covariance[:, 0, 0]), rtol=1e-3)
    np.testing.assert_allclose(half_height, np.sqrt(reach * covariance[:, 1, 1]), rtol=1e-3)
    np.testing.assert_allclose(tiled.records[:, 8:13], given.features, rtol=1e-6)
    np.testing.assert_array_equal(tiled.records[:, 13], given.depths)
    assert not tiled.records[:, 14:].any()


def test_what_cannot_be_seen_gets_no_record() -> None:
    given = scene(6, (30, 30))
    some = splats(given)
    some.radii[0], some.radii[1, 1], some.opacities[2] = 0, 0, 0.003
    some.conics[3], some.conics[4, 0] = [1, 1, 1], -0.5
    assert cpu_scene.tile_scene(some, 30, 30, DEFAULT).visible.tolist() == [5]


def test_rules_are_kept_as_logarithms_and_light_never_runs_out() -> None:
    tiled = cpu_scene.tile_scene(splats(scene(2, (8, 8))), 8, 8, RasterOptions(min_alpha=1e-9, min_transmittance=0.0))
    np.testing.assert_allclose(tiled.rules, [np.log2(1e-6), np.log2(0.999), 1e-30], rtol=1e-6)


def test_blocks_and_lanes_run_row_by_row() -> None:
    coordinates = cpu_blocks.block_coordinates()
    lanes, middles = coordinates[:512].reshape(16, 2, 16), coordinates[512:].reshape(2, 16)
    for block in range(16):
        for lane in range(16):
            x, y = 4 * (block % 4) + lane % 4, 4 * (block // 4) + lane // 4
            assert lanes[block, :, lane].tolist() == [x - 7.5, y - 7.5]
        assert middles[:, block].tolist() == lanes[block].mean(1).tolist()


@njit
@no_type_check
def blocks_touched(members, records, depth_at, x, y, local, low, coordinates, out):
    for i in range(len(members)):
        cpu_blocks.localise(members, i, records, depth_at, x, y, local, 0)
        out[i] = bits(cpu_blocks.touched_blocks(local, 0, low, coordinates))


def test_no_block_is_missed_and_few_are_too_many() -> None:
    given = scene(400, (16, 16), 3, seed=9)
    tiled = cpu_scene.tile_scene(splats(given), 16, 16, DEFAULT)
    found, local = np.zeros(400, np.int64), np.zeros(16, np.float32)
    middle, coordinates = np.float32(8), cpu_blocks.block_coordinates()
    members = np.arange(400, dtype=np.int32)
    blocks_touched(members, tiled.records, 11, middle, middle, local, tiled.rules[0], coordinates, found)
    x, y, a, b, d, strength = tiled.records[:, :6].astype(float).T[:, :, None, None]
    py, px = np.mgrid[:16, :16] + 0.5
    u, v = a * (px - x) + b * (py - y), d * (py - y)
    hit = strength - u * u - v * v >= tiled.rules[0] + 1e-4
    wanted = hit.reshape(400, 4, 4, 4, 4).any(axis=(2, 4)).reshape(400, 16)
    listed = (found[:, None] >> np.arange(16) & 1).astype(bool)
    assert not (wanted & ~listed).any()
    assert wanted.sum() <= listed.sum() < 1.1 * wanted.sum()


@pytest.mark.parametrize(("rows", "columns"), [(16, 16), (1, 1), (5, 9), (16, 3)])
def test_pixels_beyond_the_image_are_complete_from_the_start(rows: int, columns: int) -> None:
    planes = 48 + 64
    state = np.full(16 * planes, 7, np.float32)
    alive = cpu_forward._start_tile(state, planes, rows, columns)
    light = state.reshape(16, planes)[:, :16].reshape(4, 4, 4, 4).transpose(0, 2, 1, 3).reshape(16, 16)
    wanted = np.full((16, 16), -1.0)
    wanted[:rows, :columns] = 1
    np.testing.assert_array_equal(light, wanted)
    blocks = {4 * (y // 4) + x // 4 for y in range(rows) for x in range(columns)}
    assert alive == sum(1 << block for block in blocks)
    assert (state.reshape(16, planes)[:, 16:32] == -1).all() and not state.reshape(16, planes)[:, 32:].any()


def test_the_last_gaussian_of_a_block_is_that_of_its_pixels() -> None:
    ends = np.random.default_rng(0).integers(-1, 90, 512).astype(np.float32)
    ends[256:272] = -1
    out = np.zeros(16, np.float32)
    cpu_backward._last_numbers(ends, out)
    np.testing.assert_array_equal(out, ends[256:].reshape(16, 16).max(1))


@pytest.mark.parametrize("columns", [16, 32])
def test_slots_and_rows_are_summed(columns: int) -> None:
    pairs, rng = aligned(30, columns), np.random.default_rng(1)
    pairs[:] = rng.normal(size=pairs.shape)
    out = np.zeros(columns, np.float32)
    cpu_backward._sum_slots(pairs, 7, 19, out)
    np.testing.assert_allclose(out, pairs[7:19].sum(0), rtol=1e-5, atol=1e-5)
    cpu_backward._sum_slots(pairs, 7, 7, out)
    assert not out.any()
    np.testing.assert_allclose(cpu_backward._sum_rows(pairs), pairs.sum(0, dtype=np.float64), rtol=1e-6)


@settings(max_examples=20)
@given(st.lists(st.floats(-(2.0**99), 2.0**99, width=32), max_size=40), st.integers(0, 2))
def test_sorting_by_a_digit_is_stable(values: list[float], digit: int) -> None:
    keys = cpu_tiles._sortable(np.array(values, np.float32) + np.float32(0))
    assert (np.argsort(keys, kind="stable") == np.argsort(np.array(values, np.float32) + 0, kind="stable")).all()
    order = np.arange(len(keys), dtype=np.int32)
    by_digit, moved = cpu_tiles._sort_digit(keys, order, 11 * digit)
    wanted = np.argsort(keys >> np.uint32(11 * digit) & np.uint32(2047), kind="stable")
    np.testing.assert_array_equal(moved, wanted)
    np.testing.assert_array_equal(by_digit, keys[wanted])


@pytest.mark.parametrize("size", [(1, 1), (33, 16), (70, 50)])
def test_bits_do_not_depend_on_the_threads_for_any_size(size: tuple[int, int]) -> None:
    given, results = scene(80, size, 5, seed=2), []
    for n_threads in (1, 2, 4):
        leaves = {name: value.requires_grad_() for name, value in as_tensors(given).items()}
        with threads(n_threads):
            pictures = rendered(leaves, size)
            (pictures[0].square().sum() + pictures[1].sum() + pictures[2].sum()).backward()
        results.append([*pictures, *(leaf.grad for leaf in leaves.values())])
    for other in results[1:]:
        assert all(torch.equal(one, two) for one, two in zip(results[0], other, strict=True))

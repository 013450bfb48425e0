"""What may happen to a scene without changing its picture, and what changes it in a known way, on every back end."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings, strategies as st
from small_gaussians import FIELDS, HEIGHT, WIDTH, as_dtype, camera, random_scene
from torch import Tensor

from recon3d.render.gaussians import CameraTensors, Gaussians, Rasterization, RasterOptions, rasterize, reference
from recon3d.render.gaussians.options import GaussianBackend

VARIANTS: list[tuple[GaussianBackend, torch.dtype]] = [("torch", torch.float64), ("numba", torch.float32)]
every_variant = pytest.mark.parametrize(("backend", "dtype"), VARIANTS, ids=["torch", "numba"])
PICTURES = ("image", "alpha", "depth_expected", "depth_median")
OPEN = RasterOptions(min_transmittance=0.0)  # no pixel is ever complete
few = settings(max_examples=4)
seeds = st.integers(0, 10_000)


def cloud(n: int, seed: int, dtype: torch.dtype, degree: int = 0) -> Gaussians:
    return as_dtype(random_scene(n, degree, seed), dtype)


def numbers(*shape: int, seed: int, dtype: torch.dtype) -> Tensor:
    source = torch.Generator().manual_seed(seed)
    return torch.rand(*shape, generator=source, dtype=torch.float64).to(dtype)


def draw(
    gaussians: Gaussians, backend: GaussianBackend, view: CameraTensors | None = None, **more: object
) -> Rasterization:
    view = view or camera(1, gaussians.means.dtype)
    return rasterize(gaussians, view, backend=backend, **more)  # type: ignore[arg-type]


def assert_alike(one: Tensor, other: Tensor, tolerance: float = 2e-4, share: float = 5e-3) -> None:
    """Pictures agree but for pixels where a Gaussian is just skipped or not."""
    off = (one - other).abs() > tolerance
    assert off.double().mean() <= share, float((one - other).abs().max())


def quaternion_product(first: Tensor, second: Tensor) -> Tensor:
    w, v, a, u = first[..., :1], first[..., 1:], second[..., :1], second[..., 1:]
    real = w * a - (v * u).sum(-1, keepdim=True)
    return torch.cat([real, w * u + a * v + torch.linalg.cross(v.expand_as(u), u)], -1)


@every_variant
@few
@given(seed=seeds)
def test_a_turned_and_moved_world_looks_the_same(backend: GaussianBackend, dtype: torch.dtype, seed: int) -> None:
    scene = cloud(40, seed, dtype)
    turn, move = numbers(1, 4, seed=seed, dtype=torch.float64) - 0.5, 3 * numbers(3, seed=seed + 1, dtype=torch.float64)
    rotation = reference.rotation_matrices(turn)[0]
    means = scene.means.double() @ rotation.T + move
    quats = quaternion_product(torch.nn.functional.normalize(turn, dim=-1), scene.quats.double())
    world_from_new = torch.eye(4, dtype=torch.float64)
    world_from_new[:3, :3], world_from_new[:3, 3] = rotation.T, -rotation.T @ move
    view = camera(1, dtype)
    moved = replace(view, cam_from_world=(view.cam_from_world.double() @ world_from_new).to(dtype))
    turned = replace(scene, means=means.to(dtype), quats=quats.to(dtype))
    one, other = draw(scene, backend), draw(turned, backend, moved)
    for name in PICTURES[:3]:
        assert_alike(getattr(one, name), getattr(other, name))


@every_variant
@few
@given(seed=seeds, power=st.integers(-6, 9))
def test_a_larger_world_looks_the_same_and_is_deeper(
    backend: GaussianBackend, dtype: torch.dtype, seed: int, power: int
) -> None:
    scene, scale, view = cloud(40, seed, dtype, 2), 2.0**power, camera(1, dtype)
    view.cam_from_world[0, :3, 3] = torch.tensor([0.1, -0.2, 0.3])
    moved = view.cam_from_world.clone()
    moved[0, :3, 3] *= scale
    larger = replace(scene, means=scale * scene.means, log_scales=scene.log_scales + power * torch.log(torch.tensor(2)))
    one, other = (
        draw(scene, backend, view),
        draw(larger, backend, replace(view, cam_from_world=moved), options=RasterOptions(near=0.01 * scale)),
    )
    assert_alike(one.image, other.image)
    assert_alike(one.alpha, other.alpha)
    assert_alike(one.depth_expected, other.depth_expected / scale, 1e-3)


@every_variant
@few
@given(seed=seeds)
def test_the_order_of_the_gaussians_does_not_matter(backend: GaussianBackend, dtype: torch.dtype, seed: int) -> None:
    """Their depths sort them; what belongs to each moves along with it, and so do its gradients."""
    scene = cloud(50, seed, dtype, 1)
    order = torch.randperm(50, generator=torch.Generator().manual_seed(seed))
    found = []
    for one in (scene, scene[order]):
        leaves = replace(one, **{name: getattr(one, name).clone().requires_grad_() for name in FIELDS})
        seen = draw(leaves, backend)
        (seen.image.square().sum() + seen.depth_expected.sum()).backward()
        found.append((seen, [getattr(leaves, name).grad for name in FIELDS]))
    (one_seen, one_by), (other_seen, other_by) = found
    for name in PICTURES:
        assert_alike(getattr(one_seen, name), getattr(other_seen, name), 1e-5)
    for name, got, want in zip(FIELDS, other_by, one_by, strict=True):
        assert torch.allclose(got, want[order], rtol=1e-4, atol=1e-6), name
    for name in ("means2d", "depths", "conics"):
        got, want = (getattr(seen.projections[0], name) for seen in (other_seen, one_seen))
        assert torch.equal(got, want[order]), name


@every_variant
@few
@given(seed=seeds)
def test_a_mirrored_world_gives_a_mirrored_picture(backend: GaussianBackend, dtype: torch.dtype, seed: int) -> None:
    """Pixel centres lie half a pixel inside: the principal point goes to the width minus itself."""
    scene, view = cloud(40, seed, dtype), camera(1, dtype)
    mirror = torch.tensor([-1.0, 1, 1], dtype=dtype)
    quats = scene.quats * torch.tensor([1.0, 1, -1, -1], dtype=dtype)
    K = view.K.clone()
    K[0, 0, 2] = WIDTH - K[0, 0, 2]
    one = draw(scene, backend)
    other = draw(replace(scene, means=scene.means * mirror, quats=quats), backend, replace(view, K=K))
    for name in PICTURES[:3]:
        assert_alike(getattr(one, name), getattr(other, name).flip(2))


@every_variant
@pytest.mark.parametrize(
    ("left", "top", "width", "height"), [(0, 0, 24, 20), (3, 5, 16, 9), (7, 0, 1, 20), (9, 9, 1, 1)]
)
def test_a_crop_is_a_part_of_the_picture(
    backend: GaussianBackend, dtype: torch.dtype, left: int, top: int, width: int, height: int
) -> None:
    """The principal point moves along; small Gaussians near the axis keep the Jacobian free of its cut."""
    scene = cloud(40, 2, dtype)
    scene = replace(scene, means=scene.means * torch.tensor([0.2, 0.2, 1.0], dtype=dtype))
    view = camera(1, dtype)
    K = view.K.clone()
    K[0, 0, 2], K[0, 1, 2] = K[0, 0, 2] - left, K[0, 1, 2] - top
    whole = draw(scene, backend)
    part = draw(scene, backend, CameraTensors(view.cam_from_world, K, width, height))
    limit = 0.15 * min(width, height)
    x, y = whole.projections[0].means2d.unbind(-1)
    free = (x > left - limit) & (x < left + width + limit) & (y > top - limit) & (y < top + height + limit)
    some = scene[free]
    whole, part = draw(some, backend), draw(some, backend, CameraTensors(view.cam_from_world, K, width, height))
    assert part.image.shape == (1, height, width, 3)
    for name in PICTURES[:3]:
        window = getattr(whole, name)[:, top : top + height, left : left + width]
        assert_alike(getattr(part, name), window, share=0.01)


@every_variant
@few
@given(seed=seeds)
def test_the_picture_is_linear_in_the_features(backend: GaussianBackend, dtype: torch.dtype, seed: int) -> None:
    scene = cloud(60, seed, dtype)
    f, g = numbers(60, 5, seed=seed, dtype=dtype), numbers(60, 5, seed=seed + 1, dtype=dtype)
    one, other, both = (draw(scene, backend, features=value).image for value in (f, g, 2 * f - 3 * g))
    assert torch.allclose(both, 2 * one - 3 * other, atol=2e-5)


@every_variant
@few
@given(seed=seeds)
def test_the_background_shows_through_what_alpha_leaves(
    backend: GaussianBackend, dtype: torch.dtype, seed: int
) -> None:
    scene, behind = cloud(60, seed, dtype), numbers(3, seed=seed, dtype=dtype)
    bare, over = draw(scene, backend), draw(scene, backend, background=behind)
    assert torch.allclose(over.image, bare.image + (1 - bare.alpha[..., None]) * behind, atol=1e-6)
    for name in PICTURES[1:]:
        assert torch.equal(getattr(bare, name), getattr(over, name)), name


@every_variant
@few
@given(seed=seeds)
def test_channels_do_not_know_each_other(backend: GaussianBackend, dtype: torch.dtype, seed: int) -> None:
    scene, features = cloud(60, seed, dtype), numbers(60, 7, seed=seed, dtype=dtype)
    order = torch.randperm(7, generator=torch.Generator().manual_seed(seed))
    whole, permuted = draw(scene, backend, features=features), draw(scene, backend, features=features[:, order])
    assert torch.allclose(whole.image[..., order], permuted.image, atol=1e-6)
    assert torch.equal(whole.alpha, permuted.alpha)


@every_variant
@few
@given(seed=seeds)
def test_blending_weights_sum_to_alpha_and_average_the_depths(
    backend: GaussianBackend, dtype: torch.dtype, seed: int
) -> None:
    """With a channel of its own for each Gaussian, the picture is the table of the weights."""
    scene = cloud(20, seed, dtype)
    seen = draw(scene, backend, features=torch.eye(20, dtype=dtype))
    weights, depths, alpha = seen.image[0], seen.projections[0].depths, seen.alpha[0]
    assert (weights >= 0).all() and (alpha <= 1).all()
    assert torch.allclose(weights.sum(-1), alpha, atol=2e-6)
    covered = alpha > 0.05
    assert torch.allclose((weights @ depths / alpha)[covered], seen.depth_expected[0][covered], rtol=1e-4)
    assert not seen.depth_expected[0][alpha == 0].any()
    nearest = torch.where(weights > 0, depths, torch.inf).amin(-1)
    farthest = torch.where(weights > 0, depths, 0).amax(-1)
    assert (seen.depth_expected[0] >= nearest * (1 - 1e-3))[covered].all()
    assert (seen.depth_expected[0] <= farthest * (1 + 1e-3))[covered].all()
    median = seen.depth_median[0]
    assert ((median > 0) == (alpha >= 0.5))[(alpha - 0.5).abs() > 1e-5].all()
    assert torch.isin(median[median > 0], depths).all()


@every_variant
@few
@given(seed=seeds, index=st.integers(0, 29), more=st.floats(0.01, 6))
def test_more_opacity_never_covers_less(
    backend: GaussianBackend, dtype: torch.dtype, seed: int, index: int, more: float
) -> None:
    scene = cloud(30, seed, dtype)
    logits = scene.opacity_logits.clone()
    logits[index] += more
    thin, thick = (draw(one, backend, options=OPEN).alpha for one in (scene, replace(scene, opacity_logits=logits)))
    assert (thick >= thin - 1e-6).all()


@every_variant
@few
@given(seed=seeds)
def test_alpha_does_not_depend_on_the_order_of_depths(backend: GaussianBackend, dtype: torch.dtype, seed: int) -> None:
    """Seen without a limit, the transmittance is a product; here the same layers stand in another order."""
    scene = cloud(12, seed, dtype)
    seen = draw(scene, backend, options=OPEN).projections[0]
    strengths, features = scene.opacities, torch.zeros(12, 1, dtype=dtype)
    raster = reference.__package__ + (".reference_raster" if backend == "torch" else ".cpu")
    home = __import__(raster, fromlist=["rasterize_projected"])
    pictures = []
    for depths in (seen.depths, seen.depths.flip(0)):
        _, alpha, _, _ = home.rasterize_projected(
            replace(seen, depths=depths), strengths, features, WIDTH, HEIGHT, options=OPEN
        )
        pictures.append(alpha)
    assert torch.allclose(*pictures, atol=2e-6)


@every_variant
def test_many_cameras_give_the_pictures_of_each(backend: GaussianBackend, dtype: torch.dtype) -> None:
    scene, views = cloud(40, 3, dtype, 2), camera(3, dtype)
    together = draw(scene, backend, views)
    assert len(together.projections) == len(together.image) == 3
    for index in range(3):
        alone = CameraTensors(views.cam_from_world[index : index + 1], views.K[index : index + 1], WIDTH, HEIGHT)
        for name in PICTURES:
            assert torch.equal(getattr(draw(scene, backend, alone), name)[0], getattr(together, name)[index]), name


@every_variant
def test_what_nobody_sees_can_be_left_out(backend: GaussianBackend, dtype: torch.dtype) -> None:
    scene = cloud(120, 8, dtype)
    whole = draw(scene, backend)
    seen = (whole.projections[0].radii > 0).all(-1)
    assert 0 < seen.sum() < 120
    for name in PICTURES:
        assert torch.equal(getattr(draw(scene[seen], backend), name), getattr(whole, name)), name


@every_variant
@pytest.mark.parametrize("length", [1e-3, 0.5, 7.0, 1e4])
def test_the_length_of_quaternions_does_not_matter(backend: GaussianBackend, dtype: torch.dtype, length: float) -> None:
    scene = cloud(40, 4, dtype)
    assert_alike(draw(scene, backend).image, draw(replace(scene, quats=length * scene.quats), backend).image)
    assert_alike(draw(scene, backend).image, draw(replace(scene, quats=-scene.quats), backend).image)

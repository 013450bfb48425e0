"""Textures: where texels are, wrap modes, mips, footprints, parity with the oracle and gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from small_meshes import HEIGHT, WIDTH, small_cameras, triangle_soup

from recon3d.core.errors import InputError, ShapeError, UsageError
from recon3d.core.kernels import threads
from recon3d.render.mesh import Texture, interpolate_corners, rasterize_mesh, uv_footprint
from recon3d.render.mesh.texture import WRAPS

BACKENDS = ["numba", "torch"]


def picture(height: int, width: int, n_channels: int = 2, seed: int = 0) -> torch.Tensor:
    return torch.rand(height, width, n_channels, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("backend", BACKENDS)
def test_texels_are_where_the_docs_say(backend: Any) -> None:
    image = picture(3, 5)
    rows, columns = torch.meshgrid(torch.arange(3), torch.arange(5), indexing="ij")
    uv = torch.stack([(columns + 0.5).double() / 5, (rows + 0.5).double() / 3], -1)
    assert torch.allclose(Texture.of(image).sample(uv, backend=backend), image)
    between = torch.tensor([[2.0 / 5, 0.5 / 3]], dtype=torch.float64)
    found = Texture.of(image).sample(between, backend=backend)
    assert torch.allclose(found[0], (image[0, 1] + image[0, 2]) / 2)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("wrap", "texels"),
    [("repeat", [3, 0, 1, 2, 3, 0, 1]), ("clamp", [0, 0, 1, 2, 3, 3, 3]), ("mirror", [0, 0, 1, 2, 3, 3, 2])],
)
def test_beyond_the_image(backend: Any, wrap: Any, texels: list[int]) -> None:
    image = torch.arange(4, dtype=torch.float64).reshape(1, 4, 1)
    u = (torch.arange(-1, 6) + 0.5).double() / 4
    uv = torch.stack([u, torch.full_like(u, 0.3)], -1)
    texture = Texture.of(image, wrap=wrap)
    assert texture.sample(uv, backend=backend)[:, 0].tolist() == pytest.approx(texels)
    far = uv + 2 * torch.tensor([1000.0, -1000])
    if wrap != "clamp":
        assert texture.sample(far, backend=backend)[:, 0].tolist() == pytest.approx(texels, abs=1e-9)
    else:
        assert (texture.sample(far, backend=backend) == 3).all()


@settings(max_examples=25)
@given(st.integers(1, 9), st.integers(1, 9), st.sampled_from(WRAPS), st.integers(0, 1000))
def test_numba_finds_what_the_oracle_finds(height: int, width: int, wrap: Any, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    image = picture(height, width, 3, seed).requires_grad_()
    uv = ((torch.rand(20, 2, generator=generator, dtype=torch.float64) - 0.3) * 4).requires_grad_()
    footprint = torch.rand(20, 2, 2, generator=generator, dtype=torch.float64)
    found = []
    for backend in BACKENDS:
        values = Texture.of(image, wrap=wrap).sample(uv, footprint, backend=backend)  # type: ignore[arg-type]
        found.append([values, *torch.autograd.grad(values.square().sum(), [image, uv])])
    for ours, oracle in zip(*found, strict=True):
        assert torch.allclose(ours, oracle, atol=1e-12)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("wrap", WRAPS)
def test_gradients_are_those_of_differences(backend: Any, wrap: Any) -> None:
    image = picture(5, 6).requires_grad_()
    generator = torch.Generator().manual_seed(3)
    uv = ((torch.rand(12, 2, generator=generator, dtype=torch.float64) - 0.3) * 2).requires_grad_()
    footprint = torch.rand(12, 2, 2, generator=generator, dtype=torch.float64) * 0.6
    assert torch.autograd.gradcheck(
        lambda i, u: Texture.of(i, wrap=wrap).sample(u, footprint, backend=backend), (image, uv)
    )


def test_mips_are_means() -> None:
    image = picture(8, 4)
    mips = Texture.of(image).mips
    assert [tuple(each.shape[:2]) for each in mips] == [(8, 4), (4, 2), (2, 1), (1, 1)]
    assert torch.allclose(mips[1][0, 1], image[:2, 2:].mean((0, 1)))
    assert torch.allclose(mips[3][0, 0], image.mean((0, 1)))
    assert len(Texture.of(image, n_levels=2).mips) == 2
    odd = Texture.of(torch.ones(7, 5, 1)).mips
    assert [tuple(each.shape[:2]) for each in odd] == [(7, 5), (3, 2), (1, 1)] and all(
        (each == 1).all() for each in odd
    )


def test_levels_follow_the_longer_side_of_the_footprint() -> None:
    texture = Texture.of(picture(32, 64))
    footprint = torch.zeros(4, 2, 2, dtype=torch.float64)
    footprint[0, 0, 0] = 4 / 64  # four texels along x
    footprint[1, 1, 1], footprint[1, 0, 0] = 2 / 32, 1 / 64  # two along y
    footprint[2, 0, 0] = 0.25 / 64
    footprint[3, 0, 1] = 1e9
    assert texture.levels(footprint).tolist() == pytest.approx([2, 1, 0, 6])


def test_a_texture_seen_from_afar_is_its_mean_and_does_not_flicker() -> None:
    stripes = (torch.arange(64) % 2).double()[None, :, None].expand(64, 64, 1)
    uv = torch.rand(50, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    footprint = torch.eye(2, dtype=torch.float64).expand(50, 2, 2) * (4 / 64)
    texture = Texture.of(stripes.contiguous())
    assert torch.allclose(texture.sample(uv, footprint), torch.full((50, 1), 0.5, dtype=torch.float64))
    assert texture.sample(uv).std() > 0.2


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_footprint_is_the_change_from_pixel_to_pixel(backend: Any) -> None:
    """By differences between renderings with the principal point moved by a little."""
    vertices, faces = triangle_soup(4, 12, 4)
    uvs = torch.rand(4, 3, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    cameras = small_cameras(2)
    seen = rasterize_mesh(vertices, faces, cameras)
    footprint = uv_footprint(uvs, seen, vertices, faces, cameras, backend=backend)
    assert not footprint[~seen.mask].any()
    step = 1e-4
    for axis in range(2):
        moved = []
        for sign in (1, -1):
            K = cameras.K.clone()
            K[:, axis, 2] -= sign * step
            other = type(cameras)(cameras.cam_from_world, K, WIDTH, HEIGHT)
            moved.append(rasterize_mesh(vertices, faces, other))
        same = (moved[0].face == seen.face) & (moved[1].face == seen.face) & seen.mask
        ahead, behind = (interpolate_corners(uvs, each) for each in moved)
        assert same.sum() > 100
        assert torch.allclose(((ahead - behind) / (2 * step))[same], footprint[..., axis][same], rtol=1e-4, atol=1e-7)


def test_the_same_bits_for_any_number_of_threads() -> None:
    image = picture(64, 64, 3).float().requires_grad_()
    uv = torch.rand(20_000, 2, generator=torch.Generator().manual_seed(0)).requires_grad_()
    found = []
    for count in (1, 3):
        with threads(count):
            values = Texture.of(image).sample(uv, torch.rand(20_000, 2, 2, generator=torch.Generator().manual_seed(1)))
            found.append([values, *torch.autograd.grad(values.square().sum(), [image, uv])])
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


@pytest.mark.usefixtures("without_shape_checks")
def test_what_is_refused() -> None:
    image = picture(4, 4)
    uv = torch.zeros(3, 2, dtype=torch.float64)
    with pytest.raises(ShapeError, match="a texture has the wrong shape; got: \\[\\]"):
        Texture(())
    for bad in (image[..., 0], image[:0]):
        with pytest.raises(ShapeError, match="wrong shape"):
            Texture.of(bad)
    with pytest.raises(ShapeError, match="of the same c"):
        Texture((image, image[..., :1]))
    with pytest.raises(UsageError, match="no such wrap mode; got: tile; expected: repeat, clamp, mirror"):
        Texture.of(image, wrap="tile")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="needs a level; got: 0"):
        Texture.of(image, n_levels=0)
    with pytest.raises(UsageError, match="uv has another type"):
        Texture.of(image).sample(uv.float())
    with pytest.raises(InputError, match="uv holds NaN"):
        Texture.of(image).sample(uv * np.inf)
    with pytest.raises(ShapeError, match="footprint has the wrong shape"):
        Texture.of(image).sample(uv, torch.zeros(3, 2, dtype=torch.float64))
    with pytest.raises(ShapeError, match="uvs has the wrong shape"):
        vertices, faces = triangle_soup(0)
        uv_footprint(uv, rasterize_mesh(vertices, faces, small_cameras()), vertices, faces, small_cameras())

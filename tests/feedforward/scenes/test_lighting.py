from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from recon3d.feedforward.scenes.builder import Builder
from recon3d.feedforward.scenes.casting import blocked, nearest
from recon3d.feedforward.scenes.lighting import Surface, radiance, sky
from recon3d.feedforward.scenes.materials import PATTERNS, Material, Palette
from recon3d.feedforward.scenes.noise import cell_values, fractal
from recon3d.feedforward.scenes.textures import albedo


def grey(pattern: str = "flat", **others: float) -> Material:
    colours = [np.full(3, value) for value in (0.5, 0.5, 0.5)]
    return Material(
        pattern=pattern, scale=1.0, first=colours[0], second=colours[1], third=colours[2], grain=0.0, **others
    )


def scene() -> Builder:
    """A ball of radius 1 one metre above the ground, the sun in the zenith."""
    builder = Builder(np.random.default_rng(0))
    builder.sun, builder.ambient = np.array([0.0, 0.0, 1.0, 1.0, 1.0, 1.0]), np.full(6, 0.25)
    builder.add("disc", np.zeros(3), np.array([9.0, 9.0, 1.0]), grey())
    builder.add("ball", np.array([0.0, 0.0, 2.0]), np.ones(3), grey())
    return builder


def columns(*points: tuple[float, float, float]) -> Tensor:
    return torch.tensor(points).T[None]


def shaded(builder: Builder, origins: Tensor, directions: Tensor) -> Tensor:
    world, directions = builder.finish(), directions.expand_as(origins)
    hits = nearest(world, origins, directions)
    reach = hits.distance.nan_to_num(posinf=0.0)
    surface = Surface(world, origins + directions * reach[:, None], directions, hits.column)
    return radiance(world, hits, surface, directions, 0.001 * reach)[0, 0]


def test_light_on_the_ground_beside_and_in_the_shadow() -> None:
    origins = columns((3.0, 0.0, 0.5), (0.2, 0.0, 0.5))
    values = shaded(scene(), origins, columns((0.0, 0.0, -1.0)))
    torch.testing.assert_close(values, torch.tensor([0.5 * 1.25, 0.5 * 0.25]), atol=1e-4, rtol=0)


def test_a_lamp_fades_with_the_square_of_its_distance() -> None:
    builder = Builder(np.random.default_rng(0))
    builder.lamp, builder.ambient = np.array([0.0, 0.0, 2.0, 4.0, 4.0, 4.0]), np.zeros(6)
    builder.add("disc", np.zeros(3), np.array([9.0, 9.0, 1.0]), grey())
    values = shaded(builder, columns((0.0, 0.0, 0.5), (2.0, 0.0, 0.5)), columns((0.0, 0.0, -1.0)))
    torch.testing.assert_close(values, torch.tensor([0.5 * 4 / 4, 0.5 * 4 / 8 * 0.5**0.5]), atol=1e-4, rtol=0)


def test_light_enters_a_room_only_through_its_window() -> None:
    builder = Builder(np.random.default_rng(0))
    builder.add("cavity", np.array([0.0, 0.0, 1.5]), np.array([2.0, 2.0, 1.5]), grey())
    builder.holed("cavity")
    builder.hole(np.array([2.0, 0.0, 1.5]), np.array([0.1, 0.5, 0.5]))
    world, inside = builder.finish(), columns((0.0, 0.0, 1.5))
    ways = columns((1.0, 0.0, 0.0), (1.0, 0.2, 0.2), (1.0, 0.3, 0.0), (0.0, 1.0, 0.0))
    assert blocked(world, inside, ways).tolist() == [[False, False, True, True]]


def test_a_recess_lies_behind_the_wall_in_which_it_is_cut() -> None:
    builder = Builder(np.random.default_rng(0))
    builder.add("box", np.array([0.0, 1.0, 0.0]), np.array([3.0, 1.0, 3.0]), grey())
    builder.holed("box")
    builder.add("cavity", np.array([0.0, 0.2, 0.0]), np.array([0.5, 0.2, 0.5]), grey(), extra=1.0)
    builder.hole(np.zeros(3), np.array([0.4999, 0.02, 0.4999]))
    hits = nearest(builder.finish(), columns((0.0, -2.0, 0.0), (1.0, -2.0, 0.0)), columns((0.0, 1.0, 0.0)))
    torch.testing.assert_close(hits.distance, torch.tensor([[2.4, 2.0]]))


def test_nothing_is_hit_in_the_sky_and_its_colours_are_the_given_ones() -> None:
    builder = Builder(np.random.default_rng(0))
    builder.add("ball", np.array([0.0, 0.0, -5.0]), np.ones(3), grey())
    builder.sky = np.array([0.1, 0.2, 0.9, 0.5, 0.5, 0.5, 0.3, 0.2, 0.1, 1.0, 1.0, 1.0, -50.0, 1.0, 0.0])
    up, down = columns((0.0, 0.0, 1.0)), columns((0.0, 0.6, -0.8))
    world = builder.finish()
    torch.testing.assert_close(sky(world, up)[0, :, 0], torch.tensor([0.1, 0.2, 0.9]))
    torch.testing.assert_close(sky(world, down)[0, :, 0], torch.tensor([0.3, 0.2, 0.1]))


@pytest.mark.parametrize("pattern", PATTERNS)
def test_patterns_stay_between_their_colours(pattern: str) -> None:
    material = torch.from_numpy(Palette(np.random.default_rng(3)).material(1.0, (pattern,)).row(np.zeros(3))).float()
    material[11] = 0.0
    points = torch.rand(1, 3, 400, generator=torch.Generator().manual_seed(0)) * 9.0
    up = torch.tensor([0.0, 0.0, 1.0])[None, :, None].expand(1, 3, 400)
    colours = albedo(material[None, :, None].expand(1, -1, 400), points, up, torch.zeros(1, 400))
    ends = material[2:11].reshape(3, 3)
    assert (colours >= ends.amin(0)[:, None] - 1e-5).all() and (colours <= ends.amax(0)[:, None] + 1e-5).all()


def test_patterns_finer_than_a_pixel_fade_to_their_mean() -> None:
    checks = replace(grey("checks", warp=0.0), first=np.zeros(3), second=np.ones(3), third=np.full(3, 0.5))
    material = torch.from_numpy(checks.row(np.zeros(3))).float()[None, :, None].expand(1, -1, 50)
    points = torch.rand(1, 3, 50, generator=torch.Generator().manual_seed(0)) * 9.0
    up = torch.tensor([0.0, 0.0, 1.0])[None, :, None].expand(1, 3, 50)
    far, near = (albedo(material, points, up, torch.full((1, 50), size)) for size in (5.0, 0.0))
    torch.testing.assert_close(far, torch.full_like(far, 0.5))
    assert near.min() < 0.1 and near.max() > 0.9


def test_noise_is_periodic_and_of_unit_variance() -> None:
    points = torch.rand(1, 3, 4000, generator=torch.Generator().manual_seed(0)) * 8.0
    values = fractal(points)
    torch.testing.assert_close(values, fractal(points + 8.0), atol=1e-3, rtol=0)
    assert 0.8 < values.std() < 1.2


def test_cells_have_one_colour_each() -> None:
    cells = torch.tensor([[[3.0, 3.0, 4.0], [-2.0, -2.0, -2.0]]])
    values = cell_values(cells)[0]
    assert torch.equal(values[:, 0], values[:, 1]) and not torch.equal(values[:, 0], values[:, 2])

"""Marching through occupied cells: numba and torch find the samples that the definition names."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, strategies as st
from torch import Tensor

from recon3d.core.errors import ShapeError, UsageError
from recon3d.core.kernels import threads
from recon3d.render.rays import Rays
from recon3d.render.volume import MarchOptions, OccupancyGrid, PackedSamples, march, marching, ray_box

LOWER, UPPER = torch.tensor([-1.0, -0.8, -0.6]).double(), torch.tensor([1.0, 0.9, 0.7]).double()


def grid(seed: int, share: float, levels: int = 1, resolution: tuple[int, int, int] = (5, 4, 3)) -> OccupancyGrid:
    generator = torch.Generator().manual_seed(seed)
    occupied = torch.rand(levels, *resolution, generator=generator) < share
    return OccupancyGrid(LOWER, UPPER, occupied.double(), occupied)


def rays(seed: int, n: int = 24) -> Rays:
    """From outside and inside, some along axes, some that miss."""
    generator = torch.Generator().manual_seed(seed)
    origins = torch.randn(n, 3, generator=generator, dtype=torch.float64) * 2.0
    targets = torch.rand(n, 3, generator=generator, dtype=torch.float64) - 0.5
    directions = torch.nn.functional.normalize(targets - origins, dim=-1)
    origins[::5] *= 0.1
    directions[::4] = torch.eye(3).double()[torch.arange(len(directions[::4])) % 3]
    return Rays(origins, directions)


def by_definition(one: Rays, of: OccupancyGrid, options: MarchOptions) -> list[tuple[int, float, float]]:
    """Ray, start and end of every sample, step by step in Python."""
    lower, upper = of.boxes()
    found = []
    for ray in range(len(one)):
        k, t = 0, options.near
        while t < 12.0:
            length = max(options.step, t * options.cone_angle)
            start, end = t, t + length
            if options.cone_angle == 0.0:
                start, end = options.near + k * options.step, options.near + (k + 1) * options.step
            point = one.origins[ray] + 0.5 * (start + end) * one.directions[ray]
            for level in range(len(lower)):
                sides = torch.tensor(of.resolution)
                cell = ((point - lower[level]) / (upper - lower)[level] * sides).floor().long()
                if bool(((cell >= 0) & (cell < sides)).all()):
                    if of.occupied[level, cell[0], cell[1], cell[2]] and 0.5 * (start + end) < options.far:
                        found.append((ray, start, end))
                    break
            k, t = k + 1, t + length
    return found


def rows(samples: PackedSamples) -> list[tuple[int, float, float]]:
    return list(zip(samples.packing.ray_indices.tolist(), samples.starts.tolist(), samples.ends.tolist(), strict=True))


OPTIONS = [
    MarchOptions(0.11),
    MarchOptions(0.13, near=0.4, far=2.9),
    MarchOptions(0.05, cone_angle=0.06, near=0.1),
    MarchOptions(0.9),
]


@pytest.mark.parametrize("levels", [1, 3])
@pytest.mark.parametrize("options", OPTIONS, ids=["plain", "near and far", "cone", "coarse"])
def test_the_samples_are_those_of_the_definition(levels: int, options: MarchOptions) -> None:
    of, some = grid(levels, 0.4, levels), rays(levels, 12)
    want, got = by_definition(some, of, options), rows(march(some, of, options))
    assert [row[0] for row in got] == [row[0] for row in want]
    assert torch.allclose(torch.tensor(got)[:, 1:].double(), torch.tensor(want)[:, 1:].double(), atol=1e-9)
    assert len(want) > 3


@given(
    seed=st.integers(0, 10_000),
    share=st.sampled_from([0.0, 0.05, 0.5, 1.0]),
    levels=st.integers(1, 3),
    step=st.floats(0.01, 0.5),
    cone=st.sampled_from([0.0, 0.03]),
    resolution=st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(1, 9)),
)
def test_numba_and_torch_agree(
    seed: int, share: float, levels: int, step: float, cone: float, resolution: tuple[int, int, int]
) -> None:
    of, some = grid(seed, share, levels, resolution), rays(seed)
    job = marching._Job.of(some, of, torch.full((len(some),), 0.05).double(), MarchOptions(step, cone))
    for one, other in zip(marching._march_cpu(job), marching.march_torch(job), strict=True):
        assert torch.equal(one, other)


def test_a_full_grid_is_sampled_evenly() -> None:
    """All lattice mid-points inside the box, and nothing else."""
    of, some, step = grid(0, 1.1), rays(3), 0.07
    found = march(some, of, MarchOptions(step))
    hits = ray_box(some, LOWER, UPPER)
    t = (torch.arange(400) + 0.5) * step
    inside = (t > hits.near[:, None]) & (t < hits.far[:, None])
    assert torch.equal(found.packing.counts, inside.sum(1))
    assert torch.allclose(found.middles, t.double().expand(len(some), -1)[inside], atol=1e-12)


def test_an_empty_grid_has_no_samples() -> None:
    found = march(rays(4), grid(0, 0.0, levels=2), MarchOptions(0.05))
    assert len(found) == 0
    assert found.packing.counts.tolist() == [0] * 24


def test_turning_the_world_with_the_grid_changes_nothing() -> None:
    """By 90 degrees about z: x becomes y, y becomes -x."""
    of, some, options = grid(7, 0.4, 2, (6, 6, 4)), rays(5), MarchOptions(0.083)
    of = replace(of, lower=torch.tensor([-1.0, -1.0, -0.6]).double(), upper=torch.tensor([1.0, 1.0, 0.7]).double())
    turn = torch.tensor([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]).double()
    turned = replace(of, occupied=of.occupied.transpose(1, 2).flip(1), values=of.values.transpose(1, 2).flip(1))
    before = march(some, of, options)
    after = march(Rays(some.origins @ turn.T, some.directions @ turn.T), turned, options)
    assert torch.equal(before.packing.ray_indices, after.packing.ray_indices)
    assert torch.allclose(before.starts, after.starts, atol=1e-12)


def test_jitter_moves_the_lattice() -> None:
    of, some, options = grid(0, 1.1), rays(6), MarchOptions(0.2)
    numbers = torch.rand(len(some), generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    moved = march(some, of, options, jitter=numbers)
    drawn = march(some, of, options, jitter=torch.Generator().manual_seed(2))
    assert torch.equal(moved.starts, drawn.starts)
    steps = moved.starts / options.step - numbers[moved.packing.ray_indices]
    assert torch.allclose(steps, steps.round(), atol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_result_has_the_type_of_the_rays_and_the_same_bits_for_any_threads(dtype: torch.dtype) -> None:
    of, some = grid(1, 0.3, 2), rays(7, 700)
    of = replace(of, lower=of.lower.to(dtype), upper=of.upper.to(dtype), values=of.values.to(dtype))
    some = Rays(some.origins.to(dtype), some.directions.to(dtype))
    found = []
    for n in (1, 3):
        with threads(n):
            found.append(march(some, of, MarchOptions(0.03)))
    assert found[0].starts.dtype == dtype
    assert torch.equal(found[0].starts, found[1].starts)
    assert torch.equal(found[0].packing.ray_indices, found[1].packing.ray_indices)


def test_strange_rays_have_no_samples() -> None:
    origins = torch.tensor([[0.0, 0, 0], [torch.nan, 0, 0], [torch.inf, 0, 0]]).double()
    directions = torch.tensor([[0.0, 0, 0], [1.0, 0, 0], [-1.0, 0, 0]]).double()
    found = march(Rays(origins[1:], directions[1:]), grid(0, 1.1), MarchOptions(0.1))
    assert len(found) == 0
    nowhere = Rays(origins[:1], directions[:1])
    assert len(march(nowhere, grid(0, 1.1), MarchOptions(0.1, far=1.0))) == 10  # it stands inside for all of t
    with pytest.raises(UsageError, match="too small"):
        march(nowhere, grid(0, 1.1), MarchOptions(0.1))


def test_no_ray() -> None:
    none = Rays(torch.zeros(0, 3).double(), torch.zeros(0, 3).double())
    assert len(march(none, grid(0, 1.1), MarchOptions(0.1))) == 0


@pytest.mark.parametrize(
    "bad", [{"step": 0.0}, {"step": float("inf")}, {"cone_angle": -0.1}, {"near": -1.0}, {"near": 2.0, "far": 1.0}]
)
def test_bad_options_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        MarchOptions(**({"step": 0.1} | bad))


@pytest.mark.usefixtures("without_shape_checks")
def test_bad_arguments_are_refused() -> None:
    some, of, options = rays(0), grid(0, 1.1), MarchOptions(0.1)
    cases: list[tuple[type[Exception], str, dict[str, Any]]] = [
        (ShapeError, "near", {"near": torch.zeros(3)}),
        (ShapeError, "jitter", {"jitter": torch.zeros(3)}),
    ]
    for error, message, arguments in cases:
        with pytest.raises(error, match=message):
            march(some, of, options, **arguments)
    with pytest.raises(UsageError, match=r"grid\.values has another type"):
        march(Rays(some.origins.float(), some.directions.float()), of, options)
    with pytest.raises(UsageError, match="too small for the grid"):
        march(some, of, MarchOptions(1e-9))


def test_a_sample_after_an_empty_stretch_is_found_from_afar() -> None:
    """One occupied cell at the end of a long empty grid."""
    occupied = torch.zeros(1, 256, 1, 1, dtype=torch.bool)
    occupied[0, 255] = True
    of = OccupancyGrid(LOWER, UPPER, occupied.double(), occupied)
    ray = Rays(torch.tensor([[-3.0, 0, 0]]).double(), torch.tensor([[1.0, 0, 0]]).double())
    found: Tensor = march(ray, of, MarchOptions(0.001)).middles
    assert (found > 3.0 + 255 / 128 - 1.0 - 1e-9).all()
    assert len(found) in (7, 8)

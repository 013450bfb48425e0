"""Points, pillars and their features."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from recon3d.core.errors import InputError, ShapeError, UsageError
from recon3d.pointcloud.flatformer import EncoderOptions, PillarGrid, detector_options, prepare_points, stack_sweeps
from recon3d.pointcloud.flatformer.pillars import Pillars, cell_indices, pillarize
from recon3d.pointcloud.flatformer.points import crop_points
from recon3d.pointcloud.flatformer.vfe import DynamicVFE, pillar_means

GRID = PillarGrid(lower=(-1.0, -2.0, -1.0), upper=(1.0, 2.0, 1.0), size=(0.5, 0.5, 2.0))


def points(n: int, seed: int = 0) -> Tensor:
    draw = torch.rand(n, 4, generator=torch.Generator().manual_seed(seed))
    return draw * torch.tensor([1.98, 3.98, 1.9, 1.0]) + torch.tensor([-0.99, -1.99, -0.95, 0.0])


@pytest.mark.parametrize(
    ("place", "kept"),
    [
        ((0.0, 0.0, 0.0), True),
        ((-1.0, 0.0, 0.0), False),
        ((1.0, 0.0, 0.0), False),
        ((0.999, -1.999, 0.0), True),
        ((0.0, 0.0, 0.9985), True),
        ((0.0, 0.0, 0.9995), False),  # within a millimetre of the ceiling
        ((0.0, 0.0, -0.9995), False),
        ((math.nan, 0.0, 0.0), False),
        ((0.0, math.inf, 0.0), False),
    ],
)
def test_points_on_the_edge(place: tuple[float, float, float], kept: bool) -> None:
    assert (len(crop_points(torch.tensor([[*place, 0.5]]), GRID)) == 1) is kept


def test_a_point_whose_attribute_is_no_number_falls() -> None:
    assert len(crop_points(torch.tensor([[0.0, 0, 0, math.nan], [0.0, 0, 0, 1.0]]), GRID)) == 1


def test_attributes_are_scaled_as_the_options_say() -> None:
    options = replace(detector_options("flatformer-tiny"), attributes=(("a", "as_is"), ("b", "byte"), ("c", "tanh")))
    found = prepare_points(torch.tensor([[1.0, 2.0, -1.0, 3.0, 51.0, 2.0, 99.0]]), options)
    torch.testing.assert_close(found, torch.tensor([[1.0, 2.0, -1.0, 3.0, 0.2, math.tanh(2)]]))
    with pytest.raises(InputError, match=r"too few columns.*6: x, y, z, a, b, c.*columns of zeros"):
        prepare_points(torch.zeros(2, 5), options)


def test_a_cell_is_the_floor_and_the_border_holds_what_is_outside() -> None:
    xyz = torch.tensor([[-1.0, -2.0, 0], [-0.51, -1.49, 0], [0.99, 1.99, 0.5], [5.0, -9.0, 3.0]])
    assert cell_indices(xyz, GRID).tolist() == [[0, 0, 0], [0, 1, 0], [3, 7, 0], [3, 0, 0]]


def test_pillars_are_those_of_a_loop() -> None:
    samples = [points(40), points(0), points(25, 1)]
    found = pillarize(samples, GRID)
    want: dict[tuple[int, ...], list[int]] = {}
    row = 0
    for number, sample in enumerate(samples):
        for one in sample:
            x, y = (math.floor((float(one[k]) - low) / 0.5) for k, low in ((0, -1.0), (1, -2.0)))
            want.setdefault((number, 0, y, x), []).append(row)
            row += 1
    assert [tuple(one) for one in found.coords.tolist()] == sorted(want)
    for pillar, key in enumerate(sorted(want)):
        assert (found.pillar_of_point == pillar).nonzero()[:, 0].tolist() == want[key]
    assert found.batch_size == 3


@pytest.mark.parametrize("samples", [[], [torch.zeros(2, 4), torch.zeros(2, 5)]])
def test_batches_that_are_none(samples: list[Tensor]) -> None:
    with pytest.raises(ShapeError, match="no batch of points"):
        pillarize(samples, GRID)


def vfe_by_loop(vfe: DynamicVFE, pillars: Pillars) -> Tensor:
    """The features of every pillar, point by point."""
    rows = []
    means = [pillars.points[pillars.pillar_of_point == k, :3].double().mean(0) for k in range(len(pillars.coords))]
    for point, pillar in zip(pillars.points, pillars.pillar_of_point.tolist(), strict=True):
        _, _, y, x = pillars.coords[pillar].tolist()
        centre = torch.tensor([-1.0 + 0.5 * (x + 0.5), -2.0 + 0.5 * (y + 0.5), 0.0])
        rows.append(torch.cat([point, point[:3] - means[pillar].float(), point[:3] - centre]))
    first = vfe.vfe_layers[0](torch.stack(rows))
    largest = [first[pillars.pillar_of_point == k].amax(0) for k in range(len(pillars.coords))]
    wide = [torch.cat([one, largest[k]]) for one, k in zip(first, pillars.pillar_of_point.tolist(), strict=True)]
    second = vfe.vfe_layers[1](torch.stack(wide))
    return torch.stack([second[pillars.pillar_of_point == k].amax(0) for k in range(len(pillars.coords))])


def test_features_are_those_of_a_loop() -> None:
    torch.manual_seed(0)
    vfe, pillars = DynamicVFE(4, (6, 8), GRID).eval(), pillarize([points(60), points(9, 1)], GRID)
    torch.testing.assert_close(vfe(pillars), vfe_by_loop(vfe, pillars), rtol=1e-5, atol=1e-5)
    vfe.train()
    by_loop = DynamicVFE(4, (6, 8), GRID)
    by_loop.load_state_dict(vfe.state_dict())
    torch.testing.assert_close(vfe(pillars), vfe_by_loop(by_loop, pillars), rtol=1e-4, atol=1e-5)
    for name, one in vfe.state_dict().items():  # running statistics too
        torch.testing.assert_close(one, by_loop.state_dict()[name], rtol=1e-4, atol=1e-5)


def test_the_gradient_of_the_features_goes_to_the_largest_points() -> None:
    torch.manual_seed(0)
    vfe, pillars = DynamicVFE(4, (6, 8), GRID).eval(), pillarize([points(12)], GRID)
    weights = torch.randn(len(pillars.coords), 8, generator=torch.Generator().manual_seed(1))
    (vfe(pillars) * weights).sum().backward()
    for name in ("0.linear.weight", "1.linear.weight", "1.norm.bias"):
        one = vfe.vfe_layers.get_parameter(name)
        assert one.grad is not None
        direction, sides = one.grad / one.grad.norm(), []
        for step in (1e-3, -1e-3):
            with torch.no_grad():
                one += step * direction
                sides.append(float((vfe(pillars).double() * weights).sum()))
                one -= step * direction
        assert (sides[0] - sides[1]) / 2e-3 == pytest.approx(float(one.grad.norm()), rel=2e-2), name


def test_means_are_exact_to_a_millionth_and_empty_clouds_have_none() -> None:
    pillars = pillarize([points(500)], GRID)
    exact = torch.stack(
        [pillars.points[pillars.pillar_of_point == k, :3].double().mean(0) for k in range(len(pillars.coords))]
    )
    torch.testing.assert_close(pillar_means(pillars).double(), exact, rtol=0, atol=1e-6)
    assert pillar_means(pillarize([points(0)], GRID)).shape == (0, 3)
    assert DynamicVFE(4, (6, 8), GRID).eval()(pillarize([points(0)], GRID)).shape == (0, 8)


def test_sweeps_turn_and_number_backwards() -> None:
    now = torch.tensor([[1.0, 0, 0, 0.1]])
    before = torch.tensor([[6.0, 0, 0, 0.2], [3.0, 3.9, 0, 0.3], [3.0, 4.1, 9, 0.4]])  # the second is too near
    turned = torch.tensor([[0.0, -1, 0, 10], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    found = stack_sweeps([now, before, before], [torch.eye(4), turned, torch.eye(4)])
    want = [
        [1.0, 0, 0, 0.1, 0],
        [10.0, 6, 0, 0.2, -1],
        [5.9, 3, 9, 0.4, -1],
        [6.0, 0, 0, 0.2, -2],
        [3.0, 4.1, 9, 0.4, -2],
    ]
    torch.testing.assert_close(found, torch.tensor(want))
    for sweeps, poses in (([], []), ([now[:, :3]], [torch.eye(4)]), ([now, before], [torch.eye(4)])):
        with pytest.raises(InputError, match="sweeps that cannot be stacked"):
            stack_sweeps(sweeps, poses)


@pytest.mark.parametrize(
    "wrong", [{"size": (0.0, 1.0, 1.0)}, {"upper": (-1.0, 2.0, 1.0)}, {"size": (9.0, 9.0, 9.0)}, {"size": (-1.0, 1, 1)}]
)
def test_a_grid_has_cells(wrong: dict[str, Any]) -> None:
    assert (GRID.shape, GRID.bev) == ((4, 8, 1), (8, 4))
    with pytest.raises(UsageError, match="a grid without cells"):
        replace(GRID, **wrong)


@pytest.mark.parametrize("wrong", [{"heads": 3}, {"group": 0}, {"activation": "tanh"}])
def test_the_options_of_the_encoder_are_checked(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="options of the encoder do not fit"):
        EncoderOptions(**wrong)


def test_maps_may_be_coarser_than_pillars() -> None:
    options = replace(detector_options("flatformer-tiny"), stride=4)
    assert options.maps.size == pytest.approx((1.28, 1.28, 6.0))
    assert options.maps.bev == (28, 18)
    assert options.columns == 5

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from recon3d.core.errors import ShapeError, UsageError
from recon3d.render.volume import OccupancyGrid

LOWER, UPPER = torch.tensor([-1.0, 0.0, 2.0]), torch.tensor([1.0, 1.5, 4.0])


def grid(levels: int = 1) -> OccupancyGrid:
    return OccupancyGrid.full(LOWER, UPPER, (4, 3, 2), levels=levels)


def every(of: OccupancyGrid) -> Tensor:
    return of.cells_to_update(warm_up=True)


def test_a_new_grid_skips_nothing() -> None:
    assert grid(2).occupied.all()
    assert grid(2).resolution == (4, 3, 2)
    assert OccupancyGrid.full(LOWER, UPPER, 5).resolution == (5, 5, 5)


def test_levels_double_about_the_centre() -> None:
    lower, upper = grid(3).boxes()
    assert torch.equal(lower[0], LOWER) and torch.equal(upper[0], UPPER)
    assert torch.allclose(upper - lower, (UPPER - LOWER) * torch.tensor([[1.0], [2.0], [4.0]]))
    assert torch.allclose(lower + upper, (LOWER + UPPER).expand(3, 3))


def test_points_lie_in_their_cells() -> None:
    """Cells are counted through values; a cell's number is found again from any point in it."""
    of = grid(2)
    cells = every(of)
    lower, upper = of.boxes()
    for jitter in (None, torch.Generator().manual_seed(0), torch.rand(len(cells), 3)):
        points = of.points(cells, jitter)
        level = cells // 24
        index = ((points - lower[level]) / (upper - lower)[level] * torch.tensor([4, 3, 2])).floor().long()
        assert torch.equal(level * 24 + (index[:, 0] * 3 + index[:, 1]) * 2 + index[:, 2], cells)


def test_updates_decay_and_keep_the_maximum() -> None:
    of = grid().updated(torch.tensor([0, 5]), torch.tensor([1.0, 0.004]))
    assert of.values.flatten()[[0, 5]].tolist() == pytest.approx([1.0, 0.004])
    again = of.updated(torch.tensor([0, 1]), torch.tensor([0.5, 0.0]), decay=0.9)
    assert again.values.flatten()[[0, 1, 5]].tolist() == pytest.approx([0.9, 0.0, 0.004])
    assert grid().values.sum() == 0.0  # the old one is what it was


def test_the_threshold_is_the_mean_where_that_is_less() -> None:
    values = torch.zeros(24)
    values[:3] = torch.tensor([0.012, 0.02, 0.008])
    few = grid().updated(every(grid()), values)  # mean 0.0017
    assert few.occupied.flatten().nonzero()[:, 0].tolist() == [0, 1, 2]
    many = grid().updated(every(grid()), torch.full((24,), 0.5).index_fill(0, torch.tensor([7]), 0.009))
    assert (~many.occupied.flatten()).nonzero()[:, 0].tolist() == [7]


def test_a_function_is_asked_in_the_cells() -> None:
    asked: list[Tensor] = []

    def field(points: Tensor) -> Tensor:
        asked.append(points)
        return (points[:, 0] > 0).float()

    of = grid().updated(every(grid()), field, generator=torch.Generator().manual_seed(1))
    assert ((asked[0] > LOWER) & (asked[0] < UPPER)).all()
    assert of.occupied[0, 2:].all() and not of.occupied[0, :2].any()


def test_which_cells_are_looked_at_again() -> None:
    of = OccupancyGrid.full(LOWER, UPPER, (8, 8, 8), levels=2)
    one = torch.zeros(1024)
    one[[3, 700]] = 1.0
    of = of.updated(every(of), one)
    cells = of.cells_to_update(torch.Generator().manual_seed(0))
    assert {3, 700} <= set(cells.tolist())
    assert len(cells) <= 2 * 128 + 2
    assert len(cells) == len(cells.unique())
    assert torch.equal(cells, of.cells_to_update(torch.Generator().manual_seed(0)))
    assert len(OccupancyGrid.full(LOWER, UPPER, 8).cells_to_update(torch.Generator().manual_seed(0))) <= 256


def test_cells_that_no_camera_sees_stay_out() -> None:
    unseen = torch.zeros(1, 4, 3, 2, dtype=torch.bool)
    unseen[0, 0] = True
    of = grid().without(unseen)
    assert torch.equal(~of.occupied, unseen)
    after = of.updated(every(of), torch.ones(24))
    assert torch.equal(after.values < 0, unseen)
    assert torch.equal(~after.occupied, unseen)


@pytest.mark.usefixtures("without_shape_checks")
def test_bad_grids_are_refused() -> None:
    values = torch.zeros(1, 2, 2, 2)
    cases: list[tuple[type[Exception], str, Any]] = [
        (UsageError, "has cells", lambda: OccupancyGrid.full(LOWER, UPPER, 0)),
        (UsageError, "has cells", lambda: OccupancyGrid.full(LOWER, UPPER, 2, levels=0)),
        (UsageError, "has cells", lambda: OccupancyGrid(LOWER, UPPER, values[:0], values[:0] > 0)),
        (UsageError, "lower corner", lambda: OccupancyGrid(UPPER, LOWER, values, values > 0)),
        (ShapeError, "occupied has the wrong shape", lambda: OccupancyGrid(LOWER, UPPER, values, values[0] > 0)),
        (ShapeError, "occupied has the wrong type", lambda: OccupancyGrid(LOWER, UPPER, values, values)),
        (ShapeError, "evaluated", lambda: grid().updated(torch.tensor([0, 1]), torch.zeros(3))),
    ]
    for error, message, call in cases:
        with pytest.raises(error, match=message):
            call()

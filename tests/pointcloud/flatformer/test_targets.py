"""Heat maps and slots by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings, strategies as st

from recon3d.pointcloud.flatformer import TrueBoxes, detection_targets, detector_options
from recon3d.pointcloud.flatformer.options import TargetOptions
from recon3d.pointcloud.flatformer.targets import draw_gaussian, gaussian_radius

TINY = detector_options("flatformer-tiny")


def box(column: float, row: float, length: float = 4.0, width: float = 2.0) -> list[float]:
    """A box whose centre is at a place of the map, in cells."""
    return [-10.24 + column * 0.32, -20.48 + row * 0.32, -1.0, length, width, 1.5, 0.0]


def truth(boxes: list[list[float]], labels: list[int]) -> TrueBoxes:
    return TrueBoxes(boxes=torch.tensor(boxes).view(-1, 7), labels=torch.tensor(labels, dtype=torch.long))


@settings(max_examples=40)
@given(first=st.floats(0.5, 60), second=st.floats(0.5, 60), overlap=st.floats(0.05, 0.9))
def test_the_radius_is_a_root_of_the_three_equations(first: float, second: float, overlap: float) -> None:
    size = torch.tensor([[first, second]], dtype=torch.float64)
    found = float(gaussian_radius(size, overlap))
    total, area = first + second, first * second
    # the published roots: of x^2 - b x + c = 0, and of two with 4 a c under the root but divided by 2
    r1 = (total + math.sqrt(total**2 - 4 * area * (1 - overlap) / (1 + overlap))) / 2
    r2 = (2 * total + math.sqrt(4 * total**2 - 16 * (1 - overlap) * area)) / 2
    r3 = (-2 * overlap * total + math.sqrt((2 * overlap * total) ** 2 + 16 * overlap * (1 - overlap) * area)) / 2
    assert found == pytest.approx(min(r1, r2, r3), rel=1e-9)
    assert float(gaussian_radius(size.flip(1), overlap)) == pytest.approx(found, rel=1e-12)
    assert float(gaussian_radius(2 * size, overlap)) == pytest.approx(2 * found, rel=1e-9)


@pytest.mark.parametrize("radius", [0, 1, 2, 5])
def test_a_gaussian_has_its_value_at_every_cell(radius: int) -> None:
    heat = torch.zeros(15, 17)
    draw_gaussian(heat, 8, 7, radius)
    sigma = (2 * radius + 1) / 6
    for row in range(15):
        for column in range(17):
            away = max(abs(row - 7), abs(column - 8))
            want = math.exp(-((row - 7) ** 2 + (column - 8) ** 2) / (2 * sigma**2)) if away <= radius else 0.0
            assert float(heat[row, column]) == pytest.approx(want, rel=1e-6, abs=1e-12)


@pytest.mark.parametrize("centre", [(0, 0), (16, 14), (0, 14), (8, 0), (-2, 5), (18, 5)])
def test_a_gaussian_at_the_border_is_the_cut_of_one_inside(centre: tuple[int, int]) -> None:
    small, large = torch.zeros(15, 17), torch.zeros(35, 37)
    draw_gaussian(small, *centre, 4)
    draw_gaussian(large, centre[0] + 10, centre[1] + 10, 4)
    assert torch.equal(small, large[10:25, 10:27])


def test_a_gaussian_far_outside_draws_nothing() -> None:
    heat = torch.zeros(5, 5)
    draw_gaussian(heat, 20, 2, 3)
    draw_gaussian(heat, 2, -9, 3)
    assert not heat.any()


def test_of_two_gaussians_the_larger_value_counts() -> None:
    one, two, both = torch.zeros(3, 9, 9)
    draw_gaussian(one, 3, 4, 3)
    draw_gaussian(two, 5, 4, 2)
    draw_gaussian(both, 3, 4, 3)
    draw_gaussian(both, 5, 4, 2)
    assert torch.equal(both, torch.maximum(one, two))


def test_slots_stand_class_by_class() -> None:
    found = detection_targets([truth([box(5.5, 6.5), box(20.5, 8.5, 1, 1), box(30.5, 40.5)], [2, 0, 2])], TINY)
    assert found.mask[0].tolist() == [True] * 3 + [False] * (TINY.targets.most_objects - 3)
    columns = TINY.grid.bev[1]
    assert found.index[0, :3].tolist() == [8 * columns + 20, 6 * columns + 5, 40 * columns + 30]
    peaks = [(label, row, column) for label, row, column in (found.heatmap[0] == 1).nonzero().tolist()]
    assert sorted(peaks) == [(0, 8, 20), (2, 6, 5), (2, 40, 30)]
    torch.testing.assert_close(found.codes[0, :3, :2], torch.full((3, 2), 0.5), rtol=0, atol=1e-4)
    assert not found.codes[0, 3:].any()


def test_the_width_of_the_heat_follows_from_the_box() -> None:
    found = detection_targets([truth([box(30.5, 50.5, 8.0, 8.0)], [0])], TINY)
    radius = int(gaussian_radius(torch.tensor([[25.0, 25.0]]), TINY.targets.overlap))
    heat = found.heatmap[0, 0]
    rows, columns = heat.nonzero().unbind(1)
    assert (int(rows.min()), int(rows.max())) == (50 - radius, 50 + radius)
    assert (int(columns.min()), int(columns.max())) == (30 - radius, 30 + radius)
    tiny = detection_targets([truth([box(30.5, 50.5, 0.1, 0.1)], [0])], TINY).heatmap[0, 0]
    assert int((tiny > 0).sum()) == 9  # the smallest radius is one cell


def test_coarser_maps_have_coarser_targets() -> None:
    options = replace(TINY, stride=2)
    found = detection_targets([truth([box(9.0, 13.0)], [1])], options)
    assert found.heatmap.shape[2:] == (56, 36)
    assert found.index[0, 0] == 6 * 36 + 4
    torch.testing.assert_close(found.codes[0, 0, :2], torch.tensor([0.5, 0.5]), rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("column", "row", "kept"), [(0.1, 0.1, True), (71.9, 111.9, True), (72.5, 5, False), (5, 113, False)]
)
def test_only_centres_on_the_map_count(column: float, row: float, kept: bool) -> None:
    found = detection_targets([truth([box(column, row)], [0])], TINY)
    assert bool(found.mask.any()) is kept
    assert bool((found.heatmap == 1).any()) is kept


def test_unknown_classes_and_boxes_without_size_are_left_out() -> None:
    boxes = [box(5, 5), box(15, 5), box(25, 5, 0.0), box(35, 5, 4.0, -1.0)]
    found = detection_targets([truth(boxes, [-1, 3, 0, 0])], TINY)
    assert not found.mask.any()
    assert not found.heatmap.any()


def test_boxes_beyond_the_slots_are_left_out() -> None:
    options = replace(TINY, targets=TargetOptions(most_objects=2))
    found = detection_targets([truth([box(5, 5), box(15, 5), box(25, 5)], [1, 0, 0])], options)
    assert found.mask.shape == (1, 2)
    assert int((found.heatmap == 1).sum()) == 2
    assert not found.heatmap[0, 1].any()  # classes are taken in order


def test_samples_do_not_see_each_other() -> None:
    one, two = truth([box(5, 5)], [0]), truth([box(30, 30), box(8, 90)], [1, 2])
    both = detection_targets([one, two], TINY)
    for number, sample in enumerate((one, two)):
        alone = detection_targets([sample], TINY)
        for name in ("heatmap", "codes", "index", "mask"):
            ours, single = getattr(both, name)[number], getattr(alone, name)[0]
            torch.testing.assert_close(ours, single, rtol=0, atol=0, equal_nan=True)
    moved = both.to(torch.device("cpu"))
    assert torch.equal(moved.heatmap, both.heatmap)

"""Which boxes come out of the maps."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from recon3d.pointcloud.flatformer import detector_options
from recon3d.pointcloud.flatformer.decode import Detections, decode_candidates, decode_maps, score_maps
from recon3d.pointcloud.flatformer.head import HeadMaps, branch_channels
from recon3d.pointcloud.flatformer.options import DetectorOptions

TINY = detector_options("flatformer-tiny")
Cell = tuple[int, int, int, float]  # class, row, column, share


def maps_of(cells: list[Cell], options: DetectorOptions = TINY, samples: int = 1) -> HeadMaps:
    """Maps with some hot cells, each a box of 4 by 2 by 1.5 m at the middle of its cell."""
    maps = {name: torch.zeros(samples, k, *options.maps.bev) for name, k in branch_channels(options).items()}
    maps["reg"] += 0.5
    maps["dim"] += torch.tensor([4.0, 2.0, 1.5]).log()[:, None, None]
    maps["rot"][:, 1] = 1
    maps["iou"] += 1
    maps["heatmap"] -= 20
    for label, row, column, share in cells:
        maps["heatmap"][0, label, row, column] = math.log(share / (1 - share))
    return maps


def limited(**limits: object) -> DetectorOptions:
    return replace(TINY, decode=replace(TINY.decode, **limits))  # type: ignore[arg-type]


def shares(found: Detections) -> list[float]:
    return [round(one, 3) for one in found.scores.tolist()]


def test_candidates_come_by_falling_score_whatever_their_class() -> None:
    (found,) = decode_candidates(maps_of([(2, 5, 5, 0.3), (0, 50, 60, 0.9), (1, 100, 3, 0.5)]), TINY)
    assert shares(found) == [0.9, 0.5, 0.3]
    assert found.labels.tolist() == [0, 1, 2]
    want = torch.tensor([-10.24 + 60.5 * 0.32, -20.48 + 50.5 * 0.32, 0.0, 4.0, 2.0, 1.5, 0.0])
    torch.testing.assert_close(found.boxes[0], want, rtol=0, atol=1e-4)


def test_of_equal_scores_the_first_cell_comes_first() -> None:
    (found,) = decode_candidates(maps_of([(0, 9, 9, 0.5), (0, 3, 3, 0.5), (0, 6, 6, 0.5)]), TINY)
    assert found.boxes[:, 1].tolist() == sorted(found.boxes[:, 1].tolist())


def test_the_expected_overlap_lowers_the_score() -> None:
    maps = maps_of([(0, 5, 5, 0.8)])
    for said, factor in ((0.5, 0.25), (2.0, 1.0), (-3.0, 0.0)):
        scores = score_maps(maps | {"iou": torch.full_like(maps["iou"], said)}, TINY)
        assert float(scores[0, 0, 5, 5]) == pytest.approx(0.8 * factor, abs=1e-6)
    cubed = score_maps(maps | {"iou": torch.full_like(maps["iou"], 0.5)}, limited(iou_power=3.0))
    assert float(cubed[0, 0, 5, 5]) == pytest.approx(0.1, abs=1e-6)


def test_limits_of_score_and_number() -> None:
    maps = maps_of([(0, 10 * k, 10, 0.2 + 0.1 * k) for k in range(6)])
    assert shares(decode_candidates(maps, limited(score=0.45))[0]) == [0.7, 0.6, 0.5]
    assert shares(decode_candidates(maps, limited(candidates=2))[0]) == [0.7, 0.6]
    exact = float(score_maps(maps, TINY)[0, 0, 50, 10])
    assert len(decode_candidates(maps, limited(score=exact))[0].scores) == 0  # exclusive


def test_centres_outside_and_numbers_that_are_none_fall() -> None:
    maps = maps_of([(0, 10, 10, 0.9), (0, 30, 10, 0.8), (0, 50, 10, 0.7), (0, 70, 10, 0.6)])
    maps["height"][0, 0, 10, 10] = 11.0  # above the limit of 10 m
    maps["dim"][0, 0, 30, 10] = 1000.0
    maps["rot"][0, :, 50, 10] = torch.nan
    assert shares(decode_candidates(maps, TINY)[0]) == [0.6]


def test_a_better_box_of_the_same_class_wins() -> None:
    near = maps_of([(0, 10, 10, 0.6), (0, 10, 11, 0.9), (1, 10, 12, 0.5), (0, 60, 10, 0.4)])
    (found,) = decode_maps(near, limited(nms_overlap=(0.5, 0.5, 0.5)))
    assert shares(found) == [0.9, 0.4, 0.5]  # class by class
    assert found.labels.tolist() == [0, 0, 1]
    (every,) = decode_maps(near, limited(nms_overlap=(1.0, 1.0, 1.0)))
    assert shares(every) == [0.9, 0.6, 0.4, 0.5]


def test_numbers_before_and_after_the_suppression() -> None:
    maps = maps_of([(0, 10 * k, 10, 0.2 + 0.1 * k) for k in range(6)])
    assert shares(decode_maps(maps, limited(nms_after=(2, 2, 2)))[0]) == [0.7, 0.6]
    assert shares(decode_maps(maps, limited(nms_before=(3, 3, 3)))[0]) == [0.7, 0.6, 0.5]


def test_samples_are_decoded_by_themselves() -> None:
    maps = maps_of([(0, 10, 10, 0.9)], samples=3)
    maps["heatmap"][2, 1, 40, 40] = 3.0
    found = decode_maps(maps, TINY)
    assert [one.labels.tolist() for one in found] == [[0], [], [1]]
    assert found[1].boxes.shape == (0, 7)


def test_detections_become_boxes_in_numpy() -> None:
    (found,) = decode_maps(maps_of([(1, 10, 10, 0.9), (0, 60, 10, 0.8)]), TINY)
    boxes = found.to_boxes(TINY.classes)
    assert [boxes.names[label] for label in boxes.labels] == ["car", "pedestrian"]
    assert boxes.scores is not None
    assert boxes.scores.tolist() == pytest.approx([0.8, 0.9], abs=1e-6)
    one = found.selected(torch.tensor([1]))
    assert one.labels.tolist() == [1]
    assert torch.equal(one.velocities, found.velocities[1:])


def test_a_head_without_velocities_decodes_too() -> None:
    options = replace(TINY, velocity=False)
    (found,) = decode_maps(maps_of([(0, 10, 10, 0.9)], options), options)
    velocities: Tensor = found.velocities
    assert velocities.shape == (1, 2)
    assert bool(velocities.isnan().all())

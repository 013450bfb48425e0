"""From queries to instances: matrix NMS, thresholds, masks on points."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from recon3d.pointcloud.volt import InstanceOptions, InstanceQueries, found_instances, matrix_nms

MASKS = torch.tensor([[1.0, 1, 1, 0, 0, 0], [1, 1, 1, 0, 0, 0], [0, 0, 0, 1, 1, 0], [1, 1, 0, 0, 0, 0]])
SCORES = torch.tensor([0.5, 0.9, 0.4, 0.8])
SAME = torch.zeros(4, dtype=torch.long)


@pytest.mark.parametrize("kernel", ["linear", "gaussian"])
def test_a_copy_of_a_better_mask_is_suppressed(kernel: str) -> None:
    scores, order = matrix_nms(MASKS, SAME, SCORES, kernel=kernel)
    by_mask = dict(zip(order.tolist(), scores.tolist(), strict=True))
    assert by_mask[1] == pytest.approx(0.9)  # the best
    assert by_mask[2] == pytest.approx(0.4)  # alone
    assert by_mask[0] <= (1e-6 if kernel == "linear" else 0.068)
    assert by_mask[3] == pytest.approx(0.8 / 3 if kernel == "linear" else 0.8 * 2.718281828 ** (-2 * 4 / 9))
    assert scores.tolist() == sorted(scores.tolist(), reverse=True)


def test_other_classes_do_not_suppress() -> None:
    scores, order = matrix_nms(MASKS, torch.arange(4), SCORES)
    assert order.tolist() == [1, 3, 0, 2]
    torch.testing.assert_close(scores, SCORES[order])


def test_the_order_of_the_masks_does_not_matter() -> None:
    turned = torch.tensor([2, 0, 3, 1])
    scores, order = matrix_nms(MASKS, SAME, SCORES)
    again, same = matrix_nms(MASKS[turned], SAME, SCORES[turned])
    torch.testing.assert_close(again, scores)
    assert turned[same].tolist() == order.tolist()


@pytest.mark.parametrize("kernel", ["linear", "gaussian"])
def test_no_masks_and_empty_masks(kernel: str) -> None:
    scores, order = matrix_nms(torch.zeros(0, 5), SAME[:0], SCORES[:0], kernel=kernel)
    assert scores.shape == order.shape == (0,)
    assert matrix_nms(torch.zeros(4, 5), SAME, SCORES, kernel=kernel)[0].isfinite().all()


def queries() -> InstanceQueries:
    """Two sure instances on super-points (0, 1) and (2), and a query that says nothing."""
    labels = torch.tensor([[9.0, 0, 0], [0, 9.0, 0], [0, 0, 9.0]])
    return InstanceQueries(labels, torch.tensor([[9.0, 9, -9], [-9, -9, 9], [-9, -9, -9]]))


POINTS = torch.tensor([0, 1, 2, 2, 0, 2, 2])
LOOSE = InstanceOptions(min_points=0, min_score=0.5)


def test_sure_queries_become_instances_on_points() -> None:
    found = found_instances(queries(), POINTS, LOOSE)
    by_label = dict(zip(found.labels.tolist(), found.masks.tolist(), strict=True))
    assert by_label[0] == (POINTS < 2).tolist()
    assert by_label[1] == (POINTS == 2).tolist()
    assert (found.scores > 0.99).all()


def test_thresholds() -> None:
    assert len(found_instances(queries(), POINTS, replace(LOOSE, min_points=3)).scores) == 1
    assert len(found_instances(queries(), POINTS, replace(LOOSE, min_score=1.0)).scores) == 0
    assert len(found_instances(queries(), POINTS, replace(LOOSE, top=1)).scores) == 1
    assert not found_instances(queries(), POINTS, replace(LOOSE, mask_threshold=0.9999)).masks.any()
    assert len(found_instances(queries(), POINTS).scores) == 0  # under 100 points


def test_without_nms_a_copy_stays() -> None:
    one = queries()
    twice = InstanceQueries(torch.cat([one.labels] * 2), torch.cat([one.masks] * 2))
    assert len(found_instances(twice, POINTS, replace(LOOSE, kernel=None)).scores) == 4
    assert len(found_instances(twice, POINTS, LOOSE).scores) == 2


def test_a_soft_mask_lowers_the_score() -> None:
    one = queries()
    soft = InstanceQueries(one.labels, one.masks / 9)
    score = found_instances(soft, POINTS, LOOSE).scores
    torch.testing.assert_close(score, torch.full((2,), 0.731), atol=1e-2, rtol=0)

"""Losses of segmentation against definitions, other code and hand-made cases."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st
from torch import Tensor
from torch.nn.functional import cross_entropy, one_hot

from recon3d.pointcloud.volt import SegmentationLossOptions, lovasz_softmax, segmentation_loss
from recon3d.pointcloud.volt.losses import mean_over_points

PLAIN = SegmentationLossOptions(label_smoothing=0.0, lovasz=0.0)


def drawn(seed: int, count: int = 40, classes: int = 4) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(count, classes, generator=generator)
    return logits, torch.randint(0, classes, (count,), generator=generator)


@given(st.integers(0, 10**6))
def test_lovasz_of_hard_predictions_is_one_minus_the_mean_iou(seed: int) -> None:
    """Over the classes that the labels have; a class that is only predicted does not count."""
    rng = np.random.default_rng(seed)
    labels, found = rng.integers(0, 3, 30), rng.integers(0, 4, 30)
    want = [((labels == c) & (found == c)).sum() / ((labels == c) | (found == c)).sum() for c in np.unique(labels)]
    got = lovasz_softmax(one_hot(torch.from_numpy(found), 4).float(), torch.from_numpy(labels))
    assert got.item() == pytest.approx(1 - np.mean(want), abs=1e-5)


def test_lovasz_of_one_class_by_hand() -> None:
    """Errors 0.9 (wrong), 0.4, 0.2 (right): J = 1/3, 2/3, 1 after one false positive and two misses."""
    probabilities = torch.tensor([[0.1, 0.9], [0.4, 0.6], [0.2, 0.8]])
    labels = torch.tensor([0, 1, 1])
    class_0 = 0.9 * 1.0 + 0.4 * 0 + 0.2 * 0
    class_1 = 0.9 * (1 - 2 / 3) + 0.4 * (1 - 1 / 3 - (1 - 2 / 3)) + 0.2 * (1 - 2 / 3)
    assert lovasz_softmax(probabilities, labels).item() == pytest.approx((class_0 + class_1) / 2, abs=1e-6)


def test_lovasz_gradient() -> None:
    logits, labels = drawn(1, 12, 3)
    assert torch.autograd.gradcheck(
        lambda x: lovasz_softmax(x.softmax(1), labels), (logits.double().requires_grad_(),), atol=1e-4
    )


def test_cross_entropy_is_that_of_torch() -> None:
    logits, labels = drawn(2)
    labels[::5] = -1
    weights = torch.tensor([1.0, 2.0, 0.5, 3.0])
    options = SegmentationLossOptions(label_smoothing=0.1, lovasz=0.0)
    got = segmentation_loss(logits, labels, options, weights)
    torch.testing.assert_close(got, cross_entropy(logits, labels, weights, ignore_index=-1, label_smoothing=0.1))


def test_label_smoothing_by_hand() -> None:
    logits, labels = drawn(3)
    logs = logits.log_softmax(1)
    want = -(0.9 * logs[torch.arange(40), labels] + 0.1 * logs.mean(1)).mean()
    options = SegmentationLossOptions(label_smoothing=0.1, lovasz=0.0)
    torch.testing.assert_close(segmentation_loss(logits, labels, options), want)


def test_unknown_points_change_neither_loss_nor_gradient() -> None:
    logits, labels = drawn(4)
    more, unknown = torch.cat([logits, 9 * logits]), torch.cat([labels, torch.full_like(labels, -1)])
    more.requires_grad_()
    loss = segmentation_loss(more, unknown)
    torch.testing.assert_close(loss, segmentation_loss(logits, labels))
    loss.backward()
    assert more.grad is not None
    assert not more.grad[40:].any() and more.grad[:40].any()


def test_a_scene_without_labels_costs_nothing() -> None:
    logits, labels = drawn(5)
    logits.requires_grad_()
    loss = segmentation_loss(logits, torch.full_like(labels, -1))
    loss.backward()
    assert loss == 0
    assert logits.grad is not None and not logits.grad.any()
    assert segmentation_loss(logits[:0], labels[:0]) == 0


def test_a_loss_that_is_not_finite_counts_as_zero() -> None:
    logits, labels = drawn(6)
    logits[3] = torch.inf
    assert segmentation_loss(logits, labels) == 0


def test_lovasz_of_some_points_is_near_that_of_all() -> None:
    logits, labels = drawn(7, 4000)
    some = segmentation_loss(logits, labels, SegmentationLossOptions(lovasz_points=1000))
    assert some.item() == pytest.approx(segmentation_loss(logits, labels).item(), rel=0.05)
    few = segmentation_loss(logits, labels, SegmentationLossOptions(lovasz_points=4000))
    torch.testing.assert_close(few, segmentation_loss(logits, labels))


def test_data_sets_count_by_their_points() -> None:
    got = mean_over_points({"a": (torch.tensor(1.0), 30), "b": (torch.tensor(5.0), 10)})
    assert got == 2
    assert mean_over_points({"a": (torch.tensor(0.0), 0)}) == 0

"""Losses by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from recon3d.pointcloud.flatformer import (
    DetectorOptions,
    TrueBoxes,
    detection_loss,
    detection_targets,
    detector_options,
)
from recon3d.pointcloud.flatformer.head import HeadMaps, branch_channels
from recon3d.pointcloud.flatformer.losses import focal_loss

TINY = detector_options("flatformer-tiny")
BOX = torch.tensor([[2.0, 3.0, -1.0, 4.0, 2.0, 1.5, 0.0]])
TRUTH = TrueBoxes(boxes=BOX, labels=torch.tensor([0]), velocities=torch.tensor([[1.0, 2.0]]))


def maps_of(code: Tensor, index: int, iou: float, options: DetectorOptions = TINY) -> HeadMaps:
    """Maps that say one thing in one cell."""
    ny, nx = options.maps.bev
    names = {name: k for name, k in branch_channels(options).items() if name not in ("iou", "heatmap")}
    flat = torch.zeros(1, 10, ny * nx)
    flat[0, :, index] = code
    parts = dict(zip(names, torch.split(flat.view(1, 10, ny, nx), list(names.values()), 1), strict=True))
    return parts | {"iou": torch.full((1, 1, ny, nx), iou), "heatmap": torch.full((1, 3, ny, nx), -9.0)}


def test_the_focal_loss_of_single_cells() -> None:
    for logit, target in ((0.3, 1.0), (-2.0, 1.0), (1.5, 0.0), (-1.0, 0.6)):
        p = 1 / (1 + math.exp(-logit))
        want = -math.log(p) * (1 - p) ** 2 if target == 1 else -math.log(1 - p) * p**2 * (1 - target) ** 4
        found = focal_loss(torch.tensor([logit]), torch.tensor([target]))
        assert float(found) == pytest.approx(want, rel=1e-5)


def test_the_focal_loss_is_a_sum_over_the_number_of_centres() -> None:
    logits, target = torch.tensor([0.3, -2.0, 1.5, -1.0]), torch.tensor([1.0, 1.0, 0.0, 0.6])
    parts = [float(focal_loss(logits[k : k + 1], target[k : k + 1])) for k in range(4)]
    assert float(focal_loss(logits, target)) == pytest.approx(sum(parts) / 2, rel=1e-6)
    assert float(focal_loss(logits, torch.zeros(4))) > 0  # without a centre the sum counts


def test_the_focal_loss_of_extreme_logits_is_finite() -> None:
    logits = torch.tensor([-1e4, 1e4, 1e4, -1e4], requires_grad=True)
    loss = focal_loss(logits, torch.tensor([1.0, 1.0, 0.0, 0.0]))
    loss.backward()
    assert math.isfinite(float(loss.detach()))
    assert logits.grad is not None
    assert bool(logits.grad.isfinite().all())


def test_the_focal_loss_gradient() -> None:
    draw = torch.Generator().manual_seed(0)
    logits = torch.randn(20, generator=draw).requires_grad_()
    target = torch.rand(20, generator=draw)
    target[3] = 1
    focal_loss(logits, target).backward()
    assert logits.grad is not None
    for k in range(0, 20, 3):
        step = torch.zeros(20)
        step[k] = 1e-2
        with torch.no_grad():
            slope = (focal_loss(logits + step, target) - focal_loss(logits - step, target)) / 2e-2
        assert float(logits.grad[k]) == pytest.approx(float(slope), rel=2e-2, abs=1e-4)


def test_the_loss_of_boxes_is_the_weighted_l1_over_their_number() -> None:
    options = replace(TINY, loss=replace(TINY.loss, velocity_weight=0.2))
    targets = detection_targets([TRUTH], options)
    index, code = int(targets.index[0, 0]), targets.codes[0, 0]
    off = torch.tensor([0.1, -0.2, 0.3, 0.05, -0.1, 0.2, 0.1, -0.1, 1.0, 2.0])
    loss = detection_loss(maps_of(code + off, index, 0.0), targets, options)
    want = 2.0 * (1.15 + 0.2 * 3.0) / (1 + 1e-4)
    assert float(loss.boxes) == pytest.approx(want, rel=1e-4)


def test_the_expected_overlap_is_compared_with_the_real_one() -> None:
    targets = detection_targets([TRUTH], TINY)
    index, code = int(targets.index[0, 0]), targets.codes[0, 0]
    moved = code + torch.tensor([0, 0, 0.5, 0, 0, 0, 0, 0, 0, 0])  # up by a third of its height
    want = 1.0 / 2.0  # 1.0 m of 1.5 m in common, 2.0 m together
    for said in (0.0, 0.2, 1.0):
        loss = detection_loss(maps_of(moved, index, said), targets, TINY)
        assert float(loss.iou) == pytest.approx(abs(said - want) / (1 + 1e-4), abs=1e-4)
    taller = code + torch.tensor([0, 0, 0, 0, 0, math.log(2), 0, 0, 0, 0])
    for legacy, overlap in ((False, 0.5), (True, 1.5 / 3.0)):  # about the centre, or upwards from the "bottom"
        options = replace(TINY, loss=replace(TINY.loss, legacy_iou_target=legacy))
        loss = detection_loss(maps_of(taller, index, 0.0), targets, options)
        assert float(loss.iou) == pytest.approx(overlap, abs=1e-3)


def test_the_released_target_takes_the_centre_for_the_bottom() -> None:
    targets = detection_targets([TRUTH], TINY)
    index, code = int(targets.index[0, 0]), targets.codes[0, 0]
    both = code + torch.tensor([0, 0, 0.75, 0, 0, math.log(2), 0, 0, 0, 0])  # twice as high, upwards
    found = {}
    for legacy in (False, True):
        options = replace(TINY, loss=replace(TINY.loss, legacy_iou_target=legacy))
        found[legacy] = float(detection_loss(maps_of(both, index, 0.0), targets, options).iou)
    assert found[False] == pytest.approx(0.5, abs=1e-3)  # the truth lies wholly inside
    assert found[True] == pytest.approx(0.75 / 3.75, abs=1e-3)  # half of it does


def test_a_prediction_that_is_no_box_overlaps_nothing() -> None:
    targets = detection_targets([TRUTH], TINY)
    index, code = int(targets.index[0, 0]), targets.codes[0, 0]
    wild = code + torch.tensor([0, 0, 0, 200.0, 0, 0, 0, 0, 0, 0])  # a length of infinity
    loss = detection_loss(maps_of(wild, index, 0.25), targets, TINY)
    assert float(loss.iou) == pytest.approx(0.25, abs=1e-3)
    assert bool(loss.total.isfinite())


def test_cells_without_a_box_have_no_gradient_of_boxes() -> None:
    targets = detection_targets([TRUTH], TINY)
    index = int(targets.index[0, 0])
    maps = {name: one.requires_grad_() for name, one in maps_of(torch.zeros(10), index, 0.1).items()}
    loss = detection_loss(maps, targets, TINY)
    (loss.boxes + loss.iou).backward()
    for name in ("reg", "height", "dim", "rot", "iou"):
        gradient = maps[name].grad
        assert gradient is not None
        assert gradient.flatten(2).any(1)[0].nonzero()[:, 0].tolist() == [index], name
    assert maps["heatmap"].grad is None
    assert float((loss.total - loss.heatmap - loss.boxes - loss.iou).detach()) == pytest.approx(0, abs=1e-5)


def test_velocities_of_no_weight_cost_nothing() -> None:
    targets = detection_targets([TRUTH], TINY)
    index, code = int(targets.index[0, 0]), targets.codes[0, 0]
    fast = code + torch.tensor([0.0] * 8 + [50.0, 50.0])
    assert float(detection_loss(maps_of(fast, index, 1.0), targets, TINY).boxes) == pytest.approx(0, abs=1e-5)

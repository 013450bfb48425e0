"""Heads per data set, their common loss, and learning one batch by heart."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from volt_scenes import SMALL, one_batch, shake, voxel_scene

from recon3d.core.errors import InputError, UsageError
from recon3d.pointcloud.volt import (
    SegmentationLossOptions,
    SegmentorOptions,
    VoltSegmentor,
    VoxelBatch,
    decayed_parameters,
    segmentation_loss,
    segmentor_loss,
    teacher_labels_of,
)

TWO = {"rooms": 5, "streets++": 4}


def segmentor(*, distillation: bool = False, classes: dict[str, int] | None = None) -> VoltSegmentor:
    model = VoltSegmentor(SegmentorOptions(backbone=SMALL, classes=classes or TWO, distillation=distillation))
    shake(model, 1)
    return model.eval()


def batch() -> VoxelBatch:
    return one_batch(voxel_scene(1, 30, condition="rooms"), voxel_scene(2, 50, condition="streets++"))


def test_each_data_set_has_its_head() -> None:
    model = segmentor()
    assert model(batch(), "rooms").shape == (80, 5)
    assert model(batch(), "streets++").shape == (80, 4)
    assert model(one_batch(voxel_scene(1, 30, condition="rooms"))).shape == (30, 5)
    assert "seg_heads.streets++.weight" in model.state_dict()
    assert segmentor(classes={"only": 3})(batch()).shape == (80, 3)


def test_heads_that_are_not_there_are_named() -> None:
    model = segmentor()
    with pytest.raises(UsageError, match="several data sets"):
        model(batch())
    with pytest.raises(UsageError, match="expected: rooms, streets"):
        model(batch(), "gardens")
    with pytest.raises(UsageError, match="distillation=True"):
        model.logits(torch.zeros(3, SMALL.up_dim), "rooms", distillation=True)


def test_the_loss_is_a_mean_over_data_sets_weighted_with_points() -> None:
    model, both = segmentor(), batch()
    assert both.segment is not None
    logits = {name: model(both, name) for name in TWO}
    parts = [
        segmentation_loss(logits["rooms"][:30], both.segment[:30]) * 30,
        segmentation_loss(logits["streets++"][30:], both.segment[30:]) * 50,
    ]
    torch.testing.assert_close(segmentor_loss(model, both), sum(parts) / 80)


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_the_teacher_counts_with_its_share(share: float) -> None:
    model, one = segmentor(distillation=True), one_batch(voxel_scene(1, 30, condition="rooms"))
    taught = torch.arange(30) % 5
    assert one.segment is not None
    own = segmentation_loss(model(one), one.segment)
    follow = segmentation_loss(model.logits(model.backbone(one), "rooms", distillation=True), taught)
    got = segmentor_loss(model, one, taught, SegmentationLossOptions(distillation=share))
    torch.testing.assert_close(got, (1 - share) * own + share * follow)


def test_points_without_truth_still_learn_from_the_teacher() -> None:
    model, one = segmentor(distillation=True), one_batch(voxel_scene(1, 30, condition="rooms"))
    unknown = replace(one, segment=torch.full((30,), -1))
    segmentor_loss(model, unknown, torch.arange(30) % 5).backward()
    heads = model.distill_heads["rooms"].weight.grad, model.seg_heads["rooms"].weight.grad
    assert heads[0] is not None and heads[0].any()
    assert heads[1] is None or not heads[1].any()


def test_class_weights_belong_to_their_data_set() -> None:
    model, both = segmentor(), batch()
    weights = {"rooms": torch.tensor([1.0, 9.0, 1.0, 1.0, 1.0])}
    assert segmentor_loss(model, both, class_weights=weights) != segmentor_loss(model, both)
    even = {name: torch.ones(count) for name, count in TWO.items()}
    torch.testing.assert_close(segmentor_loss(model, both, class_weights=even), segmentor_loss(model, both))


def test_missing_and_impossible_labels_are_refused() -> None:
    both = batch()
    for model, unlabelled, taught in (
        (segmentor(), replace(both, segment=None), None),
        (segmentor(), both, torch.zeros(80, dtype=torch.long)),
        (segmentor(distillation=True), both, None),
    ):
        with pytest.raises(InputError, match="labels"):
            segmentor_loss(model, unlabelled, taught)
    for wrong in (4, -2):
        with pytest.raises(InputError, match=r"-1 to [34]"):
            segmentor_loss(segmentor(), replace(both, segment=torch.full((80,), wrong)))


def test_hard_labels_of_a_teacher() -> None:
    logits = torch.tensor([[0.0, 2.0, 1.0], [3.0, 0.0, -1.0]], requires_grad=True)
    assert teacher_labels_of(logits).tolist() == [1, 0]
    assert not teacher_labels_of(logits).requires_grad


def test_one_batch_is_learnt_by_heart() -> None:
    model = VoltSegmentor(SegmentorOptions(backbone=SMALL, classes={"Default": 4}))
    model.initialise(0)
    one = one_batch(voxel_scene(1), voxel_scene(2))
    optimizer = torch.optim.AdamW(decayed_parameters(model, 0.05), lr=1e-2)
    losses = []
    for _ in range(40):
        optimizer.zero_grad()
        loss = segmentor_loss(model, one)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert one.segment is not None
    known = one.segment >= 0
    right = (model(one).argmax(1) == one.segment)[known].float().mean()
    assert losses[-1] < losses[0] / 2
    assert right > 0.95

"""The instance head: super-points, masked attention, matching, losses."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from recon3d.core.errors import UsageError
from recon3d.pointcloud.volt import (
    InstanceHead,
    InstanceHeadOptions,
    InstanceLossOptions,
    InstanceQueries,
    InstanceTargets,
    instance_loss,
    matched_queries,
    super_point_means,
    super_point_targets,
)
from recon3d.pointcloud.volt.instance_losses import matching_cost
from recon3d.pointcloud.volt.spformer import blocked_points

OPTIONS = InstanceHeadOptions(classes=3, in_channels=8, dim=16, queries=6, layers=2, heads=2, hidden=24)
COSTS = InstanceLossOptions()


def head(seed: int = 0) -> InstanceHead:
    torch.manual_seed(seed)
    return InstanceHead(OPTIONS).eval()


def drawn(
    seed: int, queries: int = 6, super_points: int = 9, instances: int = 4
) -> tuple[InstanceQueries, InstanceTargets]:
    generator = torch.Generator().manual_seed(seed)
    said = InstanceQueries(
        torch.randn(queries, 4, generator=generator), 3 * torch.randn(queries, super_points, generator=generator)
    )
    labels = torch.randint(0, 3, (instances,), generator=generator)
    return said, InstanceTargets(labels, torch.rand(instances, super_points, generator=generator) > 0.6)


def test_super_points_are_means() -> None:
    features, place = torch.arange(8.0).reshape(4, 2), torch.tensor([2, 0, 2, 0])
    assert super_point_means(features, place).tolist() == [[4, 5], [0, 0], [2, 3]]
    assert super_point_means(features, place, 4).shape == (4, 2)
    assert super_point_means(features[:0], place[:0]).shape == (0, 2)


def test_a_mask_that_blocks_everything_is_opened() -> None:
    blocked = blocked_points(torch.tensor([[-1.0, 2.0], [-1.0, -2.0], [3.0, 0.0]]))
    assert blocked.tolist() == [[True, False], [False, False], [False, False]]


def test_queries_that_see_nothing_give_no_nan() -> None:
    model = head()
    torch.nn.init.zeros_(model.x_mask[2].weight)
    model.x_mask[2].bias.data = -10 * model.out_norm(model.query.weight)[0].detach()
    layers = model([torch.randn(5, 8)])[0]
    assert (layers[0].masks[0] < 0).all()
    assert all(one.labels.isfinite().all() and one.masks.isfinite().all() for one in layers)


def test_scenes_do_not_feel_each_other_and_may_have_one_super_point() -> None:
    model = head()
    scenes = [torch.randn(9, 8), torch.randn(1, 8)]
    together = model(scenes)
    for scene, layers in zip(scenes, together, strict=True):
        alone = model([scene])[0]
        assert len(layers) == 3
        torch.testing.assert_close(layers[-1].masks, alone[-1].masks)
        assert layers[-1].labels.shape == (6, 4)
        assert layers[-1].masks.shape == (6, len(scene))


def test_permuted_super_points_permute_the_masks() -> None:
    model, scene, order = head(), torch.randn(9, 8), torch.randperm(9)
    torch.testing.assert_close(
        model([scene[order]])[0][-1].masks, model([scene])[0][-1].masks[:, order], atol=1e-5, rtol=1e-5
    )


@pytest.mark.parametrize("wrong", [{"classes": 0}, {"heads": 3}, {"layers": -1}])
def test_impossible_heads_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(UsageError, match="no such instance head"):
        InstanceHeadOptions(**{"classes": 3, "dim": 16, "heads": 2, **wrong})


@given(st.integers(0, 10**6), st.integers(1, 5), st.integers(1, 5))
def test_the_matching_is_the_cheapest_of_all(seed: int, queries: int, instances: int) -> None:
    said, truth = drawn(seed, queries, 7, instances)
    cost = matching_cost(said, truth, COSTS).numpy()
    rows, columns = matched_queries(said, truth)
    wide = cost if queries >= instances else cost.T
    least = min(
        sum(wide[row, i] for i, row in enumerate(rows)) for rows in permutations(range(len(wide)), wide.shape[1])
    )
    assert cost[rows, columns].sum() == pytest.approx(least, abs=1e-5)
    assert len(rows) == min(queries, instances)


def test_the_cost_is_its_definition() -> None:
    said, truth = drawn(1)
    found = matching_cost(said, truth, COSTS)
    p = said.labels.softmax(1)
    for query, instance in ((0, 0), (5, 2)):
        logits, mask = said.masks[query], truth.masks[instance].float()
        inside = logits.sigmoid()
        dice = 1 - (2 * (inside * mask).sum() + 1) / (inside.sum() + mask.sum() + 1)
        want = -0.5 * p[query, truth.labels[instance]] + binary_cross_entropy_with_logits(logits, mask) + dice
        torch.testing.assert_close(found[query, instance], want)


def test_a_perfect_answer_costs_little_and_its_parts_add_up() -> None:
    _, truth = drawn(2)
    labels = torch.full((6, 4), -20.0)
    labels[:4].scatter_(1, truth.labels[:, None], 20)
    labels[4:, 3] = 20
    masks = torch.cat([truth.masks * 40.0 - 20, torch.full((2, 9), -20.0)])
    options = InstanceLossOptions(label_smoothing=0.0)
    found = instance_loss([[InstanceQueries(labels, masks)]], [truth], options)
    assert found.total < 1e-4
    other = instance_loss([[drawn(2)[0]] * 3], [truth])
    torch.testing.assert_close(other.total, 3 * (0.2 * other.label + other.mask + other.dice))


def test_a_scene_without_instances_teaches_no_object_only() -> None:
    said, truth = drawn(3, instances=0)
    masks = said.masks.clone().requires_grad_()
    found = instance_loss([[InstanceQueries(said.labels, masks)]], [truth])
    found.total.backward()
    assert found.mask == found.dice == 0
    assert found.label > 0
    assert masks.grad is not None and not masks.grad.any()


def test_instances_are_learnt_by_heart() -> None:
    model, scene, truth = head().train(), torch.randn(9, 8), drawn(4, instances=3)[1]
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for _ in range(60):
        optimizer.zero_grad()
        instance_loss(model([scene]), [truth]).total.backward()
        optimizer.step()
    said = model([scene])[0][-1]
    rows, columns = matched_queries(said, truth)
    assert torch.equal(said.masks[rows] > 0, truth.masks[columns])
    assert torch.equal(said.labels[rows].argmax(1), truth.labels[columns])


def test_a_super_point_belongs_to_an_instance_that_has_more_than_half_of_it() -> None:
    instance = np.array([7, 7, -1, 7, 2, 2, 2, -1])
    place = np.array([0, 0, 0, 1, 1, 3, 3, 3])
    found = super_point_targets(instance, np.array([4, 4, 0, 4, 1, 1, 1, 0]), place)
    assert found.labels.tolist() == [1, 4]
    assert found.masks.tolist() == [[False, False, False, True], [True, False, False, False]]


def test_a_scene_without_instances_has_no_targets() -> None:
    found = super_point_targets(np.array([-1, -1]), np.array([0, 1]), np.array([0, 1]), 3)
    assert found.labels.shape == (0,)
    assert found.masks.shape == (0, 3)


def test_gradients_reach_every_parameter() -> None:
    model, (_, truth) = head(), drawn(5)
    instance_loss(model([torch.randn(9, 8)]), [truth]).total.backward()
    unused: list[Tensor] = [one for one in model.parameters() if one.grad is None or not one.grad.any()]
    assert not unused

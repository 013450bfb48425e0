"""Rates and momenta against torch's scheduler, averaged weights, parameter groups."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn
from volt_scenes import SMALL

from recon3d.core.errors import UsageError
from recon3d.pointcloud.volt import AveragedWeights, OneCycle, Volt, decayed_parameters, poly_rate
from recon3d.pointcloud.volt.schedule import drop_path_rates


@pytest.mark.parametrize(
    "cycle",
    [
        OneCycle(steps=100),
        OneCycle(steps=57, peak=2e-3, warm_up=0.04, final_div=100.0),
        OneCycle(steps=40, peak=0.1, warm_up=0.5, start_div=25.0),
    ],
)
def test_the_cycle_is_that_of_torch(cycle: OneCycle) -> None:
    optimizer = torch.optim.AdamW([nn.Parameter(torch.zeros(1))])
    theirs = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        cycle.peak,
        total_steps=cycle.steps,
        pct_start=cycle.warm_up,
        div_factor=cycle.start_div,
        final_div_factor=cycle.final_div,
    )
    for step in range(cycle.steps):
        group = optimizer.param_groups[0]
        assert cycle.rate(step) == pytest.approx(group["lr"], rel=1e-9)
        assert cycle.beta1(step) == pytest.approx(group["betas"][0], rel=1e-9)
        optimizer.step()
        if step < cycle.steps - 1:
            theirs.step()


def test_the_ends_of_a_cycle() -> None:
    cycle = OneCycle(steps=100, peak=1e-3)
    assert cycle.rate(0) == pytest.approx(1e-4)
    assert max(cycle.rate(step) for step in range(100)) == pytest.approx(1e-3)
    assert cycle.rate(99) == cycle.rate(1000) == pytest.approx(1e-7)
    for steps in (1, 2, 3):
        assert all(0 < OneCycle(steps=steps).rate(step) <= 1e-3 for step in range(steps))


def test_impossible_cycles_are_refused() -> None:
    for wrong in ({"steps": 0}, {"steps": 9, "warm_up": 0.0}, {"steps": 9, "warm_up": 1.0}):
        with pytest.raises(UsageError, match="no such cycle"):
            OneCycle(**wrong)


def test_a_cycle_sets_every_group() -> None:
    groups = [
        {"params": [nn.Parameter(torch.zeros(1))]},
        {"params": [nn.Parameter(torch.zeros(1))], "rate_factor": 0.1},
    ]
    optimizer, cycle = torch.optim.AdamW(groups), OneCycle(steps=10)
    cycle.apply(optimizer, 4)
    first, second = optimizer.param_groups
    assert first["lr"] == cycle.rate(4)
    assert second["lr"] == pytest.approx(cycle.rate(4) / 10)
    assert first["betas"] == (cycle.beta1(4), 0.999)


def test_poly_rate() -> None:
    assert poly_rate(0, 10, 3e-4) == 3e-4
    assert poly_rate(5, 10, 1.0) == pytest.approx(0.5**0.9)
    assert poly_rate(10, 10, 1.0) == poly_rate(12, 10, 1.0) == 0


def test_drop_path_grows_with_depth() -> None:
    assert drop_path_rates(0.3, 4) == pytest.approx([0, 0.1, 0.2, 0.3])
    assert drop_path_rates(0.3, 1) == [0]
    model = Volt(replace(SMALL, depth=3, drop_path=0.3))
    assert [block.drop_path.rate for block in model.blocks] == pytest.approx([0, 0.15, 0.3])


def test_matrices_decay_and_vectors_and_biases_do_not() -> None:
    model = Volt(replace(SMALL, layer_scale=0.1))
    model.tokenizer.proj.bias.requires_grad_(False)
    decayed, free = decayed_parameters(model, 0.05)
    assert (decayed["weight_decay"], free["weight_decay"]) == (0.05, 0.0)
    assert all(one.ndim > 1 for one in decayed["params"])
    assert all(one.ndim <= 1 for one in free["params"])
    learnt = [one for one in model.parameters() if one.requires_grad]
    assert len(decayed["params"]) + len(free["params"]) == len(learnt) == len(list(model.parameters())) - 1


def test_a_group_without_parameters_is_left_out() -> None:
    assert len(decayed_parameters(nn.Linear(2, 2, bias=False), 0.1)) == 1


def test_parameters_are_averaged_and_buffers_copied() -> None:
    model = nn.BatchNorm1d(1)
    average = AveragedWeights(model, 0.9)
    model.weight.data.fill_(2.0)
    model.running_mean.fill_(5.0)
    model.num_batches_tracked.fill_(7)
    average.update(model)
    average.update(model)
    found = dict(average.items())
    assert found["weight"].item() == pytest.approx(2 - 0.9**2)
    assert found["running_mean"] == 5
    assert found["num_batches_tracked"] == 7
    other = nn.BatchNorm1d(1)
    other.load_state_dict(found)
    assert other.weight.item() == pytest.approx(1.19)


def test_an_average_does_not_follow_the_network_by_itself() -> None:
    model = nn.Linear(1, 1)
    average = AveragedWeights(model)
    before = average.state["weight"].clone()
    model.weight.data += 1
    assert torch.equal(average.state["weight"], before)

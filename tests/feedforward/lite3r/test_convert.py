"""Networks that are converted: what changes, what learns, and what stays as it was."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from recon3d.core.errors import ShapeError, UsageError
from recon3d.feedforward.layers.attention import Attention
from recon3d.feedforward.layers.block import Block, BlockOptions
from recon3d.feedforward.layers.rope import grid_positions, rope_2d
from recon3d.feedforward.lite3r.attention import SparseLinearAttention
from recon3d.feedforward.lite3r.conversion import (
    convert,
    fake_quantise_linears,
    freeze_all_but_projections,
    sparse_attentions,
    store_linears,
)
from recon3d.feedforward.lite3r.distillation import (
    AttentionRecorder,
    distillation_loss,
    distillation_weight,
    learning_rate_factor,
)
from recon3d.feedforward.lite3r.linears import FakeQuantLinear, QuantOptions
from recon3d.feedforward.lite3r.options import Mode, SparseOptions
from recon3d.feedforward.lite3r.storage import Int8Linear

DIM, N = 32, 40
EVERYTHING = SparseOptions(keep=1.0, block_size=16)


def network(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(*(Block(DIM, 2, BlockOptions(qk_norm=True)) for _ in range(2))).eval()


def tokens() -> torch.Tensor:
    return torch.randn(2, N, DIM, generator=torch.Generator().manual_seed(3))


def test_without_the_linear_branch_and_with_every_block_nothing_changes() -> None:
    dense, x = network(), tokens()
    sparse = convert(copy.deepcopy(dense), EVERYTHING)
    for module in sparse_attentions(sparse):
        nn.init.zeros_(module.proj_lin.weight)
    torch.testing.assert_close(sparse(x), dense(x), rtol=0, atol=2e-6)


def test_fresh_projections_move_the_result_by_about_a_percent() -> None:
    dense, x = network(), tokens()
    moved = (convert(copy.deepcopy(dense), EVERYTHING)(x) - dense(x)).norm() / dense(x).norm()
    assert 1e-5 < moved < 0.03


def test_weights_are_shared_and_only_projections_are_new() -> None:
    dense = network()
    before = dict(dense.named_parameters())
    sparse = convert(dense)
    after = dict(sparse.named_parameters())
    assert all(after[name] is one for name, one in before.items())
    new = {name for name in after if name not in before}
    assert new == {f"{i}.attn.{name}" for i in range(2) for name in ("proj_lin.weight", "lam")}


def test_the_seed_draws_the_projections_and_a_second_conversion_keeps_the_modules() -> None:
    first, second = convert(network(), seed=4), convert(network(), seed=4)
    for one, other in zip(sparse_attentions(first), sparse_attentions(second), strict=True):
        assert torch.equal(one.proj_lin.weight, other.proj_lin.weight)
    modules = list(sparse_attentions(first))
    assert list(sparse_attentions(convert(first))) == modules
    assert not torch.equal(modules[0].proj_lin.weight, modules[1].proj_lin.weight)


def test_a_single_attention_cannot_be_swapped_within_itself() -> None:
    with pytest.raises(UsageError, match="Attention"):
        convert(Attention(8, 2))


def test_positions_matter_to_sparse_attention_too() -> None:
    module = SparseLinearAttention(DIM, 2, options=SparseOptions(block_size=16))
    rope = rope_2d(grid_positions(5, 8, n_special=0), DIM // 2)
    assert not torch.allclose(module(tokens()), module(tokens(), rope))


def test_gradients_reach_the_projections_alone() -> None:
    model = freeze_all_but_projections(convert(network(), SparseOptions(keep=0.5, block_size=16)))
    model(tokens()).square().sum().backward()
    learning = {name for name, one in model.named_parameters() if one.grad is not None}
    assert learning == {f"{i}.attn.proj_lin.weight" for i in range(2)}
    assert all(one.grad.abs().max() > 0 for one in model.parameters() if one.grad is not None)


def test_a_few_steps_of_distillation_bring_the_student_closer() -> None:
    teacher, x = network(), tokens()
    student = freeze_all_but_projections(convert(copy.deepcopy(teacher), SparseOptions(keep=0.4, block_size=16)))
    optimiser = torch.optim.Adam((one for one in student.parameters() if one.requires_grad), lr=3e-2)
    losses = []
    for _ in range(15):
        with AttentionRecorder(student) as mine, AttentionRecorder(teacher) as wanted:
            student(x), teacher(x)
        loss = distillation_loss(mine.outputs, [one.detach() for one in wanted.outputs])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]


def test_recording_ends_with_its_block() -> None:
    model = network()
    with AttentionRecorder(model) as recorder:
        model(tokens())
        model(tokens())
    model(tokens())
    assert [one.shape for one in recorder.outputs] == 4 * [(2, N, DIM)]


def test_distillation_of_equal_outputs_is_zero_and_of_unequal_numbers_of_them_refused() -> None:
    outputs = [tokens()]
    assert distillation_loss(outputs, outputs) == 0
    with pytest.raises(ShapeError, match="correspond"):
        distillation_loss(outputs, [])
    with pytest.raises(ShapeError, match="correspond"):
        distillation_loss([], [])


def test_schedules() -> None:
    assert distillation_weight(0, 100) == pytest.approx(0.1)
    assert distillation_weight(50, 100) == pytest.approx(0.055)
    assert distillation_weight(100, 100) == distillation_weight(200, 100) == pytest.approx(0.01)
    assert [learning_rate_factor(step, 20, n_warm_up=10) for step in (0, 5, 10, 15, 20, 30)] == [
        0,
        0.5,
        1,
        0.75,
        0.5,
        0.5,
    ]


def test_every_linear_layer_is_quantised_under_its_old_name() -> None:
    model = convert(network(), EVERYTHING)
    names, before = list(model.state_dict()), model(tokens())
    quantised = fake_quantise_linears(model)
    assert list(quantised.state_dict()) == names
    off = (quantised(tokens()) - before).norm() / before.norm()
    assert 1e-3 < off < 0.1
    quantised(tokens()).sum().backward()
    assert all(one.grad is not None for name, one in quantised.named_parameters() if not name.endswith("lam"))


@pytest.mark.parametrize(("storage", "tolerance"), [("fp8", 0.06), ("int8", 0.03), ("bf16", 0.01), ("auto", 0.03)])
def test_stored_networks_stay_close(storage: str, tolerance: float) -> None:
    model = convert(network(), EVERYTHING)
    x, before = tokens(), model(tokens())
    size = sum(one.nbytes for one in model.state_dict().values())
    small = store_linears(fake_quantise_linears(model), storage)
    assert (small(x) - before).norm() / before.norm() < tolerance
    assert sum(one.nbytes for one in small.state_dict().values()) < 0.65 * size


def test_layers_outside_attentions_can_be_quantised_alone() -> None:
    model = fake_quantise_linears(convert(network()), QuantOptions("w4a16", group=16), in_attentions=False)
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear):
            assert isinstance(module, FakeQuantLinear) == (".attn." not in name), name


def test_a_network_without_memory_is_converted_and_then_loaded() -> None:
    with torch.device("meta"):
        empty = nn.Sequential(*(Block(DIM, 2, BlockOptions(qk_norm=True)) for _ in range(2))).eval()
    full = convert(network(), EVERYTHING, seed=7)
    convert(empty, EVERYTHING).load_state_dict(full.state_dict(), assign=True)
    assert torch.equal(empty(tokens()), full(tokens()))


@pytest.mark.parametrize("mode", ["block", "topk", "threeway", "dense_plus_linear"])
def test_bfloat16_under_autocast(mode: Mode) -> None:
    model, x = convert(network(), SparseOptions(mode=mode, keep=0.5, block_size=16)), tokens()
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        narrow = model(x)
    wide = model(x)
    assert (narrow - wide).norm() / wide.norm() < 0.05


def test_a_second_projection_starts_as_the_identity() -> None:
    plain, dual = (
        convert(network(), SparseOptions(keep=1.0, block_size=16, project_sparse=more)) for more in (False, True)
    )
    names = set(dual.state_dict()) - set(plain.state_dict())
    assert names == {f"{i}.attn.proj_topk.weight" for i in range(2)}
    moved = (dual(tokens()) - plain(tokens())).norm() / plain(tokens()).norm()
    assert 0 < moved < 0.02


def test_layers_inside_torch_s_own_attention_stay() -> None:
    model = nn.ModuleList([nn.MultiheadAttention(8, 2), nn.Linear(8, 8)])
    store_linears(model, "int8")
    assert isinstance(model[1], Int8Linear)
    x = torch.randn(3, 1, 8)
    assert model[0](x, x, x)[0].shape == x.shape


def test_a_module_that_stands_at_two_places_stays_one() -> None:
    attention, layer = Attention(8, 2), nn.Linear(8, 8)
    model = nn.ModuleDict({"a": attention, "b": attention, "c": layer, "d": layer})
    convert(model)
    assert isinstance(model["b"], SparseLinearAttention) and model["a"] is model["b"]
    fake_quantise_linears(model)
    assert isinstance(model["d"], FakeQuantLinear) and model["c"] is model["d"]
    store_linears(model, "int8")
    assert isinstance(model["d"], Int8Linear) and model["c"] is model["d"]
    assert isinstance(model["b"].qkv, Int8Linear) and model["a"].qkv is model["b"].qkv

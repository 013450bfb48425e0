"""Training of Lite3R beside everything else that a run does: evaluation, autocast, copies, schedules."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from hypothesis import given, strategies as st
from tiny_networks import photos, tiny_da3, tiny_vggt
from torch import Tensor, nn

from recon3d.core.errors import ShapeError
from recon3d.feedforward.layers.attention import Attention
from recon3d.feedforward.lite3r import (
    AttentionRecorder,
    FakeQuantLinear,
    QuantOptions,
    SparseOptions,
    convert,
    distillation_loss,
    distillation_weight,
    fake_quantise_linears,
    freeze_all_but_projections,
    learning_rate_factor,
    sparse_attentions,
)
from recon3d.feedforward.lite3r.block_sparse import block_sparse_attention
from recon3d.feedforward.lite3r.linears import smoothing
from recon3d.feedforward.lite3r.options import Backend
from recon3d.feedforward.lite3r.quantisation import E4M3, E5M2, IntegerFormat
from recon3d.feedforward.models import build_model
from recon3d.feedforward.vggt.config import VggtOptions
from recon3d.feedforward.vggt.model import Vggt


def values(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def frozen_layer() -> FakeQuantLinear:
    torch.manual_seed(0)
    return FakeQuantLinear(nn.Linear(8, 4).requires_grad_(False), QuantOptions())


def test_training_goes_on_after_an_evaluation_in_inference_mode() -> None:
    layer, x = frozen_layer(), values(3, 8).requires_grad_()
    with torch.inference_mode():
        before = layer(x)
    layer(x).sum().backward()
    assert torch.equal(x.grad, E4M3.quantised(layer.weight).sum(0).expand(3, 8))
    assert torch.equal(before, layer(x))


def test_a_student_learns_between_evaluations() -> None:
    model = freeze_all_but_projections(fake_quantise_linears(convert(tiny_da3(), SparseOptions(block_size=16))))
    images = photos(2)
    for _ in range(2):
        with torch.inference_mode():
            model(images)
        model(images).depth_z.mean().backward()
    assert all(one.proj_lin.weight.grad is not None for one in sparse_attentions(model.backbone))


def test_what_was_made_for_frozen_weights_is_not_copied_into_the_state() -> None:
    layer = frozen_layer()
    layer(values(2, 8))
    assert list(layer.state_dict()) == ["weight", "bias"]
    other = copy.deepcopy(layer)
    with torch.no_grad():
        other.weight.mul_(2.0)
    torch.testing.assert_close(other(values(2, 8)) - other.bias, 2.0 * (layer(values(2, 8)) - layer.bias))


def test_weights_that_learn_are_quantised_in_every_step() -> None:
    layer, x = FakeQuantLinear(nn.Linear(8, 4), QuantOptions()), values(5, 8)
    before = layer(x)
    layer(x).sum().backward()
    with torch.no_grad():
        layer.weight -= layer.weight.grad
    assert not torch.equal(layer(x), before)
    assert layer._frozen is None


@pytest.mark.parametrize("backend", ["torch", "numba"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gradients_under_autocast_are_those_without(backend: Backend, dtype: torch.dtype) -> None:
    leaves = [values(2, 3, 40, 16, seed=seed).to(dtype).requires_grad_() for seed in range(3)]
    kept = torch.tensor([[0, 1], [1, 2], [0, 2]]).expand(2, 3, 3, 2)
    found = []
    for enabled in (False, True):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            out = block_sparse_attention(*leaves, kept, size=16, backend=backend)
            found.append((out, *torch.autograd.grad(out.float().square().sum(), leaves)))
    for plain, cast in zip(*found, strict=True):
        assert cast.dtype == dtype
        assert torch.equal(plain, cast)


@pytest.mark.parametrize("build", [tiny_vggt, tiny_da3])
def test_a_whole_step_under_autocast(build: type[nn.Module]) -> None:
    teacher = build()
    student = freeze_all_but_projections(
        fake_quantise_linears(convert(copy.deepcopy(teacher), SparseOptions(block_size=16)))
    )
    with torch.autocast("cpu", dtype=torch.bfloat16):
        with AttentionRecorder(student) as mine, AttentionRecorder(teacher) as wanted:
            student(photos(2)), teacher(photos(2))
        distillation_loss(mine.outputs, [one.detach() for one in wanted.outputs]).backward()
    learning = [one for one in student.parameters() if one.requires_grad and one.grad is not None]
    assert learning and all(one.grad.isfinite().all() for one in learning)


def test_the_published_counts_of_attentions_projections_and_layers() -> None:
    """Lite3R's VGGT lacks the point and track heads; the numbers are those of its specification."""
    with torch.device("meta"):
        vggt = Vggt(VggtOptions(heads=("camera", "depth")))
    for model, n_attentions, n_learning, n_layers in (
        (vggt, 76, 360_448, 384),
        (build_model("da3-large"), 28, 114_688, 147),
    ):
        convert(model)
        assert len(list(sparse_attentions(model))) == n_attentions
        freeze_all_but_projections(model)
        assert sum(one.numel() for one in model.parameters() if one.requires_grad) == n_learning
        fake_quantise_linears(model)
        assert sum(isinstance(one, FakeQuantLinear) for one in model.modules()) == n_layers
        assert {one.dim // one.n_heads for one in sparse_attentions(model)} <= {64, 128}


def test_attentions_are_recorded_in_the_order_in_which_they_run() -> None:
    model = nn.ModuleDict({"late": Attention(8, 2), "early": Attention(8, 2)})
    x = values(1, 3, 8)
    with AttentionRecorder(model) as recorder:
        early = model["early"](x)
        late = model["late"](early)
    assert torch.equal(recorder.outputs[0], early) and torch.equal(recorder.outputs[1], late)


def test_recording_ends_after_an_error_too_and_begins_anew() -> None:
    model = Attention(8, 2)
    recorder = AttentionRecorder(model)
    with pytest.raises(ZeroDivisionError), recorder:
        model(values(1, 3, 8))
        raise ZeroDivisionError
    model(values(1, 3, 8))
    assert len(recorder.outputs) == 1
    with recorder:
        model(values(1, 2, 8))
    assert [one.shape for one in recorder.outputs] == [(1, 2, 8)]


def test_distillation_is_a_mean_of_means() -> None:
    student, teacher = [torch.ones(2, 3), torch.zeros(5)], [torch.zeros(2, 3), torch.full((5,), 3.0)]
    assert distillation_loss(student, teacher) == pytest.approx((1.0 + 9.0) / 2)
    with pytest.raises(ShapeError, match=r"got: \[\(2, 3\), \(5,\)\]; expected: \[\(5,\), \(2, 3\)\]"):
        distillation_loss(student, teacher[::-1])


@given(step=st.integers(0, 300), n_steps=st.integers(0, 200))
def test_schedules_stay_in_their_ranges_and_only_fall_after_the_warm_up(step: int, n_steps: int) -> None:
    assert 0.01 <= distillation_weight(step, n_steps) <= 0.1 + 1e-12
    assert distillation_weight(step + 1, n_steps) <= distillation_weight(step, n_steps)
    now, then = (learning_rate_factor(at, n_steps) for at in (step, step + 1))
    assert 0.0 <= now <= 1.0
    assert then >= now if step < 30 else 0.5 <= then <= now


def test_the_weight_of_the_distillation_is_half_a_cosine() -> None:
    assert distillation_weight(25, 100) == pytest.approx(0.01 + 0.045 * (1 + math.cos(math.pi / 4)))
    assert distillation_weight(1, 3, first=2.0, last=2.0) == 2.0
    assert learning_rate_factor(0, 10, n_warm_up=0) == 1.0


def test_a_channel_that_was_silent_may_speak_later() -> None:
    torch.manual_seed(0)
    layer, x = nn.Linear(8, 4), values(20, 8)
    x[:, 2] = 0.0
    smooth = smoothing(x, layer.weight)
    assert smooth[2] == 1.0
    loud = values(20, 8, seed=1)
    for kind in ("w4a8", "e4m3"):
        quantised = FakeQuantLinear(layer, QuantOptions(kind, group=8), smooth)
        assert (quantised(loud) - layer(loud)).norm() < 0.5 * layer(loud).norm()


@pytest.mark.parametrize("width", [1, 7, 8, 9, 388])
@pytest.mark.parametrize("bits", [4, 8])
def test_the_last_group_of_a_row_may_be_shorter(width: int, bits: int) -> None:
    x, group = values(3, width), 8
    whole = IntegerFormat(bits, group).quantised(x)
    assert whole.shape == x.shape
    parts = [IntegerFormat(bits).quantised(x[:, at : at + group]) for at in range(0, width, group)]
    assert torch.equal(whole, torch.cat(parts, -1))


def test_every_code_of_eight_bits_is_its_own_value_and_neighbours_share_the_middle() -> None:
    """The 256 codes are in the order of their magnitudes, and what lies between two goes to the nearer one."""
    for form in (E4M3, E5M2):
        table = form.table()[:128]
        table = table[table.isfinite()]
        assert (table.diff() > 0).all() and table[0] == 0
        assert torch.equal(form.table()[128 : 128 + len(table)], -table)
        one = torch.ones(len(table), 1)
        assert torch.equal(form.encoded(table[:, None], one).float()[:, 0], table)
        low, high = table[:-1], table[1:]
        for share, nearer in ((0.49, low), (0.51, high)):
            between = (low + share * (high - low))[:, None]
            assert torch.equal(form.encoded(between, one[1:]).float()[:, 0], nearer)
        middle = form.encoded(((low + high) / 2)[:, None], one[1:])
        assert not (middle.view(torch.uint8) & 1).any(), "to the even code"
        assert form.encoded(torch.tensor([[1e9, -1e9]]), torch.ones(1, 1)).tolist() == [[form.maximum, -form.maximum]]

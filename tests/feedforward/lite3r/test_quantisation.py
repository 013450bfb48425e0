"""Narrow formats: what a value becomes, what the gradient becomes, and layers that really store them."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, strategies as st
from torch import nn

from recon3d.feedforward.lite3r.int8_cpu import quantised_rows, rescaled
from recon3d.feedforward.lite3r.linears import FakeQuantLinear, Kind, QuantOptions, smoothing
from recon3d.feedforward.lite3r.quantisation import E4M3, E5M2, FloatFormat, Format, IntegerFormat, fake_quantise
from recon3d.feedforward.lite3r.storage import Bf16Linear, Fp8Linear, Int8Linear, fastest_storage, stored

FORMATS: list[Format] = [E4M3, E5M2, IntegerFormat(8), IntegerFormat(4), IntegerFormat(4, group=8)]
formats = pytest.mark.parametrize("form", FORMATS)
floats = pytest.mark.parametrize(("form", "mantissa"), [(E4M3, 3), (E5M2, 2)])


def values(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def layer(c: int = 32, out: int = 16) -> nn.Linear:
    made = nn.Linear(c, out)
    with torch.no_grad():
        made.weight.copy_(values(out, c, seed=1))
        made.bias.copy_(values(out, seed=2))
    return made


@formats
def test_quantising_twice_changes_little(form: Format) -> None:
    once = form.quantised(values(5, 16))
    torch.testing.assert_close(form.quantised(once), once, rtol=1e-6, atol=0)


@formats
@given(power=st.integers(-10, 10))
def test_powers_of_two_pass_through(form: Format, power: int) -> None:
    x = values(3, 16)
    assert torch.equal(form.quantised(x * 2.0**power), form.quantised(x) * 2.0**power)


@formats
def test_rows_of_zeros_stay_zero_and_the_largest_value_stays(form: Format) -> None:
    assert not form.quantised(torch.zeros(2, 16)).any()
    x = values(4, 16)
    x[:, 3] = 7.0
    torch.testing.assert_close(form.quantised(x)[:, 3], x[:, 3])


@formats
def test_gradients_pass_straight_through(form: Format) -> None:
    x, target = values(3, 16).requires_grad_(), values(3, 16, seed=1)
    (fake_quantise(x, form) * target).sum().backward()
    assert torch.equal(x.grad, target)


@floats
def test_floats_are_off_by_half_a_step_at_most(form: FloatFormat, mantissa: int) -> None:
    x = values(4, 64)
    normal = x.abs() > form.scales(x) * 2.0 ** (-6 if mantissa == 3 else -14)
    off = ((form.quantised(x) - x) / x).abs()
    assert (off[normal] <= 2.0 ** -(mantissa + 1)).all()


@floats
def test_tables_hold_what_the_format_can_say(form: FloatFormat, mantissa: int) -> None:
    table = form.table()
    assert table[table.isfinite()].max() == form.maximum
    assert (table[:128].isnan().sum(), table[:128].isinf().sum()) == ((1, 0) if form is E4M3 else (3, 1))
    assert table[1] == (2.0**-9 if form is E4M3 else 2.0**-16)
    assert table[8 if form is E4M3 else 4] == (2.0**-6 if form is E4M3 else 2.0**-14)


def test_groups_have_scales_of_their_own() -> None:
    x = torch.cat([values(1, 8), 1000 * values(1, 8, seed=1)], -1)
    grouped = IntegerFormat(4, group=8).quantised(x)
    assert torch.equal(grouped[:, :8], IntegerFormat(4).quantised(x[:, :8]))
    assert not IntegerFormat(4).quantised(x)[:, :8].any()
    assert torch.equal(IntegerFormat(4, group=128).quantised(x), IntegerFormat(4).quantised(x))


@pytest.mark.parametrize("kind", ["e4m3", "e5m2", "w4a16", "w4a8"])
def test_layers_compute_with_quantised_numbers(kind: Kind) -> None:
    plain, x, options = layer(), values(2, 5, 32), QuantOptions(kind, group=16)
    form = options.input_format()
    inputs = x if form is None else form.quantised(x)
    wanted = nn.functional.linear(inputs, options.weight_format().quantised(plain.weight.detach()), plain.bias)
    torch.testing.assert_close(FakeQuantLinear(plain, options)(x), wanted)
    assert QuantOptions(kind, activations=False).input_format() is None


def test_frozen_weights_are_quantised_once_and_again_after_a_change() -> None:
    quantised, x = FakeQuantLinear(layer().requires_grad_(False), QuantOptions()), values(3, 32)
    before = quantised(x)
    kept = quantised._frozen[1]
    assert torch.equal(quantised(x), before)
    assert quantised._frozen[1] is kept
    quantised.load_state_dict({"weight": 2 * quantised.weight, "bias": quantised.bias})
    torch.testing.assert_close(quantised(x) - quantised.bias, 2 * (before - quantised.bias), rtol=1e-5, atol=1e-5)


def test_smoothing_moves_outliers_without_changing_the_product() -> None:
    plain, x = layer(), values(50, 32)
    x[:, 3] *= 100.0
    smooth = smoothing(x, plain.weight)
    torch.testing.assert_close((x / smooth) @ (plain.weight * smooth).T, x @ plain.weight.T, rtol=1e-4, atol=1e-3)
    errors = [(FakeQuantLinear(plain, QuantOptions("w4a8"), factor)(x) - plain(x)).norm() for factor in (smooth, None)]
    assert errors[0] < errors[1]
    assert list(FakeQuantLinear(plain, QuantOptions("w4a8"), smooth).state_dict()) == ["weight", "bias", "smooth"]


@pytest.mark.parametrize(
    ("kind", "dtype", "tolerance"),
    [(Fp8Linear, torch.float8_e4m3fn, 0.04), (Int8Linear, torch.int8, 0.012), (Bf16Linear, torch.bfloat16, 0.005)],
)
@pytest.mark.parametrize("bias", [True, False])
def test_stored_layers(kind: type[nn.Module], dtype: torch.dtype, tolerance: float, bias: bool) -> None:
    plain, x = layer(), values(2, 3, 32)
    if not bias:
        plain.bias = None
    made = kind(plain)
    assert made.weight.dtype == dtype
    assert "bias=" + str(bias) in repr(made)
    with torch.inference_mode():
        got, wanted = made(x), plain(x)
    assert got.shape == wanted.shape
    assert got.dtype == torch.float32
    assert (got - wanted).norm() / wanted.norm() < tolerance


def test_eight_bit_weights_are_those_of_training() -> None:
    plain = layer()
    made = Fp8Linear(plain)
    assert torch.equal(made.weight.float() * made.scales, E4M3.quantised(plain.weight.detach()))


@pytest.mark.parametrize("n", [1, 63, 130])
def test_rows_in_eight_bits_are_those_of_the_format(n: int) -> None:
    x = values(n, 40)
    x[0] = 0.0
    levels, scales = quantised_rows(x)
    form = IntegerFormat(8)
    torch.testing.assert_close(scales[:, None], form.scales(x))
    assert (levels.float() - form.encoded(x, form.scales(x))).abs().max() <= 1
    assert (levels.float() != form.encoded(x, form.scales(x))).float().mean() < 1e-2


def test_rescaling_and_its_bias() -> None:
    sums = torch.randint(-1000, 1000, (70, 9), dtype=torch.int32)
    rows, columns, bias = values(70).abs(), values(9).abs(), values(9, seed=4)
    torch.testing.assert_close(rescaled(sums, rows, columns, bias), sums * rows[:, None] * columns + bias)
    torch.testing.assert_close(rescaled(sums, rows, columns, None), sums * rows[:, None] * columns)


def test_the_fastest_format_of_this_processor_is_one_of_two() -> None:
    assert fastest_storage(torch.device("cpu")) in ("int8", "bf16")
    assert type(stored(layer())).__name__.lower().startswith(fastest_storage(torch.device("cpu")))

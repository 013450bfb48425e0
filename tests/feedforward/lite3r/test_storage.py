"""Layers and whole networks whose weights are really narrow: as an ordinary layer would be, wherever it is used."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from tiny_networks import photos, tiny_da3, tiny_vggt
from torch import nn

from recon3d.feedforward.inference import predict
from recon3d.feedforward.lite3r import (
    QuantOptions,
    SparseOptions,
    convert,
    fake_quantise_linears,
    storage as storages,
    store_linears,
)
from recon3d.feedforward.lite3r.int8_cpu import quantised_rows
from recon3d.feedforward.lite3r.quantisation import E4M3
from recon3d.feedforward.lite3r.storage import Fp8Linear, Storage, fastest_storage, has_bf16_units, stored
from recon3d.feedforward.memory import inference_bytes
from recon3d.formats.safetensors import read_safetensors, write_safetensors

STORAGES: tuple[Storage, ...] = ("fp8", "int8", "bf16")
TOLERANCE = {"fp8": 0.05, "int8": 0.02, "bf16": 0.008}
every_storage = pytest.mark.parametrize("storage", STORAGES)
every_network = pytest.mark.parametrize("build", [tiny_vggt, tiny_da3])


def layer(c: int = 24, out: int = 10, *, bias: bool = True) -> nn.Linear:
    torch.manual_seed(1)
    return nn.Linear(c, out, bias=bias)


def values(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(2))


def off(found: torch.Tensor, wanted: torch.Tensor) -> float:
    return float((found.detach().float() - wanted.detach().float()).norm() / wanted.detach().float().norm())


@every_storage
@pytest.mark.parametrize("shape", [(24,), (1, 24), (7, 24), (2, 3, 24), (2, 1, 3, 24)])
@pytest.mark.parametrize("bias", [True, False])
def test_any_number_of_axes(storage: Storage, shape: tuple[int, ...], bias: bool) -> None:
    plain, x = layer(bias=bias), values(*shape)
    with torch.inference_mode():
        found, wanted = stored(plain, storage)(x), plain(x)
    assert found.shape == wanted.shape
    assert off(found, wanted) < TOLERANCE[storage]


@every_storage
@pytest.mark.parametrize("shape", [(0, 24), (2, 0, 24), (0, 3, 24)])
def test_no_tokens_give_no_tokens(storage: Storage, shape: tuple[int, ...]) -> None:
    assert stored(layer(), storage)(torch.zeros(shape)).shape == (*shape[:-1], 10)


@every_storage
@pytest.mark.parametrize(("c", "out"), [(1, 1), (3, 5), (9, 7), (129, 65)])
def test_any_width(storage: Storage, c: int, out: int) -> None:
    plain, x = layer(c, out), values(33, c)
    with torch.inference_mode():
        assert off(stored(plain, storage)(x), plain(x)) < 1.5 * TOLERANCE[storage]


@every_storage
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_the_type_of_the_tokens_comes_back(storage: Storage, dtype: torch.dtype) -> None:
    plain, x = layer(), values(5, 24)
    found = stored(plain, storage)(x.to(dtype))
    assert found.dtype == dtype
    assert off(found, plain(x)) < TOLERANCE[storage] + 0.01


@every_storage
def test_views_without_order_in_memory(storage: Storage) -> None:
    made, x = stored(layer(), storage), values(24, 6, 2).permute(2, 1, 0)
    assert torch.equal(made(x), made(x.contiguous()))


@every_storage
def test_tokens_know_nothing_of_each_other(storage: Storage) -> None:
    made, x = stored(layer(), storage), values(70, 24)
    x[3] *= 1e6
    torch.testing.assert_close(made(x)[10:], made(x[10:]), rtol=1e-5, atol=1e-6)


@every_storage
@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_numbers_that_are_none_stay_visible_and_in_their_token(storage: Storage, value: float) -> None:
    x = values(4, 24)
    x[1, 5] = value
    found = stored(layer(), storage)(x)
    assert not found[1].isfinite().all()
    assert found[[0, 2, 3]].isfinite().all()


def test_rows_with_nan_have_a_scale_that_says_so() -> None:
    x = values(3, 8)
    x[1, 0], x[2, 7] = torch.nan, torch.nan
    assert quantised_rows(x)[1].isnan().tolist() == [False, True, True]


@every_storage
@pytest.mark.parametrize("factor", [1e-30, 1e30])
def test_very_small_and_very_large_tokens_keep_their_digits(storage: Storage, factor: float) -> None:
    plain, x = layer(bias=False), values(6, 24)
    with torch.inference_mode():
        found, wanted = stored(plain, storage)(x * factor) / factor, plain(x)
    if factor < 1e-8 and storage == "int8":  # below the smallest scale everything is zero
        assert not found.any()
    else:
        assert off(found, wanted) < TOLERANCE[storage]


@every_storage
def test_outputs_with_very_different_weights_lose_nothing_to_each_other(storage: Storage) -> None:
    plain = layer(bias=False)
    with torch.no_grad():
        plain.weight.mul_(10.0 ** torch.arange(-5, 5)[:, None])
        x = values(50, 24)
        found, wanted = stored(plain, storage)(x), plain(x)
    for column in range(10):
        assert off(found[:, column], wanted[:, column]) < 2 * TOLERANCE[storage]


@every_storage
def test_stored_weights_survive_a_file(storage: Storage, tmp_path: Path) -> None:
    made, other = stored(layer(), storage), stored(layer(bias=True), storage)
    other.weight.zero_()
    write_safetensors(tmp_path / "layer.safetensors", made.state_dict())
    other.load_state_dict(read_safetensors(tmp_path / "layer.safetensors"))
    x = values(3, 24)
    assert torch.equal(made(x), other(x))


@every_network
@every_storage
def test_whole_networks_stay_close(build: type[nn.Module], storage: Storage) -> None:
    images = photos(3)[0]
    sparse = convert(build(), SparseOptions(block_size=16))
    small = store_linears(copy.deepcopy(sparse), storage)
    wanted, found = predict(sparse, images), predict(small, images)
    assert off(found.depth_z, wanted.depth_z) < 0.1
    assert found.cam_from_world.isfinite().all() and found.K.isfinite().all()
    kept = {name: one for name, one in small.state_dict().items() if name.endswith("proj_lin.weight")}
    assert kept and all(one.dtype == torch.float32 for one in kept.values())


@every_network
@pytest.mark.parametrize("kind", ["e4m3", "e5m2", "w4a16", "w4a8"])
def test_whole_networks_can_be_quantised_in_training(build: type[nn.Module], kind: str) -> None:
    """Their layers have widths that no group divides, such as the 9 numbers of a camera."""
    model = fake_quantise_linears(convert(build(), SparseOptions(block_size=16)), QuantOptions(kind, group=10))
    found = model(photos(2))
    (found.depth_z.mean() + found.cam_from_world.square().mean()).backward()
    grads = [one.grad for name, one in model.named_parameters() if name.endswith("proj_lin.weight")]
    assert any(one is not None and one.abs().max() > 0 for one in grads)


@every_network
def test_the_estimate_of_memory_counts_narrow_weights(build: type[nn.Module]) -> None:
    dense = build()
    saved = sum(one.nbytes for one in dense.state_dict().values())
    estimates = {"dense": inference_bytes(dense, 2, 28, 42)}
    for storage in ("bf16", "int8"):
        small = store_linears(copy.deepcopy(dense), storage)
        less = saved - sum(one.nbytes for one in small.state_dict().values())
        estimates[storage] = inference_bytes(small, 2, 28, 42)
        assert estimates["dense"] - estimates[storage] == pytest.approx(less, rel=0.02)
    assert estimates["int8"] < estimates["bf16"] < estimates["dense"]


@pytest.mark.parametrize("bias", [True, False])
def test_the_product_in_eight_bit_floats_is_that_of_the_rounded_numbers(bias: bool) -> None:
    """What GPUs with FP8 units run; torch computes it on the CPU too, only slowly."""
    plain, x = layer(32, 16, bias=bias), values(5, 32)
    found = Fp8Linear(plain)._fp8_product(x)
    wanted = nn.functional.linear(E4M3.quantised(x), E4M3.quantised(plain.weight.detach()), plain.bias)
    assert found.dtype == torch.bfloat16
    assert off(found, wanted) < 2.0**-8


@pytest.mark.parametrize(
    ("capability", "format_"), [((8, 0), "bf16"), ((8, 9), "fp8"), ((9, 0), "fp8"), ((7, 5), "bf16")]
)
def test_the_fastest_format_of_a_gpu(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], format_: Storage
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    assert fastest_storage(torch.device("cuda")) == format_


@pytest.mark.parametrize(
    ("features", "format_", "bf16"),
    [
        ({}, "bf16", False),
        ({"avx512vnni": True}, "int8", False),
        ({"avxvnni": True, "avx512vnni": False}, "int8", False),
        ({"dotprod": True, "bf16": True}, "int8", True),
        ({"amx-bf16": True}, "bf16", True),
        ({"avx512vnni": False, "avx512bf16": True}, "bf16", True),
    ],
)
def test_the_fastest_format_of_a_processor(
    monkeypatch: pytest.MonkeyPatch, features: dict[str, bool], format_: Storage, bf16: bool
) -> None:
    monkeypatch.setattr(storages.llvm, "get_host_cpu_features", lambda: features)
    assert fastest_storage(torch.device("cpu")) == format_
    assert has_bf16_units() == bf16


@pytest.mark.parametrize("units", [True, False])
def test_expanded_weights_give_the_same_with_and_without_units_for_bfloat16(
    monkeypatch: pytest.MonkeyPatch, units: bool
) -> None:
    monkeypatch.setattr(storages, "has_bf16_units", lambda: units)
    plain, x = layer(), values(9, 24)
    found = Fp8Linear(plain)(x)
    rounded = nn.functional.linear(x, E4M3.quantised(plain.weight.detach()), plain.bias.detach())
    assert off(found, rounded) < (2.0**-7 if units else 1e-6)


@every_storage
def test_gradients_pass_through_to_what_comes_before(storage: Storage) -> None:
    plain, x = layer(), values(7, 24).requires_grad_()
    target = torch.randn(7, 10, generator=torch.Generator().manual_seed(3))
    (found,) = torch.autograd.grad(stored(plain, storage)(x), x, target)
    (wanted,) = torch.autograd.grad(plain(x), x, target)
    assert found.dtype == x.dtype
    assert off(found, wanted) < TOLERANCE[storage]


@every_storage
def test_a_head_can_learn_on_a_stored_trunk(storage: Storage) -> None:
    model = nn.Sequential(nn.Linear(24, 24), layer(), nn.Linear(10, 3))
    model[1] = stored(model[1], storage)
    model(values(5, 24)).square().sum().backward()
    assert all(one.weight.grad.abs().max() > 0 for one in (model[0], model[2]))
    assert not list(model[1].parameters())

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import nn

from recon3d.core.errors import FormatError, InputError
from recon3d.feedforward.checkpoints import check_names, load_checkpoint
from recon3d.formats.safetensors import safetensors_bytes
from recon3d.formats.weights import read_state


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4))


def save(folder: Path, state: dict[str, torch.Tensor], name: str = "weights.safetensors") -> Path:
    path = folder / name
    if path.suffix == ".safetensors":
        path.write_bytes(safetensors_bytes(state))
    else:
        torch.save(state, path)
    return path


def same(one: nn.Module, other: nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))


@pytest.mark.parametrize("name", ["weights.safetensors", "weights.pt", "weights.pth", "weights.bin"])
@pytest.mark.parametrize("prefix", ["", "model.", "module.", "module.model."])
def test_both_formats_load_with_and_without_a_prefix(tmp_path: Path, name: str, prefix: str) -> None:
    source, target = network(1), network(2)
    path = save(tmp_path, {prefix + key: one for key, one in source.state_dict().items()}, name)
    assert not same(source, target)
    load_checkpoint(target, path)
    assert same(source, target)


@pytest.mark.parametrize("key", ["model", "state_dict"])
def test_training_files_hold_the_weights_under_a_key(tmp_path: Path, key: str) -> None:
    path = tmp_path / "train.pt"
    torch.save({key: network(1).state_dict(), "optim": None, "step": 5, "extra": {"loss": 0.1}}, path)
    target = network(2)
    load_checkpoint(target, path)
    assert same(target, network(1))


def test_a_mismatch_lists_every_kind_of_name(tmp_path: Path) -> None:
    state = network().state_dict()
    state["head.weight"] = state.pop("1.bias")
    state["0.weight"] = torch.zeros(4, 2)
    with pytest.raises(InputError) as caught:
        load_checkpoint(network(), save(tmp_path, state))
    text = str(caught.value)
    assert "1 missing: 1.bias" in text
    assert "1 unknown: head.weight" in text
    assert "1 of another shape: 0.weight [4, 2] instead of [4, 3]" in text
    assert "does not belong to this Sequential" in text


def test_long_lists_are_cut() -> None:
    many = {f"layer{i}": torch.zeros(1) for i in range(20)}
    with pytest.raises(InputError, match=r"20 unknown: layer0, layer1, .* and 14 more"):
        check_names(nn.Identity(), many, "file")


def test_a_mismatch_leaves_the_network_alone(tmp_path: Path) -> None:
    model = network(3)
    with pytest.raises(InputError):
        load_checkpoint(model, save(tmp_path, {"0.weight": torch.zeros(4, 3)}))
    assert same(model, network(3))


def test_parts_that_were_not_built_can_be_ignored(tmp_path: Path) -> None:
    state = network(1).state_dict() | {"track_head.weight": torch.zeros(1)}
    target = network(2)
    load_checkpoint(target, save(tmp_path, state), ignore=["track_head."])
    assert same(target, network(1))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused(tmp_path: Path, value: float) -> None:
    state = network().state_dict()
    state["0.weight"][1, 2] = value
    with pytest.raises(FormatError, match=r"holds NaN or infinite weights; got: 0\.weight"):
        load_checkpoint(network(), save(tmp_path, state))


class Bomb:
    """Its pickle would write a file when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_code_in_a_file_is_not_run(tmp_path: Path) -> None:
    mark, path = tmp_path / "mark", tmp_path / "evil.pt"
    torch.save({"0.weight": Bomb(mark)}, path)
    with pytest.raises(FormatError, match="is no file of tensors"):
        load_checkpoint(network(), path)
    path.write_bytes(pickle.dumps(Bomb(mark)))
    with pytest.raises(FormatError, match="is no file of tensors"):
        load_checkpoint(network(), path)
    assert not mark.exists()


@pytest.mark.parametrize("data", [b"", b"PK", b"not a checkpoint at all", bytes(100)])
def test_other_bytes_are_refused(tmp_path: Path, data: bytes) -> None:
    for name in ("x.pt", "x.safetensors"):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(FormatError):
            read_state(tmp_path / name)


def test_scores_of_a_training_beside_the_weights_are_no_code(tmp_path: Path) -> None:
    scores = {"best": np.float64(0.5), "epoch": np.int64(3), "loss": np.float32(1.5), "done": np.bool_(True)}
    torch.save({"state_dict": network().state_dict()} | scores, tmp_path / "last.pth")
    state = read_state(tmp_path / "last.pth")
    assert torch.equal(state["0.weight"], network()[0].weight) and len(state) == 4  # type: ignore[index]


def test_other_objects_are_refused(tmp_path: Path) -> None:
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(FormatError, match="is no state dict; got: list"):
        read_state(tmp_path / "list.pt")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    for name in ("no.pt", "no.safetensors"):
        with pytest.raises(InputError, match=name):
            load_checkpoint(network(), tmp_path / name)


def test_a_network_keeps_its_type(tmp_path: Path) -> None:
    model = network(2).double()
    load_checkpoint(model, save(tmp_path, network(1).half().state_dict()))
    assert model[0].weight.dtype == torch.float64
    assert torch.allclose(model[0].weight.float(), network(1)[0].weight, atol=1e-3)


def test_a_network_without_memory_takes_that_of_the_file(tmp_path: Path) -> None:
    with torch.device("meta"):
        model = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4))
    load_checkpoint(model, save(tmp_path, network(1).state_dict()))
    assert same(model, network(1))
    assert model(torch.ones(1, 3)).isfinite().all()


@settings(max_examples=40)
@given(st.data())
def test_damaged_files_give_tensors_or_our_error(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged.pt"
    torch.save({"0.weight": torch.ones(4, 3)}, path, _use_new_zipfile_serialization=data.draw(st.booleans()))
    damaged = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(damaged[: data.draw(st.integers(0, len(damaged)))] if data.draw(st.booleans()) else damaged)
    try:
        assert all(isinstance(one, torch.Tensor) for one in read_state(path).values())
    except FormatError as error:
        assert str(path) in str(error)

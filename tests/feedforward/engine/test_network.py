from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_networks import DA3, alive

from recon3d.core.errors import DependencyError, FormatError, InputError, UsageError
from recon3d.feedforward import models
from recon3d.feedforward.da3.model import DepthAnything3
from recon3d.feedforward.deltas import write_delta
from recon3d.feedforward.engine import network as engine
from recon3d.feedforward.engine.network import ChosenWeights, choose_weights, load_network
from recon3d.feedforward.lite3r.conversion import convert, sparse_attentions
from recon3d.feedforward.lite3r.options import SparseOptions
from recon3d.formats.safetensors import safetensors_bytes


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the name of a published network stand for a tiny one."""
    monkeypatch.setitem(models.CONFIGS, "da3-small", DA3)


def written(folder: Path, *, projections: bool = False) -> Path:
    model = DepthAnything3(DA3)
    alive(convert(model) if projections else model)
    path = folder / "weights.safetensors"
    path.write_bytes(safetensors_bytes(model.state_dict()))
    return path


def test_a_file_of_weights_makes_a_dense_network_and_says_so(tmp_path: Path) -> None:
    path = written(tmp_path)
    loaded = load_network(choose_weights("da3-small", path))
    assert loaded.attention == "dense" and "no projections" in loaded.notes[0]
    assert not list(sparse_attentions(loaded.network)) and not loaded.network.training


def test_projections_in_the_file_make_a_sparse_network(tmp_path: Path) -> None:
    loaded = load_network(choose_weights("da3-small", written(tmp_path, projections=True)))
    layers = list(sparse_attentions(loaded.network))
    assert layers and float(layers[0].proj_lin.weight.abs().max()) > 0.01
    assert "Lite3R" in loaded.attention and loaded.notes == ()


def test_dense_attention_is_taken_where_it_is_asked_for(tmp_path: Path) -> None:
    path = written(tmp_path, projections=True)
    loaded = load_network(choose_weights("da3-small", path, dense_attention=True))
    assert loaded.attention == "dense" and loaded.notes == () and not list(sparse_attentions(loaded.network))


def test_a_delta_adds_projections_to_stored_weights(tmp_path: Path) -> None:
    base = written(tmp_path)
    delta = tmp_path / "delta.safetensors"
    write_delta(delta, convert(DepthAnything3(DA3), SparseOptions(block_size=16)), name="da3-small", trained="here")
    loaded = load_network(ChosenWeights("da3-small", base, delta, dense=False))
    assert {one.options.block_size for one in sparse_attentions(loaded.network)} == {16}
    assert "Lite3R" in loaded.attention
    dense = load_network(ChosenWeights("da3-small", base, delta, dense=True))
    assert dense.attention == "dense" and dense.notes == ()


def test_stored_weights_are_found_with_their_delta(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stored = {"da3-small": tmp_path / "a", "da3-small-lite3r": tmp_path / "b"}
    monkeypatch.setattr(engine, "stored_weights", stored.get)
    assert choose_weights("da3-small") == ChosenWeights("da3-small", tmp_path / "a", tmp_path / "b", False)


def test_missing_weights_name_the_command_that_fetches_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "stored_weights", lambda name: None)
    with pytest.raises(DependencyError, match="recon3d weights fetch vggt-1b") as caught:
        choose_weights("vggt-1b")
    assert caught.value.exit_code == 5


def test_weights_that_should_have_come_with_recon3d_cannot_be_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "stored_weights", lambda name: None)
    with pytest.raises(DependencyError, match="install recon3d again"):
        choose_weights("recon3d-small")


def test_unknown_names_and_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such model"):
        choose_weights("dust3r")
    with pytest.raises(UsageError, match="no such file"):
        choose_weights("da3-small", tmp_path / "absent")


def test_the_key_follows_the_bytes(tmp_path: Path) -> None:
    path = written(tmp_path)
    before = choose_weights("da3-small", path).key()
    assert before == choose_weights("da3-small", path).key()
    path.write_bytes(path.read_bytes()[:-4] + b"abcd")
    assert choose_weights("da3-small", path).key() != before


def test_weights_that_are_not_numbers_are_refused(tmp_path: Path) -> None:
    state = DepthAnything3(DA3).state_dict()
    state["backbone.pretrained.cls_token"].fill_(torch.nan)
    path = tmp_path / "nan.safetensors"
    path.write_bytes(safetensors_bytes(state))
    with pytest.raises(FormatError, match="NaN"):
        load_network(choose_weights("da3-small", path))


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    path.write_bytes(safetensors_bytes({"a": torch.zeros(2)}))
    with pytest.raises(InputError, match="does not belong"):
        load_network(choose_weights("da3-small", path))


def test_code_in_a_file_is_refused_and_not_run(tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    path = tmp_path / "evil.pt"
    torch.save({"weight": _Evil(ran)}, path)
    with pytest.raises(FormatError, match="no file of tensors"):
        load_network(choose_weights("da3-small", path))
    assert not ran.exists()


class _Evil:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.target,)


def test_other_weights_of_a_network_are_known_by_their_own_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "stored_weights", {"vggt-1b-commercial": tmp_path / "a"}.get)
    chosen = choose_weights("vggt-1b-commercial")
    assert (chosen.model, chosen.path) == ("vggt-1b", tmp_path / "a")

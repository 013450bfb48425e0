"""Checks of weights that are here."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from recon3d.core.errors import DependencyError, InputError, UsageError
from recon3d.feedforward import bundled
from recon3d.feedforward.layers.attention import Attention
from recon3d.feedforward.lite3r import convert
from recon3d.feedforward.weights import fetch, verify
from recon3d.feedforward.weights.checking import check_fits
from recon3d.feedforward.weights.registry import CHECKPOINTS, Checkpoint
from recon3d.formats.safetensors import safetensors_bytes

from .conftest import HASTY, WEIGHTS, Site, network


@pytest.fixture
def path(site: Site, tiny: Checkpoint, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Fetched weights; none are bundled."""
    monkeypatch.setattr(bundled, "_FOLDER", folder)
    return fetch("tiny", options=HASTY).path


def test_right_weights_are_found_right_without_the_network(path: Path, site: Site) -> None:
    (found,) = verify()
    assert (found.name, found.path, found.problem, found.compared) == ("tiny", path, "", "recon3d")
    assert found.sha256 == hashlib.sha256(WEIGHTS).hexdigest()
    assert verify(["tiny"]) == [found]
    assert len(site.requests) == 1


@pytest.mark.parametrize("where", [3, 200, len(WEIGHTS) - 1])
def test_one_changed_bit_is_found(path: Path, where: int) -> None:
    data = bytearray(WEIGHTS)
    data[where] ^= 4
    path.write_bytes(data)
    (found,) = verify()
    assert "its SHA-256 is" in found.problem and "recon3d weights fetch tiny --again" in found.problem


def test_a_cut_file_is_found(path: Path) -> None:
    path.write_bytes(WEIGHTS[:-1])
    assert "its SHA-256 is" in verify()[0].problem


def test_a_damaged_record_is_a_problem_of_these_weights_alone(path: Path) -> None:
    path.with_suffix(".json").write_text("[]")
    (found,) = verify()
    assert "is no record of a fetch" in found.problem


def test_a_file_without_record_is_compared_with_what_recon3d_knows(path: Path) -> None:
    path.with_suffix(".json").unlink()
    assert verify()[0].compared == "recon3d"
    assert verify()[0].problem == ""


def test_a_checksum_of_the_first_fetch_is_named_as_such(
    path: Path, tiny: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(CHECKPOINTS, "tiny", replace(tiny, sha256=None))
    assert (verify()[0].compared, verify()[0].problem) == ("first fetch", "")
    path.write_bytes(b"x" + WEIGHTS[1:])
    assert "its SHA-256 is" in verify()[0].problem
    path.write_bytes(WEIGHTS)
    path.with_suffix(".json").unlink()
    assert (verify()[0].compared, verify()[0].problem) == ("nothing", "")


def test_weights_of_another_network_are_found(path: Path, tiny: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recon3d.feedforward.models.build_model", lambda _: torch.nn.Linear(2, 2))
    assert "does not belong to this Linear" in verify()[0].problem


def test_names_that_are_not_here_or_not_known(path: Path) -> None:
    with pytest.raises(DependencyError, match=r"da3-small is not here.*recon3d weights fetch da3-small"):
        verify(["tiny", "da3-small"])
    with pytest.raises(UsageError, match="no weights of this name are known; got: da3-tiny"):
        verify(["da3-tiny"])


def test_a_delta_must_be_what_lite3r_adds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def dense() -> torch.nn.Module:
        with torch.device("meta"):
            return torch.nn.Sequential(Attention(8, 2))

    monkeypatch.setattr("recon3d.feedforward.models.build_model", lambda _: dense())
    added = {
        name: torch.zeros(one.shape)
        for name, one in convert(dense()).state_dict().items()
        if "lin" in name or "lam" in name
    }
    path = tmp_path / "delta.safetensors"
    path.write_bytes(safetensors_bytes(added))
    check_fits("any", path, delta=True)
    with pytest.raises(InputError, match="missing"):
        check_fits("any", path)
    path.write_bytes(safetensors_bytes(added | {"other": torch.zeros(1)}))
    with pytest.raises(InputError, match="1 unknown: other"):
        check_fits("any", path, delta=True)
    path.write_bytes(safetensors_bytes({name: torch.zeros(2, 2) for name in added}))
    with pytest.raises(InputError, match="of another shape"):
        check_fits("any", path, delta=True)
    path.write_bytes(safetensors_bytes({}))
    with pytest.raises(InputError):
        check_fits("any", path, delta=True)


def test_bundled_weights_are_checked_as_well(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundled, "_FOLDER", tmp_path)
    monkeypatch.setattr("recon3d.feedforward.models.build_model", lambda _: network(2))
    (tmp_path / f"{bundled.NAME}.safetensors").write_bytes(WEIGHTS)
    (found,) = verify()
    assert (found.name, found.compared, found.problem) == (bundled.NAME, "nothing", "")

"""From an address or a file into the folder, and nothing into it that was not checked."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from recon3d.core.errors import DependencyError, FormatError, InputError, ResourceError, UsageError
from recon3d.feedforward import bundled
from recon3d.feedforward.checkpoints import load_checkpoint
from recon3d.feedforward.weights import fetch, stored_weights, verify
from recon3d.feedforward.weights.registry import CHECKPOINTS, Checkpoint
from recon3d.feedforward.weights.store import read_record
from recon3d.formats.safetensors import read_safetensors, safetensors_bytes

from .conftest import HASTY, WEIGHTS, Site, contents, network

SUM = hashlib.sha256(WEIGHTS).hexdigest()


def test_weights_come_from_their_public_address(site: Site, tiny: Checkpoint, folder: Path) -> None:
    found = fetch("tiny", options=HASTY)
    assert found.new and found.path == folder / "tiny.safetensors" == stored_weights("tiny")
    assert found.path.read_bytes() == WEIGHTS
    assert site.paths == ["/somebody/tiny/resolve/abc/model.safetensors"]
    record = read_record(found.path)
    assert record == found.record and record is not None
    assert (record.sha256, record.source_sha256, record.size, record.compared) == (SUM, SUM, len(WEIGHTS), True)
    assert record.source == tiny.url
    assert contents(folder) == {"tiny.safetensors", "tiny.json"}


def test_what_is_here_is_not_fetched_again_unless_asked(site: Site, tiny: Checkpoint, folder: Path) -> None:
    fetch("tiny", options=HASTY)
    assert not fetch("tiny", options=HASTY).new
    assert len(site.requests) == 1
    assert fetch("tiny", again=True, options=HASTY).new
    assert len(site.requests) == 2


def test_a_file_of_another_size_than_recorded_is_replaced(site: Site, tiny: Checkpoint, folder: Path) -> None:
    path = fetch("tiny", options=HASTY).path
    path.write_bytes(WEIGHTS[:-1])
    assert fetch("tiny", options=HASTY).new
    assert path.read_bytes() == WEIGHTS


def test_the_right_file_that_somebody_laid_there_is_taken(site: Site, tiny: Checkpoint, folder: Path) -> None:
    folder.mkdir()
    (folder / "tiny.safetensors").write_bytes(WEIGHTS)
    found = fetch("tiny", options=HASTY)
    assert not found.new and found.record is not None and found.record.compared
    assert site.requests == []


def test_a_wrong_file_that_somebody_laid_there_is_replaced(site: Site, tiny: Checkpoint, folder: Path) -> None:
    folder.mkdir()
    (folder / "tiny.safetensors").write_bytes(b"x" * len(WEIGHTS))
    assert fetch("tiny", options=HASTY).path.read_bytes() == WEIGHTS


def test_a_wrong_checksum_is_refused_and_nothing_stays(site: Site, tiny: Checkpoint, folder: Path) -> None:
    site.data = WEIGHTS[:-1] + bytes([WEIGHTS[-1] ^ 1])
    with pytest.raises(FormatError) as caught:
        fetch("tiny", options=HASTY)
    text = str(caught.value)
    assert "has not the checksum that recon3d knows" in text and SUM in text
    assert hashlib.sha256(site.data).hexdigest() in text and "fetch it again" in text
    assert caught.value.exit_code == 3
    assert contents(folder) == set()
    site.data = WEIGHTS
    assert fetch("tiny", options=HASTY).new


def test_a_stopped_fetch_goes_on_with_the_next_command(site: Site, tiny: Checkpoint, folder: Path) -> None:
    site.faults = [("cut", 5000), *[("cut", 0)] * HASTY.attempts]
    with pytest.raises(DependencyError):
        fetch("tiny", options=HASTY)
    assert contents(folder) == {"tiny.safetensors.part", "tiny.safetensors.part.json"}
    assert stored_weights("tiny") is None
    fetch("tiny", options=HASTY)
    assert site.requests[-1]["Range"] == "bytes=5000-"
    assert contents(folder) == {"tiny.safetensors", "tiny.json"}


def test_a_failed_replacement_leaves_the_old_file(site: Site, tiny: Checkpoint, folder: Path) -> None:
    path = fetch("tiny", options=HASTY).path
    site.data = b"x" * len(WEIGHTS)
    with pytest.raises(FormatError):
        fetch("tiny", again=True, options=HASTY)
    assert path.read_bytes() == WEIGHTS
    assert verify(["tiny"])[0].problem == ""


def test_a_mirror_must_have_the_same_file(site: Site, tiny: Checkpoint, folder: Path) -> None:
    assert fetch("tiny", source=site.url + "/mirror", options=HASTY).new
    site.data = WEIGHTS + b"."
    with pytest.raises(FormatError, match=f"has another file; got: {len(WEIGHTS) + 1} bytes"):
        fetch("tiny", source=site.url + "/mirror2", again=True, options=HASTY)


def test_a_file_is_copied_and_asks_no_network(
    site: Site, tiny: Checkpoint, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "model.safetensors"
    source.write_bytes(WEIGHTS)
    monkeypatch.chdir(tmp_path)
    found = fetch("tiny", source="model.safetensors")
    source.unlink()
    assert found.path.read_bytes() == WEIGHTS
    assert found.record is not None and found.record.source == str(source)
    assert site.requests == []


@pytest.mark.parametrize("source", ["nowhere.safetensors", "."])
def test_a_source_that_is_no_file_is_named(tiny: Checkpoint, folder: Path, source: str) -> None:
    with pytest.raises(InputError, match=r"is no file"):
        fetch("tiny", source=source)
    assert contents(folder) == set()


@pytest.mark.parametrize("source", ["http://example.com/x", "ftp://example.com/x", "file:///etc/hostname"])
def test_an_unsafe_source_is_refused_before_anything_is_made(tiny: Checkpoint, folder: Path, source: str) -> None:
    with pytest.raises(UsageError, match="over https only"):
        fetch("tiny", source=source)
    assert not folder.exists()


def test_unknown_names_are_answered_with_the_known_ones(folder: Path) -> None:
    with pytest.raises(UsageError, match=r"got: vggt-2b; expected: vggt-1b, vggt-1b-commercial, da3-small"):
        fetch("vggt-2b")


def test_another_folder_may_be_given(site: Site, tiny: Checkpoint, folder: Path, tmp_path: Path) -> None:
    assert fetch("tiny", folder=tmp_path / "usb", options=HASTY).path == tmp_path / "usb" / "tiny.safetensors"
    assert not folder.exists()
    assert stored_weights("tiny") is None and stored_weights("tiny", tmp_path / "usb") is not None


class Bomb:
    """Its pickle would write a file when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".bin"])
@pytest.mark.parametrize("zipped", [True, False])
def test_a_file_of_torch_save_is_converted_once(
    tiny: Checkpoint, folder: Path, tmp_path: Path, suffix: str, zipped: bool
) -> None:
    source = tmp_path / f"model{suffix}"
    torch.save({"model": network().state_dict(), "step": 3}, source, _use_new_zipfile_serialization=zipped)
    found = fetch("tiny", source=str(source))
    state = read_safetensors(found.path)
    assert all(torch.equal(state[name], one) for name, one in network().state_dict().items())
    record = found.record
    assert record is not None and not record.compared
    assert record.source_sha256 == hashlib.sha256(source.read_bytes()).hexdigest() != record.sha256
    assert contents(folder) == {"tiny.safetensors", "tiny.json"}
    assert verify(["tiny"])[0].problem == ""


def test_code_in_a_file_is_not_run(tiny: Checkpoint, folder: Path, tmp_path: Path) -> None:
    mark, source = tmp_path / "mark", tmp_path / "evil.pt"
    torch.save({"0.weight": Bomb(mark)}, source)
    with pytest.raises(FormatError, match="is no file of tensors"):
        fetch("tiny", source=str(source))
    assert not mark.exists()
    assert contents(folder) == set()


def test_a_pickle_that_calls_itself_safetensors_is_refused(tiny: Checkpoint, folder: Path, tmp_path: Path) -> None:
    source = tmp_path / "model.safetensors"
    torch.save(network().state_dict(), source)
    with pytest.raises(FormatError, match=r"is not a safetensors file; got: an archive of torch.save.*ends in \.pt"):
        fetch("tiny", source=str(source))
    torch.save(network().state_dict(), source, _use_new_zipfile_serialization=False)
    with pytest.raises(FormatError, match="got: a pickle, which could run code"):
        fetch("tiny", source=str(source))
    assert contents(folder) == set()


@pytest.mark.parametrize("name", ["model.safetensors", "model.pt"])
def test_a_web_page_is_recognised(site: Site, tiny: Checkpoint, folder: Path, name: str) -> None:
    site.data = b"<html>please log in</html>".ljust(len(WEIGHTS))
    with pytest.raises(FormatError, match="got: a web page"):
        fetch("tiny", source=f"{site.url}/{name}", options=HASTY)
    assert contents(folder) == set()


def test_weights_of_another_network_are_refused_with_the_names(
    tiny: Checkpoint, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = network().state_dict()
    state["2.weight"] = state.pop("1.bias")
    source = tmp_path / "other.safetensors"
    source.write_bytes(safetensors_bytes(state))
    monkeypatch.setitem(CHECKPOINTS, "tiny", replace(tiny, sha256=None, size=source.stat().st_size))
    with pytest.raises(
        InputError, match=r"does not belong to this Sequential.*1 missing: 1\.bias; 1 unknown: 2\.weight"
    ):
        fetch("tiny", source=str(source))
    assert contents(folder) == set()


def test_an_unknown_checksum_is_recorded_and_compared_from_then_on(
    site: Site, tiny: Checkpoint, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(CHECKPOINTS, "tiny", replace(tiny, sha256=None))
    first = fetch("tiny", options=HASTY)
    assert first.record is not None and not first.record.compared
    assert fetch("tiny", again=True, options=HASTY).new
    site.data = safetensors_bytes(network(5).state_dict())
    with pytest.raises(FormatError, match=r"has not the checksum of the first fetch \(in .*tiny\.json\)"):
        fetch("tiny", again=True, options=HASTY)
    first.path.with_suffix(".json").unlink()
    assert fetch("tiny", again=True, options=HASTY).path.read_bytes() == site.data


def test_two_processes_do_not_fetch_the_same(site: Site, tiny: Checkpoint, folder: Path) -> None:
    folder.mkdir()
    with (folder / ".tiny.safetensors.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(ResourceError, match=r"another process is fetching tiny\.safetensors"):
            fetch("tiny", options=HASTY)
    assert fetch("tiny", options=HASTY).new


def test_bundled_weights_need_no_fetch(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundled, "_FOLDER", tmp_path)
    path = tmp_path / f"{bundled.NAME}.safetensors"
    path.write_bytes(WEIGHTS)
    found = fetch(bundled.NAME)
    assert (found.new, found.path, found.record) == (False, path, None)
    assert not folder.exists()


def test_the_layout_of_the_published_any_view_files_loads(
    tiny: Checkpoint, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They start every name with ``model.``, and keep tensors that modules share once, under the first name."""
    state = {f"model.{name}": one for name, one in network().state_dict().items() if name != "1.bias"}
    source = tmp_path / "x.safetensors"
    source.write_bytes(safetensors_bytes(state, {"model.1.bias": "model.1.weight"}))
    monkeypatch.setitem(CHECKPOINTS, "tiny", replace(tiny, sha256=None, size=source.stat().st_size))
    model = network(3)
    load_checkpoint(model, fetch("tiny", source=str(source)).path)
    assert torch.equal(model[1].bias, model[1].weight)
    assert torch.equal(model[0].weight, network().state_dict()["0.weight"])


@pytest.mark.parametrize(("number", "kind"), [(errno.ENOSPC, ResourceError), (errno.EIO, InputError)])
def test_a_copy_that_fails_leaves_nothing(
    tiny: Checkpoint, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, kind: type[Exception]
) -> None:
    def broken(*_: object) -> None:
        raise OSError(number, "it broke")

    source = tmp_path / "model.safetensors"
    source.write_bytes(WEIGHTS)
    monkeypatch.setattr("recon3d.feedforward.weights.fetching.Meter.at", broken)
    with pytest.raises(kind, match="it broke"):
        fetch("tiny", source=str(source))
    assert contents(folder) == set()


def test_a_copy_replaces_the_part_of_a_download(site: Site, tiny: Checkpoint, folder: Path, tmp_path: Path) -> None:
    site.faults = [("cut", 5000), *[("cut", 0)] * HASTY.attempts]
    with pytest.raises(DependencyError):
        fetch("tiny", options=HASTY)
    source = tmp_path / "model.safetensors"
    source.write_bytes(WEIGHTS)
    assert fetch("tiny", source=str(source)).path.read_bytes() == WEIGHTS
    assert contents(folder) == {"tiny.safetensors", "tiny.json"}


def test_systems_without_locks_fetch_as_well(
    site: Site, tiny: Checkpoint, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "fcntl", None)
    folder.mkdir()
    assert fetch("tiny", options=HASTY).new

"""Where fetched weights lie, and what is remembered of them."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from recon3d.core.errors import FormatError
from recon3d.feedforward import bundled
from recon3d.feedforward.weights import list_weights, stored_weights, weights_folder
from recon3d.feedforward.weights.registry import CHECKPOINTS
from recon3d.feedforward.weights.store import Record, part_file, read_record, weights_file, write_record

RECORD = Record(
    sha256="a" * 64, size=5, source="https://x/y", source_sha256="b" * 64, compared=True, fetched="2026-01-01T00:00:00"
)


def test_the_folder_is_the_users_choice(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("RECON3D_WEIGHTS", raising=False)
    assert weights_folder() == tmp_path / ".cache" / "recon3d" / "weights"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert weights_folder() == tmp_path / ".cache" / "recon3d" / "weights"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert weights_folder() == tmp_path / "cache" / "recon3d" / "weights"
    monkeypatch.setenv("RECON3D_WEIGHTS", "~/w")
    assert weights_folder() == tmp_path / "w"


def test_a_record_comes_back(tmp_path: Path) -> None:
    path = weights_file("da3-small", tmp_path)
    assert read_record(path) is None
    write_record(path, RECORD)
    assert read_record(path) == RECORD
    assert [one.name for one in tmp_path.iterdir()] == ["da3-small.json"]


@given(
    st.one_of(
        st.binary(max_size=60),
        st.sampled_from(["[]", "{}", "3", "null", "[" * 3000]).map(str.encode),
        st.tuples(st.sampled_from(sorted(asdict(RECORD))), st.one_of(st.none(), st.floats(), st.lists(st.text()))).map(
            lambda change: json.dumps(asdict(RECORD) | {change[0]: change[1]}).encode()
        ),
    )
)
def test_a_damaged_record_is_named_and_never_believed(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "x.safetensors"
    path.with_suffix(".json").write_bytes(data)
    with pytest.raises(FormatError, match=r"x\.json is no record of a fetch.*delete it"):
        read_record(path)


def test_nothing_is_stored_at_first(tmp_path: Path) -> None:
    assert all(stored_weights(name, tmp_path) is None for name in CHECKPOINTS)
    assert stored_weights("no such network", tmp_path) is None


def test_weights_of_a_network_stand_in_for_each_other(tmp_path: Path) -> None:
    commercial = weights_file("vggt-1b-commercial", tmp_path)
    commercial.write_bytes(b"2")
    assert stored_weights("vggt-1b", tmp_path) == commercial
    original = weights_file("vggt-1b", tmp_path)
    original.write_bytes(b"1")
    assert stored_weights("vggt-1b", tmp_path) == original
    assert stored_weights("vggt-1b-commercial", tmp_path) == commercial
    commercial.unlink()
    assert stored_weights("vggt-1b-commercial", tmp_path) is None, "its licence is another one"


def test_a_name_cannot_leave_the_folder(tmp_path: Path) -> None:
    (tmp_path / "secret.safetensors").write_bytes(b"1")
    (tmp_path / "kept").mkdir()
    assert stored_weights("../secret", tmp_path / "kept") is None


def test_the_list_says_what_is_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundled, "_FOLDER", tmp_path)
    (tmp_path / f"{bundled.NAME}.safetensors").write_bytes(b"123")
    weights_file("da3-base", tmp_path).write_bytes(b"12345")
    part_file(weights_file("da3-small", tmp_path)).write_bytes(b"1234")
    found = {one.name: one for one in list_weights(tmp_path)}
    assert list(found) == [bundled.NAME, *CHECKPOINTS]
    assert (found[bundled.NAME].state, found[bundled.NAME].have) == ("bundled", 3)
    assert (found["da3-base"].state, found["da3-base"].size) == ("fetched", 5)
    assert (found["da3-small"].state, found["da3-small"].have) == ("partial", 4)
    assert found["da3-small"].size == CHECKPOINTS["da3-small"].size
    assert {one.state for name, one in found.items() if name not in ("da3-base", "da3-small", bundled.NAME)} == {
        "missing"
    }


def test_bundled_weights_that_an_installation_lacks_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundled, "_FOLDER", tmp_path)
    assert bundled.NAME not in {one.name for one in list_weights(tmp_path)}
    assert stored_weights(bundled.NAME, tmp_path) is None

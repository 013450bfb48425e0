"""`recon3d weights` as a user meets it."""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from recon3d.apps.cli.weights import _size, _table
from recon3d.feedforward import bundled
from recon3d.feedforward.weights.registry import CHECKPOINTS, Checkpoint
from recon3d.feedforward.weights.store import part_file, weights_file
from recon3d.formats.safetensors import safetensors_bytes

from .conftest import Outcome

Run = Callable[..., Outcome]


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of weights called tiny; nothing is bundled, the folder is empty, and there is no network."""
    made = nn.Linear(20, 30)
    data = safetensors_bytes(made.state_dict())
    (tmp_path / "model.safetensors").write_bytes(data)
    known = Checkpoint(
        model="tiny",
        repository="somebody/tiny",
        revision="abc",
        licence="Apache-2.0",
        size=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        note="for tests",
    )
    monkeypatch.setitem(CHECKPOINTS, "tiny", known)
    monkeypatch.setenv("RECON3D_WEIGHTS", str(tmp_path / "kept"))
    monkeypatch.setattr(bundled, "_FOLDER", tmp_path)
    monkeypatch.setattr("recon3d.feedforward.models.build_model", lambda _: nn.Linear(20, 30))

    def offline(*_: object, **__: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", offline)
    return tmp_path / "model.safetensors"


def test_the_list_has_one_line_per_file(recon3d: Run, source: Path, tmp_path: Path) -> None:
    for words in ((), ("list",)):
        outcome = recon3d("weights", *words)
        assert outcome.code == 0
        lines = outcome.out.splitlines()
        assert lines[0].split() == ["name", "state", "licence", "size"]
        assert [line.split()[0] for line in lines[1:-2]] == list(CHECKPOINTS)
        assert lines[-1] == f"fetched weights lie in {tmp_path / 'kept'}"
        assert max(map(len, lines)) <= 120


def test_the_list_shows_states_and_licences(recon3d: Run, source: Path) -> None:
    size = CHECKPOINTS["tiny"].size
    path = part_file(weights_file("tiny"))
    path.parent.mkdir()
    path.write_bytes(b"x" * (size // 2))
    assert recon3d("weights", "list", "tiny").out.splitlines()[1].split()[:4] == ["tiny", "50%", "here", "Apache-2.0"]
    (only,) = recon3d("weights", "list", "tiny", "--json").json["weights"]
    assert (only["state"], only["have"], only["size"]) == ("partial", size // 2, size)
    every = recon3d("weights", "--json").json["weights"]
    assert {one["name"]: one["licence"] for one in every}["vggt-1b"] == "CC BY-NC 4.0"
    assert all(one["page"].startswith("https://") for one in every)


def test_fetch_then_list_then_verify(recon3d: Run, source: Path, tmp_path: Path) -> None:
    outcome = recon3d("weights", "fetch", "tiny", "--from", source)
    known, kept = CHECKPOINTS["tiny"], tmp_path / "kept" / "tiny.safetensors"
    assert outcome.code == 0
    assert outcome.out == f"tiny is here: {kept} (0.0 MB, SHA-256 {known.sha256}, as known to recon3d)\n"
    assert "copying model.safetensors" in outcome.err
    assert recon3d("weights", "list", "tiny").out.splitlines()[1].split()[1] == "fetched"
    assert recon3d("weights", "fetch", "tiny").out.startswith("tiny is here already")
    assert recon3d("weights", "verify").out == "tiny: right (checksum of recon3d; names and shapes fit)\n"
    data = bytearray(kept.read_bytes())
    data[-1] ^= 1
    kept.write_bytes(data)
    wrong = recon3d("weights", "verify", "tiny")
    assert wrong.code == 7
    assert wrong.out.startswith("tiny: WRONG: its SHA-256 is")
    (verdict,) = recon3d("weights", "verify", "--json", "--quiet").json["weights"]
    assert verdict["compared"] == "recon3d" and verdict["problem"]
    assert recon3d("weights", "fetch", "tiny", "--again", "--from", source).code == 0
    assert recon3d("weights", "verify").code == 0


def test_a_converted_file_says_that_its_checksum_was_not_known(recon3d: Run, source: Path, tmp_path: Path) -> None:
    torch.save(nn.Linear(20, 30).state_dict(), tmp_path / "model.pt")
    outcome = recon3d("weights", "fetch", "tiny", "--from", tmp_path / "model.pt", "--json", "--quiet")
    assert outcome.err == ""
    (only,) = outcome.json["weights"]
    assert only["new"] and not only["record"]["compared"]
    assert "recorded for later" not in outcome.out
    assert recon3d("weights", "verify").out == "tiny: right (checksum of first fetch; names and shapes fit)\n"


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (("fetch",), 2, "no weights named"),
        (("fetch", "vggt-2b"), 2, "got: vggt-2b"),
        (("list", "vggt-2b"), 2, "got: vggt-2b"),
        (("verify", "vggt-2b"), 2, "got: vggt-2b"),
        (("verify", "tiny"), 5, "recon3d weights fetch tiny"),
        (("list", "--again"), 2, "belong to recon3d weights fetch"),
        (("verify", "--from", "x"), 2, "belong to recon3d weights fetch"),
        (("fetch", "tiny", "da3-small", "--from", "x"), 2, "of one file"),
        (("fetch", "tiny", "--from", "nowhere.safetensors"), 3, "is no file"),
        (("fetch", "tiny", "--from", "http://example.com/x"), 2, "over https only"),
        (("fetch", "tiny"), 5, "huggingface.co cannot be reached"),
        (("delete",), 2, ""),
    ],
)
def test_what_goes_wrong_has_its_exit_code(
    recon3d: Run, source: Path, words: tuple[str, ...], code: int, text: str
) -> None:
    outcome = recon3d("weights", *words)
    assert outcome.code == code
    assert text in outcome.err
    assert outcome.out == ""
    assert "Traceback" not in outcome.err


def test_nothing_here_is_nothing_wrong(recon3d: Run, source: Path, tmp_path: Path) -> None:
    assert recon3d("weights", "verify") == Outcome(0, f"no weights in {tmp_path / 'kept'}\n", "")
    assert recon3d("weights", "verify", "--to", tmp_path).out == f"no weights in {tmp_path}\n"


def test_bundled_weights_are_said_to_be_here(recon3d: Run, source: Path, tmp_path: Path) -> None:
    (tmp_path / f"{bundled.NAME}.safetensors").write_bytes(source.read_bytes())
    assert recon3d("weights", "fetch", bundled.NAME).out.startswith(f"{bundled.NAME} comes with recon3d: ")
    line = recon3d("weights", "list", bundled.NAME).out.splitlines()[1]
    assert line.split()[:2] == [bundled.NAME, "bundled"]
    assert recon3d("weights", "verify").out.startswith(f"{bundled.NAME}: right (there is no checksum")


def test_an_interrupted_fetch_says_that_it_resumes(recon3d: Run, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("recon3d.apps.cli.weights.fetch", interrupted)
    outcome = recon3d("weights", "fetch", "tiny")
    assert outcome.code == 130
    assert outcome.err == "recon3d: interrupted; resumable: run the same command again\n"


def test_columns_line_up() -> None:
    assert list(_table([("a", "bbb", ""), ("aaaa", "b", "x")])) == ["a     bbb", "aaaa  b    x"]
    assert [_size(n) for n in (5_026_367_224, 137_248_940, 4_000)] == ["5.03 GB", "137.2 MB", "0.0 MB"]

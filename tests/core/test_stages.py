"""Stages: what is built again, what is not, and what a kill or a damaged file leaves behind."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st

from recon3d.core.errors import ResourceError
from recon3d.core.stages import StageResult, StageStore, stage_key

INPUTS = {"photos": ["aa", "bb"], "seed": 0}


class Builder:
    """Counts its runs, writes two files, one of them in nested folders, and returns a value."""

    def __init__(self, value: Any = 7) -> None:
        self.value, self.runs = value, 0

    def __call__(self, folder: Path) -> Any:
        self.runs += 1
        (folder / "deep/er").mkdir(parents=True)
        (folder / "a.bin").write_bytes(b"first")
        (folder / "deep/er/b.bin").write_bytes(b"second")
        return self.value


@pytest.fixture
def store(tmp_path: Path) -> StageStore:
    return StageStore(tmp_path / "out" / "stages")


@pytest.fixture
def builder() -> Builder:
    return Builder()


@pytest.fixture
def made(store: StageStore, builder: Builder) -> StageResult:
    return store.run("stage", INPUTS, builder)


def test_first_run_builds(made: StageResult, store: StageStore, builder: Builder) -> None:
    assert (made.reused, made.value, builder.runs) == (False, 7, 1)
    assert made.folder == store.root / "stage"
    assert (made.folder / "deep/er/b.bin").read_bytes() == b"second"
    assert made.key == stage_key("stage", INPUTS)


def test_second_run_reuses_value_and_time(made: StageResult, store: StageStore, builder: Builder) -> None:
    again = StageStore(store.root).run("stage", dict(INPUTS), builder)
    assert (again.reused, again.value, again.key, builder.runs) == (True, 7, made.key, 1)
    assert again.seconds == made.seconds


@pytest.mark.parametrize(
    "inputs", [{**INPUTS, "seed": 1}, {**INPUTS, "more": None}, {"photos": ["bb", "aa"], "seed": 0}]
)
def test_other_inputs_build_again(
    made: StageResult, store: StageStore, builder: Builder, inputs: dict[str, Any]
) -> None:
    other = store.run("stage", inputs, builder)
    assert (other.reused, builder.runs) == (False, 2)
    assert other.key != made.key
    assert not store.run("stage", INPUTS, builder).reused  # the old result was replaced


def test_order_of_inputs_does_not_matter(made: StageResult, store: StageStore, builder: Builder) -> None:
    assert store.run("stage", dict(reversed(INPUTS.items())), builder).reused


def test_stages_of_other_names_stay_apart(made: StageResult, store: StageStore, builder: Builder) -> None:
    assert not store.run("other", INPUTS, builder).reused
    assert store.run("stage", INPUTS, builder).reused


def _change(path: Path) -> None:
    path.write_bytes(b"other!")


def _truncate(path: Path) -> None:
    os.truncate(path, 2)


def _replace_by_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("damage", [_change, _truncate, Path.unlink, _replace_by_folder])
@pytest.mark.parametrize("name", ["a.bin", "deep/er/b.bin"])
def test_damaged_files_build_again(
    made: StageResult, store: StageStore, builder: Builder, damage: Callable[[Path], None], name: str
) -> None:
    damage(made.folder / name)
    again = store.run("stage", INPUTS, builder)
    assert (again.reused, builder.runs) == (False, 2)
    assert (again.folder / "a.bin").read_bytes() == b"first"
    assert (again.folder / "deep/er/b.bin").read_bytes() == b"second"
    assert store.run("stage", INPUTS, builder).reused


def test_a_full_disk_leaves_nothing_of_the_stage(store: StageStore, builder: Builder) -> None:
    def fill(folder: Path) -> Any:
        builder(folder)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(ResourceError, match=r"cannot write .*stages/stage; got: No space left.*run the same command"):
        store.run("stage", INPUTS, fill)
    assert list(store.root.iterdir()) == []
    assert store.run("stage", INPUTS, builder).value == 7


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_what_fails_leaves_nothing_of_the_stage(store: StageStore, error: type[BaseException]) -> None:
    def fail(folder: Path) -> Any:
        (folder / "half").write_bytes(b"half")
        raise error

    with pytest.raises(error):
        store.run("stage", INPUTS, fail)
    assert list(store.root.iterdir()) == []


KEY = stage_key("stage", INPUTS)
DAMAGED = [
    b"",
    b"{",
    b"\xff\xfe",
    b"[1]",
    b"null",
    b"{}",
    json.dumps({"key": KEY}).encode(),
    json.dumps({"key": KEY, "value": 1, "seconds": 0.1, "files": None}).encode(),
    json.dumps({"key": KEY, "value": 1, "seconds": 0.1, "files": ["a.bin"]}).encode(),
    json.dumps({"key": KEY, "value": 1, "seconds": "long", "files": {}}).encode(),
    json.dumps({"key": KEY, "seconds": 0.1, "files": {}}).encode(),
    json.dumps({"key": KEY, "value": 1, "files": {}}).encode(),
    json.dumps({"key": 3, "value": 1, "seconds": 0.1, "files": {}}).encode(),
    b"[" * 100_000,
]


@pytest.mark.parametrize("text", DAMAGED, ids=range(len(DAMAGED)))
def test_damaged_manifest_builds_again(made: StageResult, store: StageStore, builder: Builder, text: bytes) -> None:
    (made.folder / "done.json").write_bytes(text)
    again = store.run("stage", INPUTS, builder)
    assert (again.reused, again.value, builder.runs) == (False, 7, 2)


def test_absent_manifest_builds_again(made: StageResult, store: StageStore, builder: Builder) -> None:
    (made.folder / "done.json").unlink()
    assert not store.run("stage", INPUTS, builder).reused


def test_rebuilding_leaves_nothing_of_the_old_result(made: StageResult, store: StageStore, builder: Builder) -> None:
    (made.folder / "stray.bin").write_bytes(b"x")
    again = store.rerun("stage", INPUTS, builder)
    assert (again.reused, builder.runs) == (False, 2)
    assert not (again.folder / "stray.bin").exists()


def test_failed_build_leaves_no_valid_stage(made: StageResult, store: StageStore, builder: Builder) -> None:
    def fail(folder: Path) -> Any:
        (folder / "half.bin").write_bytes(b"half")
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        store.run("stage", {"other": 1}, fail)
    again = store.run("stage", {"other": 1}, builder)
    assert (again.reused, builder.runs) == (False, 2)
    assert not (again.folder / "half.bin").exists()
    assert [path.name for path in store.root.iterdir()] == ["stage"]


def test_leftovers_of_a_kill_are_removed(store: StageStore, builder: Builder) -> None:
    partial, other = store.root / ".stage.123.partial", store.root / ".stage-rich.123.partial"
    for folder in (partial, other):
        folder.mkdir(parents=True)
    (partial / "half.bin").write_bytes(b"half")
    made = store.run("stage", INPUTS, builder)
    assert not partial.exists()
    assert other.exists()  # of another stage
    assert not (made.folder / "half.bin").exists()


_KILLED = """
import sys, time
from pathlib import Path
from recon3d.core.stages import StageStore

def build(folder):
    (folder / "half.bin").write_bytes(b"half")
    print("building", flush=True)
    time.sleep(60)

StageStore(Path(sys.argv[1])).run("stage", {"photos": ["aa", "bb"], "seed": 0}, build)
"""


def test_killed_build_is_no_result(store: StageStore, builder: Builder, repository: Path) -> None:
    command = [sys.executable, "-c", _KILLED, str(store.root)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=repository)
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"building\n"
        process.send_signal(signal.SIGKILL)
    assert not (store.root / "stage").exists()
    made = store.run("stage", INPUTS, builder)
    assert (made.reused, builder.runs) == (False, 1)
    assert not (made.folder / "half.bin").exists()


def test_value_is_the_same_built_and_reused(store: StageStore) -> None:
    value = {"tuple": (1, 2.5), "none": None, "text": "é\u2028", "also": {"b": 1, "a": 2}}
    first = store.run("stage", {}, lambda _: value)
    again = store.run("stage", {}, lambda _: pytest.fail("built twice"))
    assert first.value == again.value == {**value, "tuple": [1, 2.5]}
    assert list(first.value) == list(again.value) and list(first.value["also"]) == list(again.value["also"])


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1, 2}, Path("x")])
def test_values_that_are_not_json_are_refused_before_they_are_kept(store: StageStore, value: Any) -> None:
    with pytest.raises((ValueError, TypeError)):
        store.run("stage", {}, lambda _: value)
    assert not (store.root / "stage").exists()


def test_inputs_that_are_not_json_are_refused(store: StageStore) -> None:
    with pytest.raises(ValueError, match="JSON"):
        store.run("stage", {"x": float("nan")}, lambda _: 1)


def test_seconds_are_those_of_the_build(store: StageStore) -> None:
    made = store.run("stage", {}, lambda _: time.sleep(0.05))
    assert 0.05 <= made.seconds < 30.0


def test_orphans_of_a_killed_run_cannot_write_into_a_new_one(store: StageStore) -> None:
    """A worker that outlived its run writes on into the folder that it was given."""
    given: list[str] = []
    program = "from pathlib import Path; from recon3d.core.stages import StageStore; import sys; "
    program += (
        "StageStore(Path(sys.argv[1])).run('stage', {}, lambda folder: print(folder) or sys.stdout.flush() or 1/0)"
    )
    for _ in range(2):
        done = subprocess.run([sys.executable, "-c", program, str(store.root)], capture_output=True, text=True)
        given.append(done.stdout)
    assert given[0].startswith(str(store.root)) and given[0] != given[1]


def test_nothing_is_created_before_the_first_stage(tmp_path: Path) -> None:
    StageStore(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_moved_output_folder_stays_valid(made: StageResult, store: StageStore, builder: Builder) -> None:
    moved = store.root.rename(store.root.with_name("moved"))
    assert StageStore(moved).run("stage", INPUTS, builder).reused


@given(st.dictionaries(st.text(max_size=4), st.integers() | st.text(max_size=4) | st.none(), max_size=4))
def test_key_depends_on_content_alone(inputs: dict[str, Any]) -> None:
    assert stage_key("a", inputs) == stage_key("a", dict(sorted(inputs.items(), reverse=True)))
    assert stage_key("a", inputs) != stage_key("b", inputs)
    assert stage_key("a", inputs) != stage_key("a", {**inputs, "longer": 1})

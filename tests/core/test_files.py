"""Atomic writes, capped reads and hashes."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st

from recon3d.core.errors import FormatError, InputError, ResourceError
from recon3d.core.files import (
    atomic_path,
    disk_errors,
    read_capped,
    remove_leftovers,
    sha256_file,
    write_bytes,
    write_json,
    write_text,
)


def test_bytes_arrive_in_new_folders_readable_by_others(tmp_path: Path) -> None:
    write_bytes(tmp_path / "a/b/c.bin", b"\x00\xff")
    assert (tmp_path / "a/b/c.bin").read_bytes() == b"\x00\xff"
    assert stat.S_IMODE((tmp_path / "a/b/c.bin").stat().st_mode) == 0o644
    assert [path.name for path in (tmp_path / "a/b").iterdir()] == ["c.bin"]


def test_failure_keeps_the_old_file_and_leaves_no_other(tmp_path: Path) -> None:
    path = tmp_path / "kept.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError), atomic_path(path) as temporary:
        temporary.write_text("half")
        assert temporary.parent == path.parent
        assert path.read_text() == "old"
        raise RuntimeError("in between")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EROFS])
def test_full_disk_is_a_resource_error(tmp_path: Path, code: int) -> None:
    with pytest.raises(ResourceError, match=r"cannot write .*kept"), atomic_path(tmp_path / "kept"):
        raise OSError(code, os.strerror(code))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits on file sizes")
def test_a_file_that_the_system_calls_too_large_is_a_resource_error(tmp_path: Path) -> None:
    code = (
        "import resource, sys; from pathlib import Path; from recon3d.core.files import write_bytes\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "write_bytes(Path(sys.argv[1]), bytes(2000))\n"
    )
    words = [sys.executable, "-c", code, str(tmp_path / "big")]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert "ResourceError: cannot write" in done.stderr and "run the same command again" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_disk_errors_name_the_file_and_leave_others_alone(tmp_path: Path) -> None:
    with (
        pytest.raises(ResourceError, match=r"cannot write .*folder; got: No space left"),
        disk_errors(tmp_path / "folder"),
    ):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with pytest.raises(FileNotFoundError), disk_errors(tmp_path):
        raise FileNotFoundError(errno.ENOENT, "none")


def test_other_system_errors_stay_what_they_are(tmp_path: Path) -> None:
    with pytest.raises(PermissionError), atomic_path(tmp_path / "x"):
        raise PermissionError(errno.EACCES, "no")


def test_text_has_unix_line_ends(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "é\nb\n")
    assert (tmp_path / "a.txt").read_bytes() == b"\xc3\xa9\nb\n"


@given(st.dictionaries(st.text(max_size=3), st.integers() | st.text(max_size=3) | st.none(), max_size=4))
def test_json_round_trip_does_not_depend_on_order(tmp_path_factory: pytest.TempPathFactory, value: Any) -> None:
    folder = tmp_path_factory.mktemp("json")
    write_json(folder / "a.json", value)
    write_json(folder / "b.json", dict(reversed(value.items())))
    assert json.loads((folder / "a.json").read_text(encoding="utf-8")) == value
    assert (folder / "a.json").read_bytes() == (folder / "b.json").read_bytes()


@pytest.mark.parametrize("value", [float("nan"), {"a": float("inf")}])
def test_json_without_infinities(tmp_path: Path, value: Any) -> None:
    with pytest.raises(ValueError):
        write_json(tmp_path / "a.json", value)
    assert list(tmp_path.iterdir()) == []


def test_reading_stops_at_the_cap(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"12345")
    assert read_capped(path, 5) == b"12345"
    with pytest.raises(FormatError, match="too large; got: more than 4 bytes"):
        read_capped(path, 4)
    assert read_capped(path, 1 << 60) == b"12345"  # allocates what is there, not what is allowed


def test_files_without_a_size_are_capped_too() -> None:
    with pytest.raises(FormatError):
        read_capped(Path("/dev/zero"), 0)


@pytest.mark.parametrize("name", ["absent", "."])
def test_unreadable_files_are_input_errors(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="cannot read"):
        read_capped(tmp_path / name, 10)
    with pytest.raises(InputError, match="cannot read"):
        sha256_file(tmp_path / name)


@pytest.mark.parametrize("n", [0, 1, 1 << 20, (1 << 20) + 1])
def test_hash_is_that_of_the_bytes(tmp_path: Path, n: int) -> None:
    data = bytes(range(256)) * (n // 256 + 1)
    (tmp_path / "a").write_bytes(data[:n])
    assert sha256_file(tmp_path / "a") == hashlib.sha256(data[:n]).hexdigest()


def test_only_leftovers_are_removed(tmp_path: Path) -> None:
    kept = [tmp_path / "a.tmp", tmp_path / ".hidden", tmp_path / "deep/b.txt"]
    left = [tmp_path / ".a.txt.x1.tmp", tmp_path / "deep/.b.txt.x2.tmp"]
    (tmp_path / ".folder.tmp").mkdir()
    for path in (*kept, *left):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x")
    remove_leftovers(tmp_path)
    assert all(path.exists() for path in kept)
    assert not any(path.exists() for path in left)


def test_leftovers_of_a_folder_that_is_not_there(tmp_path: Path) -> None:
    remove_leftovers(tmp_path / "absent")

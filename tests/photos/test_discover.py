"""Which files a source names, with every kind of name and link."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from recon3d.core.errors import InputError
from recon3d.photos.discover import discover

posix_only = pytest.mark.skipif(sys.platform == "win32", reason="names and links of POSIX systems")


def _touch(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def _keys(source: object, *exclude: Path) -> list[str]:
    return list(discover(source, exclude).photos)  # type: ignore[arg-type]


def test_folders_are_searched_and_keys_sorted(tmp_path: Path) -> None:
    _touch(tmp_path, "b.jpg", "a/z.PNG", "a/b/c.tiff", "clip.MP4", "B.jpeg")
    found = discover(tmp_path, ())
    assert list(found.photos) == ["B.jpeg", "a/b/c.tiff", "a/z.PNG", "b.jpg"]
    assert list(found.videos) == ["clip.MP4"]
    assert found.photos["a/z.PNG"] == tmp_path / "a" / "z.PNG"
    assert found.root == tmp_path and found.rejected == []


def test_hidden_masks_results_and_excluded_are_left_out(tmp_path: Path) -> None:
    _touch(tmp_path, "a.jpg", ".b.jpg", ".cache/c.jpg", "masks/a.png", "Mask/a.png", "__MACOSX/a.jpg", "work/t.jpg")
    _touch(tmp_path, "out/scene.json", "out/images/a.jpg", "Thumbs.db", "transforms.json", "sparse/0/cameras.bin")
    found = discover(tmp_path, [tmp_path / "work"])
    assert list(found.photos) == ["a.jpg"] and found.rejected == []
    assert _keys(tmp_path, tmp_path / "work", tmp_path / "a.jpg") == []


def test_other_files_are_named_with_the_reason(tmp_path: Path) -> None:
    _touch(tmp_path, "notes.txt", "shot.NEF", "README", "a.jpg")
    (tmp_path / "empty.jpg").mkdir()
    _touch(tmp_path, "album.jpg/inside.jpg")
    found = discover(tmp_path, ())
    assert list(found.photos) == ["a.jpg", "album.jpg/inside.jpg"]
    reasons = {item.key: item.reason for item in found.rejected}
    assert set(reasons) == {"notes.txt", "shot.NEF", "README", "empty.jpg"}
    assert "folder" in reasons["empty.jpg"] and "raw photo" in reasons["shot.NEF"]
    assert "no extension" in reasons["README"] and "(.txt)" in reasons["notes.txt"]


@posix_only
def test_links_and_loops(tmp_path: Path) -> None:
    _touch(tmp_path, "photos/a.jpg", "elsewhere/b.jpg")
    (tmp_path / "photos" / "loop").symlink_to(tmp_path / "photos")
    (tmp_path / "photos" / "more").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "photos" / "gone.jpg").symlink_to(tmp_path / "nothing.jpg")
    (tmp_path / "photos" / "self.jpg").symlink_to(tmp_path / "photos" / "self.jpg")
    found = discover(tmp_path / "photos", ())
    assert list(found.photos) == ["a.jpg", "more/b.jpg"]
    assert [item.key for item in found.rejected] == ["gone.jpg", "self.jpg"]
    assert all("cannot be read" in item.reason for item in found.rejected)


@posix_only
def test_a_pipe_is_reported_and_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.jpg")
    (item,) = discover(tmp_path, ()).rejected
    assert item.reason == "is not a regular file"


@posix_only
def test_any_name_has_a_printable_unique_key(tmp_path: Path) -> None:
    names = ["a b.jpg", "ä.jpg", "照片.jpg", "line\nbreak.jpg", "-rf.jpg", "quote'\".jpg", "back\\slash.jpg"]
    _touch(tmp_path, *names)
    raw = [os.path.join(os.fsencode(tmp_path), name) for name in (b"\xff.jpg", b"\xfe.jpg")]
    for path in raw:
        with open(path, "wb") as file:
            file.write(b"x")
    keys = _keys(tmp_path)
    assert set(names) < set(keys) and len(keys) == len(names) + 2
    assert all(key.encode("utf-8") for key in keys)


def test_single_files_lists_and_patterns(tmp_path: Path) -> None:
    _touch(tmp_path, "a/1.jpg", "a/2.jpg", "b/1.jpg", "b/3.png", "b/clip.mov")
    assert _keys(tmp_path / "a" / "1.jpg") == ["1.jpg"]
    assert _keys([tmp_path / "b" / "1.jpg", str(tmp_path / "a" / "1.jpg")]) == ["a/1.jpg", "b/1.jpg"]
    assert _keys([tmp_path / "a" / "1.jpg", tmp_path / "a" / "1.jpg"]) == ["1.jpg"]
    assert _keys([tmp_path / "a", tmp_path / "b" / "3.png"]) == ["a/1.jpg", "a/2.jpg", "b/3.png"]
    assert _keys(str(tmp_path / "*" / "1.*")) == ["a/1.jpg", "b/1.jpg"]
    assert _keys(str(tmp_path / "**" / "*.jpg")) == ["a/1.jpg", "a/2.jpg", "b/1.jpg"]
    assert list(discover(tmp_path / "b" / "clip.mov", ()).videos) == ["clip.mov"]


def test_relative_patterns_and_names_with_brackets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _touch(tmp_path, "set[1]/a.jpg", "b.jpg")
    monkeypatch.chdir(tmp_path)
    assert _keys("*.jpg") == ["b.jpg"]
    assert _keys("set[1]") == ["a.jpg"]


def test_a_missing_file_in_a_list_is_one_reported_file(tmp_path: Path) -> None:
    _touch(tmp_path, "a.jpg")
    found = discover([tmp_path / "a.jpg", tmp_path / "none.jpg"], ())
    assert list(found.photos) == ["a.jpg"]
    assert [(item.key, "No such file" in item.reason) for item in found.rejected] == [("none.jpg", True)]


def test_missing_sources_are_input_errors(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        discover(tmp_path / "none", ())
    with pytest.raises(InputError, match="no file matches"):
        discover(str(tmp_path / "*.jpg"), ())
    with pytest.raises(InputError, match="list of photos is empty"):
        discover([], ())


def test_globs_leave_out_what_folders_do(tmp_path: Path) -> None:
    _touch(tmp_path, "a.jpg", "sub/b.jpg", "masks/a.jpg", "out/scene.json", "out/images/a_jpg.jpg", "work/t.jpg")
    assert _keys(str(tmp_path / "**" / "*.jpg"), tmp_path / "work") == ["a.jpg", "sub/b.jpg"]
    assert _keys(str(tmp_path / "out" / "images" / "*.jpg")) == ["a_jpg.jpg"]  # asked for by name

"""What the pipeline says in words: crops, names of captures, versions, and the files that it clears away."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from recon3d.photos import Photo
from recon3d.pipeline import capture_name, crop_notes, versions
from recon3d.pipeline_output import EXPORT_FOLDERS, remove_exports
from recon3d.sfm.engine import CameraSearch
from recon3d.sfm.verify import Verdict

SEARCH = CameraSearch(
    verdict=Verdict(None, False, (), (), (), (), {}),
    model=None,
    description={"cropped_groups": []},
    features=(),
    pairs=(),
    tried=(),
    failed={},
    lost=(),
    group=(0, 0, 1, 2, 2, 2, 2),
    key="key",
    seconds={},
    rich=False,
)
PHOTOS = [Photo(f"{name}.jpg", Path(f"{name}.jpg"), 640, 480, "") for name in "abcdefg"]


def test_no_crop_no_note() -> None:
    assert crop_notes(SEARCH, PHOTOS) == []


def test_a_crop_is_named() -> None:
    (note,) = crop_notes(replace(SEARCH, description={"cropped_groups": [1]}), PHOTOS)
    assert note == "cropped off the centre: c.jpg; a principal point of their own was found for them"


def test_many_crops_are_counted() -> None:
    (note,) = crop_notes(replace(SEARCH, description={"cropped_groups": [1, 2]}), PHOTOS)
    assert note.startswith("cropped off the centre: c.jpg, d.jpg, e.jpg and 2 more;")


@pytest.mark.parametrize(
    ("root", "name"),
    [
        ("/data/church", "church"),
        ("/data/church/images", "church/images"),
        ("/data/church/Photos", "church/Photos"),
        ("/images", "images"),
        ("/", "capture"),
    ],
)
def test_captures_have_a_name_that_tells_them_apart(root: str, name: str) -> None:
    assert capture_name(Path(root)) == name


def test_versions_name_what_computes_the_result() -> None:
    found = versions()
    assert {"python", "numpy", "scipy", "pycolmap", "pillow", "torch", "numba"} <= set(found)
    assert all(text[0].isdigit() for text in found.values())


def test_exports_of_an_earlier_run_go_and_nothing_else(tmp_path: Path) -> None:
    for name in ("scene.json", "transforms.json", "trajectory.tum", "points.ply", "report.html", "notes.txt"):
        (tmp_path / name).write_text("x")
    for name in (*EXPORT_FOLDERS, ".recon3d"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text("x")
    remove_exports(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".recon3d", "notes.txt", "report.html"]


def test_nothing_to_clear_is_no_error(tmp_path: Path) -> None:
    remove_exports(tmp_path)
    assert list(tmp_path.iterdir()) == []

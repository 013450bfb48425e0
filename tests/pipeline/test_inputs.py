"""Sources and output folders: what is refused at once, and what is reported and left out."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from recon3d.core.errors import InputError, UsageError
from recon3d.pipeline import ReconstructOptions, reconstruct
from recon3d.pipeline_output import check_out, default_out

from .conftest import Run


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of photos and a video in the current folder."""
    (tmp_path / "photos/deep").mkdir(parents=True)
    for name in ("photos/a.jpg", "photos/b.jpg", "photos/deep/c.jpg", "clip.mp4"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "odd[1]").mkdir()
    (tmp_path / "v1.2").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("photos", "photos_recon3d"),
        ("photos/", "photos_recon3d"),
        ("./photos/../photos", "photos_recon3d"),
        ("photos/deep/..", "photos_recon3d"),
        (Path("photos"), "photos_recon3d"),
        ("~/photos", "photos_recon3d"),
        ("v1.2", "v1.2_recon3d"),
        ("odd[1]", "odd[1]_recon3d"),
        ("photos/*.jpg", "photos_recon3d"),
        ("photos/**/*.jpg", "photos_recon3d"),
        ("photos/*/c.jpg", "photos_recon3d"),
        ("photos/a.jpg", "photos/a_recon3d"),
        ("clip.mp4", "clip_recon3d"),
        (["photos/a.jpg", "photos/b.jpg"], "photos_recon3d"),
        (["photos/a.jpg"], "photos_recon3d"),
        (["photos", "odd[1]"], "photos_recon3d"),
        ("absent", "absent_recon3d"),
    ],
)
def test_default_output_folder(places: Path, source: str | Path | list[str], name: str) -> None:
    assert default_out(source) == places / name


def test_default_output_folder_of_the_current_folder(places: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(places / "photos")
    assert default_out(".") == default_out("*.jpg") == places / "photos_recon3d"
    assert default_out("..") == places.parent / f"{places.name}_recon3d"


@pytest.mark.parametrize(
    ("source", "out"),
    [
        ("photos", "photos"),
        ("photos", "."),
        ("photos/*.jpg", "photos"),
        ("photos/**/c.jpg", "photos"),
        ("clip.mp4", "."),
        (["photos/a.jpg", "photos/deep/c.jpg"], "photos/deep"),
    ],
)
def test_output_folder_around_the_photos_is_refused(places: Path, source: str | list[str], out: str) -> None:
    """The images/ of a COLMAP project would be emptied."""
    with pytest.raises(UsageError, match="the photos lie inside the output folder"):
        reconstruct(source, out=out, quiet=True)
    assert not (places / out / ".recon3d").exists()


@pytest.mark.parametrize("name", ["images", "colmap", "colmap_distorted"])
def test_output_folder_with_files_of_the_user_is_refused(places: Path, name: str) -> None:
    (places / "project" / name).mkdir(parents=True)
    (places / "project" / name / "mine.jpg").write_bytes(b"precious")
    with pytest.raises(UsageError, match=f"holds {name}, which recon3d did not write"):
        reconstruct("photos", out="project", quiet=True)
    assert (places / "project" / name / "mine.jpg").read_bytes() == b"precious"


@pytest.mark.parametrize("mark", [".recon3d", "scene.json"])
def test_output_folder_of_an_earlier_run_is_taken(places: Path, mark: str) -> None:
    (places / "out/images").mkdir(parents=True)
    (places / "out" / mark).mkdir()
    check_out(places / "out", "photos")


def test_output_folder_inside_the_photos_is_taken(places: Path) -> None:
    check_out(places / "photos/out", "photos")


def test_a_file_as_output_folder_is_wrong_usage(places: Path) -> None:
    with pytest.raises(UsageError, match="the output folder is a file"):
        reconstruct("photos", out="clip.mp4", quiet=True)


def test_an_output_folder_inside_a_file_is_wrong_usage(places: Path) -> None:
    with pytest.raises(UsageError, match=r"the output folder would lie inside a file; got: .*clip.mp4;.*--out"):
        reconstruct("photos", out="clip.mp4/deep/out", quiet=True)


@pytest.mark.parametrize("locked", ["new", "old", "old/.recon3d"])
def test_an_output_folder_that_cannot_be_written_is_refused_at_once(
    places: Path, monkeypatch: pytest.MonkeyPatch, locked: str
) -> None:
    """Also for root on a read-only disk: the system is asked, not the bits of the folder."""
    (places / "old/.recon3d").mkdir(parents=True)
    closed = places if locked == "new" else places / locked
    real = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != closed and real(path, mode))
    with pytest.raises(UsageError, match=rf"cannot be written; got: {closed};.*choose another --out"):
        reconstruct("photos", out=locked.split("/")[0], quiet=True)
    assert not (places / "new").exists()


def test_unknown_options_are_wrong_usage(places: Path) -> None:
    with pytest.raises(UsageError) as caught:
        reconstruct("photos", quite=True, thread=3)
    assert "got: quite, thread; expected: photos, sfm, scale, engine" in str(caught.value)


@pytest.mark.parametrize("options", [{"max_memory": "lots"}, {"max_time": "-3"}, {"threads": 0}])
def test_unreadable_budgets_are_wrong_usage(places: Path, options: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        reconstruct("photos", quiet=True, **options)
    assert not (places / "photos_recon3d").exists()


def test_overrides_replace_single_fields(places: Path) -> None:
    with pytest.raises(UsageError, match="a duration"):
        reconstruct("photos", ReconstructOptions(max_time="nonsense"), quiet=True)


@pytest.mark.parametrize("source", ["absent", "*.png", []])
def test_missing_sources_are_input_errors_and_leave_nothing(places: Path, source: str | list[str]) -> None:
    before = sorted(places.rglob("*"))
    with pytest.raises(InputError):
        reconstruct(source, out="new", quiet=True)
    assert sorted(places.rglob("*")) == before


def test_one_photo_is_too_few(capture: Path, tmp_path: Path) -> None:
    photo = sorted(capture.iterdir())[0]
    with pytest.raises(InputError, match="at least two different photos are needed; got: 1 usable of 1 files"):
        reconstruct([photo], out=tmp_path / "out", quiet=True)


def test_copies_of_one_photo_are_too_few(capture: Path, tmp_path: Path) -> None:
    photo = sorted(capture.iterdir())[0]
    (tmp_path / "photos").mkdir()
    for name in ("a.jpg", "b.jpg"):
        shutil.copy(photo, tmp_path / "photos" / name)
    with pytest.raises(InputError, match="got: 1 usable of 2 files"):
        reconstruct(tmp_path / "photos", out=tmp_path / "out", quiet=True)


def test_broken_files_are_named_and_duplicates_share_a_pose(copy: Run, no_search: None) -> None:
    """Neither touches the cameras: no search is started again."""
    names = sorted(path.name for path in copy.photos.iterdir())
    (copy.photos / "empty.jpg").write_bytes(b"")
    (copy.photos / "half.jpg").write_bytes((copy.photos / names[0]).read_bytes()[:3000])
    (copy.photos / "notes.txt").write_text("hello")
    shutil.copy(copy.photos / names[1], copy.photos / "z_copy.jpg")
    with Image.open(copy.photos / names[2]) as image:
        image.save(copy.photos / "a_weak.jpg", quality=60)
    scene = copy.again()
    views = {view.key: view for view in scene.views}
    assert len(views) == len(names) + 5
    for name in ("empty.jpg", "half.jpg", "notes.txt"):
        assert views[name].status == "skipped" and views[name].reason
    for name, twin in (("z_copy.jpg", names[1]), ("a_weak.jpg", names[2])):
        assert views[name].status == "registered"
        assert views[name].reason == f"duplicate of {twin}, shares its pose"
        row, other = scene.camera_index(name), scene.camera_index(twin)
        for field in ("cam_from_world", "K", "distortion"):
            values = getattr(scene.cameras, field)
            np.testing.assert_array_equal(values[row], values[other])
        assert not (scene.points.obs_view == row).any()
        assert (copy.out / "images" / f"{Path(name).stem}_jpg.jpg").exists()
    report = (copy.out / "report.html").read_text()
    assert all(name in report for name in ("empty.jpg", "half.jpg", "notes.txt", "z_copy.jpg"))

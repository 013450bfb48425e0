"""Real photo sets: every usable photo comes in, and only what is broken, blurred or doubled is remarked on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recon3d.core.workers import WorkerOptions
from recon3d.photos import PhotoOptions, PhotoSet, load_photos, read_upright
from recon3d.photos.video import select_frames

pytestmark = pytest.mark.dataset
WORKERS = WorkerOptions(n_workers=2, max_memory_bytes=1 << 30, timeout_s=60.0)


@pytest.fixture(scope="module")
def truth(datasets: Path) -> dict[Path, list[dict[str, Any]]]:
    """Ground truth of every set, by its folder."""
    sets = {
        path.parents[1]: json.loads(path.read_text(encoding="utf-8"))["images"]
        for path in sorted(datasets.glob("photos/*/gt/cameras.json"))
    }
    if not sets:
        pytest.skip(f"no photo sets in {datasets}")
    return sets


@pytest.fixture(scope="module")
def loaded(truth: dict[Path, Any], tmp_path_factory: pytest.TempPathFactory) -> dict[Path, PhotoSet]:
    work = tmp_path_factory.mktemp("work")
    return {folder: load_photos(folder / "images", PhotoOptions(), work / folder.name, WORKERS) for folder in truth}


def test_every_photo_is_usable_at_its_true_upright_size(
    truth: dict[Path, list[dict[str, Any]]], loaded: dict[Path, PhotoSet]
) -> None:
    for folder, images in truth.items():
        sizes = {photo.key: (photo.width, photo.height) for photo in loaded[folder].photos}
        assert sizes == {image["name"]: (image["width"], image["height"]) for image in images}
        assert loaded[folder].rejected == ()


def test_only_blurred_photos_are_remarked(
    truth: dict[Path, list[dict[str, Any]]], loaded: dict[Path, PhotoSet]
) -> None:
    for folder, images in truth.items():
        expected = {image["name"] for image in images if "blur" in str(image.get("kind", ""))}
        assert {photo.key for photo in loaded[folder].photos if photo.remark == "blurred"} == expected, folder.name


def test_only_copies_are_duplicates(truth: dict[Path, list[dict[str, Any]]], loaded: dict[Path, PhotoSet]) -> None:
    """A copy has the pose of another photo, and is no other alteration such as blur."""
    for folder, images in truth.items():
        expected = {image["name"] for image in images if "duplicate" in str(image.get("kind", ""))}
        found = {photo.key: photo.duplicate_of for photo in loaded[folder].photos if photo.duplicate_of}
        assert set(found) == expected, folder.name
        pose = {image["name"]: image["w2c"] for image in images}
        assert all(pose[copy] == pose[kept] for copy, kept in found.items())


def test_exif_focal_is_near_the_truth(truth: dict[Path, list[dict[str, Any]]], loaded: dict[Path, PhotoSet]) -> None:
    """To 8 %: a starting value; the tag is an integer, and lenses shorten when they focus near."""
    for folder, images in truth.items():
        for photo, image in zip(loaded[folder].photos, sorted(images, key=lambda item: item["name"]), strict=True):
            if photo.focal_px is not None and image["K"] is not None:
                assert photo.focal_px == pytest.approx(image["K"][0][0], rel=0.08), (folder.name, photo.key)


def test_broken_files_are_each_named_and_the_rest_goes_on(truth: dict[Path, Any], tmp_path: Path) -> None:
    extras = [folder for folder in truth if (folder / "extra").is_dir()]
    if not extras:
        pytest.skip("no set has broken files")
    for folder in extras:
        broken = sorted((folder / "extra").iterdir())
        found = load_photos([folder / "images", *broken], PhotoOptions(), tmp_path / folder.name, WORKERS)
        assert len(found.photos) == len(truth[folder])
        assert [Path(item.key).name for item in found.rejected] == [path.name for path in broken]
        reasons = [item.reason for item in found.rejected]
        assert len(set(reasons)) == len(reasons)


def test_video_frames_are_few_sharp_and_spread(datasets: Path, tmp_path: Path) -> None:
    pytest.importorskip("av")
    videos = sorted(datasets.glob("photos/*/video/*.mp4"))
    if not videos:
        pytest.skip("no set has a video")
    for video in videos:
        options = PhotoOptions(max_frames=30)
        answer = select_frames(
            str(video), str(tmp_path / video.stem), options.max_pixels, options.max_frames, 0.02, options.max_video_s
        )
        assert answer["reason"] == ""
        times = [time_s for _, time_s, _ in answer["frames"]]
        assert 5 <= len(times) <= 30 and times == sorted(times)
        first = read_upright(Path(answer["frames"][0][2]), options.max_pixels)
        assert first.std() > 10 and first.dtype == np.uint8

"""load_photos from files to a PhotoSet, with real worker processes."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image

from recon3d.core.errors import DependencyError, InputError
from recon3d.core.workers import WorkerOptions
from recon3d.photos import PhotoOptions, PhotoSet, load_photos, read_mask, read_thumbnails
from recon3d.photos.poses import resolve_poses

WORKERS = WorkerOptions(n_workers=2, max_memory_bytes=1 << 30, timeout_s=60.0)


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory, pictures: ModuleType) -> Path:
    """Good photos of several kinds, and one of every broken kind."""
    folder = tmp_path_factory.mktemp("capture")
    good = pictures.texture(320, 240, seed=1)
    exif = pictures.exif_bytes({0x010F: "Maker", 0x0112: 6}, {0xA405: 30, 0xA002: 320, 0xA003: 240})
    pictures.save(good, folder / "a.jpg", quality=95, exif=exif)
    pictures.save(pictures.texture(200, 150, seed=2), folder / "sub/b.png")
    pictures.save(pictures.texture(320, 180, seed=3), folder / "crop.jpg", exif=exif)
    pictures.save(pictures.texture(320, 240, seed=4), folder / "c.jpg", quality=95)
    pictures.save(pictures.texture(320, 240, seed=4), folder / "c_again.jpg", quality=60)
    (folder / "same bytes.jpg").write_bytes((folder / "c.jpg").read_bytes())
    soft = pictures.texture(320, 240, seed=5).resize((80, 60), Image.Resampling.BOX)
    pictures.save(soft.resize((320, 240), Image.Resampling.BICUBIC), folder / "soft.jpg", quality=95)
    data = (folder / "c.jpg").read_bytes()
    (folder / "cut.jpg").write_bytes(data[: len(data) // 2])
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "notes.jpg").write_text("not a photo")
    pictures.save(Image.new("L", (5000, 4000)), folder / "big.png")
    pictures.save(pictures.texture(20, 20), folder / "icon.png")
    return folder


@pytest.fixture(scope="module")
def loaded(capture: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[PhotoSet, Path]:
    work = tmp_path_factory.mktemp("work")
    return load_photos(capture, PhotoOptions(max_pixels=1_000_000), work, WORKERS), work


def test_every_file_is_a_photo_or_named_with_its_reason(loaded: tuple[PhotoSet, Path]) -> None:
    photos, _ = loaded
    keys = ["a.jpg", "c.jpg", "c_again.jpg", "crop.jpg", "same bytes.jpg", "soft.jpg", "sub/b.png"]
    assert [photo.key for photo in photos.photos] == keys
    reasons = {item.key: item.reason for item in photos.rejected}
    assert list(reasons) == sorted(["big.png", "cut.jpg", "empty.jpg", "icon.png", "notes.jpg"])
    for key, part in {"big.png": "5000x4000", "cut.jpg": "truncated", "empty.jpg": "empty", "notes.jpg": "a text file",
                      "icon.png": "20x20"}.items():  # fmt: skip
        assert part in reasons[key]
        assert "/" not in reasons[key]  # the user's folder is not repeated in every line
    assert all(len(item.sha256) == 64 for item in photos.rejected)


def test_upright_size_focal_and_crop(loaded: tuple[PhotoSet, Path]) -> None:
    by_key = {photo.key: photo for photo in loaded[0].photos}
    upright = by_key["a.jpg"]
    assert (upright.width, upright.height) == (240, 320)
    assert upright.focal_px == pytest.approx(30 * 400 / 43.267)
    assert upright.exif.make == "Maker"
    assert by_key["crop.jpg"].exif_conflict and not upright.exif_conflict
    assert by_key["c.jpg"].focal_px is None


def test_remarks_and_duplicates(loaded: tuple[PhotoSet, Path]) -> None:
    photos, _ = loaded
    assert {photo.key for photo in photos.photos if photo.remark} == {"soft.jpg"}
    assert {photo.key: photo.duplicate_of for photo in photos.photos if photo.duplicate_of} == {
        "c_again.jpg": "c.jpg",
        "same bytes.jpg": "c.jpg",
    }


def test_the_set_travels_through_json(loaded: tuple[PhotoSet, Path]) -> None:
    photos, _ = loaded
    assert PhotoSet.from_json(json.loads(json.dumps(photos.to_json()))) == photos


def test_thumbnails_are_small_upright_jpegs(loaded: tuple[PhotoSet, Path]) -> None:
    photos, work = loaded
    thumbnails = read_thumbnails(photos, work)
    assert list(thumbnails) == [photo.key for photo in photos.photos]
    with Image.open(io.BytesIO(thumbnails["a.jpg"])) as image:
        assert image.format == "JPEG" and image.size == (240, 320) and len(image.getexif()) == 0


def test_number_of_workers_changes_nothing(capture: Path, loaded: tuple[PhotoSet, Path], tmp_path: Path) -> None:
    seen: list[int] = []
    alone = load_photos(capture, PhotoOptions(max_pixels=1_000_000), tmp_path, WorkerOptions(1), seen.append)
    assert alone == loaded[0]
    assert sorted(seen) == list(range(12))


def test_nothing_usable_counts_and_names(tmp_path: Path) -> None:
    for index in range(7):
        (tmp_path / f"{index}.jpg").write_bytes(b"")
    with pytest.raises(InputError, match=r"7 unusable files \(0\.jpg: .*empty.*and 2 more"):
        load_photos(tmp_path, PhotoOptions(), tmp_path / "work", WORKERS)
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(InputError, match="no photos or videos"):
        load_photos(empty, PhotoOptions(), tmp_path / "work", WORKERS)


def test_a_decoder_that_needs_too_much_memory_is_one_rejected_photo(tmp_path: Path, pictures: ModuleType) -> None:
    pictures.save(pictures.texture(), tmp_path / "a.jpg")
    pictures.save(Image.new("RGB", (5000, 5000)), tmp_path / "b.png", compress_level=1)
    photos = load_photos(tmp_path, PhotoOptions(), tmp_path / "work", WorkerOptions(1, max_memory_bytes=60 << 20))
    assert [photo.key for photo in photos.photos] == ["a.jpg"]
    assert [(item.key, item.reason) for item in photos.rejected] == [("b.png", "could not be decoded: out of memory")]
    assert len(photos.rejected[0].sha256) == 64


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root reads everything")
def test_a_file_without_permission_is_one_rejected_photo(tmp_path: Path, pictures: ModuleType) -> None:
    pictures.save(pictures.texture(), tmp_path / "a.jpg")
    pictures.save(pictures.texture(seed=2), tmp_path / "b.jpg").chmod(0)
    photos = load_photos(tmp_path, PhotoOptions(), tmp_path / "work", WORKERS)
    assert "Permission denied" in photos.rejected[0].reason


def test_missing_decoder_alone_is_a_dependency_error(tmp_path: Path, pictures: ModuleType, monkeypatch: Any) -> None:
    """The workers see a pillow_heif that cannot be imported."""
    blocked = tmp_path / "blocked"
    blocked.mkdir()
    (blocked / "pillow_heif.py").write_text("raise ImportError('not installed')")
    monkeypatch.syspath_prepend(str(blocked))
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "a.heic").write_bytes(b"\x00\x00\x00\x18ftypheic" + bytes(100))
    with pytest.raises(DependencyError, match=r"recon3d\[heic\]"):
        load_photos(photos, PhotoOptions(), tmp_path / "work", WORKERS)
    pictures.save(pictures.texture(), photos / "b.jpg")
    found = load_photos(photos, PhotoOptions(), tmp_path / "work", WORKERS)
    assert [photo.key for photo in found.photos] == ["b.jpg"]
    assert "pip install" in found.rejected[0].reason


def _mask(path: Path, size: tuple[int, int], left: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.zeros((size[1], size[0]), np.uint8)
    values[:, left:] = 255
    Image.fromarray(values).save(path)


def test_masks_of_a_folder_and_of_transparency(tmp_path: Path, pictures: ModuleType) -> None:
    photos, masks = tmp_path / "photos", tmp_path / "photos" / "which_part"
    opaque = pictures.texture(100, 80)
    half = opaque.copy()
    half.putalpha(Image.fromarray(np.repeat([[255] * 50 + [0] * 50], 80, axis=0).astype(np.uint8)))
    for name, picture in {"plain.jpg": opaque, "sub/colmap.jpg": opaque, "half.png": half, "both.png": half}.items():
        pictures.save(picture, photos / name)
    for name in ("plain.png", "sub/colmap.jpg.png", "both.jpg"):
        _mask(masks / name, (100, 80), 20)
    found = load_photos(photos, PhotoOptions(masks=masks), tmp_path / "work", WORKERS)
    use = {photo.key: photo.mask and read_mask(photo.mask, 100, 80)[0] for photo in found.photos}
    columns = np.arange(100)
    assert list(use) == ["both.png", "half.png", "plain.jpg", "sub/colmap.jpg"]
    assert np.array_equal(use["plain.jpg"], columns >= 20)
    assert np.array_equal(use["sub/colmap.jpg"], columns >= 20)
    assert np.array_equal(use["half.png"], columns < 50)
    assert np.array_equal(use["both.png"], (columns >= 20) & (columns < 50))


def test_a_photo_that_its_mask_hides_is_turned_away_with_that_reason(tmp_path: Path, pictures: ModuleType) -> None:
    photos, masks = tmp_path / "photos", tmp_path / "masks"
    for name in ("a.jpg", "b.jpg"):
        pictures.save(pictures.texture(100, 80), photos / name)
    _mask(masks / "a.png", (100, 80), 0)
    _mask(masks / "b.png", (100, 80), 100)
    found = load_photos(photos, PhotoOptions(masks=masks), tmp_path / "work", WORKERS)
    assert [photo.key for photo in found.photos] == ["a.jpg"]
    assert "hides the whole photo" in found.rejected[0].reason and "white" in found.rejected[0].reason
    _mask(masks / "a.png", (100, 80), 100)
    with pytest.raises(InputError, match=r"no usable photo.*2 unusable files \(a\.jpg: the mask hides the whole photo"):
        load_photos(photos, PhotoOptions(masks=masks), tmp_path / "work", WORKERS)


def test_masks_that_do_not_fit_are_errors(tmp_path: Path, pictures: ModuleType) -> None:
    pictures.save(pictures.texture(100, 80), tmp_path / "photos" / "a.jpg")
    with pytest.raises(InputError, match="does not exist"):
        load_photos(tmp_path / "photos", PhotoOptions(masks=tmp_path / "none"), tmp_path / "work", WORKERS)
    _mask(tmp_path / "masks" / "other.png", (100, 80), 0)
    with pytest.raises(InputError, match=r"no mask in .* belongs to a photo.*a\.png"):
        load_photos(tmp_path / "photos", PhotoOptions(masks=tmp_path / "masks"), tmp_path / "work", WORKERS)
    _mask(tmp_path / "masks" / "a.png", (50, 40), 0)
    with pytest.raises(InputError, match=r"mask of a\.jpg.*50x40.*100x80"):
        load_photos(tmp_path / "photos", PhotoOptions(masks=tmp_path / "masks"), tmp_path / "work", WORKERS)


def test_poses_are_taken_only_when_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="recon3d")
    photos, model = tmp_path / "photos", tmp_path / "sparse" / "0"
    photos.mkdir()
    assert resolve_poses(None, photos) is None and not caplog.records
    model.mkdir(parents=True)
    (model / "cameras.bin").write_bytes(b"")
    assert resolve_poses(None, photos) is None
    assert "--photos.poses" in caplog.text and str(model) in caplog.text
    assert resolve_poses(tmp_path, photos) == resolve_poses(model, photos) == model
    (photos / "transforms.json").write_text("{}")
    assert resolve_poses(photos / "transforms.json", photos) == photos / "transforms.json"
    assert resolve_poses(photos, photos) == photos / "transforms.json"
    with pytest.raises(InputError, match="no known poses"):
        resolve_poses(tmp_path / "none", photos)

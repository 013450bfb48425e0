"""Re-runs: what is reused, what is built again, and that the bytes never depend on it."""

from __future__ import annotations

import errno
import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from recon3d import pipeline
from recon3d.core.errors import ResourceError
from recon3d.core.files import disk_errors, sha256_file
from recon3d.scene import Scene
from recon3d.scene_io import check_files

from .conftest import Run, shrink


def hashes(out: Path) -> dict[str, str]:
    """Hash of every file that a user is given, except the report with its timings."""
    return {
        path.relative_to(out).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(out.rglob("*"))
        if path.is_file() and ".recon3d" not in path.parts and path.name != "report.html"
    }


def full_disk(*_: Any, **__: Any) -> None:
    with disk_errors(Path("report.html")):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_second_run_starts_nothing_and_leaves_the_same_bytes(copy: Run, no_workers: None) -> None:
    before = hashes(copy.out)
    scene = copy.again()
    assert hashes(copy.out) == before
    report = (copy.out / "report.html").read_bytes()
    copy.again()
    assert (copy.out / "report.html").read_bytes() == report  # even the timings are those of the first run
    assert len(scene.points) == len(copy.scene.points)


@pytest.mark.parametrize("name", ["points.ply", "colmap/images.bin", "colmap_distorted/cameras.bin", "scene.json"])
def test_a_lost_export_is_written_again(copy: Run, no_workers: None, name: str) -> None:
    before = hashes(copy.out)
    (copy.out / name).unlink()
    copy.again()
    assert hashes(copy.out) == before


def test_damaged_and_stray_images_are_repaired(copy: Run) -> None:
    before = hashes(copy.out)
    images = sorted((copy.out / "images").iterdir())
    images[0].write_bytes(images[0].read_bytes()[:-10])
    images[1].unlink()
    (copy.out / "images/stray.jpg").write_bytes(b"of an earlier capture")
    copy.again()
    assert hashes(copy.out) == before


def test_leftovers_of_a_killed_writer_are_removed(copy: Run, no_workers: None) -> None:
    left = [".scene.json.x1.tmp", "colmap/.images.bin.x2.tmp", ".recon3d/photos/thumbnails/.a.jpg.x3.tmp"]
    for name in left:
        (copy.out / name).write_bytes(b"half")
    copy.again()
    assert not [name for name in left if (copy.out / name).exists()]


def test_killed_run_resumes_to_the_same_bytes_with_other_threads(first: Run, tmp_path: Path, repository: Path) -> None:
    """One thread, killed once the matches are there; finished in this process: the bytes of two threads unbroken."""
    options = f"out={str(tmp_path / 'out')!r}, threads=1, only='cameras'"
    code = f"import recon3d; recon3d.reconstruct({str(first.photos)!r}, {options})"
    process = subprocess.Popen([sys.executable, "-c", code], cwd=repository, start_new_session=True, stderr=-3)
    matches = tmp_path / "out/.recon3d/matches/done.json"
    end = time.monotonic() + 90
    while not matches.exists() and process.poll() is None and time.monotonic() < end:
        time.sleep(0.02)
    assert process.poll() is None
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "out/scene.json").exists()
    kept = matches.stat().st_mtime_ns
    Run(first.photos, tmp_path / "out", first.scene).again(threads=1)
    assert matches.stat().st_mtime_ns == kept
    assert hashes(tmp_path / "out") == hashes(first.out)


def test_a_run_that_ends_after_it_replaced_photos_leaves_no_scene_of_the_old_ones(
    copy: Run, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cameras of one capture beside the photos of another would be a silent wrong model."""
    (copy.photos / sorted(path.name for path in copy.photos.iterdir())[0]).unlink()
    monkeypatch.setattr(pipeline, "write_report", full_disk)
    with pytest.raises(ResourceError, match="No space left"):
        copy.again()
    assert not (copy.out / "scene.json").exists()
    monkeypatch.undo()
    assert len(copy.again().cameras) == len(copy.scene.cameras) - 1
    assert check_files(copy.out) == ()


def test_a_full_disk_while_photos_are_checked_is_no_fault_of_the_photos(copy: Run) -> None:
    before = hashes(copy.out)
    code = (
        "import resource, sys, recon3d\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "recon3d.reconstruct(sys.argv[1], out=sys.argv[2], quiet=True, only='cameras')\n"
    )
    words = [sys.executable, "-c", code, str(copy.photos), str(copy.out)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    last = done.stderr.strip().splitlines()[-1]
    assert "ResourceError: cannot write" in last and "File too large" in last
    assert "could not be decoded" not in done.stderr
    assert hashes(copy.out) == before


def test_changed_photo_counts(copy: Run, repository: Path) -> None:
    """A photo that is replaced by another one of the same name is a new capture, and one that is gone leaves it."""
    names = sorted(path.name for path in copy.photos.iterdir())
    for name in names[:3]:
        (copy.photos / name).unlink()
    shrink(repository / "data/demo_photos" / names[2], copy.photos / names[3], width=300)
    scene = copy.again()
    assert [view.key for view in scene.views] == names[3:]
    assert scene.views[0].sha256 == sha256_file(copy.photos / names[3]) != copy.scene.views[3].sha256
    assert scene.views[0].width == 300
    assert {path.name for path in (copy.out / "images").iterdir()} == {f"{Path(n).stem}_jpg.jpg" for n in names[3:]}
    assert len(Scene.load(copy.out).cameras) == 3

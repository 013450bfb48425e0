"""A tiny capture made of six demo photos, reconstructed once; tests that change something work on copies."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from recon3d.pipeline import reconstruct
from recon3d.scene import Scene
from recon3d.sfm import engine

WIDTH, N_PHOTOS = 360, 6


def shrink(source: Path, target: Path, width: int = WIDTH) -> None:
    """Write a smaller photo with the EXIF tags of the larger."""
    with Image.open(source) as image:
        size = (width, round(width * image.height / image.width))
        image.resize(size, Image.Resampling.LANCZOS).save(target, quality=92, exif=image.getexif())


@dataclass(frozen=True)
class Run:
    """One finished run of the pipeline.

    Args:
        photos: the input folder.
        out: the output folder.
        scene: what was returned.
    """

    photos: Path
    out: Path
    scene: Scene

    def copied(self, target: Path) -> Run:
        """Return a copy whose files may be changed; its stages stay valid."""
        shutil.copytree(self.photos, target / "photos")
        shutil.copytree(self.out, target / "out")
        return Run(target / "photos", target / "out", self.scene)

    def again(self, **options: Any) -> Scene:
        """Run once more, for the cameras unless ``only`` says otherwise."""
        return reconstruct(self.photos, out=self.out, quiet=True, **{"only": "cameras", **options})


@pytest.fixture(scope="session")
def capture(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Path:
    """Six photos of the demo capture at 360 x 240 pixels."""
    folder = tmp_path_factory.mktemp("tiny") / "photos"
    folder.mkdir()
    for path in sorted((repository / "data/demo_photos").glob("*.jpg"))[:N_PHOTOS]:
        shrink(path, folder / path.name)
    return folder


@pytest.fixture(scope="session")
def first(capture: Path) -> Run:
    """The first run; nothing in its folders may be changed."""
    out = capture.parent / "out"
    return Run(capture, out, reconstruct(capture, out=out, quiet=True, threads=2, only="cameras"))


@pytest.fixture
def copy(first: Run, tmp_path: Path) -> Run:
    return first.copied(tmp_path)


@pytest.fixture
def no_search(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every worker task of the camera search fail the test; checking and undistorting photos is allowed."""
    real = engine.run_tasks

    def guarded(function: str, *arguments: Any) -> Any:
        if function.endswith("undistort_task"):
            return real(function, *arguments)
        pytest.fail(f"{function} was started")

    monkeypatch.setattr(engine, "run_tasks", guarded)


@pytest.fixture
def no_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every worker task after the check of the photos fail the test."""
    monkeypatch.setattr(engine, "run_tasks", lambda function, *_: pytest.fail(f"{function} was started"))


@pytest.fixture(scope="session")
def turning(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Path:
    """Photos of a camera that only turns: homographies of one wide picture."""
    folder = tmp_path_factory.mktemp("turning") / "photos"
    folder.mkdir()
    with Image.open(sorted((repository / "data/demo_photos").glob("*.jpg"))[0]) as image:
        wide = np.asarray(image.convert("RGB"))
    focal, size = 700.0, (360, 240)
    for k, yaw in enumerate(np.radians(np.linspace(-9.0, 9.0, 4))):
        pitch = np.radians(3.0 * (-1) ** k)
        photo = _turned(wide, focal, size, yaw, pitch)
        Image.fromarray(photo).save(folder / f"turn_{k}.png")
    return folder


def _turned(wide: np.ndarray, focal: float, size: tuple[int, int], yaw: float, pitch: float) -> np.ndarray:
    """Return what a pinhole camera sees that is turned within the view of a larger one."""
    x, y = np.meshgrid(np.arange(size[0]) + 0.5 - size[0] / 2, np.arange(size[1]) + 0.5 - size[1] / 2)
    rays = np.stack([x / focal, y / focal, np.ones_like(x)], axis=-1)
    turn = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])
    tilt = np.array([[1, 0, 0], [0, np.cos(pitch), -np.sin(pitch)], [0, np.sin(pitch), np.cos(pitch)]])
    seen = rays @ (turn @ tilt).T
    column = focal * seen[..., 0] / seen[..., 2] + wide.shape[1] / 2 - 0.5
    row = focal * seen[..., 1] / seen[..., 2] + wide.shape[0] / 2 - 0.5
    c, r = np.floor(column).astype(int), np.floor(row).astype(int)
    a, b = (column - c)[..., None], (row - r)[..., None]
    upper, lower = (wide[at, c] * (1 - a) + wide[at, c + 1] * a for at in (r, r + 1))
    return np.rint(upper * (1 - b) + lower * b).astype(np.uint8)

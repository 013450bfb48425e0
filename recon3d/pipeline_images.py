"""The stage that writes `images/`: upright, undistorted pinhole photos, which all exports refer to, and their masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from recon3d.core.errors import InputError
from recon3d.core.files import disk_errors, sha256_file
from recon3d.core.workers import TaskFailure
from recon3d.photos import PhotoSet
from recon3d.pipeline_work import Workspace
from recon3d.scene import Scene
from recon3d.scene_io import output_name, output_stem
from recon3d.sfm.engine import Tools, run_shown
from recon3d.sfm.undistort import Undistortion, undistortion_tasks

FOLDER, MASKS = "images", "masks"


@dataclass(frozen=True)
class Images:
    """The undistorted photos of a scene.

    Args:
        paths: one per registered view.
        masks: PNG of each, white where the photo counts; None = everywhere.
        key: hash of everything that they depend on.
    """

    paths: tuple[Path, ...]
    masks: tuple[Path | None, ...]
    key: str


def undistort(work: Workspace, photos: PhotoSet, scene: Scene, tools: Tools, key: str) -> Images:
    """Write the undistorted photos to ``images/`` and their masks beside the stage.

    Args:
        work: where.
        photos: what was given.
        scene: its cameras.
        tools: workers.
        key: of the cameras.

    Raises:
        InputError: a photo can no longer be read, or its mask does not fit.
    """
    by_key = {photo.key: photo for photo in photos.photos}
    given = [by_key[view.key] for view in scene.registered]
    names = [output_name(photo.key) for photo in given]
    target = work.folder / FOLDER
    inputs = {
        "cameras": [key, scene.cameras.K.tolist(), scene.pinhole_cameras.K.tolist()],
        "photos": [[photo.key, photo.sha256] for photo in given],
        "masks": [None if photo.mask is None else sha256_file(photo.mask) for photo in given],
        "distortion": None if scene.cameras.distortion is None else scene.cameras.distortion.tolist(),
    }

    def build(folder: Path) -> dict[str, str]:
        work.outdate()
        todo = [
            Undistortion(photo.path, target / name, photo.mask, _mask(folder, photo.key))
            for photo, name in zip(given, names, strict=True)
        ]
        tasks = undistortion_tasks(scene.cameras, scene.pinhole_cameras, todo, tools.max_pixels)
        results = run_shown("recon3d.sfm.undistort:undistort_task", tasks, tools, "undistorting photos")
        for photo, result in zip(given, results, strict=True):
            if isinstance(result, TaskFailure):
                raise InputError(f"{photo.key} could not be undistorted", got=result.reason)
        return {name: sha256_file(target / name) for name in names}

    with disk_errors(target):
        target.mkdir(parents=True, exist_ok=True)
    work.keep_only(FOLDER, names)
    stage = work.stage("undistorted", inputs, build)
    if _changed(target, names, stage.value):
        stage = work.store.rerun("undistorted", inputs, build)
    masks = [None if photo.mask is None else _mask(stage.folder, photo.key) for photo in given]
    return Images(tuple(target / name for name in names), tuple(masks), stage.key)


def _mask(folder: Path, key: str) -> Path:
    return folder / MASKS / f"{output_stem(key)}.png"


def _changed(target: Path, names: Sequence[str], hashes: dict[str, str]) -> bool:
    return any(not (target / name).is_file() or sha256_file(target / name) != hashes[name] for name in names)

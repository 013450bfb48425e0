"""From a source to the checked photos of one capture."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from recon3d.core.errors import DependencyError, InputError, Recon3DError
from recon3d.core.files import sha256_file
from recon3d.core.workers import Outcome, TaskFailure, WorkerOptions, run_tasks
from recon3d.photos.check import work_file
from recon3d.photos.discover import discover
from recon3d.photos.duplicates import Fingerprint, find_duplicates
from recon3d.photos.masks import find_masks
from recon3d.photos.poses import resolve_poses
from recon3d.photos.sharpness import clearly_blurred
from recon3d.photos.types import Exif, Photo, PhotoOptions, PhotoSet, Rejected
from recon3d.photos.video import Frame, extract_frames

_LOG = logging.getLogger(__name__)
_SHOWN_REASONS = 5


def load_photos(
    source: str | Path | Sequence[str | Path],
    options: PhotoOptions,
    work: Path,
    workers: WorkerOptions,
    on_done: Callable[[int], None] | None = None,
) -> PhotoSet:
    """Find, check and measure all photos of a source.

    Every file is decoded in a worker process, so that one which kills its decoder is one rejected photo. The result
    does not depend on the number of workers.

    Args:
        source: a folder (searched with its subfolders), a photo, a video, a glob pattern, or a list of such paths.
        options: what is read.
        work: folder for thumbnails, masks and the frames of videos; not read as input.
        workers: number of worker processes and their limits.
        on_done: called after each checked file with its index.

    Returns:
        Usable photos and rejected files, both sorted by key.

    Raises:
        InputError: the source is missing, no photo is usable, or a mask does not fit its photo.
        DependencyError: no photo is usable, and for some the decoder is missing.
    """
    work = Path(work).absolute()
    masks_folder = () if options.masks is None else (options.masks,)
    found = discover(source, (*options.exclude, *masks_folder, work))
    frames, broken_videos, no_decoder = extract_frames(found.videos, options, work, workers)
    files = {**found.photos, **{key: frame.path for key, frame in frames.items()}}
    masks = find_masks(options.masks, list(files))
    results = run_tasks("recon3d.photos.check:check_photo", _tasks(files, masks, work, options), workers, on_done)
    checked, rejected = _sort_out(files, results)
    rejected += [*found.rejected, *broken_videos]
    if not checked:
        no_decoder = no_decoder or any(_misses_decoder(result) for result in results)
        raise _nothing_usable(source, rejected, DependencyError if no_decoder else InputError)
    photos = _photos(files, checked, frames)
    poses = resolve_poses(options.poses, found.root)
    return PhotoSet(found.root, photos, tuple(sorted(rejected, key=lambda item: item.key)), poses)


def read_thumbnails(photos: PhotoSet, work: Path) -> dict[str, bytes]:
    """Return a JPEG of at most 512 pixels per photo, by key, as :func:`load_photos` left them in its work folder.

    Args:
        photos: the photos.
        work: the folder that was given to :func:`load_photos`.
    """
    return {item.key: work_file(work, "thumbnails", item.key, ".jpg").read_bytes() for item in photos.photos}


def _tasks(
    files: Mapping[str, Path], masks: Mapping[str, Path], work: Path, options: PhotoOptions
) -> list[dict[str, Any]]:
    return [
        {
            "path": str(path),
            "key": key,
            "work": str(work),
            "max_pixels": options.max_pixels,
            "mask": str(masks[key]) if key in masks else None,
        }
        for key, path in files.items()
    ]


def _sort_out(
    files: Mapping[str, Path], results: Sequence[Outcome]
) -> tuple[dict[str, dict[str, Any]], list[Rejected]]:
    checked: dict[str, dict[str, Any]] = {}
    rejected = []
    for (key, path), result in zip(files.items(), results, strict=True):
        if isinstance(result, TaskFailure):
            rejected.append(Rejected(key, f"could not be decoded: {result.reason}", _hash_or_empty(path)))
        elif "rejected" in result:
            rejected.append(Rejected(key, result["rejected"], result["sha256"]))
        elif "mask_error" in result:
            raise InputError(f"the mask of {key} cannot be used", got=result["mask_error"])
        else:
            checked[key] = result
    for item in rejected:
        _LOG.warning("%s: %s", item.key, item.reason)
    return checked, rejected


def _misses_decoder(result: Outcome) -> bool:
    return isinstance(result, dict) and result.get("error") == DependencyError.__name__


def _hash_or_empty(path: Path) -> str:
    try:
        return sha256_file(path)
    except InputError:
        return ""


def _photos(
    files: Mapping[str, Path], checked: Mapping[str, dict[str, Any]], frames: Mapping[str, Frame]
) -> tuple[Photo, ...]:
    keys = sorted(checked)
    blurred = dict(zip(keys, clearly_blurred([checked[key]["blur_px"] for key in keys]), strict=True))
    better_of = find_duplicates([_fingerprint(key, files[key], checked[key]) for key in keys])
    return tuple(
        Photo(
            key=key,
            path=files[key],
            width=item["width"],
            height=item["height"],
            sha256=item["sha256"],
            exif=Exif.from_json(item["exif"]),
            focal_px=item["focal_px"],
            exif_conflict=item["exif_conflict"],
            sharpness=1.0 / item["blur_px"],
            remark="blurred" if blurred[key] else "",
            duplicate_of=better_of.get(key),
            mask=None if item["mask"] is None else Path(item["mask"]),
            time_s=frames[key].time_s if key in frames else None,
        )
        for key, item in ((key, checked[key]) for key in keys)
    )


def _fingerprint(key: str, path: Path, item: Mapping[str, Any]) -> Fingerprint:
    grey = np.load(item["fingerprint"], allow_pickle=False)
    size = (item["width"], item["height"])
    return Fingerprint(key, item["sha256"], grey, size, item["focal_px"] is not None, path.stat().st_size)


def _nothing_usable(source: object, rejected: Sequence[Rejected], kind: type[Recon3DError]) -> Recon3DError:
    reasons = "; ".join(f"{item.key}: {item.reason}" for item in rejected[:_SHOWN_REASONS])
    more = len(rejected) - _SHOWN_REASONS
    got = f"{len(rejected)} unusable files ({reasons}{f'; and {more} more' if more > 0 else ''})"
    return kind(
        f"{source} holds no usable photo", got=got if rejected else "no photos or videos", expected="JPEG, PNG or TIFF"
    )

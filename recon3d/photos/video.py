"""Frames of a video, chosen by motion and sharpness."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32
from PIL import Image

from recon3d.core.errors import DependencyError, FormatError, InputError
from recon3d.core.files import atomic_path, sha256_file
from recon3d.core.workers import TaskFailure, WorkerOptions, run_tasks
from recon3d.photos.check import work_file
from recon3d.photos.motion import MOTION_SIDE, frame_motion
from recon3d.photos.sharpness import edge_blur_px, reduced_grey
from recon3d.photos.types import PhotoOptions, Rejected
from recon3d.photos.video_reader import grey_of, read_frames, upright_rgb

_LOG = logging.getLogger(__name__)
_ANALYSED_SIDE = 480
_ANCHOR_MOTION = 0.01
_TIMES_AS_LONG_AS_A_PHOTO = 60.0


@dataclass(frozen=True)
class Frame:
    """One chosen frame.

    Args:
        path: where it was saved, without loss.
        time_s: seconds from the start of the video.
    """

    path: Path
    time_s: float


@dataclass(frozen=True)
class Seen:
    """What the first pass keeps of each frame.

    Args:
        index: number of the frame in the video, from 0.
        time_s: seconds from the start of the video.
        blur_px: width of its edges.
        travel: motion summed up since the first frame, in diagonals of the frame.
    """

    index: int
    time_s: float
    blur_px: float
    travel: float


def extract_frames(
    videos: Mapping[str, Path], options: PhotoOptions, work: Path, workers: WorkerOptions
) -> tuple[dict[str, Frame], list[Rejected], bool]:
    """Choose and save frames of every video, each video in a worker process.

    Args:
        videos: path of each video by key.
        options: number of frames and caps.
        work: folder that receives the frames as PNG files.
        workers: number of workers and their limits; a video may take 60 times as long as a photo.

    Returns:
        The frames by key ("clip.mp4/000123.png"), the videos that cannot be used or only in part, with the reason, and
        whether a missing decoder is one of the reasons.
    """
    limit = workers.timeout_s and workers.timeout_s * _TIMES_AS_LONG_AS_A_PHOTO
    tasks = [_task(key, path, options, work) for key, path in videos.items()]
    results = run_tasks("recon3d.photos.video:select_frames", tasks, replace(workers, timeout_s=limit))
    frames: dict[str, Frame] = {}
    rejected, missing = [], False
    for key, result in zip(videos, results, strict=True):
        if isinstance(result, TaskFailure):
            rejected.append(Rejected(key, f"could not be decoded: {result.reason}"))
            continue
        if result["reason"]:
            rejected.append(Rejected(key, result["reason"], result["sha256"]))
            missing = missing or result["error"] == "DependencyError"
        for index, time_s, path in result["frames"]:
            frames[f"{key}/{index:06d}.png"] = Frame(Path(path), time_s)
    for item in rejected:
        _LOG.warning("%s: %s", item.key, item.reason)
    return frames, rejected, missing


def select_frames(
    path: str, folder: str, max_pixels: int, max_frames: int, min_motion: float, max_video_s: float
) -> dict[str, Any]:
    """Choose and save the frames of one video; runs in a worker.

    The first pass measures motion and sharpness of every frame and keeps nothing else; the second saves the chosen
    ones, so memory does not grow with the length of the video.

    Args:
        path: the video.
        folder: where frames are saved.
        max_pixels: larger frames are refused.
        max_frames: most frames to choose.
        min_motion: see :func:`choose`.
        max_video_s: longer videos are refused.

    Returns:
        "frames" as [index, seconds, path], "reason" ("" when all went well), "error" and "sha256".
    """
    answer: dict[str, Any] = {"frames": [], "reason": "", "error": "", "sha256": ""}
    try:
        answer["sha256"] = sha256_file(Path(path))
        seen, damage = _watch(path, max_pixels, max_video_s)
        chosen = choose(seen, max_frames, min_motion)
        answer["frames"] = _save(path, Path(folder), [item.index for item in chosen], max_pixels, max_video_s)
        answer["reason"] = damage
    except (InputError, DependencyError) as error:
        answer.update(reason=str(error).replace(path, "the file"), error=type(error).__name__)
    return answer


def choose(seen: Sequence[Seen], max_frames: int, min_motion: float) -> list[Seen]:
    """Return the frames to keep: the path of the camera in equal parts, and of each part the sharpest frame.

    Args:
        seen: all frames in order.
        max_frames: most frames to keep.
        min_motion: length of a part, as a share of the frame's diagonal; longer where ``max_frames`` demands it.

    Returns:
        Frames in order; one alone where nothing moves.
    """
    if not seen:
        return []
    total = seen[-1].travel
    n_parts = min(max(1, round(total / min_motion)), max_frames, len(seen))
    length = total / n_parts
    parts: dict[int, list[Seen]] = {}
    for item in seen:
        part = min(int(item.travel / length), n_parts - 1) if length > 0 else 0
        parts.setdefault(part, []).append(item)
    return [min(part, key=lambda item: (item.blur_px, item.index)) for _, part in sorted(parts.items())]


def _task(key: str, path: Path, options: PhotoOptions, work: Path) -> dict[str, Any]:
    return {
        "path": str(path),
        "folder": str(work_file(work, "frames", key, "")),
        "max_pixels": options.max_pixels,
        "max_frames": options.max_frames,
        "min_motion": options.video_min_motion,
        "max_video_s": options.max_video_s,
    }


def _watch(path: str, max_pixels: int, max_video_s: float) -> tuple[list[Seen], str]:
    seen: list[Seen] = []
    path_length, damage = _PathLength(), ""
    try:
        for frame in read_frames(path, max_pixels, max_video_s):
            grey = grey_of(frame, _ANALYSED_SIDE)
            seen.append(Seen(frame.index, frame.time_s, edge_blur_px(grey), path_length.after(grey)))
    except FormatError as error:
        if not seen:
            raise
        damage = f"is damaged after {seen[-1].time_s:.1f} s; the frames before are used ({error.got})"
    if not seen:
        raise FormatError(f"{path} holds no frames", expected="a video")
    return seen, damage


class _PathLength:
    """Motion summed up from anchor to anchor, so that the trembling of a still camera does not add up."""

    def __init__(self) -> None:
        self._anchor: Float32[np.ndarray, "h w"] | None = None
        self._until_anchor = self._length = 0.0

    def after(self, grey: Float32[np.ndarray, "h w"]) -> float:
        """Return the length of the path up to this frame, in diagonals; it never decreases."""
        now = reduced_grey(Image.fromarray(grey.astype(np.uint8)), MOTION_SIDE)
        if self._anchor is None or self._anchor.shape != now.shape:
            self._anchor = now
        motion = frame_motion(self._anchor, now)
        self._length = max(self._length, self._until_anchor + motion)
        if motion > _ANCHOR_MOTION:
            self._anchor, self._until_anchor = now, self._length
        return self._length


def _save(
    path: str, folder: Path, chosen: Sequence[int], max_pixels: int, max_video_s: float
) -> list[tuple[int, float, str]]:
    wanted, saved = set(chosen), []
    for frame in read_frames(path, max_pixels, max_video_s):
        if frame.index in wanted:
            out = folder / f"{frame.index:06d}.png"
            with atomic_path(out) as temporary:
                Image.fromarray(upright_rgb(frame)).save(temporary, "PNG", compress_level=3)
            saved.append((frame.index, frame.time_s, str(out)))
        if frame.index >= max(wanted):
            break  # before the decoder can reach damage that the first pass met
    return saved

"""The frames of a video file, one at a time, with its size and length checked first."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8

from recon3d.core.errors import DependencyError, FormatError

_MAX_FRAMES = 500_000


@dataclass(frozen=True)
class Decoded:
    """One frame of a video.

    Args:
        index: number of the frame, from 0.
        time_s: seconds from the start of the video.
        pixels: the frame of PyAV.
        aspect: width of a pixel over its height.
    """

    index: int
    time_s: float
    pixels: Any
    aspect: float


def read_frames(path: str, max_pixels: int, max_video_s: float) -> Iterator[Decoded]:
    """Yield the undisturbed frames of a video.

    Raises:
        FormatError: it is no video, too large or long, or damaged where the reading has come to.
        DependencyError: PyAV is not installed.
    """
    av = _av()
    try:
        with av.open(path) as container:
            stream = next(iter(container.streams.video), None)
            if stream is None or stream.codec_context is None:
                raise FormatError(f"{path} holds no video stream that can be decoded")
            _check_video(path, stream, container, max_pixels, max_video_s)
            stream.codec_context.thread_count = 1
            aspect = float(stream.sample_aspect_ratio or 1)
            for index, frame in enumerate(container.decode(stream)):
                time_s = float(frame.time) if frame.time is not None else index / float(stream.average_rate or 30)
                if index >= _MAX_FRAMES or time_s > max_video_s + 1.0 or not _fits(frame, max_pixels):
                    raise FormatError(f"{path} is not what its header states", got=f"frame {index} at {time_s:.1f} s")
                if not frame.is_corrupt:
                    yield Decoded(index, time_s, frame, aspect)
    except (av.error.FFmpegError, ValueError, OSError) as error:
        raise FormatError(f"{path} cannot be decoded as a video", got=str(error).replace(path, "the file")) from error


def _av() -> Any:
    try:
        return import_module("av")
    except ImportError as error:
        raise DependencyError("the video decoder is missing", fix="pip install 'recon3d[video]'") from error


def _check_video(path: str, stream: Any, container: Any, max_pixels: int, max_video_s: float) -> None:
    if not _fits(stream, max_pixels):
        raise FormatError(
            f"{path} is too large", got=f"{stream.width}x{stream.height}", expected=f"at most {max_pixels} pixels"
        )
    duration_s = 0.0 if container.duration is None else container.duration / 1e6
    if duration_s > max_video_s:
        raise FormatError(
            f"{path} is too long",
            got=f"{duration_s:.0f} s",
            expected=f"at most {max_video_s:.0f} s",
            fix="cut it, or raise --photos.max-video-s",
        )


def _fits(sized: Any, max_pixels: int) -> bool:
    return bool(0 < sized.width * sized.height <= max_pixels)


def grey_of(decoded: Decoded, side: int) -> Float32[np.ndarray, "h w"]:
    """Return grey values 0 to 255 of a frame, at most ``side`` pixels on the longer side, as stored (not turned)."""
    frame = decoded.pixels
    scale = min(1.0, side / max(frame.width, frame.height))
    size = {"width": max(2, round(frame.width * scale)), "height": max(2, round(frame.height * scale))}
    grey: Float32[np.ndarray, "h w"] = frame.reformat(format="gray", **size).to_ndarray().astype(np.float32)
    return grey


def upright_rgb(decoded: Decoded) -> UInt8[np.ndarray, "h w 3"]:
    """Return the pixels turned as the phone noted in the file, and square (anamorphic frames are widened)."""
    frame = decoded.pixels
    width = round(frame.width * decoded.aspect) if 0.25 < decoded.aspect < 4 else frame.width
    rgb: UInt8[np.ndarray, "h w 3"] = frame.reformat(format="rgb24", width=width).to_ndarray()
    turns = round(frame.rotation / 90)  # counter-clockwise
    return np.ascontiguousarray(np.rot90(rgb, turns))

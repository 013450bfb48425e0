"""MP4 files that browsers play: H.264, 4:2:0, BT.709, written by PyAV."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from importlib import import_module
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from recon3d.core.errors import DependencyError, ShapeError, UsageError
from recon3d.core.files import atomic_path

_ENCODERS = ("libx264", "libopenh264", "h264_videotoolbox", "h264")
_BT709 = 1  # the number of BT.709 among the primaries, transfer functions and matrices of ITU-T H.273


def write_mp4(path: Path, frames: Iterable[UInt8[np.ndarray, "h w 3"]], fps: float = 30.0, crf: int = 18) -> int:
    """Write frames as an H.264 video, atomically.

    Args:
        path: the file.
        frames: sRGB pictures of one size, its sides even; they are taken one at a time.
        fps: frames per second.
        crf: quality, 0 (lossless) to 51; 18 is hard to tell from the original.

    Returns:
        The number of frames.

    Raises:
        DependencyError: PyAV or its H.264 encoder is missing.
        UsageError: there is no frame, or the rate is not positive.
        ShapeError: a side is odd, or a frame differs in size.
    """
    if not fps > 0 or fps > 1000:
        raise UsageError("the frame rate is out of range", got=fps, expected="0 < fps <= 1000")
    encoder = h264_encoder()
    rest = iter(frames)
    first = next(rest, None)
    if first is None:
        raise UsageError("a video needs a frame")
    if first.shape[0] % 2 or first.shape[1] % 2:
        raise ShapeError("the sides of a video must be even", got=f"{first.shape[1]}x{first.shape[0]}")
    with (
        atomic_path(path) as temporary,
        _av().open(str(temporary), "w", format="mp4", options=_FAST_START) as container,
    ):
        stream = _add_stream(container, encoder, first, fps, crf)
        n_frames = 0
        for picture in chain([first], rest):
            if picture.shape != first.shape:
                raise ShapeError("the frames of a video differ in size", got=picture.shape, expected=first.shape)
            container.mux(stream.encode(_frame(picture)))
            n_frames += 1
        container.mux(stream.encode())
    return n_frames


_FAST_START = {"movflags": "+faststart"}  # the index first, so that a browser starts before it has everything


def h264_encoder() -> str:
    """Return the name of the H.264 encoder.

    Raises:
        DependencyError: PyAV or its H.264 encoder is missing.
    """
    codecs = _av().codecs_available
    for name in _ENCODERS:
        if name in codecs and _encodes(name):
            return name
    raise DependencyError(
        "this PyAV has no H.264 encoder", fix="pip install 'recon3d[video]', or write a folder of PNG"
    )


def _encodes(name: str) -> bool:
    av = _av()
    try:
        av.codec.Codec(name, "w")
    except av.error.FFmpegError:
        return False
    return True


def _av() -> Any:
    try:
        return import_module("av")
    except ImportError as error:
        fix = "pip install 'recon3d[video]', or write a folder of PNG"
        raise DependencyError("writing MP4 needs PyAV", fix=fix) from error


def _add_stream(container: Any, encoder: str, first: UInt8[np.ndarray, "h w 3"], fps: float, crf: int) -> Any:
    options = {"crf": str(crf), "preset": "medium"} if encoder == "libx264" else {}
    stream = container.add_stream(encoder, rate=Fraction(fps).limit_denominator(1001), options=options)
    stream.height, stream.width = first.shape[:2]
    stream.pix_fmt = "yuv420p"
    context = stream.codec_context
    context.color_primaries = context.color_trc = context.colorspace = _BT709
    context.color_range = 1  # 16 to 235
    return stream


def _frame(picture: UInt8[np.ndarray, "h w 3"]) -> Any:
    frame = _av().VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
    return frame.reformat(format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG")

"""One image file to upright 8-bit sRGB pixels, with its size checked before anything is decoded."""

from __future__ import annotations

import functools
import importlib
import io
import os
import stat
import struct
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image, UnidentifiedImageError

from recon3d.core.errors import DependencyError, FormatError, InputError
from recon3d.core.files import read_capped
from recon3d.photos.colour import eight_bit, to_rgb

_FORMATS = ("JPEG", "PNG", "TIFF", "WEBP", "AVIF", "BMP", "PPM")
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_NOT_PHOTOS = {b"GIF8": "a GIF picture", b"%PDF": "a PDF document", b"\x00\x00\x00\x0cjP": "a JPEG 2000 picture"}
# What Pillow's decoders raise for bytes that are not what the format demands.
_DECODER_ERRORS = (OSError, ValueError, SyntaxError, TypeError, KeyError, IndexError, AttributeError, EOFError,
                   OverflowError, RuntimeError, ZeroDivisionError, Warning, struct.error, zlib.error)  # fmt: skip
_ORIENTATION = 0x0112
_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_TAIL_BYTES, _ZERO_TAIL = 1 << 16, 1 << 10
_OPENING = threading.Lock()
MAX_FILE_BYTES = 1 << 31


def read_upright(path: Path, max_pixels: int) -> UInt8[np.ndarray, "h w 3"]:
    """Return a photo as 8-bit sRGB with its EXIF orientation applied.

    Grey becomes three equal channels, 16 bits become 8 (65535 to 255), an ICC profile is converted to sRGB, transparent
    pixels are laid over white (they also make a mask: :func:`recon3d.photos.colour.alpha_mask`), and only the first
    picture of a file counts.

    Args:
        path: a JPEG, PNG, TIFF, WebP, AVIF, BMP or PPM file; HEIC with the ``heic`` extra.
        max_pixels: files whose header states more are refused before decoding.

    Returns:
        The pixels, rows from top to bottom.

    Raises:
        InputError: the file cannot be opened.
        FormatError: it is empty, not an image, damaged, truncated, or too large.
        DependencyError: it is a HEIC file and pillow-heif is not installed.
    """
    with open_upright(path, max_pixels) as image:
        return np.array(to_rgb(image))


def read_mask(path: Path, width: int, height: int) -> Bool[np.ndarray, "h w"]:
    """Return which pixels of a photo are to be used.

    Args:
        path: a mask image; where its first channel is at least half of white, the photo is used.
        width: upright width of the photo in pixels.
        height: upright height of the photo in pixels.

    Returns:
        True = use.

    Raises:
        InputError: the file cannot be opened.
        FormatError: it is no image, or its size is not the photo's.
    """
    with open_upright(path, max(4 * width * height, 1)) as image:
        if image.size != (width, height):
            raise FormatError(
                f"the mask {path} does not fit its photo",
                got=f"{image.width}x{image.height}",
                expected=f"{width}x{height}, the size of the upright photo",
                fix="export the masks at the size of the photos",
            )
        return np.asarray(eight_bit(image).convert("L")) >= 128


@contextmanager
def open_upright(path: Path, max_pixels: int) -> Iterator[Image.Image]:
    """Yield a fully decoded image, EXIF orientation applied, in the colour space and mode of its file.

    Args:
        path: see :func:`read_upright`.
        max_pixels: see :func:`read_upright`.

    Yields:
        The image; its ``info`` and EXIF are those of the file.

    Raises:
        InputError: the file cannot be opened.
        FormatError: it is empty, not an image, damaged, truncated, or too large.
        DependencyError: it is a HEIC file and pillow-heif is not installed.
    """
    head = _head(path)
    image = _open(path, head)
    with image:
        _check_size(path, image.size, max_pixels)
        upright = _decode(path, image)
        _check_tail(path, head)
        yield upright


def _head(path: Path) -> bytes:
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise InputError(f"{path} is not a regular file", expected="an image file")
        with open(path, "rb") as file:
            head = file.read(512)
    except OSError as error:
        raise InputError(f"cannot read {path}", got=error.strerror) from error
    if not head:
        raise FormatError(f"{path} is empty", got="0 bytes", expected="an image")
    return head


def _open(path: Path, head: bytes) -> Image.Image:
    if head[4:8] == b"ftyp" and head[8:12] in _HEIF_BRANDS:
        return _open_heif(path)
    try:
        # From memory: of a file, Pillow reserves whatever length a damaged chunk states before it reads.
        # Pillow's own pixel limit is lower than ours may be; ours is checked right after, still before decoding.
        with _OPENING:
            limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
            try:
                return Image.open(io.BytesIO(read_capped(path, MAX_FILE_BYTES)), formats=_formats())
            finally:
                Image.MAX_IMAGE_PIXELS = limit
    except UnidentifiedImageError as error:
        raise FormatError(f"{path} is not an image", got=_describe(head), expected="JPEG, PNG, TIFF, WebP") from error
    except _DECODER_ERRORS as error:
        raise FormatError(f"{path} has a damaged header", got=error) from error


@functools.cache
def _formats() -> tuple[str, ...]:
    Image.init()
    return tuple(name for name in _FORMATS if name in Image.OPEN)  # AVIF came with Pillow 11.3


def _open_heif(path: Path) -> Image.Image:
    try:
        heif = importlib.import_module("pillow_heif")
    except ImportError as error:
        raise DependencyError(
            f"{path} is a HEIC photo, and its decoder is missing", fix="pip install 'recon3d[heic]'"
        ) from error
    try:
        image: Image.Image = heif.HeifImageFile(path)
    except _DECODER_ERRORS as error:
        raise FormatError(f"{path} has a damaged header", got=error) from error
    return image


def _check_size(path: Path, size: tuple[int, int], max_pixels: int) -> None:
    if size[0] * size[1] > max_pixels:
        raise FormatError(
            f"{path} is too large",
            got=f"{size[0]}x{size[1]} pixels",
            expected=f"at most {max_pixels} pixels",
            fix="reduce it, or raise --photos.max-pixels",
        )


def _decode(path: Path, image: Image.Image) -> Image.Image:
    try:
        image.load()
        return _upright(image)
    except _DECODER_ERRORS as error:
        truncated = isinstance(error, EOFError) or "truncated" in str(error)
        what = f"{path} is truncated" if truncated else f"{path} is damaged"
        raise FormatError(what, got=error, fix="copy the file again from the camera") from error


def _check_tail(path: Path, head: bytes) -> None:
    """Refuse a JPEG whose end is zeros: the rest of an interrupted copy, which decoders show as grey."""
    if not head.startswith(b"\xff\xd8"):
        return
    with open(path, "rb") as file:
        file.seek(max(os.path.getsize(path) - _TAIL_BYTES, 0))
        tail = file.read(_TAIL_BYTES)
    content = tail.rstrip(b"\x00")
    if len(tail) - len(content) >= _ZERO_TAIL and not content.endswith(b"\xff\xd9"):
        raise FormatError(f"{path} is truncated", got="zeros at its end", fix="copy the file again from the camera")


def _upright(image: Image.Image) -> Image.Image:
    try:
        orientation = image.getexif().get(_ORIENTATION)
    except _DECODER_ERRORS:
        orientation = None  # damaged EXIF does not spoil the pixels
    method = _TRANSPOSE.get(orientation) if isinstance(orientation, int) else None
    if method is None:
        return image
    turned = image.transpose(method)
    turned.info = dict(image.info)
    return turned


def _describe(head: bytes) -> str:
    for magic, name in _NOT_PHOTOS.items():
        if head.startswith(magic):
            return name
    if all(byte >= 32 or byte in b"\t\r\n\f" for byte in head):
        return "a text file"
    return "unknown bytes" if any(head) else "only zeros"

"""What the camera wrote into a photo, tolerant of every kind of garbage."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Mapping
from typing import Any

from PIL import Image

from recon3d.photos.types import Exif

_EXIF_IFD, _GPS_IFD = 0x8769, 0x8825
_MAKE, _MODEL, _TIME = 0x010F, 0x0110, 0x0132
_TIME_ORIGINAL, _FOCAL, _FOCAL_35, _LENS = 0x9003, 0x920A, 0xA405, 0xA434
_WIDTH, _HEIGHT, _PLANE_X, _PLANE_UNIT = 0xA002, 0xA003, 0xA20E, 0xA210
_LAT_REF, _LAT, _LON_REF, _LON, _ALT_REF, _ALT = range(1, 7)
_FILM_DIAGONAL_MM = 43.267
_UNIT_MM = {2: 25.4, 3: 10.0, 4: 1.0, 5: 0.001}
_FOCAL_35_RANGE = (4.0, 3000.0)
_FOCAL_MM_RANGE = (0.3, 3000.0)
_ASPECT_TOLERANCE = 0.01
_GARBAGE = (OSError, ValueError, SyntaxError, TypeError, KeyError, IndexError, AttributeError, OverflowError,
            ZeroDivisionError, RuntimeError, Warning, struct.error)  # fmt: skip

Tags = Mapping[int, Any]


def read_exif(image: Image.Image) -> Exif:
    """Return the EXIF facts of an opened image; what is absent, damaged or absurd stays empty."""
    base = _tolerant(image.getexif, {})
    exif = _tolerant(lambda: base.get_ifd(_EXIF_IFD), {})
    gps = _tolerant(lambda: base.get_ifd(_GPS_IFD), {})
    return parse_exif(base, exif, gps)


def parse_exif(base: Tags, exif: Tags, gps: Tags) -> Exif:
    """Return the facts held in three EXIF directories.

    Args:
        base: tags of the image directory.
        exif: tags of the EXIF directory.
        gps: tags of the GPS directory.

    Returns:
        The facts; a 35 mm focal that the camera left out is computed from the focal plane's resolution where stated.
    """
    width, height = _number(exif.get(_WIDTH)), _number(exif.get(_HEIGHT))
    pixels = (int(width), int(height)) if width and height and 1 <= min(width, height) <= 1e6 else None
    focal_mm = _within(_number(exif.get(_FOCAL)), _FOCAL_MM_RANGE)
    focal_35 = _within(_number(exif.get(_FOCAL_35)), _FOCAL_35_RANGE)
    return Exif(
        make=_text(base.get(_MAKE)),
        model=_text(base.get(_MODEL)),
        lens=_text(exif.get(_LENS)),
        focal_mm=focal_mm,
        focal_35mm=focal_35 or _focal_35_from_plane(exif, focal_mm, pixels),
        gps=_position(gps),
        time=_text(exif.get(_TIME_ORIGINAL)) or _text(base.get(_TIME)),
        pixels=pixels,
    )


def focal_px(exif: Exif, width: int, height: int) -> float | None:
    """Return the focal length in pixels by the diagonal rule, ``focal_35mm * hypot(width, height) / 43.267``.

    Args:
        exif: facts of the photo.
        width: width in pixels.
        height: height in pixels; orientation does not matter.

    Returns:
        A starting value, right to 1 or 2 per cent when the photo is uncropped; None without a credible focal length.
    """
    if exif.focal_35mm is None:
        return None
    return exif.focal_35mm * math.hypot(width, height) / _FILM_DIAGONAL_MM


def is_cropped(exif: Exif, width: int, height: int) -> bool:
    """Return whether the aspect ratio differs by more than 1 % from the one that the camera recorded.

    A resized photo keeps its aspect ratio, and then the diagonal rule still holds, so that is no conflict.

    Args:
        exif: facts of the photo.
        width: upright or stored width in pixels.
        height: upright or stored height in pixels.
    """
    if exif.pixels is None:
        return False
    recorded, actual = max(exif.pixels) / min(exif.pixels), max(width, height) / min(width, height)
    return abs(recorded / actual - 1.0) > _ASPECT_TOLERANCE


def _focal_35_from_plane(exif: Tags, focal_mm: float | None, pixels: tuple[int, int] | None) -> float | None:
    """Film-equivalent focal from the pixel pitch of the sensor, which the focal-plane tags state."""
    per_unit, unit_mm = _number(exif.get(_PLANE_X)), _UNIT_MM.get(int(_number(exif.get(_PLANE_UNIT)) or 2))
    if focal_mm is None or pixels is None or not per_unit or unit_mm is None or per_unit < 0:
        return None
    diagonal_mm = math.hypot(*pixels) / per_unit * unit_mm
    if not 1.0 < diagonal_mm < 200.0:
        return None
    return _within(focal_mm * _FILM_DIAGONAL_MM / diagonal_mm, _FOCAL_35_RANGE)


def _position(gps: Tags) -> tuple[float, float, float | None] | None:
    latitude, longitude = _degrees(gps.get(_LAT)), _degrees(gps.get(_LON))
    north, east = _text(gps.get(_LAT_REF)).upper(), _text(gps.get(_LON_REF)).upper()
    if latitude is None or longitude is None or latitude > 90 or longitude > 180:
        return None
    if north[:1] not in ("N", "S") or east[:1] not in ("E", "W") or latitude == longitude == 0.0:
        return None  # without a hemisphere it is a guess; (0, 0) is what receivers without a fix write
    altitude = _within(_number(gps.get(_ALT)), (0.0, 1e5))
    below = gps.get(_ALT_REF) in (1, b"\x01", "\x01", 3, b"\x03")
    return (
        -latitude if north.startswith("S") else latitude,
        -longitude if east.startswith("W") else longitude,
        -altitude if below and altitude is not None else altitude,
    )


def _degrees(value: Any) -> float | None:
    parts = [_number(item) for item in value] if isinstance(value, (tuple, list)) else [_number(value)]
    numbers = [item for item in parts if item is not None and item >= 0]
    if not 1 <= len(numbers) == len(parts) <= 3 or any(item >= 60.0001 for item in numbers[1:]):
        return None
    return sum(item / 60.0**power for power, item in enumerate(numbers))


def _number(value: Any) -> float | None:
    if isinstance(value, (bytes, str)):
        return None
    if isinstance(value, (tuple, list)) and len(value) == 1:
        value = value[0]
    number = _tolerant(lambda: float(value), math.nan)
    return number if math.isfinite(number) else None


def _within(value: float | None, bounds: tuple[float, float]) -> float | None:
    return value if value is not None and bounds[0] <= value <= bounds[1] else None


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if not isinstance(value, str):
        return ""
    text = value.split("\x00")[0].strip()
    return "".join(letter for letter in text if letter.isprintable())[:200]


def _tolerant(read: Callable[[], Any], default: Any) -> Any:
    try:
        return read()
    except _GARBAGE:
        return default

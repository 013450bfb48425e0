"""COLMAP's cameras.txt, images.txt and points3D.txt; numbers are written so that reading gives the same bits."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64, Int64

from recon3d.core.errors import FormatError, UsageError
from recon3d.formats.colmap_model import MAX_ID, MAX_SIDE, ColmapCamera, ColmapImage, ColmapPoints, make_camera
from recon3d.formats.parsing import parse_float, parse_floats, parse_int, text_lines

_UINT64_NONE = 2**64 - 1  # some tools write COLMAP's invalid point number unsigned


def decode_cameras(data: bytes, name: str) -> tuple[ColmapCamera, ...]:
    """Read cameras.txt.

    Raises:
        FormatError: the bytes are not valid.
    """
    cameras = []
    for number, line in enumerate(text_lines(data), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        where, words = f"{name} line {number}", line.split()
        if len(words) < 5:
            raise FormatError(f"{where}: not a camera", got=repr(line[:80]), expected="ID MODEL WIDTH HEIGHT PARAMS")
        size = parse_int(words[2], where, 1, MAX_SIDE), parse_int(words[3], where, 1, MAX_SIDE)
        params = np.array(parse_floats(words[4:], where))
        cameras.append(make_camera(parse_int(words[0], where, 0, MAX_ID), words[1], size, params))
    return tuple(cameras)


def decode_images(data: bytes, name: str) -> tuple[ColmapImage, ...]:
    """Read images.txt; a name may hold spaces.

    Raises:
        FormatError: the bytes are not valid.
    """
    images = []
    lines = enumerate(text_lines(data), 1)
    for number, line in lines:
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        _, features = next(lines, (0, ""))
        images.append(_decode_image(line, features, f"{name} line {number}"))
    return tuple(images)


def _decode_image(line: str, features: str, where: str) -> ColmapImage:
    words = line.split(None, 9)
    if len(words) < 10:
        expected = "ID QW QX QY QZ TX TY TZ CAMERA_ID NAME"
        raise FormatError(f"{where}: not an image", got=repr(line[:80]), expected=expected)
    pose = np.array(parse_floats(words[1:8], where))
    image_id, camera_id = parse_int(words[0], where, 0, MAX_ID), parse_int(words[8], where, 0, MAX_ID)
    tokens = features.split()
    if len(tokens) % 3:
        raise FormatError(f"{where}: the next line is not a list of features", got=f"{len(tokens)} numbers")
    x, y = parse_floats(tokens[0::3], where), parse_floats(tokens[1::3], where)
    ids = [_point_id(token, where) for token in tokens[2::3]]
    xy = np.stack([np.array(x, np.float64), np.array(y, np.float64)], -1)
    return ColmapImage(image_id, words[9].rstrip(), pose[:4], pose[4:], camera_id, xy, np.array(ids, np.int64))


def _point_id(token: str, where: str) -> int:
    return -1 if token == str(_UINT64_NONE) else parse_int(token, where, -1)


def decode_points(data: bytes, name: str) -> ColmapPoints:
    """Read points3D.txt.

    Raises:
        FormatError: the bytes are not valid.
    """
    ids, numbers, colours, tracks, lengths = [], [], [], [], []
    for number, line in enumerate(text_lines(data), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        where, words = f"{name} line {number}", line.split()
        if len(words) < 8 or len(words) % 2:
            raise FormatError(f"{where}: not a point", got=repr(line[:80]), expected="ID X Y Z R G B ERROR TRACK")
        ids.append(parse_int(words[0], where))
        numbers.append([*parse_floats(words[1:4], where), parse_float(words[7], where)])
        colours.append([parse_int(word, where, 0, 255) for word in words[4:7]])
        tracks += [parse_int(word, where, 0, MAX_ID) for word in words[8:]]
        lengths.append((len(words) - 8) // 2)
    table = np.array(numbers, np.float64).reshape(-1, 4)
    track = np.array(tracks, np.int64).reshape(-1, 2)
    return ColmapPoints(
        np.array(ids, np.int64),
        table[:, :3].copy(),
        np.array(colours, np.uint8).reshape(-1, 3),
        table[:, 3].copy(),
        np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        track[:, 0].copy(),
        track[:, 1].copy(),
    )


def encode_cameras(cameras: tuple[ColmapCamera, ...]) -> bytes:
    """Return the bytes of cameras.txt."""
    lines = ["# CAMERA_ID, MODEL, WIDTH, HEIGHT, PARAMS[]"]
    lines += [f"{c.id} {c.model} {c.width} {c.height} {_join(c.params)}" for c in cameras]
    return _encode(lines)


def encode_images(images: tuple[ColmapImage, ...]) -> bytes:
    """Return the bytes of images.txt; COLMAP itself reads a name only up to its first space.

    Raises:
        UsageError: a name holds a line break, or spaces at an end.
    """
    lines = ["# IMAGE_ID, QW, QX, QY, QZ, TX, TY, TZ, CAMERA_ID, NAME", "# POINTS2D[] as (X, Y, POINT3D_ID)"]
    for image in images:
        if "\n" in image.name or "\r" in image.name or image.name != image.name.strip() or not image.name:
            raise UsageError("a text model cannot hold this image name", got=repr(image.name[:80]), fix="write binary")
        lines.append(f"{image.id} {_join(image.qvec)} {_join(image.tvec)} {image.camera_id} {image.name}")
        lines.append(_features(image.xy, image.point3D_ids))
    return _encode(lines)


def _features(xy: Float64[np.ndarray, "k 2"], ids: Int64[np.ndarray, " k"]) -> str:
    return " ".join(f"{x!r} {y!r} {i}" for (x, y), i in zip(xy.tolist(), ids.tolist(), strict=True))


def encode_points(points: ColmapPoints) -> bytes:
    """Return the bytes of points3D.txt."""
    lines = ["# POINT3D_ID, X, Y, Z, R, G, B, ERROR, TRACK[] as (IMAGE_ID, POINT2D_IDX)"]
    track = np.stack([points.track_image_ids, points.track_point2D], -1).ravel().tolist()
    bounds = (2 * points.track_offsets).tolist()
    for row in range(len(points.ids)):
        colour = " ".join(map(str, points.rgb[row].tolist()))
        elements = "".join(f" {each}" for each in track[bounds[row] : bounds[row + 1]])
        lines.append(f"{points.ids[row]} {_join(points.xyz[row])} {colour} {float(points.error[row])!r}{elements}")
    return _encode(lines)


def _join(values: Float64[np.ndarray, " k"]) -> str:
    return " ".join(map(repr, values.tolist()))


def _encode(lines: list[str]) -> bytes:
    return ("\n".join(lines) + "\n").encode("utf-8", "surrogateescape")

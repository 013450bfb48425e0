"""COLMAP's cameras.bin, images.bin and points3D.bin (little endian)."""

from __future__ import annotations

import struct
from itertools import pairwise

import numpy as np
from jaxtyping import Int64

from recon3d.core.errors import FormatError, UsageError
from recon3d.formats.colmap_model import (
    CAMERA_MODEL_NAMES,
    CAMERA_MODEL_PARAMS,
    ColmapCamera,
    ColmapImage,
    ColmapPoints,
    make_camera,
)
from recon3d.formats.reading import ByteReader

MAX_NAME_BYTES = 4096
_COUNT = struct.Struct("<Q")
_CAMERA = struct.Struct("<IiQQ")
_IMAGE = struct.Struct("<I7dI")
_FEATURES = np.dtype([("xy", "<f8", 2), ("id", "<i8")])
_POINT = np.dtype([("id", "<i8"), ("xyz", "<f8", 3), ("rgb", "u1", 3), ("error", "<f8"), ("length", "<u8")])
_TRACK = np.dtype([("image", "<u4"), ("feature", "<u4")])


def decode_cameras(data: bytes, name: str) -> tuple[ColmapCamera, ...]:
    """Read cameras.bin.

    Raises:
        FormatError: the bytes are not valid.
    """
    reader = ByteReader(data, name)
    cameras = []
    for _ in range(reader.count(_COUNT, _CAMERA.size, "cameras")):
        camera_id, model, width, height = map(int, reader.unpack(_CAMERA, "a camera"))
        if not 0 <= model < len(CAMERA_MODEL_NAMES):
            raise FormatError(f"{name}: unknown camera model", got=model, expected=f"0..{len(CAMERA_MODEL_NAMES) - 1}")
        model_name = CAMERA_MODEL_NAMES[model]
        params = reader.array(np.dtype("<f8"), CAMERA_MODEL_PARAMS[model_name], "camera parameters").copy()
        cameras.append(make_camera(camera_id, model_name, (width, height), params))
    reader.finish()
    return tuple(cameras)


def decode_images(data: bytes, name: str) -> tuple[ColmapImage, ...]:
    """Read images.bin.

    Raises:
        FormatError: the bytes are not valid.
    """
    reader = ByteReader(data, name)
    n_images = reader.count(_COUNT, _IMAGE.size + 1 + _COUNT.size, "images")
    images = tuple(_decode_image(reader) for _ in range(n_images))
    reader.finish()
    return images


def _decode_image(reader: ByteReader) -> ColmapImage:
    image_id, *pose, camera_id = reader.unpack(_IMAGE, "an image")
    image_name = reader.text(MAX_NAME_BYTES, "an image name")
    n_features = reader.count(_COUNT, _FEATURES.itemsize, "features")
    features = reader.array(_FEATURES, n_features, "features")
    ids = features["id"].copy()
    if (ids < -1).any():
        raise FormatError(f"{reader.name}: impossible point number in image {image_name!r}")
    qvec, tvec = np.array(pose[:4]), np.array(pose[4:])
    return ColmapImage(int(image_id), image_name, qvec, tvec, int(camera_id), features["xy"].copy(), ids)


def decode_points(data: bytes, name: str) -> ColmapPoints:
    """Read points3D.bin.

    Raises:
        FormatError: the bytes are not valid.
    """
    reader = ByteReader(data, name)
    n_points = reader.count(_COUNT, _POINT.itemsize, "points")
    heads, tracks = [], []
    for _ in range(n_points):
        head = reader.take(_POINT.itemsize, "a point")
        length = int.from_bytes(head[-8:], "little")
        heads.append(head)
        tracks.append(reader.take(length * _TRACK.itemsize, "a track"))
    reader.finish()
    points = np.frombuffer(b"".join(heads), _POINT)
    track = np.frombuffer(b"".join(tracks), _TRACK)
    if (points["id"] < 0).any():
        raise FormatError(f"{name}: impossible point number")
    offsets = np.concatenate([[0], np.cumsum(points["length"].astype(np.int64))]).astype(np.int64)
    return ColmapPoints(
        points["id"].copy(),
        points["xyz"].copy(),
        points["rgb"].copy(),
        points["error"].copy(),
        offsets,
        track["image"].astype(np.int64),
        track["feature"].astype(np.int64),
    )


def encode_cameras(cameras: tuple[ColmapCamera, ...]) -> bytes:
    """Return the bytes of cameras.bin."""
    parts = [_COUNT.pack(len(cameras))]
    for camera in cameras:
        parts.append(_CAMERA.pack(camera.id, CAMERA_MODEL_NAMES.index(camera.model), camera.width, camera.height))
        parts.append(camera.params.astype("<f8").tobytes())
    return b"".join(parts)


def encode_images(images: tuple[ColmapImage, ...]) -> bytes:
    """Return the bytes of images.bin.

    Raises:
        UsageError: a name is too long or holds a NUL.
    """
    parts = [_COUNT.pack(len(images))]
    for image in images:
        raw = image.name.encode("utf-8", "surrogateescape")
        if b"\0" in raw or len(raw) > MAX_NAME_BYTES:
            raise UsageError("a COLMAP model cannot hold this image name", got=repr(image.name[:80]))
        features = np.empty(len(image.xy), _FEATURES)
        features["xy"], features["id"] = image.xy, image.point3D_ids
        parts += [_IMAGE.pack(image.id, *image.qvec, *image.tvec, image.camera_id), raw, b"\0"]
        parts += [_COUNT.pack(len(features)), features.tobytes()]
    return b"".join(parts)


def encode_points(points: ColmapPoints) -> bytes:
    """Return the bytes of points3D.bin."""
    heads = np.empty(len(points.ids), _POINT)
    heads["id"], heads["xyz"], heads["rgb"], heads["error"] = points.ids, points.xyz, points.rgb, points.error
    heads["length"] = np.diff(points.track_offsets)
    track = np.empty(len(points.track_image_ids), _TRACK)
    track["image"], track["feature"] = points.track_image_ids, points.track_point2D
    return _COUNT.pack(len(heads)) + _interleave(heads.tobytes(), track.tobytes(), points.track_offsets)


def _interleave(heads: bytes, tracks: bytes, offsets: Int64[np.ndarray, " p_plus_1"]) -> bytes:
    size = _POINT.itemsize
    ends = (offsets * _TRACK.itemsize).tolist()
    parts = []
    for index, (start, end) in enumerate(pairwise(ends)):
        parts += [heads[index * size : (index + 1) * size], tracks[start:end]]
    return b"".join(parts)

"""A COLMAP model in memory, and the checks that every reader and writer of it shares."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64, UInt8

from recon3d.core.errors import FormatError

# name, number of parameters; the position is COLMAP's id of the model (COLMAP 4.2, sensor/models.h)
_MODELS = (
    ("SIMPLE_PINHOLE", 3),
    ("PINHOLE", 4),
    ("SIMPLE_RADIAL", 4),
    ("RADIAL", 5),
    ("OPENCV", 8),
    ("OPENCV_FISHEYE", 8),
    ("FULL_OPENCV", 12),
    ("FOV", 5),
    ("SIMPLE_RADIAL_FISHEYE", 4),
    ("RADIAL_FISHEYE", 5),
    ("THIN_PRISM_FISHEYE", 12),
    ("RAD_TAN_THIN_PRISM_FISHEYE", 16),
    ("SIMPLE_DIVISION", 4),
    ("DIVISION", 5),
    ("SIMPLE_FISHEYE", 3),
    ("FISHEYE", 4),
    ("EUCM", 6),
    ("EQUIRECTANGULAR", 2),
)
CAMERA_MODEL_NAMES = tuple(name for name, _ in _MODELS)
CAMERA_MODEL_PARAMS = dict(_MODELS)
MAX_ID = 2**31 - 1
MAX_SIDE = 2**31 - 1


@dataclass(frozen=True, eq=False)
class ColmapCamera:
    """Intrinsics that images share.

    Args:
        id: number of the camera.
        model: COLMAP's name of the model, one of ``CAMERA_MODEL_NAMES``.
        width: pixels.
        height: pixels.
        params: focal lengths, principal point, distortion in COLMAP's order, ``[k]``.
    """

    id: int
    model: str
    width: int
    height: int
    params: Float64[np.ndarray, " k"]


@dataclass(frozen=True, eq=False)
class ColmapImage:
    """A registered image.

    Args:
        id: number of the image.
        name: path relative to the image folder.
        qvec: rotation of cam_from_world as a quaternion ``w x y z``, ``[4]``.
        tvec: translation of cam_from_world, ``[3]``.
        camera_id: its camera.
        xy: pixels of its features, origin at the outer top-left corner, ``[k,2]``.
        point3D_ids: the 3D point of each feature, -1 = none, ``[k]``.
    """

    id: int
    name: str
    qvec: Float64[np.ndarray, "4"]
    tvec: Float64[np.ndarray, "3"]
    camera_id: int
    xy: Float64[np.ndarray, "k 2"]
    point3D_ids: Int64[np.ndarray, " k"]


@dataclass(frozen=True, eq=False)
class ColmapPoints:
    """3D points; the track of point ``i`` is ``track_offsets[i]:track_offsets[i+1]``.

    Args:
        ids: numbers of the points, ``[p]``.
        xyz: world coordinates, ``[p,3]``.
        rgb: colours, ``[p,3]``.
        error: mean reprojection error in pixels, ``[p]``; -1 or NaN = unknown.
        track_offsets: start of each track and the end of the last, ``[p+1]``.
        track_image_ids: image of each track element, ``[t]``.
        track_point2D: index of each track element into the features of its image, ``[t]``.
    """

    ids: Int64[np.ndarray, " p"]
    xyz: Float64[np.ndarray, "p 3"]
    rgb: UInt8[np.ndarray, "p 3"]
    error: Float64[np.ndarray, " p"]
    track_offsets: Int64[np.ndarray, " p_plus_1"]
    track_image_ids: Int64[np.ndarray, " t"]
    track_point2D: Int64[np.ndarray, " t"]


@dataclass(frozen=True, eq=False)
class ColmapModel:
    """Cameras, images and points of one COLMAP reconstruction, in the order of the files."""

    cameras: tuple[ColmapCamera, ...]
    images: tuple[ColmapImage, ...]
    points: ColmapPoints


def make_camera(camera_id: int, model: str, size: tuple[int, int], params: Float64[np.ndarray, " k"]) -> ColmapCamera:
    """Return a camera after checking its model, size and parameters.

    Raises:
        FormatError: an unknown model, a wrong number of parameters, or a size or parameter that no camera has.
    """
    where = f"camera {camera_id}"
    if model not in CAMERA_MODEL_PARAMS:
        raise FormatError(f"{where}: unknown camera model", got=repr(model)[:40], expected=CAMERA_MODEL_NAMES)
    if len(params) != CAMERA_MODEL_PARAMS[model]:
        raise FormatError(f"{where}: wrong number of {model} parameters", got=len(params))
    if not np.isfinite(params).all():
        raise FormatError(f"{where}: parameters are not finite", got=params.tolist())
    if not (0 < size[0] <= MAX_SIDE and 0 < size[1] <= MAX_SIDE and 0 <= camera_id <= MAX_ID):
        raise FormatError(f"{where}: impossible image size or camera number", got=size)
    return ColmapCamera(camera_id, model, size[0], size[1], params)


def check_model(model: ColmapModel, where: str) -> None:
    """Check that all references inside a model hold.

    Args:
        model: as read.
        where: how error texts call it.

    Raises:
        FormatError: duplicate numbers or names, numbers that are not finite, or a reference to something absent.
    """
    camera_ids = {camera.id for camera in model.cameras}
    names = {image.name for image in model.images}
    image_ids = {image.id for image in model.images}
    if len(camera_ids) < len(model.cameras) or len(image_ids) < len(model.images) or len(names) < len(model.images):
        raise FormatError(f"{where}: a camera or image appears twice")
    point_ids = np.sort(model.points.ids)
    if (np.diff(point_ids) == 0).any():
        raise FormatError(f"{where}: a point appears twice")
    if not np.isfinite(model.points.xyz).all():
        raise FormatError(f"{where}: point coordinates are not finite")
    for image in model.images:
        _check_image(image, camera_ids, point_ids, f"{where}: image {image.id}")
    _check_tracks(model, where)


def _check_image(image: ColmapImage, camera_ids: set[int], point_ids: Int64[np.ndarray, " p"], where: str) -> None:
    if image.camera_id not in camera_ids:
        raise FormatError(f"{where} refers to an absent camera", got=image.camera_id)
    finite = np.isfinite(image.qvec).all() and np.isfinite(image.tvec).all() and np.isfinite(image.xy).all()
    with np.errstate(over="ignore"):
        length = np.sqrt((image.qvec**2).sum())
    if not finite or not 1e-6 < length < 1e6:
        raise FormatError(f"{where}: pose or features are not finite", got=f"quaternion {image.qvec.tolist()}")
    linked = image.point3D_ids[image.point3D_ids != -1]
    position = np.minimum(np.searchsorted(point_ids, linked), max(len(point_ids) - 1, 0))
    if linked.size and not (len(point_ids) and (point_ids[position] == linked).all()):
        raise FormatError(f"{where} refers to an absent point")


def _check_tracks(model: ColmapModel, where: str) -> None:
    points = model.points
    n_features = np.array([len(image.xy) for image in model.images] + [0])
    ids = np.array([image.id for image in model.images] + [-1], np.int64)
    order = np.argsort(ids)
    position = np.minimum(np.searchsorted(ids[order], points.track_image_ids), len(ids) - 1)
    known = ids[order][position] == points.track_image_ids
    inside = (points.track_point2D >= 0) & (points.track_point2D < n_features[order][position])
    if not (known & inside).all():
        bad = int(np.flatnonzero(~(known & inside))[0])
        got = f"image {points.track_image_ids[bad]}, feature {points.track_point2D[bad]}"
        raise FormatError(f"{where}: a track refers to an absent image or feature", got=got)

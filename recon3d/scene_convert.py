"""From the plain arrays of the file codecs to cameras and scenes, and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float64, Int64

from recon3d.core.errors import FormatError
from recon3d.formats.colmap import ColmapCamera, ColmapImage, ColmapModel, ColmapPoints
from recon3d.formats.quaternions import quaternion_from_rotation, rotation_from_quaternion
from recon3d.formats.transforms import Transforms
from recon3d.render.cameras import Cameras, undistort
from recon3d.scene import Points, Scene

# where fx, fy, cx, cy and k1, k2, p1, p2 stand among the parameters of COLMAP's models; -1 = zero
_LENSES = {
    "SIMPLE_PINHOLE": ((0, 0, 1, 2), (-1, -1, -1, -1)),
    "PINHOLE": ((0, 1, 2, 3), (-1, -1, -1, -1)),
    "SIMPLE_RADIAL": ((0, 0, 1, 2), (3, -1, -1, -1)),
    "RADIAL": ((0, 0, 1, 2), (3, 4, -1, -1)),
    "OPENCV": ((0, 1, 2, 3), (4, 5, 6, 7)),
}


def cameras_from_colmap(model: ColmapModel) -> Cameras:
    """Return the cameras of a COLMAP model in the order of ``model.images``.

    Raises:
        FormatError: an image has a lens model other than SIMPLE_PINHOLE, PINHOLE, SIMPLE_RADIAL, RADIAL and OPENCV.
    """
    needed = {image.camera_id for image in model.images}
    lenses = {camera.id: _lens(camera) for camera in model.cameras if camera.id in needed}
    used = [lenses[image.camera_id] for image in model.images]
    n = len(model.images)
    poses = np.tile(np.eye(4), (n, 1, 1))
    poses[:, :3, :3] = rotation_from_quaternion(np.array([image.qvec for image in model.images]).reshape(-1, 4))
    poses[:, :3, 3] = np.array([image.tvec for image in model.images]).reshape(-1, 3)
    distortion = np.array([each[2] for each in used]).reshape(-1, 4)
    return Cameras(
        poses,
        np.array([each[0] for each in used]).reshape(-1, 3, 3),
        np.array([each[1].width for each in used], np.int64),
        np.array([each[1].height for each in used], np.int64),
        distortion if distortion.any() else None,
    )


def _lens(camera: ColmapCamera) -> tuple[Float64[np.ndarray, "3 3"], ColmapCamera, Float64[np.ndarray, "4"]]:
    if camera.model not in _LENSES:
        what = f"camera {camera.id}: this lens model is not supported"
        raise FormatError(what, got=camera.model, expected=sorted(_LENSES), fix="undistort with COLMAP first")
    padded = np.append(camera.params, 0.0)
    pinhole, lens = (padded[list(each)] for each in _LENSES[camera.model])
    K = np.array([[pinhole[0], 0, pinhole[2]], [0, pinhole[1], pinhole[3]], [0, 0, 1.0]])
    return K, camera, lens


def cameras_from_transforms(transforms: Transforms) -> Cameras:
    """Return the cameras of a transforms.json in the order of its frames."""
    t = transforms
    return Cameras(t.cam_from_world, t.K, t.width, t.height, t.distortion if t.distortion.any() else None)


def transforms_from_cameras(cameras: Cameras, names: Sequence[str], ply_file_path: str = "") -> Transforms:
    """Return cameras as frames of a transforms.json, ``names[i]`` being the image of camera ``i``."""
    n = len(cameras)
    distortion = np.zeros((n, 4)) if cameras.distortion is None else cameras.distortion
    poses, sizes = cameras.cam_from_world, (cameras.width, cameras.height)
    return Transforms(tuple(names), poses, cameras.K, *sizes, distortion, None, ply_file_path)


def colmap_from_cameras(
    cameras: Cameras, names: Sequence[str], points: Points, camera_group: Int64[np.ndarray, " n"] | None = None
) -> ColmapModel:
    """Return cameras and points as a COLMAP model.

    Image ``i + 1`` is camera ``i``, point ``j + 1`` is point ``j``. The features of an image are its observations in
    the order of ``points``. Images of one group with the same intrinsics share a COLMAP camera of the simplest lens
    model that holds them (PINHOLE, SIMPLE_RADIAL, RADIAL or OPENCV).

    Args:
        cameras: the cameras.
        names: image of each camera.
        points: points whose ``obs_xy`` are pixels of these cameras.
        camera_group: cameras with different numbers never share intrinsics, ``[n]``; default: they may all.

    Returns:
        The model.
    """
    group = np.zeros(len(cameras), np.int64) if camera_group is None else camera_group
    lenses, camera_ids = _shared_lenses(cameras, group)
    feature, order, bounds = _features(points, len(cameras))
    quaternion = quaternion_from_rotation(cameras.cam_from_world[:, :3, :3])
    images = []
    for index, name in enumerate(names):
        rows = order[bounds[index] : bounds[index + 1]]
        ids = points.obs_point[rows].astype(np.int64) + 1
        pose = quaternion[index], cameras.cam_from_world[index, :3, 3].copy()
        images.append(ColmapImage(index + 1, name, *pose, camera_ids[index], points.obs_xy[rows], ids))
    return ColmapModel(lenses, tuple(images), _colmap_points(points, feature))


def _shared_lenses(cameras: Cameras, group: Int64[np.ndarray, " n"]) -> tuple[tuple[ColmapCamera, ...], list[int]]:
    lenses: dict[tuple[int, str, int, int, bytes], ColmapCamera] = {}
    ids = []
    for index in range(len(cameras)):
        model, params = _params(cameras, index)
        size = int(cameras.width[index]), int(cameras.height[index])
        key = (int(group[index]), model, *size, params.tobytes())
        lens = lenses.setdefault(key, ColmapCamera(len(lenses) + 1, model, *size, params))
        ids.append(lens.id)
    return tuple(lenses.values()), ids


def _params(cameras: Cameras, index: int) -> tuple[str, Float64[np.ndarray, " k"]]:
    K = cameras.K[index]
    pinhole = [K[0, 0], K[1, 1], K[0, 2], K[1, 2]]
    k1, k2, p1, p2 = np.zeros(4) if cameras.distortion is None else cameras.distortion[index]
    if not (k1 or k2 or p1 or p2):
        return "PINHOLE", np.array(pinhole)
    if p1 or p2 or K[0, 0] != K[1, 1]:
        return "OPENCV", np.array([*pinhole, k1, k2, p1, p2])
    if k2:
        return "RADIAL", np.array([*pinhole[1:], k1, k2])
    return "SIMPLE_RADIAL", np.array([*pinhole[1:], k1])


def _features(
    points: Points, n_cameras: int
) -> tuple[Int64[np.ndarray, " o"], Int64[np.ndarray, " o"], Int64[np.ndarray, " n_plus_1"]]:
    """Return the feature number of each observation in its image, and the observations sorted by image with bounds."""
    order = np.argsort(points.obs_view, kind="stable").astype(np.int64)
    bounds = np.concatenate([[0], np.cumsum(np.bincount(points.obs_view, minlength=n_cameras))]).astype(np.int64)
    feature = np.empty(len(order), np.int64)
    feature[order] = np.arange(len(order)) - bounds[points.obs_view[order]]
    return feature, order, bounds


def _colmap_points(points: Points, feature: Int64[np.ndarray, " o"]) -> ColmapPoints:
    offsets = np.concatenate([[0], np.cumsum(points.track_length)]).astype(np.int64)
    ids = np.arange(1, len(points) + 1)
    return ColmapPoints(
        ids, points.xyz, points.rgb, points.error_px, offsets, points.obs_view.astype(np.int64) + 1, feature
    )


def points_from_colmap(model: ColmapModel, sigma: Float64[np.ndarray, " p"] | None = None) -> Points:
    """Return the points of a COLMAP model in the order of its file; ``obs_view`` counts in ``model.images``.

    Args:
        model: the model.
        sigma: position sigmas in world units, ``[p]``; default: unknown.

    Returns:
        Points with their tracks, observations in the order of the tracks.
    """
    points = model.points
    rows = {image.id: row for row, image in enumerate(model.images)}
    view = np.array([rows[image_id] for image_id in points.track_image_ids.tolist()], np.int64)
    starts = np.concatenate([[0], np.cumsum([len(image.xy) for image in model.images])]).astype(np.int64)
    xy = np.concatenate([np.zeros((0, 2)), *(image.xy for image in model.images)])
    return Points(
        points.xyz,
        points.rgb,
        points.error,
        np.full(len(points.ids), np.nan) if sigma is None else sigma,
        np.repeat(np.arange(len(points.ids)), np.diff(points.track_offsets)).astype(np.int32),
        view.astype(np.int32),
        xy[starts[view] + points.track_point2D],
    )


def pinhole_points(scene: Scene) -> Points:
    """Return the points of a scene with the observations moved to the undistorted photos of ``pinhole_cameras``.

    Observations where the lens model has no inverse (outliers beyond its fold) are left out.
    """
    points, cameras = scene.points, scene.cameras
    view = points.obs_view
    normalized = (points.obs_xy - cameras.K[view][:, :2, 2]) / cameras.K[view][:, (0, 1), (0, 1)]
    if cameras.distortion is not None:
        normalized = undistort(normalized, cameras.distortion[view])
    K = scene.pinhole_cameras.K[view]
    xy = normalized * K[:, (0, 1), (0, 1)] + K[:, :2, 2]
    kept = np.isfinite(xy).all(axis=1)
    return replace(points, obs_point=points.obs_point[kept], obs_view=view[kept], obs_xy=xy[kept])

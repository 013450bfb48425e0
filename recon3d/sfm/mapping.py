"""Incremental and global mapping with COLMAP, each single-threaded and seeded so that its result is reproducible."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float64

from recon3d.core.files import atomic_path
from recon3d.render.cameras import Cameras
from recon3d.scene import Points
from recon3d.sfm.matching import to_pycolmap
from recon3d.sfm.types import Mapped, MapperName, Pair

if TYPE_CHECKING:
    import pycolmap

FEW_PHOTOS = 10  # up to here COLMAP's defaults (ten photos a model, three photos a track) would refuse good captures


def build_database(
    path: Path, features: Sequence[str], cameras: Sequence[dict[str, Any]], group: Sequence[int], pairs: Sequence[Pair]
) -> None:
    """Write a COLMAP database: photo ``i`` becomes image ``i + 1``, camera group ``g`` becomes camera ``g + 1``.

    Args:
        path: the database file to create.
        features: path of each photo's features.
        cameras: first guess of each photo's camera; a group takes that of its first photo.
        group: camera group of each photo.
        pairs: verified pairs.
    """
    import pycolmap

    path.unlink(missing_ok=True)
    with pycolmap.Database.open(path) as database:
        for index in sorted(set(group)):
            camera = to_pycolmap(cameras[list(group).index(index)])
            camera.camera_id = index + 1
            database.write_camera(camera, use_camera_id=True)
            rig = pycolmap.Rig(rig_id=index + 1)
            rig.add_ref_sensor(camera.sensor_id)
            database.write_rig(rig, use_rig_id=True)
        for photo, (file, camera_group) in enumerate(zip(features, group, strict=True)):
            _write_image(database, photo, camera_group, file)
        for pair in pairs:
            geometry = pycolmap.TwoViewGeometry()
            geometry.config = pycolmap.TwoViewGeometryConfiguration.__members__[pair.config]
            geometry.inlier_matches = pair.matches.astype(np.uint32)
            database.write_matches(pair.first + 1, pair.second + 1, pair.matches.astype(np.uint32))
            database.write_two_view_geometry(pair.first + 1, pair.second + 1, geometry)


def _write_image(database: pycolmap.Database, photo: int, group: int, features: str) -> None:
    import pycolmap

    image = pycolmap.Image(image_id=photo + 1, name=f"{photo:06d}", camera_id=group + 1)
    database.write_image(image, use_image_id=True)
    frame = pycolmap.Frame(frame_id=photo + 1, rig_id=group + 1)
    frame.add_data_id(image.data_id)
    database.write_frame(frame, use_frame_id=True)
    with np.load(features, allow_pickle=False) as data:
        database.write_keypoints(photo + 1, data["xy"].astype(np.float32))


def run_mapper(mapper: MapperName, database: Path, n_photos: int, seed: int, calibrated: bool) -> list[Mapped]:
    """Return the models of a mapper, the largest first.

    Args:
        mapper: ``incremental`` or ``global``.
        database: from :func:`build_database`; the mappers may write beside it.
        n_photos: photos in the database.
        seed: seed of the mapper's random choices.
        calibrated: keep the given intrinsics fixed.
    """
    run = incremental_models if mapper == "incremental" else global_models
    models = [model for model in run(database, n_photos, seed, calibrated) if model.num_reg_images() >= 2]
    models.sort(key=lambda model: (-model.num_reg_images(), -model.num_points3D(), min(model.reg_image_ids())))
    return [to_mapped(model, mapper) for model in models]


def incremental_models(database: Path, n_photos: int, seed: int, calibrated: bool) -> list[pycolmap.Reconstruction]:
    """Return the models of COLMAP's incremental mapper."""
    import pycolmap

    options = mapper_options(n_photos, seed, calibrated)
    models = pycolmap.incremental_mapping(database, database.parent, database.parent, options)
    return [model for _, model in sorted(models.items())]


def mapper_options(n_photos: int, seed: int, calibrated: bool) -> pycolmap.IncrementalPipelineOptions:
    """Return the options of the incremental mapper and of triangulation."""
    import pycolmap

    options = pycolmap.IncrementalPipelineOptions()
    options.num_threads, options.random_seed, options.extract_colors = 1, seed, False
    options.mapper.num_threads, options.mapper.random_seed = 1, seed
    options.triangulation.random_seed = seed
    if calibrated:
        options.ba_refine_focal_length = options.ba_refine_extra_params = False
        options.mapper.abs_pose_refine_focal_length = options.mapper.abs_pose_refine_extra_params = False
    options.min_model_size = min(FEW_PHOTOS, max(2, n_photos // 3))
    options.triangulation.ignore_two_view_tracks = n_photos > FEW_PHOTOS
    return options


def global_models(database: Path, n_photos: int, seed: int, calibrated: bool) -> list[pycolmap.Reconstruction]:
    """Return the models of COLMAP's global mapper (GLOMAP)."""
    import pycolmap

    options = pycolmap.GlobalPipelineOptions()
    options.num_threads, options.random_seed = 1, seed
    mapper = options.mapper
    mapper.num_threads, mapper.random_seed = 1, seed
    mapper.global_positioning.use_gpu = mapper.bundle_adjustment.ceres.use_gpu = False
    if calibrated:
        mapper.bundle_adjustment.refine_focal_length = mapper.bundle_adjustment.refine_extra_params = False
    models = pycolmap.global_mapping(database, database.parent, database.parent, options)
    return [model for _, model in sorted(models.items())]


def to_mapped(model: pycolmap.Reconstruction, mapper: MapperName) -> Mapped:
    """Return a COLMAP model whose image ids are photo indices plus one as plain arrays."""
    ids = sorted(model.reg_image_ids())
    images = [model.images[i] for i in ids]
    rows = {image_id: row for row, image_id in enumerate(ids)}
    poses = np.stack([np.vstack([image.cam_from_world().matrix(), [0, 0, 0, 1]]) for image in images])
    cameras = _to_cameras([model.cameras[image.camera_id] for image in images], poses)
    group = np.array([image.camera_id - 1 for image in images], np.int64)
    return Mapped(mapper, np.array(ids, np.int64) - 1, cameras, group, _to_points(model, rows))


def _to_cameras(cameras: Sequence[pycolmap.Camera], poses: Float64[np.ndarray, "n 4 4"]) -> Cameras:
    K, distortion = np.zeros((len(cameras), 3, 3)), np.zeros((len(cameras), 4))
    for row, camera in enumerate(cameras):
        K[row] = camera.calibration_matrix()
        distortion[row] = distortion_of(camera)
    size = np.array([(camera.width, camera.height) for camera in cameras], np.int64)
    return Cameras(poses, K, size[:, 0], size[:, 1], distortion)


def distortion_of(camera: pycolmap.Camera) -> Float64[np.ndarray, "4"]:
    """Return OpenCV's ``k1 k2 p1 p2`` of a (simple) pinhole, (simple) radial or OpenCV camera."""
    extra = np.asarray(camera.params)[list(camera.extra_params_idxs())]
    return np.concatenate([extra, np.zeros(4 - len(extra))])


def _to_points(model: pycolmap.Reconstruction, rows: dict[int, int]) -> Points:
    points = sorted(model.points3D.items())
    tracks = [sorted((e.image_id, e.point2D_idx) for e in point.track.elements) for _, point in points]
    flat = [(p, image, index) for p, track in enumerate(tracks) for image, index in track if image in rows]
    keypoints = {image: np.array([p.xy for p in model.images[image].points2D]).reshape(-1, 2) for image in rows}
    xy = np.array([keypoints[image][index] for _, image, index in flat]).reshape(-1, 2)
    n = len(points)
    return Points(
        xyz=np.array([point.xyz for _, point in points]).reshape(-1, 3),
        rgb=np.array([point.color for _, point in points], np.uint8).reshape(-1, 3),
        error_px=np.array([point.error for _, point in points]),
        sigma=np.full(n, np.nan),
        obs_point=np.array([p for p, _, _ in flat], np.int32),
        obs_view=np.array([rows[image] for _, image, _ in flat], np.int32),
        obs_xy=xy,
    )


def save_mapped(path: Path, mapped: Mapped) -> None:
    """Write a model to an ``.npz``, atomically."""
    cameras, points = mapped.cameras, mapped.points
    distortion = np.zeros((len(cameras), 4)) if cameras.distortion is None else cameras.distortion
    arrays = {"photo": mapped.photo, "camera_group": mapped.camera_group, "distortion": distortion}
    arrays |= {name: getattr(cameras, name) for name in ("cam_from_world", "K", "width", "height")}
    arrays |= {item.name: getattr(points, item.name) for item in fields(points)}
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez(file, allow_pickle=False, mapper=np.array(mapped.mapper), **arrays)


def load_mapped(path: Path) -> Mapped:
    """Read what :func:`save_mapped` wrote."""
    with np.load(path, allow_pickle=False) as data:
        cameras = Cameras(*(data[name] for name in ("cam_from_world", "K", "width", "height", "distortion")))
        points = Points(**{item.name: data[item.name] for item in fields(Points)})
        mapper: Any = str(data["mapper"])
        return Mapped(mapper, data["photo"], cameras, data["camera_group"], points)

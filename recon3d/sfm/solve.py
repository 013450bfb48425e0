"""Worker tasks of the camera search: map and refine with one mapper, or refine known poses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64

from recon3d.render.cameras import Cameras
from recon3d.scene import Points
from recon3d.sfm.intrinsics import Assumptions, assume
from recon3d.sfm.mapping import build_database, load_mapped, run_mapper, save_mapped
from recon3d.sfm.matching import load_pairs
from recon3d.sfm.options import parse_calibration
from recon3d.sfm.refine import Refined, approach, refine, triangulated
from recon3d.sfm.types import Mapped

MAX_MODELS = 3  # of one mapper that are refined and verified


@dataclass(frozen=True)
class Capture:
    """What all mappers are given, JSON-ready.

    Args:
        features: path of each photo's features.
        cameras: first guess of each photo's camera, see ``recon3d.sfm.matching.guess_camera``.
        group: camera group of each photo.
        pairs: path of the verified pairs.
        seed: seed of the mapper's random choices.
        principal_point: ``auto``, ``fixed`` or ``free``.
        calibration: known intrinsics as text.
    """

    features: tuple[str, ...]
    cameras: tuple[dict[str, Any], ...]
    group: tuple[int, ...]
    pairs: str
    seed: int
    principal_point: str
    calibration: str | None

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Capture:
        """Return the capture whose fields these are; JSON turns tuples into lists."""
        return cls(**{**value, **{name: tuple(value[name]) for name in ("features", "cameras", "group")}})

    def focal_px(self) -> Float64[np.ndarray, " n"]:
        """Return each photo's focal length by EXIF, NaN where unknown."""
        return np.array([c["params"][0] if c["prior"] else np.nan for c in self.cameras])

    def database(self, path: Path) -> Path:
        """Write the COLMAP database of the capture."""
        build_database(path, self.features, self.cameras, self.group, load_pairs(Path(self.pairs)))
        return path


def solve_task(capture: Mapping[str, Any], mapper: Any, target: str) -> dict[str, Any]:
    """Map the photos with one mapper and refine its largest models (a worker task).

    Args:
        capture: fields of a :class:`Capture`.
        mapper: ``incremental`` or ``global``.
        target: folder for the models, ``0.npz`` and so on.

    Returns:
        ``{"models": [description, ...]}``, the largest first.
    """
    _quiet()
    given, folder = Capture.from_json(capture), Path(target)
    calibrated = given.calibration is not None
    with _database(given, folder) as database:
        models = run_mapper(mapper, database, len(given.features), given.seed, calibrated)[:MAX_MODELS]
        described = [_refined(model, given, database, folder / f"{k}.npz") for k, model in enumerate(models)]
    return {"models": described}


def known_poses_task(
    capture: Mapping[str, Any], poses: str, target: str, exact: bool = False, rough: bool = False
) -> dict[str, Any]:
    """Triangulate and refine photos whose poses are known, and put the result back into their frame (a worker task).

    Args:
        capture: fields of a :class:`Capture`.
        poses: ``.npz`` of a model without points, as ``save_mapped`` writes it.
        target: folder for the model.
        exact: the cameras are kept as they are.
        rough: they are only roughly right, such as those of a network.

    Returns:
        As :func:`solve_task`.
    """
    _quiet()
    given, folder = Capture.from_json(capture), Path(target)
    known = with_calibration(load_mapped(Path(poses)), given.calibration)
    with _database(given, folder) as database:
        start = approach(known, _assumed(known, given), database, len(given.features), given.seed) if rough else known
        description = _refined(start, given, database, folder / "0.npz", known.cameras, exact)
    return {"models": [description]}


def with_calibration(mapped: Mapped, calibration: str | None) -> Mapped:
    """Return the model with known intrinsics in place of its own."""
    if calibration is None:
        return mapped
    fx, fy, cx, cy, *distortion = parse_calibration(calibration)
    K = np.tile(np.array([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]]), (len(mapped.photo), 1, 1))
    cameras = replace(mapped.cameras, K=K, distortion=np.tile(np.array(distortion), (len(mapped.photo), 1)))
    return replace(mapped, cameras=cameras)


@contextmanager
def _database(given: Capture, folder: Path) -> Iterator[Path]:
    """Yield a database in a folder of its own below ``folder``: COLMAP leaves models beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix="colmap-", dir=folder) as scratch:
        yield given.database(Path(scratch) / "database.db")


def _quiet() -> None:
    import pycolmap

    pycolmap.logging.minloglevel = 2


def _refined(
    mapped: Mapped,
    given: Capture,
    database: Path,
    target: Path,
    anchor: Cameras | None = None,
    exact: bool = False,
) -> dict[str, Any]:
    """Refine one model, write it and describe it."""
    assumed = _assumed(mapped, given)
    n_photos = len(given.features)
    if exact:
        refined = triangulated(mapped, assumed, database, n_photos, given.seed)
    else:
        known = anchor is not None
        refined = refine(mapped, assumed, given.principal_point, database, n_photos, given.seed, known)
    model = refined.mapped if anchor is None or exact else _anchored(refined.mapped, anchor)
    save_mapped(target, model)
    return {"file": target.name, "notes": list(refined.notes), **describe(refined)}


def _assumed(mapped: Mapped, given: Capture) -> Assumptions:
    _, group = np.unique(mapped.camera_group, return_inverse=True)
    calibration = None if given.calibration is None else parse_calibration(given.calibration)
    return assume(mapped.cameras, group, given.focal_px()[mapped.photo], calibration)


def describe(refined: Refined) -> dict[str, Any]:
    """Return what a refinement learned of the lenses, JSON-ready."""
    assumed, groups = refined.assumed, np.unique(refined.mapped.camera_group)
    return {
        "n_photos": len(refined.mapped.photo),
        "n_points": len(refined.mapped.points),
        "noise_px": round(refined.adjusted.sigma_px, 4),
        "groups": groups.tolist(),
        "cropped_groups": groups[assumed.cropped].tolist(),
        "unshared_groups": groups[refined.unshared].tolist(),
        "free_principal_point": assumed.free_centre,
        "free_radial2": assumed.free_radial2,
        "gains": {name: round(gain, 5) for name, gain in refined.gains.items()},
        "exif_focal_px": [None if np.isnan(f) else float(f) for f in assumed.focal_px],
    }


def assumptions_of(description: Mapping[str, Any], mapped: Mapped, calibration: str | None) -> Assumptions:
    """Return the assumptions that :func:`describe` recorded, for the groups that are left in ``mapped``."""
    groups, group = np.unique(mapped.camera_group, return_inverse=True)
    known = None if calibration is None else parse_calibration(calibration)
    start = assume(mapped.cameras, group, np.full(len(mapped.photo), np.nan), known)
    focal = dict(zip(description["groups"], description["exif_focal_px"], strict=True))
    return replace(
        start,
        focal_px=np.array([np.nan if focal[g] is None else focal[g] for g in groups.tolist()]),
        cropped=np.isin(groups, description["cropped_groups"]),
        free_centre=description["free_principal_point"],
        free_radial2=description["free_radial2"],
    )


def _anchored(mapped: Mapped, anchor: Cameras) -> Mapped:
    """Return the model moved back to the frame of known poses by the best similarity of the camera centres."""
    new_from_old = similarity(mapped.cameras, anchor)
    xyz = mapped.points.xyz @ new_from_old[:3, :3].T + new_from_old[:3, 3]
    points = replace(mapped.points, xyz=xyz)
    return replace(mapped, cameras=mapped.cameras.transformed(new_from_old), points=points)


def similarity(estimate: Cameras, target: Cameras) -> Float64[np.ndarray, "4 4"]:
    """Return the similarity that brings cameras onto others: rotation from the orientations, the rest from the centres.

    The mean orientation is well defined for any number of cameras, also for centres on a line.
    """
    relative = np.einsum("nji,njk->ik", target.cam_from_world[:, :3, :3], estimate.cam_from_world[:, :3, :3])
    u, _, vt = np.linalg.svd(relative)
    rotation = u @ np.diag([1.0, 1.0, np.linalg.det(u @ vt)]) @ vt
    a = (estimate.centers - estimate.centers.mean(axis=0)) @ rotation.T
    b = target.centers - target.centers.mean(axis=0)
    spread = float((a * a).sum())
    scale = float((a * b).sum()) / spread if spread > 0 else 1.0
    out = np.eye(4)
    out[:3, :3] = scale * rotation
    out[:3, 3] = target.centers.mean(axis=0) - out[:3, :3] @ estimate.centers.mean(axis=0)
    return out


def no_points() -> Points:
    """Return an empty set of points."""
    return Points(
        xyz=np.zeros((0, 3)),
        rgb=np.zeros((0, 3), np.uint8),
        error_px=np.zeros(0),
        sigma=np.zeros(0),
        obs_point=np.zeros(0, np.int32),
        obs_view=np.zeros(0, np.int32),
        obs_xy=np.zeros((0, 2)),
    )


def known_model(cameras: Cameras, photo: Int64[np.ndarray, " n"], group: Int64[np.ndarray, " n"]) -> Mapped:
    """Return cameras with known poses as a model without points."""
    return Mapped("known", photo, cameras, group, no_points())

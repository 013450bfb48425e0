"""The last worker task of the camera search: unverified photos out, uncertainties, colours, level, scale, twins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64, UInt8

from recon3d.core.files import atomic_path
from recon3d.render.cameras import Cameras
from recon3d.scene import Points, Scale
from recon3d.sfm.covariance import CovarianceOptions, Uncertainty, uncertainty
from recon3d.sfm.intrinsics import CENTRE, Assumptions, make_priors
from recon3d.sfm.level import level
from recon3d.sfm.mapping import load_mapped, save_mapped
from recon3d.sfm.refine import adjust_mapped, keep_observations, with_errors
from recon3d.sfm.scale import ScaleOptions, estimate_scale
from recon3d.sfm.solve import assumptions_of
from recon3d.sfm.types import Mapped
from recon3d.sfm.undistort import pinhole_twins

# Residuals of one photo are correlated, so that the formal sigmas are too small: by this factor on the photo sets whose
# cameras a laser or a gantry measured.
INFLATION = 2.0
METRIC_NETWORK = "the network, which was trained on metres; no interval is known"


@dataclass(frozen=True, eq=False)
class Finished:
    """Everything that a scene needs from the camera search.

    Args:
        mapped: the model in its final world.
        twins: pinhole cameras of the undistorted photos.
        pose_sigma: as in ``Scene.pose_sigma``, ``[n,6]``.
        world_from_sfm: similarity from the mapper's frame, ``[4,4]``.
        scale: what one unit means.
        metrics: numbers of levelling, scale and uncertainty, JSON-ready.
        warnings: plain sentences.
    """

    mapped: Mapped
    twins: Cameras
    pose_sigma: Float64[np.ndarray, "n 6"]
    world_from_sfm: Float64[np.ndarray, "4 4"]
    scale: Scale
    metrics: Mapping[str, Any]
    warnings: tuple[str, ...]


def finish_task(
    model: str,
    description: Mapping[str, Any],
    drop: Sequence[int],
    features: Sequence[str],
    keys: Sequence[str],
    gps: Sequence[Sequence[float | None] | None],
    scale: Mapping[str, Any],
    keep_gauge: bool,
    calibration: str | None,
    seed: int,
    target: str,
) -> dict[str, Any]:
    """Finish a verified model and write it (a worker task).

    Args:
        model: ``.npz`` of the chosen model.
        description: what ``recon3d.sfm.solve.describe`` said of it.
        drop: photos whose pose is not trusted.
        features: path of each photo's features.
        keys: key of each photo.
        gps: latitude, longitude, altitude of each photo, or None.
        scale: fields of :class:`ScaleOptions`.
        keep_gauge: keep the frame of the mapper or of the known poses.
        calibration: known intrinsics as text.
        seed: of the plane search in levelling.
        target: folder to write to.

    Returns:
        Metrics, scale and warnings, JSON-ready; :func:`load_finished` reads the whole.
    """
    mapped = load_mapped(Path(model))
    if mapped.mapper == "network":  # no adjustment: its points have colours and sigmas, and its poses have none
        mapped = with_errors(without_photos(mapped, drop)) if drop else mapped
        state, metrics = _State(mapped, np.full((len(mapped.photo), 6), np.nan), np.eye(4)), dict[str, Any]()
    else:
        state, metrics = _measured(mapped, description, drop, features, calibration)
    unit = 1.0
    if not keep_gauge:
        levelled = level(state.mapped.cameras, state.mapped.points, seed)
        state = state.moved(levelled.new_from_old)
        unit = float(np.cbrt(np.linalg.det(levelled.new_from_old[:3, :3])))
        metrics["level"] = {"method": levelled.method, **levelled.metrics}
    # GPS turns the world to the map, which a kept frame must not be.
    wanted = replace(ScaleOptions(**scale), gps="off") if keep_gauge else ScaleOptions(**scale)
    registered = [keys[photo] for photo in state.mapped.photo]
    positions = [None if gps[photo] is None else tuple(gps[photo] or ()) for photo in state.mapped.photo]
    found = estimate_scale(
        state.mapped.cameras, registered, state.mapped.points, state.pose_sigma, positions, wanted, keys
    )
    if found.scale.kind == "relative" and description.get("metric"):  # the mapper's own unit is one metre
        found = replace(found, new_from_old=np.diag([1 / unit] * 3 + [1.0]), scale=Scale("metric", METRIC_NETWORK))
    state = state.moved(found.new_from_old)
    metrics["scale"] = dict(found.metrics)
    return _write(Path(target), state, found.scale, metrics, found.warnings)


def _measured(
    mapped: Mapped,
    description: Mapping[str, Any],
    drop: Sequence[int],
    features: Sequence[str],
    calibration: str | None,
) -> tuple[_State, dict[str, Any]]:
    """Return an adjusted model without the photos to drop, with its colours and uncertainties, and its numbers."""
    if drop:
        mapped = without_photos(mapped, drop)
        mapped, _ = adjust_mapped(mapped, make_priors(assumptions_of(description, mapped, calibration)), tolerance=1e-6)
        mapped = with_errors(mapped)
    mapped = replace(mapped, points=coloured(mapped, features))
    sigma = uncertainties(mapped, assumptions_of(description, mapped, calibration))
    mapped = replace(mapped, points=replace(mapped.points, sigma=sigma.point_sigma))
    numbers: dict[str, Any] = {"noise_px": sigma.noise_px, "redundancy": sigma.redundancy}
    return _State(mapped, sigma.pose_sigma, np.eye(4)), numbers


@dataclass(frozen=True, eq=False)
class _State:
    mapped: Mapped
    pose_sigma: Float64[np.ndarray, "n 6"]
    world_from_sfm: Float64[np.ndarray, "4 4"]

    def moved(self, new_from_old: Float64[np.ndarray, "4 4"]) -> _State:
        """Return the state in another world."""
        factor = float(np.cbrt(np.linalg.det(new_from_old[:3, :3])))
        points = self.mapped.points
        xyz = points.xyz @ new_from_old[:3, :3].T + new_from_old[:3, 3]
        cameras = self.mapped.cameras.transformed(new_from_old)
        mapped = replace(self.mapped, cameras=cameras, points=replace(points, xyz=xyz, sigma=points.sigma * factor))
        sigma = self.pose_sigma.copy()
        sigma[:, 3:] = factor * np.sqrt(sigma[:, 3:] ** 2 @ ((new_from_old[:3, :3] / factor) ** 2).T)
        return _State(mapped, sigma, new_from_old @ self.world_from_sfm)


def uncertainties(mapped: Mapped, assumed: Assumptions) -> Uncertainty:
    """Return the standard deviations of an adjusted model under the priors that it was adjusted with."""
    sigma = make_priors(assumed).sigma
    if sigma[:, 2:4].any():  # where one principal point is estimated, those held at the centre are not exact either
        sigma[:, 2:4] = np.maximum(sigma[:, 2:4], CENTRE * assumed.long_side[:, None])
    names = ("focal", "cx", "cy", "k1", "k2")
    options = CovarianceOptions(
        free_focal=bool(sigma[:, 0].any()),
        free_principal_point=bool(sigma[:, 2:4].any()),
        n_distortion=int(sigma[:, 4].any()) + int(sigma[:, 5].any()),
        principal_point_sigma=CENTRE if assumed.calibration is None else 0.0,
        inflation=INFLATION,
    )
    _, firsts = np.unique(mapped.camera_group, return_index=True)
    focal = mapped.cameras.K[firsts, 0, 0]
    columns = dict(zip(names, (focal * sigma[:, 0], *sigma[:, 2:6].T), strict=True))
    prior = np.stack([columns[name] for name in options.free], axis=1) if options.free else None
    return uncertainty(mapped.cameras, mapped.camera_group, mapped.points, options, prior)


def without_photos(mapped: Mapped, drop: Sequence[int]) -> Mapped:
    """Return the model without some photos; points that lose their second view go, too."""
    stays = ~np.isin(mapped.photo, np.asarray(drop))
    number = np.cumsum(stays) - 1
    points = keep_observations(mapped.points, stays[mapped.points.obs_view], 2)
    points = replace(points, obs_view=number[points.obs_view].astype(np.int32))
    return Mapped(mapped.mapper, mapped.photo[stays], mapped.cameras[stays], mapped.camera_group[stays], points)


def coloured(mapped: Mapped, features: Sequence[str]) -> Points:
    """Return the points with the mean colour of the keypoints in their tracks."""
    points = mapped.points
    rgb = np.zeros((len(points.obs_point), 3))
    for row, photo in enumerate(mapped.photo):
        seen = np.flatnonzero(points.obs_view == row)
        with np.load(features[photo], allow_pickle=False) as data:
            rgb[seen] = _colours_at(points.obs_xy[seen], data["xy"].astype(np.float64), data["rgb"])
    count = np.maximum(np.bincount(points.obs_point, minlength=len(points)), 1)
    mean = np.stack([np.bincount(points.obs_point, rgb[:, k], minlength=len(points)) for k in range(3)], axis=1)
    return replace(points, rgb=np.rint(mean / count[:, None]).astype(np.uint8))


def _colours_at(
    wanted: Float64[np.ndarray, "o 2"], xy: Float64[np.ndarray, "k 2"], rgb: UInt8[np.ndarray, "k 3"]
) -> UInt8[np.ndarray, "o 3"]:
    """Return the colours of keypoints found by their exact position."""
    if not len(wanted):
        return np.zeros((0, 3), np.uint8)
    order = np.lexsort((xy[:, 1], xy[:, 0]))
    codes = xy[order, 0] + 1j * xy[order, 1]
    return rgb[order[np.minimum(np.searchsorted(codes, wanted[:, 0] + 1j * wanted[:, 1]), len(order) - 1)]]


def _write(
    folder: Path, state: _State, scale: Scale, metrics: Mapping[str, Any], warnings: tuple[str, ...]
) -> dict[str, Any]:
    folder.mkdir(parents=True, exist_ok=True)
    save_mapped(folder / "model.npz", state.mapped)
    twins = pinhole_twins(state.mapped.cameras)
    with atomic_path(folder / "rest.npz") as temporary, temporary.open("wb") as file:
        np.savez(file, twin_K=twins.K, pose_sigma=state.pose_sigma, world_from_sfm=state.world_from_sfm)
    size = {"twin_width": twins.width.tolist(), "twin_height": twins.height.tolist()}
    stated = {"kind": scale.kind, "source": scale.source, "interval_95": scale.interval_95}
    return {"metrics": dict(metrics), "warnings": list(warnings), "scale": stated, **size}


def load_finished(folder: Path, value: Mapping[str, Any]) -> Finished:
    """Return what :func:`finish_task` wrote and returned."""
    mapped = load_mapped(folder / "model.npz")
    with np.load(folder / "rest.npz", allow_pickle=False) as data:
        twin_K, pose_sigma, world_from_sfm = data["twin_K"], data["pose_sigma"], data["world_from_sfm"]
    size = [np.array(value[name], np.int64) for name in ("twin_width", "twin_height")]
    twins = Cameras(mapped.cameras.cam_from_world, twin_K, *size)
    interval = value["scale"]["interval_95"]
    scale = Scale(value["scale"]["kind"], value["scale"]["source"], None if interval is None else tuple(interval))
    return Finished(mapped, twins, pose_sigma, world_from_sfm, scale, value["metrics"], tuple(value["warnings"]))

"""From what a user has to what a segmenter reads, with a check of everything that it takes for granted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Shaped

from recon3d.core.errors import InputError, ShapeError, UsageError
from recon3d.pointcloud.clouds.types import PointCloud
from recon3d.pointcloud.segmentation.features import OnFloor
from recon3d.pointcloud.segmentation.spec import SegmenterSpec
from recon3d.pointcloud.volt.samples import Sample

Cloud = PointCloud | Shaped[np.ndarray, "n c"]
_SLACK = 1.02
_WIDEST_ROOM_M = 500.0
_LOWEST_M, _HIGHEST_M = -1.0, 1.5
_NEAR_M, _FAR_M, _FEW = 3.0, 25.0, 50


@dataclass(frozen=True, kw_only=True)
class CloudOptions:
    """What a cloud does not say of itself.

    Args:
        intensity_max: intensity of the brightest return: 1, 255, 65535; None = 1, or 255 where the values go beyond 1
            and no further than 255.
        mount_m: height of the origin over the ground, for outdoor models; None = that of the model.
    """

    intensity_max: float | None = None
    mount_m: float | None = None


@dataclass(frozen=True, eq=False, kw_only=True)
class ReadyCloud:
    """Points as a segmenter reads them.

    Args:
        sample: the points that get a label, placed as the model expects them; its normals are None where the cloud has
            none.
        kept: which points of the cloud they are, ``[n]``.
        notes: what was assumed or found odd.
    """

    sample: Sample
    kept: Bool[np.ndarray, " n"]
    notes: tuple[str, ...]


def ready_cloud(cloud: Cloud, spec: SegmenterSpec, options: CloudOptions) -> ReadyCloud:
    """Return a cloud as a segmenter reads it.

    Args:
        cloud: a ``PointCloud``, or an array with the columns x, y, z and the intensity (outdoor models) or red, green
            and blue from 0 to 255 (indoor ones).
        spec: of the segmenter.
        options: what the cloud does not say.

    Raises:
        ShapeError: an array that is no table of points.
        InputError: the cloud lacks colours or intensities that the segmenter needs, or they are out of range.
    """
    cloud = cloud if isinstance(cloud, PointCloud) else _cloud_of(np.asarray(cloud), spec)
    kept = np.isfinite(cloud.xyz).all(1)
    lift = 0.0 if options.mount_m is None else options.mount_m - spec.mount_m
    notes: list[str] = []
    if spec.max_distance_m is not None:
        with np.errstate(invalid="ignore"):
            near = (cloud.xyz**2).sum(1) <= spec.max_distance_m**2
        if (far := int((kept & ~near).sum())) > 0:
            notes.append(f"{far} points beyond {spec.max_distance_m:g} m have no label")
        kept &= near
    inside = cloud.selected(kept)
    sample = Sample(
        xyz=inside.xyz + np.array([0.0, 0.0, lift]),
        color=_colours(inside) if "colour" in spec.features else None,
        normal=_normals(inside) if "normal" in spec.features else None,
        strength=_strengths(inside, options.intensity_max, notes) if "strength" in spec.features else None,
    )
    if spec.kind == "indoor":
        _check_room(sample, notes)
        sample = OnFloor()(sample)
    else:
        _check_ground(sample, spec, notes)
    return ReadyCloud(sample=sample, kept=kept, notes=tuple(notes))


def _cloud_of(rows: np.ndarray, spec: SegmenterSpec) -> PointCloud:
    if rows.ndim != 2 or rows.shape[1] < 3 or rows.dtype.kind not in "fiu":
        got = f"{rows.dtype} {list(rows.shape)}"
        raise ShapeError("a cloud has the wrong shape", got=got, expected="[n, 3 or more] numbers: x, y, z, ...")
    named: dict[str, np.ndarray] = {}
    if "colour" in spec.features and rows.shape[1] >= 6:
        named["rgb"] = rows[:, 3:6]
    elif "strength" in spec.features and rows.shape[1] >= 4:
        named["intensity"] = rows[:, 3]
    return PointCloud(xyz=rows[:, :3].astype(np.float64), attributes=named)


def _colours(cloud: PointCloud) -> Float32[np.ndarray, "n 3"]:
    if "rgb" not in cloud.attributes:
        fix = "give a cloud with rgb, or use a model without colours (outdoor)"
        raise InputError("this segmenter needs colours", got=_has(cloud), expected="rgb, 0 to 255", fix=fix)
    rgb = np.nan_to_num(cloud.attributes["rgb"].astype(np.float32))
    if len(rgb) and (
        rgb.min() < 0 or rgb.max() > 255 or (cloud.attributes["rgb"].dtype.kind == "f" and rgb.max() <= 1)
    ):
        raise InputError(
            "the colours are out of range", got=f"{rgb.min():g} to {rgb.max():g}", expected="0 to 255", fix="scale them"
        )
    return rgb


def _normals(cloud: PointCloud) -> Float32[np.ndarray, "n 3"] | None:
    found = cloud.attributes.get("normals")
    if found is None:
        return None
    length = np.linalg.norm(np.nan_to_num(found), axis=1, keepdims=True)
    if len(found) and not (length > 0).mean() > 0.5:
        return None  # a column of zeros, which some tools write
    unit: np.ndarray = np.nan_to_num(found / np.maximum(length, 1e-9)).astype(np.float32)
    return unit


def _strengths(cloud: PointCloud, brightest: float | None, notes: list[str]) -> Float32[np.ndarray, " n"]:
    if "intensity" not in cloud.attributes:
        fix = "give a cloud with intensity, or a column of zeros where the sensor has none"
        raise InputError("this segmenter needs intensities", got=_has(cloud), expected="intensity", fix=fix)
    values = np.nan_to_num(cloud.attributes["intensity"].astype(np.float32)).reshape(-1)[: len(cloud)]
    highest = float(values.max(initial=0.0))
    if brightest is None:
        brightest = 1.0 if highest <= _SLACK else 255.0
        if brightest > 1:
            notes.append("intensities go beyond 1 and were divided by 255")
    if brightest <= 0 or highest > _SLACK * brightest or values.min(initial=0.0) < 0:
        got, fix = f"{values.min(initial=0.0):g} to {highest:g}", "give intensity_max (--intensity-max): 255 or 65535"
        raise InputError("the intensities are out of range", got=got, expected=f"0 to {brightest:g}", fix=fix)
    shares: np.ndarray = np.clip(values / brightest, 0, 1).astype(np.float32)
    return shares


def _has(cloud: PointCloud) -> str:
    return f"x, y, z{''.join(', ' + name for name in sorted(cloud.attributes))}"


def _check_room(sample: Sample, notes: list[str]) -> None:
    size = np.ptp(sample.xyz, axis=0) if len(sample) else np.zeros(3)
    if size.max() > _WIDEST_ROOM_M:
        got = f"{size.max():.0f} m wide"
        fix = "are the units millimetres? Scale to metres, or cut the cloud, or use the outdoor model"
        raise InputError("this is no room", got=got, expected=f"metres, up to {_WIDEST_ROOM_M:g} m", fix=fix)
    if len(sample) > _FEW and size.max() < 0.5:
        notes.append(f"the scene is {size.max():.2f} m wide: are the units metres?")


def _check_ground(sample: Sample, spec: SegmenterSpec, notes: list[str]) -> None:
    """Note a mount height that the points speak against: the lowest of them near the sensor should be its ground."""
    away = np.linalg.norm(sample.xyz[:, :2], axis=1)
    near = sample.xyz[(away > _NEAR_M) & (away < _FAR_M), 2]
    if len(near) < _FEW:
        notes.append("no ground is seen around the origin: are the points in the frame of the sensor?")
        return
    ground = float(np.percentile(near, 5)) + spec.mount_m
    if not _LOWEST_M <= ground <= _HIGHEST_M:
        notes.append(
            f"the lowest points lie {spec.mount_m - ground:.1f} m below the origin, but its height over the ground is "
            f"given as {spec.mount_m:g} m: set mount_m (--mount)"
        )


def check_views(views: int) -> None:
    """Refuse an impossible number of views.

    Args:
        views: of a scene.

    Raises:
        UsageError: it is not 1 to 8.
    """
    if not 1 <= views <= 8:
        raise UsageError("a scene is looked at 1 to 8 times", got=views)

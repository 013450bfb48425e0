"""Scale of a model from a known distance, known depths or GPS, with its source and its uncertainty."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float64, Int32, Int64

from recon3d.core.errors import FormatError, InputError, UsageError
from recon3d.render.cameras import Cameras
from recon3d.scene import Points, Scale
from recon3d.sfm.gps import Geodetic, fit_gps

DISTANCE_EXAMPLE = (
    '--scale.distance "a.jpg,b.jpg=1.25" (metres between the two camera centres; "=1.25+-0.01" if you know how good)'
)
DEPTH_EXAMPLE = (
    '--scale.depth "a.jpg@320,240=2.31" (metres along the viewing axis at a pixel), or a folder of depth maps'
)
_NUMBER = r"[0-9]*\.?[0-9]+(?:[eE][-+]?[0-9]+)?"
_MEASURE = re.compile(
    rf"(?P<what>.+)=\s*(?P<value>{_NUMBER})\s*m?\s*(?:(?:\+-|\+/-|±)\s*(?P<margin>{_NUMBER})\s*m?)?\s*"
)
_PIXEL = re.compile(rf"(?P<key>.+)@\s*(?P<x>{_NUMBER})\s*,\s*(?P<y>{_NUMBER})\s*")
_QUANTILE = 1.959964
_DEFAULT_SIGMA = 0.005
_MAP_SIGMA = 0.005
_MAX_BASELINE_SIGMA = 0.3
_NEAR = 0.05
_N_NEAREST = 5
_MAX_MAP_PIXELS = 200_000_000


@dataclass(frozen=True)
class ScaleOptions:
    """Where metres come from; a distance outranks a depth, a depth outranks GPS.

    Args:
        distance: distance between the camera centres of two photos in metres, "a.jpg,b.jpg=1.25" or
            "a.jpg,b.jpg=1.25+-0.01".
        gps: use the GPS positions of the photos when they are spread wide enough.
        depth: a known depth along the viewing axis at a pixel in metres, "a.jpg@320,240=2.31", or a folder of 16-bit
            PNG depth maps in millimetres, named like the photos.
    """

    distance: str | None = None
    gps: Literal["auto", "off"] = "auto"
    depth: str | None = None


@dataclass(frozen=True, eq=False)
class ScaleEstimate:
    """What is known about the size of a model.

    Args:
        new_from_old: similarity that brings the levelled model to metres, ``[4,4]``; with GPS also to x east, y north.
        scale: kind, source and 95 % interval.
        warnings: plain sentences for the user.
        metrics: numbers behind it, JSON-ready.
    """

    new_from_old: Float64[np.ndarray, "4 4"]
    scale: Scale
    warnings: tuple[str, ...] = ()
    metrics: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class _Source:
    """One answer: the similarity, its factor, the sigma of the factor's logarithm, and words for it."""

    name: str
    words: str
    new_from_old: Float64[np.ndarray, "4 4"]
    log_sigma: float

    @property
    def factor(self) -> float:
        return float(np.cbrt(np.linalg.det(self.new_from_old[:3, :3])))


def estimate_scale(
    cameras: Cameras,
    keys: Sequence[str],
    points: Points,
    pose_sigma: Float64[np.ndarray, "n 6"],
    gps: Sequence[Geodetic | None],
    options: ScaleOptions,
    all_keys: Sequence[str] = (),
) -> ScaleEstimate:
    """Return the similarity to metres from the best source that the user gave, or none.

    Args:
        cameras: registered cameras in the levelled world.
        keys: their photos, in the same order.
        points: sparse points with observations.
        pose_sigma: as in ``Scene.pose_sigma``, in the units of the levelled world, ``[n,6]``; NaN = unknown.
        gps: latitude, longitude in degrees, altitude in metres or None, per camera; None where unknown.
        options: what the user knows.
        all_keys: every input photo, to tell a photo without a camera from a misspelt one.

    Returns:
        The similarity (identity when the scene stays relative), the scale, warnings and numbers.

    Raises:
        UsageError: a text that cannot be understood, or a photo that is unknown or has no camera.
        InputError: depth maps that cannot be read or that match no photo.
    """
    scene = _Model(cameras, tuple(keys), points, pose_sigma, tuple(all_keys))
    sources: list[_Source] = []
    warnings: list[str] = []
    metrics: dict[str, Any] = {}
    if options.distance is not None:
        sources.append(_from_distance(scene, options.distance))
    if options.depth is not None:
        sources.append(_from_depth(scene, options.depth))
    if options.gps == "auto" and any(position is not None for position in gps):
        answer = fit_gps(cameras.centers, gps)
        if isinstance(answer, str):
            warnings.append(f"GPS was not used: {answer}.")
        else:
            tilt = "with its tilt" if answer.tilt else "tilt from the photos"
            words = f"GPS of {int(answer.used.sum())} photos ({tilt}, scatter {answer.noise_m:.1f} m)"
            sources.append(_Source("gps", words, answer.new_from_old, answer.log_sigma))
            metrics["gps_origin"] = list(answer.origin)
    if not sources:
        return ScaleEstimate(np.eye(4), Scale(), tuple(warnings), metrics)
    best = sources[0]
    metrics["factors"] = {source.name: source.factor for source in sources}
    warnings += [_contradiction(best, other) for other in sources[1:] if _contradict(best, other)]
    reach = float(np.exp(_QUANTILE * best.log_sigma))
    return ScaleEstimate(best.new_from_old, Scale("metric", best.words, (1 / reach, reach)), tuple(warnings), metrics)


def _contradict(one: _Source, other: _Source) -> bool:
    return bool(abs(np.log(one.factor / other.factor)) > _QUANTILE * np.hypot(one.log_sigma, other.log_sigma))


def _contradiction(best: _Source, other: _Source) -> str:
    ratio = other.factor / best.factor
    return f"Two sources of scale disagree: {other.words} says {ratio:.3f} times {best.words}; the latter was used."


def check_scale(options: ScaleOptions, keys: Sequence[str]) -> None:
    """Refuse a scale that cannot be understood or names no photo of the capture, before any camera is searched.

    Args:
        options: what the user knows.
        keys: every input photo.

    Raises:
        UsageError: a text that cannot be understood, or an unknown photo.
    """
    named: list[str] = []
    if options.distance is not None:
        named += _two_keys(keys, _measure(options.distance, DISTANCE_EXAMPLE)[0])
    if options.depth is not None and "=" in options.depth and not Path(options.depth).is_dir():
        match = _PIXEL.fullmatch(_measure(options.depth, DEPTH_EXAMPLE)[0])
        named += [match["key"].strip()] if match else []
    for key in named:
        if key not in keys:
            raise UsageError("a photo named for the scale does not exist", got=key, expected=list(keys[:10]))


@dataclass(frozen=True, eq=False)
class _Model:
    cameras: Cameras
    keys: tuple[str, ...]
    points: Points
    pose_sigma: Float64[np.ndarray, "n 6"]
    all_keys: tuple[str, ...]

    def index(self, key: str, example: str) -> int:
        if key in self.keys:
            return self.keys.index(key)
        if key in self.all_keys:
            raise UsageError("a photo named for the scale has no camera", got=key, fix="name a registered photo")
        raise UsageError("a photo named for the scale does not exist", got=key, expected=self.keys[:10], fix=example)


def _scaling(factor: float) -> Float64[np.ndarray, "4 4"]:
    return np.diag([factor, factor, factor, 1.0])


def _measure(text: str, example: str) -> tuple[str, float, float]:
    """Return what was measured, the value, and its relative sigma; a margin is taken for 95 %."""
    match = _MEASURE.fullmatch(text.strip())
    value = float(match["value"]) if match else 0.0
    if match is None or not 0 < value < 1e7:
        raise UsageError("a scale cannot be understood", got=text, fix=f"write {example}")
    sigma = float(match["margin"]) / _QUANTILE / value if match["margin"] else _DEFAULT_SIGMA
    return match["what"].strip(), value, sigma


def _from_distance(model: _Model, text: str) -> _Source:
    what, metres, sigma = _measure(text, DISTANCE_EXAMPLE)
    first, second = _two_keys((*model.keys, *model.all_keys), what)
    a, b = (model.index(key, DISTANCE_EXAMPLE) for key in (first, second))
    step = model.cameras.centers[b] - model.cameras.centers[a]
    length = float(np.linalg.norm(step))
    variance = np.nan_to_num(model.pose_sigma[[a, b], 3:] ** 2).sum(0)
    along = float(np.sqrt((variance * (step / max(length, 1e-300)) ** 2).sum()))
    if a == b or along >= _MAX_BASELINE_SIGMA * length:
        raise UsageError(
            "the distance between these two photos is too uncertain to set the scale",
            got=f"{first} and {second}: {length:.3g} +- {along:.2g} units",
            fix="name two photos that stand further apart",
        )
    words = f"distance between {first} and {second} ({metres:g} m)"
    return _Source("distance", words, _scaling(metres / length), float(np.hypot(sigma, along / length)))


def _two_keys(keys: Sequence[str], what: str) -> tuple[str, str]:
    """Split ``a.jpg,b.jpg``; a comma inside a file name is no obstacle."""
    splits = [(what[:i].strip(), what[i + 1 :].strip()) for i, letter in enumerate(what) if letter == ","]
    if not splits:
        raise UsageError("a distance needs two photos", got=what, fix=f"write {DISTANCE_EXAMPLE}")
    known = set(keys)
    return max(splits, key=lambda pair: (pair[0] in known) + (pair[1] in known))


def _from_depth(model: _Model, text: str) -> _Source:
    if "=" not in text or Path(text).is_dir():
        return _from_depth_maps(model, Path(text))
    what, metres, sigma = _measure(text, DEPTH_EXAMPLE)
    match = _PIXEL.fullmatch(what)
    if match is None:
        raise UsageError("a depth cannot be understood", got=text, fix=f"write {DEPTH_EXAMPLE}")
    key, pixel = match["key"].strip(), np.array([float(match["x"]), float(match["y"])])
    view = model.index(key, DEPTH_EXAMPLE)
    size = np.array([model.cameras.width[view], model.cameras.height[view]])
    if (pixel > size).any():
        raise UsageError("a depth lies outside its photo", got=f"pixel {pixel.tolist()}", expected=f"{size.tolist()}")
    depth, spread = _nearest_depth(model, view, pixel, float(np.hypot(*size)))
    words = f"depth at pixel {pixel[0]:g},{pixel[1]:g} of {key} ({metres:g} m)"
    return _Source("depth", words, _scaling(metres / depth), float(np.hypot(sigma, spread)))


def _nearest_depth(model: _Model, view: int, pixel: Float64[np.ndarray, "2"], diagonal: float) -> tuple[float, float]:
    """Return the median depth of the sparse points nearest to a pixel, and its relative sigma."""
    rows, depth_z = _observed_depths(model, view)
    distance = np.linalg.norm(model.points.obs_xy[rows] - pixel, axis=1)
    nearest = np.argsort(distance, kind="stable")[:_N_NEAREST]
    nearest = nearest[distance[nearest] <= _NEAR * diagonal]
    if len(nearest) == 0:
        hint = model.points.obs_xy[rows[np.argmin(distance)]].round().tolist() if len(rows) else "none in this photo"
        raise UsageError(
            "no reconstructed point lies near the pixel of the known depth",
            got=pixel.tolist(),
            expected=f"a pixel within {_NEAR * diagonal:.0f} px of a point; the nearest is at {hint}",
        )
    depth = float(np.median(depth_z[nearest]))
    off = np.log(depth_z[nearest] / depth)
    point_sigma = np.nan_to_num(model.points.sigma[model.points.obs_point[rows[nearest]]]) / depth
    return depth, float(np.hypot(np.sqrt(np.mean(off**2)), np.median(point_sigma)))


def _observed_depths(model: _Model, view: int) -> tuple[Int64[np.ndarray, " k"], Float64[np.ndarray, " k"]]:
    """Return the observations of a photo whose points lie in front of it, and their depths along z."""
    rows = np.flatnonzero(model.points.obs_view == view)
    pose = model.cameras.cam_from_world[view]
    depth_z = np.einsum("j,kj->k", pose[2, :3], model.points.xyz[model.points.obs_point[rows]]) + pose[2, 3]
    return rows[depth_z > 0], depth_z[depth_z > 0]


def _from_depth_maps(model: _Model, folder: Path) -> _Source:
    """Compare the depths of all observed points with the maps: median per photo, median over photos."""
    if not folder.is_dir():
        raise UsageError("a depth is neither a measurement nor a folder", got=str(folder), fix=f"write {DEPTH_EXAMPLE}")
    medians = []
    for view, key in enumerate(model.keys):
        path = _depth_map_path(folder, key)
        if path is not None:
            logs = _log_ratios(model, view, _read_depth_map(path))
            medians += [float(np.median(logs))] if len(logs) >= 3 else []
    if not medians:
        raise InputError(
            "no depth map belongs to a registered photo",
            got=str(folder),
            expected="16-bit PNG files named like the photos, millimetres, some of them on reconstructed points",
        )
    log_factor = float(np.median(medians))
    scatter = 1.4826 * float(np.median(np.abs(np.array(medians) - log_factor)))
    # 1.25 is the price of a median; a sensor's own scale error does not average away.
    sigma = float(np.hypot(_MAP_SIGMA, 1.25 * scatter / np.sqrt(len(medians))))
    return _Source("depth", f"depth maps of {len(medians)} photos", _scaling(float(np.exp(log_factor))), sigma)


def _depth_map_path(folder: Path, key: str) -> Path | None:
    paths = (folder / Path(key).with_suffix(".png"), folder / f"{Path(key).stem}.png")
    return next((path for path in paths if path.is_file()), None)


def _read_depth_map(path: Path) -> Int32[np.ndarray, "h w"]:
    """Return millimetres along z, 0 = none.

    Raises:
        FormatError: it is not a 16-bit grey PNG, or is too large.
    """
    from PIL import Image, UnidentifiedImageError

    expected = "a 16-bit grey PNG in millimetres"
    try:
        with Image.open(path, formats=["PNG"]) as image:
            if image.mode not in ("I;16", "I;16B", "I") or image.width * image.height > _MAX_MAP_PIXELS:
                got = f"{image.mode} {image.width}x{image.height}"
                raise FormatError(f"{path} is no depth map", got=got, expected=expected)
            return np.asarray(image).astype(np.int32)
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError, ValueError) as error:
        raise FormatError(f"{path} is no depth map", got=error, expected=expected) from error


def _log_ratios(model: _Model, view: int, depth_mm: Int32[np.ndarray, "h w"]) -> Float64[np.ndarray, " k"]:
    """Return log(true metres / model units) at the observations of a photo that hit the map."""
    rows, depth_z = _observed_depths(model, view)
    height, width = depth_mm.shape
    factor = np.array([width / model.cameras.width[view], height / model.cameras.height[view]])
    column, row = np.floor(model.points.obs_xy[rows] * factor).astype(np.int64).T
    true = depth_mm[np.clip(row, 0, height - 1), np.clip(column, 0, width - 1)] / 1000.0
    return np.asarray(np.log(true[true > 0] / depth_z[true > 0]))

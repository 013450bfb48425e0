"""The fields of a scene as JSON and back; float64 survives exactly because Python writes the shortest exact digits."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

import numpy as np
from jaxtyping import Float64

from recon3d.core.errors import FormatError, Recon3DError
from recon3d.formats.parsing import json_array, json_field, json_int, json_number
from recon3d.render.cameras import Cameras
from recon3d.scene import Points, Scale, Scene, View

SCHEMA = 1
_STATUS = ("registered", "not_registered", "skipped")
_NON_FINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


def scene_to_json(scene: Scene) -> dict[str, Any]:
    """Return every field of a scene but its points; a registered view carries its cameras and its pose sigma."""
    cameras = {"camera": scene.cameras, "pinhole_camera": scene.pinhole_cameras}
    views, row = [], 0
    for view in scene.views:
        entry: dict[str, Any] = asdict(view)
        if view.status == "registered":
            entry |= {name: _camera_to_json(each, row) for name, each in cameras.items()}
            entry["pose_sigma"] = [_number_to_json(value) for value in scene.pose_sigma[row].tolist()]
            row += 1
        views.append(entry)
    return {
        "format": "recon3d-scene",
        "schema": SCHEMA,
        "views": views,
        "counts": {"views": len(views), "registered": row, "points": len(scene.points)},
        "distorted": {name: each.distortion is not None for name, each in cameras.items()},
        "scale": asdict(scene.scale) | {"unit": scene.scale.unit},
        "world_from_sfm": scene.world_from_sfm.tolist(),
        "metrics": dict(scene.metrics),
        "provenance": dict(scene.provenance),
    }


def _camera_to_json(cameras: Cameras, row: int) -> dict[str, Any]:
    entry = {"cam_from_world": cameras.cam_from_world[row].tolist(), "K": cameras.K[row].tolist()}
    entry |= {"width": int(cameras.width[row]), "height": int(cameras.height[row])}
    if cameras.distortion is not None:
        entry["distortion"] = cameras.distortion[row].tolist()
    return entry


def _number_to_json(value: float) -> float | str | None:
    if math.isnan(value):
        return None
    return value if math.isfinite(value) else str(value)


def scene_from_json(document: dict[str, Any], points: Points, where: str) -> Scene:
    """Return the scene of :func:`scene_to_json`.

    Args:
        document: the JSON object.
        points: its points.
        where: how error texts call the file.

    Returns:
        The scene without a root.

    Raises:
        FormatError: a field is absent, of a wrong kind, or contradicts another.
    """
    entries = json_field(document, "views", list, where)
    views = tuple(_view(entry, f"{where}: view {index}") for index, entry in enumerate(entries))
    if len({view.key for view in views}) != len(views):
        raise FormatError(f"{where}: two views share a key")
    registered = [entry for entry, view in zip(entries, views, strict=True) if view.status == "registered"]
    if points.obs_view.size and points.obs_view.max() >= len(registered):
        raise FormatError(f"{where}: points are seen by cameras that are not there", got=int(points.obs_view.max()))
    cameras, pinhole = (_cameras(registered, name, document, where) for name in ("camera", "pinhole_camera"))
    sigma = [_pose_sigma(entry, where) for entry in registered]
    return Scene(
        views=views,
        cameras=cameras,
        pinhole_cameras=pinhole,
        points=points,
        pose_sigma=np.array(sigma, np.float64).reshape(-1, 6),
        scale=_scale(json_field(document, "scale", dict, where), f"{where}: scale"),
        world_from_sfm=json_array(document.get("world_from_sfm"), (4, 4), f"{where}: world_from_sfm"),
        metrics=json_field(document, "metrics", dict, where),
        provenance=json_field(document, "provenance", dict, where),
    )


def _view(entry: Any, where: str) -> View:
    status = json_field(entry, "status", str, where)
    if status not in _STATUS:
        raise FormatError(f"{where}: unknown status", got=status, expected=_STATUS)
    fields: dict[str, Any] = {name: json_field(entry, name, str, where) for name in ("key", "reason", "sha256")}
    fields |= {name: json_int(entry, name, where) for name in ("width", "height")}
    fields |= {name: json_int(entry, name, where, -1) for name in ("camera_group", "model")}
    timed = isinstance(entry, dict) and entry.get("time_s") is not None
    return View(status=status, time_s=json_number(entry, "time_s", where) if timed else None, **fields)


def _cameras(entries: list[Any], name: str, document: dict[str, Any], where: str) -> Cameras:
    flags = json_field(document, "distorted", dict, where)
    distorted = json_field(flags, name, bool, f"{where}: distorted")
    cameras = [json_field(entry, name, dict, where) for entry in entries]
    where = f"{where}: {name}"

    def stack(field: str, shape: tuple[int, ...]) -> Float64[np.ndarray, "..."]:
        rows = [json_array(camera.get(field), shape, f"{where}.{field}") for camera in cameras]
        return np.array(rows, np.float64).reshape(-1, *shape)

    return Cameras(
        stack("cam_from_world", (4, 4)),
        stack("K", (3, 3)),
        np.array([json_int(camera, "width", where) for camera in cameras], np.int64),
        np.array([json_int(camera, "height", where) for camera in cameras], np.int64),
        stack("distortion", (4,)) if distorted else None,
    )


def _pose_sigma(entry: Any, where: str) -> list[float]:
    values = json_field(entry, "pose_sigma", list, where)
    if len(values) != 6:
        raise FormatError(f"{where}: pose_sigma is wrong", got=len(values), expected="6 numbers")
    names = ["nan" if value is None else value for value in values]
    return [
        _NON_FINITE[name] if isinstance(name, str) and name in _NON_FINITE else float(json_array(name, (), where))
        for name in names
    ]


def _scale(entry: dict[str, Any], where: str) -> Scale:
    kind, source = json_field(entry, "kind", str, where), json_field(entry, "source", str, where)
    interval = json_field(entry, "interval_95", (list, type(None)), where)
    bounds = None if interval is None else json_array(interval, (2,), f"{where}.interval_95").tolist()
    if kind not in ("metric", "relative"):
        raise FormatError(f"{where}: unknown kind", got=kind, expected="metric or relative")
    try:
        return Scale(kind, source, None if bounds is None else (bounds[0], bounds[1]))
    except Recon3DError as error:
        raise FormatError(f"{where} contradicts itself", got=str(error)) from error

"""The data of the 3D view: cameras and points, packed for the page's script."""

from __future__ import annotations

import base64
import json
import math
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64, UInt8

from recon3d.report.inputs import ReportInputs
from recon3d.scene import Points, Scene

MAX_POINTS = 100_000
ERROR_STEP_PX = 0.02  # one step of the quantised reprojection error that colours the points


def payload(inputs: ReportInputs) -> dict[str, Any]:
    """Return what the script of the page needs, JSON-ready.

    ``views`` holds one entry per photo in the order of the report, ``scene`` the 3D data or null.
    """
    rows = {view.key: index for index, view in enumerate(inputs.scene.registered)} if inputs.scene else {}
    views = [{"status": view.status, "camera": rows.get(view.key, -1)} for view in inputs.views]
    return {"views": views, "scene": None if inputs.scene is None else _scene(inputs.scene)}


def to_script_json(value: Any) -> str:
    """Encode JSON that cannot end a ``<script>`` element; NaN is refused."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def subsample(n_points: int, limit: int = MAX_POINTS) -> Int64[np.ndarray, " k"]:
    """Return evenly spread indices, at most ``limit`` of them; the same for the same number of points."""
    if n_points <= limit:
        return np.arange(n_points, dtype=np.int64)
    return np.arange(limit, dtype=np.int64) * n_points // limit


def _scene(scene: Scene) -> dict[str, Any]:
    center, radius = frame(scene)
    step = _grid_step(radius)
    floor = np.percentile(scene.points.xyz[:, 2], 2) if len(scene.points) else center[2] - radius / 2
    cameras = scene.cameras
    return {
        "center": center.tolist(),
        "radius": radius,
        "floor": float(floor),
        "gridStep": step,
        "gridLabel": f"{step:g} {'m' if scene.scale.kind == 'metric' else 'units' if step != 1 else 'unit'}",
        "cameras": [
            {
                "pose": cameras.cam_from_world[index, :3].ravel().tolist(),
                "K": [float(cameras.K[index][at]) for at in ((0, 0), (1, 1), (0, 2), (1, 2))],
                "size": [int(cameras.width[index]), int(cameras.height[index])],
                "depth": _typical_depth(scene, index, radius),
            }
            for index in range(len(cameras))
        ],
        "points": pack_points(scene.points, center),
    }


def frame(scene: Scene) -> tuple[Float64[np.ndarray, "3"], float]:
    """Return a centre and a radius that frame the bulk of the points and the cameras, whatever strays."""
    xyz, centers = scene.points.xyz, scene.cameras.centers
    solid = xyz[np.isfinite(xyz).all(1)]
    center = np.median(solid if len(solid) else centers, axis=0) if len(solid) + len(centers) else np.zeros(3)
    reach = [float(np.percentile(np.linalg.norm(solid - center, axis=1), 85))] if len(solid) else []
    far = np.linalg.norm(centers - center, axis=1)
    limit = 6 * reach[0] if reach and reach[0] > 0 else math.inf
    reach.append(0.8 * float(np.minimum(far, limit).max(initial=0.0)))
    radius = max(reach)
    return center, radius if radius > 0 else 1.0


def _grid_step(radius: float) -> float:
    power = 10.0 ** math.floor(math.log10(radius / 2))
    return float(f"{max(step * power for step in (1, 2, 5) if step * power <= radius / 2):.6g}")


def _typical_depth(scene: Scene, index: int, fallback: float) -> float:
    seen = scene.points.obs_point[scene.points.obs_view == index]
    pose = scene.cameras.cam_from_world[index]
    depth = scene.points.xyz[seen] @ pose[2, :3] + pose[2, 3]
    ahead = depth[np.isfinite(depth) & (depth > 0)]
    return float(np.median(ahead)) if len(ahead) else fallback


def pack_points(points: Points, origin: Float64[np.ndarray, "3"]) -> dict[str, Any]:
    """Pack points as base64 typed arrays.

    Args:
        points: the points; non-finite ones are left out.
        origin: subtracted before rounding to float32, so that far-away coordinates keep their digits.

    Returns:
        ``n``, ``total``, ``origin`` and the little-endian arrays ``xyz`` (float32, 3 per point, relative to
        ``origin``), ``rgb`` (uint8, 3 per point), ``error`` (uint8, steps of 0.02 px) and ``track`` (uint8).
    """
    finite = np.flatnonzero(np.isfinite(points.xyz).all(1))
    chosen = finite[subsample(len(finite))]
    error = np.nan_to_num(points.error_px[chosen], nan=0.0, posinf=1e6) / ERROR_STEP_PX
    return {
        "n": len(chosen),
        "total": len(points),
        "origin": origin.tolist(),
        "xyz": _base64((points.xyz[chosen] - origin).astype("<f4")),
        "rgb": _base64(points.rgb[chosen]),
        "error": _base64(_byte(error)),
        "track": _base64(_byte(points.track_length[chosen].astype(np.float64))),
    }


def _byte(values: Float64[np.ndarray, " n"]) -> UInt8[np.ndarray, " n"]:
    steps: UInt8[np.ndarray, " n"] = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return steps


def _base64(array: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode("ascii")

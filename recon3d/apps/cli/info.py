"""`recon3d info`: what a folder or file holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from recon3d.apps.cli.command import Command
from recon3d.apps.cli.models import kind_of
from recon3d.apps.cli.output import print_json, print_rows
from recon3d.apps.cli.summary import BELOW_CHECKS, dense_rows, scale_text, summary_json
from recon3d.core.errors import ResultError
from recon3d.formats.colmap import read_colmap
from recon3d.formats.ply import read_ply
from recon3d.formats.transforms import read_transforms
from recon3d.formats.tum import read_tum
from recon3d.render.cameras import Cameras
from recon3d.scene import Scene
from recon3d.scene_convert import cameras_from_transforms
from recon3d.scene_io import check_files

Rows = list[tuple[str, str]]


@dataclass(frozen=True, kw_only=True)
class Info(Command):
    """Say what an output folder, a COLMAP model, a transforms.json, a .tum trajectory or a .ply file holds.

    Args:
        path: the folder or file.
        check: compare every file of an output folder with its recorded SHA-256; exit code 7 where one differs.
    """

    path: Path
    check: bool = False

    def run(self) -> int:
        """Print what is there and return 0, or 7 where a file was changed."""
        kind, inner = kind_of(self.path)
        if kind == "refused":
            raise ResultError("reconstruct trusted no model of these photos", fix=f"see {inner / 'report.html'}")
        rows, value = _READERS[kind](inner)
        problems = check_files(inner) if self.check and kind == "scene" else ()
        if self.json:
            print_json({"kind": kind, "path": str(inner), **value, "changed_files": list(problems)})
        else:
            print_rows([*rows, *(("changed file", text) for text in problems)])
        return BELOW_CHECKS if problems else 0


def _scene(folder: Path) -> tuple[Rows, dict[str, Any]]:
    scene = Scene.load(folder)
    return list(_scene_rows(scene)), summary_json(scene)


def _scene_rows(scene: Scene) -> Iterator[tuple[str, str]]:
    yield "scene", f"{scene.root}, made by recon3d {scene.provenance.get('recon3d', '(version unknown)')}"
    yield "photos", f"{len(scene.registered)} placed of {len(scene.views)}"
    for view in scene.views:
        if view.status != "registered" or view.reason:
            yield f"  {view.status.replace('_', ' ')}", f"{view.key}: {view.reason}"
    yield from (("cameras", text) for text in _lenses(scene.cameras))
    points = scene.points
    track = f", {points.track_length.mean():.1f} photos each, {points.mean_error_px:.2f} px" if len(points) else ""
    yield "points", f"{len(points)}{track}"
    yield "scale", scale_text(scene)
    if np.isfinite(scene.pose_sigma).any():
        rotation, center = np.nanmedian(scene.pose_sigma[:, :3]), np.nanmedian(scene.pose_sigma[:, 3:])
        yield "pose sigma", f"median {rotation:.3f} deg, {center:.2g} {scene.scale.unit}"
    yield from dense_rows(scene.metrics)
    for text in scene.provenance.get("warnings", ()):
        yield "warning", str(text)


def _lenses(cameras: Cameras) -> Iterator[str]:
    """Yield one line per distinct set of intrinsics."""
    distortion = np.zeros((len(cameras), 4)) if cameras.distortion is None else cameras.distortion
    numbers = np.column_stack([cameras.width, cameras.height, cameras.K.reshape(-1, 9)[:, [0, 4, 2, 5]], distortion])
    lenses, counts = np.unique(numbers, axis=0, return_counts=True)
    for lens, count in zip(lenses, counts, strict=True):
        bent = f", distortion {' '.join(f'{k:.4f}' for k in lens[6:])}" if lens[6:].any() else ""
        focal = f"focal {lens[2]:.1f} {lens[3]:.1f} px, principal point {lens[4]:.1f} {lens[5]:.1f}"
        yield f"{count} of {lens[0]:.0f}x{lens[1]:.0f}, {focal}{bent}"


def _colmap(folder: Path) -> tuple[Rows, dict[str, Any]]:
    model = read_colmap(folder)
    counts = {"n_cameras": len(model.cameras), "n_images": len(model.images), "n_points": len(model.points.ids)}
    rows = [("COLMAP model", str(folder)), ("images", str(counts["n_images"])), ("points", str(counts["n_points"]))]
    for camera in model.cameras:
        numbers = " ".join(f"{value:.6g}" for value in camera.params)
        rows.append(("camera", f"{camera.id}: {camera.model} {camera.width}x{camera.height}, {numbers}"))
    return rows, counts


def _transforms(path: Path) -> tuple[Rows, dict[str, Any]]:
    transforms = read_transforms(path)
    rows = [("transforms.json", str(path)), ("frames", str(len(transforms.names)))]
    rows += [("cameras", text) for text in _lenses(cameras_from_transforms(transforms))]
    return rows, {"n_images": len(transforms.names)}


def _trajectory(path: Path) -> tuple[Rows, dict[str, Any]]:
    poses = read_tum(path).world_from_cam
    length = float(np.linalg.norm(np.diff(poses[:, :3, 3], axis=0), axis=1).sum())
    rows = [("trajectory", str(path)), ("poses", str(len(poses))), ("path length", f"{length:.4g} units")]
    return rows, {"n_images": len(poses), "path_length": length}


def _ply(path: Path) -> tuple[Rows, dict[str, Any]]:
    ply = read_ply(path)
    vertices = ply.vertices
    n = len(next(iter(vertices.values()), ()))
    value: dict[str, Any] = {
        "n_vertices": n,
        "properties": list(vertices),
        "n_faces": _n_faces(ply.elements, ply.lists),
    }
    rows = [("PLY file", str(path)), ("vertices", str(n)), ("properties", " ".join(vertices))]
    rows += [("faces", str(value["n_faces"]))] if value["n_faces"] else []
    if n and {"x", "y", "z"} <= set(vertices):
        xyz = np.stack([vertices[axis].astype(np.float64) for axis in "xyz"], -1)
        value["bounds"] = [_finite(xyz.min(axis=0)), _finite(xyz.max(axis=0))]
        rows.append(
            ("bounds", " .. ".join(" ".join(f"{x:.4g}" for x in corner) for corner in (xyz.min(0), xyz.max(0))))
        )
    return rows + [("comment", text) for text in ply.comments], value


def _finite(corner: Float64[np.ndarray, " 3"]) -> list[float | None]:
    return [float(value) if np.isfinite(value) else None for value in corner]


def _n_faces(elements: Mapping[str, Any], lists: Mapping[str, Any]) -> int:
    columns = [*elements.get("face", {}).values(), *(each.offsets[1:] for each in lists.get("face", {}).values())]
    return len(columns[0]) if columns else 0


_READERS = {"scene": _scene, "colmap": _colmap, "transforms": _transforms, "trajectory": _trajectory, "ply": _ply}

"""A reconstruction whose scale is set from one measured distance: every file with coordinates in it is scaled."""

from __future__ import annotations

import math
import os
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from recon3d.apps.viewer.contents import Contents, is_antialiased, read_contents
from recon3d.core.errors import UsageError
from recon3d.core.files import disk_errors
from recon3d.formats.exr import read_exr, write_exr
from recon3d.formats.parsing import json_number, parse_json
from recon3d.formats.ply import read_ply, write_ply
from recon3d.render.mesh.files import load_mesh, save_mesh
from recon3d.scene import Scale, Scene
from recon3d.scene_dense import DEPTH
from recon3d.scene_io import read_scene_json

_LENGTHS = ("x", "y", "z", "sigma")
_FACTORS = (1e-9, 1e9)
_MAX_PIXELS = 400_000_000


def set_scale(contents: Contents, body: bytes) -> tuple[Contents, float]:
    """Make a reconstruction metric, from a distance measured in it.

    Args:
        contents: what is open.
        body: JSON of ``world`` (the distance in the scene) and ``metres`` (what it is in truth).

    Returns:
        The contents as they are now, and the factor that all lengths were multiplied by.

    Raises:
        UsageError: no reconstruction is open, or the distances are not positive.
    """
    if contents.scene is None:
        raise UsageError("the scale of a single file cannot be set", fix="open the folder of recon3d reconstruct")
    request = parse_json(body, "the request")
    world, metres = (json_number(request, name, "the request") for name in ("world", "metres"))
    if not all(math.isfinite(value) and value > 0 for value in (world, metres)):
        raise UsageError("distances must be positive", got=f"{world} and {metres}")
    factor = metres / world
    rescale(contents.scene, factor, f"a distance of {metres:g} m measured in the viewer")
    return read_contents(contents.root), factor


def rescale(scene: Scene, factor: float, source: str) -> Scene:
    """Multiply all lengths of a scene folder by a factor and call it metric.

    Dense files are written beside the folder's files first and moved over them at the end, then cameras, points and
    scene.json: a failure while they are written leaves the folder as it was. report.html keeps the old numbers;
    scene.json records the change.

    Args:
        scene: loaded from its folder.
        factor: metres per unit.
        source: of the scale, in plain words.

    Raises:
        UsageError: the factor is out of range, or the scene lies in no folder.
        FormatError: a file of the folder is damaged.
        ResourceError: the disk is full.
    """
    if scene.root is None or not _FACTORS[0] < factor < _FACTORS[1]:
        raise UsageError("the scale is out of range", got=factor, expected=f"{_FACTORS[0]:g} to {_FACTORS[1]:g}")
    root = scene.root
    listed = list(read_scene_json(root)["files"])
    similarity = np.diag([factor, factor, factor, 1.0])
    provenance: dict[str, Any] = {**scene.provenance, "rescaled": {"factor": factor, "source": source}}
    scaled = replace(scene.transformed(similarity), scale=Scale("metric", source), provenance=provenance)
    antialiased = is_antialiased(scene)
    stage = Path(tempfile.mkdtemp(prefix=".rescale.", dir=root))
    try:
        with disk_errors(root):
            for name in listed:
                _scale_file(root / name, stage / name, factor, antialiased)
            for path in [path for path in sorted(stage.rglob("*")) if path.is_file()]:
                os.replace(path, root / path.relative_to(stage))
        return scaled.save(root, [name for name in listed if (root / name).is_file()])
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def _scale_file(source: Path, target: Path, factor: float, antialiased: bool) -> None:
    """Write the scaled twin of a file that holds lengths; others are left alone."""
    suffix = source.suffix.lower()
    if not source.is_file() or source.name == "points.ply":
        return
    if suffix == ".glb":
        target.parent.mkdir(parents=True, exist_ok=True)
        mesh = load_mesh(source)
        save_mesh(target, replace(mesh, vertices=(mesh.vertices * np.float32(factor))))
    elif suffix == ".ply":
        _scale_ply(source, target, factor)
    elif suffix == ".spz":
        _scale_splats(source, target, factor, antialiased)
    elif suffix == ".exr" and DEPTH in source.parts:
        channels = read_exr(source, max_pixels=_MAX_PIXELS)
        write_exr(target, {name: (values * np.float32(factor)) for name, values in channels.items()})


def _scale_ply(source: Path, target: Path, factor: float) -> None:
    ply = read_ply(source)
    columns = dict(ply.vertices)
    for name in _LENGTHS:
        if name in columns:
            columns[name] = (columns[name] * factor).astype(columns[name].dtype)
    for name in ("scale_0", "scale_1", "scale_2"):
        if name in columns:
            columns[name] = (columns[name] + math.log(factor)).astype(columns[name].dtype)
    faces = ply.triangles().astype(np.int32) if "face" in ply.elements or "face" in ply.lists else None
    metric = ["one unit is 1 m" if "one unit is" in text else text for text in ply.comments]
    write_ply(target, columns, faces, comments=metric)


def _scale_splats(source: Path, target: Path, factor: float, antialiased: bool) -> None:
    from recon3d.render.gaussians.files import load_gaussians, save_gaussians

    splats = load_gaussians(source)
    scaled = replace(splats, means=splats.means * factor, log_scales=splats.log_scales + math.log(factor))
    save_gaussians(target, scaled, antialiased=antialiased)

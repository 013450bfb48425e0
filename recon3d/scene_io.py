"""The folder of a scene: scene.json, colmap/, colmap_distorted/, transforms.json, trajectory.tum and points.ply."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped

from recon3d.core.errors import FormatError, InputError, UsageError
from recon3d.core.files import read_capped, sha256_file, write_json
from recon3d.formats.colmap import read_colmap, write_colmap
from recon3d.formats.parsing import json_field, json_int, parse_json
from recon3d.formats.ply import read_ply, write_ply
from recon3d.formats.transforms import write_transforms
from recon3d.formats.tum import write_tum
from recon3d.scene import Points, Scene
from recon3d.scene_convert import colmap_from_cameras, pinhole_points, points_from_colmap, transforms_from_cameras
from recon3d.scene_json import SCHEMA, scene_from_json, scene_to_json

MAX_JSON_BYTES = 1 << 28
_PLAIN_PART = r"[A-Za-z0-9-]+(?:_[A-Za-z0-9-]+)*"
_PLAIN_KEY = re.compile(rf"({_PLAIN_PART}(?:/{_PLAIN_PART})*)\.([A-Za-z0-9]+)")
_MAX_STEM = 120
_LOSSLESS = frozenset({".png", ".tif", ".tiff", ".bmp", ".ppm", ".pgm", ".pnm"})


def output_stem(key: str) -> str:
    """Return the name, without extension, of all files that belong to the photo ``key``; no two keys share one.

    ``dir/IMG_1.JPG`` becomes ``dir__IMG_1_JPG``: ``/`` turns into ``__`` and the last dot into ``_``. Keys that this
    rule would mix up (spaces, other letters, further dots, doubled or outer underscores, over 120 characters) get every
    unfit character replaced by ``_`` and ten digits of their SHA-256 appended. Names may differ in case only.

    Args:
        key: path of the photo relative to the input folder.

    Returns:
        ASCII letters, digits, ``_`` and ``-`` only.
    """
    plain = _PLAIN_KEY.fullmatch(key)
    if plain is not None and len(key) <= _MAX_STEM:
        return f"{plain[1].replace('/', '__')}_{plain[2]}"
    digest = hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()[:10]
    return f"{re.sub('[^A-Za-z0-9-]', '_', key)[:_MAX_STEM]}-{digest}"


def output_name(key: str) -> str:
    """Return the file name in ``images/`` of the undistorted photo ``key``.

    It is :func:`output_stem` with ``.png`` for photos of a lossless format (PNG, TIFF, BMP, PNM), ``.jpg`` for others.
    """
    lossless = Path(key).suffix.lower() in _LOSSLESS
    return output_stem(key) + (".png" if lossless else ".jpg")


def save_scene(scene: Scene, folder: str | Path, extra_files: Iterable[str | Path] = ()) -> Scene:
    """Write the folder of a scene; scene.json comes last and lists every file with its SHA-256.

    Args:
        scene: what to write.
        folder: created where absent; each file is replaced atomically.
        extra_files: further files that already lie in the folder (photos, report), absolute or relative to it; they
            are listed as well.

    Returns:
        The scene with ``root`` set to the folder.

    Raises:
        UsageError: the scene contradicts itself, its metrics or provenance are not JSON, or an extra file lies outside.
        InputError: an extra file is absent.
    """
    folder = Path(folder)
    extra = {_name_in(folder, Path(path)) for path in extra_files}
    _check_tracks(scene)
    document = scene_to_json(scene)
    for entry in document["views"]:
        if entry["status"] == "registered":  # for readers of the manifest; loading derives it from the key
            entry["image"] = f"images/{output_name(entry['key'])}"
    _check_json(document)
    files = [*_write_models(scene, folder), *_write_lists(scene, folder)]
    names = sorted({path.relative_to(folder).as_posix() for path in files} | extra)
    document["files"] = {name: _file_entry(folder / name) for name in names}
    write_json(folder / "scene.json", document)
    return replace(scene, root=folder)


def _name_in(folder: Path, path: Path) -> str:
    inside = Path(os.path.relpath(path, folder)) if path.is_absolute() else path
    if ".." in inside.parts or inside.is_absolute():
        raise UsageError("an extra file lies outside the folder of the scene", got=path, expected=f"below {folder}")
    return inside.as_posix()


def _check_json(document: dict[str, Any]) -> None:
    try:
        json.dumps(document, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        what = "a scene with numbers that are not finite, or metrics that are not JSON, cannot be saved"
        raise UsageError(what, got=str(error)) from error


def _check_tracks(scene: Scene) -> None:
    points, n = scene.points, len(scene.cameras)
    keys = [view.key for view in scene.views]
    if len(set(keys)) != len(keys) or len({output_stem(key) for key in keys}) != len(keys):
        raise UsageError("two views of the scene share a key", got=sorted(keys)[:10])
    if (np.diff(points.obs_point) < 0).any():
        raise UsageError("Points.obs_point must ascend")
    for name, values, end in (("obs_point", points.obs_point, len(points)), ("obs_view", points.obs_view, n)):
        if values.size and not 0 <= values.min() <= values.max() < end:
            got = f"{values.min()}..{values.max()}"
            raise UsageError(f"Points.{name} points past the end", got=got, expected=f"0..{end - 1}")


def _write_models(scene: Scene, folder: Path) -> list[Path]:
    keys = [view.key for view in scene.registered]
    group = np.array([view.camera_group for view in scene.registered], np.int64)
    distorted = colmap_from_cameras(scene.cameras, keys, scene.points, group)
    names = [output_name(key) for key in keys]
    pinhole = colmap_from_cameras(scene.pinhole_cameras.pinhole(), names, pinhole_points(scene))
    return [*write_colmap(folder / "colmap_distorted", distorted), *write_colmap(folder / "colmap", pinhole)]


def _write_lists(scene: Scene, folder: Path) -> list[Path]:
    keys = [view.key for view in scene.registered]
    paths = [folder / name for name in ("transforms.json", "trajectory.tum", "points.ply")]
    names = [f"images/{output_name(key)}" for key in keys]
    write_transforms(paths[0], transforms_from_cameras(scene.pinhole_cameras.pinhole(), names, "points.ply"))
    write_tum(paths[1], scene.pinhole_cameras.world_from_cam, names, scene.timestamps)
    write_ply(paths[2], _point_table(scene.points), comments=[f"one unit is 1 {scene.scale.unit}"])
    return paths


def _point_table(points: Points) -> dict[str, Shaped[np.ndarray, " p"]]:
    table: dict[str, Shaped[np.ndarray, " p"]] = dict(zip("xyz", points.xyz.T, strict=True))
    table |= dict(zip(("red", "green", "blue"), points.rgb.T, strict=True))
    return table | {"error": points.error_px, "sigma": points.sigma, "track_length": points.track_length}


def _file_entry(path: Path) -> dict[str, Any]:
    return {"sha256": sha256_file(path), "bytes": path.stat().st_size}


def load_scene(folder: str | Path) -> Scene:
    """Read the folder that :func:`save_scene` wrote; every field has the same bits as before.

    Args:
        folder: holds scene.json.

    Returns:
        The scene with ``root`` set to the folder.

    Raises:
        InputError: the folder or a file of it is absent.
        FormatError: a file is damaged, was changed after it was written, or contradicts another.
    """
    folder = Path(folder)
    document = read_scene_json(folder)
    for name in ("points.ply", *(f"colmap_distorted/{part}.bin" for part in ("cameras", "images", "points3D"))):
        problem = _file_problem(folder, name, json_field(document, "files", dict, str(folder / "scene.json")))
        if problem:
            raise FormatError(f"{folder / name} {problem}", fix="run the command that made the folder again")
    points = _load_points(folder)
    return replace(scene_from_json(document, points, str(folder / "scene.json")), root=folder)


def read_scene_json(folder: str | Path) -> dict[str, Any]:
    """Return the manifest of a scene folder as plain JSON.

    Raises:
        InputError: there is none.
        FormatError: it is damaged or of a version that this program does not know.
    """
    path = Path(folder) / "scene.json"
    if not path.is_file():
        fix = "give the folder that recon3d reconstruct wrote"
        raise InputError(f"{folder} is not a scene folder", got="no scene.json", fix=fix)
    document = parse_json(read_capped(path, MAX_JSON_BYTES), str(path))
    if json_field(document, "format", str, str(path)) != "recon3d-scene":
        raise FormatError(f"{path} is not a scene of recon3d", got=document["format"])
    if json_int(document, "schema", str(path)) != SCHEMA:
        raise FormatError(f"{path} has another version", got=document["schema"], expected=SCHEMA, fix="update recon3d")
    return document


def _load_points(folder: Path) -> Points:
    model = read_colmap(folder / "colmap_distorted")
    vertices = read_ply(folder / "points.ply").vertices
    sigma = vertices.get("sigma")
    if sigma is None or sigma.dtype != np.float64 or len(sigma) != len(model.points.ids):
        raise FormatError(f"{folder / 'points.ply'} does not belong to colmap_distorted", expected="a sigma per point")
    return points_from_colmap(model, sigma)


def check_files(folder: str | Path) -> tuple[str, ...]:
    """Compare every file that scene.json lists with its size and SHA-256.

    Args:
        folder: a scene folder.

    Returns:
        One sentence per file that is absent or was changed; empty when all is well.

    Raises:
        InputError: there is no scene.json.
        FormatError: scene.json is damaged.
    """
    files = json_field(read_scene_json(folder), "files", dict, str(Path(folder) / "scene.json"))
    problems = ((name, _file_problem(Path(folder), name, files)) for name in sorted(files))
    return tuple(f"{name} {problem}" for name, problem in problems if problem)


def _file_problem(folder: Path, name: str, files: dict[str, Any]) -> str:
    where = f"{folder / 'scene.json'}: file {name}"
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise FormatError(f"{where} lies outside the folder")
    digest = json_field(json_field(files, name, dict, where), "sha256", str, where)
    if not (folder / name).is_file():
        return "is missing"
    return "" if sha256_file(folder / name) == digest else "was changed after it was written"

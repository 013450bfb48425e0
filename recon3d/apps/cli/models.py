"""What lies at a path: a scene folder, a COLMAP model, a transforms.json, a trajectory or a point file."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from recon3d.core.errors import InputError
from recon3d.evaluation import Estimate
from recon3d.formats.colmap import find_colmap, read_colmap
from recon3d.formats.transforms import read_transforms
from recon3d.scene import Scene
from recon3d.scene_convert import cameras_from_colmap, cameras_from_transforms

Kind = Literal["scene", "refused", "colmap", "transforms", "trajectory", "ply"]
WORK = ".recon3d"  # equals recon3d.pipeline.WORK, whose module is too heavy to load for a name
_READABLE = "a folder of recon3d reconstruct, a COLMAP model, a transforms.json, a .tum trajectory or a .ply file"
_SUFFIXES: dict[str, Kind] = {".json": "transforms", ".tum": "trajectory", ".txt": "trajectory", ".ply": "ply"}


def kind_of(path: Path) -> tuple[Kind, Path]:
    """Return what lies at a path, and the file or folder to read.

    Raises:
        InputError: nothing is there, or nothing that recon3d reads.
    """
    if path.name == "scene.json":
        path = path.parent
    if path.is_dir():
        for kind, inner in _candidates(path):
            return kind, inner
        if (path / WORK).is_dir():
            raise InputError(f"the run in {path} is not finished", fix="run the same reconstruct command again")
    elif path.is_file() and path.suffix.lower() in _SUFFIXES:
        return _SUFFIXES[path.suffix.lower()], path
    got = "nothing there" if not path.exists() else None
    raise InputError(f"cannot tell what {path} holds", got=got, expected=_READABLE)


def _candidates(folder: Path) -> list[tuple[Kind, Path]]:
    found: list[tuple[Kind, Path]] = [("scene", folder)] if (folder / "scene.json").is_file() else []
    if not found and (folder / "report.html").is_file() and (folder / WORK).is_dir():
        found.append(("refused", folder))  # reconstruct leaves a report, but no scene, when it trusts no model
    models = (folder, folder / "sparse" / "0", folder / "sparse")
    found += [("colmap", inner) for inner in models if find_colmap(inner)]
    if (folder / "transforms.json").is_file():
        found.append(("transforms", folder / "transforms.json"))
    return found


def read_estimate(path: Path) -> Estimate:
    """Return the cameras with intrinsics that lie at a path, as photographed; none for a run that was refused.

    Raises:
        InputError: there are none.
    """
    kind, inner = kind_of(path)
    if kind == "refused":
        return Estimate.empty()
    if kind == "scene":
        return Estimate.from_scene(Scene.load(inner))
    if kind == "colmap":
        model = read_colmap(inner)
        return Estimate(tuple(image.name for image in model.images), cameras_from_colmap(model))
    if kind == "transforms":
        transforms = read_transforms(inner)
        return Estimate(transforms.names, cameras_from_transforms(transforms))
    raise InputError(
        f"{path} holds no cameras with intrinsics", got=kind, expected="a scene folder, COLMAP, transforms"
    )

"""`recon3d export`: an output folder in the format of another tool."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from recon3d.apps.cli.command import Command
from recon3d.apps.cli.output import print_json, print_lines
from recon3d.core.errors import UsageError
from recon3d.formats.colmap import write_colmap
from recon3d.formats.ply import write_ply
from recon3d.formats.transforms import write_transforms
from recon3d.formats.tum import write_tum
from recon3d.scene import Scene
from recon3d.scene_convert import colmap_from_cameras, pinhole_points, transforms_from_cameras
from recon3d.scene_io import output_name

Format = Literal["colmap", "colmap-text", "transforms", "tum", "ply", "splats-ply", "spz", "glb", "mesh-ply"]
_FILE_NAMES = {
    "transforms": "transforms.json",
    "tum": "trajectory.tum",
    "ply": "points.ply",
    "splats-ply": "splats.ply",
    "spz": "splats.spz",
    "glb": "mesh.glb",
    "mesh-ply": "mesh.ply",
}


@dataclass(frozen=True, kw_only=True)
class Export(Command):
    """Write cameras, points, splats or the mesh of an output folder in the format of another tool.

    Args:
        scene: output folder of recon3d reconstruct.
        format: colmap and colmap-text make a folder; the others a file: cameras as transforms (nerfstudio) and tum, the
            sparse points as ply, splats as splats-ply (3DGS) and spz (version 3), the mesh as glb and mesh-ply.
        to: where to write; a folder gets a file of the usual name.
        distorted: cameras of the photos as they were given, instead of the undistorted ones in images/.
    """

    scene: Path
    format: Format = "colmap"
    to: Path | None = None
    distorted: bool = False

    def run(self) -> int:
        """Write the files, print their paths and return 0."""
        target = self._target()
        written = self._write(Scene.load(self.scene), target)
        if self.json:
            print_json({"format": self.format, "files": [str(path) for path in written]})
        else:
            print_lines(str(path) for path in written)
        return 0

    def _target(self) -> Path:
        if self.to is None:
            raise UsageError("no target given", fix="add --to PATH")
        target = self.to / _FILE_NAMES[self.format] if self.format in _FILE_NAMES and self.to.is_dir() else self.to
        if self.scene.resolve() in (target.resolve(), *target.resolve().parents):
            raise UsageError("the target lies in the output folder, whose files are recorded", got=target)
        if self.format not in _FILE_NAMES and target.is_file():
            raise UsageError("the target of a COLMAP model is a folder", got=f"the file {target}")
        return target

    def _write(self, scene: Scene, target: Path) -> tuple[Path, ...]:
        if self.format in ("colmap", "colmap-text"):
            return self._write_colmap(scene, target)
        if self.format == "transforms":
            self._write_transforms(scene, target)
        elif self.format == "tum":
            write_tum(target, scene.cameras.world_from_cam, self._names(scene), scene.timestamps)
        elif self.format == "ply":
            _write_points(scene, target)
        else:
            _write_dense(scene, self.format, target)
        return (target,)

    def _names(self, scene: Scene) -> list[str]:
        return [view.key if self.distorted else output_name(view.key) for view in scene.registered]

    def _write_colmap(self, scene: Scene, target: Path) -> tuple[Path, ...]:
        cameras = scene.cameras if self.distorted else scene.pinhole_cameras
        group = np.array([view.camera_group for view in scene.registered], np.int64) if self.distorted else None
        points = scene.points if self.distorted else pinhole_points(scene)
        model = colmap_from_cameras(cameras, self._names(scene), points, group)
        return write_colmap(target, model, binary=self.format == "colmap")

    def _write_transforms(self, scene: Scene, target: Path) -> None:
        # nerfstudio reads file_path relative to the folder of the transforms.json.
        here = Path(os.path.relpath(self.scene.resolve(), target.resolve().parent))
        images = Path() if self.distorted else here / "images"
        names = [(images / name).as_posix() for name in self._names(scene)]
        cameras = scene.cameras if self.distorted else scene.pinhole_cameras
        write_transforms(target, transforms_from_cameras(cameras, names, (here / "points.ply").as_posix()))


def _write_points(scene: Scene, target: Path) -> None:
    """Write float32 coordinates and colours, which every viewer reads; points.ply keeps the full precision."""
    points = scene.points
    table = {axis: points.xyz[:, index].astype(np.float32) for index, axis in enumerate("xyz")}
    colours = {name: points.rgb[:, index] for index, name in enumerate(("red", "green", "blue"))}
    numbers = {"error": points.error_px.astype(np.float32), "sigma": points.sigma.astype(np.float32)}
    write_ply(target, {**table, **colours, **numbers}, comments=[f"one unit is 1 {scene.scale.unit}"])


def _write_dense(scene: Scene, file_format: Format, target: Path) -> None:
    expected = Path(_FILE_NAMES[file_format]).suffix
    if target.suffix.lower() != expected:
        raise UsageError(f"the name of a {file_format} file ends with {expected}", got=target.name)
    if file_format in ("splats-ply", "spz"):
        from recon3d.render.gaussians.files import save_gaussians

        antialiased = bool(scene.metrics.get("splats", {}).get("antialiased", False))
        save_gaussians(target, scene.gaussians(), antialiased=antialiased)
    else:
        from recon3d.render.mesh.files import save_mesh

        save_mesh(target, scene.mesh())

"""`recon3d detect`: cars, pedestrians and cyclists in the clouds of a LiDAR."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from recon3d.apps.cli.command import Command
from recon3d.apps.cli.output import print_json, print_rows
from recon3d.core.errors import UsageError
from recon3d.core.files import write_json
from recon3d.core.progress import make_progress
from recon3d.formats.kitti_text import read_kitti_calibration
from recon3d.pointcloud.boxes.types import Boxes3D
from recon3d.pointcloud.clouds.files import cloud_format, load
from recon3d.pointcloud.clouds.types import PointCloud
from recon3d.pointcloud.detection import (
    AUTO,
    Detector,
    boxes_to_json,
    nuscenes_results,
    write_boxed_ply,
    write_kitti_results,
    write_nuscenes_results,
    write_rerun,
)
from recon3d.pointcloud.detection.precision import Precision

Output = Literal["json", "ply", "kitti", "nuscenes", "rerun"]
_ENDINGS = {"json": ".json", "ply": "_boxes.ply", "kitti": ".txt", "rerun": ".rrd"}


@dataclass(frozen=True, kw_only=True)
class Detect(Command):
    """Find cars, pedestrians and cyclists in clouds of a LiDAR: x forward, z up, metres, in the frame of the sensor.

    Args:
        clouds: files: .pcd, .bin, .pcd.bin, .ply, .las, .laz, .e57, .npy, .npz, .mcap.
        model: recon3d-detector, a file of `recon3d train detector`, or NETWORK=FILE for bare weights.
        score: least score of a box, 0 to 1.
        classes: names of those wanted; none = all.
        mount: height of the sensor over the ground in metres, or auto; empty = what the model expects.
        intensity_max: intensity of the brightest point; 0 = what the format says, or the model.
        format: of the files; empty = as their names tell.
        out: folder for the result files; empty = none are written.
        write: kinds of result files.
        calibration: KITTI's file of the frame, for kitti; or the folder with one of each frame.
        image_size: width and height of KITTI's image.
        device: auto, cpu or cuda.
        precision: of matrix products; bfloat16 is faster on new processors.
        quiet: show no progress.
    """

    clouds: tuple[Path, ...]
    model: str = "recon3d-detector"
    score: float = 0.3
    classes: tuple[str, ...] = ()
    mount: str = ""
    intensity_max: float = 0.0
    format: str = ""
    out: Path | None = None
    write: tuple[Output, ...] = ("json",)
    calibration: Path | None = None
    image_size: tuple[int, int] = (1242, 375)
    device: str = "auto"
    precision: Precision = "float32"
    quiet: bool = False

    def run(self) -> int:
        """Print the boxes of each cloud, write the files and return 0."""
        self._check()
        mount = _mount(self.mount)
        detector = Detector.load(self.model, device=self.device, precision=self.precision)
        found: list[dict[str, Any]] = []
        results: dict[str, list[dict[str, Any]]] = {}
        with make_progress(self.quiet).stage("detect", len(self.clouds)) as bar:
            for path in self.clouds:
                cloud = load(path, format=self.format or None)
                started = time.perf_counter()
                checked = detector.check(cloud, mount_m=mount, intensity_max=self._brightest(path))
                boxes = detector.detect_checked(checked, score=self.score, classes=self.classes)
                about: dict[str, Any] = {
                    "cloud": str(path),
                    "points": len(cloud),
                    "seconds": round(time.perf_counter() - started, 3),
                    "mount_m": round(checked.mount_m, 3),
                    "ground_m": None if checked.ground_m is None else round(checked.ground_m, 3),
                    "warnings": list(checked.warnings),
                    "boxes": boxes_to_json(boxes),
                }
                found.append(about)
                self._write(path, cloud, boxes, about)
                if "nuscenes" in self.write:
                    results[path.name] = nuscenes_results(boxes, path.name, np.eye(4))
                bar.advance()
        if self.out is not None and "nuscenes" in self.write:
            write_nuscenes_results(self.out / "results_nuscenes.json", results)
        self._show(found, detector)
        return 0

    def _check(self) -> None:
        if not self.clouds:
            raise UsageError("recon3d detect needs a cloud", expected="recon3d detect CLOUD ...")
        if "kitti" in self.write and self.out is not None and self.calibration is None:
            raise UsageError("result files of KITTI need its calibration", fix="add --calibration file.txt")

    def _brightest(self, path: Path) -> float | None:
        kind = self.format or cloud_format(path)
        return self.intensity_max or (255.0 if kind == "nuscenes" else None)

    def _write(self, path: Path, cloud: PointCloud, boxes: Boxes3D, about: dict[str, Any]) -> None:
        if self.out is None:
            return
        for kind in self.write:
            if kind == "nuscenes":
                continue
            target = self.out / f"{_stem(path)}{_ENDINGS[kind]}"
            if kind == "json":
                write_json(target, about)
            elif kind == "ply":
                write_boxed_ply(target, cloud.xyz, boxes)
            elif kind == "rerun":
                write_rerun(target, cloud.xyz, boxes)
            elif self.calibration is not None:
                given = self.calibration
                file = given / f"{_stem(path)}.txt" if given.is_dir() else given
                write_kitti_results(target, boxes, read_kitti_calibration(file), self.image_size)

    def _show(self, found: list[dict[str, Any]], detector: Detector) -> None:
        if self.json:
            print_json({"model": detector.name, "classes": list(detector.classes), "clouds": found})
            return
        for one in found:
            head = f"{len(one['boxes'])} boxes in {one['points']} points, {one['seconds']:.2f} s"
            rows = [(one["cloud"], head)]
            rows += [(f"  {box['class']}", _line(box)) for box in one["boxes"]]
            print_rows(rows)


def _line(box: dict[str, Any]) -> str:
    x, y, z, length, width, height, yaw = box["box"]
    size = f"{length:.2f} x {width:.2f} x {height:.2f} m"
    return f"{box['score']:.2f}  at {x:.2f} {y:.2f} {z:.2f}, {size}, heading {math.degrees(yaw):.0f} deg"


def _stem(path: Path) -> str:
    return path.name.removesuffix(path.suffix).removesuffix(".pcd")


def _mount(text: str) -> float | None:
    if text in ("", "auto"):
        return AUTO if text else None
    try:
        return float(text)
    except ValueError as error:
        raise UsageError("the height of the sensor is no number", got=text, expected="metres, or auto") from error

"""`recon3d segment`: a class for every point of a cloud, or of the points of a reconstruction."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from recon3d.apps.cli.command import Command
from recon3d.apps.cli.output import print_json, print_rows
from recon3d.core.errors import FormatError, InputError, ResultError, UsageError
from recon3d.core.files import read_capped, write_json
from recon3d.core.progress import make_progress
from recon3d.formats.kitti_semantic import write_point_labels, write_semantic_kitti
from recon3d.pointcloud.clouds.files import load, save
from recon3d.pointcloud.clouds.types import PointCloud
from recon3d.pointcloud.segmentation import Segmentation, Segmenter
from recon3d.pointcloud.segmentation.recording import write_segment_recording
from recon3d.scene import Scene

Output = Literal["json", "ply", "label", "lidarseg", "npz", "rerun"]
_ENDINGS = {
    "json": ".json",
    "ply": "_segments.ply",
    "label": ".label",
    "lidarseg": "_lidarseg.bin",
    "npz": "_segments.npz",
    "rerun": ".rrd",
}
_MAX_JSON = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Segment(Command):
    """Name what every point of a cloud belongs to: walls, floors and furniture indoors, streets outdoors.

    Rooms: z up, metres, colours. Sweeps of a LiDAR: x forward, z up, metres, in the frame of the sensor, intensities.

    Args:
        clouds: files (.ply, .pcd, .las, .laz, .e57, .bin, .pcd.bin, .npy, .npz, .mcap), or output folders of recon3d
            reconstruct whose scale is metric.
        model: indoor, outdoor, or a file of `recon3d train segmenter`; auto = indoor for clouds with colours.
        threshold: least confidence of a label, 0 to 1; other points get none.
        classes: other classes, each NAME=OLD,OLD of the model's own, or a JSON file of lists of old names by new name;
            classes that none takes are dropped.
        mount: height of the sensor over the ground in metres, outdoors; 0 = what the model expects.
        intensity_max: intensity of the brightest point; 0 = 1, or 255 where the values go beyond 1.
        views: looks at the scene, each turned; more are slower and a little better.
        format: of the files; empty = as their names tell.
        out: folder for the result files; empty = none are written.
        write: kinds of result files: json (summary), ply (coloured, with label and confidence), label (SemanticKITTI),
            lidarseg (nuScenes), npz (labels and confidences), rerun (pip install rerun-sdk).
        device: auto, cpu or cuda.
        quiet: show no progress.
    """

    clouds: tuple[Path, ...]
    model: str = "auto"
    threshold: float = 0.0
    classes: tuple[str, ...] = ()
    mount: float = 0.0
    intensity_max: float = 0.0
    views: int = 1
    format: str = ""
    out: Path | None = None
    write: tuple[Output, ...] = ("json", "ply")
    device: str = "auto"
    quiet: bool = False

    def run(self) -> int:
        """Print a summary of each cloud, write the files and return 0."""
        if not self.clouds:
            raise UsageError("recon3d segment needs a cloud", expected="recon3d segment CLOUD ...")
        groups, models = class_groups(self.classes), dict[str, Segmenter]()
        found = []
        with make_progress(self.quiet).stage("segment", len(self.clouds)) as bar:
            for path in self.clouds:
                cloud = read_points(path, self.format)
                name = self._model_for(cloud)
                if name not in models:
                    models[name] = Segmenter.load(name, device=self.device)
                found.append(self._labelled(path, cloud, name, models[name], groups))
                bar.advance()
        print_json({"clouds": found}) if self.json else self._show(found)
        return 0

    def _model_for(self, cloud: PointCloud) -> str:
        if self.model != "auto":
            return self.model
        if "rgb" in cloud.attributes:
            return "indoor"
        if "intensity" in cloud.attributes:
            return "outdoor"
        got = ", ".join(sorted(cloud.attributes)) or "positions only"
        fix = "name a model with --model, one that was trained without either"
        raise InputError("no model fits to the cloud", got=got, expected="colours or intensities", fix=fix)

    def _labelled(
        self, path: Path, cloud: PointCloud, name: str, segmenter: Segmenter, groups: dict[str, list[str]]
    ) -> dict[str, Any]:
        started = time.perf_counter()
        labels = segmenter.segment(
            cloud,
            intensity_max=self.intensity_max or None,
            mount_m=self.mount or None,
            views=self.views,
        )
        seconds = round(time.perf_counter() - started, 3)
        labels = labels.above(self.threshold) if self.threshold else labels
        labels = labels.regrouped(groups) if groups else labels
        about: dict[str, Any] = {"cloud": str(path), "model": name, "seconds": seconds, **labels.to_json()}
        if self.out is not None:
            about["files"] = [str(self._write(kind, path, cloud, labels, about)) for kind in self.write]
        return about

    def _write(self, kind: Output, path: Path, cloud: PointCloud, labels: Segmentation, about: dict[str, Any]) -> Path:
        stem = path.resolve().name if path.is_dir() else path.name.removesuffix(path.suffix).removesuffix(".pcd")
        target = (self.out or Path()) / f"{stem}{_ENDINGS[kind]}"
        target.parent.mkdir(parents=True, exist_ok=True)
        if kind == "json":
            write_json(target, about)
        elif kind == "label":
            write_semantic_kitti(target, labels.ids())
        elif kind == "lidarseg":
            write_point_labels(target, labels.ids())
        elif kind == "rerun":
            write_segment_recording(target, cloud.xyz, labels)
        elif kind == "ply":
            save(target, _coloured(cloud, labels))
        else:
            save(target, PointCloud(xyz=cloud.xyz, attributes=_columns(labels), frame=cloud.frame))
        return target

    def _show(self, found: list[dict[str, Any]]) -> None:
        for one in found:
            rows = [(one["cloud"], f"{one['points']} points, model {one['model']}, {one['seconds']:.2f} s")]
            classes = sorted(one["classes"].items(), key=lambda pair: -pair[1]["points"])
            rows += [(f"  {name}", _line(entry)) for name, entry in classes if entry["points"]]
            if one["unlabelled"]:
                rows.append(("  no label", f"{one['unlabelled']} points"))
            rows += [("  note", text) for text in one["notes"]]
            rows += [("  written", text) for text in one.get("files", ())]
            print_rows(rows)


def _line(entry: dict[str, Any]) -> str:
    return f"{100 * entry['share']:5.1f} %  {entry['points']} points, confidence {entry['mean_confidence']:.2f}"


def _columns(labels: Segmentation) -> dict[str, np.ndarray]:
    return {"label": labels.labels, "confidence": labels.confidence}


def _coloured(cloud: PointCloud, labels: Segmentation) -> PointCloud:
    """Return the points with the colours of their classes; those without a position are left out."""
    columns = {"rgb": labels.rgb(), **_columns(labels)}
    return PointCloud(xyz=cloud.xyz, attributes=columns, frame=cloud.frame).finite()


def read_points(path: Path, format: str = "") -> PointCloud:
    """Return the cloud of a file, or the points of a reconstruction.

    Args:
        path: a file, or an output folder of recon3d reconstruct.
        format: of the file; empty = as its name tells.

    Raises:
        InputError: it cannot be read.
        ResultError: the reconstruction has no metres, without which no model knows what it sees.
    """
    if not path.is_dir() or format == "bag":
        return load(path, format=format or None)
    if not (path / "scene.json").is_file():
        raise InputError(f"{path} is no output folder", got="no scene.json", expected="a cloud, or a finished run")
    scene = Scene.load(path)
    if scene.scale.kind != "metric":
        raise ResultError(
            f"the scale of {path} is not known, and the models know things by their size in metres",
            got=f"a {scene.scale.kind} scale",
            fix="set it: measure a distance in recon3d view, or reconstruct with --scale.distance or --scale.depth",
        )
    return PointCloud(xyz=scene.points.xyz, attributes={"rgb": scene.points.rgb}, frame="world")


def class_groups(words: tuple[str, ...]) -> dict[str, list[str]]:
    """Return the model's classes by new class, from ``NAME=OLD,OLD`` or a JSON file.

    Args:
        words: of the command line.

    Raises:
        UsageError: a word is neither.
        FormatError: the file is no map of classes.
    """
    if len(words) == 1 and words[0].endswith(".json"):
        return _groups_of_file(Path(words[0]))
    groups: dict[str, list[str]] = {}
    for word in words:
        name, found, old = word.partition("=")
        if not found or not name or not old:
            raise UsageError("no such class map", got=word, expected="NAME=OLD,OLD, or a file ending in .json")
        groups.setdefault(name, []).extend(part.strip() for part in old.split(","))
    return groups


def _groups_of_file(path: Path) -> dict[str, list[str]]:
    try:
        found = json.loads(read_capped(path, _MAX_JSON))
        if not found or not all(isinstance(old, list) for old in found.values()):
            raise ValueError("a class without a list of names, or no class")
        return {str(name): [str(one) for one in old] for name, old in found.items()}
    except (ValueError, AttributeError, RecursionError) as error:
        expected = '{"seat": ["chair", "sofa"], ...}'
        raise FormatError(f"{path} is no map of classes", got=error, expected=expected) from error

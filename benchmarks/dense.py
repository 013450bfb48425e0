"""Depth maps and surfaces against sensor and laser: fusion of measured depth, and whatever a scene folder holds.

    python benchmarks/dense.py                          # fuse the sensor depth of every set that has it
    python benchmarks/dense.py --scenes out/            # evaluate finished scenes; the folder's name is the set's
    python benchmarks/dense.py --depth maps/ --sets kitchen_rgbd   # fuse STEM.exr (channel Z) in the true cameras

Quality and cost come from the same runs. The errors are those of docs/evaluation.md.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from measure import machine_card
from PIL import Image

from recon3d.core.kernels import threads
from recon3d.dense.fuse import fuse_with_stats
from recon3d.dense.fusion_options import FusionOptions
from recon3d.dense.mesh_cleanup import boundary_edges
from recon3d.dense.points_fusion import fuse_points
from recon3d.dense.types import DepthMap
from recon3d.evaluation.depth import evaluate_depth, find_true_depth, read_depth_png, resize_depth
from recon3d.evaluation.points import PointErrors, SeenSpace, evaluate_points
from recon3d.evaluation.scene import evaluate_scene_depth, evaluate_scene_points
from recon3d.evaluation.surface import sample_mesh
from recon3d.evaluation.truth import Truth, read_truth
from recon3d.formats.exr import read_exr
from recon3d.formats.ply import read_ply
from recon3d.scene import Scene

HERE = Path(__file__).resolve().parent
DATASETS = Path(os.environ.get("RECON3D_DATASETS", HERE.parents[1] / "shared" / "datasets"))
SENSOR_SIGMA = 0.0035  # of a structured-light sensor: times the squared depth in metres


@dataclass(frozen=True)
class Benchmark:
    """Measure the dense stages.

    Args:
        sets: names of sets; without any, all that are found.
        scenes: folders of `recon3d reconstruct` named like the sets, or one folder of them; they are only evaluated.
        depth: folder of depth maps STEM.exr in the unit of the truth, fused instead of the sensor's.
        tau: distances in the unit of the truth.
        threads: threads of the fusion; 0 = the cores.
        mesh: options of the fusion.
        json: print JSON instead of tables.
        data: folder with the sets.
    """

    sets: tuple[str, ...] = ()
    scenes: tuple[Path, ...] = ()
    depth: Path | None = None
    tau: tuple[float, ...] = (0.02, 0.05)
    threads: int = 0
    mesh: FusionOptions = field(default_factory=FusionOptions)
    json: bool = False
    data: Path = DATASETS / "photos"


@dataclass(frozen=True)
class Case:
    """One set with reference points."""

    name: str
    folder: Path
    truth: Truth

    @property
    def gt(self) -> Path:
        return self.folder / "gt"

    def reference(self) -> np.ndarray:
        path = self.gt / "fused_points.ply"
        path = path if path.exists() else self.gt / "reference_points.ply"
        vertices = read_ply(path).vertices
        return np.stack([vertices[axis].astype(np.float64) for axis in "xyz"], -1)


def find_cases(options: Benchmark) -> Iterator[Case]:
    """Yield the sets that have reference points."""
    for path in sorted(options.data.glob("*/gt/cameras.json")):
        folder = path.parents[1]
        wanted = not options.sets or folder.name in options.sets
        if wanted and (list(path.parent.glob("*_points.ply"))):
            yield Case(folder.name, folder, read_truth(path))


def load_maps(case: Case, options: Benchmark) -> dict[str, tuple[DepthMap, np.ndarray]]:
    """Return depth maps and colours by photo name, from a folder or from the sensor."""
    true = find_true_depth(case.truth, case.gt / "depth")
    maps = {}
    for name in case.truth.names:
        rgb = np.asarray(Image.open(case.folder / "images" / name).convert("RGB"))
        if options.depth is None:
            if name not in true:
                continue
            z = read_depth_png(true[name])
        else:
            path = options.depth / f"{Path(name).stem}.exr"
            if not path.is_file():
                continue
            z = resize_depth(read_exr(path)["Z"], *rgb.shape[:2])
        maps[name] = DepthMap(z, (SENSOR_SIGMA * z * z).astype(np.float32)), rgb
    return maps


def fuse(case: Case, options: Benchmark) -> Iterator[dict[str, Any]]:
    """Fuse depth maps in the true cameras into a mesh and into points, and measure both."""
    maps = load_maps(case, options)
    if not maps:
        return
    true = find_true_depth(case.truth, case.gt / "depth")
    if options.depth is not None and true:
        pairs = [(maps[name][0].depth_z, read_depth_png(path)) for name, path in true.items() if name in maps]
        yield {"set": case.name, "what": "depth maps", "depth": evaluate_depth(pairs, "metric").to_json()}
    rows = np.array([row for row, name in enumerate(case.truth.names) if name in maps], np.int64)
    cameras = case.truth.cameras[rows]
    seen = SeenSpace(cameras, tuple(depth.depth_z for depth, _ in maps.values())) if true else None
    photos = list(maps.values())
    with threads(options.threads or None):
        for what in ("mesh", "points"):
            start, cpu = time.monotonic(), time.process_time()
            if what == "mesh":
                mesh, stats = fuse_with_stats(photos, cameras.pinhole(), options.mesh)
                size = f"{len(mesh.faces)} faces, voxel {stats.voxel:.4g}, {stats.memory_bytes / 1e6:.0f} MB of blocks"
                size += f", {len(boundary_edges(mesh.faces))} open edges"
            else:
                cloud = fuse_points(photos, cameras.pinhole())
                size = f"{len(cloud)} points"
            cost = {"wall_s": time.monotonic() - start, "cpu_s": time.process_time() - cpu}
            points = sample_mesh(mesh.vertices, mesh.faces) if what == "mesh" else cloud.xyz
            errors = [evaluate_points(points, case.reference(), tau, seen) for tau in options.tau]
            yield {
                "set": case.name,
                "what": f"fused {what}",
                "size": size,
                **cost,
                "peak_mb": peak_mb(),
                "errors": errors,
            }


def peak_mb() -> float:
    """Return the peak of resident memory of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6


def evaluate(case: Case, options: Benchmark) -> Iterator[dict[str, Any]]:
    """Evaluate the finished scenes of a set."""
    for folder in options.scenes:
        folder = folder / case.name if (folder / case.name).is_dir() else folder
        if folder.name != case.name or not (folder / "scene.json").is_file():
            continue
        scene = Scene.load(folder)
        for mode in ("pose", "median"):
            depth = evaluate_scene_depth(scene, case.truth, case.gt, mode)
            if depth is not None:
                yield {"set": case.name, "what": f"depth, {mode} scale", "depth": depth.to_json()}
        surfaces = evaluate_scene_points(scene, case.truth, case.gt, options.tau)
        for what, errors in surfaces.results.items() if surfaces else ():
            yield {"set": case.name, "what": what, "errors": list(errors), "recall_only": surfaces.recall_only}


def depth_row(one: dict[str, Any]) -> list[str]:
    names = ("abs_rel", "sq_rel", "rmse", "rmse_log", "delta_1_05", "delta_1", "coverage")
    numbers = ["-" if one["depth"][name] is None else f"{one['depth'][name]:.4f}" for name in names]
    return [one["set"], one["what"], str(one["depth"]["n_images"]), *numbers]


def point_rows(one: dict[str, Any]) -> Iterator[list[str]]:
    cost = f"{one['wall_s']:.1f} / {one['cpu_s']:.1f}" if "wall_s" in one else "-"
    for errors in one["errors"]:
        yield [one["set"], one["what"], *point_cells(errors, one.get("recall_only", False)), one.get("size", "-"), cost]


def point_cells(errors: PointErrors, recall_only: bool) -> list[str]:
    mm = [f"{1000 * value:.1f}" for value in (errors.accuracy_mean, errors.completeness_mean, errors.chamfer)]
    shares = [f"{100 * value:.1f}" for value in (errors.precision, errors.recall, errors.f_score)]
    cells = [f"{errors.tau:g}", str(errors.n_points), *mm, *shares]
    return [cell if not recall_only or at in (0, 1, 3, 6) else "-" for at, cell in enumerate(cells)]


def main(options: Benchmark) -> int:
    """Run everything and print Markdown tables, or JSON."""
    card = machine_card(("recon3d", "numba", "numpy", "scikit-image"))
    found = [one for case in find_cases(options) for one in (evaluate if options.scenes else fuse)(case, options)]
    if options.json:
        plain = [{**one, "errors": [errors.to_json() for errors in one.get("errors", ())]} for one in found]
        sys.stdout.write(json.dumps({"machine": card, "runs": plain}, indent=1) + "\n")
        return 0
    sys.stdout.write(card + "\n")
    depth = [depth_row(one) for one in found if "depth" in one]
    points = [row for one in found if "errors" in one for row in point_rows(one)]
    head = ["set", "what", "images", "AbsRel", "SqRel", "RMSE", "RMSElog", "d 1.05", "d 1.25", "coverage"]
    print_table(head, depth)
    head = ["set", "what", "tau", "points", "accuracy mm", "completeness mm", "Chamfer mm", "P %", "R %", "F %", "size"]
    print_table([*head, "wall / CPU s"], points)
    return 0


def print_table(head: list[str], rows: list[list[str]]) -> None:
    if rows:
        lines = [head, ["---"] * len(head), *rows]
        sys.stdout.write("\n" + "".join(f"| {' | '.join(row)} |\n" for row in lines))


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Benchmark, config=(tyro.conf.FlagCreatePairsOff,))))

"""`recon3d evaluate`: cameras, depth, surfaces and held-out photos against ground truth."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from recon3d.apps.cli.command import Command
from recon3d.apps.cli.models import kind_of, read_estimate
from recon3d.apps.cli.output import print_json
from recon3d.core.errors import UsageError
from recon3d.evaluation import Truth, camera_table, evaluate_cameras, read_subsets, read_truth
from recon3d.evaluation.alignment import scene_scale
from recon3d.evaluation.depth import ScaleMode
from recon3d.evaluation.scene import evaluate_scene_depth, evaluate_scene_points, held_out_errors
from recon3d.evaluation.table import depth_table, surface_table, view_table
from recon3d.scene import Scene

_METRIC_TAUS = (0.02, 0.05)
_RELATIVE_TAUS = (0.005, 0.0125)


@dataclass(frozen=True, kw_only=True)
class Evaluate(Command):
    """Compare an output folder with ground truth; position, rotation and scale of the world are free.

    Cameras always; depth maps, points, mesh and splats where the truth has depth/ or reference points beside it; and
    the photos that the splats did not see.

    Args:
        model: output folder; a COLMAP model or a transforms.json has cameras only.
        truth: the true cameras, a cameras.json (docs/evaluation.md).
        subset: count only the photos that subsets.json, beside the truth, lists under this name.
        depth_scale: how depth maps are scaled before they are compared: by the alignment of the cameras (pose), not at
            all (metric), or to each true map (median, affine).
        tau: distances at which points count as right, in the unit of the truth; default: 0.02 and 0.05 m, or shares of
            the camera spread where the truth is not metric.
        cameras_only: skip everything but the cameras.
    """

    model: Path
    truth: Path | None = None
    subset: str | None = None
    depth_scale: ScaleMode = "pose"
    tau: tuple[float, ...] = ()
    cameras_only: bool = False

    def run(self) -> int:
        """Evaluate, print the numbers and return 0."""
        if self.truth is None:
            raise UsageError("no ground truth given", fix="add --truth path/to/cameras.json")
        path = self.truth / "cameras.json" if self.truth.is_dir() else self.truth
        truth = self._read_truth(path)
        errors = evaluate_cameras(truth, read_estimate(self.model))
        values, tables = self._scene(truth, path.parent)
        if self.json:
            print_json({**errors.to_json(), **values})
        else:
            console = Console()
            console.print(camera_table(errors))
            for table in tables:
                console.print()
                console.print(table)
        return 0

    def _scene(self, truth: Truth, folder: Path) -> tuple[dict[str, Any], list[Table]]:
        """Return what there is besides cameras, as JSON-ready values and as tables."""
        kind, inner = kind_of(self.model)
        if kind != "scene" or self.cameras_only:
            return {"depth": None, "surfaces": None, "held_out": None}, []
        scene = Scene.load(inner)
        depth = evaluate_scene_depth(scene, truth, folder, self.depth_scale)
        surfaces = evaluate_scene_points(scene, truth, folder, self._taus(truth))
        views = held_out_errors(scene)
        tables = [] if depth is None else [depth_table(depth, truth.unit)]
        tables += [] if surfaces is None else [surface_table(surfaces, truth.unit)]
        tables += [] if views is None else [view_table(views)]
        found = {"depth": depth, "surfaces": surfaces, "held_out": views}
        return {name: None if part is None else part.to_json() for name, part in found.items()}, tables

    def _taus(self, truth: Truth) -> tuple[float, ...]:
        if self.tau or truth.is_metric:
            return self.tau or _METRIC_TAUS
        size = scene_scale(truth.cameras.cam_from_world)
        return tuple(share * size for share in _RELATIVE_TAUS)

    def _read_truth(self, path: Path) -> Truth:
        truth = read_truth(path)
        if self.subset is None:
            return truth
        subsets = read_subsets(path.parent / "subsets.json")
        if self.subset not in subsets:
            raise UsageError("there is no such subset", got=self.subset, expected=", ".join(subsets))
        return truth.restricted(subsets[self.subset], self.subset)

"""`recon3d evaluate`: cameras against ground truth."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from recon3d.apps.cli.command import Command
from recon3d.apps.cli.models import read_estimate
from recon3d.apps.cli.output import print_json
from recon3d.core.errors import UsageError
from recon3d.evaluation import Truth, camera_table, evaluate_cameras, read_subsets, read_truth


@dataclass(frozen=True, kw_only=True)
class Evaluate(Command):
    """Compare the cameras of an output folder with ground truth; position, rotation and scale of the world are free.

    Args:
        model: output folder; a COLMAP model or a transforms.json works too.
        truth: the true cameras, a cameras.json (docs/evaluation.md).
        subset: count only the photos that subsets.json, beside the truth, lists under this name.
    """

    model: Path
    truth: Path | None = None
    subset: str | None = None

    def run(self) -> int:
        """Evaluate, print the numbers and return 0."""
        if self.truth is None:
            raise UsageError("no ground truth given", fix="add --truth path/to/cameras.json")
        errors = evaluate_cameras(self._read_truth(self.truth), read_estimate(self.model))
        if self.json:
            print_json(errors.to_json())
        else:
            Console().print(camera_table(errors))
        return 0

    def _read_truth(self, path: Path) -> Truth:
        path = path / "cameras.json" if path.is_dir() else path
        truth = read_truth(path)
        if self.subset is None:
            return truth
        subsets = read_subsets(path.parent / "subsets.json")
        if self.subset not in subsets:
            raise UsageError("there is no such subset", got=self.subset, expected=", ".join(subsets))
        return truth.restricted(subsets[self.subset], self.subset)

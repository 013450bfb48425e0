"""What the stages of a run share: the output folder, the stored stages, the progress display and the threads."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from recon3d.core.files import atomic_path
from recon3d.core.progress import Progress
from recon3d.core.stages import StageResult, StageStore
from recon3d.report.inputs import DenseResults

Only = Literal["cameras", "points", "splats", "mesh"]
DepthSource = Literal["stereo", "splats", "network"]
MANIFEST = "scene.json"
SplatsStart = Literal["sparse", "dense"]


@dataclass(frozen=True, eq=False)
class Dense:
    """What the stages after the cameras left.

    Args:
        files: paths in the output folder.
        metrics: numbers for the scene, JSON-ready.
        notes: what the user should know, in plain words.
        report: what the report shows of them.
    """

    files: tuple[Path, ...] = ()
    metrics: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    report: DenseResults = field(default_factory=DenseResults)


@dataclass(frozen=True, eq=False)
class Workspace:
    """The place where one run works.

    Args:
        folder: the output folder.
        store: its stored stages.
        progress: where progress is shown.
        n_threads: threads that compute at the same time; no bit of a result depends on it.
        seconds: wall time of every stage so far, in order; each stage adds its own.
    """

    folder: Path
    store: StageStore
    progress: Progress
    n_threads: int
    seconds: dict[str, float] = field(default_factory=dict)

    def stage(self, name: str, inputs: Mapping[str, Any], build: Callable[[Path], Any]) -> StageResult:
        """Run a stage, see :meth:`recon3d.core.stages.StageStore.run`, and note its wall time."""
        result = self.store.run(name, inputs, build)
        self.seconds[name] = result.seconds
        return result

    def outdate(self) -> None:
        """Remove the manifest of an earlier run, before the first file that it describes changes.

        A run that ends between the two then leaves no scene, instead of the cameras of one and the photos of another.
        """
        (self.folder / MANIFEST).unlink(missing_ok=True)

    def publish(self, source: Path, name: str) -> Path:
        """Show a file of a stage in the output folder, as a hard link where the file system has them.

        Args:
            source: file in the folder of a stage.
            name: path in the output folder.

        Returns:
            The path in the output folder.
        """
        target = self.folder / name
        if target.is_file() and os.path.samefile(source, target):
            return target
        self.outdate()
        with atomic_path(target) as temporary:
            temporary.unlink()
            try:
                os.link(source, temporary)
            except OSError:  # another file system, or one without links
                shutil.copyfile(source, temporary)
        return target

    def keep_only(self, folder: str, names: Collection[str]) -> None:
        """Remove the files of a folder of the output that this run did not write, and the folder where none is left."""
        inside = self.folder / folder
        for path in inside.iterdir() if inside.is_dir() else ():
            if path.is_file() and path.name not in names:
                path.unlink()
        if not names and inside.is_dir() and not any(inside.iterdir()):
            inside.rmdir()

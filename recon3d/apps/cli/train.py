"""`recon3d train`: training of a segmenter or a detector, on generated scenes or on a data set."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import tyro

from recon3d.apps.cli.command import Command
from recon3d.apps.cli.output import print_json, print_lines
from recon3d.core.errors import UsageError
from recon3d.core.progress import make_progress
from recon3d.pointcloud.detection import DetectorDataOptions, TrainDetectorOptions, train_detector
from recon3d.pointcloud.detection.options import DataFormat
from recon3d.pointcloud.segmentation.opening import open_scenes
from recon3d.pointcloud.segmentation.options import Recipe, SegmenterOptions, TrainSegmenterOptions
from recon3d.pointcloud.segmentation.training import WEIGHTS, train_segmenter

Layout = Literal["auto", "rooms", "streets", "scannet", "semantickitti", "folder", "kitti", "nuscenes"]

GENERATED = ("rooms", "streets")
_FORMATS: dict[str, DataFormat] = {"kitti": "kitti", "nuscenes": "nuscenes", "folder": "frames"}


@dataclass(frozen=True, kw_only=True)
class Train(Command):
    """Train a segmenter or a detector of point clouds: resumable, logged, on one machine or several under torchrun.

    Args:
        what: segmenter or detector.
        data: rooms or streets to generate scenes (a detector: streets), or the folder of a data set
            (docs/segmentation.md, docs/detection.md).
        format: of the folder; auto finds out: ScanNet (as Pointcept prepares it), SemanticKITTI, nuScenes-lidarseg, or
            a folder of clouds with a classes.json.
        out: folder of the training.
        resume: continue what lies in the folder.
        recipe: full (augmentation, drop path, mixing, Lovasz, averaged weights) or naive.
        teacher: weights of a segmenter whose labels are learnt as well, or sparse-unet=FILE.
        minutes: length of computing; 0 = by steps, or 20.
        steps: length; 0 = by minutes.
        scenes: of a step.
        most_voxels: of a scene; larger ones are cropped.
        voxel: edge of a voxel in metres; 0 = 0.06 indoors, 0.2 outdoors.
        dim: channels of a token, a multiple of 64.
        depth: transformer blocks.
        learning_rate: at its peak.
        evaluate_scenes: held-out scenes of an evaluation; 0 = none.
        evaluate_minutes: time between evaluations.
        seed: of the first weights, the scenes and their changes.
        device: auto, cpu or cuda; torchrun gives every process a GPU of its own.
        tensorboard: write an event file (needs pip install tensorboard).
        network: of a detector: recon3d-detector, or a configuration of FlatFormer.
        classes: of a detector; none = those of the network.
        split: of a detector's folder: a file with the names of the frames to take.
        quiet: show no progress.
    """

    what: tyro.conf.Positional[Literal["segmenter", "detector"]]
    data: str = "rooms"
    format: Layout = "auto"
    out: Path | None = None
    resume: bool = False
    recipe: Recipe = "full"
    teacher: str | None = None
    minutes: float = 0.0
    steps: int = 0
    scenes: int = 3
    most_voxels: int = 12_000
    voxel: float = 0.0
    dim: int = 192
    depth: int = 4
    learning_rate: float = 2e-3
    evaluate_scenes: int = 20
    evaluate_minutes: float = 10.0
    seed: int = 0
    device: str = "auto"
    tensorboard: bool = False
    network: str = "recon3d-detector"
    classes: tuple[str, ...] = ()
    split: str = ""
    quiet: bool = False

    def run(self) -> int:
        """Train, print the score on held-out scenes and return 0."""
        if self.out is None:
            raise UsageError(f"recon3d train {self.what} needs a folder", fix="add --out folder")
        return self._segmenter(self.out) if self.what == "segmenter" else self._detector(self.out)

    def _detector(self, out: Path) -> int:
        scores = train_detector(
            self.detector_options(),
            out,
            data=None if self.data in GENERATED else Path(self.data),
            resume=self.resume,
            device=self.device,
            tensorboard=self.tensorboard,
            progress=make_progress(self.quiet),
        )
        weights = str(out / WEIGHTS)
        if self.json:
            print_json({"weights": weights, "score": None if scores is None else scores.to_json()})
            return 0
        lines = [] if scores is None else [f"mean AP {scores.mean_bev:.3f} from above, {scores.mean_3d:.3f} in 3D"]
        print_lines([*lines, weights])
        return 0

    def detector_options(self) -> TrainDetectorOptions:
        """Return the training of a detector that the command line describes."""
        base = TrainDetectorOptions()
        return replace(
            base,
            network=self.network,
            seed=self.seed,
            steps=self.steps,
            minutes=self.minutes or (0.0 if self.steps else base.minutes),
            learning_rate=self.learning_rate,
            evaluate_minutes=self.evaluate_minutes,
            evaluate_frames=self.evaluate_scenes,
            data=DetectorDataOptions(format=_FORMATS.get(self.format, "auto"), classes=self.classes, split=self.split),
            batch=replace(base.batch, size=self.scenes),
        )

    def _segmenter(self, out: Path) -> int:
        options = self.segmenter_options()
        score = train_segmenter(
            options,
            out,
            open_scenes(options),
            resume=self.resume,
            device=self.device,
            tensorboard=self.tensorboard,
            progress=make_progress(self.quiet),
        )
        weights = str(out / WEIGHTS)
        if self.json:
            print_json({"weights": weights, "score": None if score is None else score.to_json()})
            return 0
        lines = [] if score is None else [f"mIoU {100 * score.score.mean_iou:.1f} on {score.scenes} held-out scenes"]
        print_lines([*lines, weights])
        return 0

    def segmenter_options(self) -> TrainSegmenterOptions:
        """Return the training that the command line describes."""
        if self.format == "kitti":
            expected = "scannet, semantickitti, nuscenes, folder"
            raise UsageError("a segmenter reads no such folder", got=self.format, expected=expected)
        return TrainSegmenterOptions(
            data=self.data,
            format=self.format,
            network=SegmenterOptions(dim=self.dim, depth=self.depth, voxel_m=self.voxel),
            recipe=self.recipe,
            teacher=self.teacher,
            steps=self.steps,
            minutes=self.minutes or (0.0 if self.steps else 20.0),
            scenes=self.scenes,
            most_voxels=self.most_voxels,
            learning_rate=self.learning_rate,
            seed=self.seed,
            evaluate_scenes=self.evaluate_scenes,
            evaluate_minutes=self.evaluate_minutes,
        )

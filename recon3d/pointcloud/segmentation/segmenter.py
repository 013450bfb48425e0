"""Labels for the points of a cloud, by a trained network: numpy in, numpy out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32

from recon3d.core.errors import UsageError
from recon3d.pointcloud.segmentation.features import voxel_scene
from recon3d.pointcloud.segmentation.inputs import Cloud, CloudOptions, check_views, ready_cloud
from recon3d.pointcloud.segmentation.normals import upward_normals
from recon3d.pointcloud.segmentation.results import Segmentation
from recon3d.pointcloud.segmentation.spec import SegmenterSpec
from recon3d.pointcloud.segmentation.tiling import Rows, summed_over_tiles
from recon3d.pointcloud.segmentation.weights import read_segmenter, segmenter_path
from recon3d.pointcloud.volt.batch import collate_scenes
from recon3d.pointcloud.volt.geometry import turned
from recon3d.pointcloud.volt.grid import voxelised
from recon3d.pointcloud.volt.samples import Sample
from recon3d.pointcloud.volt.segmentor import VoltSegmentor

MOST_PATCHES = 6000
_MARGIN_PATCHES = 6


class Segmenter:
    """A trained network that labels points; one of them may serve several threads at once.

    Args:
        model: the network.
        spec: what it expects and what it answers.
        device: to compute on.
        most_patches: larger scenes are labelled in tiles of about this many patches, which bounds time and memory.
    """

    def __init__(
        self,
        model: VoltSegmentor,
        spec: SegmenterSpec,
        *,
        device: torch.device | str = "cpu",
        most_patches: int = MOST_PATCHES,
    ) -> None:
        if most_patches < 1:
            raise UsageError("a tile needs patches", got=most_patches, expected="1 or more")
        self.spec, self.device, self.most_patches = spec, torch.device(device), most_patches
        self._model = model.to(self.device).eval()

    @classmethod
    def load(
        cls, path_or_name: str | Path = "indoor", *, device: str = "auto", most_patches: int = MOST_PATCHES
    ) -> Segmenter:
        """Return a trained segmenter.

        Args:
            path_or_name: ``indoor`` or ``outdoor``, which come with the package, or a file of a training.
            device: ``auto``, ``cpu`` or ``cuda``.
            most_patches: of a tile.

        Raises:
            InputError: there is no such file.
            FormatError: it is damaged or no segmenter.
            DependencyError: a bundled model is missing.
        """
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        model, spec = read_segmenter(segmenter_path(path_or_name))
        return cls(model, spec, device=device, most_patches=most_patches)

    def segment(
        self,
        cloud: Cloud,
        *,
        intensity_max: float | None = None,
        mount_m: float | None = None,
        views: int = 1,
        keep_probabilities: bool = False,
    ) -> Segmentation:
        """Return a label for every point.

        Args:
            cloud: a ``PointCloud``, or an array with the columns x, y, z (metres, z up) and the intensity (outdoor
                models) or red, green and blue from 0 to 255 (indoor ones).
            intensity_max: intensity of the brightest return; None = 1, or 255 where the values go beyond 1.
            mount_m: height of the cloud's origin over the ground, for outdoor models; None = that of the model.
            views: looks at the scene, each turned about z; more are slower and a little better.
            keep_probabilities: return the probabilities of all classes, ``[n,c]``.

        Raises:
            InputError: the cloud lacks what the model needs, or its numbers are out of range.
            ShapeError: an array that is no table of points.
        """
        check_views(views)
        ready = ready_cloud(cloud, self.spec, CloudOptions(intensity_max=intensity_max, mount_m=mount_m))
        notes = list(ready.notes)
        rows, best, confidence = np.flatnonzero(ready.kept), np.zeros(0, np.int64), np.zeros(0, np.float32)
        everything = np.zeros((len(ready.kept), len(self.spec.classes)), np.float32) if keep_probabilities else None
        if len(rows):
            voxels, order = voxelised(ready.sample, self.spec.voxel_m)
            found = self._probabilities(self._with_normals(voxels, notes), views)
            best, confidence = found.argmax(1)[order.inverse], found.max(1)[order.inverse]
            if everything is not None:
                everything[rows] = found[order.inverse]
        labels, sure = np.full(len(ready.kept), -1, np.int64), np.zeros(len(ready.kept), np.float32)
        labels[rows], sure[rows] = best, confidence
        return Segmentation(
            labels=labels,
            confidence=sure,
            names=self.spec.classes,
            colours=self.spec.colours,
            raw_ids=self.spec.raw_ids or tuple(range(len(self.spec.classes))),
            probabilities=everything,
            notes=tuple(notes),
        )

    def _with_normals(self, voxels: Sample, notes: list[str]) -> Sample:
        if "normal" not in self.spec.features or voxels.normal is not None:
            return voxels
        notes.append("the cloud has no normals: they were estimated from neighbouring points")
        return voxels.changed(normal=upward_normals(voxels.xyz))

    def _probabilities(self, voxels: Sample, views: int) -> Float32[np.ndarray, "m c"]:
        """Return the mean over views of voxels; each view divides them anew."""
        total = np.zeros((len(voxels), len(self.spec.classes)), np.float32)
        for view in range(views):
            if view == 0:
                total += self._of_view(voxels)
                continue
            seen, order = voxelised(turned(voxels, "z", 2 * np.pi * view / views), self.spec.voxel_m)
            total += self._of_view(seen)[order.inverse]
        return total / np.float32(views)

    def _of_view(self, voxels: Sample) -> Float32[np.ndarray, "m c"]:
        scene = voxel_scene(voxels, self.spec)

        @torch.inference_mode()
        def answer(rows: Rows) -> Float32[np.ndarray, "rows c"]:
            part = type(scene)(grid=scene.grid[rows], features=scene.features[rows])
            logits = self._model(collate_scenes([part]).to(self.device))
            found: np.ndarray = logits.float().softmax(1).cpu().numpy()
            return found

        return summed_over_tiles(
            scene.grid,
            answer,
            patch_size=self._model.options.backbone.patch_size,
            most=self.most_patches,
            margin=_MARGIN_PATCHES,
            classes=len(self.spec.classes),
        )

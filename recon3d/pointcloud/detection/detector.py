"""``Detector``: boxes of objects in the points of a LiDAR, numpy in and out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import overload

import numpy as np
import torch

from recon3d.core.errors import DependencyError, UsageError
from recon3d.pointcloud.boxes.types import Boxes3D
from recon3d.pointcloud.detection.clouds import Cloud, SensorCloud, cloud_rows, sensor_cloud
from recon3d.pointcloud.detection.network import SMALL
from recon3d.pointcloud.detection.precision import Precision, autocast
from recon3d.pointcloud.detection.turns import around_sensor, joined_looks, needed_turns, turned_points
from recon3d.pointcloud.detection.weights import StoredDetector, read_detector
from recon3d.pointcloud.flatformer.decode import decode_maps
from recon3d.pointcloud.flatformer.points import prepare_points

AUTO = math.nan


class Detector:
    """A trained detector on one device; several threads may use it at once.

    Args:
        stored: network and sensor; :meth:`load` reads them.
        device: that it runs on.
        precision: of matrix products.
    """

    def __init__(
        self, stored: StoredDetector, device: torch.device | None = None, precision: Precision = "float32"
    ) -> None:
        self.device = device or torch.device("cpu")
        self.precision: Precision = precision
        self.name, self.sensor, self.options = stored.name, stored.sensor, stored.network.options
        self._network = stored.network.eval().to(self.device)

    @classmethod
    def load(cls, source: str | Path = SMALL, *, device: str = "auto", precision: Precision = "float32") -> Detector:
        """Read a detector.

        Args:
            source: ``recon3d-detector``, which comes with the package; a file of a training; or ``NETWORK=FILE`` for
                bare weights of a configuration of FlatFormer.
            device: ``auto`` takes CUDA where there is some; ``cpu``, ``cuda`` or ``cuda:0``.
            precision: of matrix products; ``bfloat16`` is faster on new processors and costs a little accuracy.

        Raises:
            UsageError: there is no such name, or no such device.
            InputError: the file cannot be read.
            FormatError: it holds no detector.
            DependencyError: the weights are missing from this installation, or CUDA is.
        """
        return cls(read_detector(source), _device(device), precision)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of what it finds."""
        return self.options.classes

    @overload
    def detect(
        self,
        cloud: Cloud,
        *,
        score: float = ...,
        mount_m: float | None = ...,
        intensity_max: float | None = ...,
        classes: Sequence[str] = ...,
    ) -> Boxes3D: ...
    @overload
    def detect(
        self,
        cloud: Sequence[Cloud],
        *,
        score: float = ...,
        mount_m: float | None = ...,
        intensity_max: float | None = ...,
        classes: Sequence[str] = ...,
    ) -> list[Boxes3D]: ...
    def detect(
        self,
        cloud: Cloud | Sequence[Cloud],
        *,
        score: float = 0.3,
        mount_m: float | None = None,
        intensity_max: float | None = None,
        classes: Sequence[str] = (),
    ) -> Boxes3D | list[Boxes3D]:
        """Return the objects in a cloud, the surest first, in the frame of the cloud.

        A cloud that reaches around the sensor is turned and looked at several times, where the network looks to the
        front. Points without a position are left out; an empty cloud holds nothing. A box around the sensor itself is
        the own vehicle, and left out.

        Args:
            cloud: a ``PointCloud`` in the frame of the sensor (x forward, z up, metres), or an array ``[n,4]`` or wider
                of x, y, z, intensity; or a list of them, each looked at by itself.
            score: least score, 0 to 1.
            mount_m: height of the frame's origin over the ground; None = what the weights declare, ``AUTO`` (NaN) =
                what the points show.
            intensity_max: intensity of the brightest point; None = what the weights declare.
            classes: names of those wanted; ``()`` = all.

        Raises:
            ShapeError: an array that is no table of points.
            InputError: intensities beyond the declared ones.
            UsageError: a score out of range or an unknown class.
        """
        if isinstance(cloud, list | tuple):
            return [
                self.detect(one, score=score, mount_m=mount_m, intensity_max=intensity_max, classes=classes)
                for one in cloud
            ]
        checked = self.check(cloud, mount_m=mount_m, intensity_max=intensity_max)  # type: ignore[arg-type]
        return self.detect_checked(checked, score=score, classes=classes)

    def check(self, cloud: Cloud, *, mount_m: float | None = None, intensity_max: float | None = None) -> SensorCloud:
        """Return a cloud as the network takes it, with what does not fit to its sensor; warnings are logged.

        Args:
            cloud: as in :meth:`detect`.
            mount_m: as in :meth:`detect`.
            intensity_max: as in :meth:`detect`.

        Raises:
            ShapeError: an array that is no table of points.
            InputError: intensities beyond the declared ones.
        """
        rows = cloud_rows(cloud, tuple(name for name, _ in self.options.attributes))
        return sensor_cloud(rows, self.sensor, mount_m=mount_m, intensity_max=intensity_max)

    def detect_checked(self, cloud: SensorCloud, *, score: float = 0.3, classes: Sequence[str] = ()) -> Boxes3D:
        """Return the objects in a cloud of :meth:`check`, the surest first.

        Args:
            cloud: the cloud.
            score: least score.
            classes: as in :meth:`detect`.

        Raises:
            UsageError: a score out of range or an unknown class.
        """
        wanted = self._wanted(score, classes)
        lift = cloud.mount_m - self.sensor.mount_m
        points = cloud.points.copy()
        points[:, 2] += lift
        sector, facing = self.sensor.sector_deg, math.radians(self.sensor.facing_deg)
        turns = needed_turns(np.arctan2(points[:, 1], points[:, 0]).astype(np.float64), sector, facing)
        if not turns:
            return _nothing(self.classes)
        looks = [self._look(turned_points(points, turn), score) for turn in turns]
        found = joined_looks(looks, turns, sector, self.options.decode.nms_overlap, facing)
        found = found.selected(np.isin(found.labels, wanted) & ~around_sensor(found))
        boxes = found.boxes.copy()
        boxes[:, 2] -= lift
        order = np.argsort(-_scores(found), kind="stable")
        return replace(found, boxes=boxes).selected(order)

    def _wanted(self, score: float, classes: Sequence[str]) -> list[int]:
        if not 0 <= score <= 1:
            raise UsageError("a score is out of range", got=score, expected="0 to 1")
        unknown = [name for name in classes if name not in self.classes]
        if unknown:
            raise UsageError("the detector knows no such class", got=unknown, expected=", ".join(self.classes))
        return [self.classes.index(name) for name in classes or self.classes]

    @torch.inference_mode()
    def _look(self, points: np.ndarray, score: float) -> Boxes3D:
        prepared = prepare_points(torch.from_numpy(points).to(self.device), self.options)
        with autocast(self.precision, self.device):
            maps = self._network([prepared])
        options = replace(self.options, decode=replace(self.options.decode, score=score))
        boxes = decode_maps(maps, options)[0].to_boxes(self.classes)
        return boxes if self.options.velocity else replace(boxes, velocities=None)


def _device(name: str) -> torch.device:
    here = torch.cuda.is_available()
    if name == "auto":
        return torch.device("cuda" if here else "cpu")
    kind, _, number = name.partition(":")
    if kind not in ("cpu", "cuda") or (number and not number.isdecimal()):
        raise UsageError("no such device", got=name, expected="auto, cpu, cuda or cuda:0")
    if kind == "cuda" and not here:
        raise DependencyError(
            "CUDA is not available here", got=name, fix="take --device cpu, or install torch for CUDA"
        )
    return torch.device(name)


def _scores(boxes: Boxes3D) -> np.ndarray:
    return np.zeros(len(boxes)) if boxes.scores is None else boxes.scores


def _nothing(names: tuple[str, ...]) -> Boxes3D:
    return Boxes3D(boxes=np.zeros((0, 7)), labels=np.zeros(0, np.int64), names=names, scores=np.zeros(0))

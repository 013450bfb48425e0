"""Estimates of many photos on disk, so that memory does not grow with their number."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import Float64

from recon3d.core.files import disk_errors
from recon3d.feedforward.engine.views import ViewEstimates
from recon3d.feedforward.preparation import Placement
from recon3d.feedforward.sequence.samples import Samples, sampled

_LARGEST = 6e4  # that float16 holds


class EstimateStore:
    """One file per photo, with its estimate in the frame of reference of the run that it comes from.

    Args:
        folder: for the files; it is created.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)

    def write(self, photo: int, estimates: ViewEstimates, row: int) -> None:
        """Keep the estimate of a photo; relative sigma and confidence at half precision.

        Args:
            photo: its number.
            estimates: of a run.
            row: of the photo in them.

        Raises:
            ResourceError: the disk is full.
        """
        depth = estimates.depth_z[row]
        relative = np.divide(estimates.sigma[row], depth, out=np.zeros_like(depth), where=depth > 0)
        place = estimates.placements[row] if estimates.placements else Placement()
        path = self._path(photo)
        with disk_errors(path), path.open("wb") as file:
            np.savez(
                file,
                cam_from_world=estimates.cam_from_world[row],
                K=estimates.K[row],
                depth_z=depth,
                relative=relative.astype(np.float16),
                confidence=np.minimum(estimates.confidence[row], _LARGEST).astype(np.float16),
                valid=estimates.valid[row],
                metric=np.bool_(estimates.metric),
                placement=np.array(place),
                sigma_source=np.str_(estimates.sigma_source),
            )

    def read(self, photo: int) -> ViewEstimates:
        """Return the estimate of a photo in the frame of reference of its run, with one row."""
        with np.load(self._path(photo)) as file:
            depth = file["depth_z"]
            return ViewEstimates(
                cam_from_world=file["cam_from_world"][None],
                K=file["K"][None],
                depth_z=depth[None],
                sigma=(depth * file["relative"].astype(np.float32))[None],
                confidence=file["confidence"].astype(np.float32)[None],
                valid=file["valid"][None],
                metric=bool(file["metric"]),
                placements=(Placement(*file["placement"].tolist()),),
                sigma_source=str(file["sigma_source"]),
            )

    def camera(self, photo: int) -> tuple[Float64[np.ndarray, "4 4"], Float64[np.ndarray, "3 3"]]:
        """Return pose and intrinsics of a photo in the frame of reference of its run."""
        with np.load(self._path(photo)) as file:
            return file["cam_from_world"], file["K"]

    def samples(self, photo: int, n_points: int) -> Samples:
        """Return points of a photo in the frame of reference of its run."""
        return sampled(self.read(photo), 0, n_points)

    def _path(self, photo: int) -> Path:
        return self.folder / f"{photo:08d}.npz"

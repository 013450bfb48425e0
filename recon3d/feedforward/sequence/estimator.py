"""From photos, read one by one, to the estimates of one run of a network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from recon3d.feedforward.da3.metric import NestedDepthAnything3
from recon3d.feedforward.da3.model import DepthAnything3
from recon3d.feedforward.engine.views import ViewEstimates, estimate_views, working_size
from recon3d.feedforward.models import Network
from recon3d.feedforward.vggt.model import Vggt

Photos: TypeAlias = Sequence[UInt8[np.ndarray, "_ _ 3"]]
Estimator: TypeAlias = Callable[[Photos], ViewEstimates]


class Picked(Sequence[UInt8[np.ndarray, "_ _ 3"]]):
    """Some of the photos of a sequence, read when they are asked for.

    Args:
        photos: all.
        rows: which.
    """

    def __init__(self, photos: Photos, rows: Sequence[int]) -> None:
        self.photos, self.rows = photos, [int(row) for row in rows]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: Any) -> Any:
        return self.photos[self.rows[index]]


class NetworkEstimator:
    """Runs a network; photos much larger than its images are reduced as they come, so that few are held in full.

    Args:
        network: in evaluation mode.
        size: longer side (VGGT: width) of its images, in pixels; None = its own.
    """

    def __init__(self, network: Network, size: int | None = None) -> None:
        self.network, self.size = network, size or working_size(network)

    def __call__(self, photos: Photos) -> ViewEstimates:
        """Return the estimates; placements refer to the photos as they were given."""
        reduced, factors = [], []
        for photo in photos:
            factors.append(self.reduction(photo))
            reduced.append(photo if factors[-1] == 1 else np.asarray(Image.fromarray(photo).reduce(factors[-1])))
        found = estimate_views(self.network, reduced, size=self.size)
        places = tuple(
            place._replace(scale_x=place.scale_x / factor, scale_y=place.scale_y / factor)
            for place, factor in zip(found.placements, factors, strict=True)
        )
        return replace(found, placements=places)

    def reduction(self, photo: UInt8[np.ndarray, "_ _ _"]) -> int:
        """Return by which whole number a photo can be divided and still be twice as large as the network's images."""
        return max(1, int(min(photo.shape[:2])) // (2 * self.size))


def as_estimator(network: Network | Estimator, size: int | None = None) -> Estimator:
    """Return what runs a network; any other function stays as it is.

    Args:
        network: or a function from photos to their estimates.
        size: longer side (VGGT: width) of the network's images, in pixels; None = its own.
    """
    if isinstance(network, Vggt | DepthAnything3 | NestedDepthAnything3):
        return NetworkEstimator(network, size)
    return network

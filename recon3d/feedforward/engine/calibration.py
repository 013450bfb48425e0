"""A network's sigmas, learned from scenes whose depth is known."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from recon3d.core.errors import ResultError
from recon3d.core.files import sha256_file, write_json
from recon3d.feedforward.engine.sigma import ONE_SIGMA, SigmaTable, fit_table
from recon3d.feedforward.engine.views import estimate_views
from recon3d.feedforward.models import Network
from recon3d.feedforward.scenes.types import TrueViews

_FOLDER = Path(__file__).parents[1] / "data"
_SAMPLES = 2000  # pixels of a photo
_MIN_PIXELS = 50


def learn_table(network: Network, scenes: Iterable[TrueViews], source: str) -> SigmaTable:
    """Return sigma by confidence from the errors on scenes that the network has not seen.

    The depth of each scene is brought to the true scale by the median of the ratios, because a relative depth has no
    scale of its own.

    Args:
        network: in evaluation mode.
        scenes: batches of photos with their truth; the longer side is the size that the network is used at.
        source: what to call them.

    Raises:
        ResultError: too few pixels can be compared.
    """
    found = [relative_errors(network, batch, row) for batch in scenes for row in range(len(batch.images))]
    none = np.zeros(0)
    confidence = np.concatenate([none, *(one for one, _ in found)])
    table = fit_table(confidence, np.concatenate([none, *(one for _, one in found)]), source, ONE_SIGMA)
    if table is None:
        raise ResultError("the scenes hold too few pixels to learn sigmas from", got=len(found), fix="give more scenes")
    return table


def relative_errors(
    network: Network, batch: TrueViews, row: int
) -> tuple[Float64[np.ndarray, " m"], Float64[np.ndarray, " m"]]:
    """Return confidence and relative error of some pixels of one scene, after its scale was taken away.

    Args:
        network: in evaluation mode.
        batch: photos with their truth.
        row: which scene of it.

    Raises:
        ResultError: the photos do not have the size of the network's images.
    """
    photos = [np.rint(255 * one.permute(1, 2, 0).cpu().numpy()).astype(np.uint8) for one in batch.images[row]]
    views = estimate_views(network, photos, size=max(photos[0].shape[:2]))
    true = batch.depth_z[row].cpu().numpy().astype(np.float64)
    if true.shape != views.depth_z.shape:
        raise ResultError("photos have another size than the network's", got=true.shape, expected=views.depth_z.shape)
    known = np.flatnonzero((true > 0) & views.valid)
    if len(known) < _MIN_PIXELS:
        return np.zeros(0), np.zeros(0)
    known = known[:: max(1, len(known) // (_SAMPLES * len(photos)))]
    ratio = views.depth_z.ravel()[known] / true.ravel()[known]
    return views.confidence.ravel()[known].astype(np.float64), ratio / np.median(ratio) - 1.0


def save_table(path: Path, table: SigmaTable, weights: Path) -> None:
    """Write a table as JSON, with the hash of the weights that it belongs to."""
    write_json(path, {"weights": sha256_file(weights), **asdict(table)})


def stored_table(model: str, weights: Path, folder: Path = _FOLDER) -> SigmaTable | None:
    """Return the table that comes with recon3d for some weights; None where there is none, or for other weights.

    Args:
        model: name of the network.
        weights: file of its weights.
        folder: where the tables are.
    """
    path = folder / f"{model}-sigma.json"
    if not path.is_file():
        return None
    value = json.loads(path.read_text())
    if value.pop("weights") != sha256_file(weights):
        return None
    return SigmaTable(tuple(value["confidence"]), tuple(value["relative"]), value["source"])

"""What a network said, on disk."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import numpy as np

from recon3d.core.files import atomic_path
from recon3d.feedforward.engine.views import ViewEstimates
from recon3d.feedforward.preparation import Placement

_ARRAYS = ("cam_from_world", "K", "depth_z", "sigma", "confidence", "valid")


def save_views(path: Path, views: ViewEstimates) -> None:
    """Write estimates to an ``.npz``, atomically."""
    arrays = {name: getattr(views, name) for name in _ARRAYS}
    arrays |= {"placements": np.array(views.placements, np.float64).reshape(-1, len(Placement._fields))}
    arrays |= {"metric": np.array(views.metric), "sigma_source": np.array(views.sigma_source)}
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)


def load_views(path: Path) -> ViewEstimates:
    """Read what :func:`save_views` wrote."""
    with np.load(path, allow_pickle=False) as data:
        given = {item.name: data[item.name] for item in fields(ViewEstimates)}
    return ViewEstimates(
        **{name: given[name] for name in _ARRAYS},
        metric=bool(given["metric"]),
        placements=tuple(Placement(*row) for row in given["placements"].tolist()),
        sigma_source=str(given["sigma_source"]),
    )

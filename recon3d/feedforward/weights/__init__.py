"""Weights of the networks: what is published and where, the folder that keeps it, fetching it and checking it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from recon3d.core.lazy import lazy_exports

if TYPE_CHECKING:
    from recon3d.feedforward.weights.checking import Verdict as Verdict, verify as verify
    from recon3d.feedforward.weights.download import DownloadOptions as DownloadOptions
    from recon3d.feedforward.weights.fetching import Fetched as Fetched, fetch as fetch
    from recon3d.feedforward.weights.registry import (
        Checkpoint as Checkpoint,
        model_of as model_of,
    )
    from recon3d.feedforward.weights.store import (
        Listed as Listed,
        list_weights as list_weights,
        stored_weights as stored_weights,
        weights_folder as weights_folder,
    )

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "checking": ["Verdict", "verify"],
        "download": ["DownloadOptions"],
        "fetching": ["Fetched", "fetch"],
        "registry": ["Checkpoint", "model_of"],
        "store": ["Listed", "list_weights", "stored_weights", "weights_folder"],
    },
)

"""Networks by name, built without weights, with those of a file, or with fresh ones from a seed."""

from __future__ import annotations

from pathlib import Path
from typing import TypeAlias

import torch

from recon3d.core.errors import UsageError
from recon3d.feedforward.checkpoints import load_checkpoint
from recon3d.feedforward.da3.config import CONFIGS
from recon3d.feedforward.da3.metric import NestedDepthAnything3
from recon3d.feedforward.da3.model import DepthAnything3
from recon3d.feedforward.initialization import initialize
from recon3d.feedforward.small import NAME as SMALL, OPTIONS as SMALL_OPTIONS
from recon3d.feedforward.vggt.model import Vggt

Network: TypeAlias = Vggt | DepthAnything3 | NestedDepthAnything3

_NESTED = {"da3nested-giant-large": ("da3-giant", "da3metric-large")}
MODEL_NAMES = ("vggt-1b", *CONFIGS, *_NESTED, SMALL)


def build_model(
    name: str, *, checkpoint: Path | None = None, seed: int | None = None, device: str | torch.device = "cpu"
) -> Network:
    """Return a network in evaluation mode.

    Args:
        name: one of :data:`MODEL_NAMES`.
        checkpoint: file with its weights.
        seed: of fresh weights, where there is no file. With neither, the network has no memory (device ``meta``): it
            shows names and shapes only.
        device: where the weights go.

    Raises:
        UsageError: there is no such model, or both a file and a seed were given.
        InputError: the file cannot be opened, or belongs to another network.
        FormatError: the file is damaged.
    """
    if checkpoint is not None and seed is not None:
        raise UsageError("a network has either a file or a seed", got=f"{checkpoint} and {seed}")
    with torch.device("meta"):
        model = _build(name)
    if checkpoint is not None:
        load_checkpoint(model, checkpoint)
        model.to(device)
    elif seed is not None:
        model.to_empty(device=device)
        initialize(model, seed)
    return model.eval()


def _build(name: str) -> Network:
    if name == "vggt-1b":
        return Vggt()
    if name == SMALL:
        return DepthAnything3(SMALL_OPTIONS)
    if name in CONFIGS:
        return DepthAnything3(CONFIGS[name])
    if name in _NESTED:
        any_view, metric = (DepthAnything3(CONFIGS[part]) for part in _NESTED[name])
        return NestedDepthAnything3(any_view, metric)
    raise UsageError("there is no such model", got=name, expected=", ".join(MODEL_NAMES))

"""One way to ask VGGT and Depth Anything 3: sRGB photos in, and the first camera is the world."""

from __future__ import annotations

from torch import Tensor, nn

from recon3d.feedforward.da3.preprocess import normalise
from recon3d.feedforward.predictions import Prediction
from recon3d.feedforward.vggt.model import Vggt


def answer(model: nn.Module, images: Tensor, *, like: nn.Module | None = None) -> Prediction:
    """Return the prediction of a network for photos whose first camera is the world.

    Args:
        model: VGGT or Depth Anything 3, possibly wrapped.
        images: sRGB, 0 to 1.
        like: the network itself, where it is wrapped.
    """
    if isinstance(like or model, Vggt):
        found: Prediction = model(images)
        return found
    found = model(normalise(images), strategy="first")
    return found

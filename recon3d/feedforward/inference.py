"""Running a network on photos: without gradients, and in the precision in which the device is fastest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from recon3d.feedforward.da3 import preprocess as da3
from recon3d.feedforward.predictions import Prediction
from recon3d.feedforward.preparation import Prepared
from recon3d.feedforward.vggt import preprocess as vggt
from recon3d.feedforward.vggt.model import Vggt

Precision = Literal["auto", "float32", "bfloat16"]


def prepare(model: nn.Module, photos: Sequence[UInt8[np.ndarray, "..."]], *, size: int | None = None) -> Prepared:
    """Return photos as a network was trained on them.

    Args:
        model: a network of this room.
        photos: upright RGB or RGBA images, ``[h,w,3]`` or ``[h,w,4]``.
        size: width (VGGT) or longer side (Depth Anything 3), in pixels; that of the training by default.

    Raises:
        InputError: there is no photo, or one is no image.
    """
    if isinstance(model, Vggt):
        return vggt.prepare(photos, size=size or vggt.SIZE)
    return da3.prepare(photos, size=size or da3.SIZE)


def predict(
    model: nn.Module, images: Float[Tensor, "s 3 h w"], *, precision: Precision = "auto", **options: Any
) -> Prediction:
    """Return what a network sees in the photos of one scene.

    Args:
        model: a network of this room, in evaluation mode.
        images: one prepared batch (:class:`recon3d.feedforward.preparation.Prepared`); it is moved to the network.
        precision: of the backbone; the heads keep that of their weights. ``auto`` takes bfloat16 where it is faster.
        options: further arguments of the network's ``forward``.

    Returns:
        A prediction with one scene; its tensors can take part in no gradient (``clone`` them for that).
    """
    device = next(model.parameters()).device
    wanted = fastest_precision(device) if precision == "auto" else getattr(torch, precision)
    with torch.inference_mode(), torch.autocast(device.type, dtype=torch.bfloat16, enabled=wanted == torch.bfloat16):
        prediction: Prediction = model(images.to(device)[None], **options)
    return prediction


def fastest_precision(device: torch.device) -> torch.dtype:
    """Return bfloat16 for a device with matrix units for it, else float32."""
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.get_device_capability(device) >= (8, 0) else torch.float32
    return torch.bfloat16 if device.type == "cpu" and _has_amx() else torch.float32


def _has_amx() -> bool:
    probe = getattr(torch.cpu, "_is_amx_tile_supported", None)
    return bool(probe()) if probe is not None else False

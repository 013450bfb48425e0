"""Running a network: without gradients, and in the precision in which the device is fastest."""

from __future__ import annotations

from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from recon3d.feedforward.predictions import Prediction

Precision = Literal["auto", "float32", "bfloat16"]


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

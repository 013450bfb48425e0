"""How much memory a network will need, before it runs."""

from __future__ import annotations

import itertools

from recon3d.core.errors import ResourceError
from recon3d.feedforward.da3.metric import NestedDepthAnything3
from recon3d.feedforward.da3.model import DepthAnything3
from recon3d.feedforward.layers.checks import dtype_of
from recon3d.feedforward.models import Network
from recon3d.feedforward.vggt.model import Vggt

# Counted operator by operator: numbers alive at a time, per token and channel, and per patch and feature.
_BLOCKS = 21.5  # tokens, their queries, keys, values and rotations, and the taps so far
_TAPS = 8.0  # four taps of twice the channels
_DENSE = 282.0  # maps of one photo in the last layers of a DPT head
_PLACES = 98.0  # its place embedding, once for all photos


def inference_bytes(model: Network, n_views: int, height: int, width: int) -> int:
    """Return the bytes that weights and tensors take at the worst moment of a prediction without gradients.

    What Python and the libraries take themselves (some 300 MB) is not in it.

    Args:
        model: a network, also one without memory (device ``meta``).
        n_views: photos of one scene.
        height: of the network's images, in pixels.
        width: of the network's images, in pixels.
    """
    parts: list[Vggt | DepthAnything3] = (
        [model.da3, model.da3_metric] if isinstance(model, NestedDepthAnything3) else [model]
    )
    stored = itertools.chain(model.parameters(), model.buffers())  # narrow weights are buffers
    weights = sum(one.numel() * one.itemsize for one in stored)
    return weights + max(_working_bytes(part, n_views, height, width) for part in parts)


def _working_bytes(model: Vggt | DepthAnything3, n_views: int, height: int, width: int) -> int:
    """Return the larger of what the backbone and the heads take."""
    options = model.options
    n_patches = (height // options.vit.patch_size) * (width // options.vit.patch_size)
    tokens = n_views * (n_patches + 1 + options.vit.n_registers) * options.vit.dim
    dense = (_DENSE * min(n_views, model.chunk) + _PLACES) * n_patches * options.features
    return int(max(_BLOCKS * tokens, _TAPS * tokens + dense) * dtype_of(model).itemsize)


def check_memory(model: Network, n_views: int, height: int, width: int, available_bytes: int) -> None:
    """Refuse a prediction that would not fit, and say what would.

    Args:
        model: a network.
        n_views: photos of one scene.
        height: of the network's images, in pixels.
        width: of the network's images, in pixels.
        available_bytes: what may be used, for weights and tensors together.

    Raises:
        ResourceError: it is too little; the text names the number of photos that fits.
    """
    needed = inference_bytes(model, n_views, height, width)
    if needed <= available_bytes:
        return
    fits = next(
        (n for n in range(n_views - 1, 0, -1) if inference_bytes(model, n, height, width) <= available_bytes), 0
    )
    fix = f"take at most {fits} photos, or smaller ones" if fits else "take a smaller model or smaller photos"
    raise ResourceError(
        f"{n_views} photos of {height}x{width} do not fit into memory",
        got=f"{available_bytes / 2**20:.0f} MiB",
        expected=f"about {needed / 2**20:.0f} MiB",
        fix=fix,
    )

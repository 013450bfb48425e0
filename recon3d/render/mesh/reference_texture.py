"""Plain torch texture lookup: any device and dtype, the oracle of the other back ends."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int32, Int64
from torch import Tensor

_REPEAT, _CLAMP = 0, 1


def sample(
    texels: Float[Tensor, "t c"],
    sizes: Int32[Tensor, "l 2"],
    uv: Float[Tensor, "m 2"],
    lod: Float[Tensor, " m"],
    wrap: int,
) -> Float[Tensor, "m c"]:
    """Return the values at UVs; see :func:`recon3d.render.mesh.cpu_texture.sample_forward`. Differentiable."""
    n_levels = len(sizes)
    sizes = sizes.long().to(uv.device)
    n_texels = sizes.prod(1)
    starts = n_texels.cumsum(0) - n_texels
    low = lod.floor().long().clamp(0, n_levels - 1)
    share = (lod - low).clamp(0, 1)[:, None]
    first = _bilinear(texels, starts[low], sizes[low], uv, wrap)
    high = (low + 1).clamp(max=n_levels - 1)
    return (1 - share) * first + share * _bilinear(texels, starts[high], sizes[high], uv, wrap)


def _bilinear(
    texels: Float[Tensor, "t c"],
    start: Int64[Tensor, " m"],
    size: Int64[Tensor, "m 2"],
    uv: Float[Tensor, "m 2"],
    wrap: int,
) -> Float[Tensor, "m c"]:
    x0, x1, s = _place(uv[:, 0], size[:, 1], wrap)
    y0, y1, t = _place(uv[:, 1], size[:, 0], wrap)
    top, bottom = start + y0 * size[:, 1], start + y1 * size[:, 1]
    s, t = s[:, None], t[:, None]
    upper = (1 - s) * texels[top + x0] + s * texels[top + x1]
    lower = (1 - s) * texels[bottom + x0] + s * texels[bottom + x1]
    return (1 - t) * upper + t * lower


def _place(
    c: Float[Tensor, " m"], size: Int64[Tensor, " m"], wrap: int
) -> tuple[Int64[Tensor, " m"], Int64[Tensor, " m"], Float[Tensor, " m"]]:
    with torch.no_grad():
        if wrap == _REPEAT:
            turns = c.floor()
        elif wrap == _CLAMP:
            turns = c - c.clamp(-1, 2)
        else:
            turns = 2 * (0.5 * c).floor()
    place = (c - turns) * size - 0.5
    first = place.detach().floor()
    index = first.long()
    return _wrapped(index, size, wrap), _wrapped(index + 1, size, wrap), place - first


def _wrapped(index: Int64[Tensor, " m"], size: Int64[Tensor, " m"], wrap: int) -> Int64[Tensor, " m"]:
    if wrap == _CLAMP:
        return index.clamp(min=0).minimum(size - 1)
    if wrap == _REPEAT:
        return index % size
    index = index % (2 * size)
    return torch.where(index < size, index, 2 * size - 1 - index)

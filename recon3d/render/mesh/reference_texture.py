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


@torch.no_grad()
def footprints(
    uvs: Float[Tensor, "f 3 2"],
    points_cam: Float[Tensor, "n v 3"],
    faces: Int32[Tensor, "f 3"],
    K: Float[Tensor, "n 3 3"],
    face: Int32[Tensor, "n h w"],
) -> Float[Tensor, "n h w 2 2"]:
    """Return how UVs change from pixel to pixel; see :func:`recon3d.render.mesh.uv_footprint`."""
    camera, row, column = torch.nonzero(face >= 0, as_tuple=True)
    found = face[camera, row, column].long()
    at = points_cam[camera[:, None], faces[found].long()].double()
    intrinsics = K.double()[camera]
    focal = torch.diagonal(intrinsics, dim1=1, dim2=2)[:, :2]
    ray = (torch.stack([column, row], 1).double() + 0.5 - intrinsics[:, :2, 2]) / focal
    z = at[..., 2]
    x, y = (at[..., :2] - at[..., 2:] * ray[:, None]).unbind(-1)
    j, k = [1, 2, 0], [2, 0, 1]
    areas = x[:, j] * y[:, k] - y[:, j] * x[:, k]
    by_ray = torch.stack([z[:, k] * y[:, j] - z[:, j] * y[:, k], z[:, j] * x[:, k] - z[:, k] * x[:, j]], -1)
    total = areas.sum(1)
    safe = torch.where(total == 0, 1, total)[:, None, None]
    change = (by_ray - areas[..., None] / safe * by_ray.sum(1, keepdim=True)) / safe
    slopes = torch.einsum("mca,mcp->map", uvs.double()[found], change) / focal[:, None]
    picture = slopes.new_zeros(*face.shape, 2, 2)
    picture[camera, row, column] = torch.where((total == 0)[:, None, None], 0, slopes)
    return picture.to(uvs.dtype)

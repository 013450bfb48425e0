"""Local shading frames: x along the tangent, y = normal x tangent, z along the normal."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def shading_frames(
    normals: Float[Tensor, "... 3"], tangents: Float[Tensor, "... 3"] | None = None
) -> Float[Tensor, "... 3 3"]:
    """Return one right-handed frame per normal, its axes as the columns.

    Args:
        normals: unit vectors in the world, ``[...,3]``.
        tangents: where the local x axis should point, of any length and not along the normal; None = anywhere, in a
            way that varies smoothly except where the normal's z changes its sign.

    Returns:
        ``world_from_local``, ``[...,3,3]``; differentiable in both.

    Source: Duff et al., "Building an Orthonormal Basis, Revisited", 2017.
    """
    x, y, z = normals.unbind(-1)
    if tangents is None:
        sign = torch.where(z < 0, -1.0, 1.0).to(z)
        a = -1 / (sign + z)
        tangent = torch.stack([1 + sign * x * x * a, sign * x * y * a, -sign * x], -1)
    else:
        along = tangents - (tangents * normals).sum(-1, keepdim=True) * normals
        tangent = torch.nn.functional.normalize(along, dim=-1)
    return torch.stack([tangent, torch.linalg.cross(normals, tangent), normals], -1)


def to_local(frames: Float[Tensor, "... 3 3"], directions: Float[Tensor, "... 3"]) -> Float[Tensor, "... 3"]:
    """Return directions of the world in the frames, ``[...,3]``."""
    return (frames * directions[..., :, None]).sum(-2)


def to_world(frames: Float[Tensor, "... 3 3"], directions: Float[Tensor, "... 3"]) -> Float[Tensor, "... 3"]:
    """Return directions of the frames in the world, ``[...,3]``."""
    return (frames * directions[..., None, :]).sum(-1)


def reflect(wi: Float[Tensor, "... 3"], normals: Float[Tensor, "... 3"]) -> Float[Tensor, "... 3"]:
    """Return the mirror directions of vectors that point away from the surface, ``[...,3]``."""
    return 2 * (wi * normals).sum(-1, keepdim=True) * normals - wi

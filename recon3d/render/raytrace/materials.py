"""Metallic-roughness materials for rendered objects: constant, from textures, or from values at the vertices."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import no_type_check

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from recon3d.core.errors import ShapeError
from recon3d.core.kernels import kernel
from recon3d.render.shading.bsdf import MetallicRoughness


@dataclass(frozen=True, eq=False)
class PbrMaterial:
    """A material for :class:`recon3d.render.raytrace.RenderObject`; every part is a constant or a texture.

    Textures hold linear values, are looked up bilinearly, and repeat; uv = (0, 0) is the outer top-left corner of the
    image and (1, 1) the bottom-right one, as in glTF. OBJ files count v from below: ``v = 1 - v_obj``.

    Args:
        base_color: linear RGB, 0 to 1, ``[3]`` or ``[h,w,3]``.
        roughness: perceptual, 0 to 1, a number or ``[h,w]``.
        metallic: 0 to 1, a number or ``[h,w]``.

    Raises:
        ShapeError: a part has another shape.
    """

    base_color: Float[Tensor, "3"] | Float[Tensor, "h w 3"]
    roughness: float | Float[Tensor, "h2 w2"] = 1.0
    metallic: float | Float[Tensor, "h3 w3"] = 0.0

    def __post_init__(self) -> None:
        if self.base_color.shape[-1:] != (3,) or self.base_color.ndim not in (1, 3):
            raise ShapeError(
                "base_color has the wrong shape", got=tuple(self.base_color.shape), expected="[3], [h,w,3]"
            )
        for name in ("roughness", "metallic"):
            value = getattr(self, name)
            if isinstance(value, Tensor) and value.ndim not in (0, 2):
                raise ShapeError(f"{name} has the wrong shape", got=tuple(value.shape), expected="a number or [h,w]")

    def __call__(self, uv: Float[Tensor, "n 2"], position: Float[Tensor, "n 3"]) -> MetallicRoughness:
        """Return the BSDF of points.

        Args:
            uv: texture coordinates, ``[n,2]``.
            position: not used.
        """
        base = self.base_color if self.base_color.ndim == 1 else texels(self.base_color, uv)
        return MetallicRoughness(base.float(), _scalar(self.roughness, uv), _scalar(self.metallic, uv))


@dataclass(frozen=True)
class VertexPbrMaterial:
    """A material whose parameters are the attributes of a :class:`recon3d.render.raytrace.RenderObject`.

    The attributes are linear base colour, roughness and metallic, ``[v,5]``, 0 to 1.
    """

    def __call__(
        self, uv: Float[Tensor, "n 2"], position: Float[Tensor, "n 3"], attributes: Float[Tensor, "n 5"]
    ) -> MetallicRoughness:
        """Return the BSDF of points.

        Args:
            uv: not used.
            position: not used.
            attributes: interpolated, ``[n,5]``.
        """
        values = attributes.clamp(0, 1)  # interpolation may round beyond
        return MetallicRoughness(values[:, :3], values[:, 3], values[:, 4])


def _scalar(value: float | Tensor, uv: Tensor) -> float | Tensor:
    if not isinstance(value, Tensor):
        return value
    return value.float() if value.ndim == 0 else texels(value[..., None], uv)[:, 0]


def texels(image: Float[Tensor, "h w c"], uv: Float[Tensor, "n 2"]) -> Float[Tensor, "n c"]:
    """Return a texture at points; see :class:`PbrMaterial`.

    Args:
        image: the texture, ``[h,w,c]``.
        uv: where, ``[n,2]``; a coordinate that is not finite counts as 0.
    """
    out: Float32[np.ndarray, "n c"] = np.empty((len(uv), image.shape[2]), np.float32)
    _look_up(image.detach().float().contiguous().numpy(), uv.detach().float().contiguous().numpy(), out)
    return torch.from_numpy(out)


@kernel(order="written", inline=True)
@no_type_check
def _neighbours(where, size):
    """Return the texels below and above a place that repeats every 1, and how far it is between them."""
    if not abs(where) < 1e6:
        where = np.float32(0.0)
    place = np.float64(where - np.float32(math.floor(where))) * size - 0.5
    below = math.floor(place)
    return (int(below) + size) % size, (int(below) + 1) % size, np.float32(place - below)


@kernel(order="written")
@no_type_check
def _look_up(image, uv, out):
    for i in range(len(uv)):
        x0, x1, right = _neighbours(uv[i, 0], image.shape[1])
        y0, y1, down = _neighbours(uv[i, 1], image.shape[0])
        for channel in range(image.shape[2]):
            upper = image[y0, x0, channel] + right * (image[y0, x1, channel] - image[y0, x0, channel])
            lower = image[y1, x0, channel] + right * (image[y1, x1, channel] - image[y1, x0, channel])
            out[i, channel] = upper + down * (lower - upper)

"""Gaussians with a material, a normal and a diffuse transfer vector."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from recon3d.core.errors import ShapeError, UsageError
from recon3d.render.gaussians.types import Gaussians
from recon3d.render.shading import sh_basis

MATERIAL_FIELDS = ("normals", "albedo", "roughness", "metallic", "transfer")
TRANSFER_DEGREE = 2
N_TRANSFER = (TRANSFER_DEGREE + 1) ** 2
_COSINE = (math.pi, *(2 * math.pi / 3,) * 3, *(math.pi / 4,) * 5)  # of the clamped cosine per coefficient
_Y00 = 0.28209479177387814
UNKNOWN_LIGHT = "unknown"


@dataclass(frozen=True, eq=False)
class RelightableGaussians:
    """Gaussians that can be lit.

    Args:
        gaussians: where the splats are, and their colour under ``light``, which viewers without materials show.
        normals: unit normals in the world, ``[g,3]``.
        albedo: base colour, linear RGB, 0 to 1, ``[g,3]``.
        roughness: perceptual, 0 to 1; alpha is its square, ``[g]``.
        metallic: 0 to 1, ``[g]``.
        transfer: ``t_i = integral V(w) max(n.w, 0) Y_i(w) dw`` in the world, Y the real spherical harmonics of degree
            0 to 2 in the order and signs of 3DGS and V whether light arrives from w, ``[g,9]``.
        light: what the colours of ``gaussians`` were lit by, a short line of plain text.

    Raises:
        ShapeError: the tensors do not agree.
        UsageError: ``light`` is no short line of printable ASCII.
    """

    gaussians: Gaussians
    normals: Float[Tensor, "g 3"]
    albedo: Float[Tensor, "g 3"]
    roughness: Float[Tensor, " g"]
    metallic: Float[Tensor, " g"]
    transfer: Float[Tensor, "g 9"]
    light: str = UNKNOWN_LIGHT

    def __post_init__(self) -> None:
        g = len(self.gaussians)
        wanted = {"normals": (g, 3), "albedo": (g, 3), "roughness": (g,), "metallic": (g,), "transfer": (g, N_TRANSFER)}
        for name, shape in wanted.items():
            if tuple(getattr(self, name).shape) != shape:
                got = tuple(getattr(self, name).shape)
                raise ShapeError(f"RelightableGaussians.{name} has the wrong shape", got=got, expected=shape)
        if not is_light_name(self.light):
            raise UsageError("light must be a short line of plain text", got=repr(self.light[:80]))

    def __len__(self) -> int:
        return len(self.gaussians)

    def __getitem__(self, index: Tensor | slice) -> RelightableGaussians:
        """Return the splats selected by a slice, an index tensor or a mask."""
        return self._map(self.gaussians[index], lambda value: value[index])

    @property
    def openness(self) -> Float[Tensor, " g"]:
        """Cosine-weighted share of the hemisphere from which light arrives, 0 to 1, ``[g]``."""
        return openness(self.transfer)

    def to(self, device: torch.device | str) -> RelightableGaussians:
        """Return the splats on another device."""
        return self._map(self.gaussians.to(device), lambda value: value.to(device))

    def detach(self) -> RelightableGaussians:
        """Return the splats without their history of gradients."""
        return self._map(self.gaussians.detach(), lambda value: value.detach())

    def _map(self, gaussians: Gaussians, change: Callable[[Tensor], Tensor]) -> RelightableGaussians:
        fields = {name: change(getattr(self, name)) for name in MATERIAL_FIELDS}
        return RelightableGaussians(gaussians, **fields, light=self.light)


def is_light_name(text: str) -> bool:
    """Return whether a text can stand in a comment of a PLY header and come back unchanged."""
    return re.fullmatch(r"[!-~]+(?: [!-~]+)*", text) is not None and len(text) <= 200


def open_transfer(normals: Float[Tensor, "... 3"]) -> Float[Tensor, "... 9"]:
    """Return the transfer where nothing is in the way, ``A_l Y_lm(n)``, ``[...,9]``; differentiable.

    Args:
        normals: unit vectors in the world, ``[...,3]``.
    """
    return sh_basis(normals, TRANSFER_DEGREE) * normals.new_tensor(_COSINE)


def openness(transfer: Float[Tensor, "... 9"]) -> Float[Tensor, "..."]:
    """Return the irradiance under constant light relative to that of an open surface, 0 to 1, ``[...]``.

    Args:
        transfer: diffuse transfer vectors, ``[...,9]``.
    """
    return (transfer[..., 0] / (math.pi * _Y00)).clamp(0, 1)

"""Densification as sampling: dead Gaussians move to where live ones are, new ones split off, all wander a little.

Source: Kheradmand et al., "3D Gaussian Splatting as Markov Chain Monte Carlo", 2024.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import comb

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

DEAD_OPACITY = 0.005
MAX_COPIES = 51
_SHARPNESS = 100.0


@lru_cache(maxsize=4)
def split_table(n_max: int = MAX_COPIES) -> Float64[np.ndarray, "n n"]:
    """Return ``table[n-1, k] = sum over i = k+1..n of (-1)^k binom(i-1, k) / sqrt(k+1)``, the weights of eq. 9."""
    table = np.zeros((n_max, n_max))
    for n in range(1, n_max + 1):
        for k in range(n):
            table[n - 1, k] = (-1) ** k * sum(comb(i - 1, k) for i in range(k + 1, n + 1)) / np.sqrt(k + 1)
    return table


def split(
    opacities: Float[Tensor, " m"], copies: Int64[Tensor, " m"]
) -> tuple[Float[Tensor, " m"], Float[Tensor, " m"]]:
    """Return what each of ``copies`` equal Gaussians needs so that together they look like the one that they replace.

    Args:
        opacities: of the Gaussians that are replaced, between 0 and 1, ``[m]``.
        copies: how many stand in its place, 1 to 51, ``[m]``.

    Returns:
        The opacity of each copy, ``1 - (1 - o)^(1/n)``, and the factor on its scales; both ``[m]``.

    Source: eq. 9 of the paper.
    """
    o, n = opacities.double(), copies.clamp(1, MAX_COPIES)
    each = 1 - (1 - o) ** (1 / n.double())
    powers = each[:, None] ** torch.arange(1, MAX_COPIES + 1, dtype=torch.float64, device=o.device)
    table = torch.as_tensor(split_table(), device=o.device)[n - 1]
    # The alternating sum loses all digits for many copies of an opaque Gaussian; it never falls below 1 copy's part.
    total = (table * powers).sum(dim=1).clamp(min=1e-6)
    return each.to(opacities), (o / total).to(opacities)


@dataclass(frozen=True, eq=False)
class Moves:
    """Which Gaussian each place of the next set comes from.

    Args:
        source: index of the Gaussian that each place continues or copies, ``[m]``.
        changed: places that are new or were split, ``[k]``; they start with fresh moments.
        copies: by how many each Gaussian of the old set is replaced, ``[g]``.
    """

    source: Int64[np.ndarray, " m"]
    changed: Int64[np.ndarray, " k"]
    copies: Int64[np.ndarray, " g"]


def plan_moves(
    opacities: Float64[np.ndarray, " g"],
    weights: Float64[np.ndarray, " g"],
    n_target: int,
    generator: np.random.Generator,
) -> Moves:
    """Decide which Gaussians are split: into the places of dead ones, and into new places up to ``n_target``.

    Args:
        opacities: between 0 and 1, ``[g]``.
        weights: how likely each is split, not negative; dead ones never are, ``[g]``.
        n_target: how many Gaussians there shall be; never fewer than there are.
        generator: random choices.
    """
    g = len(opacities)
    alive = opacities > DEAD_OPACITY
    dead = np.flatnonzero(~alive)
    chance = np.where(alive, weights, 0.0)
    n_new = max(0, n_target - g)
    if not chance.sum() > 0:
        return Moves(np.arange(g), np.zeros(0, np.int64), np.ones(g, np.int64))
    chosen = generator.choice(g, size=len(dead) + n_new, p=chance / chance.sum())
    source = np.concatenate([np.arange(g), chosen[len(dead) :]])
    source[dead] = chosen[: len(dead)]
    copies = np.bincount(source, minlength=g)
    changed = np.flatnonzero(copies[source] > 1) if len(chosen) else np.zeros(0, np.int64)
    return Moves(source, np.union1d(changed, dead), np.maximum(copies, 1))


def wander(
    log_scales: Float[Tensor, "g 3"],
    quats: Float[Tensor, "g 4"],
    opacity_logits: Float[Tensor, " g"],
    noise: Float[Tensor, "g 3"],
) -> Float[Tensor, "g 3"]:
    """Return steps of the centres: noise shaped by each Gaussian's covariance, for faint ones only.

    Args:
        log_scales: logarithms of the standard deviations, ``[g,3]``.
        quats: rotations (w, x, y, z), ``[g,4]``.
        opacity_logits: ``[g]``.
        noise: standard normal numbers, ``[g,3]``.

    Source: eq. 8 of the paper.
    """
    rotation = _rotation(torch.nn.functional.normalize(quats, dim=1))
    faint = torch.sigmoid(_SHARPNESS * (DEAD_OPACITY - torch.sigmoid(opacity_logits)))
    local = (rotation.mT @ noise[:, :, None])[:, :, 0] * (2 * log_scales).exp()
    return (rotation @ local[:, :, None])[:, :, 0] * faint[:, None]


def _rotation(quats: Float[Tensor, "g 4"]) -> Float[Tensor, "g 3 3"]:
    w, x, y, z = quats.unbind(1)
    rows = (
        (1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        (2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        (2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    )
    return torch.stack([torch.stack(row, 1) for row in rows], 1)

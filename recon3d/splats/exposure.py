"""The exposure of each photo: an affine map of the scene's colours, found together with the scene."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

IDENTITY = np.eye(3, 4)


def regularised(grad: Float[Tensor, "3 4"], colour: Float[Tensor, "3 4"], strength: float) -> Float[Tensor, "3 4"]:
    """Return the gradient with that of ``strength / 2`` times the squared distance from the identity added."""
    return grad + strength * (colour - torch.eye(3, 4, dtype=colour.dtype, device=colour.device))


def centred(colours: Float[Tensor, "n 3 4"]) -> Float[Tensor, "n 3 4"]:
    """Return the maps shifted so that their mean is the identity: the scene keeps the exposure of the mean photo."""
    return colours - colours.mean(dim=0) + torch.eye(3, 4, dtype=colours.dtype, device=colours.device)


def fit_affine(
    rendered: Float64[np.ndarray, "p 3"], photo: Float64[np.ndarray, "p 3"], ridge: float = 1e-6
) -> Float64[np.ndarray, "3 4"]:
    """Return the affine map ``[A | b]`` that brings rendered colours closest to those of the photo.

    Args:
        rendered: colours of the pixels that count, ``[p,3]``.
        photo: those of the photo, ``[p,3]``.
        ridge: pull towards the identity relative to the colours' power, which decides where they do not.
    """
    design = np.concatenate([rendered, np.ones((len(rendered), 1))], axis=1)
    strength = ridge * max(len(rendered), 1)
    normal = design.T @ design + strength * np.eye(4)
    return np.asarray(np.linalg.solve(normal, design.T @ photo + strength * IDENTITY.T).T)

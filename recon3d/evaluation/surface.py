"""Points of an estimate that can be compared with reference points: samples of a mesh, centres of opaque Gaussians."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Float64, Int

from recon3d.core import seeds
from recon3d.core.errors import UsageError

N_SAMPLES = 200_000
MIN_OPACITY = 0.5


def sample_mesh(
    vertices: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"], n_samples: int = N_SAMPLES, seed: int = 0
) -> Float64[np.ndarray, "m 3"]:
    """Draw points uniformly by area from a triangle mesh.

    Args:
        vertices: positions, ``[v,3]``.
        faces: vertex indices, ``[f,3]``.
        n_samples: number of points.
        seed: the same seed gives the same points.

    Returns:
        Points, ``[n_samples,3]``; none where the mesh has no area.

    Raises:
        UsageError: the number is negative.
    """
    if n_samples < 0:
        raise UsageError("the number of samples must not be negative", got=n_samples)
    a, b, c = (vertices[faces[:, corner]].astype(np.float64) for corner in range(3))
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1)
    total = area.sum()
    if not total > 0:
        return np.zeros((0, 3))
    generator = seeds.generator(seed, "surface samples")
    # Stratified over the total area: as uniform as independent draws, with less clumping.
    at = (np.arange(n_samples) + generator.random(n_samples)) / max(n_samples, 1) * total
    face = np.minimum(np.searchsorted(np.cumsum(area), at, side="right"), len(faces) - 1)
    u, v = generator.random((2, n_samples))
    fold = u + v > 1
    u, v = np.where(fold, 1 - u, u)[:, None], np.where(fold, 1 - v, v)[:, None]
    return np.asarray(a[face] + u * (b[face] - a[face]) + v * (c[face] - a[face]))


def opaque_centres(
    means: Float[np.ndarray, "g 3"], opacity_logits: Float[np.ndarray, " g"], min_opacity: float = MIN_OPACITY
) -> Float64[np.ndarray, "m 3"]:
    """Return the centres of the Gaussians that are more opaque than a limit.

    Args:
        means: centres, ``[g,3]``.
        opacity_logits: opacities before the sigmoid, ``[g]``.
        min_opacity: the limit, between 0 and 1.

    Returns:
        Centres, ``[m,3]``.
    """
    limit = np.log(min_opacity) - np.log1p(-min_opacity)
    return np.asarray(means[opacity_logits > limit], np.float64)

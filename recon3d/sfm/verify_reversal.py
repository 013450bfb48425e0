"""The mirrored twin of a model: points reversed in depth, cameras turned the other way.

Under weak perspective (long lenses, small or flat scenes, few photos) both explain the photos equally well, and a
mapper returns either (Necker reversal; Hartley and Zisserman, Multiple View Geometry, 2nd edition, section 14.7).
Perspective tells them apart: the twin of a right model cannot be adjusted to the same residuals.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float64

from recon3d.sfm.bundle import Priors, adjust, linearise, make_problem, robust_sigma, to_cameras
from recon3d.sfm.types import Mapped
from recon3d.sfm.verify_compare import disagreement_deg, restricted

MAX_POINTS = 200
MAX_ITERATIONS = 10


@dataclass(frozen=True)
class Reversal:
    """How well the mirrored twin does.

    Args:
        own_px: robust standard deviation of the model's residuals in pixels.
        twin_px: the same of its twin after adjustment.
        apart_deg: median difference of relative poses; small when the twin fell back to the model.
    """

    own_px: float
    twin_px: float
    apart_deg: float


def try_reversal(mapped: Mapped, priors: Priors) -> Reversal:
    """Adjust the mirrored twin of a model, on an even selection of its points.

    Args:
        mapped: the model; every photo sees some of its points.
        priors: what is known of its lenses.
    """
    step = max(1, -(-len(mapped.points) // MAX_POINTS))
    model = restricted(mapped, np.ones(len(mapped.photo), bool), np.arange(len(mapped.points)) % step == 0)
    _, group = np.unique(model.camera_group, return_inverse=True)
    group = group.astype(np.int64)
    own = make_problem(model.cameras, group, model.points)
    twin = reversed_twin(model)
    adjusted = adjust(make_problem(twin.cameras, group, twin.points), priors, MAX_ITERATIONS)
    twin = replace(twin, cameras=to_cameras(adjusted.problem, twin.cameras))
    apart = disagreement_deg(model, twin)
    own_px = robust_sigma(own, linearise(own).residual)
    return Reversal(own_px, adjusted.sigma_px, float(np.median(apart)) if len(apart) else 0.0)


def reversed_twin(mapped: Mapped) -> Mapped:
    """Return the model reversed in depth about the middle of its points, along the mean viewing direction.

    In a frame with the points' middle at the origin and z along the mean view, ``X`` becomes ``S X`` and ``R`` becomes
    ``S R S`` with ``S = diag(1, 1, -1)``: x and y in every camera stay, depths about the middle change sign.
    """
    poses, xyz = mapped.cameras.cam_from_world, mapped.points.xyz
    middle = np.median(xyz, axis=0)
    axes = _axes(poses)
    S = np.diag([1.0, 1.0, -1.0])
    twin = poses.copy()
    twin[:, :3, :3] = S @ (poses[:, :3, :3] @ axes.T) @ S
    twin[:, :3, 3] = poses[:, :3, 3] + poses[:, :3, :3] @ middle
    points = replace(mapped.points, xyz=(xyz - middle) @ axes.T @ S)
    return replace(mapped, cameras=replace(mapped.cameras, cam_from_world=twin), points=points)


def _axes(poses: Float64[np.ndarray, "n 4 4"]) -> Float64[np.ndarray, "3 3"]:
    """Return rows x, y, z of a right-handed frame whose z is the mean viewing direction."""
    z = poses[:, 2, :3].mean(axis=0)
    z = z / max(float(np.linalg.norm(z)), 1e-300)
    x = np.eye(3)[int(np.argmin(np.abs(z)))]
    x = x - z * (x @ z)
    x = x / np.linalg.norm(x)
    return np.stack([x, np.cross(z, x), z])

"""Known cameras before and after the network: its normal form, and the similarity back to the user's world."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor

from recon3d.core.errors import UsageError
from recon3d.core.seeds import generator
from recon3d.feedforward.da3.model import Da3Prediction
from recon3d.feedforward.pose_encoding import homogeneous, inverted
from recon3d.sfm.gps import umeyama

_LEAST_DISTANCE = 0.1
_ROUNDS = 10
_MANY = 10


def normalised_poses(cam_from_world: Float[Tensor, "b s 3 4"]) -> Float[Tensor, "b s 3 4"]:
    """Make the first camera the world and the median distance of the cameras from it one.

    Distances whose median is below 0.1 are divided by 0.1: cameras in one place stay there.
    """
    relative = cam_from_world @ homogeneous(inverted(cam_from_world[:, :1]))
    distances = inverted(relative)[..., 3].norm(dim=-1)
    unit = distances.median(dim=1).values.clamp(min=_LEAST_DISTANCE)
    return torch.cat([relative[..., :3], relative[..., 3:] / unit[:, None, None, None]], dim=-1)


@dataclass(frozen=True, eq=False)
class Similarity:
    """``x_target = scale * rotation @ x_source + translation``.

    Args:
        rotation: ``[3,3]``.
        translation: in the unit of the target, ``[3]``.
        scale: units of the target per unit of the source.
    """

    rotation: Float64[np.ndarray, "3 3"]
    translation: Float64[np.ndarray, " 3"]
    scale: float

    def points(self, xyz: Float64[np.ndarray, "n 3"]) -> Float64[np.ndarray, "n 3"]:
        """Move points to the target."""
        return np.asarray(self.scale * xyz @ self.rotation.T + self.translation)

    def cameras(self, cam_from_world: Float64[np.ndarray, "n 4 4"]) -> Float64[np.ndarray, "n 4 4"]:
        """Return ``cam_from_world`` in the world of the target."""
        poses = np.linalg.inv(cam_from_world)
        poses[:, :3, 3] = self.points(poses[:, :3, 3])
        poses[:, :3, :3] = self.rotation @ poses[:, :3, :3]
        return np.linalg.inv(poses)


def align_cameras(
    source: Float64[np.ndarray, "n 4 4"],
    target: Float64[np.ndarray, "n 4 4"],
    *,
    robust: bool | None = None,
    seed: int = 0,
) -> Similarity:
    """Return the similarity of camera centres (Umeyama 1991).

    Args:
        source: ``cam_from_world`` to be moved, ``[n,4,4]``.
        target: their counterparts.
        robust: fit to random halves and take those that agree best; by default from ten cameras on.
        seed: of the halves.

    Raises:
        UsageError: all centres of the source coincide, so that there is no scale.
    """
    a, b = (np.linalg.inv(poses)[:, :3, 3] for poses in (source, target))
    if np.ptp(a, axis=0).max() == 0:
        raise UsageError("cameras in one place have no scale", got=f"{len(a)} cameras")
    fit = umeyama(a, b)
    if robust if robust is not None else len(a) >= _MANY:
        fit = umeyama(a[inliers], b[inliers]) if (inliers := _agreeing(a, b, fit, seed)).sum() > 2 else fit
    scale = float(np.cbrt(np.linalg.det(fit[:3, :3])))
    return Similarity(fit[:3, :3] / scale, fit[:3, 3], scale)


def _agreeing(
    a: Float64[np.ndarray, "n 3"], b: Float64[np.ndarray, "n 3"], first: Float64[np.ndarray, "4 4"], seed: int
) -> Bool[np.ndarray, " n"]:
    """Return the pairs that agree with the best of some fits to random halves of them.

    Agreement is an error no larger than the median distance from a target to the nearest moved centre, after the fit to
    all.
    """
    moved = _moved(first, a)
    limit = np.median(np.linalg.norm(b[:, None] - moved, axis=-1).min(axis=1))
    random, half = generator(seed, "align"), max(3, (len(a) + 1) // 2)
    best, score = np.zeros(len(a), bool), (0, 0.0)
    for _ in range(_ROUNDS):
        some = random.choice(len(a), min(half, len(a)), replace=False)
        error = np.linalg.norm(_moved(umeyama(a[some], b[some]), a) - b, axis=1)
        near = error <= limit
        if near.any() and (near.sum(), -error[near].mean()) > score:
            best, score = near, (near.sum(), -error[near].mean())
    return best


def _moved(fit: Float64[np.ndarray, "4 4"], xyz: Float64[np.ndarray, "n 3"]) -> Float64[np.ndarray, "n 3"]:
    return np.asarray(xyz @ fit[:3, :3].T + fit[:3, 3])


def in_known_world(
    prediction: Da3Prediction, cam_from_world: Float[Tensor, "b s 3 4"], K: Float[Tensor, "b s 3 3"]
) -> Da3Prediction:
    """Return a prediction with the known cameras and depth in their unit.

    Args:
        prediction: of the network.
        cam_from_world: the known poses as the user gave them, not normalised.
        K: the known intrinsics, in pixels of the network's images.

    Raises:
        UsageError: the known cameras are all in one place, or the prediction has no cameras.
    """
    found, depth = prediction.cam_from_world, prediction.depth_z
    if found is None or depth is None:
        raise UsageError("a network of single photos has no cameras to be compared with known ones")
    known, predicted = (homogeneous(poses).double().cpu().numpy() for poses in (cam_from_world, found))
    scales = [align_cameras(*scene).scale for scene in zip(known, predicted, strict=True)]
    depth = depth / depth.new_tensor(scales)[:, None, None, None]
    return replace(prediction, cam_from_world=cam_from_world, K=K, depth_z=depth)

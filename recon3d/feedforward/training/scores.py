"""How good cameras and depth are: on generated scenes that no training sees, beside an answer that never looks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from recon3d.core.errors import UsageError
from recon3d.evaluation.relative import auc, pair_errors
from recon3d.feedforward.pose_encoding import homogeneous
from recon3d.feedforward.predictions import Prediction
from recon3d.feedforward.scenes import SceneOptions, TrueViews, generate_views

UNSEEN_SEED = 2_000_000_011
_AUC_DEG = 30.0
_CLOSE = 1.25
_CHUNK = 5
_MANY = 1e-6


@dataclass(frozen=True)
class Scores:
    """Means over scenes; depth after one median scale per scene, poses of all pairs of photos.

    Args:
        abs_rel: mean of |z - z_true| / z_true; NaN without a true depth, like the next.
        delta1: share of the pixels within 25 % of the truth.
        auc30: area under the recall curve of the larger of rotation and direction error, up to 30 degrees, per cent.
        rotation_deg: median error of the rotation between two photos.
        direction_deg: median error of the direction from one photo to another.
        fov_deg: median error of the horizontal field of view.
        scenes: number of scenes.
    """

    abs_rel: float
    delta1: float
    auc30: float
    rotation_deg: float
    direction_deg: float
    fov_deg: float
    scenes: int

    def to_json(self) -> dict[str, float]:
        """Return the numbers by name."""
        return asdict(self)


@dataclass(frozen=True, eq=False, kw_only=True)
class Answer:
    """Cameras and depth of one scene, from whoever gave them.

    Args:
        cam_from_world: ``[s,4,4]``.
        K: in pixels, ``[s,3,3]``.
        depth_z: ``[s,h,w]``.
    """

    cam_from_world: Float[np.ndarray, "s 4 4"]
    K: Float[np.ndarray, "s 3 3"]
    depth_z: Float[np.ndarray, "s h w"]


@dataclass(frozen=True, eq=False)
class _Errors:
    abs_rel: float
    delta1: float
    rotation: Float[np.ndarray, " pairs"]
    direction: Float[np.ndarray, " pairs"]
    fov: Float[np.ndarray, " s"]


def score(answers: Sequence[Answer], truths: Sequence[Answer]) -> Scores:
    """Compare answers with the truth.

    Args:
        answers: one per scene.
        truths: the same scenes; depth is 0 where it is unknown.
    """
    errors = [_errors(one, truth) for one, truth in zip(answers, truths, strict=True)]
    rotation, direction = (np.concatenate([getattr(one, name) for one in errors]) for name in ("rotation", "direction"))
    return Scores(
        abs_rel=_mean([one.abs_rel for one in errors]),
        delta1=_mean([one.delta1 for one in errors]),
        auc30=auc(np.maximum(rotation, direction), _AUC_DEG),
        rotation_deg=float(np.median(rotation)),
        direction_deg=float(np.median(direction)),
        fov_deg=float(np.median(np.concatenate([one.fov for one in errors]))),
        scenes=len(errors),
    )


def _mean(values: Sequence[float]) -> float:
    """Return the mean of those scenes that have a surface; NaN where none has."""
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else float("nan")


def _errors(answer: Answer, truth: Answer) -> _Errors:
    every = np.ones(len(truth.K), np.bool_)
    spread = float(np.ptp(np.linalg.inv(truth.cam_from_world)[:, :3, 3], axis=0).max())
    rotation, direction = pair_errors(truth.cam_from_world, answer.cam_from_world, every, spread)
    abs_rel, delta1 = _depth_errors(answer.depth_z, truth.depth_z, truth.depth_z > 0)
    fovs = [np.degrees(2 * np.arctan(truth.depth_z.shape[2] / 2 / one.K[:, 0, 0])) for one in (answer, truth)]
    return _Errors(abs_rel, delta1, rotation, direction, np.abs(fovs[0] - fovs[1]))


def _depth_errors(
    depth: Float[np.ndarray, "s h w"], truth: Float[np.ndarray, "s h w"], valid: Bool[np.ndarray, "s h w"]
) -> tuple[float, float]:
    if not valid.any():
        return float("nan"), float("nan")
    z, t = np.maximum(depth[valid].astype(np.float64), _MANY), truth[valid].astype(np.float64)
    z = z * np.median(t / z)
    return float(np.mean(np.abs(z - t) / t)), float(np.mean(np.maximum(z / t, t / z) < _CLOSE))


def unseen(n_scenes: int = 20, *, size: int = 84, n_views: int = 3) -> TrueViews:
    """Return the scenes of the evaluation: always the same, and never part of a training.

    Args:
        n_scenes: number of them.
        size: side of the photos, in pixels.
        n_views: photos of each.
    """
    return generate_views(UNSEEN_SEED, n_scenes, SceneOptions(height=size, width=size), n_views=n_views)


def truth_of(views: TrueViews) -> list[Answer]:
    """Return the truth of scenes, one by one."""
    parts = (views.cam_from_world, views.K, views.depth_z)
    return [_answer(*(one[row] for one in parts)) for row in range(len(views.K))]


def constant(views: TrueViews) -> list[Answer]:
    """Return what one can answer without looking: flat depth, and cameras side by side that look ahead.

    Args:
        views: scenes; their sizes count only.
    """
    s, _, height, width = views.images.shape[1:]
    pose = torch.eye(4).repeat(s, 1, 1)
    pose[:, 0, 3] = -torch.arange(s)
    K = torch.tensor([[width, 0, width / 2], [0, width, height / 2], [0, 0, 1.0]]).repeat(s, 1, 1)
    return [_answer(pose, K, torch.ones(s, height, width)) for _ in range(len(views.K))]


def answers_of(network: Callable[[Tensor], Prediction], views: TrueViews) -> list[Answer]:
    """Return what a network answers.

    Args:
        network: takes sRGB photos, 0 to 1, ``[b,s,3,h,w]``.
        views: scenes on the device of the network.

    Raises:
        UsageError: the network predicts no cameras.
    """
    found: list[Answer] = []
    for at in range(0, len(views.K), _CHUNK):
        with torch.inference_mode():
            part = network(views.images[at : at + _CHUNK])
        if part.cam_from_world is None or part.K is None or part.depth_z is None:
            raise UsageError("the network predicts no cameras", fix="take recon3d-small or another any-view network")
        pose = homogeneous(part.cam_from_world)
        found += [_answer(pose[row], part.K[row], part.depth_z[row]) for row in range(len(pose))]
    return found


def _answer(cam_from_world: Tensor, K: Tensor, depth_z: Tensor) -> Answer:
    pose, intrinsics, depth = (one.detach().double().cpu().numpy() for one in (cam_from_world, K, depth_z))
    return Answer(cam_from_world=pose, K=intrinsics, depth_z=depth)

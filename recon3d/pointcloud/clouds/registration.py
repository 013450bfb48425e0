"""Registration of two clouds by small_gicp (extra ``robotics``)."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float64

from recon3d.core.errors import DependencyError, InputError, UsageError
from recon3d.pointcloud.clouds.types import PointCloud

_KINDS = ("icp", "plane_icp", "gicp")
_LEAST_POINTS = 10


@dataclass(frozen=True)
class RegistrationOptions:
    """How two clouds are registered.

    Args:
        kind: distance that is minimised: between points, from points to planes, or between planes.
        voxel_m: both clouds are thinned to one point per voxel of this size first.
        max_distance_m: pairs of points that are farther apart do not count.
        max_iterations: at most.
        threads: of small_gicp; its result depends on them in the last digits.
    """

    kind: Literal["icp", "plane_icp", "gicp"] = "gicp"
    voxel_m: float = 0.25
    max_distance_m: float = 1.0
    max_iterations: int = 50
    threads: int = 1

    def __post_init__(self) -> None:
        numbers = (self.voxel_m, self.max_distance_m, self.max_iterations, self.threads)
        if self.kind not in _KINDS or not all(number > 0 for number in numbers):
            got = f"{self.kind!r} with {numbers}"
            raise UsageError("unfit options of a registration", got=got, expected=f"{', '.join(_KINDS)}, all above 0")


@dataclass(frozen=True, eq=False)
class Registration:
    """What came of it.

    Args:
        target_from_source: rigid matrix, ``[4,4]``.
        converged: whether the last step was small enough.
        n_inliers: points of the thinned source that have a partner.
        error: what was minimised, at the end; of use only to compare registrations of the same clouds.
    """

    target_from_source: Float64[np.ndarray, "4 4"]
    converged: bool
    n_inliers: int
    error: float


def register_clouds(
    source: PointCloud,
    target: PointCloud,
    initial: Float64[np.ndarray, "4 4"] | None = None,
    options: RegistrationOptions | None = None,
) -> Registration:
    """Find the rigid motion that lays one cloud on another, from a start that is about right.

    Args:
        source: the cloud that is moved; points without a position are left out.
        target: the cloud that stays.
        initial: ``target_from_source`` to start from; None for the identity.
        options: see :class:`RegistrationOptions`.

    Raises:
        InputError: a cloud has too few points.
        UsageError: the start is no rigid matrix.
        DependencyError: small_gicp is not installed.
    """
    options = options or RegistrationOptions()
    start = np.eye(4) if initial is None else np.asarray(initial, np.float64)
    turn = start[:3, :3]
    if start.shape != (4, 4) or not np.allclose(turn @ turn.T, np.eye(3), atol=1e-6) or np.linalg.det(turn) < 0:
        raise UsageError("the start is no rigid matrix", got=start.tolist())
    clouds = [cloud.finite() for cloud in (source, target)]
    if min(len(cloud) for cloud in clouds) < _LEAST_POINTS:
        got = f"{len(clouds[0])} and {len(clouds[1])}"
        raise InputError("too few points to register", got=got, expected=f"{_LEAST_POINTS} in each")
    here, there = (cloud.local()[1] for cloud in clouds)
    result = _package().align(
        clouds[1].xyz - there,
        clouds[0].xyz - here,
        init_T_target_source=_shift(-there) @ start @ _shift(here),
        registration_type=options.kind.upper(),
        downsampling_resolution=options.voxel_m,
        max_correspondence_distance=options.max_distance_m,
        num_threads=options.threads,
        max_iterations=options.max_iterations,
    )
    found = _shift(there) @ np.asarray(result.T_target_source, np.float64) @ _shift(-here)
    return Registration(found, bool(result.converged), int(result.num_inliers), float(result.error))


def _shift(offset: Float64[np.ndarray, "3"]) -> Float64[np.ndarray, "4 4"]:
    matrix = np.eye(4)
    matrix[:3, 3] = offset
    return matrix


def _package() -> Any:
    try:
        return importlib.import_module("small_gicp")
    except ImportError as error:
        what = "registration needs the package small-gicp"
        raise DependencyError(what, got=error, fix="pip install 'recon3d[robotics]'") from error

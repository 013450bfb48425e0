"""Cameras: poses, intrinsics and lens distortion in the conventions of docs/conventions.md."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float64, Int64

from recon3d.core.errors import ShapeError

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, eq=False)
class Cameras:
    """A batch of cameras in OpenCV axes (x right, y down, z forward), pixel origin at the outer top-left corner.

    Args:
        cam_from_world: rigid transforms that map world points to camera points, ``[n,4,4]``.
        K: intrinsic matrices in pixels, ``[n,3,3]``; zero skew.
        width: image widths in pixels, ``[n]``.
        height: image heights in pixels, ``[n]``.
        distortion: OpenCV ``k1 k2 p1 p2`` on normalised coordinates, ``[n,4]``; ``None`` = pinhole.

    Raises:
        ShapeError: the arrays do not agree.
    """

    cam_from_world: Float64[np.ndarray, "n 4 4"]
    K: Float64[np.ndarray, "n 3 3"]
    width: Int64[np.ndarray, " n"]
    height: Int64[np.ndarray, " n"]
    distortion: Float64[np.ndarray, "n 4"] | None = None

    def __post_init__(self) -> None:
        n = len(self.cam_from_world)
        wanted = {"cam_from_world": (n, 4, 4), "K": (n, 3, 3), "width": (n,), "height": (n,), "distortion": (n, 4)}
        for name, shape in wanted.items():
            value = getattr(self, name)
            if value is not None and value.shape != shape:
                raise ShapeError(f"Cameras.{name} has the wrong shape", got=value.shape, expected=shape)

    def __len__(self) -> int:
        return len(self.cam_from_world)

    def __getitem__(self, index: slice | Int64[np.ndarray, " k"] | Bool[np.ndarray, " n"]) -> Cameras:
        """Return the cameras selected by a slice, an index array or a mask."""
        distortion = None if self.distortion is None else self.distortion[index]
        return Cameras(self.cam_from_world[index], self.K[index], self.width[index], self.height[index], distortion)

    @property
    def centers(self) -> Float64[np.ndarray, "n 3"]:
        """Camera centres in the world, ``[n,3]``."""
        rotation, translation = self.cam_from_world[:, :3, :3], self.cam_from_world[:, :3, 3]
        return np.asarray(-np.einsum("nji,nj->ni", rotation, translation))

    @property
    def world_from_cam(self) -> Float64[np.ndarray, "n 4 4"]:
        """Inverse poses: camera points to world points, ``[n,4,4]``."""
        inverse = np.zeros_like(self.cam_from_world)
        inverse[:, :3, :3] = self.cam_from_world[:, :3, :3].transpose(0, 2, 1)
        inverse[:, :3, 3] = self.centers
        inverse[:, 3, 3] = 1.0
        return inverse

    def pinhole(self) -> Cameras:
        """Return the same cameras without distortion."""
        return replace(self, distortion=None)

    def resized(self, width: Int64[np.ndarray, " n"], height: Int64[np.ndarray, " n"]) -> Cameras:
        """Return the cameras of the same photos at another size.

        Args:
            width: new widths in pixels, ``[n]``.
            height: new heights in pixels, ``[n]``.
        """
        K = self.K.copy()
        K[:, 0] *= (width / self.width)[:, None]
        K[:, 1] *= (height / self.height)[:, None]
        return replace(self, K=K, width=width, height=height)

    def limited(self, max_image_size: int) -> Cameras:
        """Return the cameras of the photos reduced to a longer side of at most ``max_image_size`` pixels."""
        factor = np.minimum(1.0, max_image_size / np.maximum(self.width, self.height))
        width, height = (np.maximum(np.rint(side * factor), 1).astype(np.int64) for side in (self.width, self.height))
        return self.resized(width, height)

    def project(
        self, points_world: Float64[np.ndarray, "m 3"], camera: Int64[np.ndarray, " m"]
    ) -> tuple[Float64[np.ndarray, "m 2"], Float64[np.ndarray, " m"]]:
        """Project point ``i`` into camera ``camera[i]``.

        Args:
            points_world: world points, ``[m,3]``.
            camera: camera indices, ``[m]``.

        Returns:
            Pixels ``[m,2]`` (NaN for points on or behind the camera plane) and depths along z ``[m]``.
        """
        pose = self.cam_from_world[camera]
        points_cam = np.einsum("mij,mj->mi", pose[:, :3, :3], points_world) + pose[:, :3, 3]
        depth_z = points_cam[:, 2]
        safe = np.where(depth_z > 0, depth_z, np.nan)
        normalized = points_cam[:, :2] / safe[:, None]
        if self.distortion is not None:
            normalized = distort(normalized, self.distortion[camera])
        K = self.K[camera]
        pixels = normalized * K[:, (0, 1), (0, 1)] + K[:, :2, 2]
        return pixels, depth_z

    def transformed(self, new_from_old: Float64[np.ndarray, "4 4"]) -> Cameras:
        """Return the cameras seen from another world, ``x_new = new_from_old x_old`` (a similarity, ``[4,4]``).

        The scale of the similarity moves into the translations; rotations stay orthonormal.
        """
        scale = np.cbrt(np.linalg.det(new_from_old[:3, :3]))
        rotation = new_from_old[:3, :3] / scale
        poses = np.zeros_like(self.cam_from_world)
        poses[:, :3, :3] = self.cam_from_world[:, :3, :3] @ rotation.T
        poses[:, :3, 3] = scale * self.cam_from_world[:, :3, 3] - poses[:, :3, :3] @ new_from_old[:3, 3]
        poses[:, 3, 3] = 1.0
        return replace(self, cam_from_world=poses)

    def torch(self, device: str = "cpu") -> dict[str, torch.Tensor]:
        """Return the fields as float32 tensors (sizes as int64) on ``device``, keyed by field name."""
        import torch

        names = ("cam_from_world", "K", "width", "height", "distortion")
        arrays = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        kinds = {name: torch.int64 if name in ("width", "height") else torch.float32 for name in arrays}
        return {name: torch.as_tensor(value, dtype=kinds[name], device=device) for name, value in arrays.items()}


def distort(
    normalized: Float64[np.ndarray, "m 2"], coefficients: Float64[np.ndarray, "m 4"]
) -> Float64[np.ndarray, "m 2"]:
    """Apply OpenCV ``k1 k2 p1 p2`` to normalised coordinates."""
    x, y = normalized.T
    k1, k2, p1, p2 = coefficients.T
    r2 = x * x + y * y
    radial = 1.0 + r2 * (k1 + r2 * k2)
    return np.stack(
        [x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x), y * radial + 2 * p2 * x * y + p1 * (r2 + 2 * y * y)], -1
    )


def undistort(
    normalized: Float64[np.ndarray, "m 2"], coefficients: Float64[np.ndarray, "m 4"], n_iterations: int = 50
) -> Float64[np.ndarray, "m 2"]:
    """Invert :func:`distort` by Newton's method, to 1e-12 or better.

    Args:
        normalized: distorted normalised coordinates, ``[m,2]``.
        coefficients: ``k1 k2 p1 p2``, ``[m,4]``.
        n_iterations: bound on the iterations; five are usual.

    Returns:
        Undistorted coordinates, ``[m,2]``; NaN where the lens model reaches no such point before it folds.
    """
    estimate = normalized.copy()
    with np.errstate(all="ignore"):  # points beyond the fold run away and become NaN
        for _ in range(n_iterations):
            residual = normalized - distort(estimate, coefficients)
            if not (np.abs(residual) > 1e-14).any():
                break
            xx, xy, yy = _jacobian(estimate, coefficients)
            step = [yy * residual[:, 0] - xy * residual[:, 1], xx * residual[:, 1] - xy * residual[:, 0]]
            estimate = estimate + np.stack(step, -1) / (xx * yy - xy * xy)[:, None]
        off = np.abs(normalized - distort(estimate, coefficients)).max(axis=1)
        xx, xy, yy = _jacobian(estimate, coefficients)
        found = (off < 1e-12 * (1 + np.abs(normalized).max(axis=1))) & (xx + yy > 0) & (xx * yy > xy * xy)
    estimate[~found] = np.nan
    return estimate


def _jacobian(
    at: Float64[np.ndarray, "m 2"], coefficients: Float64[np.ndarray, "m 4"]
) -> tuple[Float64[np.ndarray, " m"], Float64[np.ndarray, " m"], Float64[np.ndarray, " m"]]:
    """Return the entries xx, xy = yx and yy of the derivative of :func:`distort`."""
    x, y = at.T
    k1, k2, p1, p2 = coefficients.T
    r2 = x * x + y * y
    radial, slope = 1.0 + r2 * (k1 + r2 * k2), 2 * (k1 + 2 * k2 * r2)
    xx = radial + slope * x * x + 2 * p1 * y + 6 * p2 * x
    yy = radial + slope * y * y + 6 * p1 * y + 2 * p2 * x
    return xx, slope * x * y + 2 * p1 * x + 2 * p2 * y, yy

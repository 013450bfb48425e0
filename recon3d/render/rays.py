"""Rays in the world, and those that leave cameras through their pixels."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from recon3d.core.errors import UsageError
from recon3d.render.gaussians.cameras import CameraTensors
from recon3d.render.gaussians.checks import check_alike, check_intrinsics, check_shapes


@dataclass(frozen=True, eq=False)
class Rays:
    """Half-lines ``origin + t direction``; ``t`` is a distance where directions have length one.

    Args:
        origins: where the rays start, in the world, ``[r,3]``.
        directions: where they go, ``[r,3]``.

    Raises:
        ShapeError: the tensors do not agree.
        UsageError: device or dtype differ, or they are no floating-point tensors.
    """

    origins: Float[Tensor, "r 3"]
    directions: Float[Tensor, "r 3"]

    def __post_init__(self) -> None:
        check_shapes(
            {"Rays.origins": (self.origins, (None, 3)), "Rays.directions": (self.directions, (len(self.origins), 3))}
        )
        check_alike({"Rays.origins": self.origins, "Rays.directions": self.directions})

    def __len__(self) -> int:
        return len(self.origins)

    def __getitem__(self, index: slice | Int64[Tensor, " k"] | Bool[Tensor, " r"]) -> Rays:
        """Return the rays that a slice, an index or a mask selects."""
        return Rays(self.origins[index], self.directions[index])

    def at(self, t: Float[Tensor, "r n"]) -> Float[Tensor, "r n 3"]:
        """Return ``n`` points on every ray.

        Args:
            t: how far along the rays, in lengths of their directions.
        """
        return self.origins[:, None] + t[..., None] * self.directions[:, None]


def pixel_rays(cameras: CameraTensors, pixels: Int64[Tensor, " m"] | None = None, *, unit: bool = True) -> Rays:
    """Return the rays from camera centres through pixel centres; differentiable in ``cam_from_world`` and ``K``.

    Args:
        cameras: pinhole cameras.
        pixels: which pixels of ``[n,h,w]``, counted in that order; None = all. ``images.reshape(-1, c)[pixels]`` are
            their colours.
        unit: directions have length one, so that distances are measured along the ray; otherwise their length is one
            along camera z, so that depths are.

    Raises:
        UsageError: there is no such pixel, or an intrinsic matrix is not that of a pinhole camera.

    Example:
        >>> import torch
        >>> from recon3d.render.gaussians import CameraTensors
        >>> K = torch.tensor([[[10.0, 0.0, 2.0], [0.0, 10.0, 1.5], [0.0, 0.0, 1.0]]])
        >>> pixel_rays(CameraTensors(torch.eye(4)[None], K, width=4, height=3), unit=False).directions[0].tolist()
        [-0.15000000596046448, -0.10000000149011612, 1.0]
    """
    check_intrinsics(cameras.K)
    camera, row, column = _places(cameras, pixels)
    K = cameras.K
    x = (column + 0.5 - K[camera, 0, 2]) / K[camera, 0, 0]
    y = (row + 0.5 - K[camera, 1, 2]) / K[camera, 1, 1]
    ways_cam = torch.stack([x, y, torch.ones_like(x)], -1)
    rotation, translation = cameras.cam_from_world[:, :3, :3], cameras.cam_from_world[:, :3, 3]
    ways = torch.einsum("mji,mj->mi", rotation[camera], ways_cam)
    centers = -torch.einsum("nji,nj->ni", rotation, translation)
    return Rays(centers[camera], torch.nn.functional.normalize(ways, dim=-1) if unit else ways)


def _places(cameras: CameraTensors, pixels: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Return camera, row and column of pixels ``[m]``."""
    per_camera = cameras.height * cameras.width
    n_pixels = len(cameras) * per_camera
    if pixels is None:
        pixels = torch.arange(n_pixels, device=cameras.K.device)
    elif pixels.numel() and not (int(pixels.min()) >= 0 and int(pixels.max()) < n_pixels):
        got = f"{int(pixels.min())} to {int(pixels.max())}"
        raise UsageError("there is no such pixel", got=got, expected=f"0 to {n_pixels - 1}")
    inside = pixels % per_camera
    rows = torch.div(inside, cameras.width, rounding_mode="floor")
    return torch.div(pixels, per_camera, rounding_mode="floor"), rows, inside % cameras.width

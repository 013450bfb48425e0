"""Projection of 3D Gaussians into a camera."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from recon3d.core.errors import UsageError
from recon3d.render.gaussians.checks import Shape, check_alike, check_finite, check_intrinsics, check_shapes
from recon3d.render.gaussians.dispatch import module_for
from recon3d.render.gaussians.options import GaussianBackend, ProjectionOptions
from recon3d.render.gaussians.types import Projection


def project(
    means: Float[Tensor, "g 3"],
    quats: Float[Tensor, "g 4"],
    log_scales: Float[Tensor, "g 3"],
    cam_from_world: Float[Tensor, "4 4"],
    K: Float[Tensor, "3 3"],
    width: int,
    height: int,
    *,
    opacities: Float[Tensor, " g"] | None = None,
    options: ProjectionOptions | None = None,
    backend: GaussianBackend = "auto",
) -> Projection:
    """Project Gaussians into one pinhole camera.

    Args:
        means: centres in the world, ``[g,3]``.
        quats: rotations (w, x, y, z) of the principal axes, of any positive length, ``[g,4]``.
        log_scales: natural logarithms of the standard deviations along the axes in world units, ``[g,3]``.
        cam_from_world: rigid transform that maps world points to camera points, ``[4,4]``.
        K: intrinsics in pixels, zero skew, ``[3,3]``.
        width: image width in pixels.
        height: image height in pixels.
        opacities: opacities between 0 and 1, which the tight bounds look at, ``[g]``; None = opaque.
        options: how they are projected; None = the defaults.
        backend: ``numba`` (float32 on the CPU), ``gsplat`` (CUDA), ``torch`` (anything), or ``auto``.

    Returns:
        Centres, depths, conics and compensations, differentiable in means, quats, log_scales and cam_from_world; and
        radii, without gradient. What is on or behind the near plane, or outside the image, has radius 0.

    Raises:
        ShapeError: a tensor has the wrong shape.
        InputError: a tensor holds NaN or infinite values.
        UsageError: K has skew, the tensors do not live together, or the back end does not take them.

    Source: Zwicker et al., EWA splatting, 2002; Kerbl et al., 3D Gaussian splatting, 2023, eq. 5, with the rules of
    gsplat 1.5.3. The compensation is that of Yu et al., Mip-Splatting, 2024, eq. 9 without its 3D filter.
    """
    values = {"means": means, "quats": quats, "log_scales": log_scales, "cam_from_world": cam_from_world, "K": K}
    g = len(means)
    shapes: dict[str, Shape] = {"means": (g, 3), "quats": (g, 4), "log_scales": (g, 3), "cam_from_world": (4, 4)}
    if opacities is not None:
        values["opacities"], shapes["opacities"] = opacities, (g,)
    check_shapes({name: (value, shapes.get(name, (3, 3))) for name, value in values.items()})
    check_alike(values)
    check_finite(values)
    check_intrinsics(K)
    check_size(width, height)
    chosen = options or ProjectionOptions()
    home = module_for("projection", backend, means)
    seen: Projection = home.project(
        means, quats, log_scales, cam_from_world, K, width, height, opacities=opacities, options=chosen
    )
    return seen


def check_size(width: int, height: int) -> None:
    """Raise UsageError where an image has no pixels."""
    if width < 1 or height < 1:
        raise UsageError("the image size must be positive", got=f"{width} x {height}", expected="at least 1 x 1")

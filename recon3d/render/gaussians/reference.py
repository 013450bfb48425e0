"""Projection and spherical harmonics in plain torch: any floating-point type, any device, gradients by autograd.

In float64 this is the oracle that the fast back ends are held to. The rules are those of gsplat 1.5.3.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from recon3d.render.gaussians.options import ProjectionOptions
from recon3d.render.gaussians.types import Projection

MAX_RADIUS = 1 << 30  # fits an int32, and no image is that large
GSPLAT_EXTENT = 3.33
_MIN_DETERMINANT = 1e-10


def rotation_matrices(quats: Float[Tensor, "g 4"]) -> Float[Tensor, "g 3 3"]:
    """Return the rotation matrices of quaternions (w, x, y, z) of any positive length."""
    w, x, y, z = torch.nn.functional.normalize(quats, dim=-1).unbind(-1)
    rows = (
        (1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        (2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        (2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    )
    return torch.stack([torch.stack(row, -1) for row in rows], -2)


def covariances(quats: Float[Tensor, "g 4"], scales: Float[Tensor, "g 3"]) -> Float[Tensor, "g 3 3"]:
    """Return ``R S S R^T``, the covariances of Gaussians with standard deviations ``scales`` along their axes."""
    axes = rotation_matrices(quats) * scales[:, None, :]
    return axes @ axes.mT


def precisions(quats: Float[Tensor, "g 4"], scales: Float[Tensor, "g 3"]) -> Float[Tensor, "g 3 3"]:
    """Return the inverses of :func:`covariances`."""
    return covariances(quats, 1 / scales)


def to_camera(
    means: Float[Tensor, "g 3"], covars: Float[Tensor, "g 3 3"], cam_from_world: Float[Tensor, "4 4"]
) -> tuple[Float[Tensor, "g 3"], Float[Tensor, "g 3 3"]]:
    """Return centres and covariances in the camera's frame."""
    rotation, translation = cam_from_world[:3, :3], cam_from_world[:3, 3]
    return means @ rotation.mT + translation, rotation @ covars @ rotation.mT


def project_pinhole(
    means_cam: Float[Tensor, "g 3"],
    covars_cam: Float[Tensor, "g 3 3"],
    K: Float[Tensor, "3 3"],
    width: int,
    height: int,
) -> tuple[Float[Tensor, "g 2"], Float[Tensor, "g 2 2"]]:
    """Project centres exactly and covariances through the Jacobian of the projection (EWA splatting).

    The Jacobian is taken at x/z and y/z cut to the image plus 15 % of its size on each side, as far outside it would
    stretch Gaussians without bound. The centres are not cut.

    Args:
        means_cam: centres in the camera's frame, none with z = 0, ``[g,3]``.
        covars_cam: covariances in the camera's frame, ``[g,3,3]``.
        K: intrinsics in pixels, ``[3,3]``.
        width: image width in pixels.
        height: image height in pixels.

    Returns:
        Centres in pixels ``[g,2]`` and covariances in px^2 ``[g,2,2]``; differentiable in centres, covariances and K.

    Source: Zwicker et al., EWA splatting, 2002, eq. 29, with the limits of gsplat 1.5.3.
    """
    depth = means_cam[:, 2:]
    size = torch.tensor([width, height], dtype=K.dtype, device=K.device)
    focal, centre = K.diagonal()[:2], K[:2, 2]
    margin = 0.15 * size / focal
    slopes = means_cam[:, :2] / depth
    cut = torch.minimum(torch.maximum(slopes, -(centre / focal + margin)), (size - centre) / focal + margin)
    jacobian = torch.cat([torch.diag(focal) / depth[..., None], (-focal * cut / depth)[..., None]], -1)
    return slopes * focal + centre, jacobian @ covars_cam @ jacobian.mT


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
    options: ProjectionOptions,
) -> Projection:
    """Project Gaussians into one camera; see :func:`recon3d.render.gaussians.project`."""
    gaussians, camera = (means, quats, log_scales), (cam_from_world, K, width, height)
    with torch.no_grad():
        radii = _radii(_project_all(gaussians, camera, options.eps2d), (width, height), opacities, options)
    # Only what is visible is differentiated, so that nothing behind the camera can bring a NaN into a gradient.
    index = (radii > 0).all(-1).nonzero()[:, 0]
    _, *seen = _project_all((means[index], quats[index], log_scales[index]), camera, options.eps2d)
    means2d, depths, conics, compensations = (
        value.new_zeros(len(means), *value.shape[1:]).index_copy(0, index, value) for value in seen
    )
    return Projection(means2d, depths, conics, compensations, radii)


class _Projected(NamedTuple):
    """Projected Gaussians, without regard to what is visible."""

    covars2d: Tensor  # [g,2,2], widened
    means2d: Tensor  # [g,2]
    depths: Tensor  # [g]
    conics: Tensor  # [g,3]
    compensations: Tensor  # [g]


def _project_all(
    gaussians: tuple[Tensor, Tensor, Tensor], camera: tuple[Tensor, Tensor, int, int], eps2d: float
) -> _Projected:
    (means, quats, log_scales), (cam_from_world, K, width, height) = gaussians, camera
    means_cam, covars_cam = to_camera(means, covariances(quats, log_scales.exp()), cam_from_world)
    means2d, covars2d = project_pinhole(means_cam, covars_cam, K, width, height)
    narrow = _determinant(covars2d)
    covars2d = covars2d + eps2d * torch.eye(2, dtype=means.dtype, device=means.device)
    wide = _determinant(covars2d).clamp(min=_MIN_DETERMINANT)
    xx, xy, yy = covars2d[:, 0, 0], (covars2d[:, 0, 1] + covars2d[:, 1, 0]) / 2, covars2d[:, 1, 1]
    conics = torch.stack([yy, -xy, xx], -1) / wide[:, None]
    return _Projected(covars2d, means2d, means_cam[:, 2], conics, _root(narrow / wide))


def _determinant(matrices: Tensor) -> Tensor:
    return matrices[:, 0, 0] * matrices[:, 1, 1] - matrices[:, 0, 1] * matrices[:, 1, 0]


def _root(value: Tensor) -> Tensor:
    """Return the square root, with value and gradient zero where there is none."""
    positive = value > 0
    return torch.where(positive, torch.where(positive, value, 1).sqrt(), 0)


def _radii(
    seen: _Projected, size: tuple[int, int], opacities: Tensor | None, options: ProjectionOptions
) -> Int[Tensor, "g 2"]:
    """Return the half sizes of the boxes, zero where nothing of a Gaussian is in the image."""
    sigmas = seen.covars2d.diagonal(dim1=1, dim2=2).sqrt()
    radii = (extents(seen.compensations, opacities, options)[:, None] * sigmas).ceil().clamp(max=MAX_RADIUS)
    limits = torch.tensor(size, dtype=radii.dtype, device=radii.device)
    inside = ((seen.means2d + radii > 0) & (seen.means2d - radii < limits)).all(-1)
    in_front = (seen.depths > options.near) & (seen.depths < options.far)
    finite = torch.cat([seen.means2d, seen.conics, seen.compensations[:, None], sigmas], -1).isfinite().all(-1)
    visible = inside & in_front & finite & (radii > 0).all(-1)
    return torch.where(visible[:, None], radii, 0).to(torch.int32)


def extents(
    compensations: Float[Tensor, " g"], opacities: Float[Tensor, " g"] | None, options: ProjectionOptions
) -> Float[Tensor, " g"]:
    """Return how many standard deviations along an axis Gaussians are drawn, ``[g]``.

    The tight bound solves ``opacity exp(-q / 2) = min_alpha``: the ellipse ``q = const`` reaches sqrt(q) standard
    deviations along either axis.
    """
    if options.bounds == "gsplat":
        return torch.full_like(compensations, GSPLAT_EXTENT)
    strength = torch.ones_like(compensations) if opacities is None else opacities
    if options.antialiased:
        strength = strength * compensations
    return (2 * (strength.clamp(min=0).log() - math.log(options.min_alpha))).clamp(min=0).sqrt()


def spherical_harmonics(
    directions: Float[Tensor, "g 3"], coefficients: Float[Tensor, "g k 3"], degree: int
) -> Float[Tensor, "g 3"]:
    """Evaluate spherical harmonics; see :func:`recon3d.render.spherical_harmonics.spherical_harmonics`."""
    unit = torch.nn.functional.normalize(directions, dim=-1)
    return (bases(unit, degree)[:, :, None] * coefficients[:, : (degree + 1) ** 2]).sum(1)


def bases(unit: Float[Tensor, "g 3"], degree: int) -> Float[Tensor, "g b"]:
    """Return the real spherical harmonics of unit vectors, ``[g,(degree+1)^2]``, in the order and signs of 3DGS."""
    x, y, z = unit.unbind(-1)
    xx, yy, zz = x * x, y * y, z * z
    values = [torch.full_like(x, 0.5 * math.sqrt(1 / math.pi))]
    if degree >= 1:
        c = math.sqrt(3 / (4 * math.pi))
        values += [-c * y, c * z, -c * x]
    if degree >= 2:
        c = 0.5 * math.sqrt(15 / math.pi)
        values += [c * x * y, -c * y * z, 0.25 * math.sqrt(5 / math.pi) * (2 * zz - xx - yy)]
        values += [-c * x * z, 0.5 * c * (xx - yy)]
    if degree >= 3:
        a, b, c = 0.25 * math.sqrt(35 / (2 * math.pi)), 0.25 * math.sqrt(21 / (2 * math.pi)), math.sqrt(105 / math.pi)
        values += [-a * y * (3 * xx - yy), 0.5 * c * x * y * z, -b * y * (4 * zz - xx - yy)]
        values += [0.25 * math.sqrt(7 / math.pi) * z * (2 * zz - 3 * xx - 3 * yy), -b * x * (4 * zz - xx - yy)]
        values += [0.25 * c * z * (xx - yy), -a * x * (xx - 3 * yy)]
    return torch.stack(values, -1)

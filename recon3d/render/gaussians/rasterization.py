"""Rasterisation of 3D Gaussians: colours or any features, alpha and depths, with gradients."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from recon3d.render.cameras import Cameras
from recon3d.render.gaussians.cameras import CameraTensors
from recon3d.render.gaussians.checks import Shape, check_alike, check_finite, check_intrinsics, check_shapes
from recon3d.render.gaussians.dispatch import module_for
from recon3d.render.gaussians.options import GaussianBackend, RasterOptions
from recon3d.render.gaussians.projection import check_size
from recon3d.render.gaussians.types import FIELDS, Bounds, Gaussians, Projection, Rasterization


def rasterize_projected(
    projection: Projection,
    opacities: Float[Tensor, " g"],
    features: Float[Tensor, "g c"],
    width: int,
    height: int,
    *,
    background: Float[Tensor, " c"] | None = None,
    options: RasterOptions | None = None,
    backend: GaussianBackend = "auto",
) -> tuple[Float[Tensor, "h w c"], Float[Tensor, "h w"], Float[Tensor, "h w"], Float[Tensor, "h w"]]:
    """Blend projected Gaussians front to back, in exact order of their depths.

    Args:
        projection: the Gaussians as the camera sees them.
        opacities: opacities between 0 and 1, times the compensations where those are wanted, ``[g]``.
        features: what is blended: colours or anything else, ``[g,c]``.
        width: image width in pixels.
        height: image height in pixels.
        background: what is seen behind the last Gaussian, ``[c]``; None = zeros.
        options: the rules of blending; None = the defaults.
        backend: ``numba`` (float32 on the CPU), ``gsplat`` (CUDA), ``torch`` (anything), or ``auto``.

    Returns:
        The image ``[h,w,c]``, alpha ``[h,w]``, the expected and the median depth ``[h,w]``, as
        :class:`~recon3d.render.gaussians.Rasterization` explains them. Differentiable in means2d, depths and conics of
        the projection, opacities, features and background; the median depth is not.

    Raises:
        ShapeError: a tensor has the wrong shape.
        InputError: opacities, features or the background hold NaN or infinite values.
        UsageError: the tensors do not live together, or the back end does not take them.
        ResourceError: so many Gaussians overlap the image that memory would not hold the list.

    Source: Kerbl et al., 3D Gaussian splatting, 2023, eq. 3, with the rules of gsplat 1.5.3.
    """
    g, c = len(opacities), _n_channels(features)
    values: dict[str, tuple[Tensor, Shape]] = {
        "opacities": (opacities, (None,)),
        "features": (features, (g, None)),
        "projection.means2d": (projection.means2d, (g, 2)),
        "projection.depths": (projection.depths, (g,)),
        "projection.conics": (projection.conics, (g, 3)),
    }
    if background is not None:
        values["background"] = (background, (c,))
    _check(values)
    check_shapes({"projection.radii": (projection.radii, (g, 2))})
    check_size(width, height)
    home = module_for("raster", backend, opacities)
    chosen = options or RasterOptions()
    image, alpha, expected, median = home.rasterize_projected(
        projection, opacities, features, width, height, background=background, options=chosen
    )
    return image, alpha, expected, median


def rasterize(
    gaussians: Gaussians,
    cameras: Cameras | CameraTensors,
    *,
    features: Float[Tensor, "g c"] | None = None,
    background: Float[Tensor, " c"] | Float[Tensor, "n c"] | None = None,
    antialiased: bool = False,
    bounds: Bounds = "tight",
    backend: GaussianBackend = "auto",
    options: RasterOptions | None = None,
) -> Rasterization:
    """Render Gaussians for cameras.

    Args:
        gaussians: what is rendered.
        cameras: pinhole cameras of one image size; as :class:`~recon3d.render.gaussians.CameraTensors` their poses may
            require gradients.
        features: what is blended instead of the spherical harmonics, any number of channels, ``[g,c]``.
        background: what is seen behind the last Gaussian, ``[c]`` or one per camera ``[n,c]``; None = zeros.
        antialiased: multiply the opacities by the compensations, so that the brightness of what is smaller than a pixel
            does not depend on the size of the image.
        bounds: which pixels are looked at, ``tight`` or ``gsplat``; the picture is the same.
        backend: ``numba`` (float32 on the CPU), ``gsplat`` (CUDA), ``torch`` (anything), or ``auto``.
        options: the rules of projection and blending; None = the defaults.

    Returns:
        Images, alpha and depths; differentiable in every field of the Gaussians, the features, the background and
        ``cam_from_world``. The median depth is not.

    Raises:
        ShapeError: a tensor has the wrong shape.
        InputError: a tensor holds NaN or infinite values.
        UsageError: cameras differ in size, have lens distortion or skew, the tensors do not live together, or the back
            end does not take them.
        ResourceError: so many Gaussians overlap an image that memory would not hold the list.

    Source: Kerbl et al., 3D Gaussian splatting, 2023.
    """
    views = cameras if isinstance(cameras, CameraTensors) else CameraTensors.of(cameras, like=gaussians.means)
    backgrounds = background
    if background is not None and background.ndim == 1:
        backgrounds = background.expand(len(views), -1)
    _check_scene(gaussians, views, features, backgrounds)
    rules = options or RasterOptions()
    seen = []
    for view in range(len(views)):
        behind = None if backgrounds is None else backgrounds[view]
        seen.append(_render(gaussians, views, view, features, behind, (antialiased, bounds, backend, rules)))
    projections, pictures = zip(*seen, strict=True)
    image, alpha, expected, median = (_stacked(parts) for parts in zip(*pictures, strict=True))
    return Rasterization(image, alpha, expected, median, projections)


_Picture = tuple[Tensor, Tensor, Tensor, Tensor]


def _render(
    gaussians: Gaussians,
    views: CameraTensors,
    view: int,
    features: Tensor | None,
    background: Tensor | None,
    how: tuple[bool, Bounds, GaussianBackend, RasterOptions],
) -> tuple[Projection, _Picture]:
    """Render for one camera what has been checked."""
    antialiased, bounds, backend, rules = how
    pose, K, opacities = views.cam_from_world[view], views.K[view], gaussians.opacities
    home = module_for("projection", backend, pose)
    projection: Projection = home.project(
        *(gaussians.means, gaussians.quats, gaussians.log_scales, pose, K, views.width, views.height),
        opacities=opacities.detach(),
        options=rules.projection(bounds, antialiased=antialiased),
    )
    if projection.means2d.requires_grad:
        projection.means2d.retain_grad()
    if features is None:
        centre = -pose[:3, :3].mT @ pose[:3, 3]
        colours = home.spherical_harmonics(gaussians.means - centre, gaussians.sh, gaussians.sh_degree)
        features = (colours + 0.5).clamp(min=0)
    strengths = opacities * projection.compensations if antialiased else opacities
    picture: _Picture = module_for("raster", backend, pose).rasterize_projected(
        projection, strengths, features, views.width, views.height, background=background, options=rules
    )
    return projection, picture


def _check_scene(
    gaussians: Gaussians, views: CameraTensors, features: Tensor | None, backgrounds: Tensor | None
) -> None:
    values: dict[str, tuple[Tensor, Shape]] = {f"gaussians.{name}": _any(getattr(gaussians, name)) for name in FIELDS}
    values |= {"cam_from_world": _any(views.cam_from_world), "K": _any(views.K)}
    if features is not None:
        values["features"] = (features, (len(gaussians), None))
    if backgrounds is not None:
        values["background"] = (backgrounds, (len(views), 3 if features is None else _n_channels(features)))
    _check(values)
    check_intrinsics(views.K)


def _n_channels(features: Tensor) -> int:
    return features.shape[-1] if features.ndim else 0


def _stacked(parts: Sequence[Tensor]) -> Tensor:
    """Stack without a copy of what is alone."""
    return parts[0][None] if len(parts) == 1 else torch.stack(list(parts))


def _any(value: Tensor) -> tuple[Tensor, Shape]:
    return value, (None,) * value.ndim


def _check(values: dict[str, tuple[Tensor, Shape]]) -> None:
    check_shapes(values)
    tensors = {name: value for name, (value, _) in values.items()}
    check_alike(tensors)
    check_finite(tensors)

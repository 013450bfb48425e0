"""The differentiable-rendering core: cameras, spherical harmonics and, in rooms of their own, Gaussians and meshes.

:func:`recon3d.render.spherical_harmonics.spherical_harmonics` has the name of its module and is imported from there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from recon3d.core.lazy import lazy_exports

if TYPE_CHECKING:
    from recon3d.render.cameras import Cameras as Cameras, distort as distort, undistort as undistort
    from recon3d.render.image_loss import photometric_loss as photometric_loss
    from recon3d.render.orbits import orbit as orbit, orbit_points as orbit_points
    from recon3d.render.rays import Rays as Rays, pixel_rays as pixel_rays
    from recon3d.render.ssim import ssim_map as ssim_map
    from recon3d.render.trajectories import CameraPath as CameraPath, look_at as look_at, through as through
    from recon3d.render.views import ViewOptions as ViewOptions, render_views as render_views, turntable as turntable

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "cameras": ["Cameras", "distort", "undistort"],
        "image_loss": ["photometric_loss"],
        "orbits": ["orbit", "orbit_points"],
        "rays": ["Rays", "pixel_rays"],
        "ssim": ["ssim_map"],
        "trajectories": ["CameraPath", "look_at", "through"],
        "views": ["ViewOptions", "render_views", "turntable"],
    },
)

"""The differentiable-rendering core: cameras, spherical harmonics and, in rooms of their own, Gaussians and meshes.

:func:`recon3d.render.spherical_harmonics.spherical_harmonics` has the name of its module and is imported from there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from recon3d.core.lazy import lazy_exports

if TYPE_CHECKING:
    from recon3d.render.cameras import Cameras as Cameras, distort as distort, undistort as undistort

__getattr__, __dir__, __all__ = lazy_exports(__name__, {"cameras": ["Cameras", "distort", "undistort"]})

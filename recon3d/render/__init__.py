"""Cameras: poses, intrinsics and lens distortion. The differentiable-rendering core will live here as well."""

from __future__ import annotations

from typing import TYPE_CHECKING

from recon3d.core.lazy import lazy_exports

if TYPE_CHECKING:
    from recon3d.render.cameras import Cameras as Cameras, distort as distort, undistort as undistort

__getattr__, __dir__, __all__ = lazy_exports(__name__, {"cameras": ["Cameras", "distort", "undistort"]})

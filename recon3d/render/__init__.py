"""Cameras: poses, intrinsics and lens distortion. The differentiable-rendering core will live here as well."""

from __future__ import annotations

from recon3d.core.lazy import lazy_exports

__getattr__, __dir__, __all__ = lazy_exports(__name__, {"cameras": ["Cameras", "distort", "undistort"]})

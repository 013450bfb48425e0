"""Rays against triangles: a bounding volume hierarchy and a path tracer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from recon3d.core.lazy import lazy_exports

if TYPE_CHECKING:
    from recon3d.render.raytrace.bvh import Bvh as Bvh, Hits as Hits

__getattr__, __dir__, __all__ = lazy_exports(__name__, {"bvh": ["Bvh", "Hits"]})

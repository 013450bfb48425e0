"""Photos through a feed-forward network: cameras, depth with sigma, points, and how far the photos confirm them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from recon3d.core.lazy import lazy_exports

if TYPE_CHECKING:
    from recon3d.feedforward.engine.sigma import SigmaTable as SigmaTable
    from recon3d.feedforward.engine.views import ViewEstimates as ViewEstimates, estimate_views as estimate_views

__getattr__, __dir__, __all__ = lazy_exports(
    __name__, {"sigma": ["SigmaTable"], "views": ["ViewEstimates", "estimate_views"]}
)

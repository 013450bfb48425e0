"""Training scenes without end: rooms, tables, facades and terrain, ray-cast with their exact truth."""

from __future__ import annotations

from typing import TYPE_CHECKING

from recon3d.core.lazy import lazy_exports

if TYPE_CHECKING:
    from recon3d.feedforward.scenes.generation import generate_views as generate_views
    from recon3d.feedforward.scenes.options import SceneOptions as SceneOptions
    from recon3d.feedforward.scenes.types import TrueViews as TrueViews

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "generation": ["generate_views"],
        "options": ["SceneOptions"],
        "types": ["TrueViews"],
    },
)

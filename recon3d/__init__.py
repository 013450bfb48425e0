"""recon3d: photos and point clouds to 3D that can be measured, rendered, relit and understood."""

from __future__ import annotations

from typing import TYPE_CHECKING

from recon3d.core.lazy import lazy_exports

if TYPE_CHECKING:
    from recon3d.core.errors import Recon3DError as Recon3DError
    from recon3d.feedforward.sequence.stream import Stream as Stream
    from recon3d.pipeline import ReconstructOptions as ReconstructOptions, reconstruct as reconstruct
    from recon3d.render.cameras import Cameras as Cameras
    from recon3d.scene import Points as Points, Scale as Scale, Scene as Scene, View as View

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "core.errors": ["Recon3DError"],
        "feedforward.sequence.stream": ["Stream"],
        "pipeline": ["ReconstructOptions", "reconstruct"],
        "render.cameras": ["Cameras"],
        "scene": ["Points", "Scale", "Scene", "View"],
    },
)
__all__ += ["__version__"]

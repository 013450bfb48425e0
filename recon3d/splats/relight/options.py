"""Options of the estimate of materials and light."""

from __future__ import annotations

from dataclasses import dataclass

from recon3d.core.errors import UsageError


@dataclass(frozen=True)
class RelightOptions:
    """How materials and light are estimated from photos and a mesh.

    Args:
        max_surfels: most vertices that carry a material; larger meshes are simplified.
        max_image_size: photos are scaled down to this long side, in pixels.
        light_steps: of the first guess of the light, from shading and shadows alone.
        steps: of the optimisation of materials and light together.
        visibility: whether surfaces shade and light each other; without, it is quicker, and shadows stay in the albedo.
        seed: seed of every random choice; the same seed gives the same bits.

    Raises:
        UsageError: a value lies outside its range.
    """

    max_surfels: int = 120_000
    max_image_size: int = 1024
    light_steps: int = 800
    steps: int = 300
    visibility: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        for name, low in (("max_surfels", 100), ("max_image_size", 32), ("light_steps", 1), ("steps", 2), ("seed", 0)):
            if getattr(self, name) < low:
                raise UsageError(f"{name} is out of range", got=getattr(self, name), expected=f"{low} or more")

"""Which scenes are generated, and how they are photographed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from recon3d.core.errors import UsageError

SceneKind = Literal["room", "table", "facade", "terrain"]
Range = tuple[float, float]


@dataclass(frozen=True)
class SceneOptions:
    """Ranges from which scenes and photos are drawn.

    Args:
        height: rows of the photos.
        width: columns of the photos.
        views: fewest and most photos of a scene; a batch has one number, drawn from its seed.
        kinds: of scenes, each as likely as the others.
        fov_deg: field of view of the longer side.
        off_centre: largest offset of the principal point, as a share of the image size.
        shared_intrinsics: probability that all photos of a scene come from one camera.
        roll_deg: standard deviation of the roll.
        overlap: smallest share of a photo's surface that another photo of the scene sees too.
        exposure_stops: standard deviation of the exposure, common to a scene; photos differ by a quarter of it.
        white_balance: standard deviation of the logarithm of the gains of red and blue.
        blur_px: smallest and largest standard deviation of the blur.
        motion_blur: probability of a motion blur of up to three pixels.
        noise: smallest and largest standard deviation of the noise.
        vignetting: largest loss of light in the corners.
        rays_per_pixel: 1, or 4 for smooth edges; depth and normals always belong to the centre of the pixel.
    """

    height: int = 84
    width: int = 84
    views: tuple[int, int] = (2, 4)
    kinds: tuple[SceneKind, ...] = ("room", "table", "facade", "terrain")
    fov_deg: Range = (35.0, 90.0)
    off_centre: float = 0.03
    shared_intrinsics: float = 0.7
    roll_deg: float = 6.0
    overlap: float = 0.3
    exposure_stops: float = 0.4
    white_balance: float = 0.08
    blur_px: Range = (0.0, 0.8)
    motion_blur: float = 0.1
    noise: Range = (0.0, 0.03)
    vignetting: float = 0.35
    rays_per_pixel: int = 4

    def __post_init__(self) -> None:
        if self.height < 8 or self.width < 8:
            raise UsageError("The photos are too small", got=f"{self.height} x {self.width}", expected="8 x 8 or more")
        if not 1 <= self.views[0] <= self.views[1]:
            raise UsageError("The numbers of views are wrong", got=self.views, expected="1 <= fewest <= most")
        if not self.kinds:
            raise UsageError("No kind of scene is given", expected="one or more of room, table, facade, terrain")
        if self.rays_per_pixel not in (1, 4):
            raise UsageError("Rays per pixel are wrong", got=self.rays_per_pixel, expected="1 or 4")

"""Options of the optimisation of splats, and their presets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, get_args

import tyro

from recon3d.core.errors import UsageError

Preset = Literal["draft", "standard", "high"]
Device = Literal["auto", "cpu", "cuda"]


@dataclass(frozen=True)
class SplatOptions:
    """How splats are optimised from photos.

    Args:
        planned_seconds: optimisation time to plan for on a reference machine of two cores. It is turned into a number
            of iterations before the start, so that the result does not depend on the speed of this machine.
        iterations: number of iterations; default: what fits ``planned_seconds``.
        max_gaussians: most Gaussians that the scene may hold; fewer where the memory or the photos do not carry them.
        max_image_size: photos are scaled down to this long side for the optimisation, in pixels.
        sh_degree: how strongly colours may change with the direction of view, 0 to 3.
        holdout: photos that are kept out of the optimisation and measure it: ``auto`` (every 8th from 16 photos on,
            every 4th below, none below 5), ``none``, or a number n for every n-th.
        exposure: find the exposure and white balance of each photo, so that they do not end up in the scene.
        refine_poses: let the cameras move a little; for poses from elsewhere that are less exact than the photos.
        antialiased: keep the brightness of Gaussians smaller than a pixel at every image size.
        lambda_dssim: share of structural dissimilarity in the loss; the rest is the absolute difference.
        opacity_reg: pull towards transparency, which removes what no photo needs.
        scale_reg: pull towards small Gaussians.
        noise: how far faint Gaussians wander in search of a place; 0 = not at all.
        max_scale: largest standard deviation of a Gaussian, as a share of its distance from the scene's centre.
        background: colour behind everything.
        device: ``auto`` takes CUDA where it is there.
        seed: seed of every random choice; the same seed gives the same bits.

    Raises:
        UsageError: a value lies outside its range.
    """

    planned_seconds: float = 150.0
    iterations: int | None = None
    max_gaussians: int = 80_000
    max_image_size: int = 1024
    sh_degree: int = 3
    holdout: Annotated[str, tyro.conf.arg(aliases=("--holdout",))] = "auto"
    exposure: bool = True
    refine_poses: bool = False
    antialiased: bool = True
    lambda_dssim: float = 0.2
    opacity_reg: float = 0.01
    scale_reg: float = 0.01
    noise: float = 1.0
    max_scale: float = 0.3
    background: Literal["black", "white"] = "black"
    device: Device = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        for name, low, high in _RANGES:
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise UsageError(f"{name} is out of range", got=value, expected=f"between {low:g} and {high:g}")
        if self.holdout not in ("auto", "none") and not (self.holdout.isdecimal() and int(self.holdout) >= 2):
            raise UsageError("holdout is not readable", got=self.holdout, expected="auto, none or a number from 2 on")


_RANGES = (
    ("planned_seconds", 1.0, 1e6),
    ("iterations", 1, 10_000_000),
    ("max_gaussians", 1, 100_000_000),
    ("max_image_size", 16, 100_000),
    ("sh_degree", 0, 3),
    ("lambda_dssim", 0.0, 1.0),
    ("opacity_reg", 0.0, 10.0),
    ("scale_reg", 0.0, 10.0),
    ("noise", 0.0, 100.0),
    ("max_scale", 1e-3, 10.0),
    ("seed", 0, 2**63 - 1),
)


def preset(name: Preset) -> SplatOptions:
    """Return the options of a preset: ``draft`` about a minute on two cores, ``standard`` three, ``high`` ten or more.

    Raises:
        UsageError: there is no such preset.
    """
    if name not in _PRESETS:
        raise UsageError("there is no such preset", got=name, expected=", ".join(get_args(Preset)))
    return _PRESETS[name]


_PRESETS = {
    "draft": SplatOptions(planned_seconds=50.0, max_gaussians=30_000, max_image_size=640, sh_degree=1),
    "standard": SplatOptions(),
    "high": SplatOptions(planned_seconds=600.0, max_gaussians=150_000, max_image_size=1600, sh_degree=3),
}

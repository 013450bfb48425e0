"""`recon3d-small`: Depth Anything 3 in a size that two cores can train, on small photos that this project generates."""

from __future__ import annotations

from recon3d.feedforward.da3.config import Da3Options, vit_options

NAME = "recon3d-small"
SIZE = 84
"""Longer side of the photos that it was trained on, in pixels, and side of the image of its position table."""

OPTIONS = Da3Options(
    vit_options(192, 12, 6, 4, native_size=SIZE),
    alternation_start=4,
    taps=(5, 7, 9, 11),
    features=32,
    stage_channels=(32, 48, 96, 96),
    encoder_heads=6,
    encoder_depth=2,
)

"""Sizes of Volt: the released small and base models, and tiny ones for tests and small machines."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType

from recon3d.core.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class VoltOptions:
    """Constructor values of the backbone.

    Args:
        in_channels: features C of a voxel: 6 indoors (colour in [0,1], normal), 4 outdoors (x, y, z in metres and
            strength).
        dim: channels D of a token.
        depth: transformer blocks.
        heads: attention heads; each has D / heads channels.
        mlp_ratio: hidden channels of a block's MLP over D.
        patch_size: voxels K along an edge of a patch.
        up_dim: channels U of the decoder and of the voxel features.
        qk_norm: apply a LayerNorm to the queries and the keys of every head.
        layer_scale: first value of the LayerScale gains; None for no LayerScale, as in the released models.
        drop_path: probability that the last block's branches are dropped; it grows linearly from 0 over the depth.
        rope_split: channel pairs turned by x, y and z; None for 3/8, 3/8 and 1/4 of them.
        rope_theta: the last pair of an axis turns by ``1 / rope_theta`` radians per patch, the first by 1.
    """

    in_channels: int = 6
    dim: int = 384
    depth: int = 12
    heads: int = 6
    mlp_ratio: float = 4.0
    patch_size: int = 5
    up_dim: int = 128
    qk_norm: bool = True
    layer_scale: float | None = None
    drop_path: float = 0.3
    rope_split: tuple[int, int, int] | None = None
    rope_theta: float = 100.0

    def __post_init__(self) -> None:
        sizes = (self.in_channels, self.dim, self.depth, self.heads, self.patch_size, self.up_dim)
        if min(sizes) < 1 or self.dim % (2 * self.heads):
            raise UsageError(
                "Volt cannot have these sizes",
                got=f"in_channels, dim, depth, heads, patch_size, up_dim = {sizes}",
                expected="positive integers, and dim a multiple of twice the heads",
            )
        if not 0 <= self.drop_path < 1:
            raise UsageError("drop_path is no probability below 1", got=self.drop_path, expected="0 <= drop_path < 1")
        if 2 * sum(self.split) != self.head_dim or min(self.split) < 0:
            raise UsageError(
                "rope_split does not cover a head",
                got=self.rope_split,
                expected=f"three counts of channel pairs that sum to {self.head_dim // 2}",
            )

    @property
    def head_dim(self) -> int:
        """Channels of one attention head."""
        return self.dim // self.heads

    @property
    def split(self) -> tuple[int, int, int]:
        """Channel pairs that x, y and z turn."""
        if self.rope_split is not None:
            return self.rope_split
        pairs = self.head_dim // 2
        side = round(pairs * 3 / 8)
        return side, side, pairs - 2 * side


VOLT_S = VoltOptions()
VOLT_B = VoltOptions(dim=768, heads=12, up_dim=256)
VOLT_TINY = VoltOptions(dim=192, depth=4, heads=3, patch_size=4, up_dim=64, drop_path=0.1)
VOLT_TINY_OUTDOOR = VoltOptions(in_channels=4, dim=192, depth=4, heads=3, patch_size=3, up_dim=64, drop_path=0.1)
VOLT_UNIT = VoltOptions(dim=64, depth=2, heads=1, mlp_ratio=2, up_dim=24, drop_path=0.0)

VOLT_CONFIGS = MappingProxyType(
    {
        "volt-s": VOLT_S,
        "volt-b": VOLT_B,
        "volt-tiny": VOLT_TINY,
        "volt-tiny-outdoor": VOLT_TINY_OUTDOOR,
        "volt-unit": VOLT_UNIT,
    }
)
INDOOR_CLASSES = MappingProxyType({"ScanNet": 20, "ScanNet200": 200, "ScanNet++": 100, "ARKitScenes": 185})
OUTDOOR_CLASSES = MappingProxyType({"nuScenes": 16, "SemanticKITTI": 19, "Waymo": 22})


def _one_head() -> dict[str, int]:
    return {"Default": 20}


@dataclass(frozen=True, kw_only=True)
class SegmentorOptions:
    """A backbone with one linear head per data set.

    Args:
        backbone: sizes of the backbone.
        classes: number of classes by data set ("condition"); ``{"Default": n}`` for a single one.
        distillation: add a second head per data set that learns from a teacher's labels.
    """

    backbone: VoltOptions = VOLT_S
    classes: dict[str, int] = field(default_factory=_one_head)
    distillation: bool = False

    def __post_init__(self) -> None:
        if not self.classes or min(self.classes.values()) < 1:
            raise UsageError(
                "a segmentor needs classes", got=self.classes, expected="one count per data set, 1 or more"
            )

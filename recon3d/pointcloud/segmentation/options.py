"""What a segmenter is trained on, how large it is, and how it learns."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from recon3d.core.errors import UsageError
from recon3d.pointcloud.volt.options import VoltOptions

Recipe = Literal["full", "naive"]
DataFormat = Literal["auto", "rooms", "streets", "scannet", "semantickitti", "nuscenes", "folder"]


@dataclass(frozen=True, kw_only=True)
class SegmenterOptions:
    """Size of the network.

    Args:
        dim: channels of a token; 64 per attention head.
        depth: transformer blocks.
        mlp_ratio: hidden channels of a block over ``dim``.
        patch_size: voxels along an edge of a patch.
        up_dim: channels of a voxel behind the decoder.
        voxel_m: edge of a voxel; 0 = 0.06 indoors, 0.2 outdoors.
    """

    dim: int = 192
    depth: int = 4
    mlp_ratio: float = 3.0
    patch_size: int = 3
    up_dim: int = 64
    voxel_m: float = 0.0

    def backbone(self, in_channels: int, drop_path: float) -> VoltOptions:
        """Return the options of Volt.

        Args:
            in_channels: numbers of a voxel.
            drop_path: of the last block.
        """
        return VoltOptions(
            in_channels=in_channels,
            dim=self.dim,
            depth=self.depth,
            heads=max(self.dim // 64, 1),
            mlp_ratio=self.mlp_ratio,
            patch_size=self.patch_size,
            up_dim=self.up_dim,
            drop_path=drop_path,
        )


@dataclass(frozen=True, kw_only=True)
class TrainSegmenterOptions:
    """A training of a segmenter.

    Args:
        data: ``rooms`` or ``streets`` to generate scenes, or the folder of a data set.
        format: of the folder; ``auto`` finds out.
        network: its size.
        recipe: ``full``: augmentation, drop path, mixing of scenes, cross entropy with smoothed labels and Lovasz,
            averaged weights; ``naive``: turns and flips, plain cross entropy, the last weights. Both have the one-cycle
            rate.
        teacher: weights of a segmenter whose labels the new one learns as well, with the full recipe.
        steps: length; 0 = as many as fit into ``minutes``.
        minutes: length in minutes of computing, if not 0; resumed runs count on.
        scenes: of a step.
        most_voxels: of a scene; larger ones are cropped.
        learning_rate: at its peak.
        weight_decay: of matrices.
        drop_path: of the last block, with the full recipe.
        mix: chance that the scenes of a step are mixed in pairs, with the full recipe.
        ema: share of the averaged weights that a step keeps, with the full recipe; smaller at the start.
        pool: generated scenes in memory.
        reuse: how often each of them is seen, each time changed at random.
        seed: of the first weights, the scenes and their changes.
        checkpoint_minutes: time between checkpoints.
        evaluate_minutes: time between evaluations on held-out scenes.
        evaluate_scenes: held-out scenes of an evaluation; 0 = none.
    """

    data: str = "rooms"
    format: DataFormat = "auto"
    network: SegmenterOptions = field(default_factory=SegmenterOptions)
    recipe: Recipe = "full"
    teacher: str | None = None
    steps: int = 0
    minutes: float = 20.0
    scenes: int = 3
    most_voxels: int = 12_000
    learning_rate: float = 2e-3
    weight_decay: float = 0.05
    drop_path: float = 0.1
    mix: float = 0.5
    ema: float = 0.995
    pool: int = 32
    reuse: int = 6
    seed: int = 0
    checkpoint_minutes: float = 3.0
    evaluate_minutes: float = 10.0
    evaluate_scenes: int = 20

    def __post_init__(self) -> None:
        if self.steps <= 0 and self.minutes <= 0:
            raise UsageError("a training needs a length", got=f"{self.steps} steps, {self.minutes} minutes")
        if min(self.scenes, self.most_voxels, self.pool, self.reuse) < 1 or self.evaluate_scenes < 0:
            got = f"scenes {self.scenes}, most_voxels {self.most_voxels}, pool {self.pool}, reuse {self.reuse}"
            raise UsageError("a training cannot work so", got=got, expected="1 or more of each")
        if self.learning_rate <= 0 or not 0 <= self.ema < 1 or not 0 <= self.mix <= 1:
            got = f"learning_rate {self.learning_rate}, ema {self.ema}, mix {self.mix}"
            raise UsageError("a training cannot work so", got=got, expected="a positive rate, shares in [0, 1)")
        if self.teacher is not None and self.recipe == "naive":
            raise UsageError("the naive recipe has no teacher", fix="leave the teacher out, or take the full recipe")

    @property
    def full(self) -> bool:
        """Whether the recipe is the full one."""
        return self.recipe == "full"

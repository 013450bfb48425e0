"""VGGT's backbone: DINOv2 patch tokens, then attention that alternates between single frames and all of them."""

from __future__ import annotations

from collections.abc import Collection

import torch
from jaxtyping import Float
from torch import Tensor, nn

from recon3d.feedforward.layers.block import Block
from recon3d.feedforward.layers.rope import Rope, grid_positions, rope_2d
from recon3d.feedforward.layers.vit import VisionTransformer
from recon3d.feedforward.vggt.config import VggtOptions

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Aggregator(nn.Module):
    """Tokens of all frames, each after it has seen its own frame and all others.

    Args:
        options: sizes and flags.
    """

    def __init__(self, options: VggtOptions) -> None:
        super().__init__()
        self.options, vit = options, options.vit
        self.patch_embed = VisionTransformer(vit)
        # Slot 0 marks the first frame, whose camera is the world; nothing else tells frames apart.
        self.camera_token = nn.Parameter(torch.zeros(1, 2, 1, vit.dim))
        self.register_token = nn.Parameter(torch.zeros(1, 2, vit.n_registers, vit.dim))
        self.frame_blocks, self.global_blocks = self._stack(), self._stack()

    def _stack(self) -> nn.ModuleList:
        block = self.options.block(qk_norm=True)
        return nn.ModuleList(
            Block(self.options.vit.dim, self.options.n_heads, block) for _ in range(self.options.depth)
        )

    @property
    def n_special(self) -> int:
        """Tokens of a frame before its patches: camera and registers."""
        return 1 + self.options.vit.n_registers

    def forward(
        self, images: Float[Tensor, "b s 3 h w"], keep: Collection[int] | None = None
    ) -> dict[int, Float[Tensor, "b s n c2"]]:
        """Return the tokens after the wanted pairs of blocks, frame half before global half.

        Args:
            images: RGB in 0..1, sides multiples of the patch size, ``[b,s,3,h,w]``.
            keep: numbers of the pairs; None keeps all, which takes much more memory.

        Returns:
            Tokens by pair, ``[b,s,n,2c]``: camera, registers, patches row by row.
        """
        x, rope = self._tokens(images), self._rope(images)
        (b, s), c, across = images.shape[:2], x.shape[-1], rope.repeated(images.shape[1])
        kept: dict[int, Tensor] = {}
        for start in range(0, self.options.depth, self.options.group):
            numbers = range(start, min(start + self.options.group, self.options.depth))
            x, by_frame = _run(self.frame_blocks, numbers, x.reshape(b * s, -1, c), rope, keep)
            x, overall = _run(self.global_blocks, numbers, x.reshape(b, -1, c), across, keep)
            for i in by_frame:
                kept[i] = torch.cat([half.reshape(b, s, -1, c) for half in (by_frame[i], overall[i])], dim=-1)
        return kept

    def _tokens(self, images: Tensor) -> Tensor:
        """Return camera, register and patch tokens of every frame, ``[b*s,n,c]``."""
        mean, std = (images.new_tensor(values)[:, None, None] for values in (MEAN, STD))
        patches = self.patch_embed(((images - mean) / std).flatten(0, 1))
        special = torch.cat([self.camera_token, self.register_token], 2)  # [1,2,1+r,c]
        slots = (torch.arange(images.shape[1], device=images.device) > 0).long()
        special = special[0, slots].repeat(images.shape[0], 1, 1)
        return torch.cat([special.to(patches.dtype), patches], 1)

    def _rope(self, images: Tensor) -> Rope:
        rows, cols = self.patch_embed.grid(images)
        positions = grid_positions(rows, cols, n_special=self.n_special, device=images.device)
        return rope_2d(positions, self.options.vit.dim // self.options.n_heads)


def _run(
    blocks: nn.ModuleList, numbers: range, x: Tensor, rope: Rope, keep: Collection[int] | None
) -> tuple[Tensor, dict[int, Tensor]]:
    """Apply some blocks; return the tokens at the end and those after the blocks to be kept."""
    kept = {}
    for i in numbers:
        x = blocks[i](x, rope)
        if keep is None or i in keep:
            kept[i] = x
    return x, kept

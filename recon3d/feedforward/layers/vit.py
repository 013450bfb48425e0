"""DINOv2 vision transformer (Oquab et al. 2023) with the flags that VGGT and Depth Anything 3 set differently."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import interpolate

from recon3d.feedforward.layers.block import Block, BlockOptions


@dataclass(frozen=True)
class VitOptions:
    """Sizes and flags of a vision transformer.

    Args:
        dim: channels C of a token.
        depth: blocks.
        n_heads: attention heads.
        patch_size: side of a square patch, in pixels.
        native_size: side of the image whose patch grid the position table was made for, in pixels.
        n_registers: register tokens between the class token and the patches.
        has_mask_token: keep the parameter that DINOv2 needs for its own training only.
        antialias: filter the position table where it is shrunk to the image's grid.
        grid_offset: added to the number of patches in the scale of that resampling; zero gives the sizes exactly.
        qk_norm_start: first block with normalised queries and keys; None for no block.
        final_norm_eps: of the LayerNorm at the end.
        block: options of the blocks; ``qk_norm`` follows from ``qk_norm_start``.
    """

    dim: int = 1024
    depth: int = 24
    n_heads: int = 16
    patch_size: int = 14
    native_size: int = 518
    n_registers: int = 0
    has_mask_token: bool = False
    antialias: bool = False
    grid_offset: float = 0.0
    qk_norm_start: int | None = None
    final_norm_eps: float = 1e-6
    block: BlockOptions = field(default_factory=BlockOptions)


class PatchEmbed(nn.Module):
    """One linear layer per patch, written as a convolution.

    Args:
        patch_size: side of a patch, in pixels.
        dim: channels of a token.
    """

    def __init__(self, patch_size: int, dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, dim, patch_size, stride=patch_size)

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b p c"]:
        """Return the patches row by row, ``[b,p,c]``."""
        tokens: Tensor = self.proj(images).flatten(2).transpose(1, 2)
        return tokens


class VisionTransformer(nn.Module):
    """Tokens of images and the blocks to be applied to them.

    Args:
        options: sizes and flags.
    """

    def __init__(self, options: VitOptions) -> None:
        super().__init__()
        self.options = options
        n_patches = (options.native_size // options.patch_size) ** 2
        self.cls_token = nn.Parameter(torch.zeros(1, 1, options.dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + n_patches, options.dim))
        if options.n_registers:
            self.register_tokens = nn.Parameter(torch.zeros(1, options.n_registers, options.dim))
        if options.has_mask_token:
            self.mask_token = nn.Parameter(torch.zeros(1, options.dim))
        self.patch_embed = PatchEmbed(options.patch_size, options.dim)
        self.blocks = nn.ModuleList(self._block(index) for index in range(options.depth))
        self.norm = nn.LayerNorm(options.dim, eps=options.final_norm_eps)

    def _block(self, index: int) -> Block:
        start = self.options.qk_norm_start
        block = replace(self.options.block, qk_norm=start is not None and index >= start)
        return Block(self.options.dim, self.options.n_heads, block)

    @property
    def n_special(self) -> int:
        """Tokens before the patches: class token and registers."""
        return 1 + self.options.n_registers

    def grid(self, images: Float[Tensor, "*b h w"]) -> tuple[int, int]:
        """Rows and columns of patches."""
        height, width = images.shape[-2:]
        return height // self.options.patch_size, width // self.options.patch_size

    def tokens(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b n c"]:
        """Return class token, registers and patches before the first block.

        Args:
            images: normalised images whose sides are multiples of the patch size, ``[b,3,h,w]``.
        """
        cls = self.cls_token.expand(len(images), -1, -1)
        tokens = torch.cat([cls, self.patch_embed(images)], 1) + self._positions(*self.grid(images))
        if self.options.n_registers:  # registers have no position
            registers = self.register_tokens.expand(len(images), -1, -1)
            tokens = torch.cat([tokens[:, :1], registers, tokens[:, 1:]], 1)
        return tokens

    def _positions(self, rows: int, cols: int) -> Tensor:
        """Return the position table at a patch grid, ``[1,1+rows*cols,c]``; on its own grid it is used as it is."""
        native = self.options.native_size // self.options.patch_size
        if (rows, cols) == (native, native):
            return self.pos_embed
        table = torch.unflatten(self.pos_embed[:, 1:], 1, (native, native)).permute(0, 3, 1, 2).float()
        resample = partial(interpolate, table, mode="bicubic", antialias=self.options.antialias)
        if offset := self.options.grid_offset:
            resampled = resample(scale_factor=((rows + offset) / native, (cols + offset) / native))
        else:
            resampled = resample(size=(rows, cols))
        patches = resampled.flatten(2).transpose(1, 2).to(self.pos_embed.dtype)
        return torch.cat([self.pos_embed[:, :1], patches], 1)

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b p c"]:
        """Return the normalised patch tokens of single images, ``[b,p,c]``."""
        x = self.tokens(images)
        for block in self.blocks:
            x = block(x)
        patches: Tensor = self.norm(x)[:, self.n_special :]
        return patches

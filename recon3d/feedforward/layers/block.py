"""The pre-norm transformer block of every network here: x += ls1 Attn(LN1 x); x += ls2 MLP(LN2 x)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import silu

from recon3d.feedforward.layers.attention import Attention
from recon3d.feedforward.layers.rope import Rope


@dataclass(frozen=True)
class BlockOptions:
    """What tells the blocks of the models apart.

    Args:
        norm_eps: of both LayerNorms of the block; 1e-6 in DINOv2 and DA3, 1e-5 in VGGT's own blocks.
        qk_norm: normalise queries and keys.
        layer_scale: initial value of the LayerScale vectors.
        ffn: plain MLP with exact GELU, or SwiGLU with 2/3 of its width (giant models).
        mlp_ratio: hidden over token channels.
    """

    norm_eps: float = 1e-6
    qk_norm: bool = False
    layer_scale: float = 1.0
    ffn: Literal["gelu", "swiglu"] = "gelu"
    mlp_ratio: float = 4.0


class Mlp(nn.Module):
    """Two linear layers with an exact (erf) GELU between them.

    Args:
        dim: channels of the input.
        hidden: channels between the layers.
        out_dim: channels of the result; those of the input by default.
    """

    def __init__(self, dim: int, hidden: int, out_dim: int | None = None) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(hidden, out_dim or dim)

    def forward(self, x: Float[Tensor, "*n c"]) -> Float[Tensor, "*n out"]:
        """Apply the layers to every token."""
        out: Tensor = self.fc2(self.act(self.fc1(x)))
        return out


class SwiGlu(nn.Module):
    """Gated MLP: silu(a) * b through one linear layer, where a and b are the halves of another (Shazeer 2020).

    Args:
        dim: channels of the input and the result.
        hidden: channels that a plain MLP would have; two thirds of them, rounded up to a multiple of 8, are used.
    """

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        width = (int(hidden * 2 / 3) + 7) // 8 * 8
        self.w12 = nn.Linear(dim, 2 * width)
        self.w3 = nn.Linear(width, dim)

    def forward(self, x: Float[Tensor, "*n c"]) -> Float[Tensor, "*n c"]:
        """Apply the layers to every token."""
        gate, value = self.w12(x).chunk(2, dim=-1)
        out: Tensor = self.w3(silu(gate) * value)
        return out


class LayerScale(nn.Module):
    """A learned factor per channel at the end of a residual branch.

    Args:
        dim: channels.
        initial: value before training.
    """

    def __init__(self, dim: int, initial: float) -> None:
        super().__init__()
        self.initial = initial
        self.gamma = nn.Parameter(torch.full((dim,), initial))

    def forward(self, x: Float[Tensor, "*n c"]) -> Float[Tensor, "*n c"]:
        """Scale the channels."""
        return x * self.gamma


class Block(nn.Module):
    """One transformer block.

    Args:
        dim: channels of a token.
        n_heads: attention heads.
        options: norms, LayerScale and the kind of MLP.
    """

    def __init__(self, dim: int, n_heads: int, options: BlockOptions) -> None:
        super().__init__()
        hidden = int(dim * options.mlp_ratio)
        self.norm1 = nn.LayerNorm(dim, eps=options.norm_eps)
        self.attn = Attention(dim, n_heads, qk_norm=options.qk_norm)
        self.ls1 = LayerScale(dim, options.layer_scale)
        self.norm2 = nn.LayerNorm(dim, eps=options.norm_eps)
        self.mlp: nn.Module = SwiGlu(dim, hidden) if options.ffn == "swiglu" else Mlp(dim, hidden)
        self.ls2 = LayerScale(dim, options.layer_scale)

    def forward(self, x: Float[Tensor, "b n c"], rope: Rope | None = None) -> Float[Tensor, "b n c"]:
        """Let the tokens of each sequence see each other, then transform each.

        Args:
            x: tokens, ``[b,n,c]``.
            rope: positions for the attention, or None.
        """
        x = x + self.ls1(self.attn(self.norm1(x), rope))
        out: Tensor = x + self.ls2(self.mlp(self.norm2(x)))
        return out

"""The transformer that refines tracks: attention over time, and over tracks by way of a few virtual ones."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from recon3d.feedforward.layers.block import Mlp
from recon3d.feedforward.vggt.config import TrackOptions


class NormedBlock(nn.Module):
    """Attention block whose residual starts from the *normalised* input, within a sequence or to another one.

    Args:
        dim: channels.
        n_heads: attention heads.
        cross: keys and values come from another sequence.
    """

    def __init__(self, dim: int, n_heads: int, *, cross: bool = False) -> None:
        super().__init__()
        attention = nn.MultiheadAttention(dim, n_heads, batch_first=True)
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        if cross:
            self.norm_context, self.cross_attn = nn.LayerNorm(dim), attention
        else:
            self.attn = attention
        self.cross = cross
        self.mlp = Mlp(dim, 4 * dim)

    def forward(
        self, x: Float[Tensor, "b n c"], context: Float[Tensor, "b m c"] | None = None
    ) -> Float[Tensor, "b n c"]:
        """Refine ``x`` by itself or by ``context``."""
        x = self.norm1(x)
        if self.cross:
            context = self.norm_context(context)
            x = x + self.cross_attn(x, context, context, need_weights=False)[0]
        else:
            x = x + self.attn(x, x, x, need_weights=False)[0]
        out: Tensor = x + self.mlp(self.norm2(x))
        return out


class UpdateTransformer(nn.Module):
    """Returns what is to be added to the coordinates and features of tracks.

    Args:
        options: sizes.
        dim_in: channels of the input.
    """

    def __init__(self, options: TrackOptions, dim_in: int) -> None:
        super().__init__()
        hidden = options.hidden
        self.input_norm = nn.LayerNorm(dim_in)
        self.input_transform = nn.Linear(dim_in, hidden)
        self.output_norm = nn.LayerNorm(hidden)
        self.flow_head = nn.Linear(hidden, options.features + 2)
        self.virual_tracks = nn.Parameter(torch.zeros(1, options.n_virtual, 1, hidden))  # the checkpoint's spelling
        self.time_blocks, self.space_virtual_blocks = (_stack(options, cross=False) for _ in range(2))
        self.space_point2virtual_blocks, self.space_virtual2point_blocks = (
            _stack(options, cross=True) for _ in range(2)
        )

    def forward(self, x: Float[Tensor, "b n s c"]) -> Float[Tensor, "b n s k"]:
        """Refine tracks.

        Args:
            x: one token per track and photo.

        Returns:
            Two numbers for the coordinates, then those for the feature.
        """
        first = self.input_transform(self.input_norm(x))
        b, n, s, _ = first.shape
        tokens = torch.cat([first, self.virual_tracks.expand(b, -1, s, -1)], 1)  # [b,n+v,s,hidden]
        for level in range(len(self.time_blocks)):
            tokens = self.time_blocks[level](tokens.flatten(0, 1)).view_as(tokens)
            by_photo = self._space(level, tokens.transpose(1, 2).flatten(0, 1), n)  # [b*s,n+v,hidden]
            tokens = torch.unflatten(by_photo, 0, (b, s)).transpose(1, 2)
        delta: Tensor = self.flow_head(self.output_norm(tokens[:, :n] + first))
        return delta

    def _space(self, level: int, tokens: Tensor, n: int) -> Tensor:
        """Let the tracks of each photo see each other, ``[b*s,n+v,hidden]``."""
        points, virtual = tokens[:, :n], tokens[:, n:]
        virtual = self.space_virtual2point_blocks[level](virtual, points)
        virtual = self.space_virtual_blocks[level](virtual)
        points = self.space_point2virtual_blocks[level](points, virtual)
        return torch.cat([points, virtual], 1)


def _stack(options: TrackOptions, *, cross: bool) -> nn.ModuleList:
    return nn.ModuleList(NormedBlock(options.hidden, options.n_heads, cross=cross) for _ in range(options.depth))

"""The FlatFormer encoder: attention inside equal-size groups of sorted pillars (arXiv 2301.08739).

Module names are those of the released code, so that its weights load strictly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from jaxtyping import Float, Integer
from torch import Tensor, nn

from recon3d.core.linear import linear
from recon3d.pointcloud.flatformer.options import EncoderOptions
from recon3d.pointcloud.flatformer.windows import LAYER_ORDERS, LayerOrder, layer_orders

_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"gelu": F.gelu, "relu": F.relu}
_TWO_PI = 2 * 3.1415  # the constant of the released code


def position_embedding(xy: Integer[Tensor, "n 2"], options: EncoderOptions) -> Float[Tensor, "n c"]:
    """Return sines and cosines of the cells, first of x, then of y, in float32; no parameters.

    Args:
        xy: cells along x and y.
        options: of the encoder.
    """
    half = 2 * (options.channels // 4)
    divisor = options.temperature ** (2 * (torch.arange(half, device=xy.device) // 2).float() / half)
    place = xy.float()
    if options.normalised_positions:
        place = place / place.new_tensor(options.cells) * _TWO_PI
    angle = (place[:, :, None] / divisor).view(-1, 2, half // 2, 2)  # [n, axis, pair, 2]
    waves = torch.stack([angle[..., 0].sin(), angle[..., 1].cos()], -1).flatten(1)
    return F.pad(waves, (0, options.channels - 2 * half))


class GroupAttention(nn.Module):
    """Multi-head attention of the tokens of each group, without a mask.

    Args:
        channels: of a token.
        heads: of the attention.
    """

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.attn = nn.MultiheadAttention(channels, heads, batch_first=True)  # keeps the parameters by their names

    def forward(
        self, x: Float[Tensor, "n c"], position: Float[Tensor, "n c"], order: LayerOrder
    ) -> Float[Tensor, "n c"]:
        """Return what the tokens gather from their groups.

        Args:
            x: features of the pillars.
            position: their embedding, for queries and keys only.
            order: the groups.
        """
        weight, bias, split = self.attn.in_proj_weight, self.attn.in_proj_bias, [2 * x.shape[1], x.shape[1]]
        (qk_weight, v_weight), (qk_bias, v_bias) = torch.split(weight, split), torch.split(bias, split)
        qk = linear(x + position, qk_weight, qk_bias)  # [n, 2 c]
        qkv = torch.cat([qk, linear(x, v_weight, v_bias)], 1)  # [n, 3 c]
        slots = qkv.index_select(0, order.slots)  # indexing with [] would take seven times as long
        together = torch.cat([self._attended(one, size) for one, size in _runs(slots, order.runs)])
        return linear(together.index_select(0, order.back), self.attn.out_proj.weight, self.attn.out_proj.bias)

    def _attended(self, qkv: Tensor, size: int) -> Tensor:
        groups = qkv.view(-1, size, 3, self.attn.num_heads, self.attn.head_dim)  # [groups, size, 3, heads, dim]
        q, k, v = groups.permute(2, 0, 3, 1, 4)  # [groups, heads, size, dim]
        if qkv.device.type == "cpu" and qkv.dtype == torch.bfloat16:  # whose backward takes ten times as long there
            with torch.autocast("cpu", enabled=False):
                out = F.scaled_dot_product_attention(q.float(), k.float(), v.float()).to(qkv.dtype)
        else:
            out = F.scaled_dot_product_attention(q, k, v)
        return out.transpose(1, 2).reshape(len(qkv), -1)  # [groups * size, c]


def _runs(slots: Tensor, runs: tuple[tuple[int, int], ...]) -> Iterator[tuple[Tensor, int]]:
    parts = torch.split(slots, [count * size for count, size in runs])
    return zip(parts, (size for _, size in runs), strict=True)


class GroupLayer(nn.Module):
    """Attention and feed-forward part, each added and then normalised.

    Args:
        options: of the encoder.
    """

    def __init__(self, options: EncoderOptions) -> None:
        super().__init__()
        c = options.channels
        self.attn = GroupAttention(c, options.heads)
        self.fc1, self.fc2 = nn.Linear(c, 2 * c), nn.Linear(2 * c, c)
        self.norm1, self.norm2 = nn.LayerNorm(c), nn.LayerNorm(c)
        self._activation = _ACTIVATIONS[options.activation]

    def forward(
        self, x: Float[Tensor, "n c"], position: Float[Tensor, "n c"], order: LayerOrder
    ) -> Float[Tensor, "n c"]:
        """Return new features of the pillars; arguments as in :class:`GroupAttention`."""
        x = self.norm1(x + self.attn(x, position, order))
        wide = self._activation(linear(x, self.fc1.weight, self.fc1.bias))
        out: Tensor = self.norm2(x + linear(wide, self.fc2.weight, self.fc2.bias))
        return out


class GroupBlock(nn.Module):
    """Four layers: sorted along x, along x with shifted windows, along y, along y with shifted windows.

    Args:
        options: of the encoder.
    """

    def __init__(self, options: EncoderOptions) -> None:
        super().__init__()
        self.block = nn.ModuleList([GroupLayer(options) for _ in LAYER_ORDERS])


class FlatFormerEncoder(nn.Module):
    """Features of pillars from their own and those of the pillars around.

    Args:
        options: sizes.
    """

    def __init__(self, options: EncoderOptions) -> None:
        super().__init__()
        self.options = options
        self.block_list = nn.ModuleList([GroupBlock(options) for _ in range(options.blocks)])
        for parameter in self.parameters():
            if parameter.ndim > 1:
                nn.init.xavier_uniform_(parameter)

    def forward(
        self, coords: Integer[Tensor, "n 4"], features: Float[Tensor, "n c"], batch_size: int
    ) -> Float[Tensor, "n c"]:
        """Return new features, row by row; differentiable in the features and parameters.

        Args:
            coords: sample, z, y and x cell of every pillar, in any order, no cell twice.
            features: of the pillars.
            batch_size: samples, the empty ones included; they do not see each other.
        """
        out = features
        for layer_out in self.layer_outputs(coords, features, batch_size):
            out = layer_out
        return out

    def layer_outputs(
        self, coords: Integer[Tensor, "n 4"], features: Float[Tensor, "n c"], batch_size: int
    ) -> Iterator[Float[Tensor, "n c"]]:
        """Yield the features after every layer; arguments as in :meth:`forward`, nothing for no pillars."""
        if not len(coords):
            return
        orders = layer_orders(coords, batch_size, self.options)
        position = position_embedding(coords[:, [3, 2]], self.options).to(features.dtype)
        for block in self.block_list:
            for layer, order in zip(block.block, orders.values(), strict=True):  # type: ignore[arg-type]
                features = layer(features, position, order)
                yield features

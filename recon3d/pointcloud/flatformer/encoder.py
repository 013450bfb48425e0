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
_CHUNK = 4608  # slots, 32 groups of 144
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

    def forward(self, x: Float[Tensor, "s c"], position: Float[Tensor, "s c"], size: int) -> Float[Tensor, "s c"]:
        """Return what the tokens gather from their groups.

        Args:
            x: features of the tokens, group after group.
            position: their embedding, for queries and keys only.
            size: tokens of a group.
        """
        weight, bias, split = self.attn.in_proj_weight, self.attn.in_proj_bias, [2 * x.shape[1], x.shape[1]]
        (qk_weight, v_weight), (qk_bias, v_bias) = torch.split(weight, split), torch.split(bias, split)
        heads = (-1, size, self.attn.num_heads, self.attn.head_dim)
        q, k = torch.chunk(linear(x + position, qk_weight, qk_bias), 2, dim=1)  # [s, c]
        parts = [part.reshape(heads).transpose(1, 2) for part in (q, k, linear(x, v_weight, v_bias))]
        out = _attention(*parts).transpose(1, 2).reshape(len(x), -1)  # [s, c]
        return linear(out, self.attn.out_proj.weight, self.attn.out_proj.bias)


def _attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention of [groups, heads, size, dim]."""
    if q.device.type == "cpu" and q.dtype == torch.bfloat16:  # whose backward takes ten times as long there
        with torch.autocast("cpu", enabled=False):
            return F.scaled_dot_product_attention(q.float(), k.float(), v.float()).to(q.dtype)
    return F.scaled_dot_product_attention(q, k, v)


def _chunks(runs: tuple[tuple[int, int], ...], *, whole: bool) -> Iterator[tuple[slice, int]]:
    """Yield slots and their group's size: of whole runs, or of some groups that fit a core's cache."""
    start = 0
    for count, size in runs:
        step = count * size if whole else max(1, _CHUNK // size) * size
        end = start + count * size
        for first in range(start, end, step):
            yield slice(first, min(end, first + step)), size
        start = end


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
        """Return new features of the pillars.

        Without gradients on a CPU some groups pass the whole layer before the next: what they need stays in the cache,
        and the system need not hand out fresh pages, which took a third of the time.

        Args:
            x: features of the pillars.
            position: their embedding.
            order: the groups.
        """
        if torch.is_grad_enabled() or x.device.type != "cpu":
            parts = [
                self._tokens(x, position, order.slots[rows], size) for rows, size in _chunks(order.runs, whole=True)
            ]
            return torch.cat(parts).index_select(0, order.back)
        out = torch.empty_like(x)
        for rows, size in _chunks(order.runs, whole=False):
            slots, kept = order.slots[rows], order.kept[rows]
            found = self._tokens(x, position, slots, size).to(out.dtype)
            out.index_copy_(0, slots[kept], found if bool(kept.all()) else found[kept])
        return out

    def _tokens(self, x: Tensor, position: Tensor, slots: Tensor, size: int) -> Tensor:
        """The layer for the tokens of some groups; index_select takes a seventh of the time of ``x[slots]``."""
        x, position = x.index_select(0, slots), position.index_select(0, slots)
        x = self.norm1(x + self.attn(x, position, size))
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

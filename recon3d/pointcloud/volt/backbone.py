"""Volt: a plain transformer over patches of voxels (Yilmaz et al. 2026, arXiv 2604.19609), under its official names."""

from __future__ import annotations

import torch
from jaxtyping import Complex, Float
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from recon3d.core.errors import ShapeError
from recon3d.pointcloud.volt.batch import VoxelBatch
from recon3d.pointcloud.volt.options import VoltOptions
from recon3d.pointcloud.volt.rope import rope_rotated, rope_rotations
from recon3d.pointcloud.volt.schedule import drop_path_rates
from recon3d.pointcloud.volt.tokens import Tokens, patch_features, tokenised

_STD = 0.02


class DropPath(nn.Module):
    """Drop the branch of whole tokens in training, and scale what is left so that the mean stays.

    Args:
        rate: probability.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate, self.generator = rate, torch.Generator()

    def forward(self, x: Float[Tensor, "t d"]) -> Float[Tensor, "t d"]:
        """Return ``x`` itself outside training."""
        if not self.training or self.rate == 0:
            return x
        kept = torch.rand((len(x), 1), generator=self.generator) >= self.rate
        return x * (kept.to(x.device, x.dtype) / (1 - self.rate))


class LayerScale(nn.Module):
    """One gain per channel.

    Args:
        dim: channels.
        value: of all gains at the start.
    """

    def __init__(self, dim: int, value: float) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((dim,), value))

    def forward(self, x: Float[Tensor, "t d"]) -> Float[Tensor, "t d"]:
        """Scale the channels."""
        return x * self.gamma


class VoltAttention(nn.Module):
    """Self-attention of all tokens of each sequence, none padded and none masked.

    Args:
        options: of the backbone.
    """

    def __init__(self, options: VoltOptions) -> None:
        super().__init__()
        self.heads, self.head_dim = options.heads, options.head_dim
        self.qkv = nn.Linear(options.dim, 3 * options.dim)
        self.q_norm: nn.Module = nn.LayerNorm(self.head_dim, eps=1e-5) if options.qk_norm else nn.Identity()
        self.k_norm: nn.Module = nn.LayerNorm(self.head_dim, eps=1e-5) if options.qk_norm else nn.Identity()
        self.proj = nn.Linear(options.dim, options.dim)

    def forward(
        self, x: Float[Tensor, "t d"], rotation: Complex[Tensor, "t 1 pairs"], lengths: tuple[int, ...]
    ) -> Float[Tensor, "t d"]:
        """Mix the tokens of each sequence.

        Args:
            x: tokens, sequence after sequence.
            rotation: of their queries and keys.
            lengths: tokens of each sequence.
        """
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, self.head_dim)).unbind(1)  # [t,heads,64] each
        q, k = rope_rotated(self.q_norm(q), rotation).to(v.dtype), rope_rotated(self.k_norm(k), rotation).to(v.dtype)
        parts = zip(*(torch.split(one, list(lengths)) for one in (q, k, v)), strict=True)
        mixed = [_attended(*part) for part in parts if len(part[0])]
        out: Tensor = self.proj(torch.cat(mixed) if len(mixed) != 1 else mixed[0]) if mixed else x
        return out


def _attended(
    q: Float[Tensor, "t heads d"], k: Float[Tensor, "t heads d"], v: Float[Tensor, "t heads d"]
) -> Float[Tensor, "t d_all"]:
    """One sequence as a batch of one: the layout that the fused kernels of CPU and GPU take without a copy."""
    q, k, v = (one.transpose(0, 1)[None] for one in (q, k, v))
    return scaled_dot_product_attention(q, k, v)[0].transpose(0, 1).flatten(1)


class VoltMlp(nn.Module):
    """Two linear layers with a GELU between them.

    Args:
        dim: channels of a token.
        hidden: channels between the layers.
    """

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1, self.act, self.fc2 = nn.Linear(dim, hidden), nn.GELU(), nn.Linear(hidden, dim)

    def forward(self, x: Float[Tensor, "t d"]) -> Float[Tensor, "t d"]:
        """Change each token by itself."""
        out: Tensor = self.fc2(self.act(self.fc1(x)))
        return out


class VoltBlock(nn.Module):
    """Attention and MLP, each on normalised tokens and added to them.

    Args:
        options: of the backbone.
        drop_path: probability that a token keeps what it was.
    """

    def __init__(self, options: VoltOptions, drop_path: float) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(options.dim, eps=1e-5), nn.LayerNorm(options.dim, eps=1e-5)
        self.attn = VoltAttention(options)
        self.mlp = VoltMlp(options.dim, int(options.dim * options.mlp_ratio))
        value = options.layer_scale
        self.ls1: nn.Module = nn.Identity() if value is None else LayerScale(options.dim, value)
        self.ls2: nn.Module = nn.Identity() if value is None else LayerScale(options.dim, value)
        self.drop_path = DropPath(drop_path)

    def forward(
        self, x: Float[Tensor, "t d"], rotation: Complex[Tensor, "t 1 pairs"], lengths: tuple[int, ...]
    ) -> Float[Tensor, "t d"]:
        """Return the tokens after this block; the arguments are those of :class:`VoltAttention`."""
        x = x + self.drop_path(self.ls1(self.attn(self.norm1(x), rotation, lengths)))
        out: Tensor = x + self.drop_path(self.ls2(self.mlp(self.norm2(x))))
        return out


class PatchEmbedding(nn.Module):
    """One linear layer from the voxels of a patch to its token.

    Args:
        options: of the backbone.
    """

    def __init__(self, options: VoltOptions) -> None:
        super().__init__()
        self.proj = nn.Linear(options.patch_size**3 * options.in_channels, options.dim)

    def forward(self, features: Float[Tensor, "m c"], tokens: Tokens) -> Float[Tensor, "t d"]:
        """Return one token per patch."""
        out: Tensor = self.proj(patch_features(features, tokens))
        return out


class Unembedding(nn.Module):
    """The transposed convolution of a patch, evaluated at the voxels that exist.

    Args:
        up_dim: channels U of the tokens and of the voxels.
        patch_size: voxels K along an edge of a patch.
    """

    def __init__(self, up_dim: int, patch_size: int) -> None:
        super().__init__()
        self.proj = nn.Linear(up_dim, patch_size**3 * up_dim, bias=False)
        self.bias = nn.Parameter(torch.zeros(up_dim))

    def forward(self, x: Float[Tensor, "t u"], tokens: Tokens) -> Float[Tensor, "m u"]:
        """Return the features of every voxel; the cost grows with the voxels, not with the slots of their patches."""
        weights = self.proj.weight.view(-1, x.shape[1], x.shape[1]).unbind(0)  # K^3 of [u,u]
        order = torch.argsort(tokens.slot, stable=True)
        counts = torch.bincount(tokens.slot, minlength=len(weights)).tolist()
        grouped = torch.split(x.index_select(0, tokens.inverse[order]), counts)
        rows = [part @ weight.mT for part, weight in zip(grouped, weights, strict=True) if len(part)]
        if not rows:
            return x.new_zeros(0, x.shape[1])
        return torch.cat(rows).index_select(0, torch.argsort(order)) + self.bias


class VoltDecoder(nn.Module):
    """From tokens back to voxels: one narrow layer, then :class:`Unembedding`.

    Args:
        options: of the backbone.
    """

    def __init__(self, options: VoltOptions) -> None:
        super().__init__()
        up = options.up_dim
        self.pre = nn.Sequential(
            _batch_norm(options.dim), nn.GELU(), nn.Linear(options.dim, up, bias=False), _batch_norm(up), nn.GELU()
        )
        self.unembed = Unembedding(up, options.patch_size)
        self.post = nn.Sequential(_batch_norm(up), nn.GELU())

    def forward(self, x: Float[Tensor, "t d"], tokens: Tokens) -> Float[Tensor, "m u"]:
        """Return the features of every voxel."""
        out: Tensor = self.post(self.unembed(self.pre(x), tokens))
        return out


def _batch_norm(channels: int) -> nn.BatchNorm1d:
    return nn.BatchNorm1d(channels, eps=1e-3, momentum=0.01)


class Volt(nn.Module):
    """The backbone: voxels to patches, a transformer over all patches of a scene, and back to voxels.

    Args:
        options: sizes.
    """

    def __init__(self, options: VoltOptions) -> None:
        super().__init__()
        self.options = options
        self.tokenizer = PatchEmbedding(options)
        rates = drop_path_rates(options.drop_path, options.depth)
        self.blocks = nn.ModuleList(VoltBlock(options, rate) for rate in rates)
        self.decoder = VoltDecoder(options)

    def initialise(self, seed: int) -> None:
        """Draw all linear weights from a normal of deviation 0.02, and set their biases to zero."""
        initialise_linear(self, seed)

    def seed_drop_path(self, seed: int) -> None:
        """Make the tokens that training drops depend on ``seed`` only."""
        generator = torch.Generator().manual_seed(seed)
        for one in self.modules():
            if isinstance(one, DropPath):
                one.generator = generator

    def forward(self, batch: VoxelBatch) -> Float[Tensor, "m u"]:
        """Return the features of every voxel; differentiable in the batch's features.

        Args:
            batch: voxels of one or more scenes.

        Raises:
            ShapeError: the features have another number of channels than the network.
        """
        if batch.features.shape[1] != self.options.in_channels:
            raise ShapeError(
                "the voxels have the wrong features",
                got=f"{batch.features.shape[1]} channels",
                expected=f"{self.options.in_channels} channels",
            )
        tokens = tokenised(batch.grid, batch.sequence(), len(batch.offset), self.options.patch_size)
        out: Tensor = self.decoder(self.encoded(batch.features, tokens), tokens)
        return out

    def encoded(self, features: Float[Tensor, "m c"], tokens: Tokens) -> Float[Tensor, "t d"]:
        """Return the tokens after the last block.

        Args:
            features: of each voxel, ``[m,c]``.
            tokens: their patches.
        """
        rotation = rope_rotations(tokens.index[:, 1:], self.options.split, self.options.rope_theta)[:, None]
        x: Tensor = self.tokenizer(features, tokens)
        for block in self.blocks:
            x = block(x, rotation, tokens.lengths)
        return x


def initialise_linear(model: nn.Module, seed: int) -> None:
    """Initialise every linear layer of a network as Volt does, from a seed alone."""
    generator = torch.Generator().manual_seed(seed)
    for one in model.modules():
        if isinstance(one, nn.Linear):
            nn.init.trunc_normal_(one.weight, std=_STD, a=-2.0, b=2.0, generator=generator)
            if one.bias is not None:
                nn.init.zeros_(one.bias)

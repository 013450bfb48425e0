"""Sparse linear attention, which takes the place of every attention of a network (Lite3R, arXiv 2605.11354)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from recon3d.feedforward.layers.attention import Attention
from recon3d.feedforward.layers.rope import Rope
from recon3d.feedforward.lite3r.branches import branches
from recon3d.feedforward.lite3r.options import SparseOptions

# Queries of the heads that run together: on the CPU what a third-level cache holds, and enough heads for its cores.
_NUMBERS_AT_ONCE, _NUMBERS_ON_A_GPU, _LEAST_HEADS = {"cpu": 2**21}, 2**26, 4
_INITIAL_STD = 1e-3  # a start at identity / 2 wrecks a pretrained network; this moves its outputs by about a percent


class SparseLinearAttention(Attention):
    """Attention as softmax over the most important keys plus a projected linear attention over all keys.

    O = W_o concat_heads(A_sparse + P A_linear) + b_o, with one learned d x d matrix P for all heads of the module.
    State names are those of Lite3R: ``proj_lin.weight`` and the unused ``lam`` beside those of the dense attention.

    Args:
        dim: channels C of a token.
        n_heads: heads; each has d = C / heads channels.
        qk_norm: apply a LayerNorm over the d channels of every query and key, before RoPE.
        options: what is kept.
    """

    def __init__(self, dim: int, n_heads: int, *, qk_norm: bool = False, options: SparseOptions | None = None) -> None:
        super().__init__(dim, n_heads, qk_norm=qk_norm)
        self._add(options or SparseOptions())

    @classmethod
    def of(cls, dense: Attention, options: SparseOptions) -> SparseLinearAttention:
        """Return sparse linear attention that shares the layers of a dense one; only its projections are new."""
        with torch.device("meta"):
            new = cls(dense.dim, dense.n_heads, qk_norm=dense.qk_norm, options=options)
        for name, layer in dense.named_children():
            setattr(new, name, layer)
        new._add(options)
        return new.train(dense.training)

    def _add(self, options: SparseOptions) -> None:
        self.options, like = options, self.qkv.weight
        self.lam = nn.Parameter(like.new_full((), 0.5), requires_grad=False)
        self.proj_lin = self._projection(like)
        if options.project_sparse:
            self.proj_topk = self._projection(like)
        self.draw(torch.Generator().manual_seed(0))

    def draw(self, generator: torch.Generator) -> None:
        """Draw the projections anew: noise around zero for the linear branch, around the identity for the other."""
        with torch.no_grad():
            self.proj_lin.weight.copy_(_noise(self.head_dim, generator))
            if self.options.project_sparse:
                self.proj_topk.weight.copy_(torch.eye(self.head_dim, device="cpu") + _noise(self.head_dim, generator))

    def _projection(self, like: Tensor) -> nn.Linear:
        return nn.Linear(self.head_dim, self.head_dim, bias=False, device=like.device, dtype=like.dtype)

    def forward(self, x: Float[Tensor, "b n c"], rope: Rope | None = None) -> Float[Tensor, "b n c"]:
        """Mix the tokens of each sequence; without gradients some heads at a time, so that few copies are alive.

        Args:
            x: tokens, ``[b,n,c]``.
            rope: rotations of queries and keys; None for attention that knows no positions.
        """
        limit = _NUMBERS_AT_ONCE.get(x.device.type, _NUMBERS_ON_A_GPU)
        step = max(_LEAST_HEADS, limit // max(1, x.shape[0] * x.shape[1] * self.head_dim))
        if torch.is_grad_enabled() or step >= self.n_heads:
            return super().forward(x, rope)
        heads = self.qkv(x).unflatten(-1, (3, self.n_heads, self.head_dim)).permute(2, 0, 3, 1, 4)
        out = heads.new_empty(*x.shape[:2], self.n_heads, self.head_dim)
        for first in range(0, self.n_heads, step):
            q, k, v = heads[:, :, first : first + step]
            q, k = self.q_norm(q).to(v.dtype), self.k_norm(k).to(v.dtype)
            if rope is not None:
                q, k = rope.rotate(q), rope.rotate(k)
            out[:, :, first : first + step] = self.attend(q, k, v).transpose(1, 2)
        mixed: Tensor = self.proj(out.flatten(2))
        return mixed

    def attend(
        self, q: Float[Tensor, "b heads n d"], k: Float[Tensor, "b heads m d"], v: Float[Tensor, "b heads m d"]
    ) -> Float[Tensor, "b heads n d"]:
        """Return the sum of the projected branches, ``[b,heads,n,d]``; q and k come after q/k norm and RoPE."""
        plain = type(self.proj_lin) is nn.Linear and self.options.mode != "linear_only"
        sparse, linear = branches(q, k, v, self.options, projection=self.proj_lin.weight if plain else None)
        if sparse is None:
            return linear
        if self.options.project_sparse:
            sparse = self.proj_topk(sparse)
        return sparse + (linear if plain else self.proj_lin(linear))


def _noise(n: int, generator: torch.Generator) -> Tensor:
    return _INITIAL_STD * torch.randn(n, n, generator=generator, device="cpu")

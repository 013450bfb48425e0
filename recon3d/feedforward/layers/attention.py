"""Multi-head self-attention, the one module that sparse linear attention replaces."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from recon3d.feedforward.layers.rope import Rope


class Attention(nn.Module):
    """Self-attention of a vision transformer, with optional normalised queries and keys and optional RoPE.

    A subclass, or a module that is put in its place, changes what happens between :meth:`heads` and :meth:`merge`: the
    inner step is :meth:`attend`.

    Args:
        dim: channels C of a token.
        n_heads: heads; each has d = C / heads channels.
        qk_norm: apply a LayerNorm over the d channels of every query and key, before RoPE.
    """

    def __init__(self, dim: int, n_heads: int, *, qk_norm: bool = False) -> None:
        super().__init__()
        self.dim, self.n_heads, self.head_dim, self.qk_norm = dim, n_heads, dim // n_heads, qk_norm
        self.qkv = nn.Linear(dim, 3 * dim)
        self.q_norm: nn.Module = nn.LayerNorm(self.head_dim, eps=1e-5) if qk_norm else nn.Identity()
        self.k_norm: nn.Module = nn.LayerNorm(self.head_dim, eps=1e-5) if qk_norm else nn.Identity()
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Float[Tensor, "b n c"], rope: Rope | None = None) -> Float[Tensor, "b n c"]:
        """Mix the tokens of each sequence.

        Args:
            x: tokens, ``[b,n,c]``.
            rope: rotations of queries and keys; None for attention that knows no positions.
        """
        q, k, v = self.heads(x)
        if rope is not None:
            q, k = rope.rotate(q), rope.rotate(k)
        return self.merge(self.attend(q, k, v))

    def heads(
        self, x: Float[Tensor, "b n c"]
    ) -> tuple[Float[Tensor, "b heads n d"], Float[Tensor, "b heads n d"], Float[Tensor, "b heads n d"]]:
        """Return queries, keys and values after the q/k norm and before RoPE, ``[b,heads,n,d]`` each."""
        q, k, v = self.qkv(x).unflatten(-1, (3, self.n_heads, self.head_dim)).permute(2, 0, 3, 1, 4)
        return self.q_norm(q).to(v.dtype), self.k_norm(k).to(v.dtype), v

    def attend(
        self, q: Float[Tensor, "b heads n d"], k: Float[Tensor, "b heads m d"], v: Float[Tensor, "b heads m d"]
    ) -> Float[Tensor, "b heads n d"]:
        """Softmax attention with scale ``d ** -0.5``, ``[b,heads,n,d]``; q and k come after q/k norm and RoPE."""
        return scaled_dot_product_attention(q, k, v)

    def merge(self, x: Float[Tensor, "b heads n d"]) -> Float[Tensor, "b n c"]:
        """Put the heads of each token side by side and apply the output projection."""
        out: Tensor = self.proj(x.transpose(1, 2).flatten(2))
        return out

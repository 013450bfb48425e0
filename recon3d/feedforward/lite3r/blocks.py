"""Tokens in blocks: padding, mean pooling, and the choice of the key blocks that a query block looks at."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.functional import pad


@dataclass(frozen=True)
class Blocks:
    """How a sequence is cut into blocks of equal size, the last one filled up.

    Args:
        n_tokens: length of the sequence.
        size: tokens of a block.
    """

    n_tokens: int
    size: int

    @property
    def count(self) -> int:
        """Number of blocks."""
        return -(-self.n_tokens // self.size)

    @property
    def n_padded(self) -> int:
        """Length of the sequence with its padding."""
        return self.count * self.size

    def padded(self, x: Float[Tensor, "*b n d"]) -> Float[Tensor, "*b padded d"]:
        """Append zero vectors up to a whole number of blocks."""
        return x if self.n_padded == self.n_tokens else pad(x, (0, 0, 0, self.n_padded - self.n_tokens))

    def split(self, x: Float[Tensor, "*b n d"]) -> Float[Tensor, "*b blocks size d"]:
        """Cut into blocks."""
        return self.padded(x).reshape(*x.shape[:-2], self.count, self.size, x.shape[-1])

    def join(self, x: Float[Tensor, "*b blocks size d"]) -> Float[Tensor, "*b n d"]:
        """Undo :meth:`split`."""
        return x.flatten(-3, -2)[..., : self.n_tokens, :]

    def means(self, x: Float[Tensor, "*b n d"]) -> Float[Tensor, "*b blocks d"]:
        """Return the mean vector of each block; padding does not count."""
        whole = self.n_tokens // self.size
        means = x[..., : whole * self.size, :].reshape(*x.shape[:-2], whole, self.size, x.shape[-1]).mean(-2)
        if whole == self.count:
            return means
        return torch.cat([means, x[..., whole * self.size :, :].mean(-2, keepdim=True)], -2)


def block_scores(q: Float[Tensor, "*b n d"], k: Float[Tensor, "*b m d"], size: int) -> Float[Tensor, "*b nq nk"]:
    """Return the dot products of mean queries and mean keys, which rank the key blocks of each query block."""
    mean_q, mean_k = (Blocks(x.shape[-2], size).means(x.detach()) for x in (q, k))
    return mean_q @ mean_k.mT


def choose_blocks(
    q: Float[Tensor, "*b n d"], k: Float[Tensor, "*b m d"], size: int, n_kept: int
) -> Int64[Tensor, "*b nq kept"]:
    """Return the ``n_kept`` best key blocks of each query block, in ascending order.

    Args:
        q: queries after q/k norm and RoPE, ``[*b,n,d]``.
        k: keys likewise, ``[*b,m,d]``.
        size: tokens of a block.
        n_kept: key blocks of each query block.
    """
    return block_scores(q, k, size).topk(n_kept, dim=-1).indices.sort(-1).values

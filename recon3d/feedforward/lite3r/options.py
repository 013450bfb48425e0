"""What sparse linear attention keeps, and how its parts are joined."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from recon3d.core.errors import UsageError

Mode = Literal["block", "topk", "threeway", "linear_only", "dense_plus_linear"]
Padding = Literal["masked", "literal"]
Backend = Literal["auto", "numba", "flex", "torch"]


@dataclass(frozen=True)
class SparseOptions:
    """Options of :class:`SparseLinearAttention`.

    Args:
        mode: ``block`` keeps whole blocks of keys for each block of queries, the fast one; ``topk`` keeps single keys
            for each query, as Lite3R was trained, and is as slow as dense attention; ``threeway`` is ``block`` with
            linear attention over neither the critical nor the negligible blocks; ``dense_plus_linear`` keeps every key;
            ``linear_only`` has no softmax branch and no learned projection.
        keep: share of the keys or blocks that the softmax branch keeps; at least one is kept.
        drop: share of the blocks that ``threeway`` drops as negligible; at least one is.
        block_size: tokens of a block.
        max_blocks: most blocks that are kept; with it, time and memory grow linearly with the tokens.
        padding: what fills the last block: ``masked``, nothing sees it; ``literal``, zero vectors that take part in
            means, softmax and linear attention, as in the public code.
        project_sparse: a learned d x d projection of the softmax branch too.
        backend: of the softmax over blocks: ``numba`` (CPU), ``flex`` (FlexAttention on CUDA), ``torch`` (gathered
            blocks, everywhere), or the fastest that takes the tensors.
    """

    mode: Mode = "block"
    keep: float = 0.3
    drop: float = 0.1
    block_size: int = 64
    max_blocks: int | None = None
    padding: Padding = "masked"
    project_sparse: bool = False
    backend: Backend = "auto"

    def __post_init__(self) -> None:
        if not (0.0 < self.keep <= 1.0 and 0.0 <= self.drop < 1.0):
            raise UsageError(
                "attention keeps or drops an impossible share", got=(self.keep, self.drop), expected="0..1"
            )
        if self.block_size < 1 or (self.max_blocks is not None and self.max_blocks < 1):
            raise UsageError("blocks and their number must be positive", got=(self.block_size, self.max_blocks))

    def kept_keys(self, n_keys: int) -> int:
        """Return how many single keys a query keeps: floor(keep n), at least one."""
        return max(1, int(self.keep * n_keys))

    def kept_blocks(self, n_blocks: int) -> int:
        """Return how many blocks of keys a block of queries keeps: round(keep n), at least one, at most the limit."""
        share = int(self.keep * n_blocks) if self.mode == "threeway" else round(self.keep * n_blocks)
        return min(max(1, share), self.max_blocks or n_blocks)

    def dropped_blocks(self, n_blocks: int) -> int:
        """Return how many blocks ``threeway`` drops: floor(drop n), at least one."""
        return max(1, int(self.drop * n_blocks))

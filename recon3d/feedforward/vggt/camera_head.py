"""VGGT's camera head: cameras of all frames, refined in a few steps by a small transformer across frames."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import layer_norm, relu

from recon3d.feedforward.layers.block import Block, Mlp
from recon3d.feedforward.vggt.config import VggtOptions

_ENCODING = 9


class CameraHead(nn.Module):
    """Nine numbers per frame (see :mod:`recon3d.feedforward.pose_encoding`) from its camera token.

    Args:
        options: sizes and flags.
    """

    def __init__(self, options: VggtOptions) -> None:
        super().__init__()
        dim = 2 * options.vit.dim
        self.iterations = options.iterations
        self.trunk = nn.Sequential(
            *(Block(dim, options.camera_heads, options.block(qk_norm=False)) for _ in range(options.camera_depth))
        )
        self.token_norm = nn.LayerNorm(dim)
        self.trunk_norm = nn.LayerNorm(dim)
        self.empty_pose_tokens = nn.Parameter(torch.zeros(1, 1, _ENCODING))
        self.embed_pose = nn.Linear(_ENCODING, dim)
        self.poseLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(dim, 3 * dim))
        self.pose_branch = Mlp(dim, dim // 2, _ENCODING)

    def forward(self, tokens: Float[Tensor, "b s n c"]) -> list[Float[Tensor, "b s 9"]]:
        """Return the encodings after each refinement, the best last.

        Args:
            tokens: the last entry of the aggregator; only token 0 of each frame is read.
        """
        z = self.token_norm(tokens[:, :, 0])  # [b,s,c]
        raw: Tensor | None = None
        stages = []
        for _ in range(self.iterations):
            before = self.empty_pose_tokens.expand(*z.shape[:2], -1) if raw is None else raw.detach()
            delta = self._delta(z, before)
            raw = delta if raw is None else before + delta
            stages.append(torch.cat([raw[..., :7], relu(raw[..., 7:])], dim=-1))
        return stages

    def _delta(self, z: Tensor, raw: Tensor) -> Tensor:
        """Return what one refinement adds to the raw encodings."""
        shift, scale, gate = self.poseLN_modulation(self.embed_pose(raw)).chunk(3, dim=-1)
        y = z + gate * (layer_norm(z, z.shape[-1:], eps=1e-6) * (1 + scale) + shift)
        delta: Tensor = self.pose_branch(self.trunk_norm(self.trunk(y)))
        return delta

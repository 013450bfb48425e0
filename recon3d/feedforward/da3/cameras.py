"""Depth Anything 3's camera decoder, and its encoder for known cameras."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from recon3d.feedforward.da3.config import Da3Options
from recon3d.feedforward.layers.block import Block, BlockOptions, Mlp
from recon3d.feedforward.pose_encoding import encode_cameras, inverted

_ENCODING = 9


class CameraDecoder(nn.Module):
    """Nine numbers per view, of ``world_from_cam``, from the camera token of the last tap.

    Args:
        dim: channels of the token.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Linear(dim, dim), nn.ReLU(), nn.Linear(dim, dim), nn.ReLU())
        self.fc_t = nn.Linear(dim, 3)
        self.fc_qvec = nn.Linear(dim, 4)
        self.fc_fov = nn.Sequential(nn.Linear(dim, 2), nn.ReLU())

    def forward(self, token: Float[Tensor, "b s c"]) -> Float[Tensor, "b s 9"]:
        """Return pose encodings (see :mod:`recon3d.feedforward.pose_encoding`)."""
        x = self.backbone(token)
        return torch.cat([self.fc_t(x), self.fc_qvec(x), self.fc_fov(x)], dim=-1)


class CameraEncoder(nn.Module):
    """Tokens of known cameras, by a small transformer across views.

    Args:
        options: sizes and flags of the network.
    """

    def __init__(self, options: Da3Options) -> None:
        super().__init__()
        dim, block = options.vit.dim, BlockOptions(norm_eps=1e-5, layer_scale=0.01)
        self.trunk = nn.Sequential(*(Block(dim, options.encoder_heads, block) for _ in range(options.encoder_depth)))
        self.token_norm = nn.LayerNorm(dim)
        self.trunk_norm = nn.LayerNorm(dim)
        self.pose_branch = Mlp(_ENCODING, dim // 2, dim)

    def forward(
        self, cam_from_world: Float[Tensor, "b s 3 4"], K: Float[Tensor, "b s 3 3"], size: tuple[int, int]
    ) -> Float[Tensor, "b s c"]:
        """Return one token per view.

        Args:
            cam_from_world: poses, normalised by :func:`recon3d.feedforward.da3.known_cameras.normalised_poses`.
            K: intrinsics in pixels.
            size: height and width of the images, in pixels.
        """
        encoding = encode_cameras(inverted(cam_from_world), K, size)
        tokens: Tensor = self.trunk_norm(self.trunk(self.token_norm(self.pose_branch(encoding))))
        return tokens

"""The network in training: its first weights, its forward pass, and the precision of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from recon3d.core.errors import UsageError
from recon3d.feedforward.da3.model import Da3Prediction, DepthAnything3
from recon3d.feedforward.initialization import initialize
from recon3d.feedforward.layers.dpt import Frame
from recon3d.feedforward.lite3r.storage import has_bf16_units
from recon3d.feedforward.models import build_model
from recon3d.feedforward.pose_encoding import decode_cameras, inverted
from recon3d.feedforward.training.options import Precision
from recon3d.feedforward.training.whitening import whiten_patches

_FOV = 1.0  # radians; with a bias of zero the ReLU behind it would never learn
_FASTEST, _STRENGTH = 1.5, 0.5
_UNUSED = ("head.scratch.output_conv1_aux.", "head.scratch.output_conv2_aux.")
_USED = ("head.scratch.output_conv1_aux.3.", "head.scratch.output_conv2_aux.3.")


def new_network(name: str, seed: int, *, whitened: bool = True) -> DepthAnything3:
    """Return a network before its training: random, but its cameras look ahead with a usual field of view.

    Args:
        name: of a network that knows cameras.
        seed: of the weights.
        whitened: start with decorrelated patches.

    Raises:
        UsageError: the network is unknown, or of another kind.
    """
    with torch.device("meta"):
        model = build_model(name)
    if not isinstance(model, DepthAnything3) or not model.options.any_view:
        raise UsageError("this network cannot be trained here", got=name, fix="take recon3d-small or a da3 network")
    model.to_empty(device="cpu")
    initialize(model, seed)
    start_ahead(model)
    place_patches(model)
    match_across(model)
    if whitened:
        whiten_patches(model, seed)
    return learnable(model)


def start_ahead(model: DepthAnything3) -> None:
    """Let a network without training predict cameras and rays that look ahead, in place.

    Args:
        model: of several photos.
    """
    biases = dict(model.named_parameters())
    with torch.no_grad():
        biases["cam_dec.fc_fov.0.bias"].fill_(_FOV)
        biases["cam_dec.fc_qvec.bias"].copy_(torch.tensor([0.0, 0.0, 0.0, 1.0]))
        biases["head.scratch.output_conv2_aux.3.5.bias"][2] = 1.0


def place_patches(model: DepthAnything3) -> None:
    """Add smooth waves over the patch grid to the table of positions, in place.

    Random numbers of the usual size drown in what the patches hold, and a short training never digs them out.

    Args:
        model: before its training.
    """
    vit = model.backbone.pretrained
    side, quarter = round((vit.pos_embed.shape[1] - 1) ** 0.5), vit.options.dim // 4
    frequencies = _FASTEST * 10.0 ** -(torch.arange(quarter) / max(1, quarter - 1))  # radians per patch
    angles = torch.arange(side)[:, None] * frequencies
    waves = torch.cat([angles.sin(), angles.cos()], -1)
    down, right = waves[:, None].expand(-1, side, -1), waves[None].expand(side, -1, -1)
    table = torch.cat([down, right], -1).flatten(0, 1)
    table = _STRENGTH * (table - table.mean(0)) / (table - table.mean(0)).std()
    with torch.no_grad():
        vit.pos_embed[0, 1:, : table.shape[1]] += table.to(vit.pos_embed.device)


def match_across(model: DepthAnything3) -> None:
    """Let every attention across views begin with equal queries and keys, in place: like looks at like.

    Args:
        model: of several photos.
    """
    start = model.options.alternation_start or 0
    for number, block in enumerate(model.backbone.pretrained.blocks):
        if number >= start and number % 2 == 1:
            parameters = dict(block.named_parameters())
            with torch.no_grad():
                for name in ("attn.qkv.weight", "attn.qkv.bias"):
                    queries, keys, _ = parameters[name].chunk(3)
                    keys.copy_(queries)


def learnable(model: DepthAnything3) -> DepthAnything3:
    """Let everything learn that has an influence on the answer: the rays of three coarser levels have none."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(not name.startswith(_UNUSED) or name.startswith(_USED))
    return model


class Trained(nn.Module):
    """A network whose heads run in the precision of the training too.

    Args:
        model: the network.
        dtype: of the matrix products.
    """

    def __init__(self, model: DepthAnything3, dtype: torch.dtype) -> None:
        super().__init__()
        self.model, self.dtype = model, dtype

    def forward(
        self,
        images: Float[Tensor, "b s 3 h w"],
        cam_from_world: Float[Tensor, "b s 3 4"] | None = None,
        K: Float[Tensor, "b s 3 3"] | None = None,
    ) -> Da3Prediction:
        """Reconstruct scenes whose first camera is the world.

        Args:
            images: ImageNet-normalised.
            cam_from_world: known poses, normalised, or None.
            K: known intrinsics, or None.
        """
        with _products(images.device, self.dtype):
            taps = self.model.tapped(images, cam_from_world, K, strategy="first")
            flat = [tap.flatten(0, 1) for tap in taps.patches]
            maps = self.model.head(flat, frame=Frame(*images.shape[-2:]))
            encoding = self.model.cam_dec(taps.camera[-1]).float()
        depth, confidence, rays, trust = (one.float().unflatten(0, images.shape[:2]) for one in maps)
        pose, intrinsics = decode_cameras(encoding, Frame(*images.shape[-2:]))
        return Da3Prediction(
            cam_from_world=inverted(pose),
            K=intrinsics,
            depth_z=depth,
            confidence=confidence,
            pose_encoding=encoding,
            rays=rays,
            rays_confidence=trust,
        )


@contextmanager
def _products(device: torch.device, dtype: torch.dtype) -> Iterator[None]:
    """Multiply matrices in a precision; on the CPU attention is made of plain products, whose gradients are faster."""
    kernels = (
        [SDPBackend.MATH]
        if device.type == "cpu"
        else [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]
    )
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=dtype == torch.bfloat16), sdpa_kernel(kernels):
        yield


def working_dtype(precision: Precision, device: torch.device) -> torch.dtype:
    """Return the type of the matrix products.

    Args:
        precision: as asked for.
        device: where.
    """
    if precision != "auto":
        return torch.bfloat16 if precision == "bfloat16" else torch.float32
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.get_device_capability(device) >= (8, 0) else torch.float32
    return torch.bfloat16 if device.type == "cpu" and has_bf16_units() else torch.float32

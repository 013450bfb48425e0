"""A first layer that sees patches without their correlations, so that what follows learns from all of them at once."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from recon3d.core.seeds import derive
from recon3d.feedforward.da3.model import DepthAnything3
from recon3d.feedforward.da3.preprocess import normalise
from recon3d.feedforward.scenes import SceneOptions, generate_views

_SCENES, _VIEWS, _SIZE, _STRIDE = 16, 3, 84, 5
_FLOOR = 0.01  # of the mean variance: weaker components are noise, and are not amplified further


def whiten_patches(model: DepthAnything3, seed: int) -> None:
    """Set the patch embedding to randomly rotated principal components of unit variance, in place.

    Neighbouring pixels are nearly equal: a random embedding passes on the mean colour, and almost nothing of edges.

    Args:
        model: network before its training; it has at most as many channels as a patch has values.
        seed: of the photos and of the rotation.
    """
    layer = model.backbone.pretrained.patch_embed.proj
    views = generate_views(
        derive(seed, "whitening"), _SCENES, SceneOptions(height=_SIZE, width=_SIZE, rays_per_pixel=1), n_views=_VIEWS
    )
    patches = _patches(normalise(views.images).flatten(0, 1), layer.kernel_size[0])
    mean, dim = patches.mean(0), min(layer.out_channels, patches.shape[1])
    variances, axes = torch.linalg.eigh((patches - mean).T.double() @ (patches - mean).double() / len(patches))
    variances, axes = variances.flip(0)[:dim].clamp(min=0.0), axes.flip(1)[:, :dim]
    components = (axes / (variances + _FLOOR * variances.mean()).sqrt()).T.float()
    rows = _rotation(layer.out_channels, derive(seed, "rotation"))[:, :dim] @ components
    with torch.no_grad():
        layer.weight.copy_(rows.view_as(layer.weight))
        dict(layer.named_parameters())["bias"].copy_(-(rows @ mean))


def _patches(images: Float[Tensor, "n 3 h w"], side: int) -> Float[Tensor, "p values"]:
    cut = images.unfold(2, side, _STRIDE).unfold(3, side, _STRIDE)  # [n,3,rows,cols,side,side]
    return cut.permute(0, 2, 3, 1, 4, 5).reshape(-1, 3 * side * side)


def _rotation(n: int, seed: int) -> Float[Tensor, "n n"]:
    rotation: Tensor = torch.linalg.qr(torch.randn(n, n, generator=torch.Generator().manual_seed(seed)))[0]
    return rotation

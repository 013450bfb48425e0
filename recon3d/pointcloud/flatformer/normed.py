"""A 2D convolution, its batch norm and a ReLU; in evaluation without gradients one operation and no further maps."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


def normed(
    convolution: nn.Conv2d | nn.ConvTranspose2d, norm: nn.BatchNorm2d, x: Float[Tensor, "b c ny nx"]
) -> Float[Tensor, "b d _ _"]:
    """Return ``relu(norm(convolution(x)))``.

    Large maps cost as much to write as to compute: where nobody needs gradients or statistics, the norm goes into the
    weights and the ReLU works in place.

    Args:
        convolution: without bias; a transposed one without padding.
        norm: of its result.
        x: the map before.
    """
    if torch.is_grad_enabled() or norm.training or norm.running_var is None or norm.running_mean is None:
        return torch.relu(norm(convolution(x)))
    scale = (norm.running_var + norm.eps).rsqrt() * norm.weight
    shift = norm.bias - norm.running_mean * scale
    if isinstance(convolution, nn.ConvTranspose2d):
        weight = convolution.weight * scale[:, None, None]
        return torch.relu_(F.conv_transpose2d(x, weight, shift, convolution.stride))
    weight = convolution.weight * scale[:, None, None, None]
    return torch.relu_(F.conv2d(x, weight, shift, convolution.stride, convolution.padding))


class NormedSequence(nn.Sequential):
    """Convolution, batch norm, ReLU under the names 0, 1 and 2.

    Args:
        convolution: without bias.
        norm: of its result.
    """

    def __init__(self, convolution: nn.Conv2d | nn.ConvTranspose2d, norm: nn.BatchNorm2d) -> None:
        super().__init__(convolution, norm, nn.ReLU())

    def forward(self, x: Float[Tensor, "b c ny nx"]) -> Float[Tensor, "b d _ _"]:
        """Return the new map.

        Args:
            x: the map before.
        """
        return normed(self[0], self[1], x)  # type: ignore[arg-type]

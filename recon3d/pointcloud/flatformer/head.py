"""The CenterPoint head: a heat map per class, and maps of everything else that a box has, with the official names."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from recon3d.pointcloud.flatformer.normed import normed
from recon3d.pointcloud.flatformer.options import DetectorOptions
from recon3d.pointcloud.flatformer.vfe import NORM_EPS, NORM_MOMENTUM

HeadMaps = dict[str, Float[Tensor, "b _ ny nx"]]
_RARE = -2.19  # logit of a share of 0.1, so that training does not begin with boxes everywhere


class ConvNorm(nn.Module):
    """Convolution 3x3 without bias, batch norm, ReLU.

    Args:
        dim_in: channels of the input.
        dim_out: channels of the result.
        eps: of the norm.
        momentum: of the norm.
    """

    def __init__(self, dim_in: int, dim_out: int, *, eps: float, momentum: float) -> None:
        super().__init__()
        self.conv = nn.Conv2d(dim_in, dim_out, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(dim_out, eps=eps, momentum=momentum)

    def forward(self, x: Float[Tensor, "b c ny nx"]) -> Float[Tensor, "b d ny nx"]:
        """Return the new map.

        Args:
            x: the map before.
        """
        return normed(self.conv, self.bn, x)


class CenterHead(nn.Module):
    """One task with all classes.

    Args:
        options: of the detector.
    """

    def __init__(self, options: DetectorOptions) -> None:
        super().__init__()
        shared, middle = options.shared_channels, options.branch_channels
        self.shared_conv = ConvNorm(2 * options.neck_channels, shared, eps=NORM_EPS, momentum=NORM_MOMENTUM)
        branches = branch_channels(options)
        self.task_heads = nn.ModuleList([nn.ModuleDict({n: _branch(shared, middle, k) for n, k in branches.items()})])
        nn.init.constant_(self.task_heads[0]["heatmap"][1].bias, _RARE)  # type: ignore[index]

    def forward(self, x: Float[Tensor, "b c ny nx"]) -> HeadMaps:
        """Return the maps by name.

        "heatmap" holds logits, "reg" the place of the centre in its cell (x, y), "height" its z, "dim" the logarithms
        of the sizes, "rot" sine and cosine of the angle, "vel" the velocity, "iou" the expected overlap.

        Args:
            x: the map of the neck.
        """
        shared = self.shared_conv(x)
        return {name: branch(shared) for name, branch in self.task_heads[0].items()}  # type: ignore[operator]


def branch_channels(options: DetectorOptions) -> dict[str, int]:
    """Return the channels of every map of the head, in the official order.

    Args:
        options: of the detector.
    """
    velocity = {"vel": 2} if options.velocity else {}
    return {"reg": 2, "height": 1, "dim": 3, "rot": 2, **velocity, "iou": 1, "heatmap": len(options.classes)}


def _branch(dim_in: int, middle: int, dim_out: int) -> nn.Sequential:
    # the released branches keep torch's own settings of the norm, unlike all other layers
    return nn.Sequential(ConvNorm(dim_in, middle, eps=1e-5, momentum=0.1), nn.Conv2d(middle, dim_out, 3, padding=1))

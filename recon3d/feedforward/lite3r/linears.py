"""Linear layers that compute as if their weights and inputs were stored in eight bits or less, for training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import linear

from recon3d.feedforward.lite3r.quantisation import E4M3, E5M2, Format, IntegerFormat, fake_quantise

_SILENT = 1e-5
Kind = Literal["e4m3", "e5m2", "w4a16", "w4a8"]


@dataclass(frozen=True)
class QuantOptions:
    """How linear layers are quantised during training.

    Args:
        kind: formats of weights and activations: eight-bit floats for both, or four-bit weights in groups with
            activations as they are (``w4a16``) or in eight bits (``w4a8``).
        activations: quantise activations too, where the kind says how.
        group: inputs that share a scale, in four-bit weights.
    """

    kind: Kind = "e4m3"
    activations: bool = True
    group: int = 128

    def weight_format(self) -> Format:
        """Return the format of the weights."""
        floats: dict[Kind, Format] = {"e4m3": E4M3, "e5m2": E5M2}
        return floats.get(self.kind, IntegerFormat(4, self.group))

    def input_format(self) -> Format | None:
        """Return the format of the activations; None = as they are."""
        kinds: dict[Kind, Format | None] = {"e4m3": E4M3, "e5m2": E5M2, "w4a16": None, "w4a8": IntegerFormat(8)}
        return kinds[self.kind] if self.activations else None


class FakeQuantLinear(nn.Linear):
    """A linear layer with quantised weights and inputs; y = Q(x) Q(W)^T + b, gradients pass straight through Q.

    It has the state names of the layer that it replaces, and with a smoothing factor one more, ``smooth``. While the
    weights are frozen their quantised form is kept, and made anew when they change (but for changes through ``.data``,
    which torch does not count).

    Args:
        layer: whose parameters it shares.
        options: formats.
        smooth: factor that divides the inputs and multiplies the weights, channel by channel; None = no factor.
    """

    def __init__(self, layer: nn.Linear, options: QuantOptions, smooth: Float[Tensor, " c"] | None = None) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features, self.options = layer.in_features, layer.out_features, options
        self.weight, self.bias = layer.weight, layer.bias
        if smooth is not None:
            self.register_buffer("smooth", smooth)
        self._frozen: tuple[list[tuple[int, int]], Tensor] | None = None
        self.train(layer.training)

    def forward(self, input: Float[Tensor, "*n c"]) -> Float[Tensor, "*n out"]:
        """Apply the layer to every token."""
        smooth, form = getattr(self, "smooth", None), self.options.input_format()
        x = input if smooth is None else input / smooth
        return linear(x if form is None else fake_quantise(x, form), self._weight(smooth), self.bias)

    def _weight(self, smooth: Tensor | None) -> Tensor:
        form = self.options.weight_format()
        if self.weight.requires_grad:
            return fake_quantise(self.weight if smooth is None else self.weight * smooth, form)
        used = [one for one in (self.weight, smooth) if one is not None]
        state = [(one.data_ptr(), 0 if one.is_inference() else one._version) for one in used]
        if self._frozen is None or self._frozen[0] != state:
            with torch.inference_mode(False), torch.no_grad():  # training may go on with what an evaluation made
                self._frozen = state, form.quantised(self.weight if smooth is None else self.weight * smooth)
        return self._frozen[1]


def smoothing(inputs: Float[Tensor, "*n c"], weight: Float[Tensor, "out c"], alpha: float = 0.5) -> Float[Tensor, " c"]:
    """Return max|x|^alpha / max|W|^(1 - alpha) per channel, which moves outliers of inputs into weights (SmoothQuant).

    Args:
        inputs: examples of what the layer sees; a channel that is silent in them may speak later, and gets 1.
        weight: of the layer.
        alpha: share of the outliers that the weights take.
    """
    largest = inputs.abs().flatten(0, -2).amax(0)
    found = largest.pow(alpha) / weight.detach().abs().amax(0).clamp_(min=1e-8).pow(1.0 - alpha)
    return torch.where(largest > _SILENT, found, 1.0)

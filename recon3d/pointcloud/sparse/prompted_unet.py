"""SparseUNet with a norm per data set (SpUNet-v1m3 of Point Prompt Training), and its folding into the plain one."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from recon3d.core.errors import ShapeError, UsageError
from recon3d.pointcloud.sparse.tensor import SparseTensor
from recon3d.pointcloud.sparse.unet import (
    Prompt,
    SparseUNet,
    SparseUNetOptions,
    State,
    Style,
    UNetTopology,
    bare_state,
    batch_norm,
    load_strictly,
    options_from_state,
)

CONDITIONS = ("ScanNet", "S3DIS", "Structured3D")  # in the order of the norms; that of published embeddings is another


class PromptedBatchNorm(nn.Module):
    """A batch norm per data set, then a scale and a shift that follow from the prompt of the data set.

    Args:
        channels: of the features.
        context_channels: of the prompt.
        n: number of data sets.
    """

    def __init__(self, channels: int, context_channels: int, n: int) -> None:
        super().__init__()
        self.bns = nn.ModuleList(batch_norm(channels) for _ in range(n))
        self.modulation = nn.Sequential(nn.SiLU(), nn.Linear(context_channels, 2 * channels))

    def shift_and_scale(self, context: Float[Tensor, "1 e"]) -> tuple[Float[Tensor, "1 c"], Float[Tensor, "1 c"]]:
        """Return what is added, and one less than what is multiplied.

        Args:
            context: the prompt.
        """
        shift, scale = torch.chunk(self.modulation(context), 2, dim=1)  # the shift comes first
        return shift, scale

    def forward(self, features: Float[Tensor, "n c"], prompt: Prompt) -> Float[Tensor, "n c"]:
        """Normalise.

        Args:
            features: of all voxels.
            prompt: the data set.
        """
        shift, scale = self.shift_and_scale(prompt.context)
        normal: Tensor = self.bns[prompt.condition](features)
        return normal * (1 + scale) + shift

    @torch.no_grad()
    def folded(self, prompt: Prompt) -> dict[str, Tensor]:
        """Return the state of the plain batch norm that does the same in evaluation.

        Args:
            prompt: the data set.
        """
        state = {name: one.clone() for name, one in self.bns[prompt.condition].state_dict().items()}
        shift, scale = (one[0].double() for one in self.shift_and_scale(prompt.context))
        weight, bias = state["weight"], state["bias"]
        state["weight"] = (weight * (1 + scale)).to(weight.dtype)
        state["bias"] = (bias * (1 + scale) + shift).to(bias.dtype)
        return state


class PromptedSparseUNet(UNetTopology):
    """The network with a norm per data set, SpUNet-v1m3: 43,598,272 parameters with no classes.

    Args:
        options: sizes; published ones have no classifier.
        context_channels: of the embedding of a data set.
        conditions: names of the data sets in the order of their norms.
    """

    def __init__(
        self,
        options: SparseUNetOptions | None = None,
        context_channels: int = 256,
        conditions: Sequence[str] = CONDITIONS,
    ) -> None:
        n = len(conditions)
        style = Style(
            lambda channels: PromptedBatchNorm(channels, context_channels, n), "conv", "bn", ("proj_conv", "proj_norm")
        )
        super().__init__(options or SparseUNetOptions(num_classes=0), style)
        self.context_channels, self.conditions = context_channels, tuple(conditions)

    def forward(self, x: SparseTensor, condition: str, context: Float[Tensor, "1 e"]) -> Float[Tensor, "n c"]:
        """Return the last features of every voxel, or its logits.

        Args:
            x: voxels of one data set and their features.
            condition: its name.
            context: its embedding.

        Raises:
            UsageError: no norm has that name.
            ShapeError: the embedding has another size, or the voxels another number of features.
        """
        return self._classified(x, self._prompt(condition, context))

    def folded(self, condition: str, context: Float[Tensor, "1 e"]) -> SparseUNet:
        """Return the plain network that does the same for one data set in evaluation.

        Args:
            condition: its name.
            context: its embedding.

        Raises:
            UsageError: no norm has that name.
            ShapeError: the embedding has another size.
        """
        prompt = self._prompt(condition, context)
        state: dict[str, Tensor] = {}
        for name, module in self.named_modules():
            if isinstance(module, PromptedBatchNorm):
                state |= {f"{_plain_name(name)}.{part}": one for part, one in module.folded(prompt).items()}
            elif ".bns" not in name and ".modulation" not in name:
                own = module._parameters.items()
                state |= {f"{_plain_name(name)}.{part}": one for part, one in own if one is not None}
        plain = SparseUNet(self.options).to(self.conv_input.get_parameter("conv.weight"))
        load_strictly(plain, state)
        return plain.train(self.training)

    def _prompt(self, condition: str, context: Tensor) -> Prompt:
        if condition not in self.conditions:
            raise UsageError("an unknown data set", got=condition, expected=", ".join(self.conditions))
        if context.shape != (1, self.context_channels):
            raise ShapeError(
                "the embedding of a data set", got=tuple(context.shape), expected=(1, self.context_channels)
            )
        return Prompt(self.conditions.index(condition), context)

    @classmethod
    def from_state(cls, state: State, conditions: Sequence[str] = CONDITIONS) -> PromptedSparseUNet:
        """Return the network of a state dict, whose sizes its tensors tell.

        Args:
            state: weights under official names; prefixes ``module.`` and ``backbone.`` are dropped.
            conditions: names of the data sets in the order of their norms.

        Raises:
            FormatError: names or shapes are not those of such a network.
        """
        bare = bare_state(state)
        modulation = bare.get("conv_input.bn.modulation.1.weight", torch.empty(0, 0))
        net = cls(options_from_state(bare, "conv"), modulation.shape[1], conditions)
        load_strictly(net, bare)
        return net


def _plain_name(name: str) -> str:
    """Return the name of a module in the plain network."""
    stem, _, last = name.rpartition(".")
    own = {"conv": "0", "bn": "1", "proj_conv": "proj.0", "proj_norm": "proj.1"}.get(last, last)
    return f"{stem}.{own}" if stem else own

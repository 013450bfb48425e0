"""SparseUNet (SpUNet-v1m1): a residual U-Net of sparse convolutions, with the names and weights of Pointcept.

Shapes below are for the published sizes; ``n_s`` are the occupied voxels after s halvings of the resolution.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn

from recon3d.core.errors import FormatError, ShapeError, UsageError
from recon3d.pointcloud.sparse.layers import SparseConv3d, SparseInverseConv3d, SparseLayer, SubMConv3d
from recon3d.pointcloud.sparse.tensor import SparseTensor

State = Mapping[str, Shaped[Tensor, "..."]]
_MARGIN = 96  # empty voxels behind the last, so that halving an odd size drops none


@dataclass(frozen=True)
class SparseUNetOptions:
    """Sizes of a SparseUNet; the defaults are the published ones.

    Args:
        in_channels: features of a voxel.
        num_classes: logits of a voxel; 0 = return the last features.
        base_channels: features after the stem.
        channels: of each stage on the way down, then on the way up.
        layers: blocks of each stage, in the same order.

    Raises:
        UsageError: channels and layers do not make as many stages down as up.
    """

    in_channels: int = 6
    num_classes: int = 20
    base_channels: int = 32
    channels: tuple[int, ...] = (32, 64, 128, 256, 256, 128, 96, 96)
    layers: tuple[int, ...] = (2, 3, 4, 6, 2, 2, 2, 2)

    def __post_init__(self) -> None:
        if len(self.channels) % 2 or len(self.channels) != len(self.layers) or not self.channels:
            got = f"{len(self.channels)} channels, {len(self.layers)} layers"
            raise UsageError("a SparseUNet has as many stages down as up", got=got, expected="an even number, equal")

    @property
    def stages(self) -> int:
        """How often the resolution is halved."""
        return len(self.channels) // 2

    def down(self, stage: int) -> tuple[int, int]:
        """Return channels before and after a stage on the way down; stage 0 is the finest."""
        return (self.channels[stage - 1] if stage else self.base_channels), self.channels[stage]

    def up(self, stage: int) -> tuple[int, int, int]:
        """Return channels before a stage on the way up, after it, and of the skip that joins it."""
        last = len(self.channels) - 1
        return self.channels[last - stage - 1], self.channels[last - stage], self.down(stage)[0]


def voxel_tensor(
    grid: Int[Tensor, "n 3"], features: Float[Tensor, "n c"], offset: Int[Tensor, " scenes"]
) -> SparseTensor:
    """Return scenes of voxels, one after another, as the sparse tensor that a SparseUNet takes.

    Args:
        grid: voxel indices, not negative.
        features: of each voxel.
        offset: row after the last of each scene.

    Raises:
        ShapeError: the last scene does not end with the last row.
        InputError: two rows of a scene hold one voxel, or an index is negative.
    """
    ends = [int(end) for end in offset]
    counts = torch.tensor([end - start for start, end in zip([0, *ends], ends, strict=False)], dtype=torch.int64)
    if (ends[-1] if ends else 0) != len(grid) or (counts < 0).any():
        raise ShapeError("offsets of scenes of voxels", got=ends, expected=f"rising, the last of them {len(grid)}")
    batch = torch.repeat_interleave(torch.arange(len(ends)), counts).to(grid)
    indices = torch.cat([batch[:, None], grid], dim=1).int()
    top = grid.amax(dim=0).tolist() if len(grid) else [0, 0, 0]
    shape = (int(top[0]) + _MARGIN, int(top[1]) + _MARGIN, int(top[2]) + _MARGIN)
    return SparseTensor(indices, features, shape, len(ends))


@dataclass(frozen=True, eq=False)
class Prompt:
    """What a network with norms per data set is told beside the voxels.

    Args:
        condition: number of the data set.
        context: its embedding, ``[1, e]``.
    """

    condition: int
    context: Float[Tensor, "1 e"]


@dataclass(frozen=True)
class Style:
    """What tells the two published versions apart: their norms, and the names of a convolution and its norm.

    Args:
        norm: makes the norm of so many channels.
        conv: name of a convolution in a unit.
        bn: name of its norm.
        project: name of a block's projection and of its norm, as paths.
    """

    norm: Callable[[int], nn.Module]
    conv: str
    bn: str
    project: tuple[str, str]


def batch_norm(channels: int) -> nn.BatchNorm1d:
    """Return the batch norm of all published networks.

    Args:
        channels: of the features.
    """
    return nn.BatchNorm1d(channels, eps=1e-3, momentum=0.01)


PLAIN = Style(batch_norm, "0", "1", ("proj.0", "proj.1"))


def _normal(norm: nn.Module, features: Tensor, prompt: Prompt | None) -> Tensor:
    found: Tensor = norm(features) if prompt is None else norm(features, prompt)
    return found


class ConvNorm(SparseLayer):
    """A convolution, a norm and a ReLU.

    Args:
        conv: the convolution.
        style: of the network.
    """

    def __init__(self, conv: SubMConv3d | SparseConv3d | SparseInverseConv3d, style: Style) -> None:
        super().__init__()
        self._names = style.conv, style.bn
        self.add_module(style.conv, conv)
        self.add_module(style.bn, style.norm(conv.out_channels))

    def forward(self, x: SparseTensor, prompt: Prompt | None = None) -> SparseTensor:
        """Apply the three.

        Args:
            x: any sparse tensor with the convolution's channels.
            prompt: for norms per data set.
        """
        conv, norm = (self.get_submodule(name) for name in self._names)
        x = conv(x)
        return x.with_features(torch.relu_(_normal(norm, x.features, prompt)))


class BasicBlock(SparseLayer):
    """Two 3x3x3 convolutions on the same voxels, and the input added; projected where its channels differ.

    Args:
        channels: of the input and of the output.
        key: of the rulebook.
        style: of the network.
    """

    def __init__(self, channels: tuple[int, int], key: str, style: Style) -> None:
        super().__init__()
        before, after = channels
        self._project: tuple[str, str] | None = None
        if before != after:
            self._project = style.project
            outer = nn.Sequential() if "." in style.project[0] else self
            if outer is not self:
                self.add_module(style.project[0].split(".")[0], outer)
            outer.add_module(style.project[0].split(".")[-1], SubMConv3d(before, after, 1, bias=False))
            outer.add_module(style.project[1].split(".")[-1], style.norm(after))
        self.conv1 = SubMConv3d(before, after, 3, bias=False, indice_key=key)
        self.bn1 = style.norm(after)
        self.conv2 = SubMConv3d(after, after, 3, bias=False, indice_key=key)
        self.bn2 = style.norm(after)

    def forward(self, x: SparseTensor, prompt: Prompt | None = None) -> SparseTensor:
        """Apply the block.

        Args:
            x: features ``[n, before]``.
            prompt: for norms per data set.
        """
        y: SparseTensor = self.conv1(x)
        y = self.conv2(y.with_features(torch.relu_(_normal(self.bn1, y.features, prompt))))
        skip = x.features
        if self._project is not None:
            conv, norm = (self.get_submodule(name) for name in self._project)
            skip = _normal(norm, conv(x).features, prompt)
        return y.with_features(torch.relu_(_normal(self.bn2, y.features, prompt).add_(skip)))


class UNetTopology(nn.Module):
    """Stem, stages down, stages up with skips, and the classifier, for both published versions.

    Args:
        options: sizes.
        style: norms and names.
    """

    def __init__(self, options: SparseUNetOptions, style: Style) -> None:
        super().__init__()
        self.options = options
        base, n = options.base_channels, options.stages
        self.conv_input = ConvNorm(SubMConv3d(options.in_channels, base, 5, bias=False, indice_key="stem"), style)
        self.down, self.up, self.enc, self.dec = (nn.ModuleList() for _ in range(4))
        for s in range(n):
            before, after = options.down(s)
            down = SparseConv3d(before, after, 2, 2, bias=False, indice_key=f"spconv{s + 1}")
            self.down.append(ConvNorm(down, style))
            self.enc.append(_blocks(after, after, options.layers[s], f"subm{s + 1}", style))
            before, after, skip = options.up(s)
            up = SparseInverseConv3d(before, after, 2, f"spconv{s + 1}", bias=False)
            self.up.append(ConvNorm(up, style))
            self.dec.append(_blocks(after + skip, after, options.layers[2 * n - 1 - s], f"subm{s}", style))
        classes = options.num_classes
        self.final = SubMConv3d(options.channels[-1], classes, 1) if classes else nn.Identity()
        for layer in self.modules():
            if isinstance(layer, SubMConv3d):
                nn.init.trunc_normal_(layer.weight, std=0.02)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)

    def steps(self, x: SparseTensor, prompt: Prompt | None = None) -> Iterator[tuple[str, SparseTensor]]:
        """Yield the name and the result of every stage in the order of computation.

        Args:
            x: voxels and their features.
            prompt: for norms per data set.
        """
        x = self.conv_input(x, prompt)  # [n_0, 32]
        yield "conv_input", x
        skips = []
        for s in range(self.options.stages):
            skips.append(x)
            x = self.down[s](x, prompt)  # [n_{s+1}, 32 | 64 | 128 | 256]
            yield f"down.{s}", x
            x = _chained(self.enc[s], x, prompt)
            yield f"enc.{s}", x
        for s in reversed(range(self.options.stages)):
            x = self.up[s](x, prompt)  # [n_s, 256 | 128 | 96 | 96]
            yield f"up.{s}", x
            joined = x.with_features(torch.cat([x.features, skips.pop().features], dim=1))
            x = _chained(self.dec[s], joined, prompt)
            yield f"dec.{s}", x

    def _classified(self, x: SparseTensor, prompt: Prompt | None = None) -> Float[Tensor, "n c"]:
        for _, last in self.steps(x, prompt):
            y = last
        return y.features if isinstance(self.final, nn.Identity) else self.final(y).features


def _chained(blocks: Any, x: SparseTensor, prompt: Prompt | None) -> SparseTensor:
    for block in blocks:
        x = block(x, prompt)
    return x


def _blocks(before: int, after: int, n: int, key: str, style: Style) -> nn.Sequential:
    found = nn.Sequential()
    for i in range(n):
        found.add_module(f"block{i}", BasicBlock((before if i == 0 else after, after), key, style))
    return found


class SparseUNet(UNetTopology):
    """The plain network, SpUNet-v1m1: 39,157,844 parameters with 6 features and 20 classes.

    Args:
        options: sizes.
    """

    def __init__(self, options: SparseUNetOptions | None = None) -> None:
        super().__init__(options or SparseUNetOptions(), PLAIN)

    def forward(self, x: SparseTensor) -> Float[Tensor, "n c"]:
        """Return the logits of every voxel in the order of the rows, or with no classes the last features.

        Args:
            x: voxels and their features; :func:`voxel_tensor` makes it.

        Raises:
            ShapeError: the voxels have another number of features.
        """
        return self._classified(x)

    @classmethod
    def from_state(cls, state: State) -> SparseUNet:
        """Return the network of a state dict, whose sizes its tensors tell.

        Args:
            state: weights under official names; prefixes ``module.`` and ``backbone.`` are dropped.

        Raises:
            FormatError: names or shapes are not those of a SparseUNet.
        """
        bare = bare_state(state)
        net = cls(options_from_state(bare, PLAIN.conv))
        load_strictly(net, bare)
        return net


def bare_state(state: State) -> dict[str, Shaped[Tensor, "..."]]:
    """Return a backbone's weights without the prefixes of the training code, and without what is not the backbone's.

    Args:
        state: a state dict as published.
    """
    bare = dict(state)
    for prefix in ("module.", "backbone.", "backbone."):
        if any(name.startswith(prefix) for name in bare):
            bare = {name[len(prefix) :]: one for name, one in bare.items() if name.startswith(prefix)}
    return bare


def options_from_state(state: State, conv: str) -> SparseUNetOptions:
    """Return the sizes that the tensors of a state dict tell.

    Args:
        state: without prefixes.
        conv: name of a convolution in a unit.

    Raises:
        FormatError: a tensor is missing.
    """
    try:
        stem = state[f"conv_input.{conv}.weight"]
        n = 1 + max(int(name.split(".")[1]) for name in state if name.startswith("down."))
        stages = [f"down.{s}" for s in range(n)] + [f"up.{s}" for s in reversed(range(n))]
        channels = tuple(len(state[f"{stage}.{conv}.weight"]) for stage in stages)
    except (KeyError, ValueError, IndexError) as error:
        raise FormatError("these are not the weights of a SparseUNet", got=f"{len(state)} tensors") from error
    ends = [f"enc.{s}." for s in range(n)] + [f"dec.{s}." for s in reversed(range(n))]
    layers = tuple(len({name.split(".")[2] for name in state if name.startswith(one)}) for one in ends)
    classes = len(state["final.weight"]) if "final.weight" in state else 0
    return SparseUNetOptions(stem.shape[-1], classes, len(stem), channels, layers)


def load_strictly(net: nn.Module, state: State) -> None:
    """Load weights; every name and shape must fit.

    Args:
        net: the network.
        state: without prefixes.

    Raises:
        FormatError: they do not fit; the text names the first that do not.
    """
    try:
        net.load_state_dict(dict(state), strict=True)
    except RuntimeError as error:
        lines = str(error).splitlines()
        raise FormatError("the weights do not fit the SparseUNet", got=" ".join(lines[1:3]).strip()[:300]) from error

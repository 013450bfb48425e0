"""From a dense network to a Lite3R network and on to one with narrow weights; modules are swapped in place."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar, cast

import torch
from torch import nn

from recon3d.core.errors import UsageError
from recon3d.feedforward.layers.attention import Attention
from recon3d.feedforward.lite3r.attention import SparseLinearAttention
from recon3d.feedforward.lite3r.linears import FakeQuantLinear, QuantOptions
from recon3d.feedforward.lite3r.options import SparseOptions
from recon3d.feedforward.lite3r.storage import Storage, stored

M = TypeVar("M", bound=nn.Module)


def convert(model: M, options: SparseOptions | None = None, *, seed: int = 0) -> M:
    """Swap every attention of a network for sparse linear attention with the same weights, in place.

    The network gains ``proj_lin.weight`` and ``lam`` below each attention, the names of the published checkpoints, so
    :func:`recon3d.feedforward.load_checkpoint` takes those afterwards.

    Args:
        model: VGGT, Depth Anything 3 or anything else made of :class:`Attention`.
        options: what is kept.
        seed: of the new projections, which start so small that they move the outputs by about a percent.
    """
    options = options or SparseOptions()
    made: dict[nn.Module, SparseLinearAttention] = {}  # a module that stands at two places stays one
    for name, module in list(model.named_modules(remove_duplicate=False)):
        if isinstance(module, Attention) and not isinstance(module, SparseLinearAttention):
            made[module] = made.get(module) or SparseLinearAttention.of(module, options)
            _put(model, name, made[module])
    generator = torch.Generator().manual_seed(seed)
    for module in sparse_attentions(model):
        module.draw(generator)
    return model


def sparse_attentions(model: nn.Module) -> Iterator[SparseLinearAttention]:
    """Yield the sparse attentions of a network in the order of their names in it."""
    return (module for module in model.modules() if isinstance(module, SparseLinearAttention))


def freeze_all_but_projections(model: M) -> M:
    """Let only the d x d projections of the attentions learn, in place."""
    model.requires_grad_(False)
    for module in sparse_attentions(model):
        module.proj_lin.requires_grad_(True)
    return model


def fake_quantise_linears(model: M, options: QuantOptions | None = None, *, in_attentions: bool = True) -> M:
    """Let every linear layer compute as if it were stored in a narrow format, in place; for training.

    Args:
        model: any network; convert it first, so that its projections are quantised as well.
        options: formats.
        in_attentions: those inside attentions too.
    """
    inside = [name for name, module in model.named_modules() if isinstance(module, Attention)]
    skip = () if in_attentions else tuple(f"{name}." for name in inside)
    return _swap(model, lambda layer: FakeQuantLinear(layer, options or QuantOptions()), lambda n: n.startswith(skip))


def store_linears(model: M, storage: Storage = "auto") -> M:
    """Store the weights of every linear layer in a narrow format, in place; for use after training.

    The projections of sparse attentions stay as they are: they act on d x d states and cost nothing.

    Args:
        model: any network on its device, trained or not, with or without fake quantisation.
        storage: format; ``auto`` takes the fastest on the device.
    """
    return _swap(model, lambda layer: stored(layer, storage), lambda name: name.endswith("proj_lin"))


def _swap(model: M, made: Callable[[nn.Linear], nn.Module], skip: Callable[[str], bool]) -> M:
    """Swap plain and fake-quantised linear layers; others, such as those inside torch's own attention, stay."""
    swapped: dict[nn.Module, nn.Module] = {}
    for name, module in list(model.named_modules(remove_duplicate=False)):
        if type(module) in (nn.Linear, FakeQuantLinear) and not skip(name):
            swapped[module] = swapped.get(module) or made(cast(nn.Linear, module))
            _put(model, name, swapped[module])
    return model


def _put(model: nn.Module, name: str, module: nn.Module) -> None:
    if not name:
        raise UsageError("a network cannot be swapped for one of its own modules", got=type(model).__name__)
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, module)

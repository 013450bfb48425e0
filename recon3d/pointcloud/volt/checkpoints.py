"""Weights under their official names: current ones load strictly, those of before June 2026 are renamed first."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import TypeVar

import torch
from jaxtyping import Shaped
from torch import Tensor, nn

from recon3d.core.errors import FormatError, InputError
from recon3d.pointcloud.volt.options import SegmentorOptions, VoltOptions
from recon3d.pointcloud.volt.segmentor import VoltSegmentor

_Network = TypeVar("_Network", bound=nn.Module)
VoltState = Mapping[str, Shaped[Tensor, "..."]]
_HEAD = re.compile(r"seg_heads?\.(.+)\.weight")
_SHOWN = 6


def official_state(state: VoltState) -> dict[str, Shaped[Tensor, "..."]]:
    """Return tensors under today's official names and in today's layout.

    ``module.`` in front of all names goes. The sparse-convolution names of older files become linear ones: kernel axes
    are (x, y, z), weights are stored (out, x, y, z, in), and nothing is flipped.

    Args:
        state: tensors by name, of a backbone or of a segmentor.
    """
    if state and all(name.startswith("module.") for name in state):
        state = {name.removeprefix("module."): one for name, one in state.items()}
    renamed: dict[str, Tensor] = {}
    for name, one in state.items():
        renamed |= _renamed(name, one)
    return renamed


def _renamed(name: str, one: Tensor) -> dict[str, Tensor]:
    head, found, old = name.rpartition("decoder.up.")
    if found:
        place, _, rest = old.partition(".")
        if place == "5":
            return _unembedding(head, rest, one)
        new = f"post.0.{rest}" if place == "6" else f"pre.{place}.{rest}"
        return {f"{head}decoder.{new}": one}
    if re.search(r"(^|\.)tokenizer\.(weight|bias)$", name):
        head, _, kind = name.rpartition(".")
        return {f"{head}.proj.{kind}": one.flatten(1) if kind == "weight" else one}
    return {name: one}


def _unembedding(head: str, kind: str, one: Tensor) -> dict[str, Tensor]:
    if kind != "weight" or one.ndim != 5:
        raise FormatError("an old checkpoint has an unknown decoder", got=f"decoder.up.5.{kind} {[*one.shape]}")
    weight = one.permute(1, 2, 3, 0, 4).flatten(0, 3)
    return {f"{head}decoder.unembed.proj.weight": weight, f"{head}decoder.unembed.bias": weight.new_zeros(len(one))}


def options_of(state: VoltState, *, heads: int | None = None, prefix: str = "", drop_path: float = 0.0) -> VoltOptions:
    """Read a backbone's sizes from its tensors; whether it has q/k norms and LayerScale too.

    Args:
        state: tensors under official names.
        heads: attention heads; read from the q/k norms where there are any, else 64 channels each when None.
        prefix: of the backbone's names, ``backbone.`` in a segmentor.
        drop_path: of a training to come; no weight tells it.

    Raises:
        FormatError: tensors that every Volt has are not there.
    """
    own = {name.removeprefix(prefix): one for name, one in state.items() if name.startswith(prefix)}
    needed = ("tokenizer.proj.weight", "decoder.unembed.proj.weight", "blocks.0.mlp.fc1.weight")
    absent = [name for name in needed if name not in own or own[name].ndim != 2]
    if absent:
        raise FormatError("this is no Volt checkpoint", got=f"no {', '.join(prefix + one for one in absent)}")
    dim, inner = own["tokenizer.proj.weight"].shape
    rows, up_dim = own["decoder.unembed.proj.weight"].shape
    patch = round((rows / up_dim) ** (1 / 3))
    q_norm, scale = own.get("blocks.0.attn.q_norm.weight"), own.get("blocks.0.ls1.gamma")
    head_dim = len(q_norm) if q_norm is not None else 64
    return VoltOptions(
        in_channels=inner // patch**3,
        dim=dim,
        depth=len({name.split(".")[1] for name in own if name.startswith("blocks.")}),
        heads=heads or max(dim // head_dim, 1),
        mlp_ratio=len(own["blocks.0.mlp.fc1.weight"]) / dim,
        patch_size=patch,
        up_dim=up_dim,
        qk_norm=q_norm is not None,
        layer_scale=None if scale is None else 1.0,
        drop_path=drop_path,
    )


def segmentor_from_state(state: VoltState, *, drop_path: float = 0.0) -> VoltSegmentor:
    """Build a segmentor from a checkpoint and load it strictly; sizes, heads and q/k norms come from the tensors.

    Args:
        state: tensors by official names, today's or old ones.
        drop_path: of a training to come.

    Raises:
        FormatError: it is no segmentor, or a weight is NaN or infinite.
        InputError: names are left over or missing; they are listed.
    """
    state = official_state(state)
    classes = {m[1]: len(one) for name, one in state.items() if (m := _HEAD.fullmatch(name))}
    if not classes:
        raise FormatError("this is no segmentor", got="no seg_heads.*.weight", fix="load it as a backbone")
    options = SegmentorOptions(
        backbone=options_of(state, prefix="backbone.", drop_path=drop_path),
        classes=classes,
        distillation=any(name.startswith("distill_heads.") for name in state),
    )
    with torch.device("meta"):
        model = VoltSegmentor(options)
    return load_volt_state(model.to_empty(device="cpu"), state)


def load_volt_state(model: _Network, state: VoltState) -> _Network:
    """Load tensors strictly into a segmentor, a backbone or an instance head, and return it.

    Args:
        model: the network; it keeps its device and its types.
        state: tensors by official names, today's or old ones.

    Raises:
        InputError: names or shapes differ; they are listed.
        FormatError: a weight is NaN or infinite.
    """
    state, wanted = official_state(state), model.state_dict()
    differing = [name for name in wanted.keys() & state.keys() if wanted[name].shape != state[name].shape]
    lists = {
        "missing": wanted.keys() - state.keys(),
        "unknown": state.keys() - wanted.keys(),
        "of another shape": differing,
    }
    problems = [f"{len(names)} {kind}: {_listed(names)}" for kind, names in lists.items() if names]
    if problems:
        name = type(model).__name__
        raise InputError(f"the weights do not belong to this {name}", got="; ".join(problems), expected="equal names")
    bad = [name for name, one in state.items() if one.is_floating_point() and not one.isfinite().all()]
    if bad:
        raise FormatError("weights are NaN or infinite", got=_listed(bad), fix="fetch the file again")
    model.load_state_dict(state)
    return model


def _listed(names: Collection[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(sorted(names)[:_SHOWN]) + more

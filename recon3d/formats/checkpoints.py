"""Checkpoints of a training: one safetensors file, whose header holds as JSON what is no tensor."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Shaped
from torch import Tensor, nn

from recon3d.core.errors import FormatError, UsageError
from recon3d.formats.safetensors import read_metadata, read_safetensors, write_safetensors

FILE = "checkpoint.safetensors"
_KEY = "training"
_MOMENTS = ("exp_avg", "exp_avg_sq")


def write_checkpoint(
    path: Path, parts: Mapping[str, Mapping[str, Shaped[Tensor, "..."]]], rest: Mapping[str, Any]
) -> None:
    """Write everything that a training needs to go on, atomically.

    Args:
        path: the file.
        parts: tensors by name, by the name of the part.
        rest: what is JSON.
    """
    tensors = {f"{part}.{name}": one for part, named in parts.items() for name, one in named.items()}
    write_safetensors(path, tensors, {_KEY: json.dumps(rest)})


def read_checkpoint(path: Path) -> tuple[dict[str, dict[str, Shaped[Tensor, "..."]]], dict[str, Any]]:
    """Return the parts and the rest.

    Raises:
        InputError: the file cannot be opened.
        FormatError: it is no checkpoint of a training.
    """
    parts: dict[str, dict[str, Tensor]] = {}
    for name, one in read_safetensors(path).items():
        part, _, inner = name.partition(".")
        parts.setdefault(part, {})[inner] = one
    return parts, _rest(path)


def _rest(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(read_metadata(path)[_KEY])
    except (ValueError, KeyError, TypeError) as error:
        raise FormatError(f"{path} is no checkpoint of a training", got=error) from error
    if not isinstance(found, dict):
        raise FormatError(f"{path} is no checkpoint of a training", got=type(found).__name__)
    return found


def moments(optimiser: torch.optim.Optimizer, names: Mapping[nn.Parameter, str]) -> dict[str, Tensor]:
    """Return the state of AdamW by the names of the parameters.

    Args:
        optimiser: AdamW.
        names: of its parameters.
    """
    found = {}
    for parameter, name in names.items():
        if state := optimiser.state.get(parameter):
            found.update({f"{name}.{kind}": state[kind] for kind in (*_MOMENTS, "step")})
    return found


def load_moments(
    optimiser: torch.optim.Optimizer, names: Mapping[nn.Parameter, str], found: Mapping[str, Tensor]
) -> None:
    """Continue the state of AdamW.

    Args:
        optimiser: AdamW that has made no step yet.
        names: of its parameters.
        found: as :func:`moments` returns it.
    """
    for parameter, name in names.items():
        if f"{name}.step" in found:
            state = {kind: found[f"{name}.{kind}"].to(parameter.device, copy=True) for kind in _MOMENTS}
            optimiser.state[parameter] = {"step": found[f"{name}.step"].clone(), **state}


def plain(options: Any) -> dict[str, Any]:
    """Return options as JSON holds them.

    Args:
        options: a dataclass.
    """
    values: dict[str, Any] = json.loads(json.dumps(asdict(options)))
    return values


def check_same(then: dict[str, Any], now: dict[str, Any], may_differ: tuple[str, ...]) -> None:
    """Refuse to continue with other options.

    Args:
        then: those of the checkpoint.
        now: those that are asked for.
        may_differ: names of those that do not matter.

    Raises:
        UsageError: others differ.
    """
    other = [name for name in now if name not in may_differ and then.get(name) != now[name]]
    if other:
        raise UsageError(
            "the checkpoint belongs to another training",
            got=", ".join(f"{name} {now[name]}" for name in other),
            expected=", ".join(f"{name} {then.get(name)}" for name in other),
            fix="give the same options, or another folder",
        )

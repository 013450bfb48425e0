"""Lite3R versions of networks as small files: what their attentions have in addition to the dense weights."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from torch import nn

from recon3d.core.errors import FormatError, InputError, UsageError
from recon3d.feedforward.checkpoints import check_finite
from recon3d.feedforward.lite3r.conversion import convert, sparse_attentions
from recon3d.feedforward.lite3r.options import SparseOptions
from recon3d.formats.safetensors import read_metadata, read_safetensors, write_safetensors

_SUFFIX = "proj_lin.weight"
_KEY = "lite3r"
M = TypeVar("M", bound=nn.Module)


def write_delta(path: Path, model: nn.Module, *, name: str, trained: str) -> None:
    """Write what a Lite3R network has in addition to the dense one, in half precision.

    Args:
        path: the file.
        model: converted network.
        name: of the dense network.
        trained: how the projections were trained, in words.

    Raises:
        UsageError: the network is not converted.
    """
    options = next((one.options for one in sparse_attentions(model)), None)
    if options is None:
        raise UsageError("a dense network has no delta", fix="convert it first (recon3d.feedforward.lite3r.convert)")
    projections = {key: one.half() for key, one in model.state_dict().items() if key.endswith(_SUFFIX)}
    about = {"model": name, "options": asdict(options), "trained": trained}
    write_safetensors(path, projections, {_KEY: json.dumps(about)})


def add_delta(model: M, path: Path) -> M:
    """Turn a dense network into the Lite3R network of a file, in place.

    Args:
        model: with its dense weights.
        path: of :func:`write_delta`.

    Raises:
        InputError: the file cannot be opened, or belongs to another network.
        FormatError: it is damaged, or a projection is not finite.
    """
    options, found = _options(path), read_safetensors(path)
    check_finite(found, path)
    convert(model, options)
    wanted = {key: one for key, one in model.state_dict().items() if key.endswith(_SUFFIX)}
    shapes = [{key: tuple(one.shape) for key, one in named.items()} for named in (found, wanted)]
    if shapes[0] != shapes[1]:
        got = f"{len(found)} projections, {len(found.keys() & wanted.keys())} of them known"
        raise InputError(f"{path} does not belong to this network", got=got, expected=f"{len(wanted)} projections")
    model.load_state_dict({key: one.to(wanted[key].dtype) for key, one in found.items()}, strict=False)
    return model


def _options(path: Path) -> SparseOptions:
    try:
        about: dict[str, Any] = json.loads(read_metadata(path)[_KEY])
        return SparseOptions(**about["options"])
    except (KeyError, TypeError, ValueError, UsageError) as error:
        raise FormatError(f"{path} is no Lite3R version of a network", got=error) from error

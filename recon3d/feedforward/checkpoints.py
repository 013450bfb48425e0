"""Loading weights into a network by their official names, and saying exactly what does not fit."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

from jaxtyping import Shaped
from torch import Tensor, nn

from recon3d.core.errors import FormatError, InputError
from recon3d.formats.weights import read_state

_SHOWN = 6
State = Mapping[str, Shaped[Tensor, "..."]]


def load_checkpoint(model: nn.Module, path: Path, *, ignore: Collection[str] = ()) -> None:
    """Load every parameter of a network; a network on the meta device takes the file's memory as its own.

    Args:
        model: the network; it keeps its types, and its device unless that is meta.
        path: safetensors, or a file of ``torch.save`` with tensors only (code in it is refused, not run).
        ignore: beginnings of names in the file that the network does not need.

    Raises:
        InputError: the file cannot be opened, or belongs to another network; the names are listed.
        FormatError: the file is damaged, holds code, or a parameter is NaN or infinite.
    """
    load_state(model, matching_state(model, path, ignore=ignore), path)


def load_state(model: nn.Module, state: State, source: Path | str) -> None:
    """Give tensors to the parameters of a network; one on the meta device takes their memory as its own.

    Args:
        model: the network.
        state: tensors by the names of its parameters.
        source: where they come from, for the errors.

    Raises:
        InputError: names or shapes differ; they are listed.
        FormatError: a parameter is NaN or infinite.
    """
    check_names(model, state, source)
    check_finite(state, source)
    wanted = model.state_dict()
    on_meta = any(tensor.is_meta for tensor in wanted.values())
    model.load_state_dict({name: tensor.to(wanted[name].dtype) for name, tensor in state.items()}, assign=on_meta)


def matching_state(model: nn.Module, path: Path, *, ignore: Collection[str] = ()) -> dict[str, Shaped[Tensor, "..."]]:
    """Return the tensors of a checkpoint under the names of a network, which may have no memory (device meta).

    Args:
        model: the network.
        path: as in :func:`load_checkpoint`.
        ignore: as in :func:`load_checkpoint`.

    Raises:
        InputError: the file cannot be opened, or belongs to another network; the names are listed.
        FormatError: the file is damaged or holds code.
    """
    state = without_prefix(read_state(path), model.state_dict().keys())
    state = {name: tensor for name, tensor in state.items() if not name.startswith(tuple(ignore) or ("\n",))}
    check_names(model, state, path)
    return state


def without_prefix(state: State, wanted: Collection[str]) -> dict[str, Shaped[Tensor, "..."]]:
    """Drop ``model.`` or ``module.`` where all names have it and those of the network do not.

    Args:
        state: tensors by name.
        wanted: names of the network.
    """
    for prefix in ("module.", "model."):
        if all(name.startswith(prefix) for name in state) and not any(name.startswith(prefix) for name in wanted):
            state = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
    return dict(state)


def check_names(model: nn.Module, state: State, source: Path | str) -> None:
    """Compare names and shapes with those of a network.

    Args:
        model: the network.
        state: tensors by name.
        source: where they come from, for the error.

    Raises:
        InputError: they differ; missing, unknown and misshapen names are listed.
    """
    wanted = model.state_dict()
    both = wanted.keys() & state.keys()
    wrong = [
        f"{n} {[*state[n].shape]} instead of {[*wanted[n].shape]}" for n in both if state[n].shape != wanted[n].shape
    ]
    problems = {
        "missing": sorted(wanted.keys() - state.keys()),
        "unknown": sorted(state.keys() - wanted.keys()),
        "of another shape": sorted(wrong),
    }
    texts = [f"{len(names)} {kind}: {_listed(names)}" for kind, names in problems.items() if names]
    if texts:
        raise InputError(
            f"{source} does not belong to this {type(model).__name__}",
            got="; ".join(texts),
            expected=f"{len(wanted)} tensors",
            fix="choose the model that the file was made for",
        )


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def check_finite(state: State, source: Path | str) -> None:
    """Refuse weights that are NaN or infinite.

    Args:
        state: tensors by name.
        source: where they come from, for the error.

    Raises:
        FormatError: some are; the names are listed.
    """
    bad = sorted(name for name, tensor in state.items() if tensor.is_floating_point() and not tensor.isfinite().all())
    if bad:
        raise FormatError(f"{source} holds NaN or infinite weights", got=_listed(bad), fix="fetch the file again")

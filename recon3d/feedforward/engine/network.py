"""Which weights a run takes, and the network that they make."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from recon3d.core.errors import DependencyError, UsageError
from recon3d.core.files import sha256_file
from recon3d.feedforward.bundled import BUNDLED
from recon3d.feedforward.checkpoints import load_state, without_prefix
from recon3d.feedforward.deltas import add_delta
from recon3d.feedforward.lite3r.conversion import convert, sparse_attentions
from recon3d.feedforward.models import MODEL_NAMES, Network, build_model
from recon3d.feedforward.weights.registry import CHECKPOINTS
from recon3d.feedforward.weights.store import stored_weights
from recon3d.formats.weights import read_state

_PROJECTION = (".proj_lin.weight", ".lam")
_DELTA = "-lite3r"


@dataclass(frozen=True)
class ChosenWeights:
    """Weights of one network.

    Args:
        model: name of the network.
        path: file of its weights.
        delta: file of Lite3R's projections that belong to them; None = they are in ``path``, or there are none.
        dense: compute every attention in full, even where there are projections.
    """

    model: str
    path: Path
    delta: Path | None
    dense: bool

    def key(self) -> dict[str, str | bool | None]:
        """Return what a result depends on, JSON-ready."""
        delta = None if self.delta is None else sha256_file(self.delta)
        return {"model": self.model, "weights": sha256_file(self.path), "delta": delta, "dense": self.dense}


@dataclass(frozen=True, eq=False)
class Loaded:
    """A network that is ready to run.

    Args:
        network: it, in evaluation mode.
        attention: how its attentions compute, in plain words.
        notes: what the user should know, in plain words.
    """

    network: Network
    attention: str
    notes: tuple[str, ...]


def choose_weights(model: str, checkpoint: Path | None = None, *, dense_attention: bool = False) -> ChosenWeights:
    """Return the weights of a network: those of a file, or those that are stored here. Nothing is downloaded.

    Args:
        model: one of :data:`recon3d.feedforward.models.MODEL_NAMES`, or other weights of one of them that
            ``recon3d weights list`` shows.
        checkpoint: file of weights; None = bundled or fetched ones.
        dense_attention: compute every attention in full.

    Raises:
        UsageError: there is no such model, or no such file.
        DependencyError: there are no weights of it here.
    """
    network = CHECKPOINTS[model].model if model in CHECKPOINTS else model
    if network not in MODEL_NAMES:
        raise UsageError("there is no such model", got=model, expected=", ".join(MODEL_NAMES))
    if checkpoint is not None:
        if not checkpoint.is_file():
            raise UsageError("there is no such file of weights", got=checkpoint)
        return ChosenWeights(network, checkpoint, None, dense_attention)
    path = stored_weights(model)
    if path is None:
        get = "install recon3d again" if model in BUNDLED else f"run `recon3d weights fetch {model}`"
        fix = f"{get}, or name a file with --checkpoint"
        raise DependencyError(f"there are no weights of {model} here", fix=fix)
    return ChosenWeights(network, path, stored_weights(model + _DELTA), dense_attention)


def load_network(chosen: ChosenWeights) -> Loaded:
    """Return the network of some weights, with Lite3R's attention where they hold its projections.

    Args:
        chosen: which.

    Raises:
        InputError: a file cannot be opened, or belongs to another network.
        FormatError: it is damaged, holds code, or weights that are not finite.
    """
    network = build_model(chosen.model)
    state = without_prefix(read_state(chosen.path), network.state_dict().keys())
    inside = any(name.endswith(_PROJECTION[0]) for name in state)
    if inside and not chosen.dense:
        convert(network)
    else:
        state = {name: tensor for name, tensor in state.items() if not name.endswith(_PROJECTION)}
    load_state(network, state, chosen.path)
    if chosen.delta is not None and not chosen.dense and not inside:
        add_delta(network, chosen.delta)
    sparse = any(True for _ in sparse_attentions(network))
    lacking = f"the weights of {chosen.model} hold no projections for Lite3R's attention"
    notes = () if sparse or chosen.dense else (lacking,)
    return Loaded(network.eval(), "sparse linear (Lite3R)" if sparse else "dense", notes)

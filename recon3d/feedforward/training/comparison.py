"""A dense network, its Lite3R version and an answer without looking: the same scenes, equal precision."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from recon3d.feedforward.deltas import add_delta
from recon3d.feedforward.lite3r.conversion import store_linears
from recon3d.feedforward.lite3r.storage import Storage
from recon3d.feedforward.models import Network, build_model
from recon3d.feedforward.predictions import Prediction
from recon3d.feedforward.scenes import TrueViews
from recon3d.feedforward.training.asking import answer
from recon3d.feedforward.training.scores import Scores, answers_of, constant, score, truth_of


@dataclass(frozen=True)
class Compared:
    """One row of a comparison.

    Args:
        who: what answered.
        weights: format of the weights of its linear layers.
        scores: against the truth.
    """

    who: str
    weights: str
    scores: Scores


def compare(
    name: str,
    weights: Path,
    scenes: TrueViews,
    *,
    delta: Path | None = None,
    storages: tuple[Storage, ...] = (),
    device: str = "cpu",
) -> Iterator[Compared]:
    """Yield the scores of everybody, one after another.

    Args:
        name: of the network.
        weights: dense ones.
        scenes: what is looked at.
        delta: Lite3R version; None compares the dense network alone.
        storages: narrow formats in which the linear layers are stored too.
        device: where.

    Raises:
        InputError: a file cannot be opened, or belongs to another network.
        FormatError: a file is damaged.
    """
    truth, scenes = truth_of(scenes), scenes.to(device)
    yield Compared("constant answer", "-", score(constant(scenes), truth))
    dense = build_model(name, checkpoint=weights, device=device)
    versions = {"dense": dense}
    if delta is not None:
        versions["lite3r"] = add_delta(copy.deepcopy(dense), delta)
    for storage in (None, *storages):
        for who, network in versions.items():
            stored = network if storage is None else store_linears(copy.deepcopy(network), storage)
            yield Compared(who, storage or "float32", score(answers_of(_asking(stored), scenes), truth))


def _asking(network: Network) -> Callable[[Tensor], Prediction]:
    """Return a function of sRGB photos whose answers have the first camera as the world."""

    def asked(images: Tensor) -> Prediction:
        return answer(network, images)

    return asked

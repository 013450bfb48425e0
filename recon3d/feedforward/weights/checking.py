"""Checking weights that are here: their bytes against the checksum, their names and shapes against the network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from recon3d.core.errors import DependencyError, InputError, UsageError
from recon3d.core.progress import Progress
from recon3d.feedforward.weights.meter import hash_file
from recon3d.feedforward.weights.registry import DELTA
from recon3d.feedforward.weights.store import Listed, Record, list_weights, read_record


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What a check found.

    Args:
        name: of the weights.
        path: their file.
        sha256: of the file.
        compared: what the checksum was compared with: ``recon3d`` (it knows it), ``first fetch``, or ``nothing``.
        problem: what is wrong, with the way out; empty where nothing is.
    """

    name: str
    path: Path
    sha256: str
    compared: str
    problem: str = ""


def verify(names: Sequence[str] = (), *, folder: Path | None = None, progress: Progress | None = None) -> list[Verdict]:
    """Check weights that are here; it asks no network.

    Args:
        names: of the weights; none = all that are here.
        folder: of fetched weights, instead of the usual one.
        progress: display.

    Raises:
        UsageError: there are no weights of such a name.
        DependencyError: some of the named weights are not here.
    """
    listed = {one.name: one for one in list_weights(folder)}
    for name in names:
        if name not in listed:
            raise UsageError("no weights of this name are known", got=name, expected=", ".join(listed))
        if listed[name].state not in ("bundled", "fetched"):
            fix = f"recon3d weights fetch {name}"
            raise DependencyError(f"{name} is not here", expected=listed[name].path, fix=fix)
    chosen = [
        one for one in listed.values() if one.name in names or (not names and one.state in ("bundled", "fetched"))
    ]
    return [_verdict(one, progress or Progress()) for one in chosen]


def _verdict(one: Listed, progress: Progress) -> Verdict:
    """Check one file."""
    found, compared = "", "nothing"
    try:
        found = hash_file(one.path, progress, f"checking {one.name}")
        record = read_record(one.path) if one.state == "fetched" else None
        expected, compared = _expected(one, record)
        if expected is not None and found != expected:
            problem = f"its SHA-256 is {found}, not {expected}; recon3d weights fetch {one.name} --again replaces it"
            return Verdict(name=one.name, path=one.path, sha256=found, compared=compared, problem=problem)
        check_fits(one.model, one.path, delta=one.name.endswith(DELTA))
    except InputError as error:
        return Verdict(name=one.name, path=one.path, sha256=found, compared=compared, problem=str(error))
    return Verdict(name=one.name, path=one.path, sha256=found, compared=compared)


def _expected(one: Listed, record: Record | None) -> tuple[str | None, str]:
    """Return the checksum that a file must have, and whose it is; a converted file has one of its own."""
    if record is not None and record.sha256 != record.source_sha256:
        return record.sha256, "first fetch"
    if one.sha256 is not None:
        return one.sha256, "recon3d"
    return (record.sha256, "first fetch") if record is not None else (None, "nothing")


def check_fits(model: str, path: Path, *, delta: bool = False) -> None:
    """Compare names and shapes of a file with those of a network, without reading its numbers.

    Args:
        model: name of the network.
        path: a safetensors file.
        delta: it holds only what Lite3R adds to the network.

    Raises:
        InputError: they differ; the names are listed.
        FormatError: the file is damaged.
    """
    from recon3d.feedforward.checkpoints import check_names, matching_state  # torch loads only here
    from recon3d.feedforward.lite3r.conversion import convert
    from recon3d.feedforward.models import build_model
    from recon3d.formats.weights import read_state

    network = build_model(model)
    if not delta:
        matching_state(network, path)
        return
    dense = dict(network.state_dict())
    added = read_state(path)
    check_names(convert(network), dense | added, path)
    if not added.keys() - dense.keys():
        raise InputError(f"{path} adds nothing to {model}", expected="projections of Lite3R")

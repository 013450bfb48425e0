"""The folder that keeps fetched weights, a record beside each file, and the weights that come with recon3d."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

from recon3d.core.errors import DependencyError, FormatError, InputError
from recon3d.core.files import read_capped, write_json
from recon3d.feedforward.bundled import BUNDLED, bundled_weights
from recon3d.feedforward.weights.registry import CHECKPOINTS, model_of

_MAX_RECORD = 100_000
_OURS = "Apache-2.0"  # that of the package


@dataclass(frozen=True, kw_only=True)
class Record:
    """What was learned when a file was fetched; it lies beside the file as JSON.

    Args:
        sha256: of the file in the folder.
        size: of it, in bytes.
        source: address or path that it came from.
        source_sha256: of what came from there; another one where the file was converted.
        compared: whether the source's checksum was known before the fetch.
        fetched: when, in UTC.
    """

    sha256: str
    size: int
    source: str
    source_sha256: str
    compared: bool
    fetched: str


@dataclass(frozen=True, kw_only=True)
class Listed:
    """Weights that recon3d knows of.

    Args:
        name: theirs.
        model: network that they belong to.
        state: bundled with recon3d, fetched, partial (a fetch that stopped on its way) or missing.
        licence: of the weights.
        size: in bytes, of the whole file.
        have: bytes that are here.
        path: of the file, where it is or would be.
        page: public page; empty for bundled ones.
        sha256: expected checksum; None where the first fetch records it.
        note: what else there is to know.
    """

    name: str
    model: str
    state: Literal["bundled", "fetched", "partial", "missing"]
    licence: str
    size: int
    have: int
    path: Path
    page: str = ""
    sha256: str | None = None
    note: str = ""


def weights_folder() -> Path:
    """Return the folder of fetched weights: RECON3D_WEIGHTS, or recon3d/weights in the user's cache folder."""
    given = os.environ.get("RECON3D_WEIGHTS")
    if given:
        return Path(given).expanduser()
    cache = os.environ.get("XDG_CACHE_HOME")  # the specification: a relative path is to be ignored
    return (Path(cache) if cache and Path(cache).is_absolute() else Path.home() / ".cache") / "recon3d" / "weights"


def weights_file(name: str, folder: Path | None = None) -> Path:
    """Return where the file of fetched weights lies or would lie."""
    return (folder or weights_folder()) / f"{name}.safetensors"


def part_file(path: Path) -> Path:
    """Return where a file grows while it is fetched."""
    return path.with_name(path.name + ".part")


def stored_weights(name: str, folder: Path | None = None) -> Path | None:
    """Return the file of weights that are at hand, bundled or fetched; None where there is none. It asks no network.

    Args:
        name: of the weights, as ``recon3d weights list`` shows it; or of a network, of which any weights will do.
        folder: of fetched weights, instead of :func:`weights_folder`.
    """
    bundled = bundled_files()
    if name in bundled:
        return bundled[name]
    same = [name, *(other for other, known in CHECKPOINTS.items() if known.model == name)]
    files = (weights_file(one, folder) for one in same if one in CHECKPOINTS)
    return next((path for path in files if path.is_file()), None)


def bundled_files() -> Mapping[str, Path]:
    """Return the files of weights that come with recon3d by name, as far as this installation has them."""
    return {name: path for name in BUNDLED if (path := _bundled_file(name)) is not None}


def _bundled_file(name: str) -> Path | None:
    try:
        return bundled_weights(name)
    except DependencyError:
        return None


def list_weights(folder: Path | None = None) -> list[Listed]:
    """Return all weights that recon3d knows of, bundled ones first.

    Args:
        folder: of fetched weights, instead of :func:`weights_folder`.
    """
    return [_bundled(name, path) for name, path in bundled_files().items()] + [
        _public(name, weights_file(name, folder)) for name in CHECKPOINTS
    ]


def _bundled(name: str, path: Path) -> Listed:
    size = path.stat().st_size
    return Listed(
        name=name,
        model=model_of(name),
        state="bundled",
        licence=_OURS,
        size=size,
        have=size,
        path=path,
        note="docs/models.md",
    )


def _public(name: str, path: Path) -> Listed:
    known, part = CHECKPOINTS[name], part_file(path)
    state: Literal["fetched", "partial", "missing"] = "missing"
    have, size = 0, known.size
    if path.is_file():
        state, have = "fetched", path.stat().st_size
        size = have
    elif part.is_file():
        state, have = "partial", part.stat().st_size
    return Listed(
        name=name,
        model=known.model,
        state=state,
        licence=known.licence,
        size=size,
        have=have,
        path=path,
        page=known.page,
        sha256=known.sha256,
        note=known.note,
    )


def read_record(path: Path) -> Record | None:
    """Return the record beside a file; None where there is none.

    Args:
        path: the file of weights.

    Raises:
        FormatError: the record is damaged.
    """
    beside = _record_file(path)
    try:
        value = json.loads(read_capped(beside, _MAX_RECORD))
        return Record(**{field.name: _typed(value[field.name], field.type) for field in fields(Record)})
    except InputError as error:
        if isinstance(error, FormatError):
            raise
        return None
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        fix = "delete it: the next fetch or verify compares with what recon3d knows"
        raise FormatError(f"{beside} is no record of a fetch", got=str(error), fix=fix) from error


def write_record(path: Path, record: Record) -> None:
    """Write the record beside a file."""
    write_json(_record_file(path), asdict(record))


def _record_file(path: Path) -> Path:
    return path.with_suffix(".json")


def _typed(value: Any, kind: object) -> Any:
    if type(value).__name__ != kind:
        raise TypeError(f"{value!r} is no {kind}")
    return value

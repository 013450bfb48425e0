"""Weights of a detector: one safetensors file that also says which network and which sensor they belong to."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from recon3d.core.errors import DependencyError, FormatError, UsageError
from recon3d.formats.safetensors import read_metadata, write_safetensors
from recon3d.formats.weights import read_state
from recon3d.pointcloud.detection.network import (
    NETWORKS,
    SMALL,
    SensorOptions,
    network_options,
    options_from_json,
    options_to_json,
    sensor_options,
)
from recon3d.pointcloud.flatformer.detector import PillarDetector
from recon3d.pointcloud.flatformer.options import DetectorOptions

BUNDLED = (SMALL,)
_KEY = "detector"
_FOLDER = Path(__file__).parents[1] / "data"


class StoredDetector(NamedTuple):
    """What a file of weights holds.

    Args:
        network: ready for evaluation, float32, on the CPU.
        sensor: what it takes for granted.
        name: of the network.
    """

    network: PillarDetector
    sensor: SensorOptions
    name: str


def write_detector(
    path: Path,
    weights: Mapping[str, Float[Tensor, "..."]],
    options: DetectorOptions,
    sensor: SensorOptions,
    name: str = SMALL,
) -> None:
    """Write weights in half precision, with what belongs to them.

    Args:
        path: the file.
        weights: of a ``PillarDetector`` of these options, by name.
        options: of the network.
        sensor: what it takes for granted.
        name: of the network.
    """
    about = {"name": name, "options": options_to_json(options), "sensor": asdict(sensor)}
    halves = {key: one.half() for key, one in weights.items() if one.is_floating_point()}
    write_safetensors(path, halves, {_KEY: json.dumps(about)})


def read_detector(source: str | Path) -> StoredDetector:
    """Return a trained detector.

    Args:
        source: a file that :func:`write_detector` wrote, a name of ``BUNDLED``, or ``NAME=FILE`` for a file of bare
            weights of the network of this name, such as a converted checkpoint of the released code.

    Raises:
        UsageError: there is no such name.
        DependencyError: the weights are missing from this installation.
        InputError: the file cannot be opened.
        FormatError: it is damaged, or fits to another network.
    """
    name, found, rest = str(source).partition("=")
    if found and name in NETWORKS:
        return _built(Path(rest), network_options(name), sensor_options(name), name)
    path = _path(source)
    options, sensor, name = _about(path)
    return _built(path, options, sensor, name)


def _path(source: str | Path) -> Path:
    text = str(source)
    if text in BUNDLED:
        path = _FOLDER / f"{text}.safetensors"
        if not path.is_file():
            raise DependencyError(f"the weights of {text} are missing from this installation", fix="install it again")
        return path
    if "/" not in text and "." not in text and not Path(text).exists():
        raise UsageError("no such detector", got=text, expected=f"{', '.join(BUNDLED)}, or a file of weights")
    return Path(source)


def _about(path: Path) -> tuple[DetectorOptions, SensorOptions, str]:
    metadata = read_metadata(path)
    try:
        about: dict[str, Any] = json.loads(metadata[_KEY])
        sensor = SensorOptions(**about["sensor"])
        return options_from_json(about["options"]), sensor, str(about["name"])
    except (ValueError, KeyError, TypeError, AttributeError, UsageError) as error:
        fix = "write it with `recon3d train detector`, or name its network: NAME=FILE"
        raise FormatError(f"{path} does not say which detector it holds", got=error, fix=fix) from error


def _built(path: Path, options: DetectorOptions, sensor: SensorOptions, name: str) -> StoredDetector:
    network = PillarDetector(options)
    weights = {key: one.float() for key, one in read_state(path).items()}
    counters = {key for key in network.state_dict() if key.endswith("num_batches_tracked")}
    missing = set(network.state_dict()) - set(weights) - counters
    odd = [key for key, one in network.state_dict().items() if key in weights and weights[key].shape != one.shape]
    if missing or odd or set(weights) - set(network.state_dict()):
        got = f"{len(missing)} tensors missing, {len(odd)} of another shape, {len(weights)} in the file"
        raise FormatError(f"{path} does not fit to the network {name}", got=got)
    network.load_state_dict({key: one for key, one in weights.items() if key not in counters}, strict=False)
    if not all(torch.isfinite(one).all() for one in weights.values()):
        raise FormatError(f"{path} holds weights that are not finite")
    return StoredDetector(network.eval(), sensor, name)

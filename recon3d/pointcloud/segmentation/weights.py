"""Files of trained segmenters: one safetensors file whose header says what the network expects."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from jaxtyping import Shaped
from torch import Tensor

from recon3d.core.errors import DependencyError, FormatError, InputError, UsageError
from recon3d.formats.safetensors import read_metadata, read_safetensors, write_safetensors
from recon3d.pointcloud.segmentation.spec import SegmenterSpec
from recon3d.pointcloud.volt.checkpoints import segmentor_from_state
from recon3d.pointcloud.volt.segmentor import VoltSegmentor

SEGMENTERS = ("indoor", "outdoor")
_KEY = "segmenter"
_PREFIX = "recon3d-segmenter-"
_FOLDER = Path(__file__).parents[1] / "data"


def bundled_segmenter(name: str) -> Path:
    """Return the weights of a segmenter that comes with the package.

    Args:
        name: ``indoor`` or ``outdoor``.

    Raises:
        UsageError: there is no such one.
        DependencyError: the file is missing.
    """
    if name not in SEGMENTERS:
        raise UsageError("no such segmenter", got=name, expected=f"{', '.join(SEGMENTERS)} or a file of weights")
    path = _FOLDER / f"{_PREFIX}{name}.safetensors"
    if not path.is_file():
        raise DependencyError(f"the {name} segmenter is missing from this installation", fix="install recon3d again")
    return path


def write_segmenter(path: Path, state: Mapping[str, Shaped[Tensor, "..."]], spec: SegmenterSpec) -> None:
    """Write weights in half precision, without a teacher's heads, beside the description.

    Args:
        path: the file.
        state: of a :class:`VoltSegmentor`.
        spec: of the segmenter.
    """
    kept = {name: one for name, one in state.items() if not name.startswith("distill_heads.")}
    half = {name: one.half() if one.is_floating_point() else one for name, one in kept.items()}
    write_safetensors(path, half, {_KEY: spec.to_json()})


def read_segmenter(path: Path) -> tuple[VoltSegmentor, SegmenterSpec]:
    """Return a network, ready to answer, and its description.

    Args:
        path: a file of :func:`write_segmenter`.

    Raises:
        InputError: it cannot be opened.
        FormatError: it is damaged or no segmenter of this project.
    """
    text = read_metadata(path).get(_KEY)
    if not text:
        fix = "train one with recon3d train segmenter; official Volt files load with recon3d.pointcloud.volt"
        raise FormatError(f"{path} does not say what the network expects", got="no description in its header", fix=fix)
    spec = SegmenterSpec.from_json(text)
    state = {name: one.float() if one.is_floating_point() else one for name, one in read_safetensors(path).items()}
    model = segmentor_from_state(state)
    sizes = model.options.backbone.in_channels, model.options.classes.get("Default")
    if sizes != (spec.channels, len(spec.classes)):
        got, expected = f"{sizes[0]} channels, {sizes[1]} classes", f"{spec.channels}, {len(spec.classes)}"
        raise FormatError(f"the weights of {path} do not match their description", got=got, expected=expected)
    return model.eval(), spec


def segmenter_path(path_or_name: str | Path) -> Path:
    """Return the file of a segmenter: a path, or the name of a bundled one.

    Args:
        path_or_name: ``indoor``, ``outdoor``, their full names such as ``recon3d-segmenter-indoor``, or a file.

    Raises:
        InputError: there is no such file.
    """
    name = str(path_or_name).removeprefix(_PREFIX)
    if name in SEGMENTERS:
        return bundled_segmenter(name)
    path = Path(path_or_name)
    if not path.is_file():
        expected = f"a file, {' or '.join(SEGMENTERS)}"
        raise InputError("there are no weights of a segmenter", got=path_or_name, expected=expected)
    return path


def state_on_cpu(model: torch.nn.Module) -> dict[str, Shaped[Tensor, "..."]]:
    """Return copies of all weights, on the CPU."""
    return {name: one.detach().cpu().clone() for name, one in model.state_dict().items()}

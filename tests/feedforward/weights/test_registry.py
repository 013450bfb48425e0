"""What is written down of the public files, against the networks that they are for."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch

from recon3d.core.errors import UsageError
from recon3d.feedforward.models import MODEL_NAMES, build_model
from recon3d.feedforward.weights.registry import CHECKPOINTS, checkpoint_named, model_of

PUBLIC = dict(CHECKPOINTS)  # before any test adds to it
# Modules that share one LayerNorm in the published networks; the format's writer keeps it once.
SHARED = re.compile(r"output_conv2_aux\.[123]\.2\.")


def published_size(model: str) -> int:
    """Bytes of a safetensors file in the layout of the published ones, from names and shapes alone."""
    prefix = "" if model.startswith("vggt") else "model."
    state = {prefix + name: one for name, one in build_model(model).state_dict().items()}
    kept = {name: one for name, one in state.items() if not SHARED.search(name)}
    twice = {name: re.sub(r"aux\.[123]\.2", "aux.0.2", name) for name in state.keys() - kept.keys()}
    header: dict[str, object] = {"__metadata__": twice} if twice else {}
    end = 0
    for name in sorted(kept):
        begin, end = end, end + 4 * kept[name].numel()
        header[name] = {"dtype": "F32", "shape": list(kept[name].shape), "data_offsets": [begin, end]}
    text = len(json.dumps(header, separators=(",", ":")))
    return 8 + text + -text % 8 + end


@pytest.mark.parametrize("name", PUBLIC)
def test_the_size_is_that_of_a_file_of_our_network_to_the_byte(name: str) -> None:
    assert published_size(PUBLIC[name].model) == PUBLIC[name].size


@pytest.mark.parametrize("name", PUBLIC)
def test_an_entry_is_complete(name: str) -> None:
    known = PUBLIC[name]
    assert known.model in MODEL_NAMES and model_of(name) == known.model
    assert re.fullmatch(r"https://[a-z.]+/[\w-]+/[\w.-]+/resolve/[0-9a-f]{40}/model\.safetensors", known.url)
    assert known.sha256 is None or re.fullmatch(r"[0-9a-f]{64}", known.sha256)
    assert known.licence and known.page in known.url


def test_every_public_network_has_weights_and_no_two_are_the_same_file() -> None:
    assert {known.model for known in PUBLIC.values()} == {
        name for name in MODEL_NAMES if not name.startswith("recon3d")
    }
    assert (
        len({known.url for known in PUBLIC.values()}) == len({known.sha256 for known in PUBLIC.values()}) == len(PUBLIC)
    )


def test_licences_are_those_of_the_specification() -> None:
    free = {name for name, known in PUBLIC.items() if known.licence == "Apache-2.0"}
    assert free == {"da3-small", "da3-base", "da3metric-large", "da3mono-large"}
    assert PUBLIC["vggt-1b-commercial"].gated and not any(
        known.gated for name, known in PUBLIC.items() if "comm" not in name
    )


def test_names_of_deltas_lead_to_their_network() -> None:
    assert model_of("recon3d-small-lite3r") == "recon3d-small"
    assert model_of("vggt-1b-commercial") == "vggt-1b"


def test_unknown_names_are_refused() -> None:
    with pytest.raises(UsageError, match="no public weights of this name"):
        checkpoint_named("da3-tiny")


def test_a_published_any_view_file_fits_the_network(tmp_path: Path) -> None:
    """All 443 names of da3-small from the 437 tensors of such a file, in bytes instead of floats to keep it small."""
    from recon3d.feedforward.checkpoints import matching_state
    from recon3d.formats.safetensors import write_safetensors

    model = build_model("da3-small")
    names = {f"model.{name}": one for name, one in model.state_dict().items()}
    kept = {name: torch.empty(one.shape, dtype=torch.uint8) for name, one in names.items() if not SHARED.search(name)}
    twice = {name: re.sub(r"aux\.[123]\.2", "aux.0.2", name) for name in names.keys() - kept.keys()}
    assert (len(names), len(kept), len(twice)) == (443, 437, 6)
    write_safetensors(tmp_path / "x.safetensors", kept, twice)
    assert matching_state(model, tmp_path / "x.safetensors").keys() == model.state_dict().keys()

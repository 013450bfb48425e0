"""Reading `cameras.json` and `subsets.json`: what is kept, and one error type for everything else."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from recon3d.core.errors import FormatError, InputError, UsageError
from recon3d.evaluation import read_subsets, read_truth

CAMERA: dict[str, Any] = {
    "name": "a.jpg",
    "width": 640,
    "height": 480,
    "K": [[800.0, 0.0, 320.0], [0.0, 801.0, 240.0], [0.0, 0.0, 1.0]],
    "dist": [-0.1, 0.0, 0.0, 0.0],
    "w2c": [[1.0, 0.0, 0.0, 0.5], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 2.0]],
}
OUTLIER: dict[str, Any] = {"name": "z.jpg", "outlier": True, "w2c": None, "K": None}
DOCUMENT: dict[str, Any] = {"set": "demo", "unit": "metre", "images": [CAMERA, {**CAMERA, "name": "b.jpg"}, OUTLIER]}


def write(folder: Path, value: object) -> Path:
    path = folder / "cameras.json"
    path.write_text(json.dumps(value))
    return path


def changed(path: tuple[Any, ...], value: object) -> dict[str, Any]:
    document = copy.deepcopy(DOCUMENT)
    target: Any = document
    for step in path[:-1]:
        target = target[step]
    target[path[-1]] = value
    return document


def test_reads_cameras_and_keeps_outliers_apart(tmp_path: Path) -> None:
    truth = read_truth(write(tmp_path, DOCUMENT))
    assert (truth.name, truth.unit, truth.is_metric, truth.expect_refusal) == ("demo", "metre", True, False)
    assert truth.names == ("a.jpg", "b.jpg")
    assert truth.outliers == ("z.jpg",)
    assert truth.cameras.width.tolist() == [640, 640]
    assert np.array_equal(truth.cameras.centers[0], [-0.5, 0.0, -2.0])
    assert truth.cameras.distortion is not None
    assert truth.cameras.distortion[0, 0] == -0.1


def test_reads_the_expectation_and_missing_distortion(tmp_path: Path) -> None:
    camera = {key: value for key, value in CAMERA.items() if key != "dist"}
    truth = read_truth(write(tmp_path, {"expect": "refuse", "images": [camera]}))
    assert truth.expect_refusal
    assert not truth.is_metric
    assert truth.cameras.distortion is not None
    assert not truth.cameras.distortion.any()


def test_only_outliers_is_a_valid_truth(tmp_path: Path) -> None:
    assert len(read_truth(write(tmp_path, {"images": [OUTLIER]})).cameras) == 0


def test_restriction_keeps_order_and_outliers(tmp_path: Path) -> None:
    truth = read_truth(write(tmp_path, DOCUMENT))
    part = truth.restricted(["z.jpg", "b.jpg"], "few")
    assert (part.names, part.outliers, part.subset, len(part.cameras)) == (("b.jpg",), ("z.jpg",), "few", 1)
    with pytest.raises(UsageError, match=r"c\.jpg"):
        truth.restricted(["c.jpg"], "few")


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("images",), []),
        (("images",), "none"),
        (("images", 0), 7),
        (("images", 0, "name"), ""),
        (("images", 0, "name"), "b.jpg"),
        (("images", 0, "width"), 0),
        (("images", 0, "height"), 10**400),
        (("images", 0, "K"), [[1.0, 0.0], [0.0, 1.0]]),
        (("images", 0, "K"), [[-1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]),
        (("images", 0, "w2c"), None),
        (("images", 0, "w2c"), [[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, -1.0, 0.0]]),
        (("images", 0, "w2c"), [[2.0, 0.0, 0.0, 0.0], [0.0, 2.0, 0.0, 0.0], [0.0, 0.0, 2.0, 0.0]]),
        (("images", 0, "w2c"), [[1e308, 0.0, 0.0, 0.0], [0.0, 1e308, 0.0, 0.0], [0.0, 0.0, 1e308, 0.0]]),
        (("images", 0, "dist"), [0.0]),
        (("images", 0, "dist"), ["k", 0, 0, 0]),
    ],
)
def test_invalid_values_are_format_errors(tmp_path: Path, path: tuple[Any, ...], value: object) -> None:
    with pytest.raises(FormatError, match=r"cameras\.json"):
        read_truth(write(tmp_path, changed(path, value)))


@pytest.mark.parametrize("data", [b"", b"[]", b"{", b"\xff\xfe", b"null", b"[" * 100_000, b'{"images": [{"K": NaN}]}'])
def test_invalid_bytes_are_format_errors(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "cameras.json"
    path.write_bytes(data)
    with pytest.raises(FormatError):
        read_truth(path)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_mutated_files_give_a_truth_or_a_format_error(tmp_path: Path, data: st.DataObject) -> None:
    raw = bytearray(json.dumps(DOCUMENT).encode())
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "mutated.json"
    path.write_bytes(bytes(raw))
    try:
        truth = read_truth(path)
    except FormatError:
        return
    assert np.isfinite(truth.cameras.cam_from_world).all()


def test_files_above_the_cap_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recon3d.evaluation.truth.MAX_JSON_BYTES", 100)
    with pytest.raises(FormatError, match="too large"):
        read_truth(write(tmp_path, DOCUMENT))


def test_missing_file_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing"):
        read_truth(tmp_path / "nothing.json")


def test_subsets(tmp_path: Path) -> None:
    path = write(tmp_path, {"few": ["a.jpg", "b.jpg"]})
    assert read_subsets(path) == {"few": ("a.jpg", "b.jpg")}
    with pytest.raises(FormatError, match="few"):
        read_subsets(write(tmp_path, {"few": "a.jpg"}))

"""Real clouds against numbers that were decoded independently (expected.json; dispatch on its ``format``)."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recon3d.formats.e57 import read_e57
from recon3d.formats.kitti import read_kitti_points
from recon3d.formats.kitti_semantic import read_point_labels, read_semantic_kitti
from recon3d.formats.las import Las, read_las
from recon3d.formats.pcd import read_pcd, write_pcd
from recon3d.formats.pcd_colour import unpack_rgb
from recon3d.formats.pcd_header import parse_header
from recon3d.formats.reading import ByteReader

pytestmark = pytest.mark.dataset
ROOT = Path(os.environ.get("RECON3D_DATASETS", Path(__file__).resolve().parents[3] / "shared" / "datasets"))
FOLDER = ROOT / "pointclouds"
EXPECTED: dict[str, dict[str, Any]] = (
    json.loads((FOLDER / "expected.json").read_text()) if (FOLDER / "expected.json").is_file() else {}
)
FORMATS = sorted({row["format"] for row in EXPECTED.values() if "format" in row})


def of_format(chosen: Callable[[str], bool]) -> pytest.MarkDecorator:
    names = [name for name, row in EXPECTED.items() if chosen(row.get("format", ""))]
    skip = pytest.param("", marks=pytest.mark.skip(reason=f"no such cloud below {FOLDER}"))
    return pytest.mark.parametrize("name", names or [skip])


def assert_numbers(values: np.ndarray, want: dict[str, Any]) -> None:
    """Rows, bounds, mean, first and last agree; the bounds are those of the rows that have all numbers."""
    table = values.reshape(len(values), -1).astype(np.float64)
    finite = table[np.isfinite(table).all(1)]
    assert (len(table), len(finite)) == (want["rows"], want["finite_rows"])
    np.testing.assert_array_equal(finite.min(0), want["min"])
    np.testing.assert_array_equal(finite.max(0), want["max"])
    np.testing.assert_allclose(finite.mean(0), want["mean"], rtol=1e-9, atol=1e-12)
    for row, name in ((0, "first"), (-1, "last")):
        if want[name] is not None:
            np.testing.assert_array_equal(table[row], want[name])
        else:
            assert not np.isfinite(table[row]).all()


def counts(values: np.ndarray) -> dict[str, int]:
    ids, numbers = np.unique(values, return_counts=True)
    return {str(name): int(number) for name, number in zip(ids, numbers, strict=True)}


def test_every_format_has_a_test() -> None:
    known = {"pcd", "e57", "las", "int64", "semantickitti_label"}
    assert {each for each in FORMATS if not each.startswith("float32x")} <= known


@of_format(lambda name: name == "pcd")
def test_pcd(name: str, tmp_path: Path) -> None:
    want, cloud = EXPECTED[name], read_pcd(FOLDER / name)
    header = parse_header(ByteReader((FOLDER / name).read_bytes(), name))
    codes = [kind.lower() + size for kind, size in zip(want["type"], want["size"], strict=True)]
    table = list(zip(want["fields"], codes, map(int, want["count"]), strict=True))
    assert [(each.name, each.code, each.count) for each in header.fields] == table
    assert (header.data, cloud.width, cloud.height) == (want["data"], want["width"], want["height"])
    assert cloud.viewpoint == tuple(map(float, want["viewpoint"]))
    assert list(cloud.fields) == [each for each in want["fields"] if each != "_"]
    assert_numbers(np.stack([cloud.fields[axis] for axis in "xyz"], 1), want["xyz"])
    if "rgb" in want:
        colours = unpack_rgb(cloud.fields["rgba"] if "rgba" in cloud.fields else cloud.fields["rgb"])
        np.testing.assert_allclose(colours.mean(0), want["rgb"]["mean"], rtol=1e-9)
        assert colours[[0, -1]].tolist() == [want["rgb"]["first"], want["rgb"]["last"]]
    if "label_counts" in want:
        assert counts(cloud.fields["label"]) == want["label_counts"]
    if cloud.width * cloud.height < 50_000:
        for encoding in ("ascii", "binary", "binary_compressed"):
            write_pcd(tmp_path / "copy.pcd", cloud.fields, encoding=encoding, height=cloud.height)
            copy = read_pcd(tmp_path / "copy.pcd")
            assert all(copy.fields[each].tobytes() == cloud.fields[each].tobytes() for each in cloud.fields)


@of_format(lambda name: name.startswith("float32x"))
def test_float_rows(name: str) -> None:
    want = EXPECTED[name]
    rows = read_kitti_points(FOLDER / name, int(want["format"].removeprefix("float32x")))
    assert_numbers(rows, want["data"])


@of_format(lambda name: name == "semantickitti_label")
def test_semantic_kitti(name: str) -> None:
    want = EXPECTED[name]
    label, instance = read_semantic_kitti(FOLDER / name)
    assert (len(label), label[0] | instance[0] << 16) == (want["rows"], want["first"])
    assert counts(label) == want["semantic_counts"]
    assert len(np.setdiff1d(instance, [0])) == want["num_instances"]


@of_format(lambda name: name == "int64")
def test_masks(name: str) -> None:
    labels = read_point_labels(FOLDER / name, "i8")
    assert (len(labels), counts(labels)) == (EXPECTED[name]["rows"], EXPECTED[name]["counts"])


def las_rows(cloud: Las, name: str) -> np.ndarray:
    if name == "rgb16":
        return np.stack([cloud.dimension(channel) for channel in ("red", "green", "blue")], 1)
    return cloud.xyz if name == "xyz" else cloud.dimension(name)


@of_format(lambda name: name == "las")
def test_las(name: str) -> None:
    if name.endswith(".laz"):
        pytest.importorskip("lazrs")
    want, cloud = EXPECTED[name], read_las(FOLDER / name)
    header = cloud.header
    assert (f"1.{header.minor}", header.point_format) == (want["version"], want["point_format"])
    assert (header.record_bytes, header.n_points) == (want["record_length"], want["point_count"])
    assert (list(header.scale), list(header.offset)) == (want["scale"], want["offset"])
    laszip = sum(each.user == "laszip encoded" for each in header.vlrs)
    assert len(header.vlrs) - laszip == want["num_vlrs"]
    assert set(want["dims"]) == set(cloud.dimensions)
    assert [int(cloud.records[axis][0]) for axis in "XYZ"] == want["raw_first"]
    for part in ("xyz", "intensity", "gps_time", "rgb16"):
        if part in want:
            assert_numbers(las_rows(cloud, part), want[part])
    assert counts(cloud.dimension("classification")) == want["classification_counts"]


@of_format(lambda name: name == "e57")
def test_e57(name: str) -> None:
    pytest.importorskip("pye57")
    want, scans = EXPECTED[name], read_e57(FOLDER / name)
    assert len(scans) == want["scans"]
    assert sum(len(scan.xyz) for scan in scans) == want["point_count"]
    assert set(want["fields"]) <= set(scans[0].fields)
    assert_numbers(scans[0].xyz_scan, want["xyz_raw"])
    if want["rotation_wxyz"] is None:
        np.testing.assert_array_equal(scans[0].world_from_scan, np.eye(4))

"""Every format with every attribute, one point, no point, and points without a position; and damaged files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from recon3d.core.errors import FormatError, InputError, Recon3DError, UsageError
from recon3d.pointcloud.clouds import (
    PointCloud,
    cloud_from_fields,
    cloud_from_message,
    cloud_to_message,
    fields_from_cloud,
    load,
    save,
)

NEEDS = {"a.laz": "lazrs", "a.e57": "pye57"}
FULL = ["a.pcd", "a.ply", "a.npz"]
LAS = ["a.las", "a.laz"]
ROWS = ["a.bin", "a.pcd.bin", "a.npy"]
EVERY = [*FULL, *LAS, *ROWS, "a.e57"]


def attributes(n: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(n)
    normals = rng.normal(size=(n, 3)) + 1e-6
    return {
        "intensity": rng.random(n).astype(np.float32),
        "rgb": rng.integers(0, 256, (n, 3)).astype(np.uint8),
        "normals": (normals / np.linalg.norm(normals, axis=1, keepdims=True)).astype(np.float32),
        "ring": rng.integers(0, 64, n).astype(np.int16),
        "time_s": rng.random(n),
        "label": rng.integers(-1, 20, n),
        "instance": rng.integers(0, 500, n),
    }


def cloud(n: int = 12, *names: str) -> PointCloud:
    chosen = {name: attributes(n)[name] for name in names}
    return PointCloud(xyz=np.random.default_rng(n).normal(0, 20, (n, 3)).round(3), attributes=chosen)


def round_trip(folder: Path, name: str, given_: PointCloud) -> PointCloud:
    pytest.importorskip(NEEDS.get(name, "numpy"))
    save(folder / name, given_)
    return load(folder / name)


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("n", [1, 2, 257])
def test_positions_and_their_number_come_back(tmp_path: Path, name: str, n: int) -> None:
    back = round_trip(tmp_path, name, cloud(n))
    assert len(back) == n and np.abs(back.xyz - cloud(n).xyz).max() < 6e-4


@pytest.mark.parametrize("name", FULL)
@pytest.mark.parametrize("each", list(attributes(1)))
@pytest.mark.parametrize("n", [0, 1, 9])
def test_each_attribute_comes_back_alone(tmp_path: Path, name: str, each: str, n: int) -> None:
    given_ = cloud(n, each)
    back = round_trip(tmp_path, name, given_)
    assert set(back.attributes) == {each}
    assert np.array_equal(back.attributes[each], given_.attributes[each])
    assert back.attributes[each].dtype.kind == given_.attributes[each].dtype.kind


@pytest.mark.parametrize("name", LAS)
@pytest.mark.parametrize("each", ["intensity", "rgb", "label", "time_s"])
@pytest.mark.parametrize("n", [0, 1, 9])
def test_las_keeps_what_it_has_a_place_for(tmp_path: Path, name: str, each: str, n: int) -> None:
    given_ = cloud(n, each)
    if each == "label":
        given_ = given_.with_attributes(label=np.abs(given_.attributes["label"]))
    back = round_trip(tmp_path, name, given_)
    scale = 65535 if each == "intensity" else 1
    assert np.allclose(back.attributes[each] / scale, given_.attributes[each], atol=1e-5)


@pytest.mark.parametrize("each", ["intensity", "rgb"])
def test_e57_keeps_intensities_and_colours(tmp_path: Path, each: str) -> None:
    given_ = cloud(9, each)
    back = round_trip(tmp_path, "a.e57", given_)
    assert np.allclose(back.attributes[each], given_.attributes[each], atol=1e-6)
    assert back.attributes["scan"].tolist() == [0] * 9 and back.frame == "map"


@pytest.mark.parametrize("name", ["a.bin", "a.pcd.bin"])
def test_rows_have_the_columns_of_their_format(tmp_path: Path, name: str) -> None:
    back = round_trip(tmp_path, name, cloud(9, "intensity", "ring", "label"))
    assert np.array_equal(back.attributes["intensity"], attributes(9)["intensity"])
    assert ("ring" in back.attributes) == (name == "a.pcd.bin")
    assert "label" not in back.attributes
    without = round_trip(tmp_path, name, cloud(9))
    assert not without.attributes["intensity"].any()  # zero where the cloud has none


@pytest.mark.parametrize("name", ["a.pcd", "a.ply", "a.npz", "a.bin", "a.npy"])
def test_points_without_a_position_stay_where_they_are(tmp_path: Path, name: str) -> None:
    given_ = cloud(6, "intensity")
    given_.xyz[[1, 4]] = np.nan
    back = round_trip(tmp_path, name, given_)
    assert np.array_equal(np.isnan(back.xyz).all(1), [False, True, False, False, True, False])
    assert len(back.finite()) == 4
    assert np.array_equal(back.attributes["intensity"], given_.attributes["intensity"])


@pytest.mark.parametrize("name", ["a.las", "a.laz", "a.e57"])
def test_formats_of_finite_numbers_refuse_others(tmp_path: Path, name: str) -> None:
    pytest.importorskip(NEEDS.get(name, "numpy"))
    given_ = cloud(3)
    given_.xyz[1, 2] = np.nan
    with pytest.raises(Recon3DError, match="finite"):
        save(tmp_path / name, given_)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", FULL)
def test_shapes_that_files_do_not_have_become_columns(tmp_path: Path, name: str) -> None:
    given_ = cloud(5).with_attributes(feature=np.arange(10, dtype=np.float32).reshape(5, 2), seen=np.eye(5)[0] > 0)
    back = round_trip(tmp_path, name, given_)
    if name == "a.npz":
        assert np.array_equal(back.attributes["feature"], given_.attributes["feature"])
    else:
        assert back.attributes["feature_1"].tolist() == [1, 3, 5, 7, 9]
    assert back.attributes["seen"].astype(bool).tolist() == [True, False, False, False, False]


@pytest.mark.parametrize("name", ["a.pcd", "a.ply", "a.npz", "a.las"])
def test_saving_twice_gives_the_same_bytes(tmp_path: Path, name: str) -> None:
    files = [tmp_path / f"{k}" / name for k in range(2)]
    for path in files:
        path.parent.mkdir()
        save(path, cloud(20, "intensity", "rgb"))
    assert files[0].read_bytes() == files[1].read_bytes()


@pytest.mark.parametrize("name", EVERY)
def test_a_file_that_exists_is_replaced_whole(tmp_path: Path, name: str) -> None:
    for n in (50, 3):
        back = round_trip(tmp_path, name, cloud(n))
    assert len(back) == 3 and [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", [each for each in EVERY if each not in ("a.bin", "a.pcd.bin")])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.7, 0.98])
def test_truncated_files_are_one_clear_error(tmp_path: Path, name: str, share: float) -> None:
    round_trip(tmp_path, name, cloud(200, "intensity"))
    data = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(data[: int(share * len(data))])
    with pytest.raises(InputError, match="a\\."):
        load(tmp_path / name)


@pytest.mark.parametrize("name", ["a.pcd", "a.ply", "a.npz", "a.npy", "a.las"])
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.integers(0, 10_000), value=st.integers(0, 255))
def test_a_changed_byte_gives_a_cloud_or_an_error(tmp_path: Path, name: str, place: int, value: int) -> None:
    save(tmp_path / name, cloud(20, "intensity"))
    data = bytearray((tmp_path / name).read_bytes())
    data[place % len(data)] = value
    (tmp_path / name).write_bytes(data)
    try:
        assert load(tmp_path / name).xyz.dtype == np.float64
    except InputError as error:
        assert name in str(error) or "column" in str(error)
    except UsageError as error:  # another number of columns
        assert "columns" in str(error)


@pytest.mark.parametrize("number", range(1, 16))
def test_rows_that_do_not_fill_a_point_are_damaged(tmp_path: Path, number: int) -> None:
    (tmp_path / "a.bin").write_bytes(bytes(16 * 3 + number))
    with pytest.raises(FormatError):
        load(tmp_path / "a.bin")


# --- fields and messages ---


@settings(max_examples=30)
@given(st.integers(0, 30), st.sets(st.sampled_from(list(attributes(1)))), st.booleans())
def test_fields_of_a_cloud_make_the_cloud_again(n: int, names: set[str], packed: bool) -> None:
    given_ = cloud(n, *sorted(names))
    back = cloud_from_fields(fields_from_cloud(given_, packed_rgb=packed))
    assert set(back.attributes) == names and np.allclose(back.xyz, given_.xyz, atol=1e-4)
    for name in names:
        assert np.array_equal(back.attributes[name], given_.attributes[name])


@settings(max_examples=20)
@given(st.integers(0, 30), st.sets(st.sampled_from(list(attributes(1)))))
def test_messages_of_a_cloud_make_the_cloud_again(n: int, names: set[str]) -> None:
    given_ = cloud(n, *sorted(names))
    back = cloud_from_message(cloud_to_message(given_))
    assert set(back.attributes) == names and back.frame == "sensor"
    for name in names:
        assert np.allclose(back.attributes[name], given_.attributes[name])


@pytest.mark.parametrize("axis", ["x", "y", "z"])
@pytest.mark.parametrize("name", ["a.pcd", "a.ply", "a.bin"])
def test_attributes_with_the_name_of_a_coordinate_are_refused(tmp_path: Path, axis: str, name: str) -> None:
    """They would take the place of the positions in the file."""
    given_ = cloud(3).with_attributes(**{axis: np.zeros(3)})
    with pytest.raises(UsageError, match=f"name of a coordinate; got: {axis}; to fix: give the attribute another"):
        save(tmp_path / name, given_)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("far", [999.0, 1001.0, 5e6])
def test_positions_are_stored_as_floats_only_near_the_origin(far: float) -> None:
    fields = fields_from_cloud(PointCloud(xyz=np.array([[far, 0.0, 0.0]])))
    assert fields["x"].dtype == (np.float32 if far < 1000 else np.float64)
    assert fields["y"].dtype == fields["x"].dtype

"""Trajectory files: every kind gives the cameras that were written, and damage is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from recon3d.core.errors import FormatError, InputError
from recon3d.formats.transforms import Transforms, write_transforms
from recon3d.formats.tum import write_tum
from recon3d.render.cameras import Cameras
from recon3d.render.trajectories import focal_per_diagonal, framed, look_at
from recon3d.render.trajectory_files import read_path_file

SIZE = (64, 48)


def cameras(n: int = 3) -> Cameras:
    eyes = np.random.default_rng(2).normal(size=(n, 3)) * 3
    return framed(look_at(eyes, np.zeros(3), np.array([0, 0, 1.0])), np.full(n, 0.7), SIZE)


def test_tum_gets_the_lens_that_is_given(tmp_path: Path) -> None:
    write_tum(tmp_path / "path.tum", cameras().world_from_cam)
    found = read_path_file(tmp_path / "path.tum", (200, 100), 0.8)
    assert np.allclose(found.cam_from_world, cameras().cam_from_world, atol=1e-12)
    assert np.allclose(focal_per_diagonal(found), 0.8)
    assert (found.width.tolist(), found.height.tolist()) == ([200] * 3, [100] * 3)


def test_transforms_keep_their_own_lens_and_lose_its_distortion(tmp_path: Path) -> None:
    c = cameras()
    distortion = np.full((3, 4), 0.01)
    names = ("a", "b", "c")
    write_transforms(tmp_path / "t.json", Transforms(names, c.cam_from_world, c.K, c.width, c.height, distortion))
    found = read_path_file(tmp_path / "t.json", (200, 100), 0.8)
    assert np.allclose(found.cam_from_world, c.cam_from_world, atol=1e-12)
    assert np.allclose(found.K, c.K)
    assert found.distortion is None


@pytest.mark.parametrize("shared", [True, False])
def test_plain_json_with_intrinsics(tmp_path: Path, shared: bool) -> None:
    c = cameras()
    K = c.K[0].tolist() if shared else c.K.tolist()
    value = {"cam_from_world": c.cam_from_world.tolist(), "K": K, "width": 64, "height": 48}
    (tmp_path / "p.json").write_text(json.dumps(value))
    found = read_path_file(tmp_path / "p.json", (200, 100), 0.8)
    assert np.allclose(found.K, c.K)
    assert found.width.tolist() == [64] * 3
    assert np.allclose(found.cam_from_world, c.cam_from_world)


def test_plain_json_without_intrinsics(tmp_path: Path) -> None:
    (tmp_path / "p.json").write_text(json.dumps({"cam_from_world": cameras().cam_from_world.tolist()}))
    found = read_path_file(tmp_path / "p.json", (200, 100), 0.8)
    assert found.width.tolist() == [200] * 3
    assert np.allclose(focal_per_diagonal(found), 0.8)


def _scaled(value: dict) -> None:
    value["cam_from_world"][1][0][0] = 1.7


def _mirrored(value: dict) -> None:
    value["cam_from_world"][0] = np.diag([-1.0, 1, 1, 1]).tolist()


def _ragged(value: dict) -> None:
    value["cam_from_world"][1][2] = [0.0]


def _zero_focal(value: dict) -> None:
    value["K"][0][0] = 0.0


def _no_width(value: dict) -> None:
    del value["width"]


def _empty(value: dict) -> None:
    value["cam_from_world"] = []
    del value["K"]


@pytest.mark.parametrize("spoil", [_scaled, _mirrored, _ragged, _zero_focal, _no_width, _empty])
def test_what_is_no_path_is_refused(tmp_path: Path, spoil: Callable[[dict], None]) -> None:
    c = cameras()
    value = {"cam_from_world": c.cam_from_world.tolist(), "K": c.K[0].tolist(), "width": 64, "height": 48}
    spoil(value)
    (tmp_path / "p.json").write_text(json.dumps(value))
    with pytest.raises(FormatError):
        read_path_file(tmp_path / "p.json", SIZE, 0.8)


def test_an_empty_trajectory_and_an_absent_file_are_refused(tmp_path: Path) -> None:
    (tmp_path / "p.tum").write_text("# nothing\n")
    with pytest.raises(FormatError, match="holds no pose"):
        read_path_file(tmp_path / "p.tum", SIZE, 0.8)
    with pytest.raises(InputError):
        read_path_file(tmp_path / "absent.json", SIZE, 0.8)


@given(st.binary(max_size=200), st.sampled_from(["p.json", "p.tum"]))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
def test_any_bytes_are_a_path_or_a_format_error(tmp_path: Path, data: bytes, name: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(FormatError):
        read_path_file(tmp_path / name, SIZE, 0.8)


@given(
    st.recursive(st.none() | st.floats() | st.text(max_size=3), lambda inner: st.lists(inner, max_size=4), max_leaves=9)
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
def test_any_json_is_a_path_or_a_format_error(tmp_path: Path, value: object) -> None:
    document = {"cam_from_world": cameras(1).cam_from_world.tolist(), "K": value, "width": 8, "height": 8}
    (tmp_path / "p.json").write_text(json.dumps(document))
    with pytest.raises(FormatError):
        read_path_file(tmp_path / "p.json", SIZE, 0.8)

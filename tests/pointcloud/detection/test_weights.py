"""Files of weights: what they say about themselves, and what happens to those that lie."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest
import torch
from small_detection import tiny_options

from recon3d.core.errors import FormatError, InputError, UsageError
from recon3d.formats.safetensors import read_metadata, read_safetensors, write_safetensors
from recon3d.pointcloud.detection import Detector, SensorOptions, read_detector, sensor_options, weights, write_detector
from recon3d.pointcloud.detection.network import SMALL
from recon3d.pointcloud.flatformer import PillarDetector

SENSOR = SensorOptions(mount_m=2.1, intensity_max=255.0, sector_deg=120.0, facing_deg=30.0)


@pytest.fixture
def model() -> PillarDetector:
    torch.manual_seed(0)
    return PillarDetector(tiny_options())


@pytest.fixture
def file(model: PillarDetector, tmp_path: Path) -> Path:
    write_detector(tmp_path / "d.safetensors", model.state_dict(), tiny_options(), SENSOR, "mine")
    return tmp_path / "d.safetensors"


def _retold(file: Path, **changes: object) -> Path:
    """Write the file with another description."""
    about = json.loads(read_metadata(file)["detector"]) | changes
    write_safetensors(file, read_safetensors(file), {"detector": json.dumps(about)})
    return file


def test_a_file_holds_halves_and_tells_of_its_network_and_sensor(file: Path) -> None:
    tensors = read_safetensors(file)
    assert {one.dtype for one in tensors.values()} == {torch.float16}
    assert not any("num_batches" in name for name in tensors)
    about = json.loads(read_metadata(file)["detector"])
    assert about["name"] == "mine" and about["sensor"]["facing_deg"] == 30.0
    assert about["options"]["classes"] == ["car", "pedestrian", "cyclist"]


def test_what_is_read_is_ready_to_run(file: Path, model: PillarDetector) -> None:
    stored = read_detector(file)
    assert stored.name == "mine" and stored.sensor == SENSOR and not stored.network.training
    assert stored.network.options == tiny_options()
    assert {one.dtype for one in stored.network.parameters()} == {torch.float32}
    for name, one in stored.network.named_buffers():
        assert torch.allclose(one.float(), model.get_buffer(name).float(), atol=1e-3)


def test_files_from_before_the_facing_was_known_look_ahead(file: Path) -> None:
    about = json.loads(read_metadata(file)["detector"])
    del about["sensor"]["facing_deg"]
    assert read_detector(_retold(file, sensor=about["sensor"])).sensor.facing_deg == 0


@pytest.mark.parametrize(
    "changes",
    [
        {"sensor": {"mount_m": "high"}},
        {"sensor": {"colour": 1}},
        {"sensor": None},
        {"options": {}},
        {"options": 7},
        {"sensor": {"intensity_max": -1.0}},
    ],
)
def test_descriptions_that_make_no_sense(file: Path, changes: dict[str, object]) -> None:
    with pytest.raises(FormatError):
        read_detector(_retold(file, **changes))


def test_a_damaged_file_is_said_to_be_one(file: Path) -> None:
    whole = file.read_bytes()
    for broken in (b"", whole[:7], whole[: len(whole) // 2], b"\0" * 100, whole[:100] + b"\xff" * 200 + whole[300:]):
        file.write_bytes(broken)
        with pytest.raises(FormatError):
            read_detector(file)


def test_a_missing_tensor_and_one_too_many(file: Path, tmp_path: Path) -> None:
    tensors, about = read_safetensors(file), read_metadata(file)
    name = next(iter(tensors))
    less, more = {k: v for k, v in tensors.items() if k != name}, {**tensors, "surplus": torch.zeros(3)}
    for changed in (less, more, {**tensors, name: torch.zeros(1, 1, 1)}):
        write_safetensors(tmp_path / "e.safetensors", changed, {"detector": about["detector"]})
        with pytest.raises(FormatError, match="does not fit"):
            read_detector(tmp_path / "e.safetensors")


def test_bare_weights_go_with_the_name_of_their_network(
    model: PillarDetector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights, "network_options", lambda name: tiny_options())
    write_safetensors(tmp_path / "bare.safetensors", dict(model.state_dict()))
    stored = read_detector(f"flatformer-nuscenes={tmp_path / 'bare.safetensors'}")
    assert stored.name == "flatformer-nuscenes" and stored.sensor == sensor_options("flatformer-nuscenes")
    assert torch.equal(stored.network.neck.deblocks[0][0].weight, model.neck.deblocks[0][0].weight)  # type: ignore[index]


def test_checkpoints_of_the_released_code_are_read_and_code_in_them_is_not_run(
    model: PillarDetector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights, "network_options", lambda _: tiny_options())
    whole = {"meta": {"epoch": 24}, "state_dict": model.state_dict(), "optimizer": {}}
    torch.save(whole, tmp_path / "epoch_24.pth")
    stored = read_detector(f"flatformer-nuscenes={tmp_path / 'epoch_24.pth'}")
    assert torch.equal(next(stored.network.parameters()), next(model.parameters()))
    torch.save({"state_dict": Path("code")}, tmp_path / "code.pth")
    with pytest.raises(FormatError, match="no file of tensors"):
        read_detector(f"flatformer-nuscenes={tmp_path / 'code.pth'}")


def test_files_and_names_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError):
        read_detector(tmp_path / "none.safetensors")
    with pytest.raises(InputError):
        read_detector("flatformer-waymo-1f=none.safetensors")
    with pytest.raises(UsageError, match=SMALL):
        read_detector("centerpoint")


def test_the_bundled_weights_are_small_and_read_by_many_threads() -> None:
    path = weights._path(SMALL)
    assert path.stat().st_size <= 4_000_000
    names: list[str] = []
    work = [threading.Thread(target=lambda: names.append(Detector.load(device="cpu").name)) for _ in range(3)]
    for one in work:
        one.start()
    for one in work:
        one.join()
    assert names == [SMALL] * 3

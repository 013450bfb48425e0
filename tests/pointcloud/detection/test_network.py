"""Networks by name: their sizes, what they take for granted, and how both are stored."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from small_detection import MOUNT, tiny_options

from recon3d.core.errors import FormatError, UsageError
from recon3d.pointcloud.detection import NETWORKS, SensorOptions, network_options, sensor_options
from recon3d.pointcloud.detection.network import SMALL, options_from_json, options_to_json, primed
from recon3d.pointcloud.flatformer import PillarDetector


def test_the_small_network_fits_into_four_megabytes() -> None:
    model = PillarDetector(network_options(SMALL))
    numbers = sum(one.numel() for one in model.state_dict().values())
    assert 0.5e6 < numbers < 2e6  # halves: below 4 MB
    assert any("middle_encoder" in name for name, _ in model.named_parameters())


def test_the_map_of_the_small_network_is_filled_by_its_sector() -> None:
    options, sensor = network_options(SMALL), sensor_options(SMALL)
    rng = np.random.default_rng(0)
    half = np.radians(sensor.sector_deg / 2)
    azimuth, away = rng.uniform(-half, half, 2000), rng.uniform(0, 48, 2000)
    turned = azimuth + np.radians(sensor.facing_deg)
    xy = np.column_stack([away * np.cos(turned), away * np.sin(turned)])
    lower, upper = np.array(options.grid.lower[:2]), np.array(options.grid.upper[:2])
    assert ((xy > lower) & (xy < upper)).all()
    area = float(np.prod(upper - lower))
    assert area < 1.5 * half * 48**2  # the rest is little


def test_centres_are_looked_for_where_the_map_is() -> None:
    for name in NETWORKS:
        options = network_options(name)
        assert (np.array(options.decode.centre_lower[:2]) <= options.grid.lower[:2]).all()
        assert (np.array(options.decode.centre_upper[:2]) >= options.grid.upper[:2]).all()


def test_the_ground_lies_inside_the_pillars() -> None:
    for name in NETWORKS:
        grid, mount = network_options(name).grid, sensor_options(name).mount_m
        assert grid.lower[2] < -mount < -mount + 2.0 < grid.upper[2] + 0.3


def test_other_names_and_other_sensors() -> None:
    with pytest.raises(UsageError, match="no such detector"):
        network_options("pointpillars")
    unknown = sensor_options("flatformer-waymo-1f")
    assert unknown.mount_m == 0 and unknown.sector_deg == 360  # in the frame of the vehicle
    assert sensor_options("flatformer-kitti").sector_deg == 90


@pytest.mark.parametrize(
    "wrong",
    [
        {"intensity_max": 0.0},
        {"intensity_max": -1.0},
        {"sector_deg": 0.0},
        {"sector_deg": 361.0},
        {"mount_m": 1e5},
        {"mount_m": float("nan")},
    ],
)
def test_sensors_that_cannot_be(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="no such sensor"):
        SensorOptions(**wrong)


def test_options_survive_a_file() -> None:
    for options in (*map(network_options, NETWORKS), tiny_options()):
        text = json.dumps(options_to_json(options))
        assert options_from_json(json.loads(text)) == options


def test_tuples_come_back_as_tuples() -> None:
    back = options_from_json(json.loads(json.dumps(options_to_json(tiny_options()))))
    assert isinstance(back.classes, tuple) and isinstance(back.attributes[0], tuple)
    assert isinstance(back.grid.lower, tuple) and isinstance(back.decode.nms_overlap, tuple)


@pytest.mark.parametrize(
    "change",
    [
        {"grid": 3},
        {"grid": {"lower": [0, 0, 0], "upper": [0, 0, 0]}},
        {"unknown": 1},
        {"stride": 3},
        {"classes": ["car"]},
        {"encoder": {"channels": 5, "heads": 2}},
        {"decode": None},
    ],
)
def test_stored_options_that_do_not_fit_are_said_to_be_none(change: dict[str, object]) -> None:
    values = {**options_to_json(tiny_options()), **change}
    with pytest.raises(FormatError, match="options"):
        options_from_json(values)


def test_an_untrained_network_begins_with_boxes_on_the_ground() -> None:
    torch.manual_seed(0)
    model = primed(PillarDetector(tiny_options()), SensorOptions()).eval()
    head = model.bbox_head.task_heads[0]
    for name in ("height", "dim", "reg", "iou"):
        torch.nn.init.zeros_(head[name][1].weight)  # type: ignore[index]
    with torch.no_grad():
        maps = model([torch.tensor([[5.0, 0.0, -1.0, 0.5]])])
    box_z, sides = float(maps["height"].mean()), maps["dim"].exp().amax((0, 2, 3))
    assert -MOUNT < box_z < 0  # stands on the ground, and does not fly
    assert box_z - float(sides[2]) / 2 == pytest.approx(-MOUNT, abs=0.1)
    assert float(sides[0]) > float(sides[1]) > 0.3
    assert float(maps["reg"].mean()) == pytest.approx(0.5)  # the middle of a cell


def test_another_mount_begins_with_another_height() -> None:
    heights = []
    for mount in (0.0, 2.0):
        model = primed(PillarDetector(tiny_options()), SensorOptions(mount_m=mount))
        heights.append(float(model.bbox_head.task_heads[0]["height"][1].bias.detach()))  # type: ignore[index,arg-type]
    assert heights[0] - heights[1] == pytest.approx(2.0)


def test_velocities_and_heat_keep_their_beginning() -> None:
    options = replace(tiny_options(), velocity=True)
    torch.manual_seed(0)
    plain = PillarDetector(options)
    before = {name: one.clone() for name, one in plain.state_dict().items()}
    after = primed(plain, SensorOptions()).state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed and all(name.split(".")[-3] in ("reg", "height", "dim", "iou") for name in changed)

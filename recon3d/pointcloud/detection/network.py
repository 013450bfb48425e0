"""Which network a name means, and what its sensor is: height over the ground and scale of the intensity."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch

from recon3d.core.errors import FormatError, UsageError
from recon3d.pointcloud.flatformer.detector import PillarDetector
from recon3d.pointcloud.flatformer.options import (
    DETECTOR_NAMES,
    DecodeOptions,
    DetectorOptions,
    EncoderOptions,
    LossOptions,
    PillarGrid,
    TargetOptions,
    detector_options,
)

SMALL = "recon3d-detector"
NETWORKS = (SMALL, *DETECTOR_NAMES)


@dataclass(frozen=True, kw_only=True)
class SensorOptions:
    """What a network takes for granted about the sensor; stored with its weights.

    Args:
        mount_m: height of the origin of the points over the ground, metres.
        intensity_max: intensity of the brightest point in the files, 1 or 255 mostly; the network sees shares of it.
        sector_deg: width of what it looks at, about the +x axis; a cloud that reaches farther is turned and looked at
            several times. 360 = all around at once.
        facing_deg: where the middle of the sector lies in the maps of the network: at 45 degrees a quarter of the turn
            fills a square map, which along an axis would be half empty.
    """

    mount_m: float = 1.73
    intensity_max: float = 1.0
    sector_deg: float = 90.0
    facing_deg: float = 0.0

    def __post_init__(self) -> None:
        if not (self.intensity_max > 0 and 0 < self.sector_deg <= 360 and abs(self.mount_m) < 1e4):
            raise UsageError("no such sensor", got=self, expected="intensity_max above 0, sector_deg in (0, 360]")


_SENSORS = {
    SMALL: SensorOptions(facing_deg=45.0),
    "flatformer-kitti": SensorOptions(),
    "flatformer-nuscenes": SensorOptions(mount_m=1.84, sector_deg=360.0),
    "flatformer-tiny": SensorOptions(mount_m=1.84, sector_deg=360.0),
}


def network_options(name: str) -> DetectorOptions:
    """Return the sizes of a network.

    Args:
        name: one of ``NETWORKS``: ``recon3d-detector``, or one of the configurations of FlatFormer.

    Raises:
        UsageError: there is none of this name.
    """
    return _small() if name == SMALL else detector_options(name)


def sensor_options(name: str) -> SensorOptions:
    """Return the sensor that a network of this name is trained for.

    Args:
        name: as in :func:`network_options`; those of Waymo stand in the frame of the vehicle, on the ground.
    """
    return _SENSORS.get(name, SensorOptions(mount_m=0.0, sector_deg=360.0))


_HALF_HEIGHT = 0.8  # metres; of a usual object
_LENGTH_WIDTH_HEIGHT = (1.8, 0.9, 1.65)


@torch.no_grad()
def primed(model: PillarDetector, sensor: SensorOptions) -> PillarDetector:
    """Return an untrained network that begins with usual boxes on the ground; training need not find them first.

    Args:
        model: is changed.
        sensor: tells where the ground is.
    """
    usual = {
        "reg": torch.full((2,), 0.5),
        "height": torch.tensor([_HALF_HEIGHT - sensor.mount_m]),
        "dim": torch.tensor(_LENGTH_WIDTH_HEIGHT).log(),
        "iou": torch.tensor([0.5]),
    }
    for name, branch in model.bbox_head.task_heads[0].items():  # type: ignore[operator]
        if name in usual:
            branch[1].bias.copy_(usual[name])
    return model


def _small() -> DetectorOptions:
    """One that a core runs in a tenth of a second: 0.9 M parameters, maps of 0.8 m, a quarter of the turn."""
    grid = PillarGrid(lower=(-1.6, -1.6, -4.0), upper=(49.6, 49.6, 2.0), size=(0.4, 0.4, 6.0))
    return DetectorOptions(
        grid=grid,
        attributes=(("intensity", "as_is"),),
        stride=2,
        vfe_channels=(32, 64),
        encoder=EncoderOptions(channels=64, heads=4, blocks=1, window=(9, 9), group=72, cells=grid.shape[:2]),
        backbone_channels=(64, 128),
        backbone_layers=(2, 3),
        neck_channels=64,
        shared_channels=64,
        branch_channels=32,
        velocity=False,
        loss=LossOptions(box_weight=1.0),
        decode=DecodeOptions(
            candidates=1000,
            iou_power=0.5,
            centre_lower=(-1.6, -1.6, -10.0),
            centre_upper=(49.6, 49.6, 10.0),
            nms_overlap=(0.1, 0.2, 0.2),
            nms_before=(500, 500, 500),
            nms_after=(150, 150, 150),
        ),
    )


_PARTS: dict[str, type[Any]] = {
    "grid": PillarGrid,
    "encoder": EncoderOptions,
    "targets": TargetOptions,
    "loss": LossOptions,
    "decode": DecodeOptions,
}


def options_to_json(options: DetectorOptions) -> dict[str, Any]:
    """Return options as JSON holds them.

    Args:
        options: of a detector.
    """
    return asdict(options)


def options_from_json(values: dict[str, Any]) -> DetectorOptions:
    """Return the options that :func:`options_to_json` wrote.

    Args:
        values: from JSON.

    Raises:
        FormatError: they are no such options.
    """
    try:
        parts = {name: _PARTS[name](**_tuples(value)) for name, value in values.items() if name in _PARTS}
        return DetectorOptions(**{**_tuples(values), **parts})
    except (TypeError, ValueError, AttributeError, UsageError) as error:
        raise FormatError("no options of a detector", got=error) from error


def _tuples(values: dict[str, Any]) -> dict[str, Any]:
    return {name: _tuple(value) for name, value in values.items()}


def _tuple(value: Any) -> Any:
    return tuple(map(_tuple, value)) if isinstance(value, list) else value

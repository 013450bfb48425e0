"""Options of a pillar detector, one frozen dataclass per part, and the named configurations."""

from __future__ import annotations

from dataclasses import dataclass, replace

from recon3d.core.errors import UsageError

SCALINGS = ("as_is", "byte", "tanh")
CONVENTIONS = ("recon3d", "mmdet3d_v0")
Triple = tuple[float, float, float]
Attributes = tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True)
class PillarGrid:
    """A box of space, cut into cells.

    Args:
        lower: smallest x, y, z in metres, in the sensor's or vehicle's frame with z up.
        upper: largest x, y, z.
        size: sides of a cell in metres; a pillar is as high as the box.
    """

    lower: Triple = (-74.88, -74.88, -2.0)
    upper: Triple = (74.88, 74.88, 4.0)
    size: Triple = (0.32, 0.32, 6.0)

    def __post_init__(self) -> None:
        if min(self.size) <= 0 or min(self.shape) < 1:
            raise UsageError("a grid without cells", got=self, expected="lower < upper and sizes above 0")

    @property
    def shape(self) -> tuple[int, int, int]:
        """Cells along x, y and z."""
        counts = [round((b - a) / s) for a, b, s in zip(self.lower, self.upper, self.size, strict=True)]
        return counts[0], counts[1], counts[2]

    @property
    def bev(self) -> tuple[int, int]:
        """Rows (y) and columns (x) of the map seen from above."""
        return self.shape[1], self.shape[0]


@dataclass(frozen=True, kw_only=True)
class EncoderOptions:
    """Sizes of the FlatFormer encoder.

    Args:
        channels: of a pillar.
        heads: of the attention.
        blocks: of four layers each.
        activation: of the feed-forward part, "gelu" or "relu".
        window: cells of a window along x and y.
        group: pillars of a group, about 0.85 of the cells of a window.
        cells: of the whole map along x and y.
        temperature: of the positional embedding.
        normalised_positions: positions as angles of 0..2 pi over the map instead of cell numbers.
    """

    channels: int = 128
    heads: int = 8
    blocks: int = 2
    activation: str = "gelu"
    window: tuple[int, int] = (13, 13)
    group: int = 144
    cells: tuple[int, int] = (468, 468)
    temperature: float = 10000.0
    normalised_positions: bool = False

    def __post_init__(self) -> None:
        if self.channels % self.heads or self.group < 1 or self.activation not in ("gelu", "relu"):
            raise UsageError(
                "the options of the encoder do not fit",
                got=self,
                expected="channels divisible by heads, a group of 1 or more, activation gelu or relu",
            )


@dataclass(frozen=True, kw_only=True)
class TargetOptions:
    """How truth is drawn on the maps.

    Args:
        overlap: smallest overlap that a box moved by the Gaussian's radius keeps.
        smallest_radius: of a Gaussian, in cells.
        most_objects: slots of a sample.
    """

    overlap: float = 0.1
    smallest_radius: int = 1
    most_objects: int = 500


@dataclass(frozen=True, kw_only=True)
class LossOptions:
    """Weights of the losses.

    Args:
        box_weight: of the L1 loss of the boxes.
        velocity_weight: of the two velocities in it.
        iou_weight: of the predicted overlap.
        legacy_iou_target: take the overlap as the released code does, with the centre's z as the bottom of the box.
    """

    box_weight: float = 2.0
    velocity_weight: float = 0.0
    iou_weight: float = 1.0
    legacy_iou_target: bool = False


@dataclass(frozen=True, kw_only=True)
class DecodeOptions:
    """Which boxes are kept.

    Args:
        candidates: boxes taken from the maps, by falling score.
        score: smallest score, exclusive.
        iou_power: of the predicted overlap in the score.
        centre_lower: smallest x, y, z of a centre, metres.
        centre_upper: largest of it.
        nms_overlap: bird's-eye overlap above which the weaker box of a class falls, per class.
        nms_before: boxes of a class that enter the suppression.
        nms_after: boxes of a class that leave it.
    """

    candidates: int = 4096
    score: float = 0.1
    iou_power: float = 2.0
    centre_lower: Triple = (-74.88, -74.88, -10.0)
    centre_upper: Triple = (74.88, 74.88, 10.0)
    nms_overlap: tuple[float, ...] = (0.8, 0.55, 0.55)
    nms_before: tuple[int, ...] = (2048, 1024, 1024)
    nms_after: tuple[int, ...] = (300, 100, 100)


@dataclass(frozen=True, kw_only=True)
class DetectorOptions:
    """A whole detector.

    Args:
        grid: where it looks.
        attributes: columns of a point behind x, y, z: the name, and how it becomes a feature: "as_is", "byte" (over
            255) or "tanh" (for what has no bound).
        stride: cells of pillars along a cell of the maps, 1 as released or more: the first convolution of the 2D
            network takes such steps, and the maps, targets and boxes live on the coarser cells.
        vfe_channels: of the two layers on points.
        encoder: of the pillars; its channels and cells are those of the layers before it.
        backbone_channels: of the two stages of the 2D network.
        backbone_layers: convolutions of a stage behind its first.
        neck_channels: of either stage on the common map.
        shared_channels: of the head's first convolution.
        branch_channels: of a branch of the head.
        classes: names, in the order of the heat maps.
        velocity: whether the head predicts velocities.
        box_convention: of the weights: "recon3d" or "mmdet3d_v0" (width before length, angle clockwise from -y), in
            which the released training code works; boxes in and out are always ours.
        targets: how truth is drawn.
        loss: weights.
        decode: which boxes are kept.
    """

    grid: PillarGrid = PillarGrid()
    attributes: Attributes = (("intensity", "tanh"), ("elongation", "tanh"))
    stride: int = 1
    vfe_channels: tuple[int, int] = (64, 128)
    encoder: EncoderOptions = EncoderOptions()
    backbone_channels: tuple[int, int] = (64, 128)
    backbone_layers: tuple[int, int] = (3, 3)
    neck_channels: int = 128
    shared_channels: int = 64
    branch_channels: int = 64
    classes: tuple[str, ...] = ("car", "pedestrian", "cyclist")
    velocity: bool = True
    box_convention: str = "recon3d"
    targets: TargetOptions = TargetOptions()
    loss: LossOptions = LossOptions()
    decode: DecodeOptions = DecodeOptions()

    def __post_init__(self) -> None:
        if self.box_convention not in CONVENTIONS or {kind for _, kind in self.attributes} - {*SCALINGS}:
            raise UsageError(
                "an unknown convention",
                got=(self.box_convention, self.attributes),
                expected=f"one of {CONVENTIONS}, and attributes with one of {SCALINGS}",
            )
        if self.encoder.channels != self.vfe_channels[-1] or self.encoder.cells != self.grid.shape[:2]:
            raise UsageError(
                "the encoder does not fit to the pillars",
                got=(self.encoder.channels, self.encoder.cells),
                expected=(self.vfe_channels[-1], self.grid.shape[:2]),
            )
        if self.stride < 1 or any(side % (2 * self.stride) for side in self.grid.bev):
            raise UsageError(
                "the map cannot be halved", got=self.grid.bev, expected=f"multiples of {2 * self.stride} cells"
            )
        if not len(self.classes) == len(self.decode.nms_overlap) == len(self.decode.nms_before):
            raise UsageError("a suppression for other classes", got=self.decode, expected=f"{len(self.classes)} values")

    @property
    def maps(self) -> PillarGrid:
        """The cells of the maps of the head: those of the pillars, or coarser ones."""
        x, y, z = self.grid.size
        return replace(self.grid, size=(x * self.stride, y * self.stride, z))

    @property
    def columns(self) -> int:
        """Columns of a point: x, y, z and the attributes."""
        return 3 + len(self.attributes)


_NUSCENES_CLASSES = (
    "car",
    "truck",
    "bus",
    "trailer",
    "construction_vehicle",
    "pedestrian",
    "motorcycle",
    "bicycle",
    "traffic_cone",
    "barrier",
)


_SWEEPS = (("intensity", "tanh"), ("sweep", "as_is"))


def _waymo() -> DetectorOptions:
    """The released configuration."""
    return DetectorOptions(classes=("vehicle", "pedestrian", "cyclist"))


def _waymo_sweeps() -> DetectorOptions:
    """The released configuration of two and of three sweeps: the number of the sweep instead of the elongation."""
    return DetectorOptions(classes=("vehicle", "pedestrian", "cyclist"), attributes=_SWEEPS)


def _nuscenes() -> DetectorOptions:
    """Ours (nothing is published): the same pillars and windows, ten classes in one head, velocities learnt."""
    grid = PillarGrid(lower=(-51.84, -51.84, -5.0), upper=(51.84, 51.84, 3.0), size=(0.32, 0.32, 8.0))
    decode = DecodeOptions(
        centre_lower=(-51.84, -51.84, -10.0),
        centre_upper=(51.84, 51.84, 10.0),
        nms_overlap=(0.2,) * 10,
        nms_before=(1000,) * 10,
        nms_after=(83,) * 10,
    )
    return DetectorOptions(
        grid=grid,
        attributes=(("intensity", "byte"), ("sweep", "as_is")),
        encoder=EncoderOptions(cells=grid.shape[:2]),
        classes=_NUSCENES_CLASSES,
        loss=LossOptions(velocity_weight=0.2),
        decode=decode,
    )


def _kitti() -> DetectorOptions:
    """Ours (nothing is published): the view of the front camera, four columns, no velocities."""
    grid = PillarGrid(lower=(0.0, -39.68, -3.0), upper=(69.12, 39.68, 1.0), size=(0.32, 0.32, 4.0))
    return DetectorOptions(
        grid=grid,
        attributes=(("intensity", "as_is"),),
        encoder=EncoderOptions(cells=grid.shape[:2]),
        velocity=False,
        decode=DecodeOptions(centre_lower=(0.0, -39.68, -10.0), centre_upper=(69.12, 39.68, 10.0)),
    )


def _tiny() -> DetectorOptions:
    """A small one for tests: a crop of 23 m by 36 m of a sensor 1.8 m above the ground."""
    grid = PillarGrid(lower=(-10.24, -20.48, -4.0), upper=(12.8, 15.36, 2.0))
    return DetectorOptions(
        grid=grid,
        attributes=(("intensity", "byte"), ("sweep", "as_is")),
        vfe_channels=(32, 64),
        encoder=EncoderOptions(channels=64, heads=4, cells=grid.shape[:2]),
        backbone_channels=(32, 64),
        backbone_layers=(2, 2),
        neck_channels=48,
        shared_channels=32,
    )


_NAMED = {
    "flatformer-waymo-1f": _waymo,
    "flatformer-waymo-2f": _waymo_sweeps,
    "flatformer-waymo-3f": _waymo_sweeps,
    "flatformer-nuscenes": _nuscenes,
    "flatformer-kitti": _kitti,
    "flatformer-tiny": _tiny,
}
DETECTOR_NAMES = tuple(_NAMED)


def detector_options(name: str, *, box_convention: str = "recon3d") -> DetectorOptions:
    """Return a named configuration.

    The Waymo ones are published; those of nuScenes and KITTI are this project's, because none is published.

    Args:
        name: one of ``DETECTOR_NAMES``.
        box_convention: of the weights that will be loaded.

    Raises:
        UsageError: there is none of this name.
    """
    if name not in _NAMED:
        raise UsageError("no such detector", got=name, expected=", ".join(DETECTOR_NAMES))
    return replace(_NAMED[name](), box_convention=box_convention)

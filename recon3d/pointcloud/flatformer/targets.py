"""What the head should say about true boxes: heat maps with a Gaussian at each centre, and the numbers there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from recon3d.core.errors import ShapeError
from recon3d.pointcloud.flatformer.coding import encode_boxes
from recon3d.pointcloud.flatformer.options import DetectorOptions

_WIDTHS = 6.0  # standard deviations in the diameter


@dataclass(frozen=True, eq=False, kw_only=True)
class TrueBoxes:
    """True boxes of one sample.

    Args:
        boxes: x, y, z of the geometric centre, length, width, height (metres), yaw counter-clockwise from +x.
        labels: numbers of the classes; others than those of the detector are left out.
        velocities: metres per second along x and y; NaN where unknown, None where all are.
    """

    boxes: Float[Tensor, "n 7"]
    labels: Int64[Tensor, " n"]
    velocities: Float[Tensor, "n 2"] | None = None


@dataclass(frozen=True, eq=False, kw_only=True)
class DetectionTargets:
    """Targets of a batch; boxes stand in slots, class by class.

    Args:
        heatmap: 1 at the centres, falling around them.
        codes: ten numbers of each slot.
        index: cell of each slot, numbered row by row.
        mask: the slots in use.
    """

    heatmap: Float[Tensor, "b k ny nx"]
    codes: Float[Tensor, "b m 10"]
    index: Int64[Tensor, "b m"]
    mask: Bool[Tensor, "b m"]

    def to(self, device: torch.device) -> DetectionTargets:
        """Return them on a device.

        Args:
            device: the device.
        """
        return DetectionTargets(
            heatmap=self.heatmap.to(device),
            codes=self.codes.to(device),
            index=self.index.to(device),
            mask=self.mask.to(device),
        )


def gaussian_radius(sizes: Float[Tensor, "n 2"], overlap: float) -> Float[Tensor, " n"]:
    """Return how far the corners of a box may move until the overlap falls below a bound, in the unit of the sizes.

    The form of CornerNet, whose roots are divided by 2 instead of 2 a; all detectors of this family have learnt so.

    Args:
        sizes: both sides.
        overlap: the bound.
    """
    first, second = sizes.unbind(1)
    total, area = first + second, first * second
    r1 = (total + (total**2 - 4 * area * (1 - overlap) / (1 + overlap)).sqrt()) / 2
    r2 = (2 * total + (4 * total**2 - 16 * (1 - overlap) * area).sqrt()) / 2
    b3 = -2 * overlap * total
    r3 = (b3 + (b3**2 - 16 * overlap * (overlap - 1) * area).sqrt()) / 2
    return torch.stack([r1, r2, r3]).amin(0)


def draw_gaussian(heatmap: Float[Tensor, "ny nx"], column: int, row: int, radius: int) -> None:
    """Raise a map to a Gaussian around a cell, cut off at the radius and at the borders; in place.

    Args:
        heatmap: the map.
        column: of the cell.
        row: of the cell.
        radius: in cells.
    """
    ny, nx = heatmap.shape
    away = torch.arange(-radius, radius + 1, dtype=torch.float64)
    sigma = (2 * radius + 1) / _WIDTHS
    kernel = torch.exp(-(away[:, None] ** 2 + away**2) / (2 * sigma**2))
    kernel[kernel < torch.finfo(torch.float64).eps * kernel.max()] = 0
    top, bottom = max(0, radius - row), min(2 * radius + 1, ny - row + radius)
    left, right = max(0, radius - column), min(2 * radius + 1, nx - column + radius)
    if top >= bottom or left >= right:
        return
    part = heatmap[row - radius + top : row - radius + bottom, column - radius + left : column - radius + right]
    torch.maximum(part, kernel[top:bottom, left:right].to(part), out=part)


def detection_targets(truth: Sequence[TrueBoxes], options: DetectorOptions) -> DetectionTargets:
    """Return the targets of a batch, on the CPU.

    Boxes without size, of other classes, or with a centre outside the map are left out; so are those beyond the
    number of slots.

    Args:
        truth: of each sample.
        options: of the detector.

    Raises:
        ShapeError: there is no sample.
    """
    if not truth:
        raise ShapeError("no batch of true boxes", got=0, expected="one or more samples")
    samples = [_sample(one, options) for one in truth]
    heatmap, codes, index, mask = (torch.stack(parts) for parts in zip(*samples, strict=True))
    return DetectionTargets(heatmap=heatmap, codes=codes, index=index, mask=mask)


def _sample(truth: TrueBoxes, options: DetectorOptions) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    n_classes, (ny, nx), most = len(options.classes), options.maps.bev, options.targets.most_objects
    heatmap = torch.zeros(n_classes, ny, nx)
    codes, index = torch.zeros(most, 10), torch.zeros(most, dtype=torch.long)
    mask = torch.zeros(most, dtype=torch.bool)
    boxes, labels, velocities = _by_class(truth, n_classes, most)
    encoded, cells = encode_boxes(boxes, velocities, options)
    radii = _radii(boxes, options)
    inside = (boxes[:, 3:5] > 0).all(1) & ((cells >= 0) & (cells < cells.new_tensor([nx, ny]))).all(1)
    for slot in inside.nonzero()[:, 0].tolist():
        column, row = cells[slot].tolist()
        draw_gaussian(heatmap[int(labels[slot])], column, row, int(radii[slot]))
        codes[slot], index[slot], mask[slot] = encoded[slot], row * nx + column, True
    return heatmap, codes, index, mask


def _by_class(truth: TrueBoxes, n_classes: int, most: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return boxes, labels and velocities of the known classes, class by class, as many as there are slots."""
    labels = truth.labels.cpu()
    known = ((labels >= 0) & (labels < n_classes)).nonzero()[:, 0]
    order = known[labels[known].argsort(stable=True)][:most]
    velocities = torch.full((len(labels), 2), torch.nan) if truth.velocities is None else truth.velocities.cpu()
    return truth.boxes.cpu().float()[order], labels[order], velocities[order].float()


def _radii(boxes: Tensor, options: DetectorOptions) -> Tensor:
    """Return the radius of each box in whole cells."""
    cells = boxes[:, 3:5] / boxes.new_tensor(options.maps.size[:2])
    radii = gaussian_radius(cells, options.targets.overlap)
    return radii.nan_to_num().int().clamp(min=options.targets.smallest_radius)

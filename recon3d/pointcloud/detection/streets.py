"""Generated streets as frames to train with: as many as wanted, the same for the same numbers."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from recon3d.core.seeds import derive, generator
from recon3d.pointcloud.detection.frames import LabelledFrame, renamed
from recon3d.pointcloud.worlds.streets import StreetOptions, generate_street

_FRONT = StreetOptions(beams="64", sector_deg=90.0, max_range_m=80.0, density=1.4)
STREET_KINDS: tuple[tuple[StreetOptions, float], ...] = (
    (_FRONT, 0.45),
    (replace(_FRONT, beams="any"), 0.2),
    (replace(_FRONT, beams="32", mount_m=(1.5, 2.1)), 0.15),
    (replace(_FRONT, beams="any", sector_deg=150.0), 0.2),
)


@dataclass(frozen=True, kw_only=True)
class StreetFrames:
    """Frames of generated streets.

    Args:
        count: how many; the frame of a number does not depend on it.
        names: classes of the boxes.
        seed: of the whole set; other seeds have nothing in common.
        kinds: options of the streets and how often each is taken.
    """

    count: int = 2000
    names: tuple[str, ...] = ("car", "pedestrian", "cyclist")
    seed: int = 0
    kinds: tuple[tuple[StreetOptions, float], ...] = STREET_KINDS

    def __len__(self) -> int:
        return self.count

    def frame(self, index: int) -> LabelledFrame:
        """Return one frame.

        Args:
            index: from 0.
        """
        rng = generator(self.seed, "streets", str(index))
        shares = np.array([share for _, share in self.kinds])
        options = self.kinds[int(rng.choice(len(self.kinds), p=shares / shares.sum()))][0]
        return street_frame(derive(self.seed, "street", str(index)), options, self.names)


def street_frame(seed: int, options: StreetOptions, names: tuple[str, ...]) -> LabelledFrame:
    """Return the frame of one generated street.

    Args:
        seed: of the street.
        options: of the street.
        names: classes of the boxes.
    """
    street = generate_street(seed, options)
    points = np.column_stack([street.cloud.xyz, street.cloud.attributes["intensity"]]).astype(np.float32)
    mount = -float(street.ground.height(np.zeros((1, 2)))[0])
    return LabelledFrame(points=points, boxes=renamed(street.boxes, names), mount_m=mount, name=f"street {seed}")

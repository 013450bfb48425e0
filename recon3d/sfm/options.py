"""Options of the classical camera engine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float64

from recon3d.core.errors import UsageError


@dataclass(frozen=True)
class SfmOptions:
    """How cameras are found from photos.

    Args:
        mapper: ``auto`` runs incremental and global mapping and keeps the better verified model.
        pairs: which photos are matched; ``auto`` = all pairs up to 80 photos, then neighbours in name order and
            those of similar appearance.
        intrinsics: ``auto`` shares one camera among photos of one size unless EXIF says otherwise, and verifies it.
        principal_point: ``auto`` frees it only where the photos determine it well.
        calibration: known intrinsics ``fx,fy,cx,cy[,k1,k2,p1,p2]`` in pixels of the upright photos; kept fixed.
        exact_poses: keep the known poses and intrinsics as they are, as of a calibrated rig or of rendered photos;
            otherwise the photos refine them.
        max_image_size: photos are scaled down to this long side before features are found, in pixels.
        max_features: SIFT features per photo, the largest first.
        seed: seed of every random choice; the same seed gives the same bits.
    """

    mapper: Literal["auto", "incremental", "global"] = "auto"
    pairs: Literal["auto", "exhaustive", "sequential"] = "auto"
    intrinsics: Literal["auto", "shared", "per-photo"] = "auto"
    principal_point: Literal["auto", "fixed", "free"] = "auto"
    calibration: str | None = None
    exact_poses: bool = False
    max_image_size: int = 3200
    max_features: int = 6144
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("max_image_size", "max_features"):
            if getattr(self, name) < 64:
                raise UsageError(f"{name} is too small", got=getattr(self, name), expected="at least 64")
        if self.calibration is not None:
            parse_calibration(self.calibration)


def parse_calibration(text: str) -> Float64[np.ndarray, "8"]:
    """Return ``fx fy cx cy k1 k2 p1 p2`` from ``"fx,fy,cx,cy[,k1,k2,p1,p2]"``.

    Raises:
        UsageError: the text is not four or eight finite numbers with positive focal lengths.
    """
    try:
        values = np.array([float(part) for part in text.split(",")])
    except ValueError:
        values = np.array([np.nan])
    if values.size not in (4, 8) or not np.isfinite(values).all() or values[:2].min() <= 0:
        example = "--sfm.calibration 689.9,691.0,380.2,251.7"
        raise UsageError(
            "calibration is not readable", got=text, expected="fx,fy,cx,cy or all eight", fix=f"write {example}"
        )
    return np.concatenate([values, np.zeros(8 - values.size)])

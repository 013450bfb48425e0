"""Labelled points as a recording for the rerun viewer."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from recon3d.core.errors import DependencyError, ShapeError
from recon3d.pointcloud.segmentation.results import Segmentation


def write_segment_recording(path: Path, xyz: Float64[np.ndarray, "n 3"], found: Segmentation) -> None:
    """Write points with their classes, which the viewer names and colours; points without a position are left out.

    Args:
        path: the file, .rrd.
        xyz: points, in the order of the labels.
        found: the labels.

    Raises:
        ShapeError: there are more or fewer labels than points.
        DependencyError: rerun is not installed.
    """
    if len(xyz) != len(found):
        raise ShapeError("labels and points do not match", got=len(found), expected=len(xyz))
    try:
        rerun: Any = import_module("rerun")
    except ImportError as error:
        raise DependencyError("rerun is not installed", fix="pip install 'recon3d[rerun]'") from error
    classes = [(0, "no label", (128, 128, 128))]
    classes += [(k + 1, name, colour) for k, (name, colour) in enumerate(zip(found.names, found.colours, strict=True))]
    there = np.isfinite(xyz).all(1)
    stream = rerun.RecordingStream("recon3d")
    stream.save(str(path))
    stream.log("world", rerun.ViewCoordinates.RIGHT_HAND_Z_UP, static=True)
    stream.log("world", rerun.AnnotationContext(classes), static=True)
    stream.log("world/points", rerun.Points3D(xyz[there], class_ids=(found.labels[there] + 1).astype(np.uint16)))

"""Teachers whose hard labels a segmenter learns beside the true ones (DeiT-style distillation)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Int64
from torch import Tensor

from recon3d.core.errors import UsageError
from recon3d.pointcloud.segmentation.spec import SegmenterSpec
from recon3d.pointcloud.segmentation.weights import read_segmenter, segmenter_path
from recon3d.pointcloud.volt.batch import VoxelBatch
from recon3d.pointcloud.volt.segmentor import teacher_labels_of

Teacher = Callable[[VoxelBatch], Int64[Tensor, " m"]]


def load_teacher(path_or_name: str | None, spec: SegmenterSpec, device: torch.device | str) -> Teacher | None:
    """Return a trained segmenter as a teacher; None for none.

    Args:
        path_or_name: weights, or the name of a bundled segmenter.
        spec: of the student; both read the same voxels and know the same classes.
        device: of the student.

    Raises:
        UsageError: they do not.
    """
    if path_or_name is None:
        return None
    model, known = read_segmenter(segmenter_path(path_or_name))
    both = {"classes": 0, "features": 0, "voxel_m": 0}
    other = [name for name in both if getattr(known, name) != getattr(spec, name)]
    if other:
        raise UsageError("this teacher teaches something else", got=f"other {', '.join(other)}", fix="take another one")
    model.to(device)

    @torch.no_grad()
    def answer(batch: VoxelBatch) -> Int64[Tensor, " m"]:
        return teacher_labels_of(model(batch))

    return answer

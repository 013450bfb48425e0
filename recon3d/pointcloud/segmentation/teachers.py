"""Teachers whose hard labels a segmenter learns beside the true ones (DeiT-style distillation)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from recon3d.core.errors import UsageError
from recon3d.formats.weights import read_state
from recon3d.pointcloud.segmentation.spec import SegmenterSpec
from recon3d.pointcloud.segmentation.weights import read_segmenter, segmenter_path
from recon3d.pointcloud.sparse.unet import SparseUNet, voxel_tensor
from recon3d.pointcloud.volt.batch import VoxelBatch
from recon3d.pointcloud.volt.segmentor import teacher_labels_of

Teacher = Callable[[VoxelBatch], Int64[Tensor, " m"]]
_CONVOLUTIONS = "sparse-unet="


def load_teacher(source: str | None, spec: SegmenterSpec, device: torch.device | str) -> Teacher | None:
    """Return a trained network as a teacher; None for none.

    Args:
        source: weights or the name of a segmenter of this project, or ``sparse-unet=FILE``: a SparseUNet under official
            names, as the published recipe has it.
        spec: of the student; both read the same voxels and know the same classes. A SparseUNet says nothing of the size
            of its voxels.
        device: of the student.

    Raises:
        UsageError: they do not.
        InputError: there is no such file.
        FormatError: it holds no such network.
    """
    if source is None:
        return None
    if source.startswith(_CONVOLUTIONS):
        logits = _sparse_unet(Path(source.removeprefix(_CONVOLUTIONS)), spec, device)
    else:
        logits = _segmenter(source, spec, device)

    @torch.no_grad()
    def answer(batch: VoxelBatch) -> Int64[Tensor, " m"]:
        return teacher_labels_of(logits(batch))

    return answer


def _segmenter(
    source: str, spec: SegmenterSpec, device: torch.device | str
) -> Callable[[VoxelBatch], Float[Tensor, "m classes"]]:
    model, known = read_segmenter(segmenter_path(source))
    both = {"classes": 0, "features": 0, "voxel_m": 0}
    other = [name for name in both if getattr(known, name) != getattr(spec, name)]
    if other:
        raise UsageError("this teacher teaches something else", got=f"other {', '.join(other)}", fix="take another one")
    return model.to(device)


def _sparse_unet(
    path: Path, spec: SegmenterSpec, device: torch.device | str
) -> Callable[[VoxelBatch], Float[Tensor, "m classes"]]:
    state = {name: one.float() if one.is_floating_point() else one for name, one in read_state(path).items()}
    model = SparseUNet.from_state(state)
    sizes, wanted = (model.options.in_channels, model.options.num_classes), (spec.channels, len(spec.classes))
    if sizes != wanted:
        raise UsageError(
            "this teacher teaches something else",
            got=f"{sizes[0]} channels, {sizes[1]} classes",
            expected=f"{wanted[0]} channels, {wanted[1]} classes",
            fix="take another one",
        )
    model.to(device).eval()

    def logits(batch: VoxelBatch) -> Float[Tensor, "m classes"]:
        lowest = batch.grid.amin(0) if len(batch.grid) else batch.grid.new_zeros(3)
        found: Tensor = model(voxel_tensor(batch.grid - lowest, batch.features, batch.unmixed_offset))
        return found

    return logits

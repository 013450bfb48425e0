"""Teachers: hard labels of a trained segmenter, of the same voxels and classes, without gradients."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from small_segmentation import ROOM, network, room_sample, stored

from recon3d.core.errors import FormatError, InputError, UsageError
from recon3d.formats.safetensors import write_safetensors
from recon3d.pointcloud.segmentation.features import OnFloor, voxel_scene
from recon3d.pointcloud.segmentation.spec import SegmenterSpec
from recon3d.pointcloud.segmentation.teachers import load_teacher
from recon3d.pointcloud.sparse import SparseUNet, SparseUNetOptions
from recon3d.pointcloud.volt.batch import VoxelBatch, collate_scenes
from recon3d.pointcloud.volt.grid import voxelised


@pytest.fixture
def batch() -> VoxelBatch:
    scenes = [voxel_scene(voxelised(OnFloor()(room_sample(seed)), ROOM.voxel_m)[0], ROOM) for seed in (1, 2)]
    return collate_scenes(scenes)


def test_no_teacher_is_none() -> None:
    assert load_teacher(None, ROOM, "cpu") is None


def test_a_teacher_gives_its_best_class_of_every_voxel(tmp_path: Path, batch: VoxelBatch) -> None:
    teacher = load_teacher(str(stored(tmp_path / "a.safetensors", ROOM, seed=4)), ROOM, "cpu")
    assert teacher is not None
    labels = teacher(batch)
    with torch.no_grad():
        best = network(ROOM, seed=4)(batch).argmax(1)
    assert labels.shape == (len(batch.features),) and labels.dtype == torch.int64
    assert (labels == best).float().mean() > 0.97  # half precision
    assert len(labels.unique()) > 1 and not labels.requires_grad


@pytest.mark.parametrize(
    ("word", "other"),
    [
        ("classes", replace(ROOM, classes=("low", "middle", "top"))),
        ("voxel_m", replace(ROOM, voxel_m=0.21)),
        ("features", replace(ROOM, features=("height", "one", "colour", "normal"))),
    ],
)
def test_a_teacher_of_something_else_is_refused(tmp_path: Path, word: str, other: SegmenterSpec) -> None:
    path = stored(tmp_path / "a.safetensors", other)
    with pytest.raises(UsageError, match=word):
        load_teacher(str(path), ROOM, "cpu")


def test_colours_and_numbers_of_files_may_differ(tmp_path: Path) -> None:
    other = replace(ROOM, colours=((1, 1, 1), (2, 2, 2), (3, 3, 3)), raw_ids=(), about="another set")
    assert load_teacher(str(stored(tmp_path / "a.safetensors", other)), ROOM, "cpu") is not None


def test_a_teacher_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no weights"):
        load_teacher(str(tmp_path / "absent"), ROOM, "cpu")


def test_a_bundled_teacher_needs_a_student_of_its_classes() -> None:
    with pytest.raises(UsageError, match="classes"):
        load_teacher("indoor", ROOM, "cpu")


def sparse_unet(path: Path, channels: int, classes: int) -> SparseUNet:
    torch.manual_seed(0)
    net = SparseUNet(SparseUNetOptions(channels, classes, 8, (8, 16, 16, 8), (1, 1, 1, 1))).eval()
    write_safetensors(path, {f"module.backbone.{name}": one for name, one in net.state_dict().items()})
    return net


def test_a_sparse_unet_teaches_each_scene_by_itself(tmp_path: Path, batch: VoxelBatch) -> None:
    net = sparse_unet(tmp_path / "unet.safetensors", ROOM.channels, len(ROOM.classes))
    teacher = load_teacher(f"sparse-unet={tmp_path / 'unet.safetensors'}", ROOM, "cpu")
    assert teacher is not None
    labels = teacher(batch)
    assert labels.shape == (len(batch.features),) and not labels.requires_grad and len(labels.unique()) > 1
    end = int(batch.unmixed_offset[0])
    alone = replace(
        batch,
        grid=batch.grid[:end] + 7,  # where a scene lies changes nothing
        features=batch.features[:end],
        offset=batch.offset[:1],
        unmixed_offset=batch.unmixed_offset[:1],
        conditions=batch.conditions[:1],
        segment=None,
        instance=None,
    )
    shifted = (teacher(alone) == labels[:end]).float().mean()
    assert shifted > 0.8  # coarse voxels of the net begin elsewhere
    assert torch.equal(teacher(batch), labels) and net.options.num_classes == len(ROOM.classes)


def test_a_sparse_unet_of_other_classes_or_none_is_refused(tmp_path: Path) -> None:
    sparse_unet(tmp_path / "unet.safetensors", ROOM.channels, len(ROOM.classes) + 1)
    with pytest.raises(UsageError, match="classes"):
        load_teacher(f"sparse-unet={tmp_path / 'unet.safetensors'}", ROOM, "cpu")
    with pytest.raises(InputError):
        load_teacher("sparse-unet=absent.safetensors", ROOM, "cpu")
    write_safetensors(tmp_path / "other.safetensors", {"a": torch.zeros(1)})
    with pytest.raises(FormatError, match="SparseUNet"):
        load_teacher(f"sparse-unet={tmp_path / 'other.safetensors'}", ROOM, "cpu")

"""A student that learns from its teacher: what moves, what stays, what resumes, and the file of the difference."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_networks import tiny_vggt
from training_runs import TINY, equal

from recon3d.core.errors import FormatError, InputError, UsageError
from recon3d.core.processes import Processes
from recon3d.feedforward.deltas import add_delta, write_delta
from recon3d.feedforward.initialization import initialize
from recon3d.feedforward.lite3r import SparseOptions, convert, sparse_attentions
from recon3d.feedforward.models import build_model
from recon3d.feedforward.predictions import Prediction
from recon3d.feedforward.scenes import TrueViews
from recon3d.feedforward.training.asking import answer
from recon3d.feedforward.training.comparison import compare
from recon3d.feedforward.training.comparison_table import comparison_table
from recon3d.feedforward.training.distilling import Distillation, DistillOptions, distill, task_loss
from recon3d.feedforward.training.network import new_network
from recon3d.feedforward.training.options import DataOptions
from recon3d.feedforward.training.targets import targets_of
from recon3d.formats.checkpoints import FILE, read_checkpoint
from recon3d.formats.safetensors import read_metadata, read_safetensors, write_safetensors

ALONE = Processes(0, 1, torch.device("cpu"))
OPTIONS = DistillOptions(
    model=TINY,
    steps=4,
    shape=(28, 28),
    photos=4,
    data=DataOptions(views=(2, 2), group=2, reuse=1, workers=0),
    sparse=SparseOptions(block_size=4, keep=0.5),
)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "teacher.safetensors"
    write_safetensors(path, new_network(TINY, 0, whitened=False).state_dict())
    return path


def distillation(options: DistillOptions = OPTIONS) -> Distillation:
    return Distillation(new_network(TINY, 0, whitened=False), options, ALONE)


def test_only_projections_learn_and_the_teacher_stays(views: TrueViews) -> None:
    work = distillation()
    student, teacher = (copy.deepcopy(one.state_dict()) for one in (work.student, work.teacher))
    for _ in range(3):
        work.step(views.images, targets_of(views))
    moved = {name for name, one in work.student.state_dict().items() if not torch.equal(one, student[name])}
    attentions = [name for name in student if name.endswith("proj_lin.weight") and "cam_enc" not in name]
    assert moved == set(attentions)
    assert equal(teacher, work.teacher.state_dict())


def test_the_first_step_of_the_warm_up_changes_nothing(views: TrueViews) -> None:
    work = distillation()
    before = copy.deepcopy(work.student.state_dict())
    work.step(views.images, targets_of(views))
    assert equal(before, work.student.state_dict())


def test_a_student_comes_nearer_to_its_teacher(views: TrueViews) -> None:
    options = replace(OPTIONS, steps=60, learning_rate=0.05, first_weight=1e4, last_weight=1e4, quantise=None)
    work = distillation(options)
    likeness = [work.step(views.images, targets_of(views))["distillation"] for _ in range(40)]
    assert likeness[-1] < 0.9 * likeness[0]


def test_a_killed_distillation_goes_on_with_the_same_bits(weights: Path, tmp_path: Path) -> None:
    distill(OPTIONS, weights, tmp_path / "whole")
    from recon3d.feedforward.training.batches import Batches
    from recon3d.feedforward.training.options import Stage

    work, source = distillation(), Batches(0, OPTIONS.data, ALONE.device)
    for step in range(2):
        views = source.at(step, 0, (Stage(1.0, (OPTIONS.shape,), OPTIONS.photos),))
        work.step(views.images, targets_of(views))
    (tmp_path / "killed").mkdir()
    work.save(tmp_path / "killed")
    distill(OPTIONS, weights, tmp_path / "killed", resume=True)
    one, two = (read_checkpoint(tmp_path / name / FILE)[0] for name in ("whole", "killed"))
    assert equal(one["projections"], two["projections"]) and equal(one["optimiser"], two["optimiser"])


def test_folders_are_not_mixed(weights: Path, tmp_path: Path) -> None:
    one = replace(OPTIONS, steps=1)
    distill(one, weights, tmp_path / "run")
    with pytest.raises(UsageError, match="holds a distillation already"):
        distill(one, weights, tmp_path / "run")
    with pytest.raises(UsageError, match="another training; got: learning_rate"):
        distill(replace(one, learning_rate=0.5), weights, tmp_path / "run", resume=True)


def test_a_delta_turns_the_dense_network_into_the_student(weights: Path, tmp_path: Path, views: TrueViews) -> None:
    student = convert(build_model(TINY, checkpoint=weights), OPTIONS.sparse, seed=3)
    for module in sparse_attentions(student):
        torch.nn.init.normal_(module.proj_lin.weight, std=0.5, generator=torch.Generator().manual_seed(1))
        module.proj_lin.weight.data = module.proj_lin.weight.data.half().float()
    write_delta(tmp_path / "delta.safetensors", student, name=TINY, trained="for a test")
    assert {one.dtype for one in read_safetensors(tmp_path / "delta.safetensors").values()} == {torch.float16}
    assert "for a test" in read_metadata(tmp_path / "delta.safetensors")["lite3r"]
    found = add_delta(build_model(TINY, checkpoint=weights), tmp_path / "delta.safetensors")
    assert next(sparse_attentions(found)).options == OPTIONS.sparse
    with torch.no_grad():
        assert torch.equal(answer(found, views.images).depth_z, answer(student, views.images).depth_z)


def test_wrong_deltas_are_refused(weights: Path, tmp_path: Path) -> None:
    dense = build_model(TINY, checkpoint=weights)
    with pytest.raises(UsageError, match="no delta"):
        write_delta(tmp_path / "x.safetensors", dense, name=TINY, trained="")
    with pytest.raises(FormatError, match="no Lite3R version"):
        add_delta(dense, weights)
    other = convert(tiny_vggt(), OPTIONS.sparse)
    write_delta(tmp_path / "vggt.safetensors", other, name="vggt", trained="")
    with pytest.raises(InputError, match="does not belong"):
        add_delta(build_model(TINY, checkpoint=weights), tmp_path / "vggt.safetensors")
    broken = {name: one * torch.nan for name, one in read_safetensors(tmp_path / "vggt.safetensors").items()}
    write_safetensors(tmp_path / "nan.safetensors", broken, read_metadata(tmp_path / "vggt.safetensors"))
    with pytest.raises(FormatError, match="NaN"):
        add_delta(tiny_vggt(), tmp_path / "nan.safetensors")


def test_vggt_is_distilled_too(views: TrueViews) -> None:
    teacher = tiny_vggt()
    initialize(teacher, 0)
    work = Distillation(teacher, OPTIONS, ALONE)
    assert work.step(views.images, targets_of(views))["distillation"] > 0


def test_a_perfect_answer_has_no_task_loss_but_the_reward(views: TrueViews) -> None:
    truth = targets_of(views)
    from recon3d.feedforward.da3.model import Da3Prediction

    found = Da3Prediction(
        depth_z=truth.depth_z, confidence=torch.ones_like(truth.depth_z), pose_encoding=truth.encoding()
    )
    assert task_loss(found, truth).item() == pytest.approx(0.0, abs=1e-5)
    with pytest.raises(UsageError, match="cannot be distilled"):
        task_loss(Prediction(depth_z=truth.depth_z), truth)


def test_impossible_distillations_are_refused() -> None:
    with pytest.raises(UsageError):
        DistillOptions(steps=0)


def test_a_comparison_names_everybody(weights: Path, tmp_path: Path, views: TrueViews) -> None:
    student = convert(build_model(TINY, checkpoint=weights), OPTIONS.sparse)
    write_delta(tmp_path / "delta.safetensors", student, name=TINY, trained="")
    rows = list(compare(TINY, weights, views, delta=tmp_path / "delta.safetensors", storages=("bf16",)))
    assert [(row.who, row.weights) for row in rows] == [
        ("constant answer", "-"),
        ("dense", "float32"),
        ("lite3r", "float32"),
        ("dense", "bf16"),
        ("lite3r", "bf16"),
    ]
    assert comparison_table(rows).row_count == 5
    assert rows[1].scores.abs_rel == pytest.approx(rows[3].scores.abs_rel, rel=0.05)

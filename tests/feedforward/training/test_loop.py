"""A training from its first step to its files: it learns, resumes with the same bits, and says what is wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from training_runs import TINY, equal

from recon3d.core.clock import Clock
from recon3d.core.errors import DependencyError, FormatError, InputError, ResultError, UsageError
from recon3d.core.journal import Journal
from recon3d.core.processes import Processes, processes
from recon3d.feedforward.models import build_model
from recon3d.feedforward.scenes import TrueViews
from recon3d.feedforward.training.loop import WEIGHTS, Training, train
from recon3d.feedforward.training.network import working_dtype
from recon3d.feedforward.training.optimiser import Average, adamw, rate_at
from recon3d.feedforward.training.options import OptimiserOptions, Stage, TrainOptions
from recon3d.formats.checkpoints import FILE, read_checkpoint
from recon3d.formats.safetensors import read_safetensors

Options = Callable[..., TrainOptions]
ALONE = Processes(0, 1, torch.device("cpu"))


def trained(options: TrainOptions) -> Training:
    return Training(options, ALONE, fresh=False)


def test_one_batch_is_learned_by_heart(views: TrueViews, options: Options) -> None:
    rates = OptimiserOptions(learning_rate=1e-2, warm_up=5)
    training = trained(options(200, optimiser=rates, data=replace(options().data, known_cameras=0.0)))
    terms = [training.step(views) for _ in range(120)]
    first, last = terms[0].values(), terms[-1].values()
    assert last["relative"] < 0.4 * first["relative"]
    assert last["camera"] < 0.5 * first["camera"]
    assert last["points"] < 0.4 * first["points"]


def test_a_killed_training_goes_on_with_the_same_bits(options: Options, folder: Path, tmp_path: Path) -> None:
    whole, half = options(4), options(4)
    train(whole, folder)
    training = _train_until(half, tmp_path / "killed", 2)
    assert training.clock.step == 2
    train(half, tmp_path / "killed", resume=True)
    one, two = (read_checkpoint(path / FILE)[0] for path in (folder, tmp_path / "killed"))
    for part in ("model", "average", "optimiser"):
        assert equal(one[part], two[part])


def _train_until(options: TrainOptions, folder: Path, step: int) -> Training:
    """Train a few steps, save, and stop as if killed."""
    from recon3d.feedforward.training.batches import Batches

    folder.mkdir()
    training = Training(options, ALONE)
    source = Batches(options.seed, options.data, ALONE.device)
    while training.clock.step < step:
        stage = options.stage_at(training.clock.progress(options))
        training.step(source.at(training.clock.step, stage, options.stages))
    training.save(folder)
    return training


def test_the_folder_holds_weights_a_log_and_the_options(options: Options, folder: Path) -> None:
    scores = train(options(25, evaluate_scenes=2), folder)
    weights = read_safetensors(folder / WEIGHTS)
    assert {one.dtype for one in weights.values()} == {torch.float16}
    model = build_model(TINY, checkpoint=folder / WEIGHTS)
    assert all(one.dtype == torch.float32 for one in model.state_dict().values())
    entries = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    assert entries[0]["step"] == 25 and {"depth", "camera", "total"} <= entries[0]["loss"].keys()
    assert scores is not None and entries[-1]["unseen"] == scores.to_json()
    assert json.loads((folder / "options.json").read_text())["model"] == TINY


def test_a_folder_is_not_overwritten_and_not_mixed(options: Options, folder: Path) -> None:
    train(options(1), folder)
    with pytest.raises(UsageError, match="holds a training already"):
        train(options(1), folder)
    with pytest.raises(UsageError, match="another training; got: seed 5"):
        train(options(2, seed=5), folder, resume=True)
    train(options(2), folder, resume=True)
    assert read_checkpoint(folder / FILE)[1]["clock"]["step"] == 2


def test_nothing_to_resume_is_an_error(options: Options, folder: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        train(options(1), folder, resume=True)


def test_a_damaged_checkpoint_is_named(options: Options, folder: Path) -> None:
    train(options(1), folder)
    weights = (folder / WEIGHTS).read_bytes()
    (folder / FILE).write_bytes(weights)  # no checkpoint, but safetensors
    with pytest.raises(FormatError, match="no checkpoint of a training"):
        train(options(2), folder, resume=True)


def test_a_bad_batch_is_skipped_and_many_end_the_training(views: TrueViews, options: Options) -> None:
    training = trained(options(100))
    before = {name: one.clone() for name, one in training.model.state_dict().items()}
    broken = replace(views, images=views.images * torch.nan)
    training.step(broken)
    assert equal(before, training.model.state_dict()) and training.clock.step == 1
    with pytest.raises(ResultError, match="diverged"):
        for _ in range(11):
            training.step(broken)


def test_stages_follow_the_progress() -> None:
    options = TrainOptions(steps=10, minutes=0, stages=(Stage(0.3), Stage(0.7)))
    assert [options.stage_at(step / 10) for step in (0, 2, 3, 9, 10)] == [0, 0, 1, 1, 1]
    assert Clock(5, 0.0).progress(options) == 0.5
    assert Clock(5, 90.0).progress(replace(options, minutes=2.0)) == 0.75


@pytest.mark.parametrize(
    "wrong",
    [{"steps": 0, "minutes": 0.0}, {"stages": ()}, {"stages": (Stage(0.5),)}],
)
def test_impossible_trainings_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        TrainOptions(**wrong)  # type: ignore[arg-type]
    with pytest.raises(UsageError):
        OptimiserOptions(ema=1.0)
    with pytest.raises(UsageError):
        Stage(shapes=())


def test_the_rate_warms_up_and_falls_to_a_hundredth() -> None:
    options = OptimiserOptions(learning_rate=1.0, warm_up=10)
    assert rate_at(0, 0.0, options) == pytest.approx(0.1)
    assert rate_at(100, 0.0, options) == pytest.approx(1.0)
    assert rate_at(100, 0.5, options) == pytest.approx(0.505)
    assert rate_at(100, 1.0, options) == pytest.approx(0.01)


def test_only_matrices_decay(options: Options) -> None:
    model = trained(options()).model
    decaying, others = adamw(model, OptimiserOptions(weight_decay=0.1)).param_groups
    assert decaying["weight_decay"] == 0.1 and others["weight_decay"] == 0.0
    names = {one: name for name, one in model.named_parameters()}
    assert all(one.ndim >= 2 for one in decaying["params"])
    assert {"pos_embed", "camera_token"} <= {names[one].split(".")[-1] for one in others["params"]}
    assert sum(map(len, (decaying["params"], others["params"]))) == sum(one.requires_grad for one in names)


def test_the_average_is_that_of_the_last_steps() -> None:
    model = torch.nn.Linear(1, 1, bias=False)
    model.weight.data.fill_(0.0)
    average = Average(model, 0.5)
    model.weight.data.fill_(1.0)
    for _ in range(4):
        average.update(model)
    keep = min(0.5, 5 / 14) ** 4
    assert average.weights["weight"].item() == pytest.approx(1 - keep)
    other = Average(model, 0.5)
    other.load(average.weights, 4)
    assert other.steps == 4 and equal(other.weights, average.weights)


def test_tensorboard_is_asked_for_in_words(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "torch.utils.tensorboard", None)
    with pytest.raises(DependencyError, match="pip install tensorboard"):
        Journal(folder, tensorboard=True)


def test_a_journal_keeps_lines_and_numbers(tmp_path: Path) -> None:
    class Board:
        def __init__(self) -> None:
            self.seen: list[tuple[str, float, int]] = []

        def add_scalar(self, name: str, value: float, step: int) -> None:
            self.seen.append((name, value, step))

        def close(self) -> None:
            self.seen.append(("closed", 0.0, 0))

    journal = Journal(tmp_path)
    journal._board = board = Board()
    journal.write(3, {"loss": {"depth": 0.5}, "text": "x"})
    journal.close()
    assert json.loads((tmp_path / "log.jsonl").read_text()) == {"step": 3, "loss": {"depth": 0.5}, "text": "x"}
    assert board.seen == [("loss/depth", 0.5, 3), ("closed", 0.0, 0)]
    Journal(tmp_path, silent=True).write(4, {})
    assert len((tmp_path / "log.jsonl").read_text().splitlines()) == 1


def test_one_process_needs_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with processes("cpu") as here:
        assert here.first and here.world == 1 and here.agreed(0.25) == 0.25
        model = torch.nn.Linear(1, 1)
        assert here.shared(model) is model


def test_torchrun_s_processes_share_their_gradients(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    calls: list[object] = []
    monkeypatch.setattr(torch.distributed, "init_process_group", lambda kind: calls.append(kind))
    monkeypatch.setattr(torch.distributed, "destroy_process_group", lambda: calls.append("end"))
    monkeypatch.setattr(torch.distributed, "broadcast", lambda tensor, source: tensor.fill_(0.75))
    with processes("cpu") as here:
        assert (here.rank, here.world, here.first) == (1, 2, False)
        assert here.agreed(0.1) == 0.75
    assert calls == ["gloo", "end"]


def test_the_precision_follows_the_device() -> None:
    assert working_dtype("bfloat16", torch.device("cpu")) == torch.bfloat16
    assert working_dtype("float32", torch.device("cpu")) == torch.float32
    assert working_dtype("auto", torch.device("cpu")) in (torch.float32, torch.bfloat16)

"""Which scenes a step sees, and that workers make the same ones."""

from __future__ import annotations

import torch

from recon3d.feedforward.training.batches import Batches, batches, made, recipe, visit
from recon3d.feedforward.training.options import DataOptions, Stage

CPU = torch.device("cpu")
STAGES = (Stage(1.0, ((28, 28), (14, 28)), 6, 1, overlap=0.4),)
DATA = DataOptions(views=(2, 3), group=3, reuse=2, workers=0)


def test_a_group_is_seen_again_before_the_next() -> None:
    seen = [visit(step, DATA) for step in range(8)]
    assert [one.batch for one in seen] == [0, 1, 2, 0, 1, 2, 3, 4]
    assert [one.again for one in seen] == [0, 0, 0, 1, 1, 1, 0, 0]


def test_processes_see_batches_of_their_own() -> None:
    both = [{visit(step, DATA, rank, 2).batch for step in range(6)} for rank in (0, 1)]
    assert both[0].isdisjoint(both[1]) and both[0] | both[1] == set(range(6))


def test_recipes_follow_the_seed_and_fill_the_step() -> None:
    found = [recipe(0, STAGES[0], number, DATA) for number in range(20)]
    assert found == [recipe(0, STAGES[0], number, DATA) for number in range(20)]
    assert len({one.seed for one in found}) == 20
    assert {(one.height, one.width) for one in found} == {(28, 28), (14, 28)}
    assert {one.n_views for one in found} == {2, 3}
    assert all(one.n_scenes * one.n_views == 6 for one in found)
    assert recipe(1, STAGES[0], 0, DATA).seed != found[0].seed
    assert {one.overlap for one in found} == {STAGES[0].overlap} == {0.4}


def test_a_batch_has_at_least_one_scene() -> None:
    assert recipe(0, Stage(photos=1), 0, DATA).n_scenes == 1


def test_visits_differ_and_repeat_with_the_seed() -> None:
    one, two = (Batches(0, DATA, CPU) for _ in range(2))
    first, again = one.at(0, 0, STAGES), one.at(3, 0, STAGES)
    assert first.depth_z.flatten().sort().values.equal(again.depth_z.flatten().sort().values)  # the same scenes
    assert not torch.equal(first.images, again.images)
    assert torch.equal(again.images, two.at(3, 0, STAGES).images)


def test_only_this_group_and_the_next_are_kept() -> None:
    source = Batches(0, DATA, CPU)
    for step in range(13):
        source.at(step, 0, STAGES)
    assert {number for _, number in source._ready} <= {6, 7, 8}


def test_workers_make_the_same_scenes() -> None:
    data = DataOptions(views=(2, 2), group=1, reuse=1, workers=1)
    stages = (Stage(1.0, ((14, 14),), 2, 1),)
    with batches(0, data, CPU) as source:
        found = source.at(0, 0, stages)
    assert torch.equal(found.images, Batches(0, data, CPU).at(0, 0, stages).images)
    assert made(recipe(0, stages[0], 0, data)).images.shape == (1, 2, 3, 14, 14)

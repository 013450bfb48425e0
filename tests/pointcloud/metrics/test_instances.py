from __future__ import annotations

import math

import numpy as np
import pytest

from recon3d.core.errors import ShapeError
from recon3d.pointcloud.metrics import InstanceOptions, InstanceScene, instance_metrics

OPTIONS = InstanceOptions(classes={2: "chair", 3: "table"}, smallest=5)
PER = 20  # points of one instance


def scene(masks: list[np.ndarray], labels: list[int], scores: list[float], small: int = 0) -> InstanceScene:
    """Two chairs, a table, a wall that is no class of ours, and a chair of ``small`` points."""
    sizes = [PER, PER, PER, PER, small]
    return InstanceScene(
        masks=np.array(masks, np.bool_).reshape(-1, sum(sizes)),
        labels=np.array(labels, np.int64),
        scores=np.array(scores, np.float64),
        true_labels=np.repeat([2, 2, 3, 0, 2], sizes),
        true_instances=np.repeat([0, 1, 2, 3, 4], sizes),
    )


def points(start: int, stop: int, n: int = 4 * PER) -> np.ndarray:
    return (np.arange(n) >= start) & (np.arange(n) < stop)


PERFECT = [points(0, 20), points(20, 40), points(40, 60)]


def test_perfect_masks() -> None:
    score = instance_metrics([scene(PERFECT, [2, 2, 3], [0.9, 0.8, 0.7])] * 2, OPTIONS)
    assert (score.ap, score.ap50, score.ap25) == (1, 1, 1)
    assert score.class_ap == {"chair": 1, "table": 1}


def test_nothing_found_and_nothing_there() -> None:
    assert instance_metrics([scene([], [], [])], OPTIONS).ap == 0
    other = instance_metrics([scene(PERFECT, [2, 2, 3], [1, 1, 1])], InstanceOptions(classes={9: "lamp"}, smallest=5))
    assert math.isnan(other.ap)
    mixed = InstanceOptions(classes={2: "chair", 9: "lamp"}, smallest=5)
    assert instance_metrics([scene(PERFECT, [2, 2, 3], [1, 1, 1])], mixed).ap == 1  # a class that never occurs


def test_one_of_two_chairs() -> None:
    assert instance_metrics([scene(PERFECT[:1], [2], [0.9])], OPTIONS).class_ap["chair"] == pytest.approx(0.5)


def test_a_mask_counts_up_to_its_overlap() -> None:
    """14 of 20 points: an overlap of 0.7 is above 0.5 to 0.65, which are four of nine thresholds."""
    score = instance_metrics([scene([PERFECT[0], PERFECT[1], points(40, 54)], [2, 2, 3], [1, 1, 1])], OPTIONS)
    assert score.class_ap["table"] == pytest.approx(4 / 9)
    assert (score.class_ap50["table"], score.class_ap25["table"]) == (1, 1)
    third = instance_metrics([scene([points(40, 48)], [3], [1])], OPTIONS)
    assert (third.class_ap50["table"], third.class_ap25["table"]) == (0, 1)


@pytest.mark.parametrize(("score", "expected"), [(0.95, 1 / 3), (0.1, 1.0)])
def test_a_wrong_mask_harms_by_its_rank(score: float, expected: float) -> None:
    """On the table but called a chair: below the right ones it costs nothing, above them the curve starts at (0, 0)."""
    found = instance_metrics([scene([*PERFECT, points(40, 60)], [2, 2, 3, 2], [0.9, 0.9, 0.9, score])], OPTIONS)
    assert found.class_ap["table"] == 1
    assert found.class_ap["chair"] == pytest.approx(expected)


def test_of_two_masks_on_one_instance_the_surer_is_right() -> None:
    twice = [*PERFECT, points(1, 20)]
    first = instance_metrics([scene(twice, [2, 2, 3, 2], [0.9, 0.8, 0.7, 0.85])], OPTIONS).class_ap["chair"]
    later = instance_metrics([scene(twice, [2, 2, 3, 2], [0.9, 0.8, 0.7, 0.1])], OPTIONS).class_ap["chair"]
    assert first < later == 1


def test_masks_on_void_and_on_small_things_are_left_out() -> None:
    on_wall = scene([*PERFECT, points(60, 80)], [2, 2, 3, 2], [0.5, 0.5, 0.5, 1])
    assert instance_metrics([on_wall], OPTIONS).ap == 1
    n = 4 * PER + 4
    small = scene(
        [*(np.append(mask, [False] * 4) for mask in PERFECT), points(79, 84, n)], [2, 2, 3, 2], [0.5, 0.5, 0.5, 1], 4
    )
    assert instance_metrics([small], OPTIONS).ap == 1
    counted = InstanceOptions(classes={2: "chair", 3: "table"}, smallest=4)
    assert instance_metrics([small], counted).class_ap50["chair"] == 1  # 4 of 5 points are on it
    assert instance_metrics([small], counted).class_ap["chair"] < 1


def test_small_masks_are_dropped() -> None:
    tiny = scene([*PERFECT, points(40, 44)], [2, 2, 3, 2], [0.5, 0.5, 0.5, 1])
    assert instance_metrics([tiny], OPTIONS).ap == 1


def test_the_order_of_the_masks_does_not_matter() -> None:
    draw = np.random.default_rng(0)
    masks = [mask ^ (draw.uniform(size=80) < 0.1) for mask in PERFECT * 3]
    labels, scores = np.array([2, 2, 3] * 3), draw.uniform(size=9)
    expected = instance_metrics([scene(masks, labels.tolist(), scores.tolist())], OPTIONS)
    mixed = draw.permutation(9)
    again = scene([masks[row] for row in mixed], labels[mixed].tolist(), scores[mixed].tolist())
    assert instance_metrics([again], OPTIONS) == expected
    assert 0 < expected.ap < 1


@pytest.mark.usefixtures("without_shape_checks")
def test_other_numbers_of_points() -> None:
    with pytest.raises(ShapeError, match=r"InstanceScene\.labels has the wrong shape"):
        scene(PERFECT, [2, 2], [1, 1, 1])

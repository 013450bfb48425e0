from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from recon3d.core.errors import UsageError
from recon3d.formats.kitti_text import KittiObject
from recon3d.pointcloud.metrics.kitti import KITTI_RELAXED, KITTI_STRICT, kitti_metrics

N = 60


def labels(kind: str = "Car", n: int = N, **changes: object) -> list[KittiObject]:
    """Objects beside each other, all easy."""
    lines = [
        KittiObject(
            kind=kind,
            truncated=0.0,
            occluded=0,
            alpha=0.1 * row,
            box_2d=(60.0 * row, 100.0, 60.0 * row + 50, 160.0),
            size_hwl=(1.5, 1.6, 4.0),
            location=(6.0 * row, 1.7, 20.0),
            rotation_y=0.1 * row,
        )
        for row in range(n)
    ]
    return [replace(line, **changes) for line in lines]


def found(lines: list[KittiObject], low: float = 0.1) -> list[KittiObject]:
    return [replace(line, score=score) for line, score in zip(lines, np.linspace(1, low, len(lines)), strict=True)]


def test_perfect_detections_are_perfect_in_every_sense() -> None:
    frames = [labels(kind) for kind in KITTI_STRICT]
    for least in (KITTI_STRICT, KITTI_RELAXED):
        scores = kitti_metrics(frames, [found(lines) for lines in frames], least)
        assert len(scores) == 3 * 4 * 3 * 2
        assert set(scores.values()) == {100.0}


def test_flipped_orientations_lose_aos_alone() -> None:
    flipped = [replace(line, alpha=line.alpha + math.pi) for line in found(labels())]
    scores = kitti_metrics([labels()], [flipped], {"Car": KITTI_STRICT["Car"]})
    for name, value in scores.items():
        assert value == pytest.approx(0 if "aos" in name else 100, abs=1e-9)


def test_a_lower_overlap_is_enough_for_the_relaxed_set() -> None:
    shifted = [replace(line, location=(line.location[0], 1.7, 20.5)) for line in found(labels(rotation_y=0.0))]
    strict, relaxed = (
        kitti_metrics([labels(rotation_y=0.0)], [shifted], least) for least in (KITTI_STRICT, KITTI_RELAXED)
    )
    assert (strict["Car_bev/easy_R40"], relaxed["Car_bev/easy_R40"]) == (0, 100)
    assert strict["Car_image/easy_R40"] == 100


@pytest.mark.parametrize(
    ("changes", "levels"),
    [
        ({"occluded": 1}, ("moderate", "hard")),
        ({"occluded": 2}, ("hard",)),
        ({"truncated": 0.3}, ("moderate", "hard")),
        ({"truncated": 0.5}, ("hard",)),
        ({"box_2d": (0.0, 0.0, 50.0, 40.0)}, ("moderate", "hard")),
        ({"box_2d": (0.0, 0.0, 50.0, 25.0)}, ()),
    ],
)
def test_difficulties(changes: dict[str, object], levels: tuple[str, ...]) -> None:
    lines = labels(**changes)
    scores = kitti_metrics([[line] for line in lines], [[line] for line in found(lines)])
    for level in ("easy", "moderate", "hard"):
        assert (scores[f"Car_3d/{level}_R40"] > 90) == (level in levels)


def test_vans_are_neither_right_nor_wrong() -> None:
    cars, vans = labels(), labels("Van", location=(0.0, 1.7, 60.0), box_2d=(0.0, 300.0, 50.0, 360.0))[:1]
    scores = kitti_metrics([cars + vans], [found([*cars, replace(vans[0], kind="Car")])])
    assert scores["Car_3d/easy_R40"] == 100
    trucks = [replace(vans[0], kind="Truck")]
    ghost = replace(trucks[0], kind="Car", score=2.0)
    assert kitti_metrics([cars + trucks], [[ghost, *found(cars)]])["Car_3d/easy_R40"] < 100


def test_unlabelled_regions_count_in_the_image_alone() -> None:
    region = replace(labels("DontCare", 1)[0], box_2d=(0.0, 300.0, 90.0, 390.0))
    ghost = replace(labels()[0], box_2d=(10.0, 310.0, 60.0, 370.0), location=(0.0, 1.7, 70.0), score=2.0)
    scores = kitti_metrics([[*labels(), region]], [[ghost, *found(labels())]])
    assert scores["Car_image/easy_R40"] == 100
    assert scores["Car_bev/easy_R40"] < 100


def test_half_of_the_truths_found() -> None:
    scores = kitti_metrics([labels()], [found(labels())[: N // 2]])
    assert scores["Car_3d/easy_R40"] == pytest.approx(50)
    assert scores["Car_3d/easy_R11"] == pytest.approx(100 * 6 / 11)


def test_the_surest_wrong_half_halves_the_precision() -> None:
    ghosts = [replace(line, location=(line.location[0], 1.7, 70.0), score=2.0) for line in labels()]
    scores = kitti_metrics([labels()], [[*ghosts, *found(labels())]])
    assert scores["Car_3d/easy_R40"] == pytest.approx(50, abs=1)
    assert scores["Car_3d/hard_R40"] == scores["Car_3d/easy_R40"]


def test_no_objects_and_no_frames() -> None:
    for frames in ([], [[]]):
        assert set(kitti_metrics(frames, frames).values()) == {0.0}
    assert set(kitti_metrics([labels()], [[]]).values()) == {0.0}


def test_bad_input() -> None:
    with pytest.raises(UsageError, match="detections for each frame; got: 0; expected: 1"):
        kitti_metrics([labels()], [])
    with pytest.raises(UsageError, match="a detection has no score"):
        kitti_metrics([labels()], [labels()])

"""Scores: perfect answers, and the answers that need no network."""

from __future__ import annotations

import numpy as np
import pytest
from small_segmentation import ROOM, STREET, Boxes, network, room_sample, street_rows

from recon3d.pointcloud.segmentation.features import voxel_scene
from recon3d.pointcloud.segmentation.scoring import height_rule, majority, network_labels, score_labels
from recon3d.pointcloud.volt.grid import voxelised
from recon3d.pointcloud.volt.samples import Sample


def truth(sample: Sample) -> np.ndarray:
    return np.asarray(sample.segment)


def test_the_truth_scores_one_hundred() -> None:
    found = score_labels(truth, [room_sample(1), room_sample(2)], ROOM.classes).to_json()
    assert found["mean_iou"] == 100 and found["scenes"] == 2 and found["points"] == 800


def test_the_most_frequent_class_is_right_that_often() -> None:
    scenes = [room_sample(seed) for seed in range(3)]
    shares = np.bincount(np.concatenate([truth(one) for one in scenes])) / 1200
    found = score_labels(majority(scenes, 3), scenes, ROOM.classes)
    assert found.score.accuracy == pytest.approx(shares.max())


def test_heights_tell_classes_that_are_heights() -> None:
    boxes = Boxes()
    rule = height_rule([boxes.training(seed) for seed in range(30)], 3, ROOM)
    assert score_labels(rule, [boxes.unseen(0)], ROOM.classes).score.mean_iou > 0.9


def test_heights_of_sweeps_count_from_the_ground() -> None:
    rows = street_rows(1)
    sample = Sample(xyz=rows[:, :3], strength=rows[:, 3].astype(np.float32), segment=(rows[:, 2] > -1).astype(np.int64))
    rule = height_rule([sample], 3, STREET)
    assert (rule(sample) == sample.segment).all()
    scene = voxel_scene(voxelised(sample, 0.5)[0], STREET)
    assert scene.features.shape[1] == 4 and scene.features[:, 1].min() == pytest.approx(0.0, abs=1e-6)


def test_labels_of_a_network_fit_the_points() -> None:
    found = network_labels(network(ROOM), ROOM, room_sample(4))
    assert found.shape == (400,) and set(found.tolist()) <= {0, 1, 2}

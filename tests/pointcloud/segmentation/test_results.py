"""Labels and what is made of them: thresholds, groups, colours, numbers of files."""

from __future__ import annotations

import numpy as np
import pytest

from recon3d.core.errors import UsageError
from recon3d.pointcloud.segmentation.results import Segmentation


@pytest.fixture
def found() -> Segmentation:
    probabilities = np.array([[0.7, 0.2, 0.1], [0.1, 0.5, 0.4], [0.3, 0.3, 0.4], [0, 0, 0]], np.float32)
    return Segmentation(
        labels=np.array([0, 1, 2, -1]),
        confidence=np.array([0.7, 0.5, 0.4, 0.0], np.float32),
        names=("road", "car", "tree"),
        colours=((1, 1, 1), (2, 2, 2), (3, 3, 3)),
        raw_ids=(40, 10, 70),
        probabilities=probabilities,
        notes=("a note",),
    )


def test_a_threshold_takes_labels_away(found: Segmentation) -> None:
    assert found.above(0.5).labels.tolist() == [0, 1, -1, -1]
    assert found.above(0.5).confidence.tolist() == pytest.approx([0.7, 0.5, 0, 0])
    assert found.above(0).labels.tolist() == found.labels.tolist()
    with pytest.raises(UsageError, match="threshold"):
        found.above(1.5)


def test_colours_and_numbers_follow_the_labels(found: Segmentation) -> None:
    assert found.rgb().tolist() == [[1, 1, 1], [2, 2, 2], [3, 3, 3], [128, 128, 128]]
    assert found.ids().tolist() == [40, 10, 70, 0]
    assert found.mask("car").tolist() == [False, True, False, False]
    with pytest.raises(UsageError, match="no such class"):
        found.mask("boat")


def test_groups_join_classes_and_drop_others(found: Segmentation) -> None:
    joined = found.regrouped({"thing": ["tree", "car"]})
    assert joined.names == ("thing",) and joined.labels.tolist() == [-1, 0, 0, -1]
    assert joined.confidence.tolist() == pytest.approx([0, 0.5, 0.4, 0])
    assert joined.probabilities is not None
    assert joined.probabilities[:, 0].tolist() == pytest.approx([0.3, 0.9, 0.7, 0])
    assert joined.raw_ids == (70,)


@pytest.mark.parametrize("groups", [{}, {"a": ["boat"]}, {"a": ["car"], "b": ["car"]}])
def test_groups_that_do_not_fit_are_refused(found: Segmentation, groups: dict[str, list[str]]) -> None:
    with pytest.raises(UsageError, match="class map"):
        found.regrouped(groups)


def test_the_summary_adds_up(found: Segmentation) -> None:
    about = found.to_json()
    assert about["points"] == 4 and about["unlabelled"] == 1
    assert sum(one["points"] for one in about["classes"].values()) == 3
    assert about["classes"]["road"] == {"points": 1, "share": 0.25, "mean_confidence": 0.7}
    assert about["notes"] == ["a note"]
    empty = found.above(1.0).to_json()
    assert empty["classes"]["road"]["mean_confidence"] is None

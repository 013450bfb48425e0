"""The description beside the weights: it survives its file, and nonsense is refused."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import pytest
from small_segmentation import ROOM, STREET

from recon3d.core.errors import FormatError, UsageError
from recon3d.pointcloud.segmentation.spec import SegmenterSpec


@pytest.mark.parametrize("spec", [ROOM, STREET])
def test_a_description_survives_its_text(spec: SegmenterSpec) -> None:
    assert SegmenterSpec.from_json(spec.to_json()) == spec


def test_channels_are_those_of_the_features() -> None:
    assert ROOM.channels == 1 + 1 + 3 + 3
    assert STREET.channels == 4


@pytest.mark.parametrize(
    "changed",
    [
        {"classes": ()},
        {"colours": ((1, 2, 3),)},
        {"raw_ids": (1,)},
        {"features": ()},
        {"features": ("smell",)},
        {"kind": "sea"},
        {"voxel_m": 0.0},
        {"max_distance_m": -1.0},
        {"voxel_m": float("nan")},
        {"voxel_m": float("inf")},
        {"max_distance_m": float("nan")},
        {"mount_m": float("nan")},
    ],
)
def test_impossible_descriptions_are_refused(changed: dict[str, object]) -> None:
    with pytest.raises((UsageError, TypeError)):
        replace(ROOM, **changed)
    with pytest.raises(FormatError):
        SegmenterSpec.from_json(json.dumps({**asdict(ROOM), **changed}))


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"kind": "indoor"}', '{"odd": 1}', "[" * 5000])
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(FormatError, match="no description of a segmenter"):
        SegmenterSpec.from_json(text)

"""What a finished run says about itself."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from recon3d.apps.cli.summary import scale_text, summary_json, summary_lines
from recon3d.scene import Scale, Scene

from .frozen import assert_frozen


def test_lines_are_frozen(scene: Scene) -> None:
    assert scene.root is not None
    (scene.root / "report.html").write_text("<html>")
    provenance = {**scene.provenance, "failed_checks": ["only 31 % of the photos agree"]}
    text = "\n".join(summary_lines(replace(scene, provenance=provenance)))
    assert_frozen("summary", text.replace(str(scene.root), "OUT") + "\n")


def test_without_a_report_the_folder_is_named(scene: Scene) -> None:
    assert list(summary_lines(scene))[-1] == f"output: {scene.root}"


def test_json_is_complete_and_valid(scene: Scene) -> None:
    value = json.loads(json.dumps(summary_json(scene), allow_nan=False))
    assert (value["n_photos"], value["n_registered"], value["n_points"]) == (5, 4, 40)
    assert value["views"][-1] == {"key": "zz/broken.jpg", "status": "skipped", "reason": "not an image", "model": -1}
    assert value["warnings"] == ["two photos are blurred"]
    assert value["failed_checks"] == []


@pytest.mark.parametrize(
    ("scale", "text"),
    [
        (Scale(), "relative: sizes are known up to one factor, no metres"),
        (Scale("metric", "GPS", (0.97, 1.03)), "metric (GPS), true to -3.0 .. +3.0 % with 95 % confidence"),
    ],
)
def test_scale_in_words(scene: Scene, scale: Scale, text: str) -> None:
    assert scale_text(replace(scene, scale=scale)) == text


def test_a_relative_scene_never_prints_metres(scene: Scene) -> None:
    text = "\n".join(summary_lines(replace(scene, scale=Scale())))
    assert "metric" not in text
    assert " m " not in text

"""What a finished run says about itself."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from recon3d.apps.cli.summary import dense_rows, scale_text, summary_json, summary_lines
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


DENSE = {
    "depth": {"source": "stereo", "coverage": {"a.jpg": 0.5, "b.jpg": 0.7}, "n_points": 12_345},
    "splats": {
        "n_gaussians": 60_000,
        "held_out": [{"psnr": 25.0, "ssim": 0.8}, {"psnr": 27.0, "ssim": 0.9}, {"psnr": None, "ssim": 1.0}],
    },
    "mesh": {"n_faces": 1_000, "is_watertight": True},
    "relight": {"n_splats": 5_000, "seen": 0.75, "held_out": [{"psnr": 24.0}, {"psnr": 26.0}, {"psnr": None}]},
}


def test_dense_parts_are_a_line_each() -> None:
    assert list(dense_rows(DENSE)) == [
        ("depth", "2 maps by multi-view stereo, 60 % of the pixels, 12,345 dense points"),
        ("splats", "60,000 Gaussians, 2 held-out photos: 26.0 dB, SSIM 0.850"),
        ("mesh", "1,000 triangles, closed"),
        ("relightable", "5,000 splats with materials, 75 % of the surface seen, 2 held-out photos: 25.0 dB"),
    ]


def test_what_was_not_made_has_no_line() -> None:
    assert list(dense_rows({"rms_px": 0.3})) == []
    none = {"splats": {"n_gaussians": 5, "held_out": []}}
    assert list(dense_rows(none)) == [("splats", "5 Gaussians, nothing held out")]


def test_dense_lines_stand_in_the_summary(scene: Scene) -> None:
    lines = list(summary_lines(replace(scene, metrics=DENSE)))
    assert "mesh: 1,000 triangles, closed" in lines

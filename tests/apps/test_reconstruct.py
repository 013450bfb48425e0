"""The reconstruct command: what it hands to the pipeline and what it makes of the answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from recon3d.core.errors import ResultError
from recon3d.scene import Scene
from recon3d.splats.options import preset

from .conftest import Outcome

Run = Callable[..., Outcome]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch, scene: Scene) -> list[dict[str, Any]]:
    """Record the calls of the pipeline, which answers with the scene."""
    made: list[dict[str, Any]] = []

    def answer(source: Any, options: Any = None, **further: Any) -> Scene:
        made.append({"source": source, "options": options, **further})
        return scene

    monkeypatch.setattr("recon3d.apps.cli.reconstruct.reconstruct", answer)
    return made


def test_folder_and_options_reach_the_pipeline(recon3d: Run, calls: list[dict[str, Any]]) -> None:
    outcome = recon3d("reconstruct", "photos/", "--out", "somewhere", "--sfm.seed", "7", "--sfm.mapper", "global")
    assert outcome.code == 0
    assert calls[0]["source"] == "photos/"
    assert calls[0]["out"] == Path("somewhere")
    assert (calls[0]["options"].sfm.seed, calls[0]["options"].sfm.mapper) == (7, "global")
    assert "placed 4 of 5 photos" in outcome.out


def test_several_photos_stay_a_list(recon3d: Run, calls: list[dict[str, Any]]) -> None:
    recon3d("reconstruct", "a.jpg", "b.jpg")
    assert calls[0]["source"] == ["a.jpg", "b.jpg"]
    assert calls[0]["out"] is None


def test_json_prints_metrics_and_nothing_else(recon3d: Run, calls: list[dict[str, Any]]) -> None:
    value = recon3d("reconstruct", "photos/", "--json").json
    assert value["metrics"] == {"rms_px": 0.25}
    assert value["n_registered"] == 4
    assert len(calls) == 1


def test_no_photos_is_wrong_usage(recon3d: Run, calls: list[dict[str, Any]]) -> None:
    assert recon3d("reconstruct").code == 2
    assert not calls


def test_wrong_option_values_are_wrong_usage(recon3d: Run, calls: list[dict[str, Any]]) -> None:
    assert recon3d("reconstruct", "photos/", "--sfm.mapper", "magic").code == 2
    outcome = recon3d("reconstruct", "photos/", "--sfm.calibration", "one,two")
    assert outcome.code == 2
    assert "calibration" in outcome.err
    assert not calls


def test_failed_checks_are_exit_code_7(recon3d: Run, scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    weak = replace(scene, provenance={"failed_checks": ["mappers disagree on 3 photos"]})
    monkeypatch.setattr("recon3d.apps.cli.reconstruct.reconstruct", lambda *_, **__: weak)
    outcome = recon3d("reconstruct", "photos/")
    assert outcome.code == 7
    assert "failed check: mappers disagree on 3 photos" in outcome.out


def test_a_refusal_is_exit_code_4_with_its_reason(recon3d: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> Scene:
        raise ResultError("the photos hold no parallax", fix="move the camera sideways between photos")

    monkeypatch.setattr("recon3d.apps.cli.reconstruct.reconstruct", refuse)
    outcome = recon3d("reconstruct", "photos/", "--json")
    assert outcome.code == 4
    assert outcome.json["error"]["fix"] == "move the camera sideways between photos"


@pytest.mark.parametrize("words", [("--preset", "draft"), ("--preset=draft",)])
def test_a_typed_option_beats_the_preset_even_with_the_value_of_another(
    recon3d: Run, calls: list[dict[str, Any]], words: tuple[str, ...]
) -> None:
    outcome = recon3d("reconstruct", "photos/", *words, "--splats.max-gaussians", "80000", "--stereo.n-best", "2")
    assert outcome.code == 0
    options = calls[0]["options"]
    assert options.preset == "draft"
    assert options.splats == replace(preset("draft"), max_gaussians=80_000)
    assert (options.stereo.max_image_size, options.stereo.n_best) == (640, 2)


def test_an_unknown_preset_is_wrong_usage(recon3d: Run, calls: list[dict[str, Any]]) -> None:
    outcome = recon3d("reconstruct", "photos/", "--preset", "best")
    assert outcome.code == 2 and "draft" in outcome.err
    assert not calls


def test_the_network_is_chosen_by_words(recon3d: Run, calls: list[dict[str, Any]]) -> None:
    words = ("--engine", "lite3r", "--model", "da3-small", "--checkpoint", "w.safetensors", "--refine")
    assert recon3d("reconstruct", "photos/", *words, "--dense-attention").code == 0
    engine = calls[0]["options"].engine_options()
    assert (engine.engine, engine.model, engine.checkpoint) == ("lite3r", "da3-small", Path("w.safetensors"))
    assert engine.refine and engine.dense_attention


def test_missing_weights_are_exit_code_5_with_the_command_that_fetches_them(
    recon3d: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECON3D_WEIGHTS", str(tmp_path))
    outcome = recon3d(
        "reconstruct", str(tmp_path), "--out", str(tmp_path / "o"), "--engine", "lite3r", "--model", "da3-base"
    )
    assert outcome.code == 5 and "recon3d weights fetch da3-base" in outcome.err


def test_a_refinement_without_a_network_is_wrong_usage(recon3d: Run, calls: list[dict[str, Any]]) -> None:
    outcome = recon3d("reconstruct", "photos/", "--refine")
    assert outcome.code == 2 and not calls

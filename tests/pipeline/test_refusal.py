"""A capture that holds no model to trust: refused with its reason, a report and nothing else."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from recon3d.apps.cli.main import main
from recon3d.core.errors import ResultError
from recon3d.pipeline import reconstruct
from recon3d.sfm.options import SfmOptions

from .conftest import Run

FAST = SfmOptions(max_features=800)


@pytest.fixture(scope="module")
def refused(turning: Path) -> tuple[Path, ResultError]:
    out = turning.parent / "out"
    with pytest.raises(ResultError) as caught:
        reconstruct(turning, out=out, quiet=True, sfm=FAST)
    return out, caught.value


def test_a_camera_that_only_turns_is_refused_with_the_reason(refused: tuple[Path, ResultError]) -> None:
    text = str(refused[1])
    assert refused[1].exit_code == 4
    assert text.startswith("refused: no model of the cameras can be trusted; got: ")
    assert any(word in text for word in ("parallax", "turn"))
    assert "report.html" in text


def test_a_refusal_leaves_a_report_and_no_scene(refused: tuple[Path, ResultError], turning: Path) -> None:
    assert {path.name for path in refused[0].iterdir()} == {".recon3d", "report.html"}
    report = (refused[0] / "report.html").read_text()
    assert all(path.name in report for path in turning.iterdir())
    assert "the capture was refused" in report


def test_command_line_ends_with_code_4(
    refused: tuple[Path, ResultError], turning: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--sfm.max-features", str(FAST.max_features)]
    assert main(["reconstruct", str(turning), "--out", str(refused[0]), "--quiet", *words]) == 4
    assert "refused" in capsys.readouterr().err


def test_a_refusal_removes_the_scene_of_an_earlier_run(
    copy: Run, refused: tuple[Path, ResultError], turning: Path
) -> None:
    """Otherwise an old model would pass for the result of the new photos."""
    shutil.rmtree(copy.out / ".recon3d")
    shutil.copytree(refused[0] / ".recon3d", copy.out / ".recon3d")
    with pytest.raises(ResultError):
        reconstruct(turning, out=copy.out, quiet=True, sfm=FAST)
    assert {path.name for path in copy.out.iterdir()} == {".recon3d", "report.html"}

"""recon3d render: every kind of target and path, and every way to ask for something that cannot be."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from recon3d.apps.cli.command import run_command
from recon3d.apps.cli.frames import write_pictures
from recon3d.apps.cli.render import Render
from recon3d.core.errors import UsageError
from recon3d.render.gaussians.files import save_gaussians
from recon3d.render.gaussians.types import Gaussians
from recon3d.scene import Scene

from .conftest import Outcome

Run = Callable[..., Outcome]
SMALL = ("--width", 32, "--height", 24, "--quiet")


def splats_at(xyz: np.ndarray) -> Gaussians:
    n = len(xyz)
    return Gaussians(
        torch.tensor(xyz, dtype=torch.float32),
        torch.tensor([[1.0, 0, 0, 0]]).repeat(n, 1),
        torch.full((n, 3), -1.0),
        torch.full((n,), 3.0),
        torch.ones(n, 1, 3),
    )


@pytest.fixture
def folder(scene: Scene) -> Path:
    """An output folder with splats where its points are."""
    assert scene.root is not None
    save_gaussians(scene.root / "splats.ply", splats_at(scene.points.xyz))
    return scene.root


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Splats alone."""
    points = np.random.default_rng(0).normal(size=(30, 3))
    save_gaussians(tmp_path / "alone.spz", splats_at(points))
    return tmp_path / "alone.spz"


def names(path: Path) -> list[str]:
    return sorted(each.name for each in path.iterdir())


def size(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        assert image.mode == "RGB"
        return image.size


def test_one_picture_has_the_size_of_the_photos(recon3d: Run, folder: Path, scene: Scene, tmp_path: Path) -> None:
    outcome = recon3d("render", folder, "--to", tmp_path / "a.png", "--quiet")
    assert outcome.code == 0
    assert outcome.err == ""
    width, height = size(tmp_path / "a.png")
    photo = scene.pinhole_cameras
    assert (width, height) in set(zip(photo.width.tolist(), photo.height.tolist(), strict=True))
    assert outcome.out == (f"{tmp_path / 'a.png'}: 1 frame of {width}x{height}, " + outcome.out.split(", ", 1)[1])
    assert "orbit" in outcome.out or "turn on the spot" in outcome.out


def test_a_folder_of_pictures_and_json(recon3d: Run, folder: Path, tmp_path: Path) -> None:
    outcome = recon3d("render", folder, "--to", tmp_path / "frames", "--frames", 3, *SMALL, "--json")
    assert outcome.code == 0
    assert names(tmp_path / "frames") == ["frame_00000.png", "frame_00001.png", "frame_00002.png"]
    assert size(tmp_path / "frames" / "frame_00002.png") == (32, 24)
    value = outcome.json
    assert (value["n_frames"], value["width"], value["height"], value["what"]) == (3, 32, 24, "colour")


def test_a_video(recon3d: Run, folder: Path, tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    words = ("--path", "through", "--frames", 5, "--fps", 10, "--what", "depth", "--width", 33, "--height", 25)
    assert recon3d("render", folder, "--to", tmp_path / "a.mp4", *words).code == 0
    with av.open(str(tmp_path / "a.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.width, stream.height, stream.frames, float(stream.average_rate)) == (32, 24, 5, 10.0)


def test_progress_goes_to_stderr(recon3d: Run, file: Path, tmp_path: Path) -> None:
    outcome = recon3d("render", file, "--to", tmp_path / "a.png", "--width", 32)
    assert "rendering a.png: 1 to do" in outcome.err
    assert outcome.out.count("\n") == 1


@pytest.mark.parametrize("name", ["trajectory.tum", "transforms.json"])
def test_a_trajectory_file_gives_a_frame_per_pose(
    recon3d: Run, folder: Path, scene: Scene, tmp_path: Path, name: str
) -> None:
    words = ("--path", folder / name, *SMALL)
    assert recon3d("render", folder, "--to", tmp_path / "frames", *words).code == 0
    assert len(names(tmp_path / "frames")) == len(scene.registered)
    assert recon3d("render", folder, "--to", tmp_path / "frames", *words, "--frames", 7).code == 0
    assert len(names(tmp_path / "frames")) == 7
    assert recon3d("render", folder, "--to", tmp_path / "one.png", *words).code == 0


def test_poses_of_transforms_and_of_the_scene_give_the_same_picture(recon3d: Run, folder: Path, tmp_path: Path) -> None:
    for name, path in (("a", "through"), ("b", folder / "transforms.json")):
        assert recon3d("render", folder, "--to", tmp_path / f"{name}.png", "--path", path, *SMALL).code == 0
    first, second = (np.asarray(Image.open(tmp_path / f"{name}.png")).astype(int) for name in "ab")
    assert np.abs(first - second).max() <= 1


def test_splats_alone_are_circled(recon3d: Run, file: Path, tmp_path: Path) -> None:
    outcome = recon3d("render", file, "--to", tmp_path / "a.png", "--background", 1, 1, 1, *SMALL, "--up", "y-down")
    assert outcome.code == 0
    assert "circle" in outcome.out
    picture = np.asarray(Image.open(tmp_path / "a.png"))
    assert (picture[0, 0] == 255).all()


def test_earlier_frames_are_replaced_and_other_files_are_safe(recon3d: Run, file: Path, tmp_path: Path) -> None:
    target = tmp_path / "frames"
    for n in (4, 2):
        assert recon3d("render", file, "--to", target, "--frames", n, *SMALL).code == 0
        assert len(names(target)) == n
    (target / "notes.txt").write_text("mine")
    outcome = recon3d("render", file, "--to", target, "--frames", 3, *SMALL)
    assert outcome.code == 2
    assert "notes.txt" in outcome.err
    assert len(names(target)) == 3
    assert names(tmp_path) == ["alone.spz", "frames"]


def test_no_splats_says_how_to_get_them(recon3d: Run, scene: Scene, tmp_path: Path) -> None:
    outcome = recon3d("render", scene.root, "--to", tmp_path / "a.png")
    assert outcome.code == 3
    assert "splats" in outcome.err
    assert "recon3d reconstruct" in outcome.err
    assert not (tmp_path / "a.png").exists()


@pytest.mark.parametrize("name", ["absent", "photo.jpg", "."])
def test_what_holds_no_splats_is_refused(recon3d: Run, tmp_path: Path, name: str) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "photo.jpg").write_bytes(b"x")
    outcome = recon3d("render", tmp_path / "in" / name, "--to", tmp_path / "a.png")
    assert outcome.code == 3
    assert outcome.err.count("\n") == 1


def test_damaged_splats_are_refused(recon3d: Run, file: Path, tmp_path: Path) -> None:
    file.write_bytes(file.read_bytes()[:40])
    assert recon3d("render", file, "--to", tmp_path / "a.png").code == 3


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((), "--to"),
        (("--to", "a.avi"), "a.avi"),
        (("--to", "a.png", "--frames", 3), "one picture"),
        (("--to", "a.png", "--frames", 0), "--frames"),
        (("--to", "a.png", "--width", 0), "--width"),
        (("--to", "a.png", "--height", 99999), "--height"),
        (("--to", "a.png", "--path", "through"), "holds no cameras"),
        (("--to", "a.png", "--background", 0, 0, 255), "background"),
        (("--to", "a.mp4", "--fps", 0), "frame rate"),
    ],
)
def test_wrong_usage_is_told_before_anything_is_written(
    recon3d: Run, file: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[object, ...], says: str
) -> None:
    monkeypatch.chdir(file.parent)
    outcome = recon3d("render", file, *words, "--quiet")
    assert outcome.code == 2
    assert says in outcome.err
    assert names(file.parent) == ["alone.spz"]


def test_the_output_folder_is_left_alone(recon3d: Run, folder: Path) -> None:
    before = names(folder)
    assert recon3d("render", folder, "--to", folder / "video.mp4").code == 2
    assert names(folder) == before


def test_a_missing_encoder_is_told_before_rendering(
    recon3d: Run, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    outcome = recon3d("render", file, "--to", tmp_path / "a.mp4", "--json")
    assert outcome.code == 5
    assert "recon3d[video]" in json.loads(outcome.out)["error"]["fix"]


def test_an_absent_trajectory_is_an_input_error(recon3d: Run, file: Path, tmp_path: Path) -> None:
    outcome = recon3d("render", file, "--to", tmp_path / "a.png", "--path", tmp_path / "nowhere.tum")
    assert outcome.code == 3
    assert "nowhere.tum" in outcome.err


def test_frames_that_fail_leave_the_old_ones(tmp_path: Path) -> None:
    frame = np.zeros((4, 4, 3), np.uint8)
    assert write_pictures(tmp_path / "frames", [frame, frame]) == 2

    def broken() -> object:
        yield frame
        raise UsageError("stop")

    with pytest.raises(UsageError):
        write_pictures(tmp_path / "frames", broken())  # type: ignore[arg-type]
    assert names(tmp_path / "frames") == ["frame_00000.png", "frame_00001.png"]
    assert names(tmp_path) == ["frames"]


def test_remains_of_a_killed_run_are_removed(recon3d: Run, file: Path, tmp_path: Path) -> None:
    (tmp_path / ".a.png.x1y2.tmp").write_bytes(b"half")
    (tmp_path / ".frames.x1y2.tmp").mkdir()
    (tmp_path / ".other.png.x1y2.tmp").write_bytes(b"not mine")
    assert recon3d("render", file, "--to", tmp_path / "a.png", *SMALL).code == 0
    assert recon3d("render", file, "--to", tmp_path / "frames", "--frames", 1, *SMALL).code == 0
    assert names(tmp_path) == [".other.png.x1y2.tmp", "a.png", "alone.spz", "frames"]


def test_a_file_in_the_way_is_refused(recon3d: Run, file: Path, tmp_path: Path) -> None:
    (tmp_path / "frames").write_text("mine")
    assert recon3d("render", file, "--to", tmp_path / "frames").code == 2
    assert (tmp_path / "frames").read_text() == "mine"


@pytest.mark.parametrize(("made", "option", "wanted"), [
    (True, "auto", True), (False, "auto", False), (True, "off", False), (False, "on", True)
])  # fmt: skip
def test_antialiasing_is_that_of_the_optimisation(
    recon3d: Run, folder: Path, scene: Scene, tmp_path: Path, made: bool, option: str, wanted: bool
) -> None:
    replace(scene, metrics={"splats": {"antialiased": made}}).save(folder)
    save_gaussians(folder / "splats.ply", splats_at(scene.points.xyz)[:5])
    for name, value in (("a", option), ("b", "on" if wanted else "off"), ("c", "off" if wanted else "on")):
        words = ("--path", "through", "--antialiasing", value)
        assert recon3d("render", folder, "--to", tmp_path / f"{name}.png", *words, *SMALL).code == 0
    a, b, c = ((tmp_path / f"{name}.png").read_bytes() for name in "abc")
    assert a == b
    assert a != c


def test_the_compressed_file_gives_the_same_picture(recon3d: Run, folder: Path, scene: Scene, tmp_path: Path) -> None:
    save_gaussians(tmp_path / "copy.spz", splats_at(scene.points.xyz))
    save_gaussians(tmp_path / "copy.ply", splats_at(scene.points.xyz))
    pictures = []
    for kind in ("ply", "spz"):
        target = tmp_path / f"{kind}.png"
        words = ("--path", folder / "transforms.json", *SMALL)
        assert recon3d("render", tmp_path / f"copy.{kind}", "--to", target, *words).code == 0
        pictures.append(np.asarray(Image.open(target)).astype(int))
    assert np.abs(pictures[0] - pictures[1]).mean() < 1


def test_every_command_of_the_docs_is_understood(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = re.findall(r"^recon3d render (.+)$", (repository / "docs" / "cli.md").read_text(), re.MULTILINE)
    assert len(lines) >= 5
    parsed: list[Render] = []

    def note(command: Render) -> int:
        parsed.append(command)
        return 0

    monkeypatch.setattr(Render, "run", note)
    for line in lines:
        assert run_command(Render, "recon3d render", line.split()) == 0
    assert all(command.to is not None for command in parsed)
    assert {command.path for command in parsed} >= {"orbit", "through"}


def test_scene_json_names_the_folder(recon3d: Run, folder: Path, tmp_path: Path) -> None:
    outcome = recon3d("render", folder / "scene.json", "--to", tmp_path / "a.png", "--path", "through", *SMALL)
    assert outcome.code == 0


def test_sides_follow_each_other(recon3d: Run, file: Path, tmp_path: Path) -> None:
    for words, wanted in ((("--width", 64), (64, 36)), (("--height", 36), (64, 36)), (("--width", 7), (7, 4))):
        assert recon3d("render", file, "--to", tmp_path / "a.png", *words, "--quiet").code == 0
        assert size(tmp_path / "a.png") == wanted

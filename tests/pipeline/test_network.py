"""`--engine lite3r` and what `--engine auto` adds, with a network that knows the answer more or less well."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scene_network import SceneNetwork
from tiny_networks import DA3

from recon3d import pipeline_network
from recon3d.core.errors import DependencyError, InputError, ResourceError, ResultError, UsageError
from recon3d.feedforward.da3.model import DepthAnything3
from recon3d.feedforward.engine import network, photographs
from recon3d.feedforward.engine.network import Loaded
from recon3d.formats.safetensors import safetensors_bytes
from recon3d.pipeline import ReconstructOptions, reconstruct
from recon3d.scene import Scene
from recon3d.sfm.finish import without_photos
from recon3d.sfm.mapping import load_mapped, save_mapped
from recon3d.sfm.scale import ScaleOptions

from .conftest import Run

Ask = Callable[..., Scene]


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A file that exists; the networks of these tests do not read it."""
    path = tmp_path / "weights.safetensors"
    path.write_bytes(safetensors_bytes(DepthAnything3(DA3).state_dict()))
    return path


@pytest.fixture
def knowing(monkeypatch: pytest.MonkeyPatch, first: Run) -> Callable[..., list[int]]:
    """Put a network in place that knows the scene; return a function that sets how well, and counts its calls."""

    def install(keys: Sequence[str] | None = None, **options: Any) -> list[int]:
        calls: list[int] = []

        def load(weights: object) -> Loaded:
            calls.append(1)
            known = keys or [view.key for view in first.scene.registered]
            return Loaded(SceneNetwork(first.scene, known, **options).eval(), "known", ())

        monkeypatch.setattr(photographs, "load_network", load)
        monkeypatch.setattr(photographs, "working_size", lambda _: 126)
        return calls

    return install


def test_all_photos_are_placed_and_their_depth_is_the_networks(
    copy: Run, knowing: Callable[..., list[int]], checkpoint: Path
) -> None:
    calls = knowing(scale=7.0)
    scene = copy.again(engine="lite3r", checkpoint=checkpoint, only="points")
    assert len(scene.registered) == len(copy.scene.registered) and len(calls) == 1
    assert scene.metrics["network"]["grade"] == "good" and scene.provenance["failed_checks"] == []
    assert scene.metrics["depth"]["source"] == "network" and scene.scale.kind == "relative"
    assert np.isnan(scene.pose_sigma).all()
    for view in scene.registered[:2]:
        row, depth = scene.camera_index(view.key), scene.depth(view.key)
        mine = scene.points.obs_view == row
        xyz = scene.points.xyz[scene.points.obs_point[mine]]
        _, z = scene.cameras.project(xyz, np.full(mine.sum(), row, np.int64))
        at = scene.points.obs_xy[mine] * depth.depth_z.shape[1] / scene.cameras.width[row]
        column, line = np.minimum(at.astype(int), np.array(depth.depth_z.shape[::-1]) - 1).T
        said = depth.depth_z[line, column]
        assert np.median(np.abs(said[said > 0] / z[said > 0] - 1)) < 0.03
        assert (depth.sigma[depth.depth_z > 0] > 0).all()


def test_another_scale_makes_the_depth_anew_and_asks_the_network_no_second_time(
    copy: Run, knowing: Callable[..., list[int]], checkpoint: Path
) -> None:
    calls = knowing()
    options: dict[str, Any] = {"engine": "lite3r", "checkpoint": checkpoint, "only": "points"}
    keys = [view.key for view in copy.scene.registered[:2]]
    ratio = []
    for scale in (ScaleOptions(), ScaleOptions(distance=f"{keys[0]},{keys[1]}=10")):
        scene = copy.again(**options, scale=scale)
        depth = scene.depth(keys[0]).depth_z
        ratio.append(np.median(depth[depth > 0]) / np.linalg.norm(np.subtract(*scene.cameras.centers[:2])))
    assert scene.scale.kind == "metric" and ratio[1] == pytest.approx(ratio[0], rel=1e-3) and len(calls) == 1


def test_rough_cameras_are_written_below_their_own_checks(
    copy: Run, knowing: Callable[..., list[int]], checkpoint: Path
) -> None:
    knowing(turn_deg=1.0)
    scene = copy.again(engine="lite3r", checkpoint=checkpoint)
    assert "rough" in scene.provenance["failed_checks"][0] and scene.metrics["network"]["grade"] == "rough"
    report = (copy.out / "report.html").read_text()
    assert "use them for an overview" in report and "and they are rough." in report


def test_cameras_that_the_photos_contradict_are_refused_also_after_a_refinement(
    copy: Run, knowing: Callable[..., list[int]], checkpoint: Path
) -> None:
    knowing(turn_deg=60.0)
    with pytest.raises(ResultError, match=r"contradict the cameras; the network's cameras could not be refined"):
        copy.again(engine="lite3r", checkpoint=checkpoint, refine=True)
    assert not (copy.out / "scene.json").exists() and "contradict" in (copy.out / "report.html").read_text()


def test_refined_cameras_are_those_of_structure_from_motion(
    copy: Run, knowing: Callable[..., list[int]], checkpoint: Path
) -> None:
    knowing(turn_deg=3.0)
    scene = copy.again(engine="lite3r", checkpoint=checkpoint, refine=True)
    assert scene.points.mean_error_px < 0.5 and scene.provenance["failed_checks"] == []
    known, found = copy.scene.cameras, scene.cameras
    for a, b in ((0, 1), (0, 5), (2, 4)):
        one, two = (c.cam_from_world[b, :3, :3] @ c.cam_from_world[a, :3, :3].T for c in (known, found))
        assert np.degrees(np.arccos(np.clip((np.trace(one @ two.T) - 1) / 2, -1, 1))) < 0.3


def test_identical_photos_count_as_one_whose_depth_nothing_checks(
    first: Run, knowing: Callable[..., list[int]], checkpoint: Path, tmp_path: Path
) -> None:
    key = first.scene.registered[2].key
    knowing([key])
    folder = tmp_path / "twins"
    folder.mkdir()
    for name in ("a.jpg", "b.jpg"):
        (folder / name).write_bytes((first.photos / key).read_bytes())
    scene = reconstruct(folder, out=tmp_path / "o", engine="lite3r", checkpoint=checkpoint, quiet=True)
    assert len(scene.registered) == 2 and "duplicate" in scene.registered[1].reason
    assert scene.depth("a.jpg").coverage > 0.5 and len(scene.points) > 100
    assert "mesh" in scene.metrics and "splats" not in scene.metrics
    assert "one photo only" in " ".join(scene.provenance["warnings"])


def test_photos_of_nothing_are_refused(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from true_network import TrueNetwork

    monkeypatch.setattr(photographs, "load_network", lambda _: Loaded(TrueNetwork(), "known", ()))
    monkeypatch.setattr(photographs, "working_size", lambda _: 56)
    folder = tmp_path / "sky"
    folder.mkdir()
    for k in range(3):
        ramp = np.linspace(100 + 20 * k, 200, 240)[:, None, None]
        Image.fromarray(np.tile(ramp, (1, 320, 3)).astype(np.uint8)).save(folder / f"{k}.png")
    with pytest.raises(ResultError, match="show nothing"):
        reconstruct(folder, out=tmp_path / "o", engine="lite3r", checkpoint=checkpoint, only="cameras", quiet=True)


def test_no_photo_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError):
        reconstruct(tmp_path / "empty", out=tmp_path / "o", engine="lite3r", checkpoint=checkpoint, quiet=True)


def test_missing_weights_end_the_run_before_it_begins(
    copy: Run, no_workers: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(network, "stored_weights", lambda name: None)
    with pytest.raises(DependencyError, match="recon3d weights fetch vggt-1b"):
        copy.again(engine="lite3r", model="vggt-1b")


@pytest.mark.parametrize("engine", ["auto", "lite3r"])
def test_a_model_that_is_misspelt_ends_the_run_before_it_begins(copy: Run, no_workers: None, engine: str) -> None:
    with pytest.raises(UsageError, match="no such model"):
        copy.again(engine=engine, model="recon3d-smal")


def test_too_little_memory_is_said(copy: Run, knowing: Callable[..., list[int]], checkpoint: Path) -> None:
    knowing()
    with pytest.raises(ResourceError, match="memory"):
        copy.again(engine="lite3r", checkpoint=checkpoint, max_memory="550MiB")


@pytest.mark.parametrize("options", [{"refine": True}, {"depth": "network"}, {"engine": "sfm", "refine": True}])
def test_options_of_the_network_need_the_network(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"lite3r|network"):
        ReconstructOptions(**options)


@pytest.fixture
def one_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the classical engine lose the third photo."""
    real = pipeline_network.find_cameras

    def lossy(*arguments: Any) -> Any:
        search = real(*arguments)
        assert search.model is not None
        mapped = without_photos(load_mapped(search.model), [2])
        path = search.model.with_name("lossy.npz")
        save_mapped(path, mapped)
        return replace(search, model=path, verdict=replace(search.verdict, chosen=mapped), key=search.key + "-lossy")

    monkeypatch.setattr(pipeline_network, "find_cameras", lossy)


def test_a_photo_that_is_left_is_placed_where_matches_confirm_it(
    copy: Run, one_left: None, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _knowing_any_order(monkeypatch, copy.scene, turn_deg=1.0)
    scene = copy.again(checkpoint=checkpoint)
    view = scene.views[2]
    assert view.status == "registered" and "confirm the network" in view.reason
    assert scene.metrics["network"]["left"] == {"asked": 1, "confirmed": 1, "left": 0}
    known, found = copy.scene.cameras, scene.cameras
    one, two = (c.cam_from_world[2, :3, :3] @ c.cam_from_world[1, :3, :3].T for c in (known, found))
    assert np.degrees(np.arccos(np.clip((np.trace(one @ two.T) - 1) / 2, -1, 1))) < 0.2
    assert (scene.points.obs_view == 2).sum() > 30


def test_a_photo_whose_prediction_is_wrong_stays_out(
    copy: Run, one_left: None, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _knowing_any_order(monkeypatch, copy.scene, turn_deg=0.0, wrong=copy.scene.registered[2].key)
    scene = copy.again(checkpoint=checkpoint)
    assert scene.views[2].status == "not_registered" and "the network was asked" in scene.views[2].reason
    assert len(scene.registered) == 5


def test_auto_asks_nothing_where_everything_is_placed(copy: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(photographs, "load_network", lambda _: pytest.fail("the network was asked"))
    scene = copy.again()
    assert "network" not in scene.metrics


def test_auto_without_weights_says_so_and_goes_on(copy: Run, one_left: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "stored_weights", lambda name: None)
    scene = copy.again()
    assert len(scene.registered) == 5 and "there are no weights" in " ".join(scene.provenance["warnings"])


def _knowing_any_order(monkeypatch: pytest.MonkeyPatch, scene: Scene, *, turn_deg: float, wrong: str = "") -> None:
    """Put a network in place that recognises the photos by their hashes, whatever their order."""
    keys = {view.sha256: view.key for view in scene.registered}
    shown: list[str] = []
    real = photographs.ask

    def ask(network: Any, given: Any, *arguments: Any) -> Any:
        shown[:] = [keys[photo.sha256] for photo in given.photos]
        return real(network, given, *arguments)

    def load(weights: object) -> Loaded:
        return Loaded(_Late(scene, shown, turn_deg, wrong).eval(), "known", ())

    monkeypatch.setattr(photographs, "ask", ask)
    monkeypatch.setattr(photographs, "load_network", load)
    monkeypatch.setattr(photographs, "working_size", lambda _: 126)


class _Late(SceneNetwork):
    """A scene network that is told its photos when it runs."""

    def __init__(self, scene: Scene, shown: list[str], turn_deg: float, wrong: str) -> None:
        super().__init__(scene, [view.key for view in scene.registered], turn_deg=turn_deg)
        self.shown, self.wrong = shown, wrong

    def forward(self, images: Any, *arguments: object, **options: object) -> Any:
        self.keys = list(self.shown)
        self.turns, self.moves = self.turns[: len(self.keys)], self.moves[: len(self.keys)]
        answer = super().forward(images, *arguments, **options)
        if self.wrong in self.keys and answer.cam_from_world is not None:
            answer.cam_from_world[0, self.keys.index(self.wrong), :, 3] += 3.0
        return answer

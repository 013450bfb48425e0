"""The engine: what each stage is given, the second try with richer features, dead mappers, known poses and reuse."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recon3d.core.errors import ResultError, UsageError
from recon3d.core.progress import Progress
from recon3d.core.stages import StageStore
from recon3d.core.workers import Outcome, TaskFailure, WorkerOptions
from recon3d.formats.colmap import write_colmap
from recon3d.photos import Photo
from recon3d.render.cameras import Cameras
from recon3d.scene_convert import colmap_from_cameras
from recon3d.sfm import engine
from recon3d.sfm.engine import CameraSearch, Tools, find_cameras
from recon3d.sfm.mapping import load_mapped, save_mapped
from recon3d.sfm.matching import save_pairs
from recon3d.sfm.options import SfmOptions
from recon3d.sfm.solve import no_points
from recon3d.sfm.types import Mapped, MapperName, Pair
from recon3d.sfm.verify_options import Drop, Verdict

N = 10


def photo(index: int, **changes: Any) -> Photo:
    return replace(Photo(f"{index:02d}.jpg", Path(f"{index:02d}.jpg"), 640, 480, f"{index:064x}"), **changes)


PHOTOS = [photo(k) for k in range(N)]


def model(mapper: MapperName, photos: Sequence[int]) -> Mapped:
    n = len(photos)
    poses = np.tile(np.eye(4), (n, 1, 1))
    poses[:, 0, 3] = photos
    K = np.tile(np.array([[500.0, 0, 320], [0, 500, 240], [0, 0, 1]]), (n, 1, 1))
    cameras = Cameras(poses, K, np.full(n, 640), np.full(n, 480))
    return Mapped(mapper, np.array(photos, np.int64), cameras, np.zeros(n, np.int64), no_points())


def pair(first: int, second: int, n: int = 50, flat: int = 10) -> Pair:
    return Pair(first, second, np.zeros((n, 2), np.int64), np.zeros((n, 2, 2)), n, flat, "CALIBRATED")


Solver = Callable[[Mapping[str, Any]], Outcome]


@dataclass
class Workers:
    """Stands in for the worker processes: writes small files at once, and records every task.

    Args:
        places: photos that a mapper places, by mapper and by whether the features are rich.
        failing: how a function or a mapper fails.
        flat: share of the matches that one homography explains.
    """

    places: dict[tuple[str, bool], list[list[int]]]
    failing: dict[str, TaskFailure] = field(default_factory=dict)
    flat: float = 0.2
    tasks: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def __call__(
        self, function: str, tasks: Sequence[dict[str, Any]], options: WorkerOptions, on_done: Callable[[int], None]
    ) -> list[Outcome]:
        name = function.split(":")[1]
        self.tasks += [(name, task) for task in tasks]
        for index in range(len(tasks)):
            on_done(index)
        answer = {"extract_task": self.extract, "match_task": self.match, "solve_task": self.solve}
        answer["known_poses_task"] = self.known
        return [self.failing.get(name) or answer[name](task) for task in tasks]

    def named(self, name: str) -> list[dict[str, Any]]:
        return [task for found, task in self.tasks if found == name]

    def extract(self, task: Mapping[str, Any]) -> Outcome:
        np.savez(task["target"], xy=np.zeros((3, 2), np.float32), descriptors=np.zeros((3, 128), np.uint8))
        return {"n_features": 3}

    def match(self, task: Mapping[str, Any]) -> Outcome:
        n = 500
        save_pairs(Path(task["target"]), [pair(a, b, n, round(self.flat * n)) for a, b in task["pairs"]])
        return {"n_verified": len(task["pairs"])}

    def solve(self, task: Mapping[str, Any]) -> Outcome:
        mapper, folder = task["mapper"], Path(task["target"])
        if mapper in self.failing:
            return self.failing[mapper]
        rich = "-rich" in folder.parent.name
        folder.mkdir()
        found = self.places.get((mapper, rich), [])
        for k, photos in enumerate(found):
            save_mapped(folder / f"{k}.npz", model(mapper, photos))
        return {"models": [{"file": f"{k}.npz", "notes": [f"{mapper} {k}"]} for k in range(len(found))]}

    def known(self, task: Mapping[str, Any]) -> Outcome:
        folder = Path(task["target"])
        folder.mkdir()
        save_mapped(folder / "0.npz", load_mapped(Path(task["poses"])))
        return {"models": [{"file": "0.npz", "notes": []}]}


def largest(models: Sequence[Mapped], *_: Any, **__: Any) -> Verdict:
    """A verification that trusts the largest model."""
    best = max(models, key=lambda each: len(each.photo), default=None)
    return Verdict(best, best is not None, () if models else ("no model",), (), (), (), {})


@pytest.fixture
def workers(monkeypatch: pytest.MonkeyPatch) -> Workers:
    made = Workers({(mapper, False): [list(range(N))] for mapper in ("incremental", "global")})
    monkeypatch.setattr(engine, "run_tasks", made)
    monkeypatch.setattr(engine, "verify", largest)
    return made


@pytest.fixture
def tools(tmp_path: Path) -> Tools:
    return Tools(StageStore(tmp_path / "out"), WorkerOptions(2), Progress(), 10**8)


def find(tools: Tools, photos: Sequence[Photo] = PHOTOS, poses: Path | None = None, **options: Any) -> CameraSearch:
    return find_cameras(photos, SfmOptions(**options), tools, poses)


def test_all_placed_needs_no_second_try(workers: Workers, tools: Tools) -> None:
    found = find(tools)
    assert found.verdict.trusted and found.verdict.chosen is not None
    assert found.verdict.chosen.photo.tolist() == list(range(N))
    assert not found.rich
    assert not any(task["rich"] for task in workers.named("extract_task"))
    assert list(found.seconds) == ["features", "matches", "cameras"]
    assert [task["mapper"] for task in workers.named("solve_task")] == ["incremental", "global"]


def test_model_and_description_are_those_of_the_chosen(workers: Workers, tools: Tools) -> None:
    workers.places = {("incremental", False): [[0, 1]], ("global", False): [[2, 3], list(range(N))]}
    found = find(tools)
    assert found.model == tools.store.root / "cameras/global/1.npz"
    assert found.description["notes"] == ["global 1"]
    assert load_mapped(found.model).photo.tolist() == list(range(N))


@pytest.mark.parametrize(("n_placed", "rich"), [(10, False), (9, False), (8, True), (2, True)])
def test_richer_features_only_when_few_are_placed(workers: Workers, tools: Tools, n_placed: int, rich: bool) -> None:
    workers.places = {("global", False): [list(range(n_placed))], ("global", True): [list(range(N))]}
    found = find(tools)
    assert found.rich == rich
    assert len(workers.named("extract_task")) == (2 * N if rich else N)
    assert all(task["rich"] for task in workers.named("extract_task")[N:])


def test_dropped_photos_count_as_not_placed(workers: Workers, tools: Tools, monkeypatch: pytest.MonkeyPatch) -> None:
    drops = (Drop(0, "loose"), Drop(1, "loose"))
    monkeypatch.setattr(engine, "verify", lambda *a, **k: replace(largest(*a, **k), drop=drops))
    find(tools)
    assert len(workers.named("extract_task")) == 2 * N


def test_second_try_that_places_no_more_is_not_taken(workers: Workers, tools: Tools) -> None:
    workers.places = {("global", False): [[0, 1, 2]], ("global", True): [[3, 4, 5]]}
    found = find(tools)
    assert not found.rich
    assert found.verdict.chosen is not None and found.verdict.chosen.photo.tolist() == [0, 1, 2]
    names = ["features", "matches", "cameras"]
    assert list(found.seconds) == [*names, *(f"{name}-rich" for name in names)]


def test_refused_first_try_is_tried_again(workers: Workers, tools: Tools, monkeypatch: pytest.MonkeyPatch) -> None:
    verdicts = iter([False, True])
    monkeypatch.setattr(engine, "verify", lambda *a, **k: replace(largest(*a, **k), trusted=next(verdicts)))
    workers.places[("global", True)] = [list(range(3))]
    found = find(tools)
    assert found.rich and found.verdict.trusted


def test_capture_without_parallax_is_not_tried_again(
    workers: Workers, tools: Tools, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "verify", lambda *a, **k: replace(largest(*a, **k), trusted=False))
    workers.flat = 1.0
    assert not find(tools).verdict.trusted
    assert len(workers.named("extract_task")) == N


def test_no_model_at_all(workers: Workers, tools: Tools) -> None:
    workers.places = {}
    found = find(tools)
    assert (found.model, found.description, found.verdict.trusted) == (None, {}, False)


@pytest.mark.parametrize(("dead", "alive"), [("incremental", "global"), ("global", "incremental")])
def test_one_dead_mapper_is_tolerated(workers: Workers, tools: Tools, dead: str, alive: str) -> None:
    workers.failing[dead] = TaskFailure("worker died (signal 11)")
    found = find(tools)
    assert found.verdict.trusted
    assert found.model == tools.store.root / f"cameras/{alive}/0.npz"


def test_a_dead_mapper_is_said(workers: Workers, tools: Tools, caplog: pytest.LogCaptureFixture) -> None:
    workers.failing["global"] = TaskFailure("worker died (signal 11)")
    found = find(tools)
    assert "worker died (signal 11)" in caplog.text
    assert found.lost == ("global mapping failed and did not check the model: worker died (signal 11)",)
    assert find(tools).lost == found.lost  # a reused stage says it again


def test_two_dead_mappers_are_an_error_and_leave_no_stage(workers: Workers, tools: Tools) -> None:
    workers.failing |= {name: TaskFailure("worker died (signal 6)") for name in ("incremental", "global")}
    with pytest.raises(ResultError, match=r"mapping failed; got: worker died \(signal 6\)"):
        find(tools)
    assert not (tools.store.root / "cameras").exists()
    assert (tools.store.root / "matches").exists()


def test_no_features_at_all_are_an_error(workers: Workers, tools: Tools) -> None:
    workers.failing["extract_task"] = TaskFailure("out of memory", "MemoryError")
    with pytest.raises(ResultError, match="features could not be found in any photo; got: out of memory"):
        find(tools)


def test_one_photo_without_features_is_left_out_with_its_reason(
    workers: Workers, tools: Tools, monkeypatch: pytest.MonkeyPatch
) -> None:
    def extract(task: Mapping[str, Any]) -> Outcome:
        return (
            TaskFailure("worker died (signal 6)")
            if task["target"].endswith("000001.npz")
            else Workers.extract(workers, task)
        )

    monkeypatch.setattr(workers, "extract", extract)
    found = find(tools)
    assert found.failed == {1: "worker died (signal 6)"}
    with np.load(found.features[1]) as data:
        assert data["xy"].shape == (0, 2)
    assert find(tools).failed == found.failed  # also when the stage is reused


def test_failed_matching_is_an_error(workers: Workers, tools: Tools) -> None:
    workers.failing["match_task"] = TaskFailure("worker died (signal 9)")
    with pytest.raises(ResultError, match="matching failed"):
        find(tools)


def test_all_pairs_are_matched_once(workers: Workers, tools: Tools) -> None:
    found = find(tools)
    pairs = [tuple(each) for task in workers.named("match_task") for each in task["pairs"]]
    assert sorted(pairs) == [(a, b) for a in range(N) for b in range(a + 1, N)]
    assert len(workers.named("match_task")) == 2  # 45 pairs in tasks of 32
    assert sorted((each.first, each.second) for each in found.pairs) == sorted(pairs)
    assert sorted(path.name for path in (tools.store.root / "matches").iterdir()) == ["done.json", "pairs.npz"]


def test_second_run_starts_no_worker(workers: Workers, tools: Tools) -> None:
    first = find(tools)
    workers.tasks.clear()
    again = find(tools)
    assert workers.tasks == []
    assert (again.key, again.model, again.seconds) == (first.key, first.model, first.seconds)


def rerun(workers: Workers, tools: Tools, photos: Sequence[Photo], **options: Any) -> set[str]:
    """Return which functions a second run calls when photos or options changed."""
    find(tools)
    workers.tasks.clear()
    find(tools, photos, **options)
    return {name for name, _ in workers.tasks}


ALL, FROM_MATCHES, FROM_MAPPING = (
    {"extract_task", "match_task", "solve_task"},
    {"match_task", "solve_task"},
    {"solve_task"},
)


@pytest.mark.parametrize(
    ("options", "called"),
    [
        ({"max_features": 1000}, ALL),
        ({"max_image_size": 1000}, ALL),
        ({"seed": 1}, FROM_MATCHES),
        ({"pairs": "sequential"}, FROM_MATCHES),
        ({"mapper": "global"}, FROM_MAPPING),
        ({"intrinsics": "per-photo"}, FROM_MAPPING),
        ({"principal_point": "free"}, FROM_MAPPING),
        ({"calibration": "500,500,320,240"}, FROM_MATCHES),
    ],
)
def test_a_changed_option_repeats_what_depends_on_it(
    workers: Workers, tools: Tools, options: dict[str, Any], called: set[str]
) -> None:
    assert rerun(workers, tools, PHOTOS, **options) == called


@pytest.mark.parametrize(
    ("change", "called"),
    [
        ({"sha256": "f" * 64}, ALL),
        ({"focal_px": 700.0}, FROM_MATCHES),
        ({"key": "renamed.jpg", "path": Path("elsewhere/renamed.jpg")}, set()),
        ({"sharpness": 0.3, "remark": "blurred"}, set()),
    ],
)
def test_a_changed_photo_repeats_what_depends_on_it(
    workers: Workers, tools: Tools, change: dict[str, Any], called: set[str]
) -> None:
    assert rerun(workers, tools, [replace(PHOTOS[0], **change), *PHOTOS[1:]]) == called


def test_a_mask_that_was_painted_anew_counts(workers: Workers, tools: Tools, tmp_path: Path) -> None:
    mask = tmp_path / "mask.png"
    mask.write_bytes(b"old")
    masked = [replace(PHOTOS[0], mask=mask), *PHOTOS[1:]]
    assert rerun(workers, tools, masked) == ALL
    mask.write_bytes(b"new")
    workers.tasks.clear()
    find(tools, masked)
    assert {name for name, _ in workers.tasks} == ALL


def test_focal_length_of_exif_is_a_prior_unless_the_photo_was_cropped(workers: Workers, tools: Tools) -> None:
    photos = [photo(0, focal_px=700.0), photo(1, focal_px=700.0, exif_conflict=True), *PHOTOS[2:]]
    find(tools, photos)
    first, cropped, bare = workers.named("solve_task")[0]["capture"]["cameras"][:3]
    assert (first["params"][0], first["prior"]) == (700.0, True)
    assert cropped == bare
    assert (bare["params"], bare["prior"]) == ([768.0, 320.0, 240.0, 0.0], False)


@pytest.fixture
def poses(tmp_path: Path) -> Path:
    known = model("known", range(3))
    names = [PHOTOS[k].key for k in range(3)]
    write_colmap(tmp_path / "poses", colmap_from_cameras(known.cameras, names, no_points()))
    return tmp_path / "poses"


def test_known_poses_are_refined_once_and_not_searched(workers: Workers, tools: Tools, poses: Path) -> None:
    found = find(tools, poses=poses)
    assert workers.named("solve_task") == []
    assert len(workers.named("known_poses_task")) == 1
    assert len(workers.named("extract_task")) == N  # three of ten placed, yet no second try
    assert found.verdict.chosen is not None
    assert (found.verdict.chosen.mapper, found.verdict.chosen.photo.tolist()) == ("known", [0, 1, 2])


def test_exact_poses_are_said_to_the_worker_and_need_poses(
    workers: Workers, tools: Tools, poses: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drops = (Drop(0, "too few matches"),)
    doubtful = {"trusted": False, "refused_because": ("too few matches",), "drop": drops}
    monkeypatch.setattr(engine, "verify", lambda *a, **k: replace(largest(*a, **k), **doubtful))
    verdict = find(tools, poses=poses, exact_poses=True).verdict
    assert verdict.trusted and verdict.drop == () and verdict.warnings == ("too few matches",)
    assert [task["exact"] for task in workers.named("known_poses_task")] == [True]
    with pytest.raises(UsageError, match="exact poses need poses"):
        find(tools, exact_poses=True)


def test_other_known_poses_are_refined_anew(workers: Workers, tools: Tools, poses: Path) -> None:
    first = find(tools, poses=poses)
    workers.tasks.clear()
    assert find(tools, poses=poses).key == first.key
    assert workers.tasks == []
    moved = model("known", range(3)).cameras.transformed(np.diag([2.0, 2.0, 2.0, 1.0]))
    write_colmap(poses, colmap_from_cameras(moved, [PHOTOS[k].key for k in range(3)], no_points()))
    assert find(tools, poses=poses).key != first.key
    assert {name for name, _ in workers.tasks} == {"known_poses_task"}


def test_other_known_distortion_is_refined_anew(workers: Workers, tools: Tools, poses: Path) -> None:
    first = find(tools, poses=poses)
    bent = replace(model("known", range(3)).cameras, distortion=np.tile([-0.2, 0.0, 0.0, 0.0], (3, 1)))
    write_colmap(poses, colmap_from_cameras(bent, [PHOTOS[k].key for k in range(3)], no_points()))
    assert find(tools, poses=poses).key != first.key


def test_dead_refinement_of_known_poses_is_an_error(workers: Workers, tools: Tools, poses: Path) -> None:
    workers.failing["known_poses_task"] = TaskFailure("worker died (signal 6)")
    with pytest.raises(ResultError, match="mapping failed"):
        find(tools, poses=poses)


@pytest.mark.parametrize(
    ("n", "n_placed", "rich"), [(3, 2, True), (5, 4, True), (6, 5, False), (20, 18, False), (20, 17, True)]
)
def test_of_few_photos_each_counts_and_of_many_a_tenth_may_stay_out(
    workers: Workers, tools: Tools, n: int, n_placed: int, rich: bool
) -> None:
    workers.places = {("global", False): [list(range(n_placed))], ("global", True): [list(range(n))]}
    assert find(tools, [photo(k) for k in range(n)]).rich == rich


class ZoomingWorkers(Workers):
    """A first mapping whose refinement finds photos of another zoom in the group that all photos share."""

    def solve(self, task: Mapping[str, Any]) -> Outcome:
        done = super().solve(task)
        if isinstance(done, TaskFailure):
            return done
        shared = len(set(task["capture"]["group"])) == 1
        return {"models": [{**item, "unshared_groups": [0] if shared else []} for item in done["models"]]}


@pytest.fixture
def zooming(monkeypatch: pytest.MonkeyPatch) -> ZoomingWorkers:
    made = ZoomingWorkers({(mapper, False): [list(range(N))] for mapper in ("incremental", "global")})
    monkeypatch.setattr(engine, "run_tasks", made)
    monkeypatch.setattr(engine, "verify", largest)
    return made


def test_photos_that_contradict_their_shared_lens_are_mapped_once_more_apart(
    zooming: ZoomingWorkers, tools: Tools
) -> None:
    found = find(tools)
    groups = [tuple(task["capture"]["group"]) for task in zooming.named("solve_task")]
    assert groups == [(0,) * N] * 2 + [tuple(range(1, N + 1))] * 2
    assert list(found.seconds) == ["features", "matches", "cameras", "cameras-split"]
    assert found.verdict.trusted


def test_both_mappings_are_judged_together(
    zooming: ZoomingWorkers, tools: Tools, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged: list[int] = []

    def last(models: Sequence[Mapped], *_: Any, **__: Any) -> Verdict:
        judged.append(len(models))
        return Verdict(models[-1], True, (), (), (), (), {})

    monkeypatch.setattr(engine, "verify", last)
    found = find(tools)
    assert judged == [2, 4]
    assert found.model == tools.store.root / "cameras-split/global/0.npz"
    assert found.group == tuple(range(1, N + 1))


def test_sharing_that_the_user_asked_for_is_kept(zooming: ZoomingWorkers, tools: Tools) -> None:
    assert "cameras-split" not in find(tools, intrinsics="shared").seconds


def test_the_calibration_reaches_matching_and_mapping(workers: Workers, tools: Tools) -> None:
    find(tools, calibration="500,510,320,240")
    expected = [500.0, 510.0, 320.0, 240.0, 0.0, 0.0, 0.0, 0.0]
    for task in workers.named("match_task"):
        assert all(camera["params"] == expected for camera in task["cameras"])
    for task in workers.named("solve_task"):
        assert task["capture"]["cameras"][0]["params"] == expected
        assert task["capture"]["calibration"] == "500,510,320,240"


def test_all_matched_pairs_are_known(workers: Workers, tools: Tools) -> None:
    found = find(tools)
    assert found.tried == tuple((a, b) for a in range(N) for b in range(a + 1, N))
    assert find(tools).tried == found.tried

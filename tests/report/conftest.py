"""A small synthetic reconstruction: six cameras on an arc around a cloud of points."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from recon3d.dense.types import DepthMap
from recon3d.evaluation.novel_views import ViewErrors
from recon3d.render.cameras import Cameras
from recon3d.report import (
    DenseResults,
    DepthPreview,
    DepthSummary,
    HeldOutView,
    MeshSummary,
    PairSummary,
    RelightSummary,
    ReportInputs,
    SplatSummary,
    StereoSummary,
)
from recon3d.scene import Points, Scale, Scene, View

N_CAMERAS, N_POINTS = 6, 60
HOSTILE = '<script>alert("1")</script>&\'.jpg'


def _pose(azimuth: float) -> np.ndarray:
    center = np.array([4 * np.cos(azimuth), 4 * np.sin(azimuth), 1.0])
    forward = -center / np.linalg.norm(center)
    right = np.cross(forward, [0, 0, 1.0])
    right /= np.linalg.norm(right)
    pose = np.eye(4)
    pose[:3, :3] = [right, np.cross(forward, right), forward]
    pose[:3, 3] = -pose[:3, :3] @ center
    return pose


def make_scene(n_points: int = N_POINTS, seed: int = 3) -> Scene:
    """Every point is seen by the first 2 to 6 cameras, 0.5 px to the right of where it should be."""
    rng = np.random.default_rng(seed)
    poses = np.stack([_pose(angle) for angle in np.linspace(0.0, 1.5, N_CAMERAS)])
    K = np.tile(np.array([[500.0, 0, 321], [0, 500, 239], [0, 0, 1]]), (N_CAMERAS, 1, 1))
    sizes = np.full(N_CAMERAS, 640, np.int64), np.full(N_CAMERAS, 480, np.int64)
    cameras = Cameras(poses, K, *sizes, np.tile([-0.05, 0, 0, 0], (N_CAMERAS, 1)))
    xyz = rng.uniform(-0.8, 0.8, (n_points, 3))
    lengths = np.arange(n_points) % 5 + 2
    obs_point = np.repeat(np.arange(n_points), lengths).astype(np.int32)
    obs_view = np.concatenate([np.arange(length) for length in lengths]).astype(np.int32)
    pixels, _ = cameras.project(xyz[obs_point], obs_view.astype(np.int64))
    rgb = rng.integers(0, 256, (n_points, 3)).astype(np.uint8)
    error, sigma = np.full(n_points, 0.5), np.full(n_points, np.nan)
    points = Points(xyz, rgb, error, sigma, obs_point, obs_view, pixels + np.array([0.5, 0.0]))
    registered = [View(f"b{index}.jpg", "registered", "", 640, 480, "", index // 4) for index in range(N_CAMERAS)]
    registered[2] = View("b2.jpg", "registered", "blurred", 640, 480, "", 0)
    others = [View(HOSTILE, "not_registered", "no <overlap>", 640, 480), View("z.png", "skipped", "empty file")]
    pose_sigma = np.tile([0.01, 0.02, 0.01, 0.001, 0.002, 0.003], (N_CAMERAS, 1))
    pose_sigma[5] = np.nan
    views = tuple(sorted([*registered, *others], key=lambda view: view.key))
    scale = Scale("metric", "a known distance", (0.98, 1.02))
    provenance = {"recon3d": "0.1.0", "threads": 2}
    scene = Scene(views, cameras, cameras.pinhole(), points, pose_sigma, scale)
    return replace(scene, metrics={"angle": 12.5}, provenance=provenance)


@pytest.fixture(scope="session")
def scene_maker() -> Callable[[int], Scene]:
    return make_scene


@pytest.fixture(scope="session")
def scene() -> Scene:
    return make_scene()


@pytest.fixture(scope="session")
def inputs(scene: Scene) -> ReportInputs:
    keys = [view.key for view in scene.registered]
    pairs = [PairSummary(keys[a], keys[b], 500, 400 - 70 * (b - a), 5.0) for a in range(6) for b in range(a + 1, 6)]
    pairs.append(PairSummary(HOSTILE, keys[0], 9, 0))
    return ReportInputs(
        title=f"Title {HOSTILE}",
        views=scene.views,
        scene=scene,
        thumbnails={key: b"\xff\xd8 jpeg " + key.encode() for key in keys},
        pairs=pairs,
        timings={"features": 3.25, "mapping <fast>": 200.0},
        settings={"engine": "sfm", "nested": {"on": True, "none": None, "list": [1, 2.5]}, "path": HOSTILE},
        warnings=["<b>Careful</b>"],
        provenance={"platform": "here"},
    )


@pytest.fixture(scope="session")
def refused(inputs: ReportInputs) -> ReportInputs:
    views = [View(f"r{index}.jpg", "not_registered", "no parallax", 640, 480) for index in range(4)]
    pairs = [PairSummary("r0.jpg", f"r{index}.jpg", 300, 280, 0.1 * index) for index in range(1, 4)]
    return ReportInputs("turning", views, verdict="The camera only <turned>.", pairs=pairs, warnings=["Walk around."])


def picture(seed: int, size: tuple[int, int] = (24, 36)) -> np.ndarray:
    """A smooth picture that the seed fixes."""
    rows, columns = np.mgrid[: size[0], : size[1]]
    waves = [128 + 100 * np.sin(0.2 * rows + 0.3 * columns + seed + phase) for phase in (0, 2, 4)]
    return np.stack(waves, axis=2).astype(np.uint8)


def make_dense() -> DenseResults:
    held_out = [
        HeldOutView(ViewErrors("b1.jpg", 25.126, 0.8124, 26.5, 0.825), picture(1), picture(2)),
        HeldOutView(ViewErrors(HOSTILE, 20.0, 0.7, 21.0, 0.71), picture(3), picture(4)),
        HeldOutView(ViewErrors("b5.jpg", 30.0, 0.9)),
    ]
    history = [
        {"iteration": i, "loss": 1 / (i + 1), "psnr": 20 + i / 10, "gaussians": 1000 * i} for i in range(0, 90, 10)
    ]
    splats = SplatSummary(
        123_456, 3000, 95.0, 9, (640, 480), 3, held_out, history, [picture(seed) for seed in range(8)], True,
        "an orbit <around>", {"splats.ply": 29_000_000, "splats.spz": 2_000_000}, ["capped <by> the preset"],
    )  # fmt: skip
    depth_z = np.linspace(1.0, 3.0, 24 * 36).reshape(24, 36).astype(np.float32)
    depth_z[:6] = 0
    previews = [
        DepthPreview("b0.jpg", picture(7), DepthMap(depth_z, np.where(depth_z > 0, 0.02, 0).astype(np.float32)))
    ]
    mesh = MeshSummary(5000, 9876, 2.5, (1.0, 2.0, 0.5), 3, False, 12.0, [picture(5)], file_bytes={"mesh.glb": 200_000})
    return DenseResults(
        splats,
        DepthSummary("multi-view stereo", 6, 0.75, 30.0, previews),
        mesh,
        StereoSummary(6, 5, 1.84, 0.75, 4321, 30.0),
        RelightSummary(
            23_456, 45_678, 7, (512, 384), 0.875, 61.0, HOSTILE, {"Photo": picture(8), "Albedo": picture(9)},
            [ViewErrors("b1.jpg", 24.0, 0.75, 25.0, 0.76), ViewErrors("b5.jpg", 26.0, 0.85, 27.0, 0.86)],
            {"relightable.ply": 3_100_000}, ["scaled <by> a rule"],
        ),
    )  # fmt: skip


@pytest.fixture(scope="session")
def dense() -> DenseResults:
    return make_dense()

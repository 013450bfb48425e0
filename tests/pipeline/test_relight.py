"""The relightable stage of the tiny capture, with an estimator that guesses: what is written, reused and shown."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch

from recon3d import pipeline_dense, pipeline_relight, pipeline_report
from recon3d.apps.cli.summary import dense_rows
from recon3d.apps.viewer.contents import read_contents
from recon3d.core.errors import InputError, UsageError
from recon3d.core.progress import Progress
from recon3d.dense.fusion_options import FusionOptions
from recon3d.dense.stereo_options import StereoOptions
from recon3d.pipeline import ReconstructOptions
from recon3d.render.mesh import Mesh, load_mesh
from recon3d.render.mesh.normals import vertex_normals
from recon3d.render.shading import Environment, linear_from_srgb
from recon3d.scene import Scene
from recon3d.scene_io import check_files
from recon3d.splats.options import SplatOptions
from recon3d.splats.relight.estimate import RelightEstimate, RelightInputs
from recon3d.splats.relight.options import RelightOptions

from .conftest import N_PHOTOS, Run
from .test_resume import hashes

MADE = ("relightable.ply", "environment.exr", "relightable.glb")
OPTIONS: dict[str, Any] = {
    "only": "mesh",
    "preset": "draft",
    "relightable": True,
    "stereo": StereoOptions(max_image_size=180),
    "mesh": FusionOptions(voxel_px=2.0),
    "relight": RelightOptions(max_image_size=120),
    "splats": SplatOptions(iterations=8, max_gaussians=2000, sh_degree=1),
}


@dataclass
class Estimator:
    """Stands in for the real one, and notes what it was given."""

    calls: list[RelightInputs] = field(default_factory=list)

    def __call__(self, inputs: RelightInputs, options: RelightOptions, progress: Progress) -> RelightEstimate:
        """Return the albedo that white light from everywhere would explain."""
        self.calls.append(inputs)
        given, v = inputs.mesh, len(inputs.mesh.vertices)
        assert given.rgb is not None
        albedo = linear_from_srgb(torch.from_numpy(given.rgb.astype(np.float32) / 255)).numpy()
        mesh = Mesh(given.vertices, given.faces, vertex_normals(given.vertices, given.faces))
        rough, plain, white = np.full(v, 0.8, np.float32), np.zeros(v, np.float32), Environment(torch.ones(32, 64, 3))
        notes = ("the albedo is scaled by a guess",)
        return RelightEstimate(mesh, albedo, rough, plain, white, np.arange(v) % 4 > 0, {"loss": 0.25}, notes)


@pytest.fixture
def estimator(monkeypatch: pytest.MonkeyPatch) -> Estimator:
    return install(monkeypatch)


def install(patch: pytest.MonkeyPatch) -> Estimator:
    fake = Estimator()
    patch.setattr(pipeline_relight, "estimate_materials", fake)
    return fake


@pytest.fixture(scope="module", autouse=True)
def small_previews() -> Iterator[None]:
    """The pictures of the report take longer than what they show."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline_report, "N_FRAMES", 1)
        patch.setattr(pipeline_report, "SIDE_PX", 60)
        yield


@pytest.fixture(scope="module")
def made(first: Run, tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Estimator]:
    """The mesh and what can be relit, once; nothing in its folders may be changed."""
    copy = first.copied(tmp_path_factory.mktemp("relight"))
    with pytest.MonkeyPatch.context() as patch:
        fake = install(patch)
        return Run(copy.photos, copy.out, copy.again(**OPTIONS)), fake


@pytest.fixture
def copied(made: tuple[Run, Estimator], tmp_path: Any) -> Run:
    return made[0].copied(tmp_path)


@pytest.fixture
def no_work(monkeypatch: pytest.MonkeyPatch, estimator: Estimator) -> Estimator:
    """Let every dense computation before the estimate fail the test."""
    for name in ("estimate_depth", "optimise_splats", "fuse_with_stats", "fuse_points"):
        monkeypatch.setattr(pipeline_dense, name, lambda *_, name=name, **__: pytest.fail(f"{name} was called"))
    return estimator


def test_the_files_are_listed_and_belong_together(made: tuple[Run, Estimator]) -> None:
    run = made[0]
    assert set(MADE) <= set(json.loads((run.out / "scene.json").read_text())["files"])
    assert check_files(run.out) == ()
    scene = Scene.load(run.out)
    splats, mesh = scene.relightable(), load_mesh(run.out / "relightable.glb")
    assert len(splats) == scene.metrics["relight"]["n_splats"] <= len(mesh.vertices)
    assert len(mesh.faces) == scene.metrics["relight"]["n_faces"] == scene.metrics["mesh"]["n_faces"]
    assert mesh.material is not None and mesh.material.metallic_roughness_texture is not None
    assert scene.environment().radiance.shape == (32, 64, 3)
    assert splats.light == "the light of the photos, as estimated"


def test_held_out_photos_are_not_shown_to_the_estimator_and_measure_it(made: tuple[Run, Estimator]) -> None:
    run, fake = made
    registered = [view.key for view in run.scene.registered]
    (given,) = fake.calls
    assert len(given.images) == len(given.cameras) == len(given.masks) == N_PHOTOS - 2
    assert {image.shape for image in given.images} == {(80, 120, 3)}
    expected = run.scene.pinhole_cameras.cam_from_world[[1, 2, 3, 5]]
    np.testing.assert_allclose(given.cameras.cam_from_world, expected)
    held_out = run.scene.metrics["relight"]["held_out"]
    assert [entry["key"] for entry in held_out] == registered[::4]
    assert all(entry["psnr"] > 12 for entry in held_out)


def test_it_is_told_in_report_and_summary(made: tuple[Run, Estimator]) -> None:
    run = made[0]
    report = (run.out / "report.html").read_text()
    for text in (
        "Materials and light",
        "product of light and albedo",
        "scaled by a guess",
        "Roughness, from the camera",
    ):
        assert text in report, text
    told = dict(dense_rows(run.scene.metrics))["relightable"]
    assert "75 % of the surface seen, 2 held-out photos:" in told


def test_the_viewer_shows_it_first(made: tuple[Run, Estimator]) -> None:
    items = read_contents(made[0].out).items
    assert next(item.path for item in items if item.role == "splats") == "relightable.ply"
    assert [item.path for item in items if item.role == "environment"] == ["environment.exr"]
    assert [item.path for item in items if item.role == "mesh"] == ["mesh.glb", "relightable.glb"]


def test_a_second_run_computes_nothing(copied: Run, no_work: Estimator) -> None:
    before = hashes(copied.out)
    copied.again(**OPTIONS)
    assert hashes(copied.out) == before
    assert not no_work.calls


def test_it_is_removed_where_it_is_not_wanted_and_comes_back(copied: Run, no_work: Estimator) -> None:
    before = hashes(copied.out)
    scene = copied.again(**{**OPTIONS, "relightable": False})
    assert not [name for name in MADE if (copied.out / name).exists()]
    assert "relight" not in scene.metrics
    with pytest.raises(InputError, match="with --relightable"):
        scene.relightable()
    with pytest.raises(InputError, match="with --relightable"):
        scene.environment()
    copied.again(only="cameras")
    copied.again(**OPTIONS)
    assert hashes(copied.out) == before
    assert not no_work.calls


def test_other_options_estimate_again_and_nothing_else(copied: Run, no_work: Estimator) -> None:
    copied.again(**{**OPTIONS, "relight": RelightOptions(max_image_size=60)})
    assert {max(image.shape) for image in no_work.calls[0].images} == {60}


def test_a_mesh_without_faces_is_said(copied: Run, monkeypatch: pytest.MonkeyPatch, estimator: Estimator) -> None:
    monkeypatch.setattr(pipeline_dense, "has_faces", lambda _: False)
    scene = copied.again(**OPTIONS)
    assert any("no faces" in text for text in scene.provenance["warnings"])
    assert not [name for name in MADE if (copied.out / name).exists()]
    assert not estimator.calls


@pytest.mark.parametrize("only", ["cameras", "points", "splats"])
def test_without_a_mesh_it_is_wrong_usage(only: Any) -> None:
    with pytest.raises(UsageError, match=f"needs the mesh.*--only {only}"):
        ReconstructOptions(only=only, relightable=True)

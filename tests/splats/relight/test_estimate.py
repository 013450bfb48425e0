"""Facts of the estimate of materials and light from photos and a mesh."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch

from recon3d.core.errors import InputError, ShapeError, UsageError
from recon3d.core.progress import Progress, Stage
from recon3d.render.mesh import Mesh
from recon3d.render.raytrace import PathOptions, PbrMaterial, RenderObject, RenderScene, path_trace
from recon3d.render.shading import Environment, brdf_lut, srgb_from_linear
from recon3d.splats.relight import (
    RelightEstimate,
    RelightInputs,
    RelightOptions,
    SurfelOptions,
    TransferOptions,
    estimate_materials,
    surfels_of,
)
from recon3d.splats.relight.estimate import SCALE_NOTE
from tests.support.relight_scenes import around, ball_mesh, flat_photos, sheet, soft_light, together

SUN = torch.tensor([0.48, 0.36, 0.8])
BALL, GROUND = torch.tensor([0.6, 0.2, 0.15]), torch.tensor([0.3, 0.35, 0.3])
QUICK = RelightOptions(steps=20, light_steps=60)
RINGS = 10


def ball_on_ground() -> tuple[Mesh, Mesh]:
    return ball_mesh(RINGS, 0.6, (0.0, 0.0, 0.1)), sheet(10, 1.2, -0.5)


@cache
def scene() -> RelightInputs:
    """Ten path-traced photos of a red ball on a grey ground."""
    meshes = ball_on_ground()
    materials = (PbrMaterial(BALL, 0.5), PbrMaterial(GROUND, 0.9))
    objects = tuple(RenderObject(mesh, material) for mesh, material in zip(meshes, materials, strict=True))
    cameras = around(10, 48, 4.0, above=0.1)
    light = Environment(soft_light(SUN, 16, 2.0).reshape(16, 32, 3))
    options = PathOptions(spp=16, max_depth=3, background="black")
    traced = path_trace(RenderScene(objects, light), cameras, options)
    photos = srgb_from_linear(torch.from_numpy(traced.rgb).clamp(0, 1)).numpy()
    images = tuple(np.rint(255 * photo).astype(np.uint8) for photo in photos)
    masks = tuple(alpha > 0.99 for alpha in traced.alpha)
    bare = tuple(Mesh(mesh.vertices, mesh.faces) for mesh in meshes)
    return RelightInputs(images, masks, cameras, together(*bare))


@cache
def found(seed: int = 0) -> RelightEstimate:
    return estimate_materials(scene(), replace(QUICK, seed=seed))


def of_ball() -> np.ndarray:
    """Which vertices are those of the ball."""
    return np.arange(len(scene().mesh.vertices)) < len(ball_on_ground()[0].vertices)


def test_ball_and_ground_have_their_colours() -> None:
    """Up to one factor, which photos leave open."""
    estimate, ball = found(), of_ball()
    lit = estimate.seen & ~(ball & (estimate.mesh.vertices[:, 2] < 0.1))
    one, two = (np.median(estimate.albedo[lit & half], axis=0) for half in (ball, ~ball))
    np.testing.assert_allclose(one / one.sum(), (BALL / BALL.sum()).numpy(), atol=0.06)
    np.testing.assert_allclose(two / two.sum(), (GROUND / GROUND.sum()).numpy(), atol=0.06)
    assert one.sum() / two.sum() == pytest.approx(float(BALL.sum() / GROUND.sum()), rel=0.35)


def test_the_light_comes_from_where_it_does() -> None:
    light = found().environment
    level = light.radiance.mean(-1)
    power = (level - level.median()).clamp_min(0) * light.solid_angles()
    mean = torch.nn.functional.normalize((power[..., None] * light.directions()).sum((0, 1)), dim=0)
    assert float(mean @ SUN) > 0.85
    total = (light.radiance * light.solid_angles()[..., None]).sum((0, 1))
    torch.testing.assert_close(total / total.mean(), torch.ones(3), rtol=0, atol=0.12)


def test_the_estimate_is_complete() -> None:
    estimate = found()
    v = len(estimate.mesh.vertices)
    assert estimate.albedo.shape == (v, 3)
    assert estimate.roughness.shape == estimate.metallic.shape == estimate.seen.shape == (v,)
    for value in (estimate.albedo, estimate.roughness, estimate.metallic):
        assert np.isfinite(value).all()
        assert value.min() >= 0 and value.max() <= 1
        assert value.flags.c_contiguous
    np.testing.assert_allclose(np.linalg.norm(estimate.mesh.normals, axis=1), 1, atol=1e-5)
    np.testing.assert_array_equal(estimate.mesh.vertices, scene().mesh.vertices)
    np.testing.assert_array_equal(estimate.mesh.faces, scene().mesh.faces)


def test_metrics_are_what_they_say() -> None:
    estimate = found()
    metrics = estimate.metrics
    assert metrics["n_vertices"] == len(estimate.mesh.vertices)
    assert metrics["seen_share"] == pytest.approx(estimate.seen.mean(), abs=1e-4)
    assert metrics["n_observations"] > 3 * estimate.seen.sum()
    assert 0 < metrics["mean_error"] < 0.08
    assert metrics["metal_share"] == pytest.approx((estimate.metallic[estimate.seen] > 0.5).mean(), abs=1e-4)
    assert metrics["median_roughness"] == pytest.approx(np.median(estimate.roughness[estimate.seen]), abs=1e-3)
    assert estimate.notes == (SCALE_NOTE,)


def test_the_same_seed_gives_the_same_bits() -> None:
    one, two = found(), estimate_materials(scene(), QUICK)
    for name in ("albedo", "roughness", "metallic", "seen"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))
    torch.testing.assert_close(one.environment.radiance, two.environment.radiance, rtol=0, atol=0)
    assert dict(one.metrics) == dict(two.metrics)


def test_what_no_photo_shows_is_like_its_surroundings() -> None:
    """The underside of the ball is unseen, and red like the rest."""
    estimate, ball = found(), of_ball()
    hidden = ball & ~estimate.seen
    assert hidden.any()
    share = estimate.albedo / estimate.albedo.sum(1, keepdims=True)
    np.testing.assert_allclose(share[hidden].mean(0), share[ball & estimate.seen].mean(0), atol=0.08)


def test_surfels_are_made_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recon3d.splats.relight.shade.brdf_lut", lambda: brdf_lut(32))  # the usual one takes seconds
    splats = surfels_of(found(), SurfelOptions(transfer=TransferOptions(directions=16)))
    np.testing.assert_array_equal(splats.albedo.numpy(), found().albedo)
    assert len(splats) == len(found().mesh.vertices)


def test_large_meshes_are_simplified() -> None:
    small = estimate_materials(scene(), replace(QUICK, max_surfels=120, steps=2, light_steps=2))
    assert len(small.mesh.vertices) <= 120
    assert small.albedo.shape == (len(small.mesh.vertices), 3)
    assert small.metrics["n_vertices"] == len(small.mesh.vertices)


def test_without_visibility() -> None:
    """The other surface throws no shadow then, so that the ground beside the ball is darker than it is."""
    quick = estimate_materials(scene(), replace(QUICK, visibility=False, steps=4, light_steps=10))
    assert np.isfinite(quick.albedo).all()
    np.testing.assert_array_equal(quick.seen, found().seen)  # photos are looked up with occlusion all the same


def test_a_note_where_little_is_seen() -> None:
    given = scene()
    only = np.array([9])
    one = RelightInputs(given.images[9:], given.masks[9:], given.cameras[only], given.mesh)
    below = sheet(30, 1.0, -0.9, up=False)
    bare = Mesh(below.vertices, below.faces)
    hidden = replace(one, mesh=together(given.mesh, bare))
    estimate = estimate_materials(hidden, replace(QUICK, steps=2, light_steps=2))
    share = estimate.seen.mean()
    assert share < 0.3
    assert estimate.notes[1].startswith(f"photos show only {100 * share:.0f} % of the mesh")


def test_a_camera_that_looks_straight_along_normals() -> None:
    """There, gradients are finite, and so is all that follows."""
    mesh = sheet(6, 0.8, 0.0)
    pose = np.diag([1.0, -1.0, -1.0, 1.0])
    pose[2, 3] = 4.0
    cameras = around(3, 48, 4.0, above=0.5)
    poses = np.concatenate([cameras.cam_from_world[:2], pose[None]])
    inputs = RelightInputs(tuple(flat_photos(3)), (None,) * 3, replace(cameras, cam_from_world=poses), mesh)
    estimate = estimate_materials(inputs, replace(QUICK, steps=6, light_steps=4))
    assert np.isfinite(estimate.albedo).all()
    assert torch.isfinite(estimate.environment.radiance).all()


@pytest.mark.parametrize("value", [0, 255])
def test_black_and_white_photos(value: int) -> None:
    given = scene()
    flat = RelightInputs(tuple(flat_photos(10, 48, value)), given.masks, given.cameras, given.mesh)
    estimate = estimate_materials(flat, replace(QUICK, steps=4, light_steps=10))
    assert np.isfinite(estimate.albedo).all()
    assert torch.isfinite(estimate.environment.radiance).all()


class Recorder(Progress):
    """Remembers the stages, their counts, and how many threads torch had."""

    def __init__(self) -> None:
        self.stages: list[tuple[str, int | None]] = []
        self.threads: list[int] = []
        self.counted = 0

    @contextmanager
    def stage(self, name: str, total: int | None = None) -> Iterator[Stage]:
        self.stages.append((name, total))
        self.threads.append(torch.get_num_threads())
        recorder = self

        class Counter(Stage):
            def advance(self, n: int = 1) -> None:
                recorder.counted += n

        yield Counter()


def test_progress_counts_all_steps() -> None:
    recorder = Recorder()
    estimate_materials(scene(), replace(QUICK, steps=5, light_steps=3), recorder)
    assert [total for _, total in recorder.stages] == [None, 3, 5]
    assert recorder.counted == 8


def test_sums_have_one_order() -> None:
    """Several threads of torch would give other bits from time to time; the caller's number comes back."""
    before, given = torch.get_num_threads(), scene()
    torch.set_num_threads(2)
    try:
        recorder = Recorder()
        estimate_materials(given, replace(QUICK, steps=2, light_steps=1), recorder)
        assert recorder.threads == [1, 1, 1]
        assert torch.get_num_threads() == 2
        nowhere = tuple(np.zeros_like(image[..., 0], np.bool_) for image in given.images)
        with pytest.raises(InputError):
            estimate_materials(replace(given, masks=nowhere), QUICK)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_no_photo_shows_the_mesh() -> None:
    given = scene()
    away = Mesh(given.mesh.vertices + np.float32([0, 0, 100]), given.mesh.faces)
    with pytest.raises(InputError, match="no photo shows the mesh"):
        estimate_materials(replace(given, mesh=away), QUICK)
    nowhere = tuple(np.zeros_like(mask) for mask in given.masks)
    with pytest.raises(InputError, match="no photo shows the mesh"):
        estimate_materials(replace(given, masks=nowhere), QUICK)


def test_no_photos() -> None:
    given = scene()
    with pytest.raises(InputError, match="no photo"):
        estimate_materials(RelightInputs((), (), given.cameras[:0], given.mesh), QUICK)


def test_a_mesh_without_area() -> None:
    given = scene()
    flat = Mesh(np.zeros((300, 3), np.float32), np.arange(300, dtype=np.int32).reshape(-1, 3))
    with pytest.raises(InputError, match="without area"):
        replace(given, mesh=flat)


def test_numbers_that_differ() -> None:
    given = scene()
    with pytest.raises(ShapeError, match="every photo has a camera"):
        RelightInputs(given.images[:9], given.masks, given.cameras, given.mesh)
    with pytest.raises(ShapeError, match="every photo has a camera"):
        RelightInputs(given.images, given.masks[:9], given.cameras, given.mesh)
    with pytest.raises(ShapeError, match="every photo has a camera"):
        RelightInputs(given.images, given.masks, given.cameras[:9], given.mesh)


def test_photos_and_masks_have_the_size_of_their_camera() -> None:
    given = scene()
    small = (given.images[0][:40], *given.images[1:])
    with pytest.raises(ShapeError, match="size"):
        RelightInputs(small, given.masks, given.cameras, given.mesh)
    narrow = (given.masks[0][:, :40], *given.masks[1:])
    with pytest.raises(ShapeError, match="size"):
        RelightInputs(given.images, narrow, given.cameras, given.mesh)


def test_meshes_that_are_refused() -> None:
    given = scene()
    with pytest.raises(InputError, match="without faces"):
        replace(given, mesh=Mesh(given.mesh.vertices, given.mesh.faces[:0]))
    broken = given.mesh.vertices.copy()
    broken[3, 1] = np.nan
    with pytest.raises(InputError, match="not finite"):
        replace(given, mesh=Mesh(broken, given.mesh.faces))


@pytest.mark.parametrize(
    "wrong", [{"max_surfels": 99}, {"max_image_size": 31}, {"light_steps": 0}, {"steps": 1}, {"seed": -1}]
)
def test_options_out_of_range(wrong: dict[str, int]) -> None:
    with pytest.raises(UsageError, match=f"{next(iter(wrong))} is out of range"):
        RelightOptions(**wrong)


def test_options_at_their_ends() -> None:
    least = RelightOptions(max_surfels=100, max_image_size=32, light_steps=1, steps=2)
    assert estimate_materials(scene(), least).metrics["mean_error"] > 0

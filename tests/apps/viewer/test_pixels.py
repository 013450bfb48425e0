"""What the page draws, against the renderer on the CPU and the shading of this package."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from chromium import Page
from viewer_scenes import ball, read_image, save_relightable, side_camera

from recon3d.render.gaussians import rasterize
from recon3d.render.gaussians.files import save_gaussians
from recon3d.render.shading import sh_basis
from recon3d.render.shading.environment import Environment
from recon3d.render.shading.prefilter import PrefilteredEnvironment
from recon3d.render.shading.split_sum import shade_split_sum
from recon3d.render.shading.tone import srgb_from_linear, tone_curve

Serve = Callable[[Path], str]
N_SPLATS = 10_000


@pytest.mark.slow
@pytest.mark.parametrize("antialiased", [False, True])
def test_splats_look_as_on_the_cpu(page: Page, serve: Serve, tmp_path: Path, antialiased: bool) -> None:
    gaussians, camera = ball(N_SPLATS), side_camera()
    save_gaussians(tmp_path / "splats.ply", gaussians)
    assert page.open(serve(tmp_path / "splats.ply")) == ""
    seen = read_image(page, {"mode": "colour", "antialiased": antialiased}, camera)
    truth = rasterize(gaussians, camera, antialiased=antialiased)
    error = np.abs(seen[..., :3] - truth.image[0].numpy())
    assert error.mean() < 0.5 / 255  # the issue asks for 2 / 255
    assert np.abs(seen[..., 3] - truth.alpha[0].numpy()).mean() < 0.5 / 255
    again = read_image(page, {"mode": "colour", "antialiased": antialiased}, camera)
    assert np.array_equal(seen, again)


def light(height: int = 32) -> torch.Tensor:
    """A soft sky, a warm ground and two lamps."""
    env = Environment(torch.ones(height, 2 * height, 3))
    d = env.directions()
    sky = 0.4 + 0.3 * d[..., 2:] * torch.tensor([0.8, 1.0, 1.3])
    lamps = [
        (torch.tensor(t), torch.tensor(c))
        for t, c in (((0.6, 0.5, 0.6), (9.0, 8.0, 6.0)), ((-0.8, 0.1, 0.2), (1.0, 3.0, 5.0)))
    ]
    for towards, colour in lamps:
        cosine = (d * torch.nn.functional.normalize(towards, dim=0)).sum(-1, keepdim=True)
        sky = sky + torch.exp(12 * (cosine - 1)) * colour
    return sky.clamp_min(0)


@pytest.mark.slow
def test_relit_splats_look_as_shaded_in_torch(page: Page, serve: Serve, tmp_path: Path) -> None:
    gaussians, camera = ball(N_SPLATS, degree=0), side_camera()
    source = np.random.default_rng(1)
    normals = torch.nn.functional.normalize(gaussians.means, dim=-1)  # of a ball: many face away, too
    albedo, metallic = source.random((N_SPLATS, 3)) ** 2, source.integers(0, 2, N_SPLATS).astype(float)
    roughness = source.uniform(0.2, 1.0, N_SPLATS)
    save_relightable(tmp_path / "relit.ply", gaussians, normals.numpy(), albedo, roughness, metallic)
    assert page.open(serve(tmp_path / "relit.ply")) == ""

    radiance, yaw = light(), 40.0
    page.run(f"__viewer.setEnvironment({json.dumps(radiance.reshape(-1).tolist())}, 64, 32, {yaw})")
    seen = read_image(page, {"mode": "relit"}, camera)

    eye = torch.linalg.inv(camera.cam_from_world[0])[:3, 3]
    views = torch.nn.functional.normalize(eye - gaussians.means, dim=-1)
    prefiltered = PrefilteredEnvironment(Environment(radiance).rotated_z(yaw), max_rows=32)
    material = (torch.from_numpy(value).float() for value in (albedo, roughness, metallic))
    colours = shade_split_sum(normals, views, *material, prefiltered)
    truth = rasterize(gaussians, camera, features=colours).image[0].numpy()
    assert np.abs(seen[..., :3] - truth).mean() < 2 / 255
    assert abs(seen[..., :3].mean() / truth.mean() - 1) < 0.015

    page.run("__viewer.app.viewer.look.environment.setRotation([1,0,0, 0,1,0, 0,0,1])")
    turned = read_image(page, {"mode": "relit"}, camera)
    assert np.abs(turned - seen).mean() > 4 / 255  # the rotation matters
    page.run(f"__viewer.setEnvironment({json.dumps([0.0] * 6)}, 2, 1)")
    assert read_image(page, {"mode": "relit"}, camera)[..., :3].max() == 0.0


@pytest.mark.slow
def test_transfer_of_open_splats_changes_nothing_and_shadow_darkens(page: Page, serve: Serve, tmp_path: Path) -> None:
    gaussians, camera = ball(500, degree=0), side_camera(64)
    normals = torch.nn.functional.normalize(gaussians.means, dim=-1)
    cosine = torch.tensor([math.pi, *(2 * math.pi / 3,) * 3, *(math.pi / 4,) * 5])
    open_sky = (cosine * sh_basis(normals, 2)).numpy()
    material = (np.full((500, 3), 0.6), np.full(500, 0.7), np.zeros(500))
    pictures = []
    for name, transfer in (("none", None), ("open", open_sky), ("shadow", 0.25 * open_sky)):
        (tmp_path / name).mkdir()
        save_relightable(tmp_path / name / "a.ply", gaussians, normals.numpy(), *material, transfer)
        assert page.open(serve(tmp_path / name)) == ""
        page.run(f"__viewer.setEnvironment({json.dumps(light().reshape(-1).tolist())}, 64, 32)")
        pictures.append(read_image(page, {"mode": "relit"}, camera)[..., :3])
    assert np.abs(pictures[1] - pictures[0]).mean() < 0.5 / 255
    assert 0.2 < pictures[2].sum() / pictures[1].sum() < 0.5


@pytest.mark.slow
def test_views_show_the_attributes(page: Page, serve: Serve, tmp_path: Path) -> None:
    gaussians, camera = ball(2000, degree=0), side_camera(96)
    source = np.random.default_rng(2)
    normals = torch.nn.functional.normalize(torch.from_numpy(source.normal(size=(2000, 3))), dim=-1)
    albedo, roughness, metallic = source.random((2000, 3)), source.random(2000), source.random(2000)
    save_relightable(tmp_path / "relit.ply", gaussians, normals.numpy(), albedo, roughness, metallic)
    assert page.open(serve(tmp_path / "relit.ply")) == ""
    grey = np.ones((1, 3))
    depth = gaussians.means @ camera.cam_from_world[0, 2, :3] + camera.cam_from_world[0, 2, 3]
    expected = {
        "albedo": albedo,
        "normal": 0.5 * normals.numpy() + 0.5,
        "roughness": roughness[:, None] * grey,
        "metallic": metallic[:, None] * grey,
        "depth": depth.numpy()[:, None] * grey,
    }
    for mode, features in expected.items():
        truth = rasterize(gaussians, camera, features=torch.from_numpy(features).float()).image[0].numpy()
        seen = read_image(page, {"mode": mode}, camera)[..., :3]
        assert np.abs(seen - truth).mean() < 1 / 255, mode


@pytest.mark.slow
def test_tone_curves_are_those_of_the_package(page: Page, serve: Serve, tmp_path: Path) -> None:
    save_gaussians(tmp_path / "splats.ply", ball(10))
    assert page.open(serve(tmp_path / "splats.ply")) == ""
    rgb = np.random.default_rng(3).gamma(0.5, 2.0, (200, 3)).astype(np.float16).astype(np.float32)
    for curve in ("srgb", "reinhard", "aces", "agx", "neutral"):
        shown = page.run(f"__viewer.tone({json.dumps(rgb.reshape(-1).tolist())}, '{curve}', 1)")
        linear = tone_curve(torch.from_numpy(rgb), curve, exposure=2.0)
        truth = 255 * srgb_from_linear(linear.clamp(0, 1)).numpy()
        assert np.abs(np.array(shown).reshape(-1, 3) - truth).max() <= 1.5, curve


@pytest.mark.slow
def test_sorting_is_far_to_near_and_ties_go_by_index(page: Page, serve: Serve, tmp_path: Path) -> None:
    save_gaussians(tmp_path / "splats.ply", ball(10))
    address = serve(tmp_path / "splats.ply")
    assert page.open(address) == ""
    script = """import("./static/sort.js").then(({ sortByDepth }) => {
      const centres = new Float32Array([0,0,2, 0,0,-1, 0,0,5, 0,0,2, 0,0,1e-9, 0,0,2]);
      const order = new Uint32Array(6);
      sortByDepth(centres, [0, 0, 1, 0], order);
      return [...order];
    })"""
    assert page.run(script) == [2, 5, 3, 0, 4, 1]

"""Files that the page reads by itself: environments, meshes with textures, and unusual PLY."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from chromium import Page
from PIL import Image
from viewer_scenes import ball, read_image

from recon3d.formats.exr import read_exr, write_exr
from recon3d.formats.hdr import read_hdr, write_hdr
from recon3d.formats.ply import write_ply
from recon3d.render.gaussians import CameraTensors
from recon3d.render.gaussians.files import save_gaussians
from recon3d.render.mesh import Mesh, save_mesh

pytestmark = pytest.mark.slow
Serve = Callable[[Path], str]


def parsed(page: Page, name: str, reader: str) -> np.ndarray:
    """Let the page read an environment of the folder, and return its pixels."""
    width, height, raw = page.run(
        f"Promise.all([fetch('files/{name}').then((one) => one.arrayBuffer()), import('./static/hdr.js')])"
        f".then(([bytes, hdr]) => hdr.{reader}(bytes)).then(({{ width, height, rgb }}) => {{"
        " const bytes = new Uint8Array(rgb.buffer); let text = '';"
        " for (let i = 0; i < bytes.length; i += 8192) text += String.fromCharCode(...bytes.subarray(i, i + 8192));"
        " return [width, height, btoa(text)]; })"
    )
    return np.frombuffer(base64.b64decode(raw), np.float32).reshape(height, width, 3)


def test_environments_are_read_as_in_python(page: Page, serve: Serve, tmp_path: Path) -> None:
    rgb = np.random.default_rng(0).gamma(0.5, 3.0, (37, 64, 3)).astype(np.float32)
    rgb[5:9, 10:50] = 0.25  # runs of equal pixels
    write_hdr(tmp_path / "sky.hdr", rgb)
    write_exr(tmp_path / "sky.exr", {name: rgb[..., k] for k, name in enumerate("RGB")})
    save_gaussians(tmp_path / "splats.ply", ball(10))
    assert page.open(serve(tmp_path)) == ""
    assert np.array_equal(parsed(page, "sky.hdr", "parseHdr"), read_hdr(tmp_path / "sky.hdr"))
    exr = read_exr(tmp_path / "sky.exr")
    assert np.array_equal(parsed(page, "sky.exr", "parseExr"), np.stack([exr[name] for name in "RGB"], -1))
    for name in ("sky.hdr", "sky.exr"):
        (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:600])
        reader = "parseHdr" if name.endswith("hdr") else "parseExr"
        found = page.run(
            f"Promise.all([fetch('files/{name}').then((one) => one.blob()), 0])"
            f".then(([blob]) => __viewer.app.light.open(new File([blob], '{name}')))"
            ".then(() => document.querySelector('.toast.error:last-child').textContent)"
        )
        assert "damaged" in found, (name, reader)


def facing(size: int = 64) -> CameraTensors:
    """A camera two units below the origin that looks along +y, z up."""
    pose = torch.eye(4)
    pose[:3, :3] = torch.tensor([[1.0, 0, 0], [0, 0, -1.0], [0, 1.0, 0]])
    pose[:3, 3] = torch.tensor([0.0, 0.0, 2.0])
    K = torch.tensor([[size, 0, size / 2], [0, size, size / 2], [0, 0, 1.0]])
    return CameraTensors(pose[None], K[None], size, size)


def test_vertex_colours_and_depth_of_a_mesh(page: Page, serve: Serve, tmp_path: Path) -> None:
    vertices = np.array([[-5, 0, -5], [5, 0, -5], [0, 0, 9]], np.float32)
    rgb = np.tile(np.array([[200, 100, 30]], np.uint8), (3, 1))
    save_mesh(tmp_path / "mesh.glb", Mesh(vertices, np.array([[0, 1, 2]], np.int32), rgb=rgb))
    assert page.open(serve(tmp_path / "mesh.glb")) == ""
    seen = read_image(page, {"mode": "colour"}, facing())
    assert np.allclose(seen[..., :3], np.array([200, 100, 30]) / 255, atol=2e-3)
    assert np.allclose(read_image(page, {"mode": "depth"}, facing())[..., 0], 2.0, atol=2e-3)


def test_a_texture_stands_the_right_way_up(page: Page, serve: Serve, tmp_path: Path) -> None:
    corners = [(-1, 0, -1), (1, 0, -1), (1, 0, 1), (-1, 0, 1)]
    picture = Image.new("RGB", (16, 16), (0, 0, 255))  # blue below
    picture.paste((255, 0, 0), (0, 0, 16, 8))  # red above
    material = trimesh.visual.material.PBRMaterial(baseColorTexture=picture, roughnessFactor=0.4, metallicFactor=0.0)
    uv = np.array([(0, 0), (1, 0), (1, 1), (0, 1)], float)
    gltf = [(x, z, -y) for x, y, z in corners]  # y up
    mesh = trimesh.Trimesh(
        gltf, [(0, 1, 2), (0, 2, 3)], process=False, visual=trimesh.visual.TextureVisuals(uv, material=material)
    )
    mesh.export(tmp_path / "board.glb")
    assert page.open(serve(tmp_path / "board.glb")) == ""
    seen = read_image(page, {"mode": "albedo"}, facing())
    assert np.allclose(seen[16, 32, :3], (1, 0, 0), atol=0.01)
    assert np.allclose(seen[48, 32, :3], (0, 0, 1), atol=0.01)
    assert np.allclose(read_image(page, {"mode": "roughness"}, facing())[32, 32, :3], 0.4, atol=0.01)
    assert seen[0, 0, 3] == 1.0 or seen[0, 0, 3] == 0.0


def test_points_in_doubles_and_meshes_in_ply(page: Page, serve: Serve, tmp_path: Path) -> None:
    grid = np.stack(np.meshgrid(np.linspace(-1, 1, 41), np.linspace(-1, 1, 41)), -1).reshape(-1, 2)
    columns = {"x": grid[:, 0], "y": 0 * grid[:, 0], "z": grid[:, 1]}
    columns |= {
        name: np.full(len(grid), value, np.uint8)
        for name, value in zip(("red", "green", "blue"), (250, 10, 20), strict=True)
    }
    write_ply(tmp_path / "points.ply", columns)
    assert page.open(serve(tmp_path / "points.ply")) == ""
    page.run("__viewer.app.setPointSize(4)")
    seen = read_image(page, {"mode": "colour"}, facing())
    assert np.allclose(seen[32, 32, :3], np.array([250, 10, 20]) / 255, atol=2e-3)

    faces = np.array([[0, 40, 1680], [0, 1680, 1640]], np.int32)
    write_ply(tmp_path / "mesh.ply", columns, faces)
    assert page.open(serve(tmp_path)) == ""
    assert page.run("[__viewer.app.scene.counts.mesh, __viewer.app.scene.counts.points || 0]") == [2, 0]
    assert np.allclose(
        read_image(page, {"mode": "colour"}, facing())[32, 32, :3], np.array([250, 10, 20]) / 255, atol=2e-3
    )

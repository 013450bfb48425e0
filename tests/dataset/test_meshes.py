"""Spot, a real mesh with independent indices of positions, UVs and normals, and a texture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from recon3d.render.gaussians.cameras import CameraTensors
from recon3d.render.mesh import (
    Mesh,
    Texture,
    antialias,
    interpolate_corners,
    load_mesh,
    mesh_statistics,
    rasterize_mesh,
    save_mesh,
    uv_footprint,
)

pytestmark = pytest.mark.dataset


@pytest.fixture(scope="module")
def spot(datasets: Path) -> Mesh:
    path = datasets / "relight" / "mesh" / "spot.obj"
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    return load_mesh(path)


def test_what_the_readme_says(spot: Mesh) -> None:
    assert (len(spot.vertices), len(spot.faces)) == (2930, 5856)
    found = mesh_statistics(spot)
    assert found.is_watertight and found.n_components == 1 and found.volume > 0
    assert spot.material is not None and spot.material.textures.keys() == {"base_color_texture"}
    assert (spot.material.roughness, spot.material.metallic) == (0.25, 0)
    assert spot.material.textures["base_color_texture"].shape == (1024, 1024, 3)
    assert spot.normals is not None and np.allclose(np.linalg.norm(spot.normals, axis=1), 1, atol=1e-3)
    edges = spot.vertices[spot.faces[:, 1:]] - spot.vertices[spot.faces[:, :1]]
    faces = np.cross(edges[:, 0], edges[:, 1])
    assert ((faces[:, None] * spot.normals[spot.faces]).sum(2) > 0).mean() > 0.99


def test_it_survives_glb(spot: Mesh, tmp_path: Path) -> None:
    save_mesh(tmp_path / "spot.glb", spot)
    back = load_mesh(tmp_path / "spot.glb")
    for name in ("vertices", "faces", "normals", "uvs"):
        assert np.array_equal(getattr(back, name), getattr(spot, name)), name
    assert back.material is not None and spot.material is not None
    assert np.array_equal(back.material.textures["base_color_texture"], spot.material.textures["base_color_texture"])


def test_mips_and_antialiasing_do_what_four_times_the_pixels_do(spot: Mesh) -> None:
    """Rendered small with its mips, it looks like itself rendered four times larger and averaged."""
    assert spot.uvs is not None and spot.material is not None
    vertices, faces, uvs = (torch.from_numpy(each) for each in (spot.vertices, spot.faces, spot.uvs))
    texture = Texture.of(torch.from_numpy(spot.material.textures["base_color_texture"]).float() / 255)
    front = torch.diag(torch.tensor([-1.0, -1, -1, 1]))  # the file is y up; its face looks along -z
    front[0, 0] = 1.0
    front[2, 3] = 3.0
    pictures = []
    for scale in (1, 4):
        K = torch.tensor([[90.0 * scale, 0, 32.0 * scale], [0, 90.0 * scale, 32.0 * scale], [0, 0, 1]])
        cameras = CameraTensors(front[None], K[None], 64 * scale, 64 * scale)
        seen = rasterize_mesh(vertices, faces, cameras)
        where = interpolate_corners(uvs, seen)
        colours = texture.sample(where, uv_footprint(uvs, seen, vertices, faces, cameras))
        image = torch.where(seen.mask[..., None], colours, 0.0)
        pictures.append(antialias(image, seen, vertices, faces, cameras)[0])
    small, large = pictures
    mean = large.reshape(64, 4, 64, 4, 3).mean((1, 3))
    assert float((small - mean).abs().mean()) < 0.02
    assert float(small[mean.sum(2) > 0].mean()) > 0.3

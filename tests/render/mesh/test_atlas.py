"""Materials of vertices as textures: what a lookup finds, what files keep, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from ray_scenes import camera, lumpy_light, sphere

from recon3d.core.errors import ShapeError, UsageError
from recon3d.formats.glb_primitives import linear_from_srgb, srgb_from_linear
from recon3d.render.mesh import Mesh, Texture, bake_vertex_material, load_mesh, save_mesh
from recon3d.render.raytrace import PathOptions, PbrMaterial, RenderObject, RenderScene, VertexPbrMaterial, path_trace

SIZES = {
    4: 40,
    2: 30,
    1: 25,
}  # texels along the legs of triangles, and a texture that holds 40 such faces but no larger
STEP = 0.51 / 255


def soup(seed: int = 0, n_faces: int = 40) -> Mesh:
    """Random faces that share vertices."""
    generator = np.random.default_rng(seed)
    faces = np.argsort(generator.random((n_faces, 20)), 1)[:, :3].astype(np.int32)
    return Mesh(generator.normal(size=(20, 3)).astype(np.float32), faces)


def loose(n_faces: int) -> Mesh:
    """Faces without common vertices."""
    vertices = np.random.default_rng(0).normal(size=(3 * n_faces, 3)).astype(np.float32)
    return Mesh(vertices, np.arange(3 * n_faces, dtype=np.int32).reshape(-1, 3))


def baked(mesh: Mesh, values: np.ndarray, max_size: int = 4096) -> Mesh:
    base, rough, metal = values[:, :3].copy(), values[:, 3].copy(), values[:, 4].copy()
    return bake_vertex_material(mesh, base, rough, metal, max_size=max_size)


def material_of(mesh: Mesh) -> PbrMaterial:
    """The textures of a mesh for the ray tracer, as any viewer of glTF takes them."""
    assert mesh.material is not None
    textures, factors = mesh.material.textures, mesh.material
    assert factors.base_color == (1, 1, 1)
    base = linear_from_srgb(textures["base_color_texture"] / 255).astype(np.float32)
    surface = torch.from_numpy((textures["metallic_roughness_texture"] / 255).astype(np.float32))
    return PbrMaterial(torch.from_numpy(base), factors.roughness * surface[..., 1], factors.metallic * surface[..., 2])


def sampled(mesh: Mesh, uvs: np.ndarray) -> np.ndarray:
    """Base colour, roughness and metallic, ``[f,p,5]``, at UVs ``[f,p,2]``."""
    uv = torch.from_numpy(uvs.astype(np.float32).reshape(-1, 2))
    found = material_of(mesh)(uv, torch.zeros(len(uv), 3))
    rest = [torch.as_tensor(each).reshape(-1, 1) for each in (found.roughness, found.metallic)]
    return torch.cat([found.base_color, *rest], 1).numpy().reshape(*uvs.shape[:2], 5)


def looked_up(mesh: Mesh, weights: np.ndarray) -> np.ndarray:
    """The same at the same places of all faces."""
    assert mesh.uvs is not None
    return sampled(mesh, weights.astype(np.float32) @ mesh.uvs)


def as_bytes(values: np.ndarray) -> np.ndarray:
    """In the encoding of the textures, of which a step is 1 / 255."""
    return np.concatenate([srgb_from_linear(values[..., :3].astype(np.float64)), values[..., 3:]], -1)


def places(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet((0.7, 0.7, 0.7), n)


@pytest.mark.parametrize("steps", [4, 2])
def test_corners_middles_of_edges_and_centres_are_exact(steps: int) -> None:
    """Whatever the values are: there, no texel past an edge has a weight."""
    mesh, values = soup(), np.random.default_rng(1).random((20, 5)).astype(np.float32)
    weights = np.array([*np.eye(3), *(1 - np.eye(3)) / 2, [1 / 3, 1 / 3, 1 / 3]])
    found, wanted = looked_up(baked(mesh, values, SIZES[steps]), weights), weights @ values[mesh.faces]
    assert np.abs(as_bytes(found) - as_bytes(wanted))[:, [0, 1, 2]].max() < STEP
    assert np.abs(found - wanted)[..., 3:].max() < STEP
    assert np.abs(found - wanted)[..., :3].max() < 2.3 * STEP  # a step of sRGB is at most 2.28 steps of linear light


@pytest.mark.parametrize("steps", SIZES)
def test_all_points_are_exact_where_values_stay_off_their_limits(steps: int) -> None:
    mesh = soup()
    values = np.random.default_rng(2).uniform(1 / 3, 2 / 3, (20, 5)).astype(np.float32)
    weights = np.concatenate([places(50), np.eye(3), (1 - np.eye(3)) / 2])
    out = baked(mesh, values, SIZES[steps])
    assert out.uvs is not None and out.material is not None and out.material.base_color_texture is not None
    legs = out.uvs * out.material.base_color_texture.shape[1::-1]
    assert np.abs(np.ptp(legs, axis=1) - steps).max() < 1e-4
    wanted = weights @ values[mesh.faces]
    assert np.abs(looked_up(out, weights) - wanted)[..., 3:].max() < STEP
    assert np.abs(looked_up(out, weights) - wanted)[..., :3].max() < 2.3 * STEP


@pytest.mark.parametrize("steps", SIZES)
def test_extreme_values_are_off_by_a_bounded_share_of_their_range(steps: int) -> None:
    mesh = soup()
    values = np.random.default_rng(3).integers(0, 2, (20, 5)).astype(np.float32)
    weights = places(400)
    found = looked_up(baked(mesh, values, SIZES[steps]), weights)
    assert np.abs(found - weights @ values[mesh.faces]).max() < 1 / (4 * steps) + STEP


@pytest.mark.parametrize("channel", range(5))
def test_one_extreme_channel_is_exact(channel: int) -> None:
    """Metallic is 0 or 1 nearly everywhere; corners are chosen so that it stays exact."""
    mesh, values = soup(), np.full((20, 5), 0.5, np.float32)
    values[:, channel] = np.random.default_rng(4).integers(0, 2, 20)
    found = looked_up(baked(mesh, values, SIZES[1]), places(200))
    assert np.abs(found - places(200) @ values[mesh.faces]).max() < 2.3 * STEP


@pytest.mark.parametrize("n_faces", [1, 2, 7, 40])
@pytest.mark.parametrize("steps", SIZES)
def test_nothing_bleeds_from_neighbours(n_faces: int, steps: int) -> None:
    """Faces are 0 or 1 as a whole, at random; a lookup up to a texel outside the legs finds the value of its face."""
    mesh = loose(n_faces)
    values = np.random.default_rng(5).integers(0, 2, (n_faces, 5)).astype(np.float32)
    out = baked(mesh, np.repeat(values, 3, 0), SIZES[steps])
    weights = np.concatenate([places(100), np.eye(3), (1 - np.eye(3)) / 2])
    assert np.abs(looked_up(out, weights) - values[:, None]).max() < 1e-9
    assert out.uvs is not None and out.material is not None and out.material.base_color_texture is not None
    texel = 1 / np.array(out.material.base_color_texture.shape[1::-1])
    to_right_angle = np.sign(out.uvs.mean(1) - (out.uvs.min(1) + out.uvs.max(1)) / 2)[:, None]
    beside = weights @ out.uvs + to_right_angle * texel * np.random.default_rng(6).uniform(0, 0.99, (len(weights), 2))
    assert np.abs(sampled(out, beside) - values[:, None]).max() < 1e-9


def test_what_stays_and_what_goes() -> None:
    mesh = sphere(9)
    rgb = np.zeros((len(mesh.vertices), 3), np.uint8)
    given = Mesh(mesh.vertices, mesh.faces, mesh.normals, rgb)
    out = baked(given, np.full((len(rgb), 5), 0.5, np.float32))
    assert out.vertices is mesh.vertices and out.faces is mesh.faces and out.normals is mesh.normals
    assert out.rgb is None  # a viewer would multiply them
    assert out.uvs is not None and out.uvs.min() > 0 and out.uvs.max() < 1
    again = baked(given, np.full((len(rgb), 5), 0.5, np.float32))
    assert again.uvs is not None and np.array_equal(out.uvs, again.uvs)


def test_smaller_levels_mix_faces_that_are_neighbours() -> None:
    """A texel of the third level covers most of a cell; the pattern of the sphere is still there."""
    mesh = sphere(49)
    values = np.repeat(0.5 + 0.4 * mesh.vertices[:, :1], 5, 1).astype(np.float32)
    out = baked(mesh, values)
    assert out.uvs is not None and out.material is not None
    image = torch.from_numpy(out.material.textures["metallic_roughness_texture"].astype(np.float32) / 255)
    uv = torch.from_numpy(out.uvs.mean(1))
    side = 8.0 / torch.tensor(image.shape[:2]).flip(0)
    seen = Texture.of(image).sample(uv, torch.diag(side).expand(len(uv), 2, 2))[:, 1].numpy()
    error = np.abs(seen - values[mesh.faces][..., 3].mean(1))
    assert error.mean() < 0.03  # 0.12 in a random order, 0.04 in that of the mesh


def test_glb_keeps_it(tmp_path: Path) -> None:
    mesh = soup(n_faces=60)
    values = np.random.default_rng(6).random((20, 5)).astype(np.float32)
    out = baked(mesh, values)
    save_mesh(tmp_path / "a.glb", out)
    back = load_mesh(tmp_path / "a.glb")
    assert back.uvs is not None and out.uvs is not None and np.array_equal(back.uvs, out.uvs)
    assert np.array_equal(back.vertices[back.faces], out.vertices[out.faces])
    np.testing.assert_array_equal(looked_up(back, places(5)), looked_up(out, places(5)))


def test_other_programs_see_it(tmp_path: Path) -> None:
    mesh, values = soup(), np.random.default_rng(7).random((20, 5)).astype(np.float32)
    out = baked(mesh, values)
    save_mesh(tmp_path / "a.glb", out)
    loaded = trimesh.load_mesh(tmp_path / "a.glb", process=False)
    material = loaded.visual.material
    assert out.material is not None
    for name, image in (
        ("base_color_texture", material.baseColorTexture),
        ("metallic_roughness_texture", material.metallicRoughnessTexture),
    ):
        assert np.array_equal(np.asarray(image.convert("RGB")), out.material.textures[name])
    assert (material.metallicFactor, material.roughnessFactor) == (1, 1)
    image = np.asarray(material.baseColorTexture.convert("RGB"))
    texel = loaded.visual.uv[loaded.faces].reshape(-1, 2) * [1, -1] + [0, 1]  # trimesh counts v from below
    x, y = np.rint(texel * image.shape[1::-1] - 0.5).astype(int).T
    wanted = srgb_from_linear(values[mesh.faces].reshape(-1, 5)[:, :3].astype(np.float64))
    assert np.abs(image[y, x] / 255 - wanted).max() < STEP


def test_a_picture_is_that_of_the_vertices() -> None:
    mesh = sphere(17)
    values = (0.5 + 0.45 * np.sin(4 * mesh.vertices @ np.random.default_rng(8).normal(size=(3, 5)))).astype(np.float32)
    out = baked(mesh, values)
    options = PathOptions(spp=4, max_depth=3, pixel_filter="center")
    objects = [  # the UVs give both the same tangents, and so the same paths
        RenderObject(mesh, VertexPbrMaterial(), uvs=out.uvs, attributes=values),
        RenderObject(out, material_of(out)),
    ]
    one, two = (
        path_trace(RenderScene([each], lumpy_light()), camera((0, -3, 0), size=48), options) for each in objects
    )
    for name in ("albedo", "roughness", "metallic"):
        first, second = (getattr(each.gbuffer, name)[each.alpha == 1] for each in (one, two))
        assert np.abs(first - second).max() < 2.3 * STEP, name
    seen = one.alpha == 1
    assert np.abs(one.rgb[seen] - two.rgb[seen]).mean() < 0.01 * one.rgb[seen].mean()


@pytest.mark.parametrize("n_faces", [2 * 19 + 1, 2 * 20 + 1])
def test_textures_fit(n_faces: int) -> None:
    out = baked(loose(n_faces), np.ones((3 * n_faces, 5), np.float32), 40)
    assert out.material is not None
    assert all(max(image.shape) <= 40 for image in out.material.textures.values())


@pytest.mark.usefixtures("without_shape_checks")
def test_what_is_refused() -> None:
    mesh, grey = soup(), np.full((20, 5), 0.5, np.float32)
    for column, name in ((1, "base_color"), (3, "roughness"), (4, "metallic")):
        for wrong in (-0.1, 1.1, np.nan):
            values = grey.copy()
            values[7, column] = wrong
            with pytest.raises(UsageError, match=rf"{name} is out of range; got: .*; expected: 0 to 1"):
                baked(mesh, values)
    with pytest.raises(ShapeError, match=r"roughness does not belong to the vertices; got: \(19,\); expected: \(20,\)"):
        bake_vertex_material(mesh, grey[:, :3], grey[1:, 3], grey[:, 4])
    with pytest.raises(ShapeError, match="base_color"):
        bake_vertex_material(mesh, grey[:, :2], grey[:, 3], grey[:, 4])
    with pytest.raises(UsageError, match=r"too many faces .* 24 x 24; got: 40; expected: at most 32; to fix: simplify"):
        baked(mesh, grey, 24)
    for size in (0, 8193):
        with pytest.raises(UsageError, match=f"max_size is no size of a texture; got: {size}; expected: 1 to 8192"):
            baked(mesh, grey, size)
    with pytest.raises(UsageError, match="a mesh without faces"):
        baked(Mesh(mesh.vertices, np.zeros((0, 3), np.int32)), grey)

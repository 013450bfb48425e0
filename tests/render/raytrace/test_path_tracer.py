"""Pictures whose answer is known, and bits that nothing changes but scene, options and seed."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from ray_scenes import camera, constant_light, lumpy_light, sky, sphere

from recon3d.core.errors import InputError, ShapeError, UsageError
from recon3d.core.kernels import threads
from recon3d.render.cameras import Cameras
from recon3d.render.mesh.types import Mesh
from recon3d.render.raytrace import (
    PathOptions,
    PathProgress,
    PbrMaterial,
    RenderObject,
    RenderScene,
    VertexPbrMaterial,
    ground_plane,
    path_trace,
)
from recon3d.render.shading.bsdf import Bsdf, Lambert, MetallicRoughness, RoughConductor, RoughDielectric

CENTER = PathOptions(spp=16, pixel_filter="center", russian_roulette_depth=None)


def matt(albedo: float) -> Callable[..., Bsdf]:
    return lambda uv, position: Lambert(torch.full((3,), albedo))


def box(*, open_front: bool = False) -> Mesh:
    """A cube of half size one, seen from inside or out."""
    vertices = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], np.float32)
    quads = [[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]]
    quads = quads[:2] + quads[3:] if open_front else quads
    return Mesh(vertices, np.array([t for a, b, c, d in quads for t in ((a, b, c), (a, c, d))], np.int32))


def mean_of_seen(images: Any) -> np.ndarray:
    return images.rgb[images.alpha == 1].mean(axis=0)


def error_of_mean(images: Any) -> float:
    """The standard error of the mean over the pixels, from the spread of their samples."""
    se = images.se[images.alpha == 1]
    return float(np.sqrt((se**2).sum()) / se.size * np.sqrt(3))


@pytest.mark.parametrize(
    "material",
    [matt(1.0), lambda uv, position: RoughConductor(torch.zeros(3), torch.ones(3), 0.05, 0.05)],
    ids=["white", "mirror"],
)
def test_a_white_sphere_vanishes_in_constant_light(material: Callable[..., Bsdf]) -> None:
    scene = RenderScene([RenderObject(sphere(65), material)], constant_light((0.7, 0.5, 0.3)))
    images = path_trace(scene, camera((0, -3, 0)), replace(CENTER, spp=64))
    np.testing.assert_allclose(mean_of_seen(images), [0.7, 0.5, 0.3], rtol=8e-3)
    np.testing.assert_allclose(np.ptp(images.rgb[images.alpha == 0], axis=0), 0, atol=1e-6)


def test_a_white_box_in_constant_light_is_as_bright_as_the_light() -> None:
    """Inside an open box most light has been reflected several times; without absorption all of it comes out."""
    scene = RenderScene([RenderObject(box(open_front=True), matt(1.0), smooth=False)], constant_light())
    options = PathOptions(spp=16, max_depth=200, pixel_filter="center", russian_roulette_depth=None)
    images = path_trace(scene, camera((0, -4, 0.5), size=24, focal=1.2), options)
    assert abs(mean_of_seen(images)[0] - 1) < 5 * error_of_mean(images) + 1e-3


@pytest.mark.parametrize("depth", [2, 3, 5])
def test_russian_roulette_changes_no_mean(depth: int) -> None:
    scene = RenderScene([RenderObject(box(open_front=True), matt(0.7), smooth=False)], lumpy_light())
    view = camera((0, -4, 0.5), size=24, focal=1.2)
    plain = path_trace(scene, view, replace(CENTER, spp=64, max_depth=12))
    ended = path_trace(scene, view, replace(CENTER, spp=64, max_depth=12, russian_roulette_depth=depth, seed=9))
    error = math.hypot(error_of_mean(plain), error_of_mean(ended))
    assert np.abs(mean_of_seen(plain) - mean_of_seen(ended)).max() < 5 * error
    assert not np.array_equal(plain.rgb, ended.rgb)


@pytest.mark.parametrize("material", ["lambert", "any"])
def test_a_plane_below_half_a_sky(material: str) -> None:
    """A matt plane that sees all of the sky is albedo times its radiance."""
    bsdf = matt(0.4) if material == "lambert" else lambda uv, position: Plain(torch.full((3,), 0.4))
    scene = RenderScene([RenderObject(ground_plane(0.0, 50.0), bsdf)], sky((1.0, 2.0, 0.5), rows=128))
    images = path_trace(scene, camera((0, -1, 3), size=16), replace(CENTER, spp=256))
    np.testing.assert_allclose(mean_of_seen(images), [0.4, 0.8, 0.2], rtol=1.5e-2)


class Plain(Lambert):
    """What the kernel of the path tracer does not know, so that it is shaded by torch."""


def test_the_shadow_of_a_plane() -> None:
    """A large plane between the ground and the light leaves it dark; light from the side still arrives."""
    env = sky()
    ground = RenderObject(ground_plane(0.0, 1.0), matt(0.5))
    roof = RenderObject(ground_plane(0.01, 50.0), matt(0.0))
    view = camera((0.0, -0.02, 0.004), size=8)
    shaded = path_trace(RenderScene([ground, roof], env), view, CENTER)
    assert shaded.rgb[shaded.gbuffer.owner == 0].max() < 0.02
    free = path_trace(RenderScene([ground], env), view, CENTER)
    assert free.rgb[free.gbuffer.owner == 0].min() > 0.3


def test_half_of_the_sky_is_hidden_by_a_wall() -> None:
    """At the foot of a high black wall, half of the irradiance of a constant sky is gone."""
    wall = Mesh(
        np.array([[0, -100, 0], [0, 100, 0], [0, 100, 100], [0, -100, 100]], np.float32),
        np.array([[0, 1, 2], [0, 2, 3]], np.int32),
    )
    scene = RenderScene(
        [RenderObject(ground_plane(0.0, 50.0), matt(0.6)), RenderObject(wall, matt(0.0))], sky(rows=128)
    )
    view = camera((0.004, -0.002, 0.01), size=8, focal=4.0)
    images = path_trace(scene, view, replace(CENTER, spp=512))
    ground = images.gbuffer.owner == 0
    close = ground & (images.gbuffer.position[..., 0] > 0) & (images.gbuffer.position[..., 0] < 0.01)
    assert close.sum() > 10
    assert abs(images.rgb[close].mean() - 0.3) < 0.01


def test_segments_are_counted() -> None:
    """1 = the environment alone, 2 = direct light, 3 = one reflection more: with albedo a, a sum of powers."""
    scene = RenderScene([RenderObject(box(), matt(0.5), smooth=False)], constant_light())
    view = camera((0, -4, 2), size=16)
    dark = path_trace(scene, view, replace(CENTER, max_depth=1))
    assert dark.rgb[dark.alpha == 1].max() == 0
    assert dark.rgb[dark.alpha == 0].min() > 0.999
    inside = RenderScene([RenderObject(box(open_front=True), matt(0.5), smooth=False)], constant_light())
    means = [
        mean_of_seen(path_trace(inside, view, replace(CENTER, spp=64, max_depth=depth)))[0] for depth in (2, 3, 4, 12)
    ]
    assert means[0] < means[1] < means[2] < means[3] < 1


def test_standard_errors_are_those_of_repeated_renderings() -> None:
    scene = RenderScene([RenderObject(sphere(), matt(0.8))], lumpy_light())
    runs = [path_trace(scene, camera((0, -3, 0), size=16), replace(CENTER, spp=32, seed=seed)) for seed in range(12)]
    seen = runs[0].alpha == 1
    spread = np.stack([one.rgb[seen] for one in runs]).std(axis=0, ddof=1)
    stated = np.mean([one.se[seen] for one in runs], axis=0)
    assert 0.9 < np.sqrt((spread**2).mean() / (stated**2).mean()) < 1.1


MATERIALS: dict[str, Callable[..., Bsdf]] = {
    "kernel": lambda uv, position: MetallicRoughness(position.abs().clamp(0, 1), 0.4, 0.3),
    "torch": lambda uv, position: MetallicRoughness(position.abs().clamp(0, 1), 0.4, 0.3, clearcoat=0.5),
}


@pytest.mark.parametrize("name", MATERIALS)
@pytest.mark.parametrize("pixel_filter", ["center", "box"])
def test_batches_passes_and_threads_change_no_bit(name: str, pixel_filter: Any) -> None:
    objects = [RenderObject(sphere(), MATERIALS[name]), RenderObject(ground_plane(-1.0, 3.0), matt(0.5))]
    scene = RenderScene(objects, lumpy_light())
    options = PathOptions(spp=6, pixel_filter=pixel_filter, russian_roulette_depth=2)
    view = camera((1, -3, 1), size=24)
    whole = path_trace(scene, view, options)
    with threads(3):
        other = path_trace(scene, view, replace(options, paths_at_once=333, samples_per_pass=4))
    for field in ("rgb", "se", "alpha"):
        np.testing.assert_array_equal(getattr(whole, field), getattr(other, field))
    assert not np.array_equal(whole.rgb, path_trace(scene, view, replace(options, seed=1)).rgb)


def test_views_do_not_depend_on_those_after_them() -> None:
    scene = RenderScene([RenderObject(sphere(), matt(0.8))], lumpy_light())
    one, other = camera((0, -3, 0), size=12), camera((2, -2, 1), size=12)
    both = Cameras(
        np.concatenate([one.cam_from_world, other.cam_from_world]),
        np.concatenate([one.K, other.K]),
        np.array([12, 12]),
        np.array([12, 12]),
    )
    images = path_trace(scene, both, CENTER)
    assert images.rgb.shape == (2, 12, 12, 3)
    np.testing.assert_array_equal(images.rgb[:1], path_trace(scene, one, CENTER).rgb)
    np.testing.assert_array_equal(images.gbuffer.depth[1:], path_trace(scene, other, CENTER).gbuffer.depth)


def test_progress_ends_at_the_result() -> None:
    scene, seen = RenderScene([RenderObject(sphere(), matt(0.8))], lumpy_light()), list[PathProgress]()
    options = replace(CENTER, spp=20, samples_per_pass=8)
    images = path_trace(scene, camera((0, -3, 0), size=12), options, seen.append)
    assert [(one.view, one.samples) for one in seen] == [(0, 8), (0, 16), (0, 20)]
    np.testing.assert_array_equal(seen[-1].rgb, images.rgb[0])
    np.testing.assert_array_equal(seen[-1].se, images.se[0])
    earlier = path_trace(scene, camera((0, -3, 0), size=12), replace(options, spp=8))
    np.testing.assert_array_equal(seen[0].rgb, earlier.rgb[0])


def test_the_gbuffer_is_what_the_camera_sees() -> None:
    material = PbrMaterial(torch.tensor([0.2, 0.4, 0.6]), 0.25, 0.75)
    objects = [RenderObject(sphere(65), material), RenderObject(ground_plane(-1.0, 9.0), matt(0.5))]
    view = camera((0, -3, 0), size=33)
    images = path_trace(RenderScene(objects), view, replace(CENTER, spp=1))
    buffer, owner = images.gbuffer, images.gbuffer.owner[0]
    assert images.rgb.max() == 0  # there is no light
    assert owner[16, 16] == 0
    assert owner[32, 16] == 1
    assert owner[0, 16] == -1
    assert buffer.depth[0, 16, 16] == pytest.approx(2.0, abs=2e-3)
    np.testing.assert_allclose(buffer.position[0, 16, 16], [0, -1, 0], atol=3e-3)
    np.testing.assert_allclose(buffer.normal[0, 16, 16], [0, -1, 0], atol=3e-3)
    np.testing.assert_allclose(buffer.normal[0, 32, 16], [0, 0, 1], atol=1e-6)
    np.testing.assert_allclose(buffer.albedo[0, 16, 16], [0.2, 0.4, 0.6])
    assert (buffer.roughness[0, 16, 16], buffer.metallic[0, 16, 16]) == (0.25, 0.75)
    np.testing.assert_allclose(buffer.albedo[0, 32, 16], 0.5)
    assert np.isnan(buffer.roughness[0, 32, 16])
    assert buffer.depth[0, 0, 16] == 0
    pixels, depth = view.project(buffer.position[0][owner >= 0].astype(float), np.zeros((owner >= 0).sum(), int))
    rows, columns = np.nonzero(owner >= 0)
    np.testing.assert_allclose(pixels, np.stack([columns, rows], axis=1) + 0.5, atol=1e-3)
    np.testing.assert_allclose(depth, buffer.depth[0][owner >= 0], rtol=1e-5)


def test_alpha_of_box_filtered_borders_is_a_share() -> None:
    scene = RenderScene([RenderObject(sphere(65), matt(0.5))], constant_light())
    images = path_trace(scene, camera((0, -3, 0), size=24), PathOptions(spp=64, max_depth=2, background="black"))
    assert ((images.alpha > 0.05) & (images.alpha < 0.95)).any()
    # The silhouette of the sphere is a circle of this radius in pixels.
    area = math.pi * (24 / math.sqrt(9 - 1)) ** 2
    assert images.alpha.sum() == pytest.approx(area, rel=0.01)
    assert images.rgb[images.alpha == 0].max() == 0


def test_a_clear_sphere_lets_light_through_and_keeps_none() -> None:
    scene = RenderScene([RenderObject(sphere(65), lambda uv, p: RoughDielectric(1.5, 0.05, 0.05))], constant_light())
    images = path_trace(scene, camera((0, -3, 0), size=16), replace(CENTER, spp=64, max_depth=16))
    assert 0.9 < mean_of_seen(images)[0] < 1.02


def test_a_one_sided_surface_is_black_from_behind() -> None:
    plane = ground_plane(0.0, 9.0)
    below = camera((0, -0.5, -2), size=8)
    for two_sided in (True, False):
        scene = RenderScene([RenderObject(plane, matt(0.5), two_sided=two_sided)], constant_light())
        images = path_trace(scene, below, CENTER)
        assert (images.rgb[images.alpha == 1].max() > 0.1) == two_sided


def test_textures_and_vertex_values_reach_the_picture() -> None:
    plane = ground_plane(0.0, 1.0)
    corners = (plane.vertices[plane.faces][..., :2] + 1) / 2
    uvs = np.stack([corners[..., 0], 1 - corners[..., 1]], axis=-1).astype(np.float32)
    image = torch.zeros(2, 2, 3)
    image[0, 0], image[0, 1], image[1, 0], image[1, 1] = (
        torch.tensor(c) for c in ([1.0, 0, 0], [0, 1.0, 0], [0, 0, 1.0], [1.0, 1.0, 1.0])
    )
    view = camera((0, 0, 3), size=64)
    above = RenderScene([RenderObject(plane, PbrMaterial(image, torch.tensor([[0.2, 0.8]])), uvs=uvs)])
    buffer = path_trace(above, view, replace(CENTER, spp=1)).gbuffer
    seen = buffer.position[0]
    for (x, y), colour in {(-0.5, 0.5): 0, (0.5, 0.5): 1, (-0.5, -0.5): 2}.items():
        nearest = np.unravel_index(np.linalg.norm(seen[..., :2] - [x, y], axis=-1).argmin(), (64, 64))
        np.testing.assert_allclose(buffer.albedo[0][nearest], np.eye(3)[colour], atol=0.1)
        assert buffer.roughness[0][nearest] == pytest.approx(0.2 if x < 0 else 0.8, abs=0.05)
    values = np.array([[1, 0, 0, 0.1, 0], [0, 1, 0, 0.1, 0], [0, 1, 0, 0.9, 1], [1, 0, 0, 0.9, 1]], np.float32)
    scene = RenderScene([RenderObject(plane, VertexPbrMaterial(), attributes=values)])
    buffer = path_trace(scene, view, replace(CENTER, spp=1)).gbuffer
    on = buffer.owner[0] >= 0
    np.testing.assert_allclose(buffer.albedo[0][on][:, 1], (buffer.position[0][on][:, 0] + 1) / 2, atol=1e-5)
    np.testing.assert_allclose(buffer.metallic[0][on], (buffer.position[0][on][:, 1] + 1) / 2, atol=1e-5)


def test_normals_of_vertices_are_means_of_faces() -> None:
    mesh = sphere(33)
    plain = Mesh(mesh.vertices, mesh.faces)
    means, exact = RenderObject(plain, matt(0.5)).corner_normals(), sphere(33).normals
    away = np.abs(mesh.vertices[mesh.faces][..., 2]) < 0.98  # at the poles vertices stand on each other
    cosines = (means * exact[mesh.faces]).sum(axis=-1)[away] if exact is not None else np.zeros(1)
    assert cosines.min() > 0.995
    flat = RenderObject(plain, matt(0.5), smooth=False).corner_normals()
    np.testing.assert_array_equal(flat[:, 0], flat[:, 1])


def test_what_is_not_rendered() -> None:
    one = RenderObject(sphere(5), matt(0.5))
    with pytest.raises(InputError, match="without faces"):
        RenderObject(Mesh(np.zeros((3, 3), np.float32), np.zeros((0, 3), np.int32)), matt(0.5))
    with pytest.raises(ShapeError, match="attributes belong to vertices"):
        replace(one, attributes=np.zeros((2, 3), np.float32))
    with pytest.raises(UsageError, match="at least one object"):
        RenderScene([])
    view = camera((0, -3, 0))
    with pytest.raises(UsageError, match="no camera"):
        path_trace(RenderScene([one]), view[:0])
    with pytest.raises(UsageError, match="pinhole"):
        path_trace(RenderScene([one]), replace(view, distortion=np.zeros((1, 4))))
    sizes = Cameras(
        np.tile(view.cam_from_world, (2, 1, 1)), np.tile(view.K, (2, 1, 1)), np.array([8, 9]), np.array([8, 8])
    )
    with pytest.raises(UsageError, match="one size"):
        path_trace(RenderScene([one]), sizes)
    for name in ("spp", "max_depth", "samples_per_pass", "paths_at_once", "russian_roulette_depth"):
        with pytest.raises(UsageError, match=name):
            PathOptions(**{name: 0})
    with pytest.raises(UsageError, match="seed"):
        PathOptions(seed=-1)
    nan = Mesh(np.full((3, 3), np.nan, np.float32), np.array([[0, 1, 2]], np.int32))
    with pytest.raises(InputError, match="not finite"):
        path_trace(RenderScene([RenderObject(nan, matt(0.5))]), view)


@pytest.mark.usefixtures("without_shape_checks")
def test_parts_of_a_material_have_shapes() -> None:
    with pytest.raises(ShapeError, match="base_color"):
        PbrMaterial(torch.zeros(4))
    with pytest.raises(ShapeError, match="roughness"):
        PbrMaterial(torch.zeros(3), torch.zeros(2))
    with pytest.raises(ShapeError, match="uvs belong"):
        RenderObject(sphere(5), matt(0.5), uvs=np.zeros((1, 3, 2), np.float32))

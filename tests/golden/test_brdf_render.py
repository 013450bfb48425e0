"""The path tracer against renderings of Mitsuba 3.9.1 (shared/goldens/brdf, render_sphere and render_mesh)."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from golden_cases import cases, load
from ray_scenes import sphere

from recon3d.render.cameras import Cameras
from recon3d.render.mesh.types import Mesh
from recon3d.render.raytrace import PathImages, PathOptions, RenderObject, RenderScene, path_trace
from recon3d.render.raytrace.surfaces import merge, surface_at
from recon3d.render.raytrace.wavefront import Tracer
from recon3d.render.shading import Environment
from recon3d.render.shading.bsdf import Bsdf, Lambert, Principled, RoughConductor

pytestmark = pytest.mark.golden
KINDS = ("render_sphere.npz", "render_mesh.npz")
Z_UP = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])  # from the y up of these files
SPP = 24
GROUND_HALF_SIZE, GROUND_ALBEDO = 6.0, (0.45, 0.45, 0.5)  # README
MAP_ROWS = 256


class Golden(NamedTuple):
    arrays: dict[str, np.ndarray]
    facts: dict[str, Any]


def golden(path: Path) -> Golden:
    return Golden(load(path), json.loads(path.with_suffix(".json").read_text()))


def colour(value: Any) -> torch.Tensor:
    return torch.tensor(value["value"] if isinstance(value, dict) else [value] * 3, dtype=torch.float32)


def conductor(of: dict[str, Any]) -> Bsdf:
    alpha = of.get("alpha")
    return RoughConductor(colour(of["eta"]), colour(of["k"]), of.get("alpha_u", alpha), of.get("alpha_v", alpha))


def principled(of: dict[str, Any]) -> Bsdf:
    numbers = {name: value for name, value in of.items() if name not in ("type", "base_color")}
    return Principled(colour(of["base_color"]), **numbers)


# Rough plastic is not asked for.
BUILDERS: dict[str, Callable[[dict[str, Any]], Bsdf]] = {
    "diffuse": lambda of: Lambert(colour(of["reflectance"])),
    "roughconductor": conductor,
    "principled": principled,
}


def bsdf_of(facts: dict[str, Any]) -> Bsdf | None:
    build = BUILDERS.get(facts["type"])
    return None if build is None else build(facts)


def environment_of(facts: dict[str, Any]) -> Environment:
    """Bake the analytic light as the README gives it, turned to z up."""
    directions = Environment(torch.zeros(MAP_ROWS, 2 * MAP_ROWS, 3)).directions().double().numpy() @ Z_UP
    light = np.zeros_like(directions) + facts["c0"]
    for mu, kappa, amplitude in facts["lobes"]:
        axis = np.array(mu) / np.linalg.norm(mu)
        light = light + np.exp(kappa * (directions @ axis - 1))[..., None] * np.array(amplitude)
    return Environment(torch.from_numpy(light).float())


def camera_of(arrays: dict[str, np.ndarray]) -> Cameras:
    height, width = arrays["object_id"].shape
    turn = np.eye(4)
    turn[:3, :3] = Z_UP
    pose = np.linalg.inv(turn @ arrays["c2w"])
    return Cameras(pose[None], arrays["K"][None].astype(float), np.array([width]), np.array([height]))


def scene_of(case: Golden, bsdf: Bsdf) -> RenderScene:
    arrays, facts = case
    if "mesh_v" in arrays:
        mesh = Mesh(turned(arrays["mesh_v"]), arrays["mesh_f"], normals=turned(arrays["mesh_n"]))
        uvs = arrays["mesh_uv"][arrays["mesh_f"]]
    else:
        mesh = sphere(401)
        uvs = angles(mesh)[mesh.faces]
    objects = [RenderObject(mesh, lambda uv, position: bsdf, uvs=uvs)]
    if np.isfinite(facts.get("ground_y") or np.nan):
        objects.append(
            RenderObject(ground(facts["ground_y"]), lambda uv, position: Lambert(torch.tensor(GROUND_ALBEDO)))
        )
    return RenderScene(objects, environment_of(facts["env"]))


def ground(height: float) -> Mesh:
    size = GROUND_HALF_SIZE
    corners = np.array([[-size, -size, height], [size, -size, height], [size, size, height], [-size, size, height]])
    return Mesh(corners.astype(np.float32), np.array([[0, 1, 2], [0, 2, 3]], np.int32))


def turned(vectors: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(vectors @ Z_UP.T, np.float32)


def angles(mesh: Mesh) -> np.ndarray:
    """Texture coordinates whose u runs about the y axis of the files, our z, as that of Mitsuba's sphere does."""
    n = int(np.sqrt(len(mesh.vertices) / 2)) + 1
    u = np.broadcast_to(np.linspace(0, 1, 2 * n - 1)[None], (n, 2 * n - 1))
    v = np.broadcast_to(np.linspace(0, 1, n)[:, None], u.shape)
    return np.stack([u, v], axis=-1).reshape(-1, 2).astype(np.float32)


def materials(case: Golden) -> dict[str, Bsdf]:
    found = {name: bsdf_of(facts) for name, facts in case.facts["materials"].items()}
    return {name: bsdf for name, bsdf in found.items() if bsdf is not None}


def of_kind(pattern: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("path", cases("brdf", pattern))


@pytest.mark.skipif("RECON3D_GOLDENS" in os.environ, reason="another set may hold fewer kinds")
@pytest.mark.parametrize("kind", KINDS)
def test_the_default_set_holds_every_kind(kind: str) -> None:
    assert cases("brdf", kind)[0].id != "none"


@of_kind("render_*.npz")
def test_the_gbuffer_is_the_golden_one(path: Path) -> None:
    case = golden(path)
    arrays = case.arrays
    scene = scene_of(case, Lambert(torch.full((3,), 0.5)))
    buffer = path_trace(scene, camera_of(arrays), PathOptions(spp=1, max_depth=1, pixel_filter="center")).gbuffer
    same = buffer.owner[0] + 1 == arrays["object_id"]
    assert same.mean() > (1 - 1e-6 if "mesh_v" in arrays else 1 - 2e-3)  # the outline of the sphere is a polygon
    seen = same & (arrays["object_id"] > 0)
    tolerance = 3e-5 if "mesh_v" in arrays else 1e-3
    assert np.abs(buffer.position[0] @ Z_UP - arrays["position"])[seen].max() < 20 * tolerance
    assert np.quantile(np.abs(buffer.position[0] @ Z_UP - arrays["position"])[seen], 0.99) < tolerance
    assert np.quantile(np.abs(buffer.normal[0] @ Z_UP - arrays["n_shading"])[seen], 0.99) < tolerance
    rays = np.linalg.norm(arrays["position"] - arrays["c2w"][:3, 3], axis=-1)
    np.testing.assert_allclose(rays[seen], arrays["depth_t"][seen], rtol=1e-5)


@of_kind("render_*.npz")
def test_point_light_of_every_material(path: Path) -> None:
    """Frames, shadows and BSDFs without any noise: what one point light does at the golden hits."""
    case = golden(path)
    arrays = case.arrays
    seen = arrays["object_id"] == 1
    for name, bsdf in materials(case).items():
        if f"point/{name}" not in arrays:
            continue
        got = lit_by_point(case, bsdf, seen)
        want = arrays[f"point/{name}"][seen]
        error = np.abs(got - want) / (np.abs(want) + 1e-3 * np.abs(want).max())
        # The sphere is a mesh here, so that positions and tangents are those of small facets.
        assert np.median(error) < (1e-4 if "mesh_v" in arrays else 5e-4), name
        assert np.quantile(error, 0.99) < (2e-3 if "mesh_v" in arrays else 5e-2), name


def lit_by_point(case: Golden, bsdf: Bsdf, seen: np.ndarray) -> np.ndarray:
    """Shade the first hits of our rays by the light of the file."""
    arrays, facts = case
    tracer = Tracer.of(scene_of(case, bsdf))
    pixels = np.argwhere(seen)
    ways = np.column_stack([pixels[:, 1] + 0.5, pixels[:, 0] + 0.5, np.ones(len(pixels))])
    ways = ways @ np.linalg.inv(arrays["K"]).T @ arrays["c2w"][:3, :3].T @ Z_UP.T
    origins = np.broadcast_to(Z_UP @ arrays["c2w"][:3, 3], ways.shape)
    hits = tracer.bvh.closest_hit(origins, ways)
    surface = surface_at(tracer.triangles, hits.face, hits.uv, ways.astype(np.float32))
    offset = Z_UP @ np.array(facts["point"]["position"]) - surface.position
    distance = np.linalg.norm(offset, axis=1, keepdims=True)
    local = np.einsum("nij,nj->ni", surface.frame, offset / distance).astype(np.float32)
    value = bsdf.eval(torch.from_numpy(surface.wi), torch.from_numpy(local)).numpy()
    start = surface.position + 1e-4 * surface.flat
    hidden = tracer.bvh.any_hit(start, offset, 0.0, 1.0)
    return np.where(hidden[:, None], 0, value * np.array(facts["point"]["intensity"]) / distance**2)


@of_kind("render_*.npz")
@pytest.mark.parametrize("kind", ["env", "path6"])
def test_pictures_are_the_golden_ones_to_their_noise(path: Path, kind: str) -> None:
    case = golden(path)
    found = {name: bsdf for name, bsdf in materials(case).items() if f"{kind}/{name}" in case.arrays}
    if not found:
        pytest.skip(f"no {kind}/ in {path.name}")
    depth = 2 if kind == "env" else int(kind.removeprefix("path"))
    options = PathOptions(spp=SPP, max_depth=depth, pixel_filter="center", russian_roulette_depth=None)
    for name, bsdf in found.items():
        compare(case, f"{kind}/{name}", path_trace(scene_of(case, bsdf), camera_of(case.arrays), options))


def compare(case: Golden, name: str, images: PathImages) -> None:
    """Hold the means of each object, and the spread of the differences, against the standard errors of both."""
    arrays, facts = case
    want, owner, same = arrays[name], arrays["object_id"], images.gbuffer.owner[0] + 1 == arrays["object_id"]
    difference, stated = images.rgb[0] - want, facts["images"][name]["mean_standard_error"]
    np.testing.assert_allclose(images.rgb[0][same & (owner == 0)], want[same & (owner == 0)], rtol=2e-2, atol=2e-3)
    error = np.hypot(images.se[0], stated)
    for which in np.unique(owner[owner > 0]):
        seen = same & (owner == which)
        expected = np.sqrt((error[seen] ** 2).sum(axis=0)) / seen.sum()
        # 4e-4 of the radiance: both are pictures of maps that were baked on different grids.
        assert (np.abs(difference[seen].mean(axis=0)) < 4 * expected + 4e-4 * want[seen].mean(axis=0)).all(), (
            name,
            which,
        )
        spread = (difference[seen] ** 2).mean() / (error[seen] ** 2).mean()
        assert 0.7 < spread < 1.4, (name, which, spread)


def test_the_tangents_of_the_sphere_are_those_of_the_file() -> None:
    found = [one.values[0] for one in cases("brdf", "render_sphere.npz")]
    if found[0] is None:
        pytest.skip("no sphere")
    case = golden(found[0])
    arrays, mesh = case.arrays, sphere(401)
    triangles = merge(
        [RenderObject(mesh, lambda uv, position: Lambert(position), uvs=angles(mesh)[mesh.faces])], [True]
    )
    tracer = Tracer.of(scene_of(case, Lambert(torch.full((3,), 0.5))))
    seen = arrays["object_id"] == 1
    eye = Z_UP @ arrays["c2w"][:3, 3]
    ways = (arrays["position"][seen] @ Z_UP.T - eye).astype(np.float32)
    hits = tracer.bvh.closest_hit(np.broadcast_to(eye, ways.shape), ways)
    hit = hits.face >= 0
    frames = surface_at(triangles, hits.face[hit], hits.uv[hit], ways[hit]).frame
    tangents = arrays["s_shading"][seen][hit] @ Z_UP.T
    assert np.quantile(np.abs(frames[:, 0] - tangents), 0.99) < 2e-3

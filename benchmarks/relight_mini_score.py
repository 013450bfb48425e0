"""Score relightable reconstructions on "relight-mini": materials from one light, pictures under three others.

    python benchmarks/relight_mini_score.py SET --probes DATASETS/relight/hdri --out OUT [--scenes ...]
        [--geometry reconstructed true] [--samples 128] [--steps 400] [--no-visibility]

SET is what benchmarks/relight_mini.py wrote. Geometry is what `recon3d reconstruct --only mesh` makes of the training
photos with their exact cameras, or the true surface. PSNR over the pixels that are at least half covered, after the
sRGB curve at the exposure of the set; the albedo is aligned with the truth once per scene, one factor per channel by
least squares over the training cameras. Rows:

- path traced: the mesh with its materials, with shadows and light between surfaces;
- splats: surfels with baked transfer, as the viewer shows them;
- no visibility: estimated and shown as if nothing shaded anything;
- baked colour: the colours of the photos, whatever the light, times the best factor per light and channel.

OUT/<scene>_<geometry>.png shows truth, path traced, splats and baked colour under the three lights. JSON on stdout.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from relight_mini import OTHER_LIGHTS, exposure

from recon3d import ReconstructOptions, reconstruct
from recon3d.formats.exr import read_exr
from recon3d.formats.transforms import read_transforms
from recon3d.photos import PhotoOptions
from recon3d.render.cameras import Cameras
from recon3d.render.mesh import Mesh, load_mesh
from recon3d.render.raytrace import PathOptions, RenderObject, RenderScene, VertexPbrMaterial, path_trace
from recon3d.render.shading import Environment, load_environment, srgb_from_linear
from recon3d.scene_convert import cameras_from_transforms
from recon3d.sfm.options import SfmOptions
from recon3d.splats.relight.deferred import render_deferred
from recon3d.splats.relight.estimate import RelightEstimate, RelightInputs, estimate_materials
from recon3d.splats.relight.light_transport import LightTransport
from recon3d.splats.relight.observations import observe
from recon3d.splats.relight.options import RelightOptions
from recon3d.splats.relight.shade import SplatLight
from recon3d.splats.relight.simplify import spread
from recon3d.splats.relight.surfels import surfels_of
from recon3d.splats.relight.types import RelightableGaussians, open_transfer

TRUE_EDGE = 0.012  # of the true surface, about a pixel
SHOWN = 5  # held-out view of the picture


def read_planes(path: Path, names: str) -> np.ndarray:
    planes = read_exr(path)
    return np.stack([planes[name] for name in names], -1)


def photos_of(folder: Path) -> tuple[list[np.ndarray], list[np.ndarray]]:
    pixels = [np.asarray(Image.open(path).convert("RGBA")) for path in sorted((folder / "images").glob("*.png"))]
    return [np.ascontiguousarray(one[..., :3]) for one in pixels], [one[..., 3] == 255 for one in pixels]


def cameras_of(folder: Path) -> Cameras:
    return cameras_from_transforms(read_transforms(folder / "transforms.json")).pinhole()


def true_surface(folder: Path) -> Mesh:
    """Return all true surfaces as one mesh with edges of about a pixel."""
    import trimesh

    parts = [load_mesh(path) for path in sorted(folder.glob("surface_*.ply"))]
    whole = trimesh.util.concatenate([trimesh.Trimesh(part.vertices, part.faces, process=False) for part in parts])
    vertices, faces = trimesh.remesh.subdivide_to_size(whole.vertices, whole.faces, 1.6 * TRUE_EDGE)
    merged = trimesh.Trimesh(vertices, faces, process=True)
    return Mesh(np.asarray(merged.vertices, np.float32), np.asarray(merged.faces, np.int32))


def reconstructed(scene: Path, out: Path) -> Mesh:
    options = ReconstructOptions(
        photos=PhotoOptions(poses=scene / "train" / "transforms.json"),
        sfm=SfmOptions(exact_poses=True),
        only="mesh",
        quiet=True,
    )
    reconstruct(scene / "train" / "images", options, out=out)
    return load_mesh(out / "mesh.glb")


def rendered_object(estimate: RelightEstimate, scale: np.ndarray) -> RenderObject:
    columns = (np.clip(estimate.albedo * scale, 0, 1), estimate.roughness[:, None], estimate.metallic[:, None])
    return RenderObject(estimate.mesh, VertexPbrMaterial(), attributes=np.concatenate(columns, 1).astype(np.float32))


def albedo_scale(estimate: RelightEstimate, folder: Path) -> tuple[np.ndarray, dict[str, float]]:
    """Return the factor per channel that brings the albedo to the truth, and errors of the materials after it."""
    cameras, rows = cameras_of(folder), range(0, len(cameras_of(folder)), 4)
    ours, truth = [], []
    for row in rows:
        scene = RenderScene([rendered_object(estimate, np.ones(3))])
        found = path_trace(scene, cameras[row : row + 1], PathOptions(spp=1, background="black")).gbuffer
        known = {name: read_planes(folder / name / f"{row:03d}.exr", letters) for name, letters in
                 (("albedo", "RGB"), ("normal", "XYZ"), ("roughness", "Y"), ("metallic", "Y"))}  # fmt: skip
        both = (np.linalg.norm(known["normal"], axis=-1) > 0.5) & (np.linalg.norm(found.normal[0], axis=-1) > 0.5)
        columns = (found.albedo[0], found.normal[0], found.roughness[0][..., None], found.metallic[0][..., None])
        ours.append(np.concatenate(columns, -1)[both])
        truth.append(np.concatenate(list(known.values()), -1)[both])
    a, b = np.concatenate(ours).astype(np.float64), np.concatenate(truth).astype(np.float64)
    scale = (a[:, :3] * b[:, :3]).sum(0) / (a[:, :3] ** 2).sum(0)
    shown = [srgb_from_linear(torch.from_numpy(value)).numpy() for value in (a[:, :3] * scale, b[:, :3])]
    errors = {
        "albedo_psnr": psnr(shown[0] - shown[1]),
        "normal_mean_deg": float(np.degrees(np.arccos(np.clip((a[:, 3:6] * b[:, 3:6]).sum(1), -1, 1))).mean()),
        "roughness_mean_error": float(np.abs(a[:, 6] - b[:, 6]).mean()),
        "metallic_mean_error": float(np.abs(a[:, 7] - b[:, 7]).mean()),
    }
    return scale, errors


def psnr(difference: np.ndarray) -> float:
    return float(-10 * np.log10(np.maximum((difference**2).mean(), 1e-12)))


def shown(rgb: np.ndarray, factor: float) -> np.ndarray:
    return srgb_from_linear(torch.from_numpy(np.asarray(rgb * factor, np.float32))).numpy()


def vertex_colours(
    estimate: RelightEstimate, images: list[np.ndarray], masks: list[np.ndarray], cameras: Cameras
) -> np.ndarray:
    """Return the mean colours of the photos at the vertices, linear."""
    seen = observe(LightTransport(estimate.mesh, rows=2, n_bounces=1), cameras, images, masks)
    return spread(seen.mean(seen.rgb).numpy(), (seen.count > 0).numpy(), estimate.mesh.faces)


def unlit(estimate: RelightEstimate, colours: np.ndarray, camera: Cameras) -> np.ndarray:
    columns = np.concatenate([np.clip(colours, 0, 1), np.ones((len(colours), 1)), np.zeros((len(colours), 1))], 1)
    painted = RenderObject(estimate.mesh, VertexPbrMaterial(), attributes=columns.astype(np.float32))
    return path_trace(RenderScene([painted]), camera, PathOptions(spp=1, background="black")).gbuffer.albedo[0]


Renderer = Callable[[Environment, Cameras], np.ndarray]


def score(scene: Path, renderers: dict[str, Renderer], probes: Path, picture: Path) -> dict[str, dict[str, float]]:
    """Return the mean PSNR of every way to render, by light; and write the picture."""
    table: dict[str, dict[str, float]] = {name: {} for name in renderers}
    rows = []
    for light in OTHER_LIGHTS:
        name, environment = Path(light).stem, load_environment(probes / light)
        factor, folder = exposure(environment), scene / "test" / Path(light).stem
        cameras = cameras_of(folder)
        truths, alphas = [], []
        for row in range(len(cameras)):
            planes = read_exr(folder / "linear" / f"{row:03d}.exr")
            truths.append(np.stack([planes[letter] for letter in "RGB"], -1))
            alphas.append(planes["A"] > 0.5)
        strip = [shown(truths[SHOWN], factor)]
        for way, render in renderers.items():
            pictures = [render(environment, cameras[row : row + 1]) for row in range(len(cameras))]
            if way == "baked colour":
                inside = [(mine[on], truth[on]) for mine, truth, on in zip(pictures, truths, alphas, strict=True)]
                mine, truth = (np.concatenate(part) for part in zip(*inside, strict=True))
                pictures = [one * ((mine * truth).sum(0) / (mine**2).sum(0)) for one in pictures]
            pairs = zip(pictures, truths, alphas, strict=True)
            table[way][name] = float(np.mean([psnr((shown(a, factor) - shown(b, factor))[on]) for a, b, on in pairs]))
            strip.append(shown(pictures[SHOWN], factor))
        rows.append(np.concatenate(strip, 1))
    Image.fromarray(np.rint(np.clip(np.concatenate(rows), 0, 1) * 255).astype(np.uint8)).save(picture)
    return {way: {**values, "mean": float(np.mean(list(values.values())))} for way, values in table.items()}


def renderers_of(
    estimate: RelightEstimate, scale: np.ndarray, colours: np.ndarray, samples: int
) -> dict[str, Renderer]:
    def traced(light: Environment, camera: Cameras) -> np.ndarray:
        scene = RenderScene([rendered_object(estimate, scale)], light)
        return path_trace(scene, camera, PathOptions(spp=samples, max_depth=5, background="black")).rgb[0]

    splats = surfels_of(estimate)
    splats = replace_albedo(splats, scale)

    def deferred(light: Environment, camera: Cameras) -> np.ndarray:
        return render_deferred(splats, camera, SplatLight.of(light.to(torch.float32)))[0].numpy()

    return {
        "path traced": traced,
        "splats": deferred,
        "baked colour": lambda light, camera: unlit(estimate, colours, camera),
    }


def open_renderer(estimate: RelightEstimate, scale: np.ndarray) -> Renderer:
    splats = replace_albedo(surfels_of(estimate), scale)
    splats = replace(splats, transfer=open_transfer(splats.normals))
    return lambda light, camera: render_deferred(splats, camera, SplatLight.of(light.to(torch.float32)))[0].numpy()


def replace_albedo(splats: RelightableGaussians, scale: np.ndarray) -> RelightableGaussians:
    return replace(splats, albedo=(splats.albedo * torch.from_numpy(scale).float()).clamp(0, 1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("set", type=Path)
    parser.add_argument("--probes", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--scenes", nargs="+", default=["spot", "bowl", "ground"])
    parser.add_argument("--geometry", nargs="+", choices=("reconstructed", "true"), default=["reconstructed", "true"])
    parser.add_argument("--samples", type=int, default=128)
    parser.add_argument("--steps", type=int, default=RelightOptions.steps)
    parser.add_argument("--no-visibility", action="store_true", help="also estimate as if nothing shaded anything")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    results = {}
    for name in args.scenes:
        scene = args.set / name
        images, masks = photos_of(scene / "train")
        cameras = cameras_of(scene / "train")
        for geometry in args.geometry:
            start, cpu = time.perf_counter(), time.process_time()
            mesh = true_surface(scene) if geometry == "true" else reconstructed(scene, args.out / f"{name}_scene")
            inputs = RelightInputs(tuple(images), tuple(masks), cameras, mesh)
            estimate = estimate_materials(inputs, RelightOptions(steps=args.steps))
            seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu
            scale, errors = albedo_scale(estimate, scene / "train")
            colours = vertex_colours(estimate, images, masks, cameras)
            ways = renderers_of(estimate, scale, colours, args.samples)
            if args.no_visibility:
                blind = estimate_materials(inputs, RelightOptions(steps=args.steps, visibility=False))
                ways["no visibility"] = open_renderer(blind, albedo_scale(blind, scene / "train")[0])
            table = score(scene, ways, args.probes, args.out / f"{name}_{geometry}.png")
            results[f"{name}, {geometry}"] = {
                "psnr": table, "materials": errors, "albedo_scale": scale.tolist(),
                "seconds": seconds, "cpu_seconds": cpu_seconds, **estimate.metrics}  # fmt: skip
            print(name, geometry, {way: round(row["mean"], 2) for way, row in table.items()}, f"{seconds:.0f} s",
                  file=sys.stderr)  # fmt: skip
            (args.out / "scores.json").write_text(json.dumps(results, indent=1))
    print(json.dumps(results))


if __name__ == "__main__":
    main()

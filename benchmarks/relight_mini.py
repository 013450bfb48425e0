"""Generate "relight-mini": three path-traced scenes under one light, to be predicted under three others.

    python benchmarks/relight_mini.py OUT --probes DATASETS/relight/hdri --spot DATASETS/relight/mesh/spot.obj
        [--scenes spot bowl ground] [--samples 512] [--size 256] [--views 40] [--held-out 8] [--estimate]

A scene is OUT/<scene>/. Its captures are train/ and, for each other light, test/<probe>/: transforms.json (cameras as
recon3d writes them), images/ (8-bit sRGB with straight alpha: times the exposure of light.json, then cut off at 1) and
linear/ (EXR: R G B A, before black). Beside them, in train/ and test/, albedo, normal, roughness, metallic and depth of
the cameras lie as EXR, and surface_<i>.ply are the true surfaces. What is there is not rendered again; a view has the
same bits whatever else is rendered. Time per view and the standard error of the pictures go to stderr.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import math
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from relight_scenes import SCENES, scene_objects

from recon3d.core.files import write_bytes, write_json
from recon3d.formats.exr import write_exr
from recon3d.formats.transforms import write_transforms
from recon3d.render.cameras import Cameras
from recon3d.render.mesh import save_mesh
from recon3d.render.raytrace import PathImages, PathOptions, RenderScene, path_trace
from recon3d.render.shading import (
    Environment,
    irradiance_from_sh,
    load_environment,
    sh_from_environment,
    srgb_from_linear,
)
from recon3d.render.trajectories import look_at
from recon3d.scene_convert import transforms_from_cameras

TRAINING_LIGHT = "studio_small_03_1k.hdr"
OTHER_LIGHTS = ("venice_sunset_1k.hdr", "forest_slope_1k.hdr", "lebombo_1k.hdr")
CORES = 2  # that the estimate is for
DISTANCE, FIELD_OF_VIEW = 3.2, 40.0
RINGS = ((0.4, 18.0), (0.4, 45.0), (0.2, 70.0))  # share of the views, degrees above the horizon
GBUFFER = ("albedo", "normal", "roughness", "metallic", "depth")


class Shot(NamedTuple):
    """One picture that is to be rendered."""

    scene: str
    split: str
    view: int
    light: str
    folder: Path

    @property
    def file(self) -> str:
        return f"{self.view:03d}"


def training_cameras(n: int, size: int) -> Cameras:
    """Two rings and a narrow one near the top, each turned a little against the one below."""
    eyes: list[np.ndarray] = []
    for index, (share, elevation) in enumerate(RINGS):
        count = n - len(eyes) if index == len(RINGS) - 1 else round(share * n)
        azimuths = 360 * (np.arange(count) + 0.37 * index) / max(count, 1)
        eyes += [_eye(azimuth, elevation) for azimuth in azimuths]
    return _cameras(np.array(eyes), size)


def held_out_cameras(n: int, size: int) -> Cameras:
    """Cameras between the rings, by the golden angle."""
    eyes = [_eye(137.508 * index + 11.0, 25 + 35 * (index + 0.5) / n) for index in range(n)]
    return _cameras(np.array(eyes), size)


def _eye(azimuth: float, elevation: float) -> np.ndarray:
    a, e = math.radians(azimuth), math.radians(elevation)
    return DISTANCE * np.array([math.cos(a) * math.cos(e), math.sin(a) * math.cos(e), math.sin(e)])


def _cameras(eyes: np.ndarray, size: int) -> Cameras:
    focal = size / (2 * math.tan(math.radians(FIELD_OF_VIEW) / 2))
    K = np.tile([[focal, 0, size / 2], [0, focal, size / 2], [0, 0, 1.0]], (len(eyes), 1, 1))
    sizes = np.full(len(eyes), size, np.int64)
    return Cameras(look_at(eyes, np.zeros(3), np.array([0.0, 0.0, 1.0])), K, sizes, sizes.copy())


def exposure(light: Environment) -> float:
    """Return the factor that shows a white diffuse surface, turned to where it is brightest, as white."""
    directions = Environment(torch.zeros(32, 64, 3)).directions()
    brightest = irradiance_from_sh(sh_from_environment(light, 2), directions).mean(-1).max()
    return float(math.pi / brightest)


def shots(scene: str, out: Path, n_views: int, n_held_out: int) -> Iterator[Shot]:
    for view in range(n_views):
        yield Shot(scene, "train", view, TRAINING_LIGHT, out / scene / "train")
    for light in OTHER_LIGHTS:
        for view in range(n_held_out):
            yield Shot(scene, "test", view, light, out / scene / "test" / Path(light).stem)


def is_done(shot: Shot) -> bool:
    """The marker of a picture is written last."""
    return (shot.folder / "done" / f"{shot.file}.json").is_file()


def save(shot: Shot, images: PathImages, factor: float, record: dict[str, object], out: Path) -> None:
    """Write the picture of one view, its G-buffer once per camera, and the marker."""
    rgb, alpha = images.rgb[0], images.alpha[0]
    for name in ("images", "linear", "done"):
        (shot.folder / name).mkdir(parents=True, exist_ok=True)
    write_exr(shot.folder / "linear" / f"{shot.file}.exr", {**_planes(rgb, "RGB"), "A": alpha})
    straight = torch.from_numpy(rgb / np.maximum(alpha, 1e-6)[..., None] * factor)
    shown = np.concatenate([srgb_from_linear(straight).numpy(), alpha[..., None]], 2)
    content = io.BytesIO()
    Image.fromarray(np.rint(shown * 255).astype(np.uint8), "RGBA").save(content, "PNG")
    write_bytes(shot.folder / "images" / f"{shot.file}.png", content.getvalue())
    save_gbuffer(out / shot.scene / shot.split, shot.file, images)
    write_json(shot.folder / "done" / f"{shot.file}.json", record)


def save_gbuffer(folder: Path, file: str, images: PathImages) -> None:
    for name in GBUFFER:
        path = folder / name / f"{file}.exr"
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            value = getattr(images.gbuffer, name)[0]
            planes = {"Z" if name == "depth" else "Y": value} if value.ndim == 2 else _planes(value, _letters(name))
            write_exr(path, planes)


def _letters(name: str) -> str:
    return "XYZ" if name == "normal" else "RGB"


def _planes(image: np.ndarray, names: str) -> dict[str, np.ndarray]:
    return {name: np.ascontiguousarray(image[..., index]) for index, name in enumerate(names)}


def write_scene(scene: str, out: Path, args: argparse.Namespace, lights: dict[str, Environment]) -> None:
    """Write the cameras, the lights and the true surface of a scene."""
    for split, cameras in _splits(args):
        folder = out / scene / split
        folder.mkdir(parents=True, exist_ok=True)
        used = (TRAINING_LIGHT,) if split == "train" else OTHER_LIGHTS
        names = [f"images/{index:03d}.png" for index in range(len(cameras))]
        for light in used:
            home = folder if split == "train" else folder / Path(light).stem
            home.mkdir(exist_ok=True)
            write_transforms(home / "transforms.json", transforms_from_cameras(cameras, names))
        table = {Path(name).stem: {"file": name, "exposure": exposure(lights[name])} for name in used}
        write_json(folder / "light.json", {"lights": table, "curve": "sRGB, cut off at 1", "alpha": "straight"})
    for index, part in enumerate(scene_objects(scene, args.spot)):
        save_mesh(out / scene / f"surface_{index}.ply", part.mesh)


def _splits(args: argparse.Namespace) -> tuple[tuple[str, Cameras], tuple[str, Cameras]]:
    return (("train", training_cameras(args.views, args.size)), ("test", held_out_cameras(args.held_out, args.size)))


def render(shot: Shot, args: argparse.Namespace, light: Environment, samples: int) -> PathImages:
    """Render one view; its random numbers depend on the scene, the light and the view, and on nothing else."""
    cameras = dict(_splits(args))[shot.split][shot.view : shot.view + 1]
    name = f"{shot.scene} {shot.split} {shot.light} {shot.view}"
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "little")
    options = PathOptions(spp=samples, max_depth=6, background="black", samples_per_pass=min(samples, 64), seed=seed)
    return path_trace(RenderScene(scene_objects(shot.scene, args.spot), light), cameras, options)


def relative_error(images: PathImages) -> float:
    """Return the median standard error of covered pixels, relative to their brightness."""
    seen = images.alpha[0] > 0.99
    rgb, error = images.rgb[0][seen].mean(1), images.se[0][seen].mean(1)
    return float(np.median(error / np.maximum(rgb, 1e-6))) if seen.any() else 0.0


def generate(args: argparse.Namespace, lights: dict[str, Environment]) -> None:
    """Render what is not there yet."""
    todo = []
    for scene in args.scenes:
        write_scene(scene, args.out, args, lights)
        todo += [each for each in shots(scene, args.out, args.views, args.held_out) if not is_done(each)]
    started = time.perf_counter()
    for index, shot in enumerate(todo):
        before = time.perf_counter()
        images = render(shot, args, lights[shot.light], args.samples)
        seconds = time.perf_counter() - before
        record = {"samples": args.samples, "seconds": round(seconds, 2), "relative_error": relative_error(images)}
        save(shot, images, exposure(lights[shot.light]), record, args.out)
        left = (time.perf_counter() - started) / (index + 1) * (len(todo) - index - 1)
        where = f"{shot.scene} {shot.split} {Path(shot.light).stem} {shot.file}"
        print(f"{where}: {seconds:.1f} s, error {100 * record['relative_error']:.2f} %, {left / 60:.1f} min left",
              file=sys.stderr)  # fmt: skip


def estimate(args: argparse.Namespace, lights: dict[str, Environment]) -> None:
    """Print how long everything would take on two idle cores, from three pictures per scene with few samples.

    Processor time counts, since wall time on a busy machine says little.
    """
    few, total = max(1, min(args.samples, 32)), 0.0
    for scene in args.scenes:
        wanted = list(shots(scene, args.out, args.views, args.held_out))
        render(wanted[0], args, lights[wanted[0].light], 1)  # compiles
        start = time.process_time()
        some = wanted[:: max(1, len(wanted) // 3)][:3]
        for shot in some:
            render(shot, args, lights[shot.light], few)
        seconds = (time.process_time() - start) / len(some) / CORES * args.samples / few
        total += seconds * len(wanted)
        print(f"{scene}: {seconds:.1f} s per view of {args.samples} samples, {len(wanted)} views", file=sys.stderr)
    print(json.dumps({"cores": CORES, "seconds": round(total, 1), "hours": round(total / 3600, 2)}))


def check_settings(args: argparse.Namespace) -> None:
    """Refuse to mix sets of different settings in one folder."""
    settings = {name: getattr(args, name) for name in ("samples", "size", "views", "held_out")}
    path = args.out / "settings.json"
    if path.is_file():
        found = json.loads(path.read_text())
        if found != settings:
            raise SystemExit(f"{args.out} holds a set with other settings: {found}; asked for {settings}")
    args.out.mkdir(parents=True, exist_ok=True)
    write_json(path, settings)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--probes", type=Path, required=True, help="folder of the .hdr files")
    parser.add_argument("--spot", type=Path, required=True, help="spot.obj")
    parser.add_argument("--scenes", nargs="+", choices=SCENES, default=list(SCENES))
    parser.add_argument("--samples", type=int, default=512)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--views", type=int, default=40)
    parser.add_argument("--held-out", type=int, default=8)
    parser.add_argument("--estimate", action="store_true")
    args = parser.parse_args()
    lights = {name: load_environment(args.probes / name) for name in (TRAINING_LIGHT, *OTHER_LIGHTS)}
    if args.estimate:
        estimate(args, lights)
    else:
        check_settings(args)
        generate(args, lights)


if __name__ == "__main__":
    main()

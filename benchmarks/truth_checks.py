"""Checks of a finished scene against a photo set: sigmas against true centres, points against a depth sensor.

python benchmarks/truth_checks.py OUT SET      # OUT: of recon3d reconstruct, or a COLMAP model; SET: a folder with gt/
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro
from PIL import Image

from recon3d.formats.colmap import read_colmap
from recon3d.render.cameras import Cameras
from recon3d.scene import Points, Scene
from recon3d.scene_convert import cameras_from_colmap, points_from_colmap

MIN_TRACK = 4


@dataclass(frozen=True)
class Checks:
    """Compare a scene with the truth of its photo set.

    Args:
        model: output folder of recon3d reconstruct, or a COLMAP model.
        photo_set: folder with gt/cameras.json.
    """

    model: tyro.conf.Positional[Path]
    photo_set: tyro.conf.Positional[Path]


def load(model: Path) -> tuple[list[str], Cameras, Points, np.ndarray | None]:
    """Return file names, cameras, points and the sigma of the centres, which only a scene has."""
    if (model / "scene.json").exists():
        scene = Scene.load(model)
        names = [Path(view.key).name for view in scene.registered]
        return names, scene.cameras, scene.points, scene.pose_sigma[:, 3:]
    colmap = read_colmap(model)
    return (
        [Path(image.name).name for image in colmap.images],
        cameras_from_colmap(colmap),
        points_from_colmap(colmap),
        None,
    )


def sigma_line(names: list[str], cameras: Cameras, sigma: np.ndarray, truth: dict[str, dict]) -> str:
    """Return the root mean square error of the centres in sigmas, after the best similarity."""
    pose = np.array([truth[name]["w2c"] for name in names])
    a = cameras.centers - cameras.centers.mean(0)
    b = -np.einsum("nji,nj->ni", pose[:, :, :3], pose[:, :, 3])
    b -= b.mean(0)
    u, _, vt = np.linalg.svd(b.T @ a)
    rotation = u @ np.diag([1, 1, np.linalg.det(u @ vt)]) @ vt
    scale = np.trace(rotation.T @ b.T @ a) / (a**2).sum()
    error = (b - scale * a @ rotation.T) @ rotation / scale
    return (
        f"centres: {np.sqrt(((error / sigma) ** 2).mean()):.2f} sigmas (root mean square of {error.size} coordinates)"
    )


def depth_line(names: list[str], cameras: Cameras, points: Points, truth: dict[str, dict], gt: Path) -> str:
    """Return how far points in several photos are from the depth sensor, after one scale for all."""
    long = points.track_length[points.obs_point] >= MIN_TRACK
    depth = cameras.project(points.xyz[points.obs_point], points.obs_view.astype(np.int64))[1]
    pairs = []
    for view, name in enumerate(names):
        sensor = np.asarray(Image.open(gt / truth[name]["depth"])).astype(float) / 1000
        rows = np.flatnonzero((points.obs_view == view) & long)
        limit = np.array(sensor.shape)[::-1] - 1
        x, y = np.clip(points.obs_xy[rows].astype(int), 0, limit).T
        measured = sensor[y, x]
        pairs.append(np.stack([depth[rows], measured], 1)[measured > 0])
    found = np.concatenate(pairs)
    ratio = found[:, 0] * np.median(found[:, 1] / found[:, 0]) / found[:, 1]
    off = np.abs(ratio - 1)
    return f"depth: median {100 * np.median(off):.3f} %, within 2 % {100 * (off < 0.02).mean():.1f} % of {len(off)}"


def main() -> None:
    """Print what can be checked."""
    options = tyro.cli(Checks)
    gt = options.photo_set / "gt"
    truth = {image["name"]: image for image in json.loads((gt / "cameras.json").read_text())["images"]}
    names, cameras, points, sigma = load(options.model)
    if sigma is not None:
        sys.stdout.write(sigma_line(names, cameras, sigma, truth) + "\n")
    if all("depth" in truth[name] for name in names):
        sys.stdout.write(depth_line(names, cameras, points, truth, gt) + "\n")


if __name__ == "__main__":
    main()

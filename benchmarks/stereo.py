"""Multi-view stereo: processor time per megapixel, coverage, and errors against measured depth where there is some.

    recon3d reconstruct photos/ --out out/kitchen_rgbd --only points
    python benchmarks/stereo.py out/kitchen_rgbd            # a folder named like a set is compared with its truth

Times are those of all threads together, of whole runs after one that compiles; quality comes from the last run. One
thread by default, so that seconds per megapixel are seconds per megapixel and core. Maps of a set are compared in the
photos as taken: each pixel is looked up in the undistorted map.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from measure import machine_card
from PIL import Image

from recon3d.core.kernels import threads
from recon3d.dense.stereo import estimate_depth, stereo_cameras
from recon3d.dense.stereo_options import StereoOptions
from recon3d.dense.types import DepthMap
from recon3d.evaluation.alignment import align
from recon3d.evaluation.depth import evaluate_depth, find_true_depth, read_depth_png, sample_depth
from recon3d.evaluation.truth import Truth, read_truth
from recon3d.render.cameras import undistort
from recon3d.scene import Scene
from recon3d.scene_io import output_name

HERE = Path(__file__).resolve().parent
DATASETS = Path(os.environ.get("RECON3D_DATASETS", HERE.parents[1] / "shared" / "datasets"))


@dataclass(frozen=True)
class Benchmark:
    """Measure stereo on finished scenes.

    Args:
        scenes: folders of `recon3d reconstruct`, named like the sets where truth exists.
        runs: timed runs, after one that compiles.
        threads: threads of the kernels; 0 = the cores.
        stereo: options of the stereo.
        json: print JSON instead of text.
        data: folder with the sets.
    """

    scenes: tuple[Path, ...]
    runs: int = 5
    threads: int = 1
    stereo: StereoOptions = field(default_factory=StereoOptions)
    json: bool = False
    data: Path = DATASETS / "photos"


def load_photos(scene: Scene) -> list[np.ndarray]:
    """Return the undistorted photos of a scene folder."""
    folder = Path(scene.root or ".") / "images"
    return [np.asarray(Image.open(folder / output_name(view.key)).convert("RGB")) for view in scene.registered]


def true_pairs(scene: Scene, maps: list[DepthMap], truth: Truth, folder: Path, options: StereoOptions) -> Any:
    """Yield estimate, sigma and truth in the pixels of every measured depth map."""
    cameras = stereo_cameras(scene.pinhole_cameras, options)
    for name, path in find_true_depth(truth, folder).items():
        view = next((i for i, v in enumerate(scene.registered) if Path(v.key).name == name), None)
        if view is None:
            continue
        true = read_depth_png(path)
        h, w = true.shape
        pixels = np.stack(np.meshgrid(np.arange(w) + 0.5, np.arange(h) + 0.5), -1).reshape(-1, 2)
        K = scene.cameras.K[view]
        rays = (pixels - K[:2, 2]) / K[(0, 1), (0, 1)]
        if scene.cameras.distortion is not None:
            rays = undistort(rays, np.broadcast_to(scene.cameras.distortion[view], (len(rays), 4)))
        K = cameras.K[view]
        places = rays * K[(0, 1), (0, 1)] + K[:2, 2]
        depth = sample_depth(maps[view].depth_z, places).reshape(h, w)
        yield depth, sample_depth(maps[view].sigma, places).reshape(h, w), true


def quality(scene: Scene, maps: list[DepthMap], options: Benchmark) -> dict[str, Any]:
    """Errors against the truth of the set that the scene folder is named after, and how well sigma predicts them."""
    result: dict[str, Any] = {"coverage": float(np.mean([m.coverage for m in maps]))}
    gt = options.data / Path(scene.root or ".").absolute().name / "gt"
    if not (gt / "depth").is_dir():
        return result
    truth = read_truth(gt / "cameras.json")
    row = {name: i for i, name in enumerate(truth.names)}
    known = [i for i, view in enumerate(scene.registered) if Path(view.key).name in row]
    names = [Path(scene.registered[i].key).name for i in known]
    scale = align(truth.cameras.cam_from_world[[row[n] for n in names]], scene.cameras.cam_from_world[known]).scale
    found = list(true_pairs(scene, maps, truth, gt / "depth", options.stereo))
    errors = evaluate_depth(((d, t) for d, _, t in found), "pose", scale)
    scores = [np.abs(d * scale - t)[ok] / (s * scale)[ok] for d, s, t in found if (ok := (d > 0) & (t > 0)).any()]
    at = np.percentile(np.concatenate(scores), [68.3, 95.4])
    return result | asdict(errors) | {"sigmas_at_68": float(at[0]), "sigmas_at_95": float(at[1])}


def measure_scene(folder: Path, options: Benchmark) -> dict[str, Any]:
    """Run stereo on one scene several times."""
    scene = Scene.load(folder)
    photos = load_photos(scene)
    seconds = []
    with threads(options.threads or None):
        for _ in range(options.runs + 1):
            start = time.process_time()
            maps = estimate_depth(photos, scene.pinhole_cameras, scene.points, options.stereo)
            seconds.append(time.process_time() - start)
    megapixels = sum(m.depth_z.size for m in maps) / 1e6
    per = sorted(s / megapixels for s in seconds[1:])
    cost = {"megapixels": megapixels, "s_per_mp": statistics.median(per), "lowest": per[0], "highest": per[-1]}
    return {"scene": folder.name, "first_run_s": seconds[0], **cost, **quality(scene, maps, options)}


def main() -> None:
    """Print one line or record per scene."""
    options = tyro.cli(Benchmark)
    if not options.json:
        print(machine_card(["numba", "numpy"]), file=sys.stderr)
    for folder in options.scenes:
        result = measure_scene(folder, options)
        if options.json:
            print(json.dumps(result), flush=True)
            continue
        numbers = (f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in result.items())
        print("  ".join(numbers), flush=True)


if __name__ == "__main__":
    main()

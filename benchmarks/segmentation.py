"""Measure the bundled segmenters: mean IoU on unseen generated scenes and a real scan, and their latency.

    python benchmarks/segmentation.py scores --scenes 20
    python benchmarks/segmentation.py latency --runs 7
    python benchmarks/segmentation.py pictures --out pictures

Beside the models stand two answers that need no network: the most frequent class, and the most frequent class of a
height (indoors, of a steepness of the normal, too). Real clouds are taken from RECON3D_DATASETS (default
../shared/datasets) where they are. Times are medians, with the range; CPU seconds stand beside wall seconds, for
machines that are shared. Pictures are views from above: the labels, and what is known.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numba
import numpy as np
import torch
from PIL import Image

from recon3d.formats.kitti import read_kitti_points
from recon3d.formats.kitti_semantic import read_semantic_kitti
from recon3d.pointcloud.clouds import load
from recon3d.pointcloud.segmentation import Segmenter
from recon3d.pointcloud.segmentation.folders import classes_of_ids
from recon3d.pointcloud.segmentation.palettes import STREET_IDS, street_colours
from recon3d.pointcloud.segmentation.scoring import height_rule, majority, network_labels, score_labels
from recon3d.pointcloud.segmentation.sources import REACH_M, generated_scenes
from recon3d.pointcloud.segmentation.weights import bundled_segmenter, read_segmenter
from recon3d.pointcloud.volt.samples import Sample

DATASETS = Path(os.environ.get("RECON3D_DATASETS", Path(__file__).resolve().parents[2] / "shared" / "datasets"))
CLOUDS = DATASETS / "pointclouds"
SCAN = CLOUDS / "semantickitti" / "velodyne" / "000000.bin"
ROOM = CLOUDS / "scannet" / "scene0000_00.bin"
WORLDS = {"outdoor": "streets", "indoor": "rooms"}
SEED_OF_RIVALS = 5
Answer = Callable[[Sample], np.ndarray]


def real_scan() -> Sample:
    """The labelled scan of SemanticKITTI, its classes mapped to those of generated streets, within reach."""
    rows = read_kitti_points(SCAN)
    ids, _ = read_semantic_kitti(SCAN.parents[1] / "labels" / "000000.label")
    near = (rows[:, :3] ** 2).sum(1) <= REACH_M**2
    truth = classes_of_ids(ids, STREET_IDS)[near]
    return Sample(xyz=rows[near, :3].astype(np.float64), strength=rows[near, 3], segment=truth)


def answers(kind: str, weights: Path, scenes: int) -> dict[str, Answer]:
    seen = generated_scenes(WORLDS[kind], seed=SEED_OF_RIVALS)
    taught = [seen.training(number) for number in range(scenes)]
    model, spec = read_segmenter(weights)
    n_classes = len(spec.classes)
    return {
        "segmenter": lambda sample: network_labels(model, spec, sample),
        "height rule": height_rule(taught, n_classes, spec),
        "most frequent": majority(taught, n_classes),
    }


def scores(given: argparse.Namespace) -> None:
    for kind in given.kinds:
        made = generated_scenes(WORLDS[kind])
        unseen = [made.unseen(number) for number in range(given.scenes)]
        where = {f"{given.scenes} generated {WORLDS[kind]}": unseen}
        if kind == "outdoor" and SCAN.is_file():
            where["real scan"] = [real_scan()]
        for name, answer in answers(kind, given.weights or bundled_segmenter(kind), given.scenes).items():
            for place, samples in where.items():
                found = score_labels(answer, samples, made.spec.classes)
                mean = 100 * found.score.mean_iou
                print(f"{kind:8} {name:14} {place:22} mIoU {mean:5.1f}  {json.dumps(found.to_json())}", flush=True)


def timed(work: Callable[[], object], runs: int) -> str:
    """Median, least and greatest wall seconds of some runs, and the median of CPU seconds, children included."""
    walls, cpus = [], []
    for _ in range(runs):
        wall, cpu = time.perf_counter(), cpu_seconds()
        work()
        walls.append(time.perf_counter() - wall)
        cpus.append(cpu_seconds() - cpu)
    spread = f"{statistics.median(walls):.2f} s ({min(walls):.2f} to {max(walls):.2f})"
    return f"wall {spread}, CPU {statistics.median(cpus):.2f} s ({min(cpus):.2f} to {max(cpus):.2f})"


def cpu_seconds() -> float:
    parts = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in parts)


def clouds(kinds: list[str]) -> Iterator[tuple[str, str, Path, str]]:
    for name, kind, path, layout in (
        ("KITTI scan", "outdoor", SCAN, "kitti"),
        ("ScanNet room", "indoor", ROOM, "scannet"),
    ):
        if path.is_file() and kind in kinds:
            yield name, kind, path, layout


def latency(given: argparse.Namespace) -> None:
    for threads in given.threads:
        torch.set_num_threads(threads)
        numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))
        words = {"OMP_NUM_THREADS": str(threads), "NUMBA_NUM_THREADS": str(threads)}
        for name, kind, path, layout in clouds(given.kinds):
            segmenter = Segmenter.load(given.weights or kind, device="cpu")
            cloud = load(path, format=layout)
            segmenter.segment(cloud)  # compiles
            label = f"{threads} threads, {name}, {len(cloud)} points"
            print(f"{label}: Segmenter.segment {timed(partial(segmenter.segment, cloud), given.runs)}", flush=True)
            model = str(given.weights or kind)
            command = [
                sys.executable,
                "-m",
                "recon3d",
                "segment",
                str(path),
                "--format",
                layout,
                "--model",
                model,
                "--quiet",
            ]
            run = partial(subprocess.run, command, check=True, capture_output=True, env=os.environ | words)
            print(f"{label}: recon3d segment   {timed(run, given.runs)}", flush=True)


def from_above(xyz: np.ndarray, rgb: np.ndarray, metres: float, size: int = 700) -> np.ndarray:
    """A picture whose pixels are ``metres`` wide; higher points cover lower ones."""
    picture = np.zeros((size, size, 3), np.uint8)
    places = np.floor((xyz[:, :2] - np.median(xyz[:, :2], axis=0)) / metres + size / 2).astype(int)
    inside = ((places >= 0) & (places < size)).all(1)
    order = np.flatnonzero(inside)[np.argsort(xyz[inside, 2], kind="stable")]
    picture[size - 1 - places[order, 1], places[order, 0]] = rgb[order]
    return picture


def pictures(given: argparse.Namespace) -> None:
    given.out.mkdir(parents=True, exist_ok=True)
    for _, kind, path, layout in clouds(given.kinds):
        cloud = load(path, format=layout)
        found = Segmenter.load(given.weights or kind, device="cpu").segment(cloud)
        if kind == "outdoor":
            ids, _ = read_semantic_kitti(path.parents[1] / "labels" / f"{path.stem}.label")
            known = np.array([*street_colours(), (60, 60, 60)], np.uint8)[classes_of_ids(ids, STREET_IDS)]
        else:
            known = np.asarray(cloud.attributes["rgb"])
        metres = 0.1 if kind == "outdoor" else 0.014
        both = [from_above(cloud.xyz, colours, metres) for colours in (found.rgb(), known)]
        Image.fromarray(np.concatenate(both, axis=1)).save(given.out / f"{kind}.png")
        shares = {name: one["share"] for name, one in found.to_json()["classes"].items() if one["points"]}
        print(f"{kind}: {shares}, {found.notes}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["scores", "latency", "pictures"])
    parser.add_argument("--kinds", nargs="+", choices=list(WORLDS), default=list(WORLDS))
    parser.add_argument("--weights", type=Path, help="of a training, instead of the bundled ones; with one kind")
    parser.add_argument("--scenes", type=int, default=20)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--out", type=Path, default=Path("pictures"))
    given = parser.parse_args()
    {"scores": scores, "latency": latency, "pictures": pictures}[given.what](given)


if __name__ == "__main__":
    main()

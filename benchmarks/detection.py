"""Measure the bundled detector: average precision on unseen generated streets and real frames, and its latency.

    python benchmarks/detection.py --scenes 40
    python benchmarks/detection.py --scenes 40 --model run/weights.safetensors --pictures out/
    python benchmarks/detection.py --scenes 30 --sweep

Beside it stands a trivial rival: clusters of points above the ground, each with a box of fixed size. Real frames are
taken from RECON3D_DATASETS (default ../shared/datasets) where they are. Pictures are views from above.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage

from recon3d.formats.kitti import read_kitti_points
from recon3d.pointcloud.boxes import Boxes3D, box_corners, points_in_boxes, rotated_iou_bev
from recon3d.pointcloud.detection import (
    DetectionScores,
    Detector,
    KittiFrames,
    LabelledFrame,
    ScoreOptions,
    StreetFrames,
    score_detections,
)
from recon3d.pointcloud.detection.frames import renamed
from recon3d.pointcloud.worlds import StreetOptions

DATASETS = Path(os.environ.get("RECON3D_DATASETS", Path(__file__).resolve().parents[2] / "shared" / "datasets"))
NAMES = ("car", "pedestrian", "cyclist")
SIZES = {"car": (4.2, 1.75, 1.5), "pedestrian": (0.7, 0.7, 1.7), "cyclist": (1.8, 0.65, 1.7)}
HELD_OUT_SEED = 2_000_003  # neither the training nor its evaluations have seen it
SWEEP_SEED = HELD_OUT_SEED + 1
CELL, REACH = 0.3, 51.2
STRICT = ScoreOptions(vehicle_iou=0.7, other_iou=0.5)
Detect = Callable[[LabelledFrame], Boxes3D]


def clusters(frame: LabelledFrame) -> Boxes3D:
    """Boxes of fixed size around groups of points above the ground: the trivial rival."""
    xyz = frame.points[:, :3].astype(np.float64)
    high = xyz[:, 2] + frame.mount_m
    xyz = xyz[(high > 0.3) & (high < 2.2) & (np.abs(xyz[:, :2]).max(1) < REACH)]
    cells = np.floor((xyz[:, :2] + REACH) / CELL).astype(int)
    grid = np.zeros((round(2 * REACH / CELL) + 2,) * 2, bool)
    grid[cells[:, 0], cells[:, 1]] = True
    groups, _ = ndimage.label(grid, np.ones((3, 3)))
    number = groups[cells[:, 0], cells[:, 1]]
    found = [one for n in range(1, number.max(initial=0) + 1) if (one := _cluster(xyz[number == n], frame)) is not None]
    return Boxes3D(
        boxes=np.array([box for box, _, _ in found], np.float64).reshape(-1, 7),
        labels=np.array([label for _, label, _ in found], np.int64),
        names=NAMES,
        scores=np.array([score for _, _, score in found], np.float64),
    )


def _cluster(points: np.ndarray, frame: LabelledFrame) -> tuple[np.ndarray, int, float] | None:
    if len(points) < 8:
        return None
    flat = points[:, :2] - points[:, :2].mean(0)
    _, axes = np.linalg.eigh(flat.T @ flat)
    yaw = float(np.arctan2(axes[1, 1], axes[0, 1]))
    along, across = flat @ axes[:, 1], flat @ axes[:, 0]
    long, wide = np.ptp(along), np.ptp(across)
    if long > 6 or wide > 2.6:
        return None
    label = 0 if long > 2.3 else 2 if long > 1.1 else 1
    size = SIZES[NAMES[label]]
    middle = points[:, :2].mean(0) + axes[:, 1] * (along.max() + along.min()) / 2
    middle += axes[:, 0] * (across.max() + across.min()) / 2
    # The side that is not seen lies behind.
    away = middle / max(np.linalg.norm(middle), 1e-6)
    middle = middle + away * max(0.0, (size[1] - wide) / 2)
    box = np.array([*middle, size[2] / 2 - frame.mount_m, *size, yaw])
    return box, label, len(points) / (len(points) + 100.0)


def detector_on(detector: Detector, score: float = 0.05) -> Detect:
    return lambda frame: replace(detector.detect(frame.points, score=score, mount_m=frame.mount_m), names=NAMES)


def in_reach(frame: LabelledFrame) -> LabelledFrame:
    """The frame without the truth that is farther than the detector looks."""
    return replace(frame, boxes=frame.boxes.selected(np.abs(frame.boxes.boxes[:, :2]).max(1) < 48))


def real_frames() -> Iterator[tuple[str, LabelledFrame]]:
    root = DATASETS / "pointclouds"
    if (root / "kitti").is_dir():
        yield "KITTI 000008", KittiFrames(root / "kitti", NAMES, ("000008",)).frame(0)
    labels = root / "nuscenes" / "labels.json"
    scan = next((root / "nuscenes").glob("n015*.pcd.bin"), None)
    if scan is not None and labels.is_file():
        yield "nuScenes", _nuscenes(scan, json.loads(labels.read_text()))
    semantic = root / "semantickitti" / "velodyne" / "000000.bin"
    if semantic.is_file():
        nothing = Boxes3D(boxes=np.zeros((0, 7)), labels=np.zeros(0, np.int64), names=NAMES)
        yield "SemanticKITTI", LabelledFrame(points=read_kitti_points(semantic), boxes=nothing, mount_m=1.73)


def _nuscenes(scan: Path, about: dict) -> LabelledFrame:
    points = read_kitti_points(scan, 5)[:, :4] / np.float32([1, 1, 1, 255])
    entries = [one for one in about["boxes"] if one["num_lidar_pts"]]
    names = tuple(dict.fromkeys(one["name"] for one in entries))
    boxes = Boxes3D(
        boxes=np.array([one["box"] for one in entries], np.float64),
        labels=np.array([names.index(one["name"]) for one in entries], np.int64),
        names=names,
    )
    called = renamed(boxes, NAMES, {"bicycle": "cyclist", "motorcycle": "cyclist"})
    return LabelledFrame(points=points, boxes=called, mount_m=float(about["lidar2ego"][2][3]))


def line(who: str, scores: DetectionScores) -> str:
    parts = [f"{name} {scores.bev[name]:.3f}/{scores.box_3d[name]:.3f} of {scores.truths[name]}" for name in NAMES]
    return f"{who:34} mean {scores.mean_bev:.3f}/{scores.mean_3d:.3f}  " + "  ".join(parts)


def picture(path: Path, frame: LabelledFrame, found: Boxes3D, reach: float = 50.0) -> None:
    """A view from above: points grey, truth green, detections red."""
    from PIL import Image, ImageDraw

    scale = 9.0
    side = round(2 * reach * scale)
    image = Image.new("RGB", (side, side), "white")
    draw = ImageDraw.Draw(image)

    def place(xy: np.ndarray) -> list[tuple[float, float]]:
        return [(float((reach - y) * scale), float((reach - x) * scale)) for x, y in xy]

    high = frame.points[frame.points[:, 2] > -frame.mount_m + 0.2]
    draw.point(place(high[:, :2]), "#999999")
    for boxes, colour in ((frame.boxes, "#00aa00"), (found, "#dd0000")):
        for box, corners in zip(boxes.boxes, box_corners(boxes.boxes)[:, :4, :2], strict=True):
            draw.polygon(place(corners), outline=colour, width=2)
            draw.line(place(np.array([box[:2], corners[[0, 3]].mean(0)])), fill=colour, width=2)
    for row, box in enumerate(found.boxes):
        text = f"{found.names[found.labels[row]][:3]} {0 if found.scores is None else found.scores[row]:.2f}"
        draw.text(place(box[None, :2])[0], text, fill="#dd0000")
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


def latency(detector: Detector, frame: LabelledFrame, threads: int, runs: int = 7) -> str:
    """Wall time of a frame: median and range; and the time of the processor, which other programs do not lengthen."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    times, busy = [], []
    for _ in range(runs):
        started, worked = time.perf_counter(), time.process_time()
        detector.detect(frame.points, mount_m=frame.mount_m)
        times.append(time.perf_counter() - started)
        busy.append(time.process_time() - worked)
    torch.set_num_threads(before)
    spread = f"{min(times):.3f} to {max(times):.3f}"
    return f"{statistics.median(times):.3f} s ({spread}), {statistics.median(busy):.3f} s of CPU, {platform.machine()}"


def sure_ones(found: Boxes3D, frame: LabelledFrame, score: float) -> np.ndarray:
    """Right, said and true boxes of each class above a score; a truth of few points is neither."""
    options = ScoreOptions()
    counts = np.zeros((len(NAMES), 3))
    full = points_in_boxes(frame.points, frame.boxes.boxes).sum(1) >= options.min_points
    for label, name in enumerate(NAMES):
        ours = found.boxes[(found.labels == label) & (found.scores >= score)]
        theirs = frame.boxes.boxes[frame.boxes.labels == label]
        counting = full[frame.boxes.labels == label]
        free = np.ones(len(theirs), bool)
        overlap = rotated_iou_bev(ours, theirs)
        for row in range(len(ours)):
            hits = np.where(free, overlap[row], 0.0) if len(theirs) else np.zeros(1)
            best = int(hits.argmax())
            right = bool(hits[best] >= options.overlap(name))
            if right:
                free[best] = False
            counts[label] += [right and counting[best], not right or counting[best], 0]
        counts[label, 2] += counting.sum()
    return counts


def sweep(detector: Detector, frames: list[LabelledFrame]) -> Iterator[str]:
    """Precision and recall of each class at some scores: what the default score is chosen by."""
    found = [(detector_on(detector)(frame), frame) for frame in frames]
    for score in (0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5):
        right, said, true = np.sum([sure_ones(*one, score) for one in found], 0).T
        parts = [
            f"{name} {right[k] / max(said[k], 1):.2f} of {said[k]:.0f}, found {right[k] / max(true[k], 1):.2f}"
            for k, name in enumerate(NAMES)
        ]
        f1 = 2 * right.sum() / max(said.sum() + true.sum(), 1)
        yield f"score {score:.2f}: F1 {f1:.3f}  right: " + "; ".join(parts)


def unseen_streets(count: int, seed: int) -> list[LabelledFrame]:
    front = ((StreetOptions(beams="64", sector_deg=90.0, max_range_m=80.0), 1.0),)
    streets = StreetFrames(count=count, seed=seed, kinds=front)
    return [in_reach(streets.frame(row)) for row in range(count)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="recon3d-detector")
    parser.add_argument("--scenes", type=int, default=40)
    parser.add_argument("--pictures", type=Path)
    parser.add_argument("--score", type=float, default=0.3, help="of the pictures and of the counts on real frames")
    parser.add_argument("--threads", type=int, nargs="*", default=[1], help="of the latency; two need two idle cores")
    parser.add_argument("--sweep", action="store_true", help="precision and recall by score, on streets of their own")
    options = parser.parse_args()
    detector = Detector.load(options.model, device="cpu")
    if options.sweep:
        print(*sweep(detector, unseen_streets(options.scenes, SWEEP_SEED)), sep="\n")
        return
    frames = unseen_streets(options.scenes, HELD_OUT_SEED)
    print(f"AP from above / in 3D, {options.scenes} unseen streets, 64 beams, 90 degrees, up to 48 m")
    for title, score in (("IoU 0.5 / 0.3", None), ("IoU 0.7 / 0.5", STRICT)):
        for who, detect in (("detector", detector_on(detector)), ("clusters, boxes of fixed size", clusters)):
            print(line(f"{who}, {title}", score_detections([(detect(one), one) for one in frames], score)))
    if options.pictures:
        for row, frame in enumerate(frames[:4]):
            picture(options.pictures / f"street_{row}.png", frame, detector_on(detector, options.score)(frame))
    for name, frame in real_frames():
        near = in_reach(frame)
        found = detector_on(detector)(frame)
        print(line(f"{name}, IoU 0.5 / 0.3", score_detections([(found, near)])))
        print(line(f"{name}, clusters", score_detections([(clusters(frame), near)])))
        sure = detector.detect(frame.points, score=options.score, mount_m=frame.mount_m)
        print(f"{name}: {len(sure)} boxes above {options.score}, {len(near.boxes)} true ones")
        if options.pictures:
            picture(options.pictures / f"{name.replace(' ', '_')}.png", frame, sure)
        for threads in options.threads:
            print(f"{name}, {threads} thread(s), {len(frame.points)} points: {latency(detector, frame, threads)}")


if __name__ == "__main__":
    main()

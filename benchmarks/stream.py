"""A long video frame by frame, and in chunks: seconds per frame, memory over the number of frames, and the way.

    python benchmarks/stream.py
    python benchmarks/stream.py --frames 600 --size 112 --json

The video is generated: a camera that moves smoothly through a scene of `recon3d.feedforward.scenes`, rendered when it
is needed. Without weights the network has random ones: time and memory do not depend on them, and the error of the way
then means nothing.
"""

from __future__ import annotations

import json
import statistics
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from measure import machine_card
from scipy.interpolate import CubicSpline
from scipy.spatial.transform import Rotation, RotationSpline

from recon3d.core.errors import DependencyError
from recon3d.evaluation.alignment import absolute_errors, align, scene_scale
from recon3d.feedforward.engine.network import choose_weights, load_network
from recon3d.feedforward.models import Network, build_model
from recon3d.feedforward.scenes import SceneOptions, generation
from recon3d.feedforward.scenes.cameras import Cameras
from recon3d.feedforward.scenes.photograph import draw_exposure
from recon3d.feedforward.sequence import SequenceOptions, Stream, StreamOptions, estimate_sequence

STOPS = (0.1, 0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True)
class Benchmark:
    """Measure a stream and the same frames in chunks.

    Args:
        frames: of the video.
        side: of its frames, in pixels.
        size: longer side of the network's images, in pixels; None = that of the network.
        model: name of the network.
        checkpoint: file of its weights; None = bundled ones, or random ones where there are none.
        kind: of the scene.
        seed: of the scene and of random weights.
        window: keyframes that each frame is seen with.
        chunk: photos in one chunk.
        threads: of torch.
        json: print JSON instead of text.
    """

    frames: int = 150
    side: int = 84
    size: int | None = None
    model: str = "recon3d-small"
    checkpoint: Path | None = None
    kind: str = "room"
    seed: int = 0
    window: int = 5
    chunk: int = 24
    threads: int = 1
    json: bool = False


class Video(Sequence[np.ndarray]):
    """Frames that are rendered when they are asked for, a camera on a smooth way through a few random places."""

    def __init__(self, settings: Benchmark) -> None:
        self.options = SceneOptions(
            height=settings.side, width=settings.side, kinds=(settings.kind,), shared_intrinsics=1.0, rays_per_pixel=1
        )  # type: ignore[arg-type]
        rng = np.random.default_rng([settings.seed, 7])
        self.plan = generation._plan(rng, self.options, max(3, settings.frames // 15))
        self.cam_from_world = smooth_way(self.plan.cameras.cam_from_world, settings.frames)
        self.exposure = draw_exposure(rng, self.options, 1)

    def __len__(self) -> int:
        return len(self.cam_from_world)

    def __getitem__(self, index: Any) -> Any:
        if not 0 <= index < len(self):
            raise IndexError(index)
        cameras = Cameras(self.cam_from_world[index, None], self.plan.cameras.K[:1])
        plan = self.plan._replace(cameras=cameras, exposure=replace(self.exposure, noise_seed=int(index)))
        image = generation._photos(plan, self.options, torch.device("cpu")).images[0, 0]
        return np.asarray((image.permute(1, 2, 0) * 255).round().to(torch.uint8).numpy())


def smooth_way(places: np.ndarray, n_frames: int) -> np.ndarray:
    """Poses on a spline through some places."""
    world_from_cam = np.linalg.inv(places)
    knots, at = np.arange(len(places)), np.linspace(0, len(places) - 1, n_frames)
    way = np.tile(np.eye(4), (n_frames, 1, 1))
    way[:, :3, :3] = RotationSpline(knots, Rotation.from_matrix(world_from_cam[:, :3, :3]))(at).as_matrix()
    way[:, :3, 3] = CubicSpline(knots, world_from_cam[:, :3, 3])(at)
    return np.linalg.inv(way)


def loaded(settings: Benchmark) -> tuple[Network, str]:
    try:
        return load_network(choose_weights(settings.model, settings.checkpoint)).network, "trained weights"
    except DependencyError:
        return build_model(settings.model, seed=settings.seed), "random weights"


def resident_mb() -> float:
    """Memory of this process now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 1e6


@contextmanager
def sampled_memory(peak: list[float], period_s: float = 0.02) -> Iterator[None]:
    """Keep the largest memory of this process while the block runs; what the video took before does not count."""
    stop = threading.Event()

    def sample() -> None:
        while not stop.wait(period_s):
            peak[0] = max(peak[0], resident_mb())

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def way_error(truth: np.ndarray, estimate: np.ndarray) -> float:
    """Root mean square error of the centres after a similarity, as a share of their spread."""
    distance, _ = absolute_errors(truth, estimate, align(truth, estimate))
    return float(np.sqrt((distance**2).mean()) / scene_scale(truth))


def streamed(settings: Benchmark, network: Network, video: Video) -> dict[str, Any]:
    seconds, memory, found = [], [], []
    with Stream(StreamOptions(size=settings.size, window=settings.window), network=network) as stream:
        for frame in video:
            start = time.perf_counter()
            one = stream.push(frame)
            seconds.append(time.perf_counter() - start)
            memory.append(resident_mb())
            found.append((one.cam_from_world, one.is_keyframe, one.tracked, one.segment))
    full = seconds[2 * settings.window :]
    peaks = {max(1, round(stop * len(video))): max(memory[: max(1, round(stop * len(video)))]) for stop in STOPS}
    second_half = np.polyfit(np.arange(len(memory) // 2), memory[-(len(memory) // 2) :], 1)[0]
    return {
        "seconds_per_frame": [statistics.median(full), min(full), max(full)],
        "peak_mb_after_frames": peaks,
        "growth_mb_per_100_frames": 100 * float(second_half),
        "keyframes": sum(row[1] for row in found),
        "tracked": sum(row[2] for row in found),
        "segments": found[-1][3] + 1,
        "way_error": way_error(video.cam_from_world, np.stack([row[0] for row in found])),
    }


def chunked(settings: Benchmark, network: Network, video: Video) -> dict[str, Any]:
    start, peak = time.perf_counter(), [0.0]
    options = SequenceOptions(chunk=settings.chunk, size=settings.size)
    with sampled_memory(peak), estimate_sequence(network, video, options) as found:
        return {
            "seconds_per_frame": (time.perf_counter() - start) / len(video),
            "peak_mb": peak[0],
            "chunks": int(found.chunk.max()) + 1,
            "loops": len(found.loops),
            "linked": int(found.linked.sum()),
            "way_error": way_error(video.cam_from_world, found.cam_from_world),
        }


def main(settings: Benchmark) -> None:
    torch.set_num_threads(settings.threads)
    network, weights = loaded(settings)
    video = Video(settings)
    result = {
        "machine": machine_card(["torch", "numpy"]),
        "network": f"{settings.model}, {weights}",
        "stream": streamed(settings, network, video),
        "chunks": chunked(settings, network, video),
    }
    if settings.json:
        sys.stdout.write(json.dumps(result, indent=1) + "\n")
        return
    stream, chunks = result["stream"], result["chunks"]
    peaks = ", ".join(f"{n}: {mb:.0f}" for n, mb in stream["peak_mb_after_frames"].items())
    lines = [
        str(result["machine"]),
        f"{result['network']}; {len(video)} frames of {settings.side} x {settings.side}, {settings.threads} thread(s)",
        "Stream: {:.3f} s per frame ({:.3f} - {:.3f})".format(*stream["seconds_per_frame"]),
        f"  peak MB after frames {peaks}; growth in the second half {stream['growth_mb_per_100_frames']:.2f} MB/100",
        f"  {stream['keyframes']} keyframes, {stream['tracked']} tracked, {stream['segments']} segments, "
        f"way off by {100 * stream['way_error']:.1f} % of its spread",
        f"Chunks of {settings.chunk}: {chunks['seconds_per_frame']:.3f} s per frame, rendering included; "
        f"peak {chunks['peak_mb']:.0f} MB",
        f"  {chunks['chunks']} chunks, {chunks['loops']} loops, {chunks['linked']} frames linked, "
        f"way off by {100 * chunks['way_error']:.1f} % of its spread",
    ]
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main(tyro.cli(Benchmark))

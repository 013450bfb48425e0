"""Seconds and memory of whole networks over the number of photos: dense attention against Lite3R, nothing else changed.

    python benchmarks/feedforward_scaling.py [--model da3-large vggt-1b] [--views 2 4 8] [--size 252]
        [--precision float32] [--linears as-is] [--keep 0.3] [--max-blocks N] [--runs 5] [--device cpu] [--json]

Neither depends on what the weights are, so they are random. Each case runs in a process of its own, so that no peak
hides another; the cases of one number of photos run one after the other. Seconds are the median of several runs with
the smallest and the largest, after one that warms up; ``CPU s`` are those of all threads together, which other work on
the machine changes little, and ``in attention`` is the part of them (on a GPU: of the seconds) that the attention
modules take, their linear layers included. Memory (Linux) is the peak of the whole process, on a GPU that of its
tensors, and ``growth`` what comes on top of the weights and of what libraries and compiled kernels take once, after a
first tiny photo. Exponents are slopes of log time, and of log growth, over log photos. Precision and the storage of
linear layers are the same on both sides.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measure import machine_card, measure
from torch import nn

from recon3d.core.kernels import threads
from recon3d.feedforward.inference import predict
from recon3d.feedforward.layers.attention import Attention
from recon3d.feedforward.lite3r.conversion import convert, store_linears
from recon3d.feedforward.lite3r.options import SparseOptions
from recon3d.feedforward.models import build_model

KINDS = ("dense", "Lite3R")


class Stopwatch:
    """Adds up the seconds that the attention modules of a network take."""

    def __init__(self, model: nn.Module, device: torch.device) -> None:
        self.seconds, self._start, self._device = 0.0, 0.0, device
        for module in model.modules():
            if isinstance(module, Attention):
                module.register_forward_pre_hook(self._begin)
                module.register_forward_hook(self._end)

    def _begin(self, *_: Any) -> None:
        self._start = worked(self._device)

    def _end(self, *_: Any) -> None:
        self.seconds += worked(self._device) - self._start


class Memory:
    """What comes on top of the memory in use when this was made: of the process, or of tensors on a GPU."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
            self._before = torch.cuda.memory_allocated(device)
        else:
            ctypes.CDLL(None).malloc_trim(0)  # memory that was freed but not given back would hide the peak
            Path("/proc/self/clear_refs").write_text("5")
            self._before = _status("VmRSS")

    def peak(self) -> int:
        """Most that was in use, in bytes."""
        return torch.cuda.max_memory_allocated(self._device) if self._device.type == "cuda" else _status("VmHWM")

    def grown(self) -> int:
        return self.peak() - self._before


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(name)).split()[1])


def now(device: torch.device) -> float:
    """Seconds, after everything that was begun has ended."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def worked(device: torch.device) -> float:
    """Seconds of work: of all threads, or of the GPU."""
    return now(device) if device.type == "cuda" else time.process_time()


def network(options: argparse.Namespace, kind: str, device: torch.device) -> nn.Module:
    """A network with random weights, converted where it is asked for."""
    model = build_model(options.model[0], seed=0, device=device)
    if kind == "Lite3R":
        convert(model, SparseOptions(keep=options.keep, max_blocks=options.max_blocks))
    return model if options.linears == "as-is" else store_linears(model, options.linears)


def one_case(options: argparse.Namespace) -> dict[str, Any]:
    """Measure one network on one number of photos in this process."""
    device, n_views = torch.device(options.device), options.views[0]
    model = network(options, options.kind, device).eval()
    weights = sum(one.nbytes for one in [*model.parameters(), *model.buffers()])
    predict(model, torch.rand(1, 3, 28, 28), precision=options.precision)  # loads and compiles what is needed once
    height, width = (14 * max(1, round(side / 14)) for side in (options.size * options.aspect, options.size))
    images = torch.rand(n_views, 3, height, width, generator=torch.Generator().manual_seed(0))
    watch, memory = Stopwatch(model, device), Memory(device)
    wall, cpu, attention = [], [], []
    for _ in range(options.runs + 1):
        watch.seconds, start, used = 0.0, now(device), time.process_time()
        predict(model, images, precision=options.precision)
        wall.append(now(device) - start)
        cpu.append(time.process_time() - used)
        attention.append(watch.seconds)
    timed = {"wall": wall[1:], "cpu": cpu[1:], "attention": attention[1:]}
    return timed | {"weights": weights, "beyond": memory.grown(), "peak": memory.peak()}


def in_a_process(options: argparse.Namespace, model: str, n_views: int, kind: str) -> dict[str, Any]:
    """Run one case in a process of its own."""
    words = [word for word in sys.argv[1:] if word != "--json"]
    command = [sys.executable, __file__, *words, "--model", model, "--views", str(n_views), "--kind", kind]
    taken = measure(command)
    if taken.exit_code:
        sys.stderr.write(f"{model}, {n_views} photos, {kind}: exit code {taken.exit_code}\n{taken.stderr[-1000:]}\n")
        return {"model": model, "views": n_views, "kind": kind, "failed": taken.exit_code}
    found = json.loads(taken.stdout)
    row = {"model": model, "views": n_views, "kind": kind, "runs": len(found["wall"])}
    row |= {"s": statistics.median(found["wall"]), "least": min(found["wall"]), "most": max(found["wall"])}
    row |= {name: statistics.median(found[name]) for name in ("cpu", "attention")}
    row |= {f"{name}_mb": found[name] / 1e6 for name in ("peak", "weights", "beyond")}
    sys.stderr.write(f"{model}, {n_views} photos, {kind}: {row['s']:.2f} s, {row['peak_mb']:.0f} MB\n")
    return row


def exponents(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Slopes of log time and log memory over log photos."""
    found = []
    for model, kind in dict.fromkeys((row["model"], row["kind"]) for row in rows):
        mine = [row for row in rows if (row["model"], row["kind"]) == (model, kind) and "s" in row]
        if len(mine) > 1:
            x = np.log([row["views"] for row in mine])
            slopes = {name: float(np.polyfit(x, np.log([row[name] for row in mine]), 1)[0]) for name in MEASURES}
            found.append({"model": model, "kind": kind, **slopes})
    return found


MEASURES = ("s", "cpu", "attention", "beyond_mb")


def report(result: dict[str, Any]) -> None:
    write = sys.stdout.write
    write(f"{result['machine']}\n{result['options']}\n\n")
    write("model | photos | attention | s | least | most | CPU s | in attention | peak MB | growth MB")
    write(" | times faster | in CPU s | times less memory | times less growth\n")
    for row in result["rows"]:
        head = f"{row['model']} | {row['views']} | {row['kind']} | "
        if "failed" in row:
            write(f"{head}failed, exit code {row['failed']}\n")
            continue
        numbers = [f"{row[name]:.2f}" for name in ("s", "least", "most", "cpu", "attention")]
        numbers += [f"{row[name]:.0f}" for name in ("peak_mb", "beyond_mb")]
        write(head + " | ".join([*numbers, *against_dense(row, result["rows"])]) + "\n")
    write("\nmodel | attention | exponent of s | of CPU s | of attention s | of growth\n")
    for one in result["exponents"]:
        write(f"{one['model']} | {one['kind']} | " + " | ".join(f"{one[name]:.2f}" for name in MEASURES) + "\n")


def against_dense(row: dict[str, Any], rows: list[dict[str, Any]]) -> Iterator[str]:
    """Ratios of the dense network to this one."""
    same = (one for one in rows if (one["model"], one["views"], one["kind"]) == (row["model"], row["views"], "dense"))
    dense = next(same, {})
    for name in ("s", "cpu", "peak_mb", "beyond_mb"):
        yield f"{dense[name] / row[name]:.2f}" if name in dense else "-"


@contextmanager
def limited(n_threads: int) -> Iterator[None]:
    torch.set_num_threads(n_threads)
    with threads(n_threads):
        yield


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--model", nargs="+", default=["da3-large", "vggt-1b"])
    parser.add_argument("--views", type=int, nargs="+", default=[2, 4, 8], help="numbers of photos")
    parser.add_argument("--size", type=int, default=252, help="width of the photos in pixels")
    parser.add_argument("--aspect", type=float, default=1.0, help="height over width")
    parser.add_argument("--precision", choices=["auto", "float32", "bfloat16"], default="float32")
    parser.add_argument("--linears", choices=["as-is", "auto", "int8", "bf16", "fp8"], default="as-is")
    parser.add_argument("--keep", type=float, default=0.3, help="share of the key blocks that Lite3R keeps")
    parser.add_argument("--max-blocks", type=int, help="most key blocks that Lite3R keeps")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--kind", choices=KINDS, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    options = parsed()
    if options.kind:
        with limited(options.threads):
            json.dump(one_case(options), sys.stdout)
        return
    cases = [(model, n, kind) for model in options.model for n in options.views for kind in options.kinds]
    rows = [in_a_process(options, *case) for case in cases]
    result = {"machine": machine_card(["torch", "numba"]), "options": vars(options), "rows": rows}
    result["exponents"] = exponents(rows)
    if options.json:
        json.dump(result, sys.stdout)
    else:
        report(result)


if __name__ == "__main__":
    main()

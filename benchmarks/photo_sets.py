"""Cameras of every photo set with known truth: recon3d beside plain pycolmap, quality and cost from the same runs.

    python benchmarks/photo_sets.py                         # all sets below RECON3D_DATASETS/photos
    python benchmarks/photo_sets.py --sets fountain_p11 --repeats 5 --subsets

A set is a folder with images/ and gt/cameras.json. The errors are those of docs/evaluation.md.
"""

from __future__ import annotations

import json
import math
import os
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from measure import Measured, machine_card, measure

from recon3d.apps.cli.models import read_estimate
from recon3d.core.budget import cpu_count
from recon3d.core.errors import InputError
from recon3d.evaluation import Estimate, Truth, evaluate_cameras, read_subsets, read_truth

HERE = Path(__file__).resolve().parent
DATASETS = Path(os.environ.get("RECON3D_DATASETS", HERE.parents[1] / "shared" / "datasets"))
PHOTO_SUFFIXES = {".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp"}
TOOLS = ("recon3d", "incremental", "global")


@dataclass(frozen=True)
class Benchmark:
    """Measure recon3d and plain pycolmap on photo sets with known cameras.

    Args:
        sets: names of sets; without any, all that are found.
        tools: recon3d, incremental, global (the last two are plain pycolmap).
        subsets: run every subset of gt/subsets.json as well.
        only_subsets: run the subsets and not the whole sets.
        known_k: give the true intrinsics to every tool, on the sets whose photos share them.
        repeats: runs of each; the table shows the median and, in brackets, the smallest and the largest value.
        keep: keep all output below this folder.
        json: print JSON instead of a table.
        data: folder with the sets.
    """

    sets: tuple[str, ...] = ()
    tools: tuple[str, ...] = TOOLS
    subsets: bool = False
    only_subsets: bool = False
    known_k: bool = False
    repeats: int = 1
    keep: Path | None = None
    json: bool = False
    data: Path = DATASETS / "photos"


@dataclass(frozen=True)
class Case:
    """One set or subset: its photos and its truth."""

    name: str
    photos: tuple[Path, ...]
    truth: Truth


def find_cases(options: Benchmark) -> Iterator[Case]:
    """Yield the sets and subsets to run."""
    for path in sorted(options.data.glob("*/gt/cameras.json")):
        folder = path.parents[1]
        if options.sets and folder.name not in options.sets:
            continue
        truth = read_truth(path)
        if not options.only_subsets:
            found = sorted(file for file in (folder / "images").iterdir() if file.suffix.lower() in PHOTO_SUFFIXES)
            yield Case(folder.name, tuple(found), truth)
        subsets = path.parent / "subsets.json"
        if (options.subsets or options.only_subsets) and subsets.exists():
            for name, photos in read_subsets(subsets).items():
                files = tuple(folder / "images" / photo for photo in photos)
                yield Case(f"{folder.name}/{name}", files, truth.restricted(photos, name))


def calibration_of(truth: Truth) -> str | None:
    """Return fx,fy,cx,cy where all photos share intrinsics without distortion."""
    lenses = np.column_stack([truth.cameras.K.reshape(-1, 9), truth.cameras.width, truth.cameras.height])
    bent = truth.cameras.distortion is not None and truth.cameras.distortion.any()
    if len(lenses) == 0 or bent or (lenses != lenses[0]).any():
        return None
    return ",".join(repr(float(value)) for value in lenses[0][[0, 4, 2, 5]])


def command_of(tool: str, case: Case, out: Path, calibration: str | None, seed: int) -> tuple[list[str], Path]:
    """Return the command line of a tool and where its model will lie."""
    photos = [str(photo) for photo in case.photos]
    if tool == "recon3d":
        known = [] if calibration is None else ["--sfm.calibration", calibration]
        head = [sys.executable, "-m", "recon3d", "reconstruct", *photos]
        return [*head, "--out", str(out), "--sfm.seed", str(seed), "--json", *known], out
    known = [] if calibration is None else ["--calibration", calibration]
    head = [sys.executable, str(HERE / "plain_pycolmap.py"), *photos, "--out", str(out), "--mapper", tool]
    return [*head, "--seed", str(seed), "--threads", str(cpu_count()), *known], out / "model"


def run(tool: str, case: Case, out: Path, calibration: str | None, seed: int) -> dict[str, Any]:
    """Run a tool once, and return its cost, its exit code and its errors."""
    command, model = command_of(tool, case, out, calibration, seed)
    measured = measure(command)
    errors = evaluate_cameras(case.truth, estimate_of(model)).to_json()
    value: dict[str, Any] = {"set": case.name, "tool": tool, "seed": seed, "exit_code": measured.exit_code}
    value |= {"wall_s": measured.wall_s, "cpu_s": measured.cpu_s, "peak_mb": measured.peak_mb}
    return {**value, "reason": reason_of(measured), "errors": errors}


def estimate_of(model: Path) -> Estimate:
    """Return the cameras that a run left behind, none where it was refused."""
    try:
        return read_estimate(model)
    except InputError:
        return Estimate.empty()


def reason_of(measured: Measured) -> str:
    """Return the last line of the log of a run that did not end well."""
    lines = measured.stderr.strip().splitlines()
    return lines[-1] if measured.exit_code and lines else ""


def run_all(options: Benchmark, root: Path) -> Iterator[list[dict[str, Any]]]:
    """Yield the repeated runs of each tool on each case."""
    for case in find_cases(options):
        calibration = calibration_of(case.truth) if options.known_k else None
        if options.known_k and calibration is None:
            continue
        for tool in options.tools:
            out = root / case.name.replace("/", "_")
            yield [run(tool, case, out / f"{tool}_{seed}", calibration, seed) for seed in range(options.repeats)]


def spread(runs: Sequence[dict[str, Any]], value: Callable[[dict[str, Any]], float | None], digits: int) -> str:
    """Return the median and, of several runs, the range; a dash where there is no number."""
    numbers = [number for number in (value(one) for one in runs) if number is not None and math.isfinite(number)]
    if not numbers:
        return "-"
    median = f"{statistics.median(numbers):.{digits}f}"
    return median if len(numbers) == 1 else f"{median} [{min(numbers):.{digits}f}, {max(numbers):.{digits}f}]"


def nested(*path: str) -> Callable[[dict[str, Any]], float | None]:
    """Return a getter of a nested number; None where a level is missing."""

    def get(one: dict[str, Any]) -> float | None:
        value: Any = one
        for name in path:
            value = None if value is None else value.get(name)
        return None if value is None else float(value)

    return get


def ate(one: dict[str, Any]) -> float | None:
    """Return the position RMSE in millimetres, None for sets whose unit is not the metre."""
    value = nested("errors", "absolute", "ate")(one)
    metric = one["errors"]["unit"] in ("metre", "meter", "m")
    return 1000 * value if metric and value is not None else None


COLUMNS: dict[str, tuple[Callable[[dict[str, Any]], float | None], int]] = {
    "ATE mm": (ate, 2),
    "ATE % S": (nested("errors", "absolute", "center_percent", "rmse"), 3),
    "rotation deg": (nested("errors", "absolute", "rotation_deg", "median"), 3),
    "AUC@3": (nested("errors", "auc", "3"), 1),
    "AUC@5": (nested("errors", "auc", "5"), 1),
    "AUC@10": (nested("errors", "auc", "10"), 1),
    "focal %": (nested("errors", "intrinsics", "focal_percent"), 2),
    "CPU s": (nested("cpu_s"), 1),
    "wall s": (nested("wall_s"), 1),
    "peak MB": (nested("peak_mb"), 0),
}


def table_row(runs: Sequence[dict[str, Any]]) -> list[str]:
    """Return the cells of one tool on one set."""
    first = runs[0]["errors"]
    false = max(len(one["errors"]["outliers_registered"]) for one in runs)
    placed = spread(runs, nested("errors", "n_registered"), 0) + f" of {first['n_photos']}"
    exits = " ".join(sorted({str(one["exit_code"]) for one in runs}))
    name = f"{runs[0]['set']} (to be refused)" if first["expected_refusal"] else runs[0]["set"]
    numbers = [spread(runs, getter, digits) for getter, digits in COLUMNS.values()]
    tool = runs[0]["tool"]
    peer = tool if tool == "recon3d" else f"pycolmap {tool}"
    return [name, peer, placed + (f", {false} FALSE" if false else ""), *numbers, exits]


def main(options: Benchmark) -> int:
    """Run everything and print a table as it grows, or JSON at the end."""
    card = machine_card(("recon3d", "pycolmap", "numpy", "torch"))
    results: list[list[dict[str, Any]]] = []
    if not options.json:
        header = ["set", "tool", "registered", *COLUMNS, "exit"]
        sys.stdout.write(f"{card}; {options.repeats} run(s) each{', known intrinsics' if options.known_k else ''}\n\n")
        sys.stdout.write(f"| {' | '.join(header)} |\n|{'---|' * len(header)}\n")
    with tempfile.TemporaryDirectory(prefix="photo_sets_") as temporary:
        for runs in run_all(options, options.keep or Path(temporary)):
            results.append(runs)
            if not options.json:
                sys.stdout.write(f"| {' | '.join(table_row(runs))} |\n")
                sys.stdout.flush()
    if options.json:
        sys.stdout.write(
            json.dumps({"machine": card, "runs": [one for runs in results for one in runs]}, indent=1) + "\n"
        )
    for one in (one for runs in results for one in runs if one["reason"]):
        sys.stderr.write(f"{one['set']} {one['tool']} seed {one['seed']}: exit {one['exit_code']}: {one['reason']}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Benchmark, config=(tyro.conf.FlagCreatePairsOff,))))

"""Sparse linear attention against dense attention on the CPU: seconds, memory, growth and what is lost.

    python benchmarks/sparse_linear_attention.py [--tokens 1024 2048 4096 8192 16384] [--heads 4] [--runs 5]

Each figure is the median of several runs with the smallest and the largest, cases in turn, in CPU seconds of the one
thread that works, so that a busy machine matters less. Memory is the peak beyond the inputs. The floor is the time of
the two matrix products of the kept blocks at the rate of the register tile in this run. Exponents are slopes of log
time over log tokens. Tokens lie on a smooth curve, so that they attend to their like, as tokens of photos do: what
the kept blocks cover (``kept``) and how far the softmax branch is from dense attention (``error``, relative L2) tell
whether the right blocks are chosen; how much a network loses is a matter of its own.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, no_type_check

import numpy as np
import torch
from measure import machine_card
from numba import njit
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from recon3d.core.kernels import threads
from recon3d.feedforward.lite3r.block_sparse import block_sparse_attention
from recon3d.feedforward.lite3r.blocks import Blocks, choose_blocks
from recon3d.feedforward.lite3r.branches import branches
from recon3d.feedforward.lite3r.options import SparseOptions
from recon3d.feedforward.lite3r.simd import multiply

SIZE, DIM = 64, 64
Case = Callable[[], Any]


def tokens(n: int, n_heads: int) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values of tokens along a smooth curve, with some noise."""
    generator = torch.Generator().manual_seed(0)
    speed = torch.randn(n_heads, 1, DIM, generator=generator) * 40.0
    phase = torch.rand(n_heads, 1, DIM, generator=generator) * 6.3
    curve = torch.cos(torch.linspace(0, 1, n)[:, None] * speed + phase)
    q, k, v = (curve + 0.3 * torch.randn(n_heads, n, DIM, generator=generator) for _ in range(3))
    return q[None], k[None], v[None]


def with_gradients(case: Callable[..., Tensor], inputs: tuple[Tensor, ...]) -> Case:
    leaves = [one.clone().requires_grad_() for one in inputs]
    return lambda: torch.autograd.grad(case(*leaves).sum(), leaves)


def cases(n: int, options: argparse.Namespace) -> dict[str, Case]:
    """What is measured at one length."""
    q, k, v = inputs = tokens(n, options.heads)
    share, fixed = SparseOptions(keep=options.keep), SparseOptions(keep=options.keep, max_blocks=options.blocks)
    n_blocks = Blocks(n, SIZE).count
    everything = torch.arange(n_blocks).expand(1, options.heads, n_blocks, n_blocks)
    chosen = choose_blocks(q, k, SIZE, share.kept_blocks(n_blocks))
    both = {
        "dense, torch SDPA": lambda q, k, v: scaled_dot_product_attention(q, k, v),
        f"keep {options.keep}, softmax branch": lambda q, k, v: block_sparse_attention(q, k, v, chosen, size=SIZE),
    }
    return {
        "dense, torch SDPA": lambda: scaled_dot_product_attention(q, k, v),
        "dense, all blocks kept": lambda: block_sparse_attention(q, k, v, everything, size=SIZE),
        f"keep {options.keep}, whole": lambda: branches(q, k, v, share, projection=torch.eye(DIM)),
        f"keep {options.keep}, softmax branch": lambda: block_sparse_attention(q, k, v, chosen, size=SIZE),
        f"keep {options.keep}, gathered in torch": lambda: block_sparse_attention(
            q, k, v, chosen, size=SIZE, backend="torch"
        ),
        f"{options.blocks} blocks, whole": lambda: branches(q, k, v, fixed, projection=torch.eye(DIM)),
    } | {f"{name}, with gradients": with_gradients(case, inputs) for name, case in both.items()}


def n_kept(name: str, n: int, options: argparse.Namespace) -> int:
    """Key blocks of a query block in a case."""
    n_blocks = Blocks(n, SIZE).count
    if name.startswith("dense"):
        return n_blocks
    return SparseOptions(keep=options.keep, max_blocks=None if "keep" in name else options.blocks).kept_blocks(n_blocks)


def lost(n: int, options: argparse.Namespace) -> dict[str, float]:
    """What the kept blocks miss of dense attention."""
    q, k, v = tokens(n, options.heads)
    kept = choose_blocks(q, k, SIZE, n_kept("keep", n, options))
    dense = scaled_dot_product_attention(q, k, v)
    sparse = block_sparse_attention(q, k, v, kept, size=SIZE)
    first = (q[:, :, :SIZE] @ k.mT * DIM**-0.5).softmax(-1)  # a sample: the first block of queries
    covered = first.unflatten(-1, (-1, SIZE)).sum(-1).gather(-1, kept[:, :, :1].expand(-1, -1, SIZE, -1)).sum(-1)
    return {"error": float((sparse - dense).norm() / dense.norm()), "kept": float(covered.mean())}


@njit
@no_type_check
def _products(a, b, c, n):
    for _ in range(n):
        multiply(a, b, c, SIZE, SIZE, DIM)


def flops_per_second() -> float:
    """Rate of the register tile on numbers in the first-level cache."""
    a, b, c = (np.full(SIZE * DIM, 0.5, np.float32) for _ in range(3))
    _products(a, b, c, 1)
    return 2.0 * SIZE * SIZE * DIM * 2000 / min(seconds(lambda: _products(a, b, c, 2000)) for _ in range(15))


def seconds(case: Case) -> float:
    start = time.process_time()
    case()
    return time.process_time() - start


def peak_mb(case: Case) -> float:
    """Peak of resident memory during a run beyond what was resident before, in 10^6 bytes (Linux)."""
    ctypes.CDLL(None).malloc_trim(0)  # memory that was freed but not given back would hide the peak
    Path("/proc/self/clear_refs").write_text("5")
    before = _status("VmRSS")
    case()
    return (_status("VmHWM") - before) / 1e6


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(name)).split()[1])


def measure_length(n: int, options: argparse.Namespace, rate: float) -> list[dict[str, Any]]:
    found = {name: one for name, one in cases(n, options).items() if "gradients" not in name or n <= options.longest}
    times: dict[str, list[float]] = {name: [] for name in found}
    for run in range(options.runs + 1):
        for name, case in found.items():
            taken = seconds(case)
            if run:
                times[name].append(taken)
    rows = []
    for name, case in found.items():
        ms = [1e3 * one for one in times[name]]
        floor = 4e3 * n * n_kept(name, n, options) * SIZE * DIM * options.heads / rate
        spread = {"ms": statistics.median(ms), "least": min(ms), "most": max(ms), "floor": floor}
        rows.append({"case": name, "tokens": n, **spread, "MB": peak_mb(case)})
        sys.stderr.write(f"{n} tokens, {name}: {spread['ms']:.1f} ms, floor {floor:.1f} ms\n")
    return rows


def exponents(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Slopes of log time over log tokens."""
    found = {}
    for name in dict.fromkeys(row["case"] for row in rows):
        mine = [(row["tokens"], row["ms"]) for row in rows if row["case"] == name]
        if len(mine) > 1:
            found[name] = float(np.polyfit(*np.log(np.array(mine)).T, 1)[0])
    return found


def report(result: dict[str, Any]) -> None:
    write = sys.stdout.write
    write(f"{result['machine']}\nregister tile: {result['gflops']:.0f} GFLOP/s\n\n")
    write("tokens | case | ms | least | most | floor | times SDPA | MB\n")
    for row in result["rows"]:
        sdpa = "dense, torch SDPA" + (", with gradients" if "gradients" in row["case"] else "")
        base = [one["ms"] for one in result["rows"] if one["tokens"] == row["tokens"] and one["case"] == sdpa]
        speed = f"{base[0] / row['ms']:.2f}" if base else "-"
        numbers = " | ".join(f"{row[name]:.1f}" for name in ("ms", "least", "most", "floor"))
        write(f"{row['tokens']} | {row['case']} | {numbers} | {speed} | {row['MB']:.0f}\n")
    write("\ncase | exponent\n" + "".join(f"{name} | {one:.2f}\n" for name, one in result["exponents"].items()))
    write("\ntokens | error | kept\n")
    write("".join(f"{n} | {one['error']:.3f} | {one['kept']:.3f}\n" for n, one in result["lost"].items()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--tokens", type=int, nargs="+", default=[1024, 2048, 4096, 8192, 16384])
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--keep", type=float, default=0.3)
    parser.add_argument("--blocks", type=int, default=16, help="most kept blocks in the case with a fixed number")
    parser.add_argument("--longest", type=int, default=8192, help="longest sequence with gradients, in tokens")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with threads(1):
        rate = flops_per_second()
        rows = [row for n in options.tokens for row in measure_length(n, options, rate)]
        missed = {n: lost(n, options) for n in options.tokens}
    result = {"machine": machine_card(["torch", "numba"]), "gflops": rate / 1e9, "rows": rows}
    result |= {"exponents": exponents(rows), "lost": missed}
    if options.json:
        json.dump(result, sys.stdout)
    else:
        report(result)


if __name__ == "__main__":
    main()

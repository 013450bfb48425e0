from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import no_type_check

import numpy as np
import pytest

from recon3d.core.errors import UsageError
from recon3d.core.kernels import kernel, run_chunks, thread_count, threads

ROOT = Path(__file__).resolve().parents[2]


@kernel
@no_type_check
def sum_range(values, start, end):
    total = np.float32(0)
    for i in range(start, end):
        total += values[i]
    return total


@kernel(order="written")
@no_type_check
def lost_digits(a, b):
    return (a + b) - a


def test_chunks_run_once_each_on_any_number_of_threads() -> None:
    values = np.random.default_rng(0).random(10_007, np.float32)
    sums = []
    for n_threads in (1, 2, 5):
        out = np.zeros(23, np.float32)

        def work(chunk: int, out: np.ndarray = out) -> None:
            out[chunk] = sum_range(values, chunk * 435, min(len(values), (chunk + 1) * 435))

        with threads(n_threads):
            run_chunks(work, len(out))
        sums.append(out)
    assert (sums[0] == sums[1]).all() and (sums[0] == sums[2]).all()
    assert sums[0].sum() == pytest.approx(values.astype(np.float64)[: 23 * 435].sum(), rel=1e-5)


def test_an_exact_kernel_keeps_the_order() -> None:
    assert lost_digits(np.float64(1e16), np.float64(1.0)) == 0.0


@pytest.mark.parametrize("n_threads", [1, 3])
def test_an_error_in_a_chunk_comes_out(n_threads: int) -> None:
    def work(chunk: int) -> None:
        if chunk == 4:
            raise ValueError("chunk 4")

    with threads(n_threads), pytest.raises(ValueError, match="chunk 4"):
        run_chunks(work, 8)


def test_the_number_of_threads_belongs_to_a_block_and_a_thread() -> None:
    seen = []
    with threads(3):
        other = threading.Thread(target=lambda: seen.append(thread_count()))
        other.start()
        other.join()
        assert thread_count() == 3
        with threads(None):
            assert thread_count() == seen[0] >= 1
        assert thread_count() == 3
    with pytest.raises(UsageError, match="positive; got: 0"), threads(0):
        pass


def test_no_chunks_are_no_work() -> None:
    run_chunks(lambda _: pytest.fail("called"), 0)


def test_chunks_within_chunks_do_not_wait_for_each_other() -> None:
    done = np.zeros((6, 6), np.int64)

    def outer(i: int) -> None:
        run_chunks(lambda j: done.__setitem__((i, j), done[i, j] + 1), 6)

    with threads(2):
        run_chunks(outer, 6)
    assert (done == 1).all()


def test_a_change_in_a_kernel_that_is_called_compiles_its_callers_anew(tmp_path: Path) -> None:
    """The callee lies in another module, so Numba itself would run its old code from the disk."""
    package = tmp_path / "recon3d"
    shutil.copytree(ROOT / "recon3d" / "core", package / "core", ignore=shutil.ignore_patterns("__pycache__"))
    (package / "__init__.py").write_text("")
    head = "from recon3d.core.kernels import kernel\n"
    (package / "outer.py").write_text(
        f"{head}from recon3d.inner import inner\n\n@kernel\ndef outer(x):\n    return inner(x) + 1\n"
    )
    results = []
    for factor in (2, 2, 3):
        (package / "inner.py").write_text(f"{head}\n@kernel\ndef inner(x):\n    return {factor} * x\n")
        code = "from recon3d.outer import outer; print(outer(10), sum(outer.stats.cache_hits.values()))"
        environment = {**os.environ, "PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
        command = [sys.executable, "-c", code]
        ran = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
        results.append(ran.stdout.split())
    assert results == [["21", "0"], ["21", "1"], ["31", "0"]]

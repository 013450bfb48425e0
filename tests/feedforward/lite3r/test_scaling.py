"""Memory and work of the block-sparse path grow linearly with the tokens when the number of kept blocks is fixed."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from recon3d.core.kernels import threads
from recon3d.feedforward.layers.rope import grid_positions, rope_2d
from recon3d.feedforward.lite3r import attention as sparse, gathered
from recon3d.feedforward.lite3r.attention import SparseLinearAttention
from recon3d.feedforward.lite3r.blocks import Blocks
from recon3d.feedforward.lite3r.branches import branches
from recon3d.feedforward.lite3r.options import Backend, Mode, SparseOptions

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="the peak of memory is read from /proc")
SIZE, DIM = 16, 16


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    with threads(1):
        yield


def heads(n: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(1, 1, n, DIM, generator=generator) for _ in range(3)]


def status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(name)).split()[1])


def peak_bytes(case: Callable[[], object]) -> int:
    """Peak of resident memory during a call beyond what was resident before."""
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    before = status("VmRSS")
    case()
    return status("VmHWM") - before


@linux_only
@pytest.mark.parametrize("backend", ["numba", "torch"])
def test_memory_is_far_below_a_matrix_of_scores(backend: Backend) -> None:
    n = 32768
    q, k, v = heads(n)
    options = SparseOptions(block_size=64, max_blocks=2, backend=backend)
    branches(*heads(256), options)  # what is compiled or loaded once does not count
    assert peak_bytes(lambda: branches(q, k, v, options)) < 20 * q.nbytes + 8e6  # scores would take 4 GB


def test_gathered_chunks_hold_a_bounded_number_of_scores() -> None:
    for n, kept in ((200, 2), (2000, 2), (2000, 100)):
        q, k, v = (x[0] for x in heads(n))
        rows = torch.arange(kept).expand(1, Blocks(n, SIZE).count, kept)
        job = gathered.Gathered.of(q, k, v, rows, SIZE)
        chunks = list(job.chunks())
        sizes = [len(job.rows[at]) * SIZE * kept * SIZE for at in chunks]
        assert max(sizes) <= max(gathered._SCORES_AT_ONCE["cpu"], SIZE * kept * SIZE)
        assert sum(len(job.rows[at]) for at in chunks) == len(job.rows)


@pytest.mark.parametrize("limit", [1, 2**10, 2**30])
def test_the_size_of_the_chunks_changes_nothing_but_rounding(monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    q, k, v = heads(150)
    options = SparseOptions(block_size=SIZE, keep=0.5, backend="torch")
    before = branches(q, k, v, options).sparse
    monkeypatch.setitem(gathered._SCORES_AT_ONCE, "cpu", limit)
    torch.testing.assert_close(branches(q, k, v, options).sparse, before, rtol=0, atol=1e-6)


@pytest.mark.parametrize("limit", [1, 2**10, 2**30])
def test_the_size_of_the_chunks_does_not_change_gradients(monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    options = SparseOptions(block_size=SIZE, keep=0.5, backend="torch")

    def grads() -> tuple[Tensor, ...]:
        leaves = [x.requires_grad_() for x in heads(70)]
        return torch.autograd.grad(branches(*leaves, options).sparse.square().sum(), leaves)

    before = grads()
    monkeypatch.setitem(gathered._SCORES_AT_ONCE, "cpu", limit)
    for one, other in zip(grads(), before, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_a_fixed_number_of_blocks_is_kept_however_long_the_sequence() -> None:
    options = SparseOptions(keep=0.5, max_blocks=6)
    assert [options.kept_blocks(n) for n in (2, 8, 12, 100, 10_000)] == [1, 4, 6, 6, 6]


def attention(n_heads: int = 6, mode: Mode = "block") -> SparseLinearAttention:
    torch.manual_seed(0)
    module = SparseLinearAttention(
        n_heads * 16, n_heads, qk_norm=True, options=SparseOptions(mode=mode, block_size=SIZE)
    )
    torch.nn.init.normal_(module.proj_lin.weight)
    return module.eval()


@pytest.mark.parametrize("mode", ["block", "topk", "threeway", "dense_plus_linear", "linear_only"])
@pytest.mark.parametrize("at_once", [1, 4, 6])
def test_heads_in_groups_are_the_heads_together(monkeypatch: pytest.MonkeyPatch, mode: Mode, at_once: int) -> None:
    module, x = attention(mode=mode), torch.randn(2, 50, 96, generator=torch.Generator().manual_seed(1))
    rope = rope_2d(grid_positions(7, 7, n_special=1), 16)
    with torch.no_grad():
        for turns in (None, rope):
            whole = module(x, turns)
            with monkeypatch.context() as patch:
                patch.setitem(sparse._NUMBERS_AT_ONCE, "cpu", 1)
                patch.setattr(sparse, "_LEAST_HEADS", at_once)
                torch.testing.assert_close(module(x, turns), whole, rtol=1e-5, atol=1e-5)


def test_heads_in_groups_under_autocast(monkeypatch: pytest.MonkeyPatch) -> None:
    module, x = attention(), torch.randn(2, 50, 96, generator=torch.Generator().manual_seed(1))
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        whole = module(x)
        monkeypatch.setitem(sparse._NUMBERS_AT_ONCE, "cpu", 1)
        monkeypatch.setattr(sparse, "_LEAST_HEADS", 1)
        assert module(x).dtype == whole.dtype == torch.bfloat16
        torch.testing.assert_close(module(x), whole, rtol=2e-2, atol=2e-2)


def test_with_gradients_the_heads_stay_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sparse._NUMBERS_AT_ONCE, "cpu", 1)
    monkeypatch.setattr(sparse, "_LEAST_HEADS", 1)
    module, calls = attention(), []
    monkeypatch.setattr(
        sparse, "branches", lambda *args, **more: calls.append(args[0].shape[1]) or branches(*args, **more)
    )
    x = torch.randn(1, 20, 96)
    module(x).sum().backward()
    with torch.no_grad():
        module(x)
    assert calls == [6, *[1] * 6]


@linux_only
def test_a_module_takes_few_copies_of_its_tokens() -> None:
    """Queries, keys and values are three, the result is one; what a group of heads needs is a part of one each."""
    n = 8192
    module = SparseLinearAttention(512, 8, qk_norm=True, options=SparseOptions(max_blocks=2)).eval()
    x = torch.randn(1, n, 512, generator=torch.Generator().manual_seed(0))
    rope = rope_2d(torch.zeros(n, 2, dtype=torch.int64), 64)
    with torch.inference_mode():
        module(x[:, :200])
        assert peak_bytes(lambda: module(x, rope)) < 12 * x.nbytes

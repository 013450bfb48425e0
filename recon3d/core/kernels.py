"""Numba kernels: how they are compiled, and how the chunks of one job spread over threads."""

from __future__ import annotations

import hashlib
import itertools
import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, Literal, TypeVar, cast, overload

from numba import njit

from recon3d.core.budget import cpu_count
from recon3d.core.errors import UsageError

F = TypeVar("F", bound=Callable[..., Any])
Order = Literal["free", "fused", "written"]

# What may happen to the operations of a kernel. NaN and infinity keep their meaning in all of them.
_ORDERS: dict[Order, Any] = {
    "free": {"reassoc", "contract", "arcp", "nsz", "afn"},  # sums over vector units need this
    "fused": {"contract", "nsz"},
    "written": False,
}
_local = threading.local()
_ROOT = Path(__file__).resolve().parents[2]
_IMPORTS = re.compile(rb"^(?:from|import) (recon3d(?:\.\w+)+)", re.MULTILINE)


@overload
def kernel(function: F) -> F: ...
@overload
def kernel(*, order: Order = "free", inline: bool = False, lean: bool = False) -> Callable[[F], F]: ...
def kernel(function: F | None = None, *, order: Order = "free", inline: bool = False, lean: bool = False) -> Any:
    """Compile a function at its first call, without the interpreter lock, and keep the machine code on disk.

    The order of operations is fixed by the code and the machine, never by the number of threads. Below the decorator
    stands ``@no_type_check``, since Numba cannot compile the wrapper of a type checker.

    Args:
        function: the function, where the decorator is written without options.
        order: of the operations: ``free``, sums may be evaluated in another one than written; ``fused``, only a product
            and a sum may become one operation; ``written``, each for itself, as a comparison with an oracle needs it.
        inline: compile into every kernel that calls it.
        lean: without reference counts, for what is called for every pixel and hypothesis. The counts of its array
            arguments, atomic operations that Numba cannot remove from functions with branches, would take as long as
            the arithmetic; the caller holds them. Such a function must not create arrays.
    """

    def compile_it(body: F) -> F:
        options: dict[str, Any] = {"nogil": True, "cache": True, "error_model": "numpy", "fastmath": _ORDERS[order]}
        options |= ({"forceinline": True} if inline else {}) | ({"_nrt": False} if lean else {})
        compiled: Any = njit(**options)(body)
        _renew_with_sources(compiled, Path(body.__code__.co_filename))
        return cast(F, compiled)

    return compile_it if function is None else compile_it(function)


def _renew_with_sources(compiled: Any, path: Path) -> None:
    """Let machine code on disk count only while every module that it is made of is the same.

    Numba looks at the module of the kernel alone, but the kernels that it calls are compiled into it: without this, an
    update of the package would keep running the old ones.
    """
    file = getattr(getattr(compiled, "_cache", None), "_cache_file", None)
    if file is not None:
        file._source_stamp = (file._source_stamp, _digest(path))


@cache
def _digest(path: Path) -> str:
    """Return the hash of a module and of those with kernels that it imports."""
    found: dict[Path, bytes] = {}
    waiting = [path]
    while waiting:
        module = waiting.pop()
        source = _source(module)
        if module in found or (module not in (path, Path(__file__)) and b"core.kernels" not in source):
            continue
        found[module] = source
        waiting += [_ROOT.joinpath(*name.decode().split(".")).with_suffix(".py") for name in _IMPORTS.findall(source)]
    return hashlib.sha256(b"\0".join(found[module] for module in sorted(found))).hexdigest()


@cache
def _source(path: Path) -> bytes:
    return path.read_bytes() if path.is_file() else b""


def thread_count() -> int:
    """Return how many threads the kernels of this thread of execution use; the cores unless :func:`threads` says so."""
    chosen: int | None = getattr(_local, "n_threads", None)
    return cpu_count() if chosen is None else chosen


@contextmanager
def threads(n_threads: int | None) -> Iterator[None]:
    """Let the kernels below this block use ``n_threads`` threads; None = the cores. No bit of a result depends on it.

    Raises:
        UsageError: the number is not positive.
    """
    if n_threads is not None and n_threads < 1:
        raise UsageError("the number of threads must be positive", got=n_threads)
    before = getattr(_local, "n_threads", None)
    _local.n_threads = n_threads
    try:
        yield
    finally:
        _local.n_threads = before


def run_chunks(work: Callable[[int], object], n_chunks: int) -> None:
    """Call ``work(0) ... work(n_chunks - 1)``, spread over :func:`thread_count` threads.

    Chunks start in order, and each is run once. They must not depend on each other, and what they compute must not
    depend on how many there are at once; so the same chunks give the same bits on any number of threads.

    Args:
        work: computes one chunk; it spends its time in kernels, which release the interpreter lock.
        n_chunks: how many there are; a few per thread balance the load.
    """
    n_threads = min(thread_count(), n_chunks)
    if n_threads <= 1:
        for chunk in range(n_chunks):
            work(chunk)
        return
    counter = itertools.count()  # next() is atomic

    def drain() -> None:
        while (chunk := next(counter)) < n_chunks:
            work(chunk)

    others = [_pool(n_threads - 1).submit(drain) for _ in range(n_threads - 1)]
    try:
        drain()
    finally:
        failures = [other.exception() for other in others]
    for failure in failures:
        if failure is not None:
            raise failure


@lru_cache(maxsize=4)
def _pool(n_threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(n_threads, thread_name_prefix="recon3d", initializer=_stay_alone)


def _stay_alone() -> None:
    """Keep a chunk that starts chunks of its own from waiting for the pool that it runs in."""
    _local.n_threads = 1

"""The inner loops of sparse convolution as LLVM vector code: tiles of rows that are gathered and scattered in place.

A matrix library needs the rows of each kernel offset copied together before a product, and its result added back. The
tiles here read the rows where they are and keep their sums in vector registers. Numba has no type for a vector
register, so the loops are written in LLVM's language; they work for any processor, and the tile fits the registers of
this one. Below ``recon3d.core.kernels`` they are compiled into the kernels that call them.

What that is worth, 3x3x3 on 100,000 voxels of a surface, CPU milliseconds on one core of an EPYC 9005:

=================================  ========  ========
way                                32 to 32  96 to 96
=================================  ========  ========
tiles                                  17.5       119
torch, index_select and mm (MKL)        114       468
the same product by oneDNN               97       343
Numba without tiles                     125       627
=================================  ========  ========
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from llvmlite.binding import get_host_cpu_features  # type: ignore[import-untyped]
from numba import types
from numba.extending import intrinsic

GROUP = 8  # rows of a tile on any machine: lists of rows are padded to a multiple of it
_WIDE = bool(get_host_cpu_features().get("avx512f", False))
VECTOR_BYTES = 64 if _WIDE else 32
N_VECTORS = 2
_TILE_ROWS = 8 if _WIDE else 4
_I32, _I64 = ir.IntType(32), ir.IntType(64)


def panel_columns(item_bytes: int) -> int:
    """Return how many columns of an output one tile computes, for numbers of so many bytes."""
    return N_VECTORS * VECTOR_BYTES // item_bytes


def _scalar(dtype: Any) -> tuple[ir.Type, int]:
    return (ir.FloatType(), 4) if dtype == types.float32 else (ir.DoubleType(), 8)


class _Writer:
    """Emits loads, sums and stores for one element type.

    Args:
        builder: where to write.
        dtype: Numba's element type.
    """

    def __init__(self, builder: ir.IRBuilder, dtype: Any) -> None:
        self.builder = builder
        self.scalar, self.item = _scalar(dtype)
        lanes = VECTOR_BYTES // self.item
        self.vector = ir.VectorType(self.scalar, lanes)
        self.zero = ir.Constant(self.vector, [0.0] * lanes)
        self._splat = ir.Constant(ir.VectorType(_I32, lanes), [0] * lanes)
        name = f"llvm.fma.v{lanes}{'f32' if self.item == 4 else 'f64'}"
        kind = ir.FunctionType(self.vector, [self.vector] * 3)
        module = builder.module
        self._fma = module.globals.get(name) or ir.Function(module, kind, name)

    def constant(self, value: int) -> ir.Constant:
        return ir.Constant(_I64, value)

    def at(self, base: ir.Value, index: ir.Value, stride: ir.Value) -> ir.Value:
        """The address of a row."""
        return self.builder.add(base, self.builder.mul(index, stride))

    def row(self, rows: ir.Value, index: ir.Value) -> ir.Value:
        """The row number that a list holds, as 64 bits."""
        address = self.builder.add(rows, self.builder.shl(index, self.constant(2)))
        value = self.builder.load(self.builder.inttoptr(address, _I32.as_pointer()), align=4)
        return self.builder.sext(value, _I64)

    def broadcast(self, address: ir.Value) -> ir.Value:
        value = self.builder.load(self.builder.inttoptr(address, self.scalar.as_pointer()), align=self.item)
        undefined = ir.Constant(self.vector, ir.Undefined)
        one = self.builder.insert_element(undefined, value, ir.Constant(_I32, 0))
        return self.builder.shuffle_vector(one, undefined, self._splat)

    def load(self, address: ir.Value) -> ir.Value:
        return self.builder.load(self.builder.inttoptr(address, self.vector.as_pointer()), align=self.item)

    def store(self, value: ir.Value, address: ir.Value) -> None:
        self.builder.store(value, self.builder.inttoptr(address, self.vector.as_pointer()), align=self.item)

    def shifted(self, address: ir.Value, n_bytes: int) -> ir.Value:
        return self.builder.add(address, self.constant(n_bytes))

    def fma(self, a: ir.Value, b: ir.Value, c: ir.Value) -> ir.Value:
        return self.builder.call(self._fma, [a, b, c])

    def added(self, sums: Sequence[ir.Value], addresses: Sequence[ir.Value]) -> None:
        """Add the sums of a tile, row by row, to what memory holds."""
        for number, total in enumerate(sums):
            row, column = divmod(number, N_VECTORS)
            place = self.shifted(addresses[row], column * VECTOR_BYTES)
            self.store(self.builder.fadd(self.load(place), total), place)


def _loop(writer: _Writer, n: ir.Value, n_sums: int, body: Any) -> list[ir.Value]:
    """Write ``for k in range(n)``, n > 0, whose sums stay in registers; ``body(k, sums)`` returns the new ones."""
    builder = writer.builder
    before, inside = builder.block, builder.append_basic_block("terms")
    after = builder.append_basic_block("sums")
    builder.branch(inside)
    builder.position_at_end(inside)
    k = builder.phi(_I64)
    sums = [builder.phi(writer.vector) for _ in range(n_sums)]
    new: list[ir.Value] = body(k, sums)
    following = builder.add(k, writer.constant(1))
    builder.cbranch(builder.icmp_signed("<", following, n), inside, after)
    k.add_incoming(writer.constant(0), before)
    k.add_incoming(following, builder.block)
    for old, value in zip(sums, new, strict=True):
        old.add_incoming(writer.zero, before)
        old.add_incoming(value, builder.block)
    builder.position_at_end(after)
    return new


def _code(write: Any) -> Any:
    """Turn a writer of addresses (all arguments but the first are int64) into what Numba's intrinsics return."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, values: Sequence[ir.Value]) -> ir.Value:
        write(_Writer(builder, signature.args[0].dtype), *values[1:])
        return context.get_dummy_value()

    return generate


def _signature(like: Any, n: int) -> Any:
    return types.void(like, *([types.int64] * n))


@intrinsic
def add_products(
    typing: Any, like: Any, x: Any, x_stride: Any, rows: Any, out: Any, out_stride: Any, out_rows: Any, w: Any, n: Any
) -> Any:
    """Add ``x[rows] @ w`` to a panel of ``out[out_rows]``, GROUP rows at once.

    Args:
        typing: Numba's context.
        like: any array of the element type.
        x: address of the first input row.
        x_stride: bytes from one to the next.
        rows: address of GROUP int32 row numbers.
        out: address of the first column of the panel in the first output row.
        out_stride: bytes from one to the next.
        out_rows: address of GROUP int32 row numbers, different from each other where it matters.
        w: address of the weights of the panel, ``[n, panel]``.
        n: number of input channels, positive.
    """

    def write(one: _Writer, *values: ir.Value) -> None:
        for first in range(0, GROUP, _TILE_ROWS):
            _write_products(one, first, *values)

    return _signature(like, 8), _code(write)


def _write_products(
    one: _Writer,
    first: int,
    x: ir.Value,
    x_stride: ir.Value,
    rows: ir.Value,
    out: ir.Value,
    out_stride: ir.Value,
    out_rows: ir.Value,
    w: ir.Value,
    n: ir.Value,
) -> None:
    numbers = [one.constant(first + row) for row in range(_TILE_ROWS)]
    sources = [one.at(x, one.row(rows, number), x_stride) for number in numbers]

    def body(k: ir.Value, sums: Sequence[ir.Value]) -> list[ir.Value]:
        line = one.at(w, k, one.constant(N_VECTORS * VECTOR_BYTES))
        weights = [one.load(one.shifted(line, column * VECTOR_BYTES)) for column in range(N_VECTORS)]
        new = []
        for row, source in enumerate(sources):
            value = one.broadcast(one.at(source, k, one.constant(one.item)))
            new += [one.fma(value, weights[v], sums[row * N_VECTORS + v]) for v in range(N_VECTORS)]
        return new

    sums = _loop(one, n, _TILE_ROWS * N_VECTORS, body)
    one.added(sums, [one.at(out, one.row(out_rows, number), out_stride) for number in numbers])


@intrinsic
def add_outer_products(
    typing: Any,
    like: Any,
    x: Any,
    x_stride: Any,
    rows: Any,
    g: Any,
    g_stride: Any,
    g_rows: Any,
    w: Any,
    w_stride: Any,
    n: Any,
) -> Any:
    """Add the sum of the outer products of n pairs of rows to a tile of GROUP rows and one panel of a weight gradient.

    Args:
        typing: Numba's context.
        like: any array of the element type.
        x: address of the first of GROUP columns in the first input row.
        x_stride: bytes from one row to the next.
        rows: address of the int32 row numbers.
        g: address of the first column of the panel in the first row of the other factor.
        g_stride: bytes from one row to the next.
        g_rows: address of its int32 row numbers.
        w: address of the tile's first entry.
        w_stride: bytes from one of its rows to the next.
        n: number of pairs, positive.
    """

    def write(one: _Writer, *values: ir.Value) -> None:
        for first in range(0, GROUP, _TILE_ROWS):
            _write_outer_products(one, first, *values)

    return _signature(like, 9), _code(write)


def _write_outer_products(
    one: _Writer,
    first: int,
    x: ir.Value,
    x_stride: ir.Value,
    rows: ir.Value,
    g: ir.Value,
    g_stride: ir.Value,
    g_rows: ir.Value,
    w: ir.Value,
    w_stride: ir.Value,
    n: ir.Value,
) -> None:
    def body(k: ir.Value, sums: Sequence[ir.Value]) -> list[ir.Value]:
        source = one.shifted(one.at(x, one.row(rows, k), x_stride), first * one.item)
        line = one.at(g, one.row(g_rows, k), g_stride)
        factors = [one.load(one.shifted(line, column * VECTOR_BYTES)) for column in range(N_VECTORS)]
        new = []
        for row in range(_TILE_ROWS):
            value = one.broadcast(one.shifted(source, row * one.item))
            new += [one.fma(value, factors[v], sums[row * N_VECTORS + v]) for v in range(N_VECTORS)]
        return new

    sums = _loop(one, n, _TILE_ROWS * N_VECTORS, body)
    one.added(sums, [one.at(w, one.constant(first + row), w_stride) for row in range(_TILE_ROWS)])

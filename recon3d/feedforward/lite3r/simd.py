"""Vector code for numba: register tiles of a matrix product, row maxima and exponentials, as LLVM instructions.

Numba keeps no tile of a product in registers by itself, which costs a factor of ten or more. Everything here works on
contiguous float32 arrays from an offset on, checks no bounds, and wants widths that are multiples of :data:`LANES`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, no_type_check

import llvmlite.binding as llvm  # type: ignore[import-untyped]
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from recon3d.core.kernels import kernel

ROWS = 4  # of a tile; with four vectors beside each other that makes sixteen sums, enough to hide the latency
WIDE = 4  # vectors of a wide tile


def _lanes() -> int:
    features = llvm.get_host_cpu_features()
    return 16 if features.get("avx512f") else 8 if features.get("avx") else 4


LANES = _lanes()
_INT = ir.IntType(32)
_VECTOR, _INTS = ir.VectorType(ir.FloatType(), LANES), ir.VectorType(_INT, LANES)
# 2^x on [-1/2, 1/2], lowest power first: Taylor, good to 1.2e-7 there, and exact at zero.
_EXP2 = (1.0, 0.69314718, 0.24022651, 0.055504109, 0.0096181291, 0.0013333558, 0.00015403530)


class _Code:
    """Short names for the few instructions that are needed."""

    def __init__(self, builder: Any) -> None:
        self.builder = builder

    def at(self, pointer: Any, offset: Any) -> Any:
        return self.builder.gep(pointer, [offset])

    def load(self, pointer: Any) -> Any:
        value = self.builder.load(self.builder.bitcast(pointer, _VECTOR.as_pointer()))
        value.align = 4
        return value

    def store(self, value: Any, pointer: Any) -> None:
        self.builder.store(value, self.builder.bitcast(pointer, _VECTOR.as_pointer())).align = 4

    def spread(self, scalar: Any) -> Any:
        """Return a vector that holds one number everywhere."""
        empty = ir.Constant(_VECTOR, ir.Undefined)
        first = self.builder.insert_element(empty, scalar, _INT(0))
        return self.builder.shuffle_vector(first, empty, ir.Constant(_INTS, [0] * LANES))

    def variable(self, value: Any) -> Any:
        """Return a place that holds a value; the optimiser makes a register of it."""
        place = cgutils.alloca_once(self.builder, value.type)  # type: ignore[no-untyped-call]
        self.builder.store(value, place)
        return place

    def larger(self, a: Any, b: Any) -> Any:
        """Return the larger of two vectors; ``b`` where it is no number."""
        return self.builder.select(self.builder.fcmp_ordered(">", a, b), a, b)

    def call(self, name: str, *args: Any, result: Any = _VECTOR, free_order: bool = False) -> Any:
        """Call one of LLVM's own functions on vectors."""
        kind, module = ir.FunctionType(result, [arg.type for arg in args]), self.builder.module
        function = cgutils.get_or_insert_function(module, kind, f"{name}.v{LANES}f32")  # type: ignore[no-untyped-call]
        return self.builder.call(function, args, fastmath=("reassoc",) if free_order else ())


def _constant(value: float) -> Any:
    return ir.Constant(_VECTOR, [value] * LANES)


def _instruction(emit: Callable[..., Any], result: Any, given: Sequence[Any]) -> tuple[Any, Any]:
    """Return what an intrinsic returns: arrays reach ``emit`` as addresses, integers and numbers as values."""
    kinds = [types.intp if isinstance(one, types.Integer) else one for one in given]
    kinds = [types.float32 if isinstance(one, types.Float) else one for one in kinds]

    def generate(context: Any, builder: Any, signature: Any, args: Sequence[Any]) -> Any:
        seen = [
            context.make_array(kind)(context, builder, value).data if isinstance(kind, types.Array) else value
            for kind, value in zip(signature.args, args, strict=True)
        ]
        found = emit(_Code(builder), *seen)
        return context.get_dummy_value() if found is None else found

    return result(*kinds), generate


def _tile(width: int, add: bool) -> Callable[..., None]:
    """Emit c[4, width] (+)= a[4, depth] b[depth, width], the sums in registers."""

    def emit(
        code: _Code, a: Any, a_at: Any, lda: Any, b: Any, b_at: Any, ldb: Any, c: Any, c_at: Any, ldc: Any, depth: Any
    ) -> None:
        builder, a, b, c = code.builder, code.at(a, a_at), code.at(b, b_at), code.at(c, c_at)
        left = [builder.mul(lda, lda.type(row)) for row in range(ROWS)]
        below = [builder.mul(ldc, ldc.type(row)) for row in range(ROWS)]
        places = [[code.at(c, builder.add(row, row.type(v * LANES))) for v in range(width)] for row in below]
        sums = [[code.variable(code.load(place) if add else _constant(0.0)) for place in row] for row in places]
        with cgutils.for_range(builder, depth) as loop:
            line = code.at(b, builder.mul(loop.index, ldb))
            columns = [code.load(code.at(line, ldb.type(v * LANES))) for v in range(width)]
            for row, totals in zip(left, sums, strict=True):
                factor = code.spread(builder.load(code.at(a, builder.add(row, loop.index))))
                for column, total in zip(columns, totals, strict=True):
                    builder.store(code.call("llvm.fma", factor, column, builder.load(total)), total)
        for row, totals in zip(places, sums, strict=True):
            for place, total in zip(row, totals, strict=True):
                code.store(builder.load(total), place)

    return emit


def _maximum(code: _Code, x: Any, at: Any, width: Any) -> Any:
    """Emit the largest of x[at : at + width]."""
    builder = code.builder
    best = code.variable(_constant(float("-inf")))
    with cgutils.for_range_slice(builder, width.type(0), width, width.type(LANES)) as (i, _):
        builder.store(code.larger(builder.load(best), code.load(code.at(x, builder.add(at, i)))), best)
    return code.call("llvm.vector.reduce.fmax", builder.load(best), result=ir.FloatType())


def _exp2(code: _Code, x: Any) -> Any:
    """Emit 2^x for x <= 0; below 2^-126 it is 2^-126."""
    builder = code.builder
    x = code.larger(_constant(-126.0), x)
    whole = code.call("llvm.rint", x)
    rest, value = builder.fsub(x, whole), _constant(_EXP2[-1])
    for factor in _EXP2[-2::-1]:
        value = code.call("llvm.fma", value, rest, _constant(factor))
    shift = builder.shl(builder.fptosi(whole, _INTS), ir.Constant(_INTS, [23] * LANES))
    return builder.bitcast(builder.add(builder.bitcast(value, _INTS), shift), _VECTOR)


def _weights(code: _Code, x: Any, at: Any, width: Any, top: Any) -> Any:
    """Emit x = 2^(x - top) in place on x[at : at + width], and return the sum."""
    builder = code.builder
    total, top = code.variable(_constant(0.0)), code.spread(top)
    with cgutils.for_range_slice(builder, width.type(0), width, width.type(LANES)) as (i, _):
        place = code.at(x, builder.add(at, i))
        value = _exp2(code, builder.fsub(code.load(place), top))
        code.store(value, place)
        builder.store(builder.fadd(builder.load(total), value), total)
    zero = ir.Constant(ir.FloatType(), 0.0)
    return code.call("llvm.vector.reduce.fadd", zero, builder.load(total), result=ir.FloatType(), free_order=True)


def _product(width: int, add: bool) -> Any:
    @intrinsic
    def product(_, a, a_at, lda, b, b_at, ldb, c, c_at, ldc, depth):  # type: ignore[no-untyped-def]
        return _instruction(_tile(width, add), types.void, (a, a_at, lda, b, b_at, ldb, c, c_at, ldc, depth))

    return product


_set_wide, _set_narrow, _add_wide, _add_narrow = (_product(width, add) for add in (False, True) for width in (WIDE, 1))


@intrinsic
def row_maximum(_, x, at, width):  # type: ignore[no-untyped-def]
    """Return the largest of x[at : at + width]."""
    return _instruction(_maximum, types.float32, (x, at, width))


@intrinsic
def row_weights(_, x, at, width, top):  # type: ignore[no-untyped-def]
    """Write 2^(x - top) over x[at : at + width], none of which is above ``top``, and return the sum."""
    return _instruction(_weights, types.float32, (x, at, width, top))


@kernel(inline=True)
@no_type_check
def multiply(a, lda, b, b_at, ldb, c, c_at, ldc, n_rows, n_columns, depth):
    """Write a[rows, depth] b[depth, columns] to c; ``n_rows`` is a multiple of 4, ``n_columns`` of LANES."""
    for column in range(0, n_columns - WIDE * LANES + 1, WIDE * LANES):
        for row in range(0, n_rows, ROWS):
            _set_wide(a, row * lda, lda, b, b_at + column, ldb, c, c_at + row * ldc + column, ldc, depth)
    for column in range(n_columns // (WIDE * LANES) * WIDE * LANES, n_columns, LANES):
        for row in range(0, n_rows, ROWS):
            _set_narrow(a, row * lda, lda, b, b_at + column, ldb, c, c_at + row * ldc + column, ldc, depth)


@kernel(inline=True)
@no_type_check
def multiply_add(a, a_at, lda, b, b_at, ldb, c, ldc, n_rows, n_columns, depth):
    """Add a[rows, depth] b[depth, columns] to c; ``n_rows`` is a multiple of 4, ``n_columns`` of LANES."""
    for column in range(0, n_columns - WIDE * LANES + 1, WIDE * LANES):
        for row in range(0, n_rows, ROWS):
            _add_wide(a, a_at + row * lda, lda, b, b_at + column, ldb, c, row * ldc + column, ldc, depth)
    for column in range(n_columns // (WIDE * LANES) * WIDE * LANES, n_columns, LANES):
        for row in range(0, n_rows, ROWS):
            _add_narrow(a, a_at + row * lda, lda, b, b_at + column, ldb, c, row * ldc + column, ldc, depth)

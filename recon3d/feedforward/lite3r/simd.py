"""Vector code for numba: register tiles of a matrix product and a softmax step, written as LLVM instructions.

Numba keeps no tile of a product in registers by itself, which costs a factor of ten or more. Everything here works on
contiguous float32 arrays from an offset on, checks no bounds, and wants widths that are multiples of :data:`LANES`.
"""

from __future__ import annotations

import math
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

    def call(self, name: str, *args: Any) -> Any:
        """Call one of LLVM's own functions from vectors to a vector."""
        kind, module = ir.FunctionType(_VECTOR, [_VECTOR] * len(args)), self.builder.module
        function = cgutils.get_or_insert_function(module, kind, f"{name}.v{LANES}f32")  # type: ignore[no-untyped-call]
        return self.builder.call(function, args)

    def exp2(self, x: Any) -> Any:
        """Return 2^x for x <= 0; below 2^-126 it is 2^-126."""
        builder, x = self.builder, self.larger(_constant(-126.0), x)
        whole = self.call("llvm.rint", x)
        rest, value = builder.fsub(x, whole), _constant(_EXP2[-1])
        for factor in _EXP2[-2::-1]:
            value = self.call("llvm.fma", value, rest, _constant(factor))
        shift = builder.shl(builder.fptosi(whole, _INTS), ir.Constant(_INTS, [23] * LANES))
        return builder.bitcast(builder.add(builder.bitcast(value, _INTS), shift), _VECTOR)


def _constant(value: float) -> Any:
    return ir.Constant(_VECTOR, [value] * LANES)


def _instruction(emit: Callable[..., None], given: Sequence[Any]) -> tuple[Any, Any]:
    """Return what an intrinsic returns: arrays reach ``emit`` as addresses and integers as values."""
    kinds = [types.intp if isinstance(one, types.Integer) else one for one in given]

    def generate(context: Any, builder: Any, signature: Any, args: Sequence[Any]) -> Any:
        seen = [
            context.make_array(kind)(context, builder, value).data if isinstance(kind, types.Array) else value
            for kind, value in zip(signature.args, args, strict=True)
        ]
        emit(_Code(builder), *seen)
        return context.get_dummy_value()

    return types.void(*kinds), generate


def _tile(width: int, add: bool) -> Callable[..., None]:
    """Emit c[4, width] = a[4, depth] b[depth, width], or with ``add`` plus c times a factor for each column."""

    def emit(code: _Code, *given: Any) -> None:
        a, lda, b, c, row, column, ld, depth, factors = given
        builder, one = code.builder, ld.type(1)
        a, b = code.at(a, builder.mul(row, lda)), code.at(b, column)
        corner = code.at(c, builder.add(builder.mul(row, ld), column))
        left = [builder.mul(lda, one.type(r)) for r in range(ROWS)]
        across = [one.type(v * LANES) for v in range(width)]
        places = [[code.at(corner, builder.add(builder.mul(ld, one.type(r)), v)) for v in across] for r in range(ROWS)]
        sums = [[code.variable(_constant(0.0)) for _ in across] for _ in range(ROWS)]
        if add:
            scales = [code.load(code.at(factors, builder.add(column, v))) for v in across]
            for line, totals in zip(places, sums, strict=True):
                for place, scale, total in zip(line, scales, totals, strict=True):
                    builder.store(builder.fmul(code.load(place), scale), total)
        with cgutils.for_range(builder, depth) as loop:
            values = [code.load(code.at(b, builder.add(builder.mul(loop.index, ld), v))) for v in across]
            for start, totals in zip(left, sums, strict=True):
                factor = code.spread(builder.load(code.at(a, builder.add(start, loop.index))))
                for value, total in zip(values, totals, strict=True):
                    builder.store(code.call("llvm.fma", factor, value, builder.load(total)), total)
        for line, totals in zip(places, sums, strict=True):
            for place, total in zip(line, totals, strict=True):
                code.store(builder.load(total), place)

    return emit


def _softmax(width: int) -> Callable[..., None]:
    """Emit one step of a running softmax over the rows of x[n_rows, width]: see :func:`softmax_step`."""

    def emit(code: _Code, *given: Any) -> None:
        x, ld, n_rows, column, top, norm, shrink = given
        builder, across = code.builder, [ld.type(v * LANES) for v in range(width)]
        tops, norms, shrinks = ([code.at(code.at(one, column), v) for v in across] for one in (top, norm, shrink))
        before = [code.load(place) for place in tops]
        best = [code.variable(value) for value in before]
        with cgutils.for_range(builder, n_rows) as loop:
            line = code.at(code.at(x, column), builder.mul(loop.index, ld))
            for v, place in zip(across, best, strict=True):
                builder.store(code.larger(builder.load(place), code.load(code.at(line, v))), place)
        now = [builder.load(place) for place in best]
        totals = []
        for i in range(width):
            factor = code.exp2(builder.fsub(before[i], now[i]))
            totals.append(code.variable(builder.fmul(code.load(norms[i]), factor)))
            code.store(now[i], tops[i])
            code.store(factor, shrinks[i])
        with cgutils.for_range(builder, n_rows) as loop:
            line = code.at(code.at(x, column), builder.mul(loop.index, ld))
            for v, highest, total in zip(across, now, totals, strict=True):
                weight = code.exp2(builder.fsub(code.load(code.at(line, v)), highest))
                code.store(weight, code.at(line, v))
                builder.store(builder.fadd(builder.load(total), weight), total)
        for place, total in zip(norms, totals, strict=True):
            code.store(builder.load(total), place)

    return emit


def _exponentials(code: _Code, *given: Any) -> None:
    """Emit x = 2^(x - shift) on x[n_rows, LANES], with a shift for each column."""
    x, ld, n_rows, column, shift = given
    builder, taken = code.builder, code.load(code.at(shift, column))
    with cgutils.for_range(builder, n_rows) as loop:
        place = code.at(x, builder.add(builder.mul(loop.index, ld), column))
        code.store(code.exp2(builder.fsub(code.load(place), taken)), place)


def _features(code: _Code, x: Any, n: Any) -> None:
    """Emit x = elu(x) + 1 on x[:n]."""
    builder, zero = code.builder, _constant(0.0)
    with cgutils.for_range_slice(builder, n.type(0), n, n.type(LANES)) as (i, _):
        value = code.load(code.at(x, i))
        positive = builder.fcmp_ordered(">", value, zero)
        below = code.exp2(builder.fmul(builder.select(positive, zero, value), _constant(1.0 / math.log(2.0))))
        code.store(builder.select(positive, builder.fadd(value, _constant(1.0)), below), code.at(x, i))


def _product(width: int, add: bool) -> Any:
    @intrinsic
    def product(_, a, lda, b, c, row, column, ld, depth, factors):  # type: ignore[no-untyped-def]
        return _instruction(_tile(width, add), (a, lda, b, c, row, column, ld, depth, factors))

    return product


def _step(width: int) -> Any:
    @intrinsic
    def step(_, x, ld, n_rows, column, top, norm, shrink):  # type: ignore[no-untyped-def]
        return _instruction(_softmax(width), (x, ld, n_rows, column, top, norm, shrink))

    return step


_set_wide, _set_narrow, _add_wide, _add_narrow = (_product(width, add) for add in (False, True) for width in (WIDE, 1))
_step_wide, _step_narrow = _step(WIDE), _step(1)


@intrinsic
def _exp2_columns(_, x, ld, n_rows, column, shift):  # type: ignore[no-untyped-def]
    return _instruction(_exponentials, (x, ld, n_rows, column, shift))


@intrinsic
def features(_, x, n):  # type: ignore[no-untyped-def]
    """Write elu(x) + 1 over x[:n]."""
    return _instruction(_features, (x, n))


@kernel(inline=True)
@no_type_check
def multiply(a, b, c, n_rows, n_columns, depth):
    """Write a[rows, depth] b[depth, columns] to c; ``n_rows`` is a multiple of 4."""
    wide = n_columns // (WIDE * LANES) * WIDE * LANES
    for row in range(0, n_rows, ROWS):
        for column in range(0, wide, WIDE * LANES):
            _set_wide(a, depth, b, c, row, column, n_columns, depth, c)
        for column in range(wide, n_columns, LANES):
            _set_narrow(a, depth, b, c, row, column, n_columns, depth, c)


@kernel(inline=True)
@no_type_check
def multiply_add(a, lda, b, c, n_rows, n_columns, depth, factors):
    """Write a[rows, depth] b[depth, columns] + c factors[columns] to c; rows of ``a`` are ``lda`` apart."""
    wide = n_columns // (WIDE * LANES) * WIDE * LANES
    for row in range(0, n_rows, ROWS):
        for column in range(0, wide, WIDE * LANES):
            _add_wide(a, lda, b, c, row, column, n_columns, depth, factors)
        for column in range(wide, n_columns, LANES):
            _add_narrow(a, lda, b, c, row, column, n_columns, depth, factors)


@kernel(inline=True)
@no_type_check
def softmax_step(x, n_rows, n_columns, top, norm, shrink):
    """Go on with a softmax to base two over rows, for each column.

    Writes 2^(x - top) over ``x``, where ``top`` grows to the largest value so far, and adds the sum to ``norm``. The
    factor by which everything before has to shrink goes to ``shrink``.
    """
    wide = n_columns // (WIDE * LANES) * WIDE * LANES
    for column in range(0, wide, WIDE * LANES):
        _step_wide(x, n_columns, n_rows, column, top, norm, shrink)
    for column in range(wide, n_columns, LANES):
        _step_narrow(x, n_columns, n_rows, column, top, norm, shrink)


@kernel(inline=True)
@no_type_check
def softmax_again(x, n_rows, n_columns, log_norm):
    """Write 2^(x - log_norm) over ``x``, where ``log_norm`` of each column is not below any value of it."""
    for column in range(0, n_columns, LANES):
        _exp2_columns(x, n_columns, n_rows, column, log_norm)

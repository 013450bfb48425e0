"""Vectors of sixteen floats for Numba kernels: what the blending kernels compute a block of 4x4 pixels with.

A compiler vectorises a loop only where it can prove enough; with these a kernel says what it wants. A ``Lanes`` value
lives in registers: one with AVX-512, two with AVX, four with NEON or SSE. ``+ - * /`` take two of them or one and a
number, comparisons give a ``Mask``. Everything in this module is for use inside kernels.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, no_type_check

import numpy as np
from jaxtyping import Float32
from numba import extending, types
from numba.extending import intrinsic

from recon3d.core.kernels import kernel

ir: Any = import_module("llvmlite.ir")  # has no type hints

WIDTH = 16
_F32, _I32, _I64 = ir.FloatType(), ir.IntType(32), ir.IntType(64)
_LANES, _INTS, _BITS = ir.VectorType(_F32, WIDTH), ir.VectorType(_I32, WIDTH), ir.VectorType(ir.IntType(1), WIDTH)
_FLAGS = ("contract", "nsz")  # a product and a sum may become one fused operation; nothing is reordered
_EXP2 = (0.99999926, 0.69312181, 0.24024745, 0.05591786, 0.00957009)
_EXACT_EXP2 = (1.0, 0.693147206, 0.240226469, 0.0555032878, 0.00961848897, 0.00133999312, 0.000153458076)
_LOG2 = (0.0, 1.44269477, -0.721357149, 0.480939441, -0.3600872, 0.286707544, -0.250069301, 0.236889795, -0.145742983)
_ROOT_HALF = 0x3F3504F3  # the bits of sqrt(1/2), where the mantissas of logarithms begin


class Lanes(types.Type):
    """Type of sixteen float32 numbers."""

    def __init__(self) -> None:
        super().__init__(name="Lanes")


class Mask(types.Type):
    """Type of sixteen truth values."""

    def __init__(self) -> None:
        super().__init__(name="Mask")


_lanes, _mask = Lanes(), Mask()


_extending: Any = extending  # some of its functions have no type hints
_extending.register_model(Lanes)(lambda manager, kind: _extending.models.PrimitiveModel(manager, kind, _LANES))
_extending.register_model(Mask)(lambda manager, kind: _extending.models.PrimitiveModel(manager, kind, _BITS))


def _constant(value: float) -> Any:
    return ir.Constant(_LANES, [value] * WIDTH)


def _spread(builder: Any, value: Any, kind: Any = _LANES) -> Any:
    """Return a vector that holds one number sixteen times."""
    if value.type == kind:
        return value
    if value.type == ir.DoubleType():
        value = builder.fptrunc(value, _F32)
    first = builder.insert_element(ir.Constant(kind, ir.Undefined), value, ir.Constant(_I32, 0))
    return builder.shuffle_vector(first, first, ir.Constant(_INTS, [0] * WIDTH))


def _call(builder: Any, name: str, *values: Any) -> Any:
    kind = ir.FunctionType(_LANES, [_LANES] * len(values))
    return builder.call(builder.module.declare_intrinsic(f"{name}.v{WIDTH}f32", (), kind), values)


def _define(function: Any, result: types.Type, emit: Callable[[Any, Any, Any], Any]) -> None:
    """Give an operator of Python its meaning for lanes, with lanes or a number on either side."""

    def typer(context: Any) -> Callable[[Any, Any], Any]:
        def of(a: Any, b: Any) -> Any:
            fits = {a, b} <= {_lanes, types.float32, types.float64} and _lanes in (a, b)
            return result if fits else None

        return of

    _extending.type_callable(function)(typer)

    def lower(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return emit(builder, *(_spread(builder, value) for value in arguments))

    for kind in (types.float32, types.float64, _lanes):
        _extending.lower_builtin(function, kind, _lanes)(lower)
        _extending.lower_builtin(function, _lanes, kind)(lower)


_define(operator.add, _lanes, lambda builder, a, b: builder.fadd(a, b, flags=_FLAGS))
_define(operator.sub, _lanes, lambda builder, a, b: builder.fsub(a, b, flags=_FLAGS))
_define(operator.mul, _lanes, lambda builder, a, b: builder.fmul(a, b, flags=_FLAGS))
_define(operator.truediv, _lanes, lambda builder, a, b: builder.fdiv(a, b, flags=_FLAGS))
_define(operator.lt, _mask, lambda builder, a, b: builder.fcmp_ordered("<", a, b))
_define(operator.le, _mask, lambda builder, a, b: builder.fcmp_ordered("<=", a, b))
_define(operator.eq, _mask, lambda builder, a, b: builder.fcmp_ordered("==", a, b))
_define(operator.gt, _mask, lambda builder, a, b: builder.fcmp_ordered(">", a, b))
_define(operator.ge, _mask, lambda builder, a, b: builder.fcmp_ordered(">=", a, b))


def _element(context: Any, builder: Any, kind: Any, array: Any, place: Any) -> Any:
    return builder.gep(context.make_array(kind)(context, builder, array).data, [place])


def _address(context: Any, builder: Any, kind: Any, array: Any, start: Any) -> Any:
    return builder.bitcast(_element(context, builder, kind, array, start), _LANES.as_pointer())


@intrinsic
def load(context: Any, array: Any, start: Any) -> Any:
    """Return sixteen numbers of a contiguous float32 array from its element ``start`` on, unchecked."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.load(_address(context, builder, signature.args[0], *arguments), align=4)

    return _lanes(array, types.int64), emit


@intrinsic
def store(context: Any, array: Any, start: Any, value: Any) -> Any:
    """Write sixteen numbers into a contiguous float32 array from its element ``start`` on, unchecked."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        builder.store(arguments[2], _address(context, builder, signature.args[0], *arguments[:2]), align=4)
        return context.get_dummy_value()

    return types.void(array, types.int64, _lanes), emit


@intrinsic
def spread(context: Any, value: Any) -> Any:
    """Return lanes that all hold one float32."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _spread(builder, arguments[0])

    return _lanes(types.float32), emit


@intrinsic
def at(context: Any, array: Any, place: Any) -> Any:
    """Return one element of a contiguous array, counted through all its axes, unchecked."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.load(_element(context, builder, signature.args[0], *arguments))

    return array.dtype(array, types.int64), emit


@intrinsic
def put(context: Any, array: Any, place: Any, value: Any) -> Any:
    """Write one element of a contiguous array, counted through all its axes, unchecked."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        builder.store(arguments[2], _element(context, builder, signature.args[0], *arguments[:2]))
        return context.get_dummy_value()

    return types.void(array, types.int64, array.dtype), emit


@intrinsic
def spread_from(context: Any, array: Any, place: Any) -> Any:
    """Return lanes that all hold one element of a contiguous float32 array, unchecked."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _spread(builder, builder.load(_element(context, builder, signature.args[0], *arguments)))

    return _lanes(array, types.int64), emit


@intrinsic
def total(context: Any, value: Any) -> Any:
    """Return the sum of the lanes, always added in the same order."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = ir.FunctionType(_F32, [_F32, _LANES])
        name = f"llvm.vector.reduce.fadd.v{WIDTH}f32"
        function = builder.module.declare_intrinsic(name, (), kind)
        return builder.call(function, [ir.Constant(_F32, 0.0), arguments[0]], fastmath=("reassoc",))

    return types.float32(value), emit


@intrinsic
def select(context: Any, condition: Any, yes: Any, no: Any) -> Any:
    """Return, lane by lane, ``yes`` where the condition holds and ``no`` elsewhere; each lanes or a float32."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.select(arguments[0], _spread(builder, arguments[1]), _spread(builder, arguments[2]))

    return _lanes(condition, yes, no), emit


@intrinsic
def both(context: Any, a: Any, b: Any) -> Any:
    """Return where both masks hold."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.and_(*arguments)

    return _mask(a, b), emit


@intrinsic
def bits(context: Any, condition: Any) -> Any:
    """Return a mask as an integer, lane 0 as its lowest bit."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.zext(builder.bitcast(arguments[0], ir.IntType(WIDTH)), _I64)

    return types.int64(condition), emit


@intrinsic
def mark(context: Any, words: Any, condition: Any, word: Any) -> Any:
    """Return sixteen 32-bit words, kept as lanes, with the bits of ``word`` set where the condition holds."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        words, condition, word = arguments
        words = builder.bitcast(words, _INTS)
        more = builder.or_(words, _spread(builder, word, _INTS))
        return builder.bitcast(builder.select(condition, more, words), _LANES)

    return _lanes(words, condition, types.int32), emit


@intrinsic
def pick(context: Any, array: Any, start: Any, width: Any, column: Any, row: Any) -> Any:
    """Return sixteen 32-bit elements of a contiguous array, kept as lanes: ``start + row * width + column``, unchecked.

    ``column`` and ``row`` are lanes of whole numbers. Sixteen single loads are as fast as the gathers of an AMD EPYC.
    """

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array, start, width, *places = arguments
        first = builder.gep(context.make_array(signature.args[0])(context, builder, array).data, [start])
        first = builder.bitcast(first, _I32.as_pointer())
        column, row = (builder.fptosi(place, _INTS) for place in places)
        place = builder.add(builder.mul(row, _spread(builder, builder.trunc(width, _I32), _INTS)), column)
        words = ir.Constant(_INTS, ir.Undefined)
        for lane in range(WIDTH):
            at = builder.sext(builder.extract_element(place, ir.Constant(_I32, lane)), _I64)
            words = builder.insert_element(words, builder.load(builder.gep(first, [at])), ir.Constant(_I32, lane))
        return builder.bitcast(words, _LANES)

    return _lanes(array, types.int64, types.int64, _lanes, _lanes), emit


@intrinsic
def byte(context: Any, words: Any, number: Any) -> Any:
    """Return one byte of sixteen 32-bit words, kept as lanes, as numbers; byte 0 is the lowest."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        words, number = arguments
        shift = builder.shl(builder.trunc(number, _I32), ir.Constant(_I32, 3))
        words = builder.lshr(builder.bitcast(words, _INTS), _spread(builder, shift, _INTS))
        return builder.sitofp(builder.and_(words, ir.Constant(_INTS, [255] * WIDTH)), _LANES)

    return _lanes(words, types.int64), emit


@intrinsic
def whole(context: Any, value: Any) -> Any:
    """Return the numbers without their fractions."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _call(builder, "llvm.trunc", arguments[0])

    return _lanes(value), emit


@intrinsic
def prefetch(context: Any, array: Any, place: Any) -> Any:
    """Ask for the cache line of an element that will be read soon."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer = builder.bitcast(_element(context, builder, signature.args[0], *arguments), ir.IntType(8).as_pointer())
        kind = ir.FunctionType(ir.VoidType(), [pointer.type, _I32, _I32, _I32])
        function = builder.module.declare_intrinsic("llvm.prefetch", (pointer.type,), kind)
        builder.call(function, [pointer, *(ir.Constant(_I32, value) for value in (0, 3, 1))])
        return context.get_dummy_value()

    return types.void(array, types.int64), emit


@intrinsic
def lowest_bit(context: Any, value: Any) -> Any:
    """Return the place of the lowest bit of an integer that is not zero."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.int64), emit


@intrinsic
def magnitude(context: Any, value: Any) -> Any:
    """Return the absolute values."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _call(builder, "llvm.fabs", arguments[0])

    return _lanes(value), emit


def _polynomial(builder: Any, value: Any, coefficients: Sequence[float]) -> Any:
    """Return the sum of ``coefficients[k] value^k``."""
    result = _constant(coefficients[-1])
    for coefficient in coefficients[-2::-1]:
        result = builder.fadd(builder.fmul(result, value, flags=_FLAGS), _constant(coefficient), flags=_FLAGS)
    return result


def _power_of_two(coefficients: Sequence[float]) -> Any:
    """Return a kernel function for powers of two, from a polynomial for exponents in [-1/2,1/2]."""

    @intrinsic
    def power(context: Any, value: Any) -> Any:
        def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            whole = _call(builder, "llvm.rint", arguments[0])
            result = _polynomial(builder, builder.fsub(arguments[0], whole, flags=_FLAGS), coefficients)
            shift = builder.shl(builder.fptosi(whole, _INTS), ir.Constant(_INTS, [23] * WIDTH))
            return builder.bitcast(builder.add(builder.bitcast(result, _INTS), shift), _LANES)

        return _lanes(value), emit

    return power


# Powers of two for exponents in [-126,127], elsewhere anything: to a relative error of 3e-6, and as good as float32.
exp2, exact_exp2 = _power_of_two(_EXP2), _power_of_two(_EXACT_EXP2)


@intrinsic
def log2(context: Any, value: Any) -> Any:
    """Return binary logarithms of positive numbers to an error of 1e-7, relative above 1; elsewhere anything."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        bits = builder.bitcast(arguments[0], _INTS)
        above = builder.sub(bits, ir.Constant(_INTS, [_ROOT_HALF] * WIDTH))
        whole = builder.ashr(above, ir.Constant(_INTS, [23] * WIDTH))
        bits = builder.sub(bits, builder.shl(whole, ir.Constant(_INTS, [23] * WIDTH)))
        part = builder.fsub(builder.bitcast(bits, _LANES), _constant(1.0), flags=_FLAGS)
        return builder.fadd(builder.sitofp(whole, _LANES), _polynomial(builder, part, _LOG2), flags=_FLAGS)

    return _lanes(value), emit


@intrinsic
def upwards(context: Any, value: Any) -> Any:
    """Return the least whole numbers that are not less."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _call(builder, "llvm.ceil", arguments[0])

    return _lanes(value), emit


@intrinsic
def root(context: Any, value: Any) -> Any:
    """Return square roots."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _call(builder, "llvm.sqrt", arguments[0])

    return _lanes(value), emit


def _fold(half: int) -> Any:
    """Return a kernel function that adds the lanes of two vectors in pairs ``half`` apart, and packs both results."""
    low = [lane for lane in range(2 * WIDTH) if not lane & half]

    @intrinsic
    def fold(context: Any, a: Any, b: Any) -> Any:
        def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            first = builder.shuffle_vector(*arguments, ir.Constant(_INTS, low))
            second = builder.shuffle_vector(*arguments, ir.Constant(_INTS, [lane + half for lane in low]))
            return builder.fadd(first, second, flags=_FLAGS)

        return _lanes(a, b), emit

    return fold


# Sixteen vectors, folded in pairs four times with these, become one that holds the sum of each.
fold8, fold4, fold2, fold1 = _fold(8), _fold(4), _fold(2), _fold(1)


def aligned(rows: int, columns: int) -> Float32[np.ndarray, "rows columns"]:
    """Return an array, not filled, that begins where a cache line does."""
    raw = np.empty(rows * columns + WIDTH, np.float32)
    start = -(raw.ctypes.data // 4) % WIDTH
    return raw[start : start + rows * columns].reshape(rows, columns)


@kernel(order="fused", inline=True)
@no_type_check
def scratch(n):
    """Return an array of n float32, not filled, that begins where a cache line does; in kernels."""
    raw = np.empty(n + 16, np.float32)
    start = (16 - (raw.ctypes.data // 4) % 16) % 16
    return raw[start : start + n]

"""What traversal kernels need of vectors of sixteen floats beyond :mod:`recon3d.render.gaussians.cpu_simd`.

Eight boxes are one vector: their lower planes in one half and their upper planes in the other. A block of sixteen
triangles is one vector per coordinate. Everything in this module is for use inside kernels.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from numba import types
from numba.extending import intrinsic

from recon3d.render.gaussians.cpu_simd import WIDTH, Lanes, Mask

ir: Any = import_module("llvmlite.ir")  # has no type hints

_I32, _F32 = ir.IntType(32), ir.FloatType()
_INTS, _LANES = ir.VectorType(_I32, WIDTH), ir.VectorType(_F32, WIDTH)
_lanes, _mask = Lanes(), Mask()
_SWAPPED = [*range(WIDTH // 2, WIDTH), *range(WIDTH // 2)]
_HALVES = [0] * (WIDTH // 2) + [WIDTH] * (WIDTH // 2)


@intrinsic
def larger(context: Any, a: Any, b: Any) -> Any:
    """Return the larger of two numbers, lane by lane; the second where one is NaN."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.select(builder.fcmp_ordered(">", *arguments), *arguments)

    return _lanes(a, b), emit


@intrinsic
def smaller(context: Any, a: Any, b: Any) -> Any:
    """Return the smaller of two numbers, lane by lane; the second where one is NaN."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.select(builder.fcmp_ordered("<", *arguments), *arguments)

    return _lanes(a, b), emit


@intrinsic
def swapped(context: Any, value: Any) -> Any:
    """Return the lanes with their halves exchanged."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.shuffle_vector(arguments[0], arguments[0], ir.Constant(_INTS, _SWAPPED))

    return _lanes(value), emit


@intrinsic
def halves(context: Any, low: Any, high: Any) -> Any:
    """Return lanes whose lower half holds one float32 and whose upper half another."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        empty, first = ir.Constant(_LANES, ir.Undefined), ir.Constant(_I32, 0)
        ends = [builder.insert_element(empty, value, first) for value in arguments]
        return builder.shuffle_vector(*ends, ir.Constant(_INTS, _HALVES))

    return _lanes(types.float32, types.float32), emit


@intrinsic
def rounded_product(context: Any, a: Any, b: Any) -> Any:
    """Return the product of lanes, rounded by itself: in a kernel of order ``written`` it is never fused with a sum.

    The sign of ``rounded_product(a, b) - rounded_product(c, d)`` is that of the exact difference or zero, and the
    difference with both products exchanged is its exact negative.
    """

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.fmul(*arguments)

    return _lanes(a, b), emit


@intrinsic
def lane(context: Any, value: Any, number: Any) -> Any:
    """Return one lane."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.extract_element(arguments[0], builder.trunc(arguments[1], _I32))

    return types.float32(value, types.int64), emit


@intrinsic
def either(context: Any, a: Any, b: Any) -> Any:
    """Return where one of two masks holds."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.or_(*arguments)

    return _mask(a, b), emit

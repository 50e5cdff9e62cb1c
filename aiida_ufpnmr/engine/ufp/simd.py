"""A small vector type for compiled code: four or eight float64 that are added and multiplied at once.

Numba does not turn short unrolled sums into vector instructions by itself. Here LLVM's vector types are given to it as
values: :func:`load4`, :func:`store4`, :func:`broadcast4`, ``+`` and ``*`` are then all that a kernel needs to read as
arithmetic. LLVM maps them to whatever the processor has, two registers of four where it has none of eight.
"""

from __future__ import annotations

import operator

import numba as nb
from llvmlite import ir
from numba.core import types
from numba.core.datamodel import models
from numba.extending import intrinsic, overload, register_model

_I32 = ir.IntType(32)
_FAST = ('nsz', 'arcp', 'contract', 'reassoc')


class Vector(types.Type):
    """Numba's name for ``width`` float64 in one register."""

    def __init__(self, width: int):
        self.width = width
        super().__init__(name=f'Vector({width} x float64)')

    @property
    def llvm(self) -> ir.VectorType:
        return ir.VectorType(ir.DoubleType(), self.width)


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager, vector):
        super().__init__(manager, vector, vector.llvm)


V4, V8 = Vector(4), Vector(8)


def _lanes(indices) -> ir.Constant:
    return ir.Constant(ir.VectorType(_I32, len(indices)), list(indices))


def _splat(builder, value, width):
    vector = ir.Constant(ir.VectorType(ir.DoubleType(), width), ir.Undefined)
    vector = builder.insert_element(vector, value, ir.Constant(_I32, 0))
    return builder.shuffle_vector(vector, vector, _lanes([0] * width))


def _pointer(context, builder, array_type, array, index):
    """Address of element ``index`` of a flat array, as that of a vector of four."""
    data = context.make_array(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [index]), V4.llvm.as_pointer())


@intrinsic
def load4(typing, array, index):
    """Four consecutive elements of a C-contiguous float64 array, counted flat from ``index``."""

    def generate(context, builder, signature, arguments):
        value = builder.load(_pointer(context, builder, signature.args[0], *arguments))
        value.align = 8
        return value

    return V4(array, types.intp), generate


@intrinsic
def store4(typing, array, index, vector):
    """Put four elements back."""

    def generate(context, builder, signature, arguments):
        store = builder.store(arguments[2], _pointer(context, builder, signature.args[0], *arguments[:2]))
        store.align = 8
        return context.get_dummy_value()

    return types.void(array, types.intp, V4), generate


@intrinsic
def broadcast4(typing, value):
    """One number in all four places."""

    def generate(context, builder, signature, arguments):
        return _splat(builder, arguments[0], 4)

    return V4(types.float64), generate


@intrinsic
def broadcast8(typing, low, high):
    """``low`` in the lower four places, ``high`` in the upper four."""

    def generate(context, builder, signature, arguments):
        halves = [_splat(builder, value, 4) for value in arguments]
        return builder.shuffle_vector(*halves, _lanes(range(8)))

    return V8(types.float64, types.float64), generate


@intrinsic
def twice(typing, vector):
    """A vector of four, twice over."""

    def generate(context, builder, signature, arguments):
        return builder.shuffle_vector(arguments[0], arguments[0], _lanes([0, 1, 2, 3, 0, 1, 2, 3]))

    return V8(V4), generate


def _half(lanes):
    @intrinsic
    def half(typing, vector):
        def generate(context, builder, signature, arguments):
            return builder.shuffle_vector(arguments[0], arguments[0], _lanes(lanes))

        return V4(V8), generate

    return half


#: The lower and the upper four of eight.
lower, upper = _half([0, 1, 2, 3]), _half([4, 5, 6, 7])


@intrinsic
def sums(typing, a, b, c, d):
    """The sums over four vectors, as one vector: (Σa, Σb, Σc, Σd)."""

    def generate(context, builder, signature, arguments):
        def interleaved(x, y, lanes):
            return builder.shuffle_vector(x, y, _lanes(lanes))

        a, b, c, d = arguments
        ab = builder.fadd(interleaved(a, b, [0, 4, 2, 6]), interleaved(a, b, [1, 5, 3, 7]), flags=_FAST)
        cd = builder.fadd(interleaved(c, d, [0, 4, 2, 6]), interleaved(c, d, [1, 5, 3, 7]), flags=_FAST)
        return builder.fadd(interleaved(ab, cd, [0, 1, 4, 5]), interleaved(ab, cd, [2, 3, 6, 7]), flags=_FAST)

    return V4(V4, V4, V4, V4), generate


@intrinsic(prefer_literal=True)
def lane(typing, vector, index):
    """One of the four numbers; the index is a literal."""
    if not isinstance(index, types.IntegerLiteral):
        return None
    position = index.literal_value

    def generate(context, builder, signature, arguments):
        return builder.extract_element(arguments[0], ir.Constant(_I32, position))

    return types.float64(V4, index), generate


@intrinsic(prefer_literal=True)
def spread(typing, vector, index):
    """One of the four numbers, in all four places; the index is a literal."""
    if not isinstance(index, types.IntegerLiteral):
        return None
    position = index.literal_value

    def generate(context, builder, signature, arguments):
        return builder.shuffle_vector(arguments[0], arguments[0], _lanes([position] * 4))

    return V4(V4, index), generate


def _constant(values):
    @intrinsic
    def constant(typing):
        def generate(context, builder, signature, arguments):
            return ir.Constant(V4.llvm, list(values))

        return V4(), generate

    return constant


# The four cubics of a uniform B-spline as polynomials in t, lowest power first, one lane a function.
_c0 = _constant([1 / 6, 4 / 6, 1 / 6, 0.0])
_c1 = _constant([-3 / 6, 0.0, 3 / 6, 0.0])
_c2 = _constant([3 / 6, -6 / 6, 3 / 6, 0.0])
_c3 = _constant([-1 / 6, 3 / 6, -3 / 6, 1 / 6])
_d1 = _constant([6 / 6, -12 / 6, 6 / 6, 0.0])
_d2 = _constant([-3 / 6, 9 / 6, -9 / 6, 3 / 6])


def _arithmetic(symbol, method):
    @intrinsic
    def apply(typing, a, b):
        def generate(context, builder, signature, arguments):
            return getattr(builder, method)(*arguments, flags=_FAST)

        return a(a, b), generate

    @overload(symbol, inline='always')
    def overloaded(a, b):
        if isinstance(a, Vector) and a == b:
            return lambda a, b: apply(a, b)


for _symbol, _method in ((operator.add, 'fadd'), (operator.sub, 'fsub'), (operator.mul, 'fmul')):
    _arithmetic(_symbol, _method)



@nb.njit(inline='always')
def cubic_values4(t):
    """The four functions of a uniform cubic B-spline on an interval, ``t`` from 0 to 1 across it, as one vector."""
    t = broadcast4(t)
    return _c0() + t * (_c1() + t * (_c2() + t * _c3()))


@nb.njit(inline='always')
def cubic_slopes4(t):
    """Their derivatives by ``t``."""
    t = broadcast4(t)
    return _c1() + t * (_d1() + t * _d2())

"""A small vector type for compiled code: four or eight float64 that are added and multiplied at once.

Numba does not turn short unrolled sums into vector instructions by itself. Here LLVM's vector types are given to it as
values: ``load4``, ``store4``, ``broadcast4``, ``+`` and ``*`` are then all that a kernel needs to read as
arithmetic. LLVM maps them to whatever the processor has, two registers of four where it has none of eight.
"""

from __future__ import annotations

import operator

import numba as nb
from llvmlite import ir
from numba.core import cgutils, types
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


def _pointer(context, builder, array_type, array, index, vector):
    """Address of element ``index`` of an array, counted flat, as that of a vector."""
    data = context.make_array(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [index]), vector.llvm.as_pointer())


def _load(vector):
    @intrinsic
    def load(typing, array, index):
        def generate(context, builder, signature, arguments):
            value = builder.load(_pointer(context, builder, signature.args[0], *arguments, vector))
            value.align = 8
            return value

        return vector(array, types.intp), generate

    return load


def _store(vector):
    @intrinsic
    def store(typing, array, index, values):
        def generate(context, builder, signature, arguments):
            stored = builder.store(arguments[2], _pointer(context, builder, signature.args[0], *arguments[:2], vector))
            stored.align = 8
            return context.get_dummy_value()

        return types.void(array, types.intp, vector), generate

    return store


def _broadcast(vector):
    @intrinsic
    def broadcast(typing, value):
        def generate(context, builder, signature, arguments):
            return _splat(builder, arguments[0], vector.width)

        return vector(types.float64), generate

    return broadcast


#: Consecutive elements of a C-contiguous float64 array, counted flat from an index: ``load4(array, index)``.
load4, load8 = _load(V4), _load(V8)
#: Put them back: ``store4(array, index, vector)``.
store4, store8 = _store(V4), _store(V8)
#: One number in all places.
broadcast4, filled8 = _broadcast(V4), _broadcast(V8)


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


def _call(builder, name, vector, arguments):
    """Call an LLVM intrinsic that works on each place by itself."""
    kind = ir.FunctionType(vector.llvm, [vector.llvm] * len(arguments))
    function = cgutils.get_or_insert_function(builder.module, kind, f'llvm.{name}.v{vector.width}f64')
    return builder.call(function, arguments)


def _of_one(name):
    @intrinsic
    def apply(typing, a):
        def generate(context, builder, signature, arguments):
            return _call(builder, name, a, arguments)

        return a(a), generate

    return apply


#: Square root and largest whole number below, place by place.
root, whole = _of_one('sqrt'), _of_one('floor')


@intrinsic
def lesser(typing, a, b):
    """The smaller of two, place by place."""

    def generate(context, builder, signature, arguments):
        return _call(builder, 'minnum', a, arguments)

    return a(a, b), generate


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


for _symbol, _method in ((operator.add, 'fadd'), (operator.sub, 'fsub'), (operator.mul, 'fmul'), (operator.truediv, 'fdiv')):
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

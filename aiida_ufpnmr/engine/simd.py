"""A small vector type for compiled code: four or eight numbers that are added and multiplied at once.

Numba does not turn short unrolled sums into vector instructions by itself. Here LLVM's vector types are given to it as
values: ``load4``, ``store``, ``broadcast4``, ``+`` and ``*`` are then all that a kernel needs to read as arithmetic.
LLVM maps them to whatever the processor has, two registers of four where it has none of eight.

The numbers are float64 or float32, as the arrays and numbers that they are made of.
"""

from __future__ import annotations

import operator

from llvmlite import ir
from numba.core import cgutils, types
from numba.core.datamodel import models
from numba.extending import intrinsic, overload, register_model

_I32 = ir.IntType(32)
_FAST = ('nsz', 'arcp', 'contract', 'reassoc')
#: No reordering that could hide a NaN, but sums may be contracted and vectorised.
MATH = set(_FAST)


class Vector(types.Type):
    """The type, to Numba, of ``width`` numbers in one register."""

    def __init__(self, width: int, real: types.Float = types.float64):
        self.width = width
        self.real = real
        super().__init__(name=f'Vector({width} x {real})')

    @property
    def llvm(self) -> ir.VectorType:
        return ir.VectorType(ir.DoubleType() if self.real is types.float64 else ir.FloatType(), self.width)


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager, vector):
        super().__init__(manager, vector, vector.llvm)


def _lanes(indices) -> ir.Constant:
    return ir.Constant(ir.VectorType(_I32, len(indices)), list(indices))


def _splat(builder, value, width):
    vector = ir.Constant(ir.VectorType(value.type, width), ir.Undefined)
    vector = builder.insert_element(vector, value, ir.Constant(_I32, 0))
    return builder.shuffle_vector(vector, vector, _lanes([0] * width))


def _pointer(context, builder, array_type, array, index, vector):
    """Address of element ``index`` of an array, counted flat, as that of a vector."""
    data = context.make_array(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [index]), vector.llvm.as_pointer())


def _load(width):
    @intrinsic
    def load(typing, array, index):
        vector = Vector(width, array.dtype)

        def generate(context, builder, signature, arguments):
            value = builder.load(_pointer(context, builder, signature.args[0], arguments[0], arguments[1], vector))
            value.align = vector.real.bitwidth // 8
            return value

        return vector(array, types.intp), generate

    return load


@intrinsic
def store(typing, array, index, values):
    """Put a vector into a C-contiguous array from a flat index on, in the precision of the array."""
    vector = Vector(values.width, array.dtype)

    def generate(context, builder, signature, arguments):
        array, index, numbers = arguments
        if vector != values:
            change = builder.fptrunc if vector.real.bitwidth < values.real.bitwidth else builder.fpext
            numbers = change(numbers, vector.llvm)
        stored = builder.store(numbers, _pointer(context, builder, signature.args[0], array, index, vector))
        stored.align = vector.real.bitwidth // 8
        return context.get_dummy_value()

    return types.void(array, types.intp, values), generate


def _broadcast(width):
    @intrinsic
    def broadcast(typing, value):
        def generate(context, builder, signature, arguments):
            return _splat(builder, arguments[0], width)

        return Vector(width, value)(value), generate

    return broadcast


#: Consecutive elements of a C-contiguous array, counted flat from an index: ``load4(array, index)``.
load4, load8 = _load(4), _load(8)
#: One number in all places.
broadcast4, broadcast8 = _broadcast(4), _broadcast(8)


@intrinsic
def halves(typing, low, high):
    """A vector of eight with the number ``low`` in the lower four places and ``high`` in the upper four."""

    def generate(context, builder, signature, arguments):
        both = [_splat(builder, value, 4) for value in arguments]
        return builder.shuffle_vector(*both, _lanes(range(8)))

    return Vector(8, low)(low, high), generate


@intrinsic
def joined(typing, low, high):
    """Two vectors of four as one of eight."""

    def generate(context, builder, signature, arguments):
        return builder.shuffle_vector(*arguments, _lanes(range(8)))

    return Vector(8, low.real)(low, high), generate


def _picked(*places):
    @intrinsic
    def picked(typing, vector):
        def generate(context, builder, signature, arguments):
            return builder.shuffle_vector(arguments[0], arguments[0], _lanes(places))

        return Vector(len(places), vector.real)(vector), generate

    return picked


#: The lower and the upper four of eight, and a vector of four twice over.
lower, upper, twice = _picked(0, 1, 2, 3), _picked(4, 5, 6, 7), _picked(0, 1, 2, 3, 0, 1, 2, 3)


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

    return a(a, b, c, d), generate


@intrinsic(prefer_literal=True)
def column(typing, a, b, c, d, index):
    """One place of four vectors, as one vector: (a[index], b[index], c[index], d[index]); the index is a literal."""
    if not isinstance(index, types.IntegerLiteral):
        return None
    k = index.literal_value

    def generate(context, builder, signature, arguments):
        a, b, c, d, _ = arguments
        ab = builder.shuffle_vector(a, b, _lanes([k, 4 + k, k, 4 + k]))
        cd = builder.shuffle_vector(c, d, _lanes([k, 4 + k, k, 4 + k]))
        return builder.shuffle_vector(ab, cd, _lanes([0, 1, 4, 5]))

    return a(a, b, c, d, index), generate


@intrinsic(prefer_literal=True)
def lane(typing, vector, index):
    """One of the numbers; the index is a literal."""
    if not isinstance(index, types.IntegerLiteral):
        return None
    position = index.literal_value

    def generate(context, builder, signature, arguments):
        return builder.extract_element(arguments[0], ir.Constant(_I32, position))

    return vector.real(vector, index), generate


@intrinsic(prefer_literal=True)
def spread(typing, vector, index):
    """One of four numbers, in all four places; the index is a literal."""
    if not isinstance(index, types.IntegerLiteral):
        return None
    position = index.literal_value

    def generate(context, builder, signature, arguments):
        return builder.shuffle_vector(arguments[0], arguments[0], _lanes([position] * 4))

    return vector(vector, index), generate


def _call(builder, name, vector, arguments):
    """Call an LLVM intrinsic that works on each place by itself."""
    kind = ir.FunctionType(vector.llvm, [vector.llvm] * len(arguments))
    function = cgutils.get_or_insert_function(
        builder.module, kind, f'llvm.{name}.v{vector.width}f{vector.real.bitwidth}'
    )
    return builder.call(function, arguments)


def _of_one(name):
    @intrinsic
    def apply(typing, a):
        def generate(context, builder, signature, arguments):
            return _call(builder, name, a, arguments)

        return a(a), generate

    return apply


def _of_two(name):
    @intrinsic
    def apply(typing, a, b):
        def generate(context, builder, signature, arguments):
            return _call(builder, name, a, arguments)

        return a(a, b), generate

    return apply


#: Square root and largest whole number below, place by place.
sqrt, floor = _of_one('sqrt'), _of_one('floor')
#: The smaller and the greater of two, place by place.
minimum, maximum = _of_two('minnum'), _of_two('maxnum')


def _arithmetic(symbol, method):
    """Teach Numba an operator between vectors, and between a vector and a number, which then stands in all places."""

    @intrinsic
    def apply(typing, a, b):
        result = a if isinstance(a, Vector) else b

        def generate(context, builder, signature, arguments):
            operands = [
                value if isinstance(kind, Vector)
                else _splat(builder, context.cast(builder, value, kind, result.real), result.width)
                for kind, value in zip(signature.args, arguments)
            ]  # fmt: skip
            return getattr(builder, method)(*operands, flags=_FAST)

        return result(a, b), generate

    @overload(symbol)
    def overloaded(a, b):
        vectors = [kind for kind in (a, b) if isinstance(kind, Vector)]
        numbers = [kind for kind in (a, b) if isinstance(kind, types.Float)]
        if len(set(vectors)) == 1 and len(vectors) + len(numbers) == 2:
            return lambda a, b: apply(a, b)


for _symbol, _method in (
    (operator.add, 'fadd'),
    (operator.sub, 'fsub'),
    (operator.mul, 'fmul'),
    (operator.truediv, 'fdiv'),
):
    _arithmetic(_symbol, _method)

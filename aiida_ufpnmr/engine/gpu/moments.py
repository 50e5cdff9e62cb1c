"""Terms of moments around one atom, see :mod:`~aiida_ufpnmr.engine.ufp.moments`, by the lanes of a warp.

The lanes share the neighbours for the densities, then the components of the moments, the pairs of densities, and the
derivatives of the energy by the components, each of which one lane sums in a fixed order; and the neighbours again.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from aiida_ufpnmr.engine.gpu.fixed_point import FORCE_UNIT
from aiida_ufpnmr.engine.gpu.lanes import Lanes
from aiida_ufpnmr.engine.gpu.tables import Shape
from aiida_ufpnmr.engine.ufp.moments import FADE, N_MOMENTS

_ZERO, _HALF, _ONE, _TWO, _THREE = (np.float32(x) for x in (0, 0.5, 1, 2, 3))
_THIRD, _FADE, _PER_FORCE = np.float32(1 / 3), np.float32(FADE), np.float32(1 / FORCE_UNIT)
#: Numbers of a pair of densities: the products of their scalars, of their vectors, of their matrices; the sums over
#: third densities that go with these; the products of their vectors by component; the matrix that joins the vectors.
_SCALARS, _DOT, _DOUBLE, _OF_SCALARS, _OF_DOT, _OF_DOUBLE, _OUTER, _JOINING = 0, 1, 2, 3, 4, 5, 6, 12
N_PRODUCTS = 18


def component_functions(lanes: Lanes) -> tuple[Callable, Callable]:
    """Component ``c`` of a density in the direction of a unit vector, and the same times the gradient by that vector.

    The components are 1, x, y, z, x² − 1/3, y² − 1/3, z² − 1/3, x y, x z, y z.
    """

    @lanes.function
    def component(c, x, y, z):
        if c < 4:
            return _ONE if c == 0 else x if c == 1 else y if c == 2 else z
        if c < 7:
            return (x * x if c == 4 else y * y if c == 5 else z * z) - _THIRD
        return x * y if c == 7 else x * z if c == 8 else y * z

    @lanes.function
    def gradient(c, x, y, z):
        if c < 4:
            return _ONE if c == 1 else _ZERO, _ONE if c == 2 else _ZERO, _ONE if c == 3 else _ZERO
        if c < 7:
            return _TWO * x if c == 4 else _ZERO, _TWO * y if c == 5 else _ZERO, _TWO * z if c == 6 else _ZERO
        return (
            _ZERO if c == 9 else y if c == 7 else z,
            _ZERO if c == 8 else x if c == 7 else z,
            _ZERO if c == 7 else x if c == 8 else y,
        )

    return component, gradient


def moment_function(lanes: Lanes, shape: Shape) -> Callable:
    """What one lane does: (centre, neighbours, lane, warp, tables, scratch) -> its share of the energy, eV.

    The gradients by the vectors to the neighbours are added to ``scratch.pull``.
    """
    count, sync, nearest = lanes.count, lanes.sync, lanes.nearest
    component, gradient = component_functions(lanes)
    multiply, derivative = _product_function(lanes, shape), _derivative_function(lanes, shape)
    ranges, densities = shape.ranges, shape.densities
    n_pairs = densities * (densities + 1) // 2

    @lanes.function
    def add_moments(centre, m, lane, warp, tables, scratch):
        for b in range(lane, m, count):
            inverse = scratch.vector[warp, b, 3]
            x, y, z = scratch.vector[warp, b, 0], scratch.vector[warp, b, 1], scratch.vector[warp, b, 2]
            # a density ceases to grow below the shortest distance in the data, see moment_kernels.held
            r, closest = (x * x + y * y + z * z) * inverse, tables.moment_closest[centre, scratch.atom[warp, b, 1]]
            width = _FADE * closest
            over = min(max(r - (closest - width), _ZERO), width)
            growth = over / width
            grown = closest - _HALF * width + _HALF * over * growth + max(r - closest, _ZERO)
            for k in range(ranges):
                reach = tables.moment_range[centre, k]
                inside = max(_ONE - grown / reach, _ZERO)
                scratch.density[warp, b, k] = inside * inside * inside
                scratch.density[warp, b, ranges + k] = -_THREE * inside * inside / reach * growth
        sync()
        for item in range(lane, N_MOMENTS * densities, count):
            c, d = item // densities, item % densities
            species, k, found = d // ranges, d % ranges, _ZERO
            for b in range(m):
                if scratch.atom[warp, b, 1] == species:
                    inverse = scratch.vector[warp, b, 3]
                    x, y = scratch.vector[warp, b, 0] * inverse, scratch.vector[warp, b, 1] * inverse
                    z = scratch.vector[warp, b, 2] * inverse
                    found += scratch.density[warp, b, k] * component(c, x, y, z)
            scratch.moment[warp, 0, c, d] = found
        sync()
        energy = _ZERO
        for h in range(lane, n_pairs, count):
            energy += multiply(h, centre, warp, tables, scratch)
        sync()
        for item in range(lane, N_MOMENTS * densities, count):
            c, d = item // densities, item % densities
            scratch.moment[warp, 1, c, d] = derivative(c, d, centre, warp, tables, scratch)
        sync()
        for b in range(lane, m, count):
            inverse, species = scratch.vector[warp, b, 3], scratch.atom[warp, b, 1]
            x, y = scratch.vector[warp, b, 0] * inverse, scratch.vector[warp, b, 1] * inverse
            z = scratch.vector[warp, b, 2] * inverse
            along = wx = wy = wz = _ZERO
            for c in range(N_MOMENTS):
                by_value = by_slope = _ZERO
                for k in range(ranges):
                    weight = scratch.moment[warp, 1, c, species * ranges + k]
                    by_value += weight * scratch.density[warp, b, k]
                    by_slope += weight * scratch.density[warp, b, ranges + k]
                along += by_slope * component(c, x, y, z)
                gx, gy, gz = gradient(c, x, y, z)
                wx, wy, wz = wx + by_value * gx, wy + by_value * gy, wz + by_value * gz
            # of the derivative by the unit vector only what is across it counts
            along -= (wx * x + wy * y + wz * z) * inverse
            scratch.pull[warp, b, 0] += nearest((along * x + wx * inverse) * _PER_FORCE)
            scratch.pull[warp, b, 1] += nearest((along * y + wy * inverse) * _PER_FORCE)
            scratch.pull[warp, b, 2] += nearest((along * z + wz * inverse) * _PER_FORCE)
        sync()
        return energy

    return add_moments


def _product_function(lanes: Lanes, shape: Shape) -> Callable:
    """Numbers of the pair ``h`` of densities; returns the energy of its terms, eV."""
    densities = shape.densities

    @lanes.function
    def multiply(h, centre, warp, tables, scratch):
        moment, product, coefficient = scratch.moment, scratch.product, tables.moment_coefficient
        p, q = 0, h
        while q >= densities - p:
            q -= densities - p
            p += 1
        q += p
        ax, ay, az = moment[warp, 0, 1, p], moment[warp, 0, 2, p], moment[warp, 0, 3, p]
        bx, by, bz = moment[warp, 0, 1, q], moment[warp, 0, 2, q], moment[warp, 0, 3, q]
        product[warp, h, _OUTER], product[warp, h, _OUTER + 1], product[warp, h, _OUTER + 2] = ax * bx, ay * by, az * bz
        product[warp, h, _OUTER + 3], product[warp, h, _OUTER + 4] = ax * by + ay * bx, ax * bz + az * bx
        product[warp, h, _OUTER + 5] = ay * bz + az * by
        scalars, dot, double = moment[warp, 0, 0, p] * moment[warp, 0, 0, q], ax * bx + ay * by + az * bz, _ZERO
        for c in range(4, 7):
            double += moment[warp, 0, c, p] * moment[warp, 0, c, q]
            double += _TWO * moment[warp, 0, c + 3, p] * moment[warp, 0, c + 3, q]
        of_scalars = of_dot = of_double = _ZERO
        for d in range(densities):
            scalar = moment[warp, 0, 0, d]
            of_scalars += coefficient[centre, 0, h, d] * scalar
            of_dot += coefficient[centre, 1, h, d] * scalar
            of_double += coefficient[centre, 2, h, d] * scalar
        of_dot += coefficient[centre, 1, h, densities]  # v·v and M:M alone
        of_double += coefficient[centre, 2, h, densities]
        energy = of_scalars * scalars + of_dot * dot + of_double * double
        for c in range(6):
            joining = _ZERO
            for d in range(densities):
                joining += coefficient[centre, 3, h, d] * moment[warp, 0, 4 + c, d]
            energy += joining * product[warp, h, _OUTER + c]
            product[warp, h, _JOINING + c] = joining + of_dot if c < 3 else joining
        product[warp, h, _SCALARS], product[warp, h, _DOT], product[warp, h, _DOUBLE] = scalars, dot, double
        product[warp, h, _OF_SCALARS], product[warp, h, _OF_DOT] = of_scalars, of_dot
        product[warp, h, _OF_DOUBLE] = of_double
        return energy

    return multiply


def _derivative_function(lanes: Lanes, shape: Shape) -> Callable:
    """Derivative of the energy by component ``c`` of the moments of density ``d``, eV."""
    densities = shape.densities
    n_pairs = densities * (densities + 1) // 2

    @lanes.function
    def from_other(c, h, other, warp, scratch):
        """What a pair of densities gives one of them, by the moments of the other."""
        moment, product = scratch.moment, scratch.product
        if c == 0:
            return product[warp, h, _OF_SCALARS] * moment[warp, 0, 0, other]
        if c < 4:
            # rows of the matrix xx, yy, zz, xy, xz, yz
            first, second, third = 0, 3, 4
            if c == 2:
                first, second, third = 3, 1, 5
            elif c == 3:
                first, second, third = 4, 5, 2
            return (
                product[warp, h, _JOINING + first] * moment[warp, 0, 1, other]
                + product[warp, h, _JOINING + second] * moment[warp, 0, 2, other]
                + product[warp, h, _JOINING + third] * moment[warp, 0, 3, other]
            )
        twice = _ONE if c < 7 else _TWO
        return twice * product[warp, h, _OF_DOUBLE] * moment[warp, 0, c, other]

    @lanes.function
    def derivative(c, d, centre, warp, tables, scratch):
        product, coefficient = scratch.product, tables.moment_coefficient
        found = _ZERO
        if c == 0:
            for h in range(n_pairs):
                found += coefficient[centre, 0, h, d] * product[warp, h, _SCALARS]
                found += coefficient[centre, 1, h, d] * product[warp, h, _DOT]
                found += coefficient[centre, 2, h, d] * product[warp, h, _DOUBLE]
        elif c >= 4:
            for h in range(n_pairs):
                found += coefficient[centre, 3, h, d] * product[warp, h, _OUTER + c - 4]
        for other in range(densities):
            low, high = min(d, other), max(d, other)
            h = low * densities - low * (low - 1) // 2 + high - low
            found += from_other(c, h, other, warp, scratch)
            if other == d:
                found += from_other(c, h, other, warp, scratch)
        return found

    return derivative

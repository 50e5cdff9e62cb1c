"""The parts of a time step that concern one atom: velocity Verlet, with the noise of Langevin dynamics in its middle.

Friction and noise act on motion relative to the centre of mass, as on the processor
(:func:`~aiida_ufpnmr.engine.md.thermostats.friction_and_noise`): the momentum of the noise of all atoms is known a step
ahead, and taken away from each. Forces are integers with a sum of exactly zero, so no other drift comes about.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from aiida_ufpnmr.engine.gpu.arrays import DONE, HELD_UP, LAST, NO_TROUBLE, SHORT, STALE, STEP, packed_trouble
from aiida_ufpnmr.engine.gpu.fixed_point import (
    ENERGY_UNIT,
    FORCE_UNIT,
    MOMENTUM_UNIT,
    PLACE_BITS,
    POSITION_BITS,
    POSITION_UNIT,
)
from aiida_ufpnmr.engine.gpu.lanes import Lanes
from aiida_ufpnmr.engine.gpu.noise import normals_function
from aiida_ufpnmr.engine.md import guards
from aiida_ufpnmr.engine.md.system import ACCELERATION

_TOO_HOT, _TOO_STRONG, _TOO_FAST = (
    packed_trouble(code) for code in (guards.TOO_HOT, guards.TOO_STRONG, guards.TOO_FAST)
)
_PER_POSITION, _PER_ENERGY, _PER_MOMENTUM = 1 / POSITION_UNIT, 1 / ENERGY_UNIT, 1 / MOMENTUM_UNIT
_SHIFT = POSITION_BITS - PLACE_BITS
_PUSH = ACCELERATION * FORCE_UNIT


class Motion(NamedTuple):
    """The parts, in their order; each is for all atoms before the next one, but for ``prime`` before the first step."""

    prime: Callable  # (replica, atom, state, rule) -> momentum of the noise of the coming step, and no heat
    begin: Callable  # (replica, atom, state, rule) -> momentum of that of the step after, and heat: kick and drift
    book: Callable  # (replica, step, momentum, heat, state): sums of these over atoms
    settle: Callable  # (replica, atom, state): what forces see of the positions; forces of zero
    finish: Callable  # (replica, atom, state, rule) -> its kinetic energy, for state.kinetic: last kick; guards
    close: Callable  # (replica, state, hottest): counts the step, by one thread


def motion_functions(lanes: Lanes) -> Motion:
    """The parts of a step, without those that compute forces."""
    add, least = lanes.add, lanes.least
    normals = normals_function(lanes)

    @lanes.function
    def noise_width(replica, atom, step, state, rule):
        """Standard deviation of a component of the noise in a step, Å/fs."""
        share = min(max(step / rule.ramp, 0.0), 1.0)
        thermal = state.bath[replica, 0] + (state.bath[replica, 1] - state.bath[replica, 0]) * share
        return math.sqrt((1.0 - rule.memory * rule.memory) * thermal * ACCELERATION / state.mass[atom])

    @lanes.function
    def noise_momentum(replica, atom, step, state, rule):
        """Momentum of the noise of an atom in a step, and no heat."""
        if rule.memory == 1.0:
            return np.int64(0), np.int64(0), np.int64(0), np.int64(0)
        x, y, z = normals(state.seed[replica], atom, step)
        factor = state.mass[atom] * noise_width(replica, atom, step, state, rule) * _PER_MOMENTUM
        return (
            np.int64(math.floor(factor * x + 0.5)),
            np.int64(math.floor(factor * y + 0.5)),
            np.int64(math.floor(factor * z + 0.5)),
            np.int64(0),
        )

    @lanes.function
    def prime(replica, atom, state, rule):
        return noise_momentum(replica, atom, state.control[replica, STEP] + 1, state, rule)

    @lanes.function
    def book(replica, step, px, py, pz, heat, state):
        add(state.noise, (replica, step % 3, 0), px)
        add(state.noise, (replica, step % 3, 1), py)
        add(state.noise, (replica, step % 3, 2), pz)
        add(state.heat, replica, heat)

    @lanes.function
    def begin(replica, atom, state, rule):
        step = state.control[replica, STEP] + 1
        push = 0.5 * rule.timestep * _PUSH / state.mass[atom]
        vx = state.velocity[replica, atom, 0] + push * state.force[replica, atom, 0]
        vy = state.velocity[replica, atom, 1] + push * state.force[replica, atom, 1]
        vz = state.velocity[replica, atom, 2] + push * state.force[replica, atom, 2]
        half, heat = 0.5 * rule.timestep, np.int64(0)
        x, y, z = half * vx, half * vy, half * vz
        if rule.memory < 1.0:
            before = vx * vx + vy * vy + vz * vz
            gx, gy, gz = normals(state.seed[replica], atom, step)
            width, slot = noise_width(replica, atom, step, state, rule), step % 3
            vx, vy, vz = rule.memory * vx + width * gx, rule.memory * vy + width * gy, rule.memory * vz + width * gz
            if rule.total_mass > 0.0:
                share = MOMENTUM_UNIT / rule.total_mass
                vx -= share * state.noise[replica, slot, 0]
                vy -= share * state.noise[replica, slot, 1]
                vz -= share * state.noise[replica, slot, 2]
            taken = 0.5 * state.mass[atom] / ACCELERATION * (before - vx * vx - vy * vy - vz * vz)
            heat = np.int64(math.floor(taken * _PER_ENERGY + 0.5))
        x, y, z = x + half * vx, y + half * vy, z + half * vz
        state.velocity[replica, atom, 0] = vx
        state.velocity[replica, atom, 1] = vy
        state.velocity[replica, atom, 2] = vz
        dx = dy = dz = 0.0
        for a in range(3):
            along = x * state.inverse_cell[replica, 0, a]
            along += y * state.inverse_cell[replica, 1, a] + z * state.inverse_cell[replica, 2, a]
            # beyond any sense, and where the velocity is no number: a guard finds it after this step
            along = along if abs(along) < 1.0 else 0.0
            state.position[replica, atom, a] += np.int64(math.floor(along * _PER_POSITION + 0.5))
            off = (state.position[replica, atom, a] - state.reference[replica, atom, a]) * POSITION_UNIT
            dx += off * state.cell[replica, a, 0]
            dy += off * state.cell[replica, a, 1]
            dz += off * state.cell[replica, a, 2]
        if dx * dx + dy * dy + dz * dz >= rule.allowance_square:
            state.control[replica, STALE] = 1
        px, py, pz, _ = noise_momentum(replica, atom, step + 1, state, rule)
        return px, py, pz, heat

    @lanes.function
    def settle(replica, atom, state):
        stale = state.control[replica, STALE] != 0
        for a in range(3):
            if stale:
                state.reference[replica, atom, a] = state.position[replica, atom, a]
            home = (state.reference[replica, atom, a] >> POSITION_BITS) << POSITION_BITS
            state.place[replica, atom, a] = np.int32((state.position[replica, atom, a] - home) >> _SHIFT)
            state.force[replica, atom, a] = 0
        if atom == 0:
            for a in range(3):
                # of the step after the next: nobody adds to it or reads it now
                state.noise[replica, (state.control[replica, STEP] + 3) % 3, a] = 0
            state.kinetic[replica] = 0

    @lanes.function
    def finish(replica, atom, state, rule):
        push = 0.5 * rule.timestep * _PUSH / state.mass[atom]
        strength = speed = 0.0
        for a in range(3):
            force = state.force[replica, atom, a] * FORCE_UNIT
            strength += force * force
            state.velocity[replica, atom, a] += push * state.force[replica, atom, a]
            speed += state.velocity[replica, atom, a] * state.velocity[replica, atom, a]
        if not strength <= rule.force_square:
            least(state.trouble, replica, _TOO_STRONG)
        if not speed <= rule.speed_square:
            least(state.trouble, replica, _TOO_FAST)
            return np.int64(0)
        return np.int64(math.floor(0.5 * state.mass[atom] / ACCELERATION * speed * _PER_ENERGY + 0.5))

    @lanes.function
    def close(replica, state, hottest):
        control = state.control
        if control[replica, SHORT] != 0:
            control[replica, HELD_UP] = 1
            control[replica, DONE] = 1
            return
        control[replica, STEP] += 1
        control[replica, STALE] = 0
        control[replica, HELD_UP] = 0
        if state.kinetic[replica] > hottest:
            least(state.trouble, replica, _TOO_HOT)
        if state.trouble[replica] != NO_TROUBLE or control[replica, STEP] >= control[replica, LAST]:
            control[replica, DONE] = 1

    return Motion(prime, begin, book, settle, finish, close)

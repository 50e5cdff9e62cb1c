"""Compiled time steps: velocity Verlet, with a thermostat woven in.

Every part leaves the wanted distribution as it is, but for the error of velocity Verlet itself; so does what they make
together (Trotter splitting), whichever thermostat and barostat are combined.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from ase import units

from aiida_ufpnmr.engine.compiled import njit
from aiida_ufpnmr.engine.md import thermostats
from aiida_ufpnmr.engine.md.conditions import Conditions
from aiida_ufpnmr.engine.md.guards import FINISHED, broken_limit
from aiida_ufpnmr.engine.md.skin import Allowance, make_lists, used_up
from aiida_ufpnmr.engine.md.system import ACCELERATION, kinetic_energy, remove_drift
from aiida_ufpnmr.engine.md.thermostats import chain_factor, friction_and_noise, rescaling_factor
from aiida_ufpnmr.engine.simd import MATH
from aiida_ufpnmr.engine.ufp.kernels import compute


class Bath(NamedTuple):
    """What the atoms are coupled to. The temperature goes from ``first`` at step 0 to ``last`` at step ``ramp``."""

    timestep: float  # fs
    thermostat: int
    relaxation: float  # fs
    degrees: int  # degrees of freedom
    first: float  # k_B T, eV
    last: float  # k_B T, eV
    ramp: float  # steps

    @classmethod
    def of(cls, conditions: Conditions, degrees: int) -> Bath:
        """The bath of a system of so many degrees of freedom."""
        first, last = conditions.temperature_K, conditions.final_temperature_K
        return cls(
            timestep=conditions.timestep_fs,
            thermostat=thermostats.NUMBERS[conditions.thermostat],
            relaxation=conditions.relaxation_fs,
            degrees=degrees,
            first=units.kB * first,
            last=units.kB * (first if last is None else last),
            ramp=max(1.0, float(conditions.ramp_steps)),
        )


@njit()
def thermal_energy(bath, step):
    """k_B T (eV) that the thermostat keeps at a step."""
    return bath.first + (bath.last - bath.first) * min(max(step / bath.ramp, 0.0), 1.0)


@njit(fastmath=MATH, forceinline=True)
def _kick(system, time):
    for i in range(len(system.masses)):
        for a in range(3):
            system.velocities[i, a] += time * ACCELERATION / system.masses[i] * system.forces[i, a]


@njit(fastmath=MATH, forceinline=True)
def _drift(system, time):
    for i in range(len(system.masses)):
        for a in range(3):
            system.positions[i, a] += time * system.velocities[i, a]


@njit()
def _scale(system, kinetic, factor):
    """Scale velocities and book the heat; returns the new kinetic energy."""
    for i in range(len(system.velocities)):
        for a in range(3):
            system.velocities[i, a] *= factor
    if len(system.masses) > 1:
        remove_drift(system.velocities, system.masses)
    system.heat[0] += kinetic * (1.0 - factor * factor)
    return kinetic * factor * factor


@njit()
def _couple_chain(system, bath, thermal):
    kinetic = kinetic_energy(system.velocities, system.masses)
    factor = chain_factor(system.chain, kinetic, thermal, bath.degrees, bath.relaxation, 0.5 * bath.timestep)
    _scale(system, kinetic, factor)


@njit()
def advance(n_steps, first_step, system, lists, allowance, tables, bath, limits, skin, rng):
    """Take up to ``n_steps`` steps in place, the first of them number ``first_step`` + 1, in a cell that stays the
    same.

    Energies and virial are set after the last of ``n_steps`` steps, and not known where it ended before.

    Args:
        lists: interaction lists of the present positions.
        allowance: how long these are good.
        skin: Å beyond the cut-offs that new lists hold.

    Returns:
        Steps taken, why it ended, the pair of atoms that came too close, the lists.
    """
    memory = np.exp(-bath.timestep / bath.relaxation)
    last_step = first_step + n_steps
    for step in range(first_step + 1, last_step + 1):
        thermal = thermal_energy(bath, step)
        if bath.thermostat == thermostats.NOSE_HOOVER:
            _couple_chain(system, bath, thermal)
        _kick(system, 0.5 * bath.timestep)
        if bath.thermostat == thermostats.LANGEVIN:
            _drift(system, 0.5 * bath.timestep)
            before = kinetic_energy(system.velocities, system.masses)
            friction_and_noise(system.velocities, system.masses, thermal, memory, rng)
            system.heat[0] += before - kinetic_energy(system.velocities, system.masses)
            _drift(system, 0.5 * bath.timestep)
        else:
            _drift(system, bath.timestep)
        if used_up(system, allowance):
            lists = make_lists(system, tables, skin)
            allowance = Allowance(np.eye(3), 0.5 * skin)
        i, j = compute(
            system.positions, system.types, lists, tables, system.forces, system.energies, system.virial,
            limits.closest, step == last_step,
        )  # fmt: skip
        _kick(system, 0.5 * bath.timestep)
        if bath.thermostat == thermostats.NOSE_HOOVER:
            _couple_chain(system, bath, thermal)
        kinetic = kinetic_energy(system.velocities, system.masses)
        if bath.thermostat == thermostats.RESCALING and kinetic > 0.0:
            factor = rescaling_factor(kinetic, 0.5 * bath.degrees * thermal, bath.degrees, memory, rng)
            kinetic = _scale(system, kinetic, factor)
        code = broken_limit(system, limits, i, kinetic)
        if code != FINISHED:
            return step - first_step, code, i, j, lists
    return n_steps, FINISHED, -1, -1, lists

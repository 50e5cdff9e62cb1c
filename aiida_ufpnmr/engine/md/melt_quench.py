"""From a composition to a glass, in stages of which each is a run that begins where the one before it ended."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase import Atoms, units

from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.md.conditions import LARGEST_PRESSURE_GPA
from aiida_ufpnmr.engine.md.placement import random_structure
from aiida_ufpnmr.engine.settings import Settings, setting
from aiida_ufpnmr.engine.ufp.potential import UltraFastPotential

#: Atoms are placed no closer than this times the shortest distance in the training data.
PLACEMENT = 1.05


@dataclass(frozen=True)
class Stage:
    """One part of a protocol.

    Attributes:
        name: what it is for.
        picoseconds: how long it is.
        conditions: arguments of :class:`~aiida_ufpnmr.engine.md.Simulation` that tell it from the others.
    """

    name: str
    picoseconds: float
    conditions: dict

    def steps(self, timestep_fs: float) -> int:
        """How many steps it has."""
        return max(1, round(1000 * self.picoseconds / timestep_fs))


@dataclass(frozen=True)
class MeltQuench(Settings):
    """Settings of a melt–quench protocol.

    Raises:
        InputError: a number out of range, or nothing to quench.
    """

    melt_temperature_K: float = setting(
        1200.0, 'Where the quench begins, in K.', above=0, metavar='K', option='melt-temperature'
    )
    temperature_K: float = setting(300.0, 'Where it ends, in K.', above=0, metavar='K', option='temperature')
    melt_ps: float = setting(5.0, 'From random places to a liquid, at constant volume.', above=0, metavar='PS')
    hold_ps: float = setting(20.0, 'Until the liquid has forgotten these, at constant volume.', above=0, metavar='PS')
    quench_rate_K_per_ps: float = setting(
        10.0, 'At constant pressure; 1 K/ps is 10¹² K/s.', above=0, metavar='K/PS', option='quench-rate'
    )
    anneal_ps: float = setting(20.0, 'At the final temperature and constant pressure.', above=0, metavar='PS')
    produce_ps: float = setting(
        0.0,
        'At the final temperature and volume; EFG tensors are predicted in this stage alone.',
        least=0,
        metavar='PS',
    )
    pressure_GPa: float = setting(
        0.0,
        'Of quench and anneal, in GPa.',
        least=-LARGEST_PRESSURE_GPA,
        most=LARGEST_PRESSURE_GPA,
        metavar='GPa',
        option='pressure',
    )

    def __post_init__(self):
        super().__post_init__()
        if not self.melt_temperature_K > self.temperature_K:
            raise InputError(f'a melt of {self.melt_temperature_K:g} K cannot be quenched to {self.temperature_K:g} K')

    def stages(self, timestep_fs: float) -> list[Stage]:
        """The stages in order."""
        hot, cold = self.melt_temperature_K, self.temperature_K
        quench_ps = (hot - cold) / self.quench_rate_K_per_ps
        ramp = {'final_temperature_K': cold, 'ramp_steps': max(1, round(1000 * quench_ps / timestep_fs))}
        pressed = {'ensemble': 'npt', 'pressure_GPa': self.pressure_GPa}
        stages = [
            Stage('melt', self.melt_ps, {'temperature_K': hot, 'thermostat': 'langevin', 'relaxation_fs': 20.0}),
            Stage('hold', self.hold_ps, {'temperature_K': hot}),
            Stage('quench', quench_ps, {'temperature_K': hot, **ramp, **pressed}),
            Stage('anneal', self.anneal_ps, {'temperature_K': cold, **pressed}),
        ]
        if self.produce_ps > 0:
            stages.append(Stage('produce', self.produce_ps, {'temperature_K': cold}))
        return stages


def random_start(
    potential: UltraFastPotential, composition: str, n_atoms: int, density_g_per_cm3: float, seed: int
) -> Atoms:
    """A :func:`~aiida_ufpnmr.engine.md.placement.random_structure` on which the potential can be used."""
    distance = {
        (a, b): PLACEMENT * float(potential.closest_distance[i, j])
        for i, a in enumerate(potential.species)
        for j, b in enumerate(potential.species)
    }
    return random_structure(composition, n_atoms, density_g_per_cm3, distance, seed)


def velocities(atoms: Atoms) -> np.ndarray:
    """(n, 3) velocities of ASE atoms in Å/fs."""
    return atoms.get_velocities() * units.fs

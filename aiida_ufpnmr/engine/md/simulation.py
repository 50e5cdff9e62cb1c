"""A molecular dynamics run in memory: state, steps, and the guards that stop it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.data import atomic_numbers

from aiida_ufpnmr.engine.cores import use_threads
from aiida_ufpnmr.engine.dataset import check_geometry
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.md import guards
from aiida_ufpnmr.engine.md.barostats import INTERVAL, Barostat
from aiida_ufpnmr.engine.md.conditions import MdSettings
from aiida_ufpnmr.engine.md.guards import Limits, Stop
from aiida_ufpnmr.engine.md.integrators import Bath, advance, thermal_energy
from aiida_ufpnmr.engine.md.skin import Allowance, allowance, follow_cell, make_lists
from aiida_ufpnmr.engine.md.system import ACCELERATION, STATE_ARRAYS, System, kinetic_energy, remove_drift
from aiida_ufpnmr.engine.md.thermostats import CHAIN_LENGTH
from aiida_ufpnmr.engine.neighbours import Surroundings, complete_cell, surroundings
from aiida_ufpnmr.engine.settings import settings_from_keywords
from aiida_ufpnmr.engine.structure.units import Units, find_units
from aiida_ufpnmr.engine.ufp.kernels import compute
from aiida_ufpnmr.engine.ufp.lists import surroundings_in
from aiida_ufpnmr.engine.ufp.potential import UltraFastPotential
from aiida_ufpnmr.engine.ufp.tables import build_tables
from aiida_ufpnmr.engine.ufp.uncertainty import extrapolation_grade

#: Steps between two looks at the world (interruption, output): short enough that nobody waits.
_CHUNK_ATOM_STEPS = 100_000
#: Far above what structures show that a potential was trained on, eV/Å.
LARGEST_FORCE = 200.0
#: No atom moves so far in one step that is short enough for the fastest vibrations, Å.
LARGEST_MOVE = 1.0


class Simulation:
    """Molecular dynamics with an ultra-fast potential.

    Args:
        atoms: structure to start from.
        potential: the potential.
        velocities: (n, 3) first velocities in Å/fs, taken as they are; drawn from ``seed`` where not given.
        first_step: number of the present step; below zero for steps that only equilibrate.
        source: what to call the structure in messages.
        settings: ``timestep_fs``, ``temperature_K``, ``ensemble``, … by name, as in
            :class:`~aiida_ufpnmr.engine.md.conditions.MdSettings`.

    Raises:
        InputError: an unknown element or choice, a number out of range, a geometry that cannot be used.
    """

    #: Threads that the kernels really run on.
    threads: int
    #: What moves the atoms, its make where results shall name it, and the arrays of :meth:`state` there.
    device, device_name = 'cpu', ''
    state_arrays: tuple[str, ...] = STATE_ARRAYS

    def __init__(
        self,
        atoms: Atoms,
        potential: UltraFastPotential,
        *,
        velocities: np.ndarray | None = None,
        first_step: int = 0,
        source: str = 'structure',
        **settings: Any,
    ):
        self.settings = settings_from_keywords(MdSettings, settings, 'molecular dynamics')
        types = potential.types(atoms)
        check_geometry(atoms, source)
        if self.ensemble == 'npt' and not atoms.pbc.all():
            raise InputError(f'{source}: constant pressure needs a cell that is periodic along all directions')
        self.potential = potential
        self.step = int(first_step)
        self._start = atoms.copy()
        if self.settings.masses:
            self._start.set_masses(_masses(atoms, self.settings.masses))
        # sorted by species, so that every row of the interaction lists is sorted by species
        self._order = np.argsort(types, kind='stable')
        self._back = np.argsort(self._order, kind='stable')
        n = len(atoms)
        positions = np.ascontiguousarray(atoms.positions[self._order], dtype=float)
        cell = np.array(complete_cell(positions, atoms.cell.array, atoms.pbc))
        self._system = System(
            positions=positions,
            velocities=np.zeros((n, 3)),
            forces=np.zeros((n, 3)),
            energies=np.zeros(n),
            virial=np.zeros((3, 3)),
            cell=cell,
            reference=positions.copy(),
            reference_cell=cell.copy(),
            chain=np.zeros(CHAIN_LENGTH),
            heat=np.zeros(1),
            masses=self._start.get_masses()[self._order],
            types=types[self._order],
            pbc=atoms.pbc.copy(),
        )
        self._tables = build_tables(potential, self.settings.precision, self.settings.threads)
        self.threads = use_threads(self.settings.threads)
        self._degrees = 3 * n - 3 if n > 1 else 3
        self._bath = Bath.of(self.settings, self._degrees)
        self._barostat = Barostat.of(self.settings, cell)
        self._rng = np.random.Generator(np.random.PCG64(self.settings.seed))
        self._system.velocities[:] = self._draw_velocities() if velocities is None else velocities[self._order]
        closest = np.maximum(self.settings.guard_fraction * potential.closest_distance, potential.pair_start)
        # far outside what a canonical ensemble shows, however small the cell
        hottest = 1.5 * units.kB * (3 * self.settings.highest_temperature_K + 1000.0) * n
        self._limits = Limits(closest, LARGEST_FORCE, LARGEST_MOVE / self.timestep_fs, hottest)
        self._lists = make_lists(self._system, self._tables, self.settings.skin)
        pair = self._compute_forces()
        if pair[0] >= 0:
            raise InputError(f'{source}: {self._close_pair(*pair)}; relax the structure, or label such structures')

    def _draw_velocities(self) -> np.ndarray:
        """Maxwell–Boltzmann velocities without total momentum, at exactly the wanted temperature, Å/fs."""
        masses = self._system.masses
        width = np.sqrt(self._bath.first * ACCELERATION / masses)
        velocities = self._rng.standard_normal((len(masses), 3)) * width[:, None]
        if len(masses) > 1:
            remove_drift(velocities, masses)
        kinetic = kinetic_energy(velocities, masses)
        return velocities * math.sqrt(0.5 * self._degrees * self._bath.first / kinetic) if kinetic > 0 else velocities

    def _compute_forces(self) -> tuple[int, int]:
        s = self._system
        return compute(
            s.positions, s.types, self._lists, self._tables, s.forces, s.energies, s.virial, self._limits.closest, True
        )

    def _close_pair(self, i: int, j: int) -> str:
        a, b = self._system.types[i], self._system.types[j]
        names = f'{self.potential.species[a]} {self._order[i]} and {self.potential.species[b]} {self._order[j]}'
        limit = self._limits.closest[a, b]
        known = self.settings.guard_fraction * self.potential.closest_distance[a, b]
        what = 'the first knot of the potential'
        if limit == known:
            what = f'{self.settings.guard_fraction:g} of the shortest distance in the training data'
        return f'atoms {names} came closer than {limit:.2f} Å ({what})'

    @property
    def chunk(self) -> int:
        """A number of steps that takes about a second at most."""
        return max(1, _CHUNK_ATOM_STEPS // len(self._system.masses))

    def run(self, n_steps: int) -> Stop | None:
        """Take ``n_steps`` steps, fewer where a guard stops the run; then the :class:`Stop` says why."""
        last = self.step + n_steps
        while self.step < last:
            end = last if self._barostat is None else min(last, (self.step // INTERVAL + 1) * INTERVAL)
            taken, code, i, j, self._lists = advance(
                end - self.step, self.step, self._system, self._lists, self._allowance, self._tables, self._bath,
                self._limits, self.settings.skin, self._rng,
            )  # fmt: skip
            self.step += taken
            if code != guards.FINISHED:
                self._compute_forces()  # energies and virial, too
                return self._stop(code, i, j)
            if self.step % INTERVAL == 0:
                self._change_cell()
        return None

    def _stop(self, code: int, i: int, j: int) -> Stop:
        at = f'at step {self.step}'
        match code:
            case guards.TOO_CLOSE:
                return Stop('closest_approach', f'{at}: {self._close_pair(i, j)}')
            case guards.TOO_HOT:
                return Stop('temperature', f'{at}: the temperature ran away to {self.temperature:.0f} K')
            case guards.TOO_STRONG:
                largest = np.linalg.norm(self._system.forces, axis=1).max()
                return Stop('force', f'{at}: a force of {largest:.0f} eV/Å, above {self._limits.force:g}')
        return Stop('displacement', f'{at}: an atom moved by more than {LARGEST_MOVE:g} Å in one step')

    def _change_cell(self) -> None:
        if self._barostat is None:
            return

        def follow_and_compute() -> bool:
            self._lists = follow_cell(self._system, self._lists, self._tables, self.settings.skin)
            return self._compute_forces()[0] < 0

        thermal = thermal_energy(self._bath, self.step)
        if not self._barostat.change_cell(self._system, thermal, follow_and_compute, self._rng):
            self._lists = follow_cell(self._system, self._lists, self._tables, self.settings.skin)

    @property
    def _allowance(self) -> Allowance:
        return allowance(self._system, self._tables.cutoff, self.settings.skin)

    def surroundings(self, centres: np.ndarray, cutoff: float) -> Surroundings:
        """Neighbours of some atoms within ``cutoff`` (Å), from the lists of the run where these reach as far.

        Args:
            centres: (n_centres,) indices of the atoms, in the order of the structure.
        """
        if cutoff > self._tables.cutoff:
            return surroundings(self.positions, self.cell, self._start.pbc, cutoff, centres)
        row = np.full(len(self._order), -1)
        row[self._back[centres]] = np.arange(len(centres))
        start, index, vector = surroundings_in(self._lists, self._system.positions, row, len(centres), cutoff)
        return Surroundings(start, self._order[index], vector)

    def extrapolation_grades(self) -> np.ndarray:
        """Extrapolation grade of each atom, (n,); see :func:`~aiida_ufpnmr.engine.ufp.extrapolation_grade`.

        Raises:
            InputError: the potential has no posterior.
        """
        return extrapolation_grade(self.potential, self.atoms)

    @cached_property
    def first_units(self) -> Units:
        """Units of the structure from which the run, with all its parts, began."""
        return find_units(self._start)

    @property
    def ensemble(self) -> str:
        """``nve``, ``nvt`` or ``npt``."""
        return self.settings.ensemble

    @property
    def timestep_fs(self) -> float:
        """Length of a step."""
        return self.settings.timestep_fs

    @property
    def temperature_K(self) -> float:
        """The temperature that was asked for, at the beginning of a ramp."""
        return self.settings.temperature_K

    @property
    def time_fs(self) -> float:
        """Time since step 0."""
        return self.step * self.timestep_fs

    @property
    def positions(self) -> np.ndarray:
        """(n, 3) unwrapped positions in Å, in the order of the structure."""
        return self._system.positions[self._back]

    @property
    def velocities(self) -> np.ndarray:
        """(n, 3) velocities in Å/fs."""
        return self._system.velocities[self._back]

    @property
    def forces(self) -> np.ndarray:
        """(n, 3) forces in eV/Å."""
        return self._system.forces[self._back]

    @property
    def energies(self) -> np.ndarray:
        """(n,) potential energy of each atom in eV."""
        return self._system.energies[self._back]

    @property
    def cell(self) -> np.ndarray:
        """(3, 3) cell vectors in Å."""
        return self._system.cell.copy() if self._start.pbc.all() else self._start.cell.array.copy()

    @property
    def volume(self) -> float:
        """Å³; NaN without a full cell."""
        return float(abs(np.linalg.det(self.cell))) if self._start.cell.rank == 3 else math.nan

    @property
    def density_g_per_cm3(self) -> float:
        """Mass density; NaN without a full cell."""
        return float(self._system.masses.sum() / self.volume * units._amu * 1e27)

    @property
    def atoms(self) -> Atoms:
        """The current structure, with velocities in ASE's units."""
        atoms = self._start.copy()
        atoms.cell = self.cell
        atoms.positions = self.positions
        atoms.set_velocities(self.velocities / units.fs)
        return atoms

    @property
    def potential_energy(self) -> float:
        """eV."""
        return float(self._system.energies.sum())

    @property
    def kinetic_energy(self) -> float:
        """eV."""
        return float(kinetic_energy(self._system.velocities, self._system.masses))

    @property
    def total_energy(self) -> float:
        """eV."""
        return self.potential_energy + self.kinetic_energy

    @property
    def conserved_energy(self) -> float:
        """Total energy plus what thermostat and barostat took out, eV; constant but for the error of the time step."""
        return self.total_energy + float(self._system.heat[0])

    @property
    def temperature(self) -> float:
        """Instantaneous temperature, K."""
        return 2 * self.kinetic_energy / (self._degrees * units.kB)

    @property
    def target_temperature(self) -> float:
        """What the thermostat keeps at the present step, K."""
        return thermal_energy(self._bath, self.step) / units.kB

    @property
    def pressure_GPa(self) -> float:
        """Instantaneous pressure, GPa; NaN without a full cell."""
        return float((2 * self.kinetic_energy - np.trace(self._system.virial)) / (3 * self.volume) / units.GPa)

    def state(self) -> dict:
        """Everything that the future of the run depends on.

        Two things of it could be computed anew but for the last bit: the interaction lists, which say in which order
        forces are summed, so positions and cell at which they were made are there; and the forces, which the compiler
        may round otherwise outside the loop over steps.
        """
        return {
            'step': self.step,
            **{name: getattr(self._system, name).copy() for name in self.state_arrays},
            'generator': json.dumps(self._rng.bit_generator.state, sort_keys=True),
        }

    def restore(self, state: dict) -> None:
        """Continue from a :meth:`state`, bit for bit."""
        system = self._system
        self.step = int(state['step'])
        system.positions[:], system.cell[:] = state['reference'], state['reference_cell']
        self._lists = make_lists(system, self._tables, self.settings.skin)
        for name in self.state_arrays:
            getattr(system, name)[:] = state[name]
        self._lists = follow_cell(system, self._lists, self._tables, self.settings.skin)
        self._rng.bit_generator.state = json.loads(state['generator'])


def _masses(atoms: Atoms, masses: Mapping[str, float]) -> np.ndarray:
    """Masses of the atoms in amu, with those of some elements replaced."""
    result = atoms.get_masses()
    for symbol, mass in masses.items():
        chosen = atoms.numbers == atomic_numbers.get(symbol, -1)
        if not chosen.any():
            raise InputError(f'a mass is given for {symbol}, which the structure does not hold')
        if not 0 < mass < 1000:
            raise InputError(f'the mass of {symbol} must lie between 0 and 1000 amu, not {mass:g}')
        result[chosen] = mass
    return result

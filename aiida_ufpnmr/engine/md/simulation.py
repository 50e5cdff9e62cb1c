"""A molecular dynamics run in memory: state, steps, and the guards that stop it."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass

import numpy as np
from ase import Atoms, units

from aiida_ufpnmr.engine.dataset import check_geometry
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.md import integrators
from aiida_ufpnmr.engine.neighbours import complete_cell
from aiida_ufpnmr.engine.ufp.kernels import compute
from aiida_ufpnmr.engine.ufp.lists import interaction_lists
from aiida_ufpnmr.engine.ufp.potential import UltraFastPotential

ENSEMBLES = ('nve', 'nvt')
#: Arrays of the state of a run; ``reference`` holds the positions at which the neighbour list was made.
STATE_ARRAYS = ('positions', 'velocities', 'forces', 'energies', 'virial', 'reference')
#: Steps between two looks at the world (interruption, output): short enough that nobody waits.
_CHUNK_ATOM_STEPS = 100_000


@dataclass(frozen=True)
class Stop:
    """Why a run ended early: ``reason`` is ``closest_approach`` or ``temperature``, ``message`` says it in words."""

    reason: str
    message: str


class Simulation:
    """Molecular dynamics with an ultra-fast potential.

    Args:
        atoms: structure to start from.
        potential: the potential.
        timestep_fs: fs.
        temperature_K: of the first velocities, and of the thermostat.
        ensemble: ``nve`` (velocity Verlet) or ``nvt`` (with stochastic velocity rescaling on top).
        seed: of the velocities and of the thermostat.
        relaxation_fs: relaxation time of the thermostat.
        skin: Å that the neighbour list reaches beyond the cut-off.
        guard_fraction: a run stops when two atoms come closer than this fraction of the shortest distance of their
            species in the training data, since the potential knows nothing there.

    Raises:
        InputError: an unknown element or ensemble, a timestep that is not positive, a geometry that cannot be used.
    """

    def __init__(
        self,
        atoms: Atoms,
        potential: UltraFastPotential,
        *,
        timestep_fs: float = 2.0,
        temperature_K: float = 300.0,
        ensemble: str = 'nvt',
        seed: int = 0,
        relaxation_fs: float = 100.0,
        skin: float = 0.7,
        guard_fraction: float = 0.9,
    ):
        if ensemble not in ENSEMBLES:
            raise InputError(f'ensemble {ensemble!r} is not known; choose one of {", ".join(ENSEMBLES)}')
        if not 1e-3 <= timestep_fs <= 20:
            raise InputError(f'timestep must lie between 0.001 and 20 fs, not {timestep_fs:g}')
        if not (0 <= temperature_K < 1e5) or (ensemble == 'nvt' and temperature_K == 0):
            raise InputError(f'temperature must be positive, not {temperature_K:g} K')
        types = potential.types(atoms)
        check_geometry(atoms, 'structure')
        self.potential = potential
        self.timestep_fs = float(timestep_fs)
        self.temperature_K = float(temperature_K)
        self.ensemble = ensemble
        self.seed = int(seed)
        self.relaxation_fs = float(relaxation_fs)
        self.guard_fraction = float(guard_fraction)
        self.skin = float(skin)
        self.step = 0
        self._start = atoms.copy()
        # sorted by species, so that every row of the neighbour list is sorted by species
        self._order = np.argsort(types, kind='stable')
        self._back = np.argsort(self._order, kind='stable')
        self._types = types[self._order]
        self._masses = atoms.get_masses()[self._order]
        self._positions = np.ascontiguousarray(atoms.positions[self._order], dtype=float)
        self._cell = complete_cell(self._positions, atoms.cell.array, atoms.pbc)
        self._pbc = atoms.pbc.copy()
        self._degrees = 3 * len(atoms) - 3 if len(atoms) > 1 else 3
        self._rng = np.random.Generator(np.random.PCG64(self.seed))
        self._velocities = self._first_velocities()
        self._heat = 0.0
        n = len(atoms)
        self._forces, self._energies, self._virial = np.zeros((n, 3)), np.zeros(n), np.zeros((3, 3))
        self._closest = self.guard_fraction * potential.closest_distance
        self._make_lists()
        pair = self._compute_forces()
        if pair[0] >= 0:
            raise InputError(f'structure: {self._close_pair(*pair)}; relax the structure, or label such structures')

    def _first_velocities(self) -> np.ndarray:
        """Maxwell–Boltzmann velocities without total momentum, at exactly the wanted temperature, Å/fs."""
        width = np.sqrt(units.kB * self.temperature_K * integrators.ACCELERATION / self._masses)
        velocities = self._rng.standard_normal((len(self._masses), 3)) * width[:, None]
        if len(self._masses) > 1:
            velocities -= (self._masses[:, None] * velocities).sum(axis=0) / self._masses.sum()
        kinetic = integrators.kinetic_energy(velocities, self._masses)
        return velocities * math.sqrt(self._target / kinetic) if kinetic > 0 else velocities

    @property
    def _target(self) -> float:
        return 0.5 * self._degrees * units.kB * self.temperature_K

    def _make_lists(self) -> None:
        self._lists = interaction_lists(self._positions, self._cell, self._pbc, self.potential.tables, self.skin)
        self._reference = self._positions.copy()

    def _compute_forces(self) -> tuple[int, int]:
        return compute(
            self._positions, self._types, self._lists, self.potential.tables, self._forces, self._energies,
            self._virial, self._closest,
        )  # fmt: skip

    def _close_pair(self, i: int, j: int) -> str:
        a, b = self._types[i], self._types[j]
        names = f'{self.potential.species[a]} {self._order[i]} and {self.potential.species[b]} {self._order[j]}'
        return (
            f'atoms {names} came closer than {self._closest[a, b]:.2f} Å '
            f'({self.guard_fraction:g} of the shortest distance in the training data)'
        )

    @property
    def chunk(self) -> int:
        """A number of steps that takes about a second at most."""
        return max(1, _CHUNK_ATOM_STEPS // len(self._masses))

    def run(self, n_steps: int) -> Stop | None:
        """Take ``n_steps`` steps, fewer where a guard stops the run; then the :class:`Stop` says why."""
        memory = math.exp(-self.timestep_fs / self.relaxation_fs) if self.ensemble == 'nvt' else 1.0
        # far outside what a canonical ensemble shows, however small the cell
        limit = 1.5 * units.kB * (3 * self.temperature_K + 1000.0) * len(self._masses)
        taken, code, i, j, self._heat, self._lists = integrators.advance(
            n_steps, self.timestep_fs, memory, self._target, self._degrees, limit, self._rng, self._heat,
            self._positions, self._velocities, self._forces, self._energies, self._virial, self._masses, self._types,
            self._cell, self._pbc, self.potential.tables, self._closest, self.skin, self._lists, self._reference,
        )  # fmt: skip
        self.step += taken
        if code == integrators.TOO_CLOSE:
            return Stop('closest_approach', f'at step {self.step}: {self._close_pair(i, j)}')
        if code == integrators.TOO_HOT:
            return Stop('temperature', f'at step {self.step}: the temperature ran away to {self.temperature:.0f} K')
        return None

    @property
    def time_fs(self) -> float:
        """Time since the first step."""
        return self.step * self.timestep_fs

    @property
    def positions(self) -> np.ndarray:
        """(n, 3) unwrapped positions in Å, in the order of the structure."""
        return self._positions[self._back]

    @property
    def velocities(self) -> np.ndarray:
        """(n, 3) velocities in Å/fs."""
        return self._velocities[self._back]

    @property
    def forces(self) -> np.ndarray:
        """(n, 3) forces in eV/Å."""
        return self._forces[self._back]

    @property
    def cell(self) -> np.ndarray:
        """(3, 3) cell vectors in Å."""
        return self._start.cell.array.copy()

    @property
    def atoms(self) -> Atoms:
        """The current structure, with velocities in ASE's units."""
        atoms = self._start.copy()
        atoms.positions = self.positions
        atoms.set_velocities(self.velocities / units.fs)
        return atoms

    @property
    def potential_energy(self) -> float:
        """eV."""
        return float(self._energies.sum())

    @property
    def kinetic_energy(self) -> float:
        """eV."""
        return float(integrators.kinetic_energy(self._velocities, self._masses))

    @property
    def total_energy(self) -> float:
        """eV."""
        return self.potential_energy + self.kinetic_energy

    @property
    def conserved_energy(self) -> float:
        """Total energy plus the heat that the thermostat took out, eV; constant but for the error of the time step."""
        return self.total_energy + self._heat

    @property
    def temperature(self) -> float:
        """Instantaneous temperature, K."""
        return 2 * self.kinetic_energy / (self._degrees * units.kB)

    @property
    def pressure_GPa(self) -> float:
        """Instantaneous pressure, GPa; NaN without a full cell."""
        if self._start.cell.rank < 3:
            return math.nan
        virial = np.trace(self._virial)
        return float((2 * self.kinetic_energy - virial) / (3 * self._start.cell.volume) / units.GPa)

    def state(self) -> dict:
        """Everything that the future of the run depends on.

        Two things of it could be computed anew but for the last bit: the neighbour list, which says in which order forces
        are summed, so the positions at which it was made are there; and the forces, which the compiler may round otherwise
        outside the loop over steps.
        """
        return {
            'step': self.step,
            **{name: getattr(self, f'_{name}').copy() for name in STATE_ARRAYS},
            'heat': self._heat,
            'generator': json.dumps(self._rng.bit_generator.state, sort_keys=True),
        }

    def restore(self, state: dict) -> None:
        """Continue from a :meth:`state`, bit for bit."""
        self.step = int(state['step'])
        self._positions[:] = state['reference']
        self._make_lists()
        for name in STATE_ARRAYS:
            getattr(self, f'_{name}')[:] = state[name]
        self._heat = float(state['heat'])
        self._rng.bit_generator.state = json.loads(state['generator'])

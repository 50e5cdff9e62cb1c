"""Simulations whose atoms a GPU moves."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from ase import Atoms

from aiida_ufpnmr.engine.efg.tensors import from_irreps
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.gpu.arrays import NO_TROUBLE, unpacked_trouble
from aiida_ufpnmr.engine.gpu.backend import Backend, Snapshot, Start
from aiida_ufpnmr.engine.gpu.ensemble import Ensemble
from aiida_ufpnmr.engine.gpu.fixed_point import ENERGY_UNIT, FORCE_UNIT, from_positions
from aiida_ufpnmr.engine.gpu.prediction import Made, plan
from aiida_ufpnmr.engine.md import thermostats
from aiida_ufpnmr.engine.md.guards import Stop
from aiida_ufpnmr.engine.md.recording import EfgOutput
from aiida_ufpnmr.engine.md.run import Request, Requests
from aiida_ufpnmr.engine.md.simulation import Simulation
from aiida_ufpnmr.engine.neighbours import Surroundings, surroundings
from aiida_ufpnmr.engine.ufp.potential import UltraFastPotential

#: Settings that replicas may differ in.
_OWN = ('seed', 'temperature_K', 'final_temperature_K')
#: Steps between two looks at the world, times atoms, which take about a second at most.
_CHUNK_ATOM_STEPS = 1_000_000


class GpuSimulation(Simulation):
    """A replica of :class:`GpuReplicas`; between calls of these it is where they left it.

    Raises:
        InputError: as :class:`~aiida_ufpnmr.engine.md.Simulation`; or an ensemble, a thermostat or a structure that a
            GPU does not know.
    """

    device = 'gpu'
    state_arrays = ('position', 'velocity', 'force', 'reference', 'heat')

    def __init__(self, atoms: Atoms, potential: UltraFastPotential, **settings: Any):
        super().__init__(atoms, potential, **{**settings, 'precision': 'float32'})  # which results shall say
        if self.ensemble == 'npt':
            raise InputError('a GPU keeps no pressure; choose the ensemble nvt or nve, or --device cpu')
        if self._bath.thermostat not in (thermostats.NONE, thermostats.LANGEVIN):
            raise InputError(
                f'a GPU knows the thermostat langevin, not {self.settings.thermostat}; choose that, or --device cpu'
            )
        if not atoms.pbc.all():
            raise InputError('a GPU needs a cell that is periodic along all directions; choose --device cpu')
        self._replicas: GpuReplicas | None = None
        self._number = 0

    @property
    def start(self) -> Start:
        """What an ensemble needs to know of the replica."""
        return Start(self._system, self._bath, self._limits, self.settings.seed, self.step)

    def join(self, replicas: GpuReplicas, number: int) -> None:
        """Become a replica, and take over where it is."""
        self._replicas, self._number = replicas, number
        self.device_name = replicas.device_name
        self.take_over()

    def take_over(self) -> Stop | None:
        """Be where the replica is; a :class:`~aiida_ufpnmr.engine.md.guards.Stop` where a limit was broken there."""
        now, system, r = self._now, self._system, self._number
        self.step = int(now.step[r])
        system.positions[:] = from_positions(now.position[r], system.cell)
        system.velocities[:] = now.velocity[r]
        system.forces[:] = now.force[r] * FORCE_UNIT
        system.energies[:] = now.energy[r] + self._tables.one_body[system.types]
        xx, xy, xz, yy, yz, zz = now.virial[r]
        system.virial[:] = [[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]]
        system.heat[0] = now.heat[r] * ENERGY_UNIT
        if now.trouble[r] == NO_TROUBLE:
            return None
        code, i, j = unpacked_trouble(int(now.trouble[r]))
        return self._stop(code, i, j)

    @property
    def chunk(self) -> int:
        """A number of steps that takes about a second at most, and whose tensors find room."""
        prediction = self._group.ensemble.prediction
        most = max(1, _CHUNK_ATOM_STEPS // len(self._system.masses))
        return most if prediction is None else min(most, prediction.most_steps)

    @property
    def made(self) -> Made:
        """The EFG tensors that the GPU predicted in the last call, where it does."""
        assert self._now.made is not None
        return self._now.made[self._number]

    def run(self, n_steps: int) -> Stop | None:
        """Take ``n_steps`` steps of the only replica."""
        return self._group.run([self.step + n_steps])[0]

    def surroundings(self, centres: np.ndarray, cutoff: float) -> Surroundings:
        """Neighbours of some atoms within ``cutoff`` (Å), searched for anew: the lists stay on the GPU."""
        return surroundings(self.positions, self.cell, self._start.pbc, cutoff, centres)

    def state(self) -> dict:
        """Everything that the future of the run depends on."""
        r = self._number
        return {
            'step': self.step,
            **{name: getattr(self._now, name)[r].copy() for name in self.state_arrays},
            'generator': json.dumps(self._rng.bit_generator.state, sort_keys=True),
        }

    def restore(self, state: dict) -> None:
        """Continue from a :meth:`state`, bit for bit."""
        for name in ('step', *self.state_arrays):
            getattr(self._now, name)[self._number] = state[name]
        self._group.restored = True
        self.step = int(state['step'])

    @property
    def _group(self) -> GpuReplicas:
        assert self._replicas is not None
        return self._replicas

    @property
    def _now(self) -> Snapshot:
        return self._group.ensemble.now


class GpuReplicas:
    """Simulations that a GPU moves at the same time.

    Args:
        simulations: of the same atoms, cell shape aside, and settings other than seed and temperature.
        backend: the device.
        device_name: of it, for records.
        efg: EFG tensors that the runs shall record.
        efg_every: steps between them.

    Attributes:
        efg: what the runs are to record in its place: predicted by the GPU where it knows the model (see
            :func:`~aiida_ufpnmr.engine.gpu.prediction.plan`), else by the processor.
        restored: whether a replica was set to a state that the device does not have yet.

    Raises:
        InputError: replicas that differ otherwise, or what :class:`~aiida_ufpnmr.engine.gpu.ensemble.Ensemble` refuses.
    """

    def __init__(
        self,
        simulations: Sequence[GpuSimulation],
        backend: Backend,
        device_name: str,
        efg: EfgOutput | None = None,
        efg_every: int = 1,
    ):
        self.simulations, self.device_name = simulations, device_name
        first = simulations[0]
        for other in simulations[1:]:
            _check_alike(first, other)
        planned = None
        if efg is not None and efg.model is not None:
            planned = plan(efg.model, first.potential.species, first._system.types, efg_every)
        self.efg = efg if efg is None or planned is None else efg.made_by('gpu', _present, _along)
        self.ensemble = Ensemble(
            [simulation.start for simulation in simulations], first._tables, first.settings.skin, backend,
            str(first.potential.source), planned,
        )  # fmt: skip
        self.restored = False
        for number, simulation in enumerate(simulations):
            simulation.join(self, number)

    def run(self, last: Sequence[int]) -> list[Stop | None]:
        """Go to the steps ``last``; where a limit was broken before, a :class:`Stop` says which."""
        if self.restored:
            self.ensemble.restore(self.ensemble.now)
            self.restored = False
        self.ensemble.run(np.array(last))
        return [simulation.take_over() for simulation in self.simulations]

    def write(self, runs: Sequence[Callable[[GpuSimulation], Requests]], end_requests: list) -> list[dict]:
        """Run all replicas with their output, which is written while the GPU takes the next steps.

        As many threads as the settings name write, predict EFG tensors and watch.

        Args:
            runs: of each replica, such as of :func:`~aiida_ufpnmr.engine.md.run.md_requests`.
            end_requests: gets an item where all shall end.

        Returns:
            The results of each.

        Raises:
            Exception: the first one of a replica, after the others have ended.
        """
        requests = [run(simulation) for run, simulation in zip(runs, self.simulations)]
        results: list[dict] = [{} for _ in runs]
        failures: list[Exception] = []

        def answer(number: int, stop: Stop | None) -> Request | None:
            """Let a run do its work and say where to go; ``None`` where it has ended."""
            try:
                return requests[number].send(stop)
            except StopIteration as end:
                results[number] = end.value
            except Exception as error:
                failures.append(error)
                end_requests.append(True)
            return None

        stops: list[Stop | None] = [None] * len(runs)
        running = list(range(len(runs)))
        with ThreadPoolExecutor(self.simulations[0].threads) as pool:
            while True:
                answers = dict(zip(running, pool.map(answer, running, (stops[number] for number in running))))
                wanted = {number: request for number, request in answers.items() if request is not None}
                running = list(wanted)
                if not running:
                    break
                here = [simulation.step for simulation in self.simulations]
                targets = [wanted[number].target if number in wanted else step for number, step in enumerate(here)]
                following = [wanted[number].following if number in wanted else step for number, step in enumerate(here)]
                stops = self.run(targets)
                self.ensemble.run_ahead(np.array(following))
        if failures:
            raise failures[0]
        return results


def _present(simulation: GpuSimulation) -> np.ndarray:
    """Tensors at the present step."""
    return from_irreps(simulation.made.present)


def _along(simulation: GpuSimulation) -> tuple[np.ndarray, np.ndarray]:
    """Steps on the way to the present one at which there are tensors, and these."""
    return simulation.made.steps, from_irreps(simulation.made.components)


def _check_alike(first: GpuSimulation, other: GpuSimulation) -> None:
    """Refuse replicas that cannot go together."""
    one, two = first._system, other._system
    alike = np.array_equal(one.types, two.types) and np.array_equal(one.masses, two.masses)
    if not alike or first.potential is not other.potential:
        raise InputError(
            'replicas on one GPU must have the same potential, masses, and the same number of atoms of each element'
        )
    for name, value in vars(first.settings).items():
        if name not in _OWN and getattr(other.settings, name) != value:
            raise InputError(f'replicas on one GPU must have the same {name}')

"""All barriers of a trajectory, side by side, each kept when it is finished."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from aiida_ufpnmr.engine.barriers.barrier import FAILED, NO_HOP, TAKEN, Barrier, BarrierPath, climb
from aiida_ufpnmr.engine.barriers.calculator import SteppingCalculator
from aiida_ufpnmr.engine.barriers.cutting import Hop, cut_hops
from aiida_ufpnmr.engine.barriers.ends import ends_of
from aiida_ufpnmr.engine.barriers.pieces import Pieces
from aiida_ufpnmr.engine.barriers.result import Barriers, HopBarrier
from aiida_ufpnmr.engine.barriers.settings import BandSettings, BarrierSettings
from aiida_ufpnmr.engine.barriers.workers import as_finished
from aiida_ufpnmr.engine.hdf5 import content_hash
from aiida_ufpnmr.engine.progress import progress
from aiida_ufpnmr.engine.trajectories.trajectory import Trajectory
from aiida_ufpnmr.engine.ufp.potential import UltraFastPotential


class BarrierSearch:
    """The hops of a trajectory whose barriers are asked for.

    Args:
        trajectory_path, potential_path: files, which each process opens for itself.
        settings: which hops, and how.

    Raises:
        InputError: no hop, or a file that cannot be used.
    """

    def __init__(self, trajectory_path: Path, potential_path: Path, settings: BarrierSettings):
        self.arguments = (trajectory_path, potential_path, settings)
        self.settings = settings
        potential = UltraFastPotential.load(potential_path)
        with Trajectory(trajectory_path) as trajectory:
            self.hops, self.hops_found = cut_hops(trajectory, settings)
            potential.types(trajectory.atoms(0))
        self.source = {
            'atoms': len(trajectory.numbers),
            'potential_sha256': potential.identity,
            'trajectory_sha256': content_hash(trajectory_path),
        }
        band = {one.name: getattr(settings, one.name) for one in dataclasses.fields(BandSettings)}
        method = {**self.source, **band, 'end': settings.end}
        self.keys = [_digest({**method, **dataclasses.asdict(hop)}) for hop in self.hops]

    def run(self, pieces: Pieces, jobs: int = 1) -> tuple[Barriers, list[float]]:
        """The barriers, and the seconds of CPU time of each hop that was worked on now.

        Args:
            pieces: open; keeps hops that are finished, also when the run ends before its time, and knows those of an
                earlier run.
            jobs: hops at a time; no number depends on it.
        """
        waiting = [number for number, key in enumerate(self.keys) if not pieces.has(key)]
        errors: dict[int, str] = {}
        cpu_s: list[float] = []
        with progress(len(self.hops), 'barriers', 'hop', initial=len(self.hops) - len(waiting)) as bar:
            tasks = [self.hops[number] for number in waiting]
            for place, found in as_finished(climber, self.arguments, tasks, jobs):
                number = waiting[place]
                if isinstance(found, Exception):
                    errors[number] = FAILED + ' '.join(str(found).split())
                else:
                    pieces.save(self.keys[number], found.record, found.positions)
                    cpu_s.append(found.cpu_s)
                bar.update()
        barriers = []
        for number, hop in enumerate(self.hops):
            found = {'status': errors[number]} if number in errors else pieces.load(self.keys[number])[0]
            where = {name: value for name, value in vars(hop).items() if name not in ('origin', 'target')}
            barriers.append(HopBarrier.from_dict({**found, **where}))
        together = Barriers(
            tuple(barriers), self.hops_found, source=self.source, settings=dataclasses.asdict(self.settings)
        )
        return together, cpu_s

    def images(self, pieces: Pieces) -> Iterator[Atoms]:
        """The paths, one after another: both ends and what is between, with energies above that of the start.

        Each image says to which hop it belongs; a hop that ended in an error has none.
        """
        with Trajectory(self.arguments[0]) as trajectory:
            for number, (hop, key) in enumerate(zip(self.hops, self.keys)):
                if not pieces.has(key):
                    continue
                found, positions = pieces.load(key)
                energies_eV = found['energies_eV'] or [None] * len(positions)
                for image, (place, energy_eV) in enumerate(zip(positions, energies_eV)):
                    atoms = hop.before(trajectory)
                    atoms.positions = place
                    atoms.info = {'hop': number, 'image': image, 'ion': hop.ion, 'status': found['status']}
                    if energy_eV is not None:
                        atoms.calc = SinglePointCalculator(atoms, energy=energy_eV)
                    yield atoms


@dataclass(frozen=True)
class Climbed:
    """What a process hands back of a hop: what was found, JSON-ready, the images (n_images, n_atoms, 3) in Å, and
    seconds of CPU."""

    record: dict[str, Any]
    positions: np.ndarray
    cpu_s: float


def climber(trajectory_path: Path, potential_path: Path, settings: BarrierSettings) -> Callable[[Hop], Climbed]:
    """What finds the barrier of one hop after another."""
    potential, trajectory = UltraFastPotential.load(potential_path), Trajectory(trajectory_path)

    def calculator() -> SteppingCalculator:
        return SteppingCalculator(potential)

    def climbed(hop: Hop) -> Climbed:
        begin = time.process_time()
        path, surroundings = BarrierPath(Barrier(status=TAKEN), (hop.before(trajectory),)), ''
        for ends in ends_of(hop, trajectory, calculator, settings):
            path = climb(ends.start, ends.end, hop.ion, ends.quenched, calculator, settings)
            surroundings = ends.surroundings
            if path.barrier.status not in NO_HOP:
                break
        record = {**path.barrier.to_dict(), 'surroundings': surroundings}
        positions = np.array([image.positions for image in path.images])
        return Climbed(record, positions, time.process_time() - begin)

    return climbed


def _digest(values: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()

"""What of a run is written, and when."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms

from aiida_ufpnmr.engine.efg.model import EfgModel
from aiida_ufpnmr.engine.efg.posterior import EfgPrediction
from aiida_ufpnmr.engine.md.output import JUDGED, Output
from aiida_ufpnmr.engine.md.simulation import Simulation
from aiida_ufpnmr.engine.trajectories.series import (
    EDGES,
    ENERGY,
    FAST_VELOCITY,
    FORCE,
    LOG,
    POSITION,
    VELOCITY,
    efg_group,
    error_series,
    grade_series,
)
from aiida_ufpnmr.engine.trajectories.writer import TrajectoryWriter

#: Reads a row of a series off a simulation.
Take = Callable[[Simulation], np.ndarray | float | None]
#: Reads the rows of a series that came about on the way to the present step: their steps, and the rows.
Along = Callable[[Any], tuple[np.ndarray, np.ndarray]]
#: Where a number of the log comes from.
_LOG: dict[str, Take] = {
    'temperature_K': lambda simulation: simulation.temperature,
    'potential_energy_eV': lambda simulation: simulation.potential_energy,
    'kinetic_energy_eV': lambda simulation: simulation.kinetic_energy,
    'conserved_energy_eV': lambda simulation: simulation.conserved_energy,
    'pressure_GPa': lambda simulation: simulation.pressure_GPa,
}
_LOG_NPT = {**_LOG, 'volume_angstrom3': lambda simulation: simulation.volume}
GRADE = f'{LOG}/extrapolation_grade'
BROKEN_UNITS = f'{LOG}/broken_units'


class Series(NamedTuple):
    """One quantity along the trajectory: steps between its rows, and where they come from.

    With ``along``, nobody needs to stop at its rows.
    """

    every: int
    take: Take
    along: Along | None = None


@dataclass(frozen=True)
class EfgOutput:
    """EFG tensors to predict while the run goes on.

    Attributes:
        species: chemical symbol of the ions.
        index: their indices.
        predict: the tensors at the present step, (n_ions, 3, 3) in a.u.
        judge: the same with expected errors and extrapolation grades, where they are known.
        identity: tells one model from another, when a run is continued.
        model: the model, for a device that predicts by itself.
        device: what predicts, where results shall name it.
        along: the tensors that such a device predicted on the way to the present step.
    """

    species: str
    index: np.ndarray
    predict: Callable[[Any], np.ndarray]
    judge: Callable[[Simulation], EfgPrediction] | None = None
    identity: str = ''
    model: EfgModel | None = None
    device: str = ''
    along: Along | None = None

    @classmethod
    def of(cls, model: EfgModel, atoms: Atoms, identity: str = '') -> EfgOutput:
        """What a model predicts for these atoms, from the neighbours that the run has anyway.

        Raises:
            InputError: an element that the model does not know.
        """
        ions, centres = model.ions(atoms.numbers), model.centres(atoms.numbers)

        def at_present(predict: Callable) -> Callable[[Simulation], Any]:
            return lambda s: predict(s.positions, s.cell, s.surroundings(centres, model.cutoff))

        judge = None
        if model.posterior is not None:
            judge = at_present(model.predictor_with_errors(atoms.numbers, atoms.pbc))
        return cls(model.species, ions, at_present(model.predictor(atoms.numbers, atoms.pbc)), judge, identity, model)

    def made_by(self, device: str, predict: Callable[[Any], np.ndarray], along: Along) -> EfgOutput:
        """The same tensors from a device that predicts by itself; errors and grades are those of the processor."""
        return replace(self, device=device, predict=predict, along=along)


def series_of(output: Output, ensemble: str, efg: EfgOutput | None) -> dict[str, Series]:
    """The series that a run writes, by their names in the file."""
    frames, log = output.every, output.log_every or output.every
    wanted: dict[str, tuple[int | None, Take]] = {
        POSITION: (frames, lambda s: s.positions),
        EDGES: (frames, lambda s: s.cell),
        VELOCITY: (frames if output.velocities else None, lambda s: s.velocities),
        FAST_VELOCITY: (output.velocities_every, lambda s: s.velocities),
        FORCE: (output.forces_every, lambda s: s.forces),
        ENERGY: (output.energies_every, lambda s: s.energies),
        **{f'{LOG}/{name}': (log, take) for name, take in (_LOG_NPT if ensemble == 'npt' else _LOG).items()},
    }
    if efg:
        tensors = output.efg_every or frames
        wanted[f'{efg_group(efg.species)}/efg'] = tensors, efg.predict
        if efg.judge is not None:
            judged = _once_a_step(efg.judge)
            every = JUDGED * tensors if output.efg_uncertainty_every is None else output.efg_uncertainty_every
            wanted[error_series(efg.species)] = every, lambda s: judged(s).error
            wanted[grade_series(efg.species)] = every, lambda s: judged(s).grade
    along = {f'{efg_group(efg.species)}/efg': efg.along} if efg else {}
    return {name: Series(every, take, along.get(name)) for name, (every, take) in wanted.items() if every}


class Recorder:
    """Takes rows from a simulation when they are due.

    Args:
        series: see :func:`series_of`.
    """

    def __init__(self, simulation: Simulation, writer: TrajectoryWriter, series: dict[str, Series]):
        self.simulation, self.writer, self.series = simulation, writer, series

    def record(self, everything: bool = False) -> None:
        """Take the rows that are due at the present step, or a row of each series."""
        s = self.simulation
        for name, (every, take, along) in self.series.items():
            if along is not None:
                steps, rows = along(s)
                self.writer.append_rows(name, steps, steps * s.timestep_fs, rows)
                if len(steps) and steps[-1] == s.step:
                    continue
            if everything or s.step % every == 0:
                self.writer.append(name, s.step, s.time_fs, take(s))

    def next_step(self, now: int) -> int:
        """The next step after ``now`` at which a row is due."""
        return min((now // every + 1) * every for every, _, along in self.series.values() if along is None)


def _once_a_step(judge: Callable[[Simulation], EfgPrediction]) -> Callable[[Simulation], EfgPrediction]:
    """Errors and grades at the present step, made once for both series."""
    last: dict[int, EfgPrediction] = {}

    def judged(simulation: Simulation) -> EfgPrediction:
        if simulation.step not in last:
            last.clear()
            last[simulation.step] = judge(simulation)
        return last[simulation.step]

    return judged

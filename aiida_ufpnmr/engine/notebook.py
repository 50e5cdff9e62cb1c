"""The way from labels to a trajectory in a few calls, with results that show themselves."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Generic, TypeVar

from ase import Atoms

from aiida_ufpnmr.engine.dataset import Dataset
from aiida_ufpnmr.engine.efg import EfgModel, EfgSettings, fit_efg_model
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.hdf5 import content_hash
from aiida_ufpnmr.engine.md import Simulation
from aiida_ufpnmr.engine.md.output import Output, frame_cadence
from aiida_ufpnmr.engine.md.recording import EfgOutput
from aiida_ufpnmr.engine.md.run import run_md as run
from aiida_ufpnmr.engine.md.watches import GradeWatch
from aiida_ufpnmr.engine.settings import Declaration, checked, settings_from_mapping
from aiida_ufpnmr.engine.tables import ERRORS, Tabular, with_weighted
from aiida_ufpnmr.engine.ufp import PotentialSettings, UltraFastPotential
from aiida_ufpnmr.engine.ufp import fit_potential as fit_ultra_fast_potential

M = TypeVar('M', UltraFastPotential, EfgModel)


@dataclass(frozen=True)
class Fitted(Tabular, Generic[M]):
    """A fitted model and its errors on withheld structures.

    Attributes:
        model: the potential or the EFG model.
        results: errors on withheld structures at the top level, training errors under ``train``.
    """

    model: M
    results: dict[str, Any]

    def save(self, path: str | os.PathLike) -> None:
        """Write the model; see the formats page for the suffixes."""
        self.model.save(path)

    def table(self) -> list[tuple[str, ...]]:
        """Errors on withheld and on training structures; by weight, too, where structures have weights."""
        columns: dict[str, dict] = with_weighted({'withheld': self.results, 'training': self.results['train']})
        rows: list[tuple[str, ...]] = [('error', *columns)]
        for key in (key for key in ERRORS if key in self.results):
            words, unit = ERRORS[key]
            errors = (of.get(key) for of in columns.values())
            numbers: list[str] = ['-' if error is None else f'{error:.3g}' for error in errors]
            rows.append((f'{words} ({unit})' if unit else words, *numbers))
        return rows

    @property
    def headline(self) -> str:
        return f'{type(self.model).__name__}, errors'


@dataclass(frozen=True)
class Run(Tabular, os.PathLike):
    """A run of molecular dynamics; analyses take it as they take the path of its trajectory.

    Attributes:
        path: the trajectory.
        results: statistics of the run; see the page of keys.
    """

    path: Path
    results: dict[str, Any]

    def __fspath__(self) -> str:
        return str(self.path)

    def table(self) -> list[tuple[str, ...]]:
        """Length, temperature and end of the run."""
        found = self.results
        temperature = f'{found["temperature_mean_K"]:.0f} ± {found["temperature_std_K"]:.0f}'
        return [
            ('quantity', 'value'),
            ('simulated (ps)', f'{found["simulated_ps"]:g}'),
            ('temperature (K)', temperature),
            ('speed (atom-steps/s)', f'{found["timing"]["atom_steps_per_second"]:.3g}'),
            ('end', found['stop_message'] or found['stop_reason']),
        ]

    @property
    def headline(self) -> str:
        return str(self.path)


def fit_potential(labels: Dataset, *, test: Dataset | None = None, **settings: Any) -> Fitted[UltraFastPotential]:
    """Fit an ultra-fast potential to energies, forces and stresses.

    Args:
        labels: structures with energy and forces.
        test: structures on which to report errors; whole groups of ``labels`` are withheld where not given.
        settings: by name, as in :class:`~aiida_ufpnmr.engine.ufp.PotentialSettings`.

    Raises:
        InputError: an unknown setting, or labels that cannot be fitted.
    """
    return Fitted(*fit_ultra_fast_potential(labels, settings_from_mapping(PotentialSettings, settings), test))


def fit_efg(labels: Dataset, species: str, *, test: Dataset | None = None, **settings: Any) -> Fitted[EfgModel]:
    """Fit a model of the EFG at the ions of a species.

    Args:
        labels: structures with ``efg``.
        species: chemical symbol of the ions.
        test: structures on which to report errors; whole groups of ``labels`` are withheld where not given.
        settings: by name, as in :class:`~aiida_ufpnmr.engine.efg.EfgSettings`.

    Raises:
        InputError: an unknown setting, or labels that cannot be fitted.
    """
    return Fitted(*fit_efg_model(labels, species, settings_from_mapping(EfgSettings, settings), test))


def run_md(
    potential: Fitted | UltraFastPotential,
    structure: Atoms,
    path: str | os.PathLike,
    *,
    steps: int,
    efg_model: Fitted | EfgModel | None = None,
    every: int | None = None,
    overwrite: bool = False,
    **conditions: Any,
) -> Run:
    """Run molecular dynamics and write the trajectory.

    Args:
        potential: moves the atoms.
        structure: start; the potential must know its elements.
        path: the trajectory, H5MD.
        steps: number of time steps.
        efg_model: predicts EFG tensors at each frame.
        every: steps between frames; by default 100 fs worth of them.
        overwrite: write over a run that could be continued.
        conditions: ``timestep_fs``, ``temperature_K``, ``ensemble``, ``seed``, … of
            :class:`~aiida_ufpnmr.engine.md.Simulation`.

    Raises:
        InputError: a structure or conditions that cannot be run; the message names them.
    """
    mover = _model(potential, UltraFastPotential)
    model = None if efg_model is None else _model(efg_model, EfgModel)
    steps = checked('steps', steps, int, Declaration('The last step.', least=0))
    atoms = structure.copy()
    simulation = Simulation(atoms, mover, **conditions)
    efg = None if model is None else EfgOutput.of(model, atoms, _identity(model))
    output = Output(frame_cadence(simulation.timestep_fs) if every is None else every)
    watch = None if mover.posterior is None else GradeWatch()
    return Run(Path(path), run(simulation, path, steps, output, efg=efg, grade_watch=watch, overwrite=overwrite))


def _model(given: Any, kind: type[M]) -> M:
    """The model of a fit, or the one that was given; :class:`InputError` for anything else."""
    model = given.model if isinstance(given, Fitted) else given
    if not isinstance(model, kind):
        name = kind.__name__
        raise InputError(f'a {type(model).__name__} is no {name}; read a file with {name}.load, or give the fit')
    return model


def _identity(model: EfgModel) -> str:
    """Hash of the content that a file of the model would have."""
    with TemporaryDirectory() as folder:
        model.save(Path(folder) / 'model.h5')
        return content_hash(Path(folder) / 'model.h5')

"""Softness of ions against what lies around them, in one glass or several; Chen 2023, Fig. 3."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from aiida_ufpnmr.engine.analyses.base import Result, Table
from aiida_ufpnmr.engine.analyses.softness import ModelSettings
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.hdf5 import content_hash
from aiida_ufpnmr.engine.records import quantity
from aiida_ufpnmr.engine.settings import setting
from aiida_ufpnmr.engine.softness.correlations import Correlation, correlate, parts_of_cell, softness_bins, units_of
from aiida_ufpnmr.engine.softness.model import SoftnessModel, check_distinct
from aiida_ufpnmr.engine.softness.surroundings import COORDINATION, ENERGY, VOLUME, SurroundingsSettings, properties_of
from aiida_ufpnmr.engine.tables import with_interval
from aiida_ufpnmr.engine.trajectories.snapshots import Snapshots
from aiida_ufpnmr.engine.ufp.potential import UltraFastPotential

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Words for the axes of the figure.
AXES = {VOLUME: 'Voronoi volume (Å³)', COORDINATION: 'anions around', ENERGY: 'energy (eV)'}


@dataclass(frozen=True)
class CorrelationSettings(SurroundingsSettings, ModelSettings):
    """Choice of frames, model and properties, and of the intervals."""

    potential: str = setting('', 'Potential whose energy of each ion is a property, too.', metavar='POT.h5')
    bootstrap: int = setting(1000, 'Resamples for the intervals.', least=10)
    seed: int = setting(0, 'Seed of the resampling.', least=0)


@dataclass(frozen=True)
class SoftnessCorrelationsResult(Result):
    """Correlations by property."""

    KIND = 'softness-correlations'

    runs: int = quantity('', 'number of runs')
    ions_and_frames: int = quantity('', 'how many in all')
    intervals_by: str = quantity('', 'what was resampled for the intervals: run, part of a cell, or ion')
    resampled: int = quantity('', 'how many of these')
    training_sha256: str = quantity('', 'hash of what the model was fitted to')
    correlations: dict[str, Correlation] = quantity('', 'by name of the property, with its unit')
    bin_softness: np.ndarray = quantity('', 'mean softness of bins with equally many ions and frames', 'bins')

    @property
    def headline(self) -> str:
        return f'{self.ions_and_frames} ions and frames of {self.runs} runs; intervals by {self.intervals_by}'

    def table(self) -> Table:
        rows: list[tuple[str, ...]] = [('property', 'r', 'r of ions', 'within runs', 'of bins', 'soft', 'hard', 'sign')]
        for name, one in self.correlations.items():
            rows.append(
                (
                    name,
                    with_interval(one.pearson_r, one.pearson_r_ci95, '.3f'),
                    with_interval(one.pearson_r_of_ions, one.pearson_r_of_ions_ci95, '.2f'),
                    _shown(one.pearson_r_within_runs),
                    _shown(one.pearson_r_of_bins),
                    f'{one.mean_of_soft:.4g}',
                    f'{one.mean_of_hard:.4g}',
                    one.sign,
                )
            )
        return rows

    def plot(self) -> Figure:
        from aiida_ufpnmr.engine.figure_style import BLUE, Figure, finish

        columns = -(-len(self.correlations) // 2)
        figure = Figure(figsize=(3.6 * columns, 6.0), layout='constrained')
        axes = figure.subplots(2, columns, squeeze=False).ravel()
        for axis, (name, one) in zip(axes, self.correlations.items()):
            axis.plot(self.bin_softness, one.bin_mean, 'o-', color=BLUE, ms=4, lw=1.2)
            axis.set(xlabel='softness', ylabel=AXES.get(name, name.replace('_', ' ')))
            axis.set_title(f'r = {_shown(one.pearson_r)}', fontsize=10)
            finish(axis, legend=False)
        for axis in axes[len(self.correlations) :]:
            axis.set_axis_off()
        return figure


def _shown(r: float) -> str:
    """A correlation; a dash where one of both never changes."""
    return f'{r:.3f}' if np.isfinite(r) else '-'


def softness_correlations(
    runs: Sequence[Path], settings: CorrelationSettings = CorrelationSettings()
) -> SoftnessCorrelationsResult:
    """Correlations of softness with units of anions, Voronoi volume, coordination and energy, over one run or several.

    Raises:
        InputError: a run, a model or a potential that cannot be used, or a run given twice; the message names it.
    """
    model = settings.load()
    if len(runs) > 1:
        check_distinct([str(path) for path in runs], [content_hash(path) for path in runs])
    potential = UltraFastPotential.load(settings.potential) if settings.potential else None
    softness: list[np.ndarray] = []
    parts: list[np.ndarray] = []
    properties: list[dict[str, np.ndarray]] = []
    for path in runs:
        try:
            of_run = _of_run(path, model, settings, potential)
        except InputError as error:
            raise error if str(path) in str(error) else InputError(f'{path}: {error}') from error
        softness.append(of_run[0])
        parts.append(of_run[1])
        properties.append(of_run[2])
    units, what = units_of(parts)
    edges = softness_bins(softness)
    everything = np.sort(np.concatenate([one.ravel() for one in softness]))
    return SoftnessCorrelationsResult(
        runs=len(runs),
        ions_and_frames=len(everything),
        intervals_by=what,
        resampled=len(np.unique(np.concatenate(units))),
        training_sha256=model.training_sha256,
        correlations={
            name: correlate(
                softness, [one[name] for one in properties], units, edges, settings.bootstrap, settings.seed
            )
            for name in properties[0]
        },
        bin_softness=np.array([part.mean() for part in np.array_split(everything, len(edges) - 1)]),
        settings=asdict(settings),
    )


def _of_run(
    path: Path, model: SoftnessModel, settings: CorrelationSettings, potential: UltraFastPotential | None
) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Softness (frames, n_ions), part of the cell of each ion (n_ions,), and properties (frames, n_ions) of a run."""
    snapshots = Snapshots.open(path, settings)
    ions = snapshots.chosen(model.features.species, 'species')
    softness = np.concatenate(list(model.parts(snapshots)))
    found = list(properties_of(snapshots, ions, settings, potential))
    properties = {name: np.concatenate([values[name] for values in found]) for name in found[0]}
    return softness, parts_of_cell(snapshots.atoms.positions[ions], snapshots.atoms.cell.array), properties

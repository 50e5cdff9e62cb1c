"""The quadrupolar frequency of single ions against time, with their hops; what an echo sees of each."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from aiida_ufpnmr.engine.analyses.base import Result, Table, TensorSource, analysis
from aiida_ufpnmr.engine.analyses.groups import find_run_hops
from aiida_ufpnmr.engine.analyses.hops import busiest_ions, plot_with_hops
from aiida_ufpnmr.engine.analyses.orientations import OrientationsSettings, unit_vector
from aiida_ufpnmr.engine.efg.tensors import KHZ_PER_MB_AU
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.nmr.runs import EfgRuns, TensorSettings
from aiida_ufpnmr.engine.records import quantity
from aiida_ufpnmr.engine.settings import setting, with_default
from aiida_ufpnmr.engine.transport.hops import HopSettings

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class FrequencySettings(HopSettings, TensorSettings):
    """Definition of a hop, direction of the field, and the time over which a frequency is averaged."""

    average_ps: float = setting(1.0, 'Average ω_Q over this time, in ps.', above=0)
    field: str | tuple[float, float, float] = with_default(OrientationsSettings, 'field', 'z')


@dataclass(frozen=True)
class FrequencyResult(Result):
    """Averaged frequencies of the ions that hop most in the first run, and spreads over all ions and runs."""

    KIND = 'frequency'

    averaged_ps: float = quantity('ps', 'time over which ω_Q is averaged, whole frames')
    moving_khz: float = quantity('kHz', "spread of the averaged ω_Q about each ion's own mean: what motion changes")
    lasting_khz: float = quantity('kHz', 'spread of the means of ions: what the run does not average')
    atom: np.ndarray = quantity('', 'index of the ion', 'shown')
    time_ps: np.ndarray = quantity('ps', 'middle of each average, after the first frame', 'times')
    omega_q_khz: np.ndarray = quantity('kHz', 'averaged ω_Q', 'shown, times')
    hop_atom: np.ndarray = quantity('', 'index of the ion of each hop', 'hops')
    hop_time_ps: np.ndarray = quantity('ps', 'time of each hop, after the first frame', 'hops')
    field_direction: tuple[float, float, float] = quantity('', 'unit vector of the field, Cartesian')

    @property
    def headline(self) -> str:
        return f'{super().headline}: ω_Q averaged over {self.averaged_ps:.3g} ps'

    def table(self) -> Table:
        rows = [
            (f'atom {atom}', str((self.hop_atom == atom).sum()), f'{omega.mean():.1f}', f'{omega.std():.1f}')
            for atom, omega in zip(self.atom, self.omega_q_khz)
        ]
        return [
            ('ion', 'hops', 'mean ω_Q (kHz)', 'spread (kHz)'),
            *rows,
            ('all, about the mean of each', '', '', f'{self.moving_khz:.1f}'),
            ('means of all', '', '', f'{self.lasting_khz:.1f}'),
        ]

    def plot(self) -> Figure:
        from aiida_ufpnmr.engine.figure_style import Figure

        figure = Figure(figsize=(8.0, 1.0 + 1.7 * len(self.atom)), layout='constrained')
        axes = figure.subplots(len(self.atom), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
        for number, axis in enumerate(axes):
            plot_frequency(self, number, axis)
        return figure


@analysis('frequency', 'ufpnmr analyse frequency run.h5 --field z --plot frequency.png')
def frequency(source: TensorSource, settings: FrequencySettings) -> FrequencyResult:
    """The quadrupolar frequency of single ions against time, averaged over vibrations, with their hops.

    Shown are the ions of the first run that hop most. Spreads are over all ions and runs.
    """
    runs = source.runs
    direction = unit_vector(settings.field)
    width = max(1, round(settings.average_ps / runs.step_ps))
    if min(runs.lengths) < 2 * width:
        raise InputError(f'{source.path}: is too short for two averages over {settings.average_ps:g} ps')
    khz = KHZ_PER_MB_AU * source.nuclide.moment_mb
    averaged = [khz * averages(runs, run, width, direction) for run in range(len(runs.lengths))]
    (hops,) = find_run_hops(replace(runs, runs=runs.runs[:1]), settings)
    busiest = busiest_ions(hops.counts)
    shown = np.isin(hops.column, busiest)
    means = np.concatenate([one.mean(axis=0) for one in averaged])
    moving = np.concatenate([(one - one.mean(axis=0)).ravel() for one in averaged])
    return FrequencyResult(
        averaged_ps=width * runs.step_ps,
        moving_khz=float(moving.std()),
        lasting_khz=float(means.std()),
        atom=runs.index[busiest],
        time_ps=(np.arange(len(averaged[0])) + 0.5) * width * runs.step_ps,
        omega_q_khz=averaged[0][:, busiest].T,
        hop_atom=runs.index[hops.column[shown]],
        hop_time_ps=1e-3 * (hops.time_fs[shown] - runs.time_fs(0)[0]),
        field_direction=direction,
    )


def averages(runs: EfgRuns, run: int, width: int, direction: tuple[float, float, float]) -> np.ndarray:
    """b·V·b (n_averages, n_ions) in a.u. of one run, averaged over so many frames; what is left at the end is not."""
    total = np.zeros((runs.lengths[run] // width, runs.n_ions))
    b = np.array(direction)
    for rows, part in runs.chunks(run):
        place = np.arange(rows.start, rows.stop) // width
        there = place < len(total)
        np.add.at(total, place[there], np.asarray(part[there], float) @ b @ b)
    return total / width


def plot_frequency(found: FrequencyResult, number: int, axis: Axes) -> None:
    """Draw ω_Q of one of the shown ions against time, with its hops."""
    from aiida_ufpnmr.engine.figure_style import GREY

    atom = found.atom[number]
    ion, hops_ps = f'{found.source["species"]} atom {atom}', found.hop_time_ps[found.hop_atom == atom]
    plot_with_hops(axis, ion, found.time_ps, found.omega_q_khz[number], hops_ps, found.time_ps[-1], 'ω_Q (kHz)')
    axis.axhline(0.0, color=GREY, lw=0.8)

"""Self and distinct parts of the function of van Hove; Miyagawa 2024, Fig. 4."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from aiida_ufpnmr.engine.analyses.base import PathSource, Result, Table, analysis
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.records import quantity
from aiida_ufpnmr.engine.settings import numbers, setting
from aiida_ufpnmr.engine.trajectories.paths import PathSettings
from aiida_ufpnmr.engine.trajectories.trajectory import Trajectory, regular_frames
from aiida_ufpnmr.engine.transport.van_hove import distinct_part, reach, self_part

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class VanHoveSettings(PathSettings):
    """Times and distances."""

    lags_ps: tuple[float, ...] = setting(
        (0.5, 1.0, 5.0, 20.0), 'Times in ps; those beyond half of the run are left out.', above=0, parse=numbers
    )
    bin_angstrom: float = setting(0.05, 'Width of a bin of distances, in Å.', above=0)
    hopped_angstrom: float = setting(1.5, 'Ions farther than this from where they were count as gone, in Å.', above=0)


@dataclass(frozen=True)
class VanHoveResult(Result):
    """Where an ion is some time later, and where the others are."""

    KIND = 'van-hove'

    distance_angstrom: np.ndarray = quantity('Å', 'middles of the bins', 'bins')
    lag_ps: np.ndarray = quantity('ps', 'times', 'lags')
    self_per_angstrom: np.ndarray = quantity('1/Å', '4πr² G_s, density of the distance of an ion', 'lags, bins')
    distinct: np.ndarray = quantity('', 'G_d over the mean density of the ions', 'lags, bins')
    gone_share: dict = quantity('', 'share of ions that are farther than that from where they were, by time in ps')
    refilled: dict = quantity(
        '', 'G_d over the mean density within 1 Å of where an ion was, by time in ps: other ions take its place'
    )

    def table(self) -> Table:
        rows: list[tuple[str, ...]] = [('time (ps)', 'gone', 'refilled')]
        times = map(time_name, self.lag_ps)
        return rows + [(one, f'{self.gone_share[one]:.3f}', f'{self.refilled[one]:.2f}') for one in times]

    def plot(self) -> Figure:
        from aiida_ufpnmr.engine.figure_style import COLOURS, Figure, finish

        figure = Figure(figsize=(6.0, 6.4), layout='constrained')
        upper, lower = figure.subplots(2, 1, sharex=True)
        for number, lag in enumerate(self.lag_ps):
            colour = COLOURS[number % len(COLOURS)]
            upper.plot(self.distance_angstrom, self.self_per_angstrom[number], color=colour, label=f'{lag:.3g} ps')
            lower.plot(self.distance_angstrom, self.distinct[number], color=colour, label=f'{lag:.3g} ps')
        upper.set(ylabel='4πr² G_s (1/Å)', yscale='log')
        lower.set(xlabel='distance (Å)', ylabel='G_d / density')
        finish(upper)
        finish(lower, legend=False)
        return figure


@analysis('van-hove', 'ufpnmr analyse van-hove run.h5 --lags-ps 1,10,100 --plot van-hove.png')
def van_hove(source: PathSource, settings: VanHoveSettings) -> VanHoveResult:
    """Self and distinct parts of the function of van Hove for the ions of one species."""
    paths = source.paths
    with Trajectory(source.path) as trajectory:
        cells = trajectory.cells()[regular_frames(trajectory.time_fs, source.skip_fs, trajectory.path)]
    lags = sorted({max(1, round(lag / paths.step_ps)) for lag in settings.lags_ps})
    lags = [lag for lag in lags if 2 * lag < len(paths.positions)]
    if not lags:
        raise InputError('all times of --lags-ps are beyond half of the run; give shorter ones')
    edges = settings.bin_angstrom * np.arange(int(reach(cells) / settings.bin_angstrom) + 1)
    if edges[-1] < 1:
        raise InputError('the cell or the bins leave no distances of 1 Å; narrow --bin-angstrom, or repeat the cell')
    alone = np.array([self_part(paths.positions, lag, edges) for lag in lags])
    others = np.array([distinct_part(paths.positions, cells, lag, edges) for lag in lags])
    times = [time_name(lag * paths.step_ps) for lag in lags]
    stay = alone[:, edges[1:] <= settings.hopped_angstrom].sum(axis=1) * settings.bin_angstrom
    inside = edges[1:] <= 1 + 1e-9
    shells = np.diff(edges**3)[inside]
    return VanHoveResult(
        distance_angstrom=(edges[1:] + edges[:-1]) / 2,
        lag_ps=np.array(lags) * paths.step_ps,
        self_per_angstrom=alone,
        distinct=others,
        gone_share=dict(zip(times, (1 - stay).tolist())),
        refilled=dict(zip(times, (others[:, inside] @ shells / shells.sum()).tolist())),
    )


def time_name(lag_ps: float) -> str:
    """The name of a time among the results."""
    return f'{lag_ps:.4g}'

"""Rearrangements of ions: non-affine displacement, hop indicator, mobile and immobile ions; Chen 2023."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from aiida_ufpnmr.engine.analyses.base import Result, SnapshotSource, Table, analysis
from aiida_ufpnmr.engine.records import quantity
from aiida_ufpnmr.engine.softness.rearrangements import IMMOBILE, MOBILE, UNDECIDED, LabelSettings, find_rearrangements

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Bins of the histogram in the figure.
BINS = 60


@dataclass(frozen=True)
class RearrangementsResult(Result):
    """D²_min and hop indicator of each ion, and its label in each window."""

    KIND = 'rearrangements'

    atom: np.ndarray = quantity('', 'indices of the ions', 'ions')
    time_ps: np.ndarray = quantity('ps', 'beginning of each lag after the first frame', 'lags')
    d2_min_angstrom2: np.ndarray = quantity('Å²', 'D²_min over each lag, by neighbour', 'lags, ions')
    d2_min_sum_angstrom2: np.ndarray = quantity('Å²', 'the same added up to the end of each lag', 'lags, ions')
    hop_indicator_angstrom2: np.ndarray = quantity('Å²', 'largest p_hop within each lag; NaN at the ends', 'lags, ions')
    window_time_ps: np.ndarray = quantity('ps', 'beginning of each window', 'windows')
    window_d2_min_angstrom2: np.ndarray = quantity('Å²', 'D²_min added up over each window', 'windows, ions')
    label: np.ndarray = quantity('', '1 mobile, -1 immobile, 0 undecided', 'windows, ions')
    rearranging_share: float = quantity('', 'share of ions and windows whose hop indicator passes its threshold')
    mobile: float = quantity('', 'share of ions and windows that are mobile')
    immobile: float = quantity('', 'share that is immobile')
    undecided: float = quantity('', 'share that is neither')
    immobile_below_angstrom2: float = quantity('Å²', 'sum of D²_min, or hop indicator, up to which an ion is immobile')
    mobile_above_angstrom2: float = quantity('Å²', 'the same from which on an ion is mobile')
    d2_min_mean_angstrom2: float = quantity('Å²', 'mean of D²_min over ions and lags')
    d2_min_median_angstrom2: float = quantity('Å²', 'its median')
    neighbours_mean: float = quantity('', 'mean number of neighbours; times D²_min it is the sum of Falk and Langer')
    lag_used_ps: float = quantity('ps', 'lag in whole frames')
    window_used_ps: float = quantity('ps', 'window in whole lags')

    @property
    def headline(self) -> str:
        shares = f'{self.mobile:.1%} mobile, {self.immobile:.1%} immobile, {self.undecided:.1%} undecided'
        return f'{super().headline}: {shares}'

    def table(self) -> Table:
        return [
            ('quantity', 'value'),
            ('D²_min over a lag, mean (Å²)', f'{self.d2_min_mean_angstrom2:.3g}'),
            ('D²_min over a lag, median (Å²)', f'{self.d2_min_median_angstrom2:.3g}'),
            ('neighbours', f'{self.neighbours_mean:.1f}'),
            ('lag (ps)', f'{self.lag_used_ps:g}'),
            ('window (ps)', f'{self.window_used_ps:g}'),
            ('immobile up to (Å²)', f'{self.immobile_below_angstrom2:.3g}'),
            ('mobile from (Å²)', f'{self.mobile_above_angstrom2:.3g}'),
            ('ions that rearrange within a window', f'{self.rearranging_share:.1%}'),
        ]

    def plot(self) -> Figure:
        from aiida_ufpnmr.engine.figure_style import BLUE, GREY, ORANGE, Figure, finish, time_unit

        figure = Figure(figsize=(10.0, 4.0), layout='constrained')
        left, right = figure.subplots(1, 2)
        squares = np.maximum(self.window_d2_min_angstrom2, 1e-12)
        bins = np.geomspace(squares.min(), max(squares.max(), 1.001 * squares.min()), BINS)
        kinds = ((IMMOBILE, BLUE, 'immobile'), (UNDECIDED, GREY, 'undecided'), (MOBILE, ORANGE, 'mobile'))
        parts = [squares[self.label == kind] for kind, *_ in kinds]
        left.hist(
            parts, bins, stacked=True, color=[colour for _, colour, _ in kinds], label=[name for *_, name in kinds]
        )
        left.set(xscale='log', xlabel='sum of $D^2_{min}$ over a window (Å²)', ylabel='ions and windows')
        finish(left)
        order = np.argsort(self.d2_min_sum_angstrom2[-1])
        unit, factor = time_unit(self.time_ps[-1])
        for name, ion, colour in (
            ('least mobile', order[0], BLUE),
            ('median', order[len(order) // 2], GREY),
            ('most mobile', order[-1], ORANGE),
        ):
            label = f'{name}, atom {self.atom[ion]}'
            right.plot(
                (self.time_ps + self.lag_used_ps) * factor, self.d2_min_sum_angstrom2[:, ion], color=colour, label=label
            )
        right.set(xlabel=f'time ({unit})', ylabel='sum of $D^2_{min}$ (Å²)')
        finish(right)
        return figure


@analysis('rearrangements', 'ufpnmr analyse rearrangements run.h5 --plot rearrangements.png --json rearrangements.json')
def rearrangements(source: SnapshotSource, settings: LabelSettings) -> RearrangementsResult:
    """Rearrangements of ions: non-affine displacement D²_min, its sum over time, the hop indicator p_hop, and which
    ions are mobile or immobile.

    D²_min is what no strain of the neighbourhood explains (Falk and Langer 1998), by neighbour. An ion has a label in
    each window; those between the two limits are undecided.
    """
    found = find_rearrangements(source.snapshots, settings)
    labels, (low, high) = found.labels(), found.limits_angstrom2()
    lag_ps, window_ps = found.lag * found.step_ps, found.window * found.step_ps
    return RearrangementsResult(
        atom=found.ions,
        time_ps=lag_ps * np.arange(len(found.d2_min)),
        d2_min_angstrom2=found.d2_min,
        d2_min_sum_angstrom2=np.cumsum(found.d2_min, axis=0),
        hop_indicator_angstrom2=found.hop_indicator,
        window_time_ps=window_ps * np.arange(found.n_windows),
        window_d2_min_angstrom2=found.window_d2_min,
        label=labels,
        rearranging_share=float(found.rearranged().mean()),
        mobile=float((labels == MOBILE).mean()),
        immobile=float((labels == IMMOBILE).mean()),
        undecided=float((labels == UNDECIDED).mean()),
        immobile_below_angstrom2=low,
        mobile_above_angstrom2=high,
        d2_min_mean_angstrom2=float(found.d2_min.mean()),
        d2_min_median_angstrom2=float(np.median(found.d2_min)),
        neighbours_mean=found.mean_neighbours,
        lag_used_ps=lag_ps,
        window_used_ps=window_ps,
    )

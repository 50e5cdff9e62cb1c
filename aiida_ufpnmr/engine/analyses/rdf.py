"""Partial radial distribution functions g(r) and coordination numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from aiida_ufpnmr.engine.analyses.base import Result, SnapshotSource, Table, analysis
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.records import Record, quantity
from aiida_ufpnmr.engine.settings import setting
from aiida_ufpnmr.engine.structure.radial import PairCounts, count_pairs, first_shell
from aiida_ufpnmr.engine.trajectories.snapshots import SnapshotSettings

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class RdfSettings(SnapshotSettings):
    """Range and resolution of g(r), and where a shell ends."""

    r_max_angstrom: float = setting(10.0, 'Largest distance in Å; beyond half the cell images count.', above=0)
    bin_angstrom: float = setting(0.05, 'Width of the bins in Å.', above=0)
    cutoff_angstrom: float | None = setting(
        None, 'Count neighbours up to this distance in Å; default the first minimum of each g(r).', above=0
    )

    def __post_init__(self):
        super().__post_init__()
        if (self.cutoff_angstrom or 0) > self.r_max_angstrom:
            raise InputError('--cutoff-angstrom lies beyond --r-max-angstrom')


@dataclass(frozen=True)
class PairDistribution(Record):
    """g(r) of two elements, and the number of neighbours within the first shell."""

    g: np.ndarray = quantity('', 'g(r), 1 where independent', 'bins')
    g_error: np.ndarray = quantity('', 'its standard error, from parts of the trajectory', 'bins')
    running_coordination: np.ndarray = quantity('', 'neighbours of a first atom up to the end of each bin', 'bins')
    running_coordination_of_second: np.ndarray = quantity('', 'the same around an atom of the second element', 'bins')
    first_peak_angstrom: float | None = quantity('Å', 'middle of the highest bin of the first peak', default=None)
    first_peak_height: float | None = quantity('', 'g(r) there', default=None)
    cutoff_angstrom: float | None = quantity('Å', 'the first minimum, or the distance asked for', default=None)
    coordination: float | None = quantity('', 'neighbours of the second element up to the cut-off', default=None)
    coordination_of_second: float | None = quantity('', 'those of the first around the second', default=None)


@dataclass(frozen=True)
class RdfResult(Result):
    """g(r) of all pairs of elements."""

    KIND = 'rdf'

    r_angstrom: np.ndarray = quantity('Å', 'middles of the bins', 'bins')
    pairs: dict[str, PairDistribution] = quantity('', 'by pair, such as Li-S')
    density_per_angstrom3: float = quantity('Å⁻³', 'number of atoms by volume')

    def table(self) -> Table:
        rows: list[tuple[str, ...]] = [('pair', 'first peak (Å)', 'height', 'up to (Å)', 'neighbours', 'of the second')]
        for name, pair in self.pairs.items():
            values = (
                (pair.first_peak_angstrom, '.3f'),
                (pair.first_peak_height, '.3f'),
                (pair.cutoff_angstrom, '.3f'),
                (pair.coordination, '.2f'),
                (pair.coordination_of_second, '.2f'),
            )
            rows.append((name, *('-' if value is None else format(value, form) for value, form in values)))
        return rows

    def plot(self) -> Figure:
        from aiida_ufpnmr.engine.figure_style import Figure

        columns = min(3, len(self.pairs))
        rows = -(-len(self.pairs) // columns)
        figure = Figure(figsize=(4.0 * columns, 2.8 * rows), layout='constrained')
        panels = figure.subplots(rows, columns, squeeze=False).ravel()
        for axis, name in zip(panels, self.pairs):
            plot_rdf(self, name, axis)
        for axis in panels[len(self.pairs) :]:
            axis.set_axis_off()
        return figure


@analysis('rdf', 'ufpnmr analyse rdf run.h5 --skip-ps 2 --stride 10 --plot rdf.png --json rdf.json')
def rdf(source: SnapshotSource, settings: RdfSettings) -> RdfResult:
    """Partial radial distribution functions and running coordination numbers of all pairs of elements.

    The trajectory may be a set of structures of one composition: times do not matter.
    """
    counts = count_pairs(source.snapshots, settings.r_max_angstrom, settings.bin_angstrom)
    return RdfResult(
        r_angstrom=(counts.edges[1:] + counts.edges[:-1]) / 2,
        pairs={
            f'{counts.elements[a]}-{counts.elements[b]}': _distribution(counts, a, b, settings.cutoff_angstrom)
            for a, b in counts.pairs
        },
        density_per_angstrom3=counts.density,
    )


def _distribution(counts: PairCounts, a: int, b: int, cutoff_angstrom: float | None) -> PairDistribution:
    g, around, around_second = counts.g(a, b), counts.coordination(a, b), counts.coordination(b, a)
    width = float(counts.edges[1])
    shell = first_shell(g, width)
    found: dict[str, float] = {}
    if shell.peak is not None:
        found = {'first_peak_angstrom': (shell.peak + 0.5) * width, 'first_peak_height': float(g[shell.peak])}
    if cutoff_angstrom is None and shell.end is not None:
        cutoff_angstrom = float(counts.edges[shell.end + 1])
    if cutoff_angstrom is not None:
        known = np.concatenate([[0.0], around]), np.concatenate([[0.0], around_second])
        within, within_second = (float(np.interp(cutoff_angstrom, counts.edges, one)) for one in known)
        found |= {'cutoff_angstrom': cutoff_angstrom, 'coordination': within, 'coordination_of_second': within_second}
    return PairDistribution(
        g=g,
        g_error=counts.g_error(a, b),
        running_coordination=around,
        running_coordination_of_second=around_second,
        **found,
    )


def plot_rdf(found: RdfResult, name: str, axis: Axes) -> None:
    """Draw g(r) of a pair with its error, and the running coordination number."""
    from aiida_ufpnmr.engine.figure_style import BLUE, GREY, ORANGE, finish

    pair, r = found.pairs[name], found.r_angstrom
    axis.fill_between(r, pair.g - pair.g_error, pair.g + pair.g_error, color=BLUE, alpha=0.25, lw=0)
    axis.plot(r, pair.g, color=BLUE, lw=1.3)
    axis.axhline(1.0, color=GREY, lw=0.6)
    axis.set(xlabel='r (Å)', ylabel='g(r)', xlim=(0, r[-1]), ylim=(0, None))
    axis.set_title(name, fontsize=10, loc='left')
    finish(axis, legend=False)
    count = axis.twinx()
    count.plot(r, pair.running_coordination, color=ORANGE, lw=1.0)
    if pair.cutoff_angstrom is not None and pair.coordination is not None:
        axis.axvline(pair.cutoff_angstrom, color=GREY, lw=0.8, ls=':')
        count.set_ylim(0, max(3 * pair.coordination, 1.0))
    count.set_ylabel('neighbours', color=ORANGE)
    count.spines[['top']].set_visible(False)

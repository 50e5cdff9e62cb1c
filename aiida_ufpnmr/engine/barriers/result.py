"""The barriers of a trajectory: each hop with its own, and their distribution."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from aiida_ufpnmr.engine.barriers.barrier import CONVERGED, FAILED, Barrier
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.files import check_input, plain
from aiida_ufpnmr.engine.records import Record, quantity
from aiida_ufpnmr.engine.tables import Tabular, interval_row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class HopBarrier(Barrier):
    """A hop of a trajectory and its barrier."""

    ion: int = quantity('', 'index of the atom that hops', kw_only=True)
    frame_before: int = quantity('', 'last frame at the place before', kw_only=True)
    frame_after: int = quantity('', 'first frame at the place after', kw_only=True)
    time_ps: float = quantity('ps', 'time of the frame before, from the first of the file', kw_only=True)
    length_angstrom: float = quantity('Å', 'distance between the mean places before and after', kw_only=True)
    surroundings: str = quantity('', 'whether the other atoms are those before the hop, after it, or both', default='')
    softness: float | None = quantity('', 'of the ion before it hops; null where it is not known', default=None)

    def __str__(self) -> str:
        hop = f'atom {self.ion}, frames {self.frame_before} to {self.frame_after}, {self.length_angstrom:.2f} Å'
        return f'{hop}: {self.status}{", collective" if self.collective else ""}'


@dataclass(frozen=True)
class SoftnessSplit(Record):
    """Forward barriers of soft ions against those of hard ones."""

    split: float = quantity('', 'softness between the two')
    soft_hops: int = quantity('', 'hops of soft ions')
    hard_hops: int = quantity('', 'hops of hard ions')
    soft_median_eV: float = quantity('eV', 'median barrier of soft ions')
    soft_median_eV_ci95: tuple[float, float] = quantity('eV', 'its 95 % interval, by ion')
    hard_median_eV: float = quantity('eV', 'median barrier of hard ions')
    hard_median_eV_ci95: tuple[float, float] = quantity('eV', 'its 95 % interval, by ion')
    difference_eV: float = quantity('eV', 'soft less hard')
    difference_eV_ci95: tuple[float, float] = quantity('eV', 'its 95 % interval, by ion')
    mann_whitney_p: float = quantity('', 'chance of so unlike barriers if softness said nothing')

    def rows(
        self, soft: str = 'soft ions', hard: str = 'hard ions', difference: str = 'soft less hard'
    ) -> list[tuple[str, str, str]]:
        """Rows of a table, with words for the two kinds of ions."""
        return [
            interval_row(f'median of {soft} (eV)', self.soft_median_eV, self.soft_median_eV_ci95, '.3f'),
            interval_row(f'median of {hard} (eV)', self.hard_median_eV, self.hard_median_eV_ci95, '.3f'),
            interval_row(f'{difference} (eV)', self.difference_eV, self.difference_eV_ci95, '.3f'),
            ('Mann–Whitney p', f'{self.mann_whitney_p:.2g}', ''),
        ]


@dataclass(frozen=True)
class Barriers(Record, Tabular):
    """Barriers of the hops of a trajectory.

    Attributes:
        source: what the results say about trajectory and potential.
        settings: by name.
    """

    hops: tuple[HopBarrier, ...] = quantity('', 'each hop, sorted by ion and time')
    hops_found: int = quantity('', 'hops of such a length in the trajectory')
    by_softness: SoftnessSplit | None = quantity('', 'the softer half of the hops against the harder', default=None)
    by_plane: SoftnessSplit | None = quantity('', 'ions with a softness above zero against others', default=None)
    source: dict[str, Any] = field(default_factory=dict, kw_only=True)
    settings: dict[str, Any] = field(default_factory=dict, kw_only=True)

    @property
    def counted(self) -> list[HopBarrier]:
        """Hops of single ions whose path has converged."""
        return [hop for hop in self.hops if hop.counts]

    @property
    def outcomes(self) -> dict[str, int]:
        """How many hops came to what."""
        return dict(Counter(_outcome(hop) for hop in self.hops).most_common())

    def quartiles_eV(self, direction: str = 'forward') -> list[float | None]:
        """First quartile, median and third of the barriers that count, forward or backward."""
        found = [getattr(hop, f'{direction}_eV') for hop in self.counted]
        return list(map(float, np.quantile(found, [0.25, 0.5, 0.75]))) if found else [None] * 3

    def to_dict(self) -> dict[str, Any]:
        """Everything, JSON-ready; keys carry their units."""
        distribution = {
            'hops_counted': len(self.counted),
            'outcomes': self.outcomes,
            'forward_quartiles_eV': self.quartiles_eV(),
            'backward_quartiles_eV': self.quartiles_eV('backward'),
        }
        return {**plain(self.settings), **super().to_dict(), **distribution, **plain(self.source)}

    @classmethod
    def from_dict(cls, results: Mapping[str, Any]) -> Barriers:
        """What results in JSON say of hops and softness."""

        def split(name: str) -> SoftnessSplit | None:
            found = results.get(name)
            return None if found is None else SoftnessSplit.from_dict(found)

        return cls(
            hops=tuple(map(HopBarrier.from_dict, results['hops'])),
            hops_found=results['hops_found'],
            by_softness=split('by_softness'),
            by_plane=split('by_plane'),
        )

    @classmethod
    def load(cls, path: str | os.PathLike) -> Barriers:
        """Read a JSON file that ``ufpnmr barriers`` wrote; :class:`InputError` where it is none."""
        path = check_input(path, 'file of barriers')
        try:
            return cls.from_dict(json.loads(path.read_text()))
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f'{path}: no barriers of "ufpnmr barriers" ({error})') from error

    @property
    def headline(self) -> str:
        return f'{len(self.hops)} of {self.hops_found} hops, {len(self.counted)} with a barrier of a single ion'

    @property
    def failures(self) -> list[str]:
        """A line for each hop without a barrier that counts."""
        return [str(hop) for hop in self.hops if not hop.counts]

    def table(self) -> Sequence[tuple[str, ...]]:
        """How many hops came to what, the barriers, and, where softness is known, those of soft and hard ions."""
        rows = [('quantity', 'value', '95 % interval')]
        rows += [(outcome, str(count), '') for outcome, count in self.outcomes.items()]
        for direction in ('forward', 'backward'):
            low, median, high = self.quartiles_eV(direction)
            if median is not None:
                rows.append((f'median barrier {direction} (eV)', f'{median:.3f}', ''))
                rows.append((f'half of the barriers {direction} (eV)', f'{low:.3f} to {high:.3f}', ''))
        if self.by_softness is not None:
            rows += self.by_softness.rows()
        if self.by_plane is not None:
            rows += self.by_plane.rows('ions with S > 0', 'ions with S ≤ 0', 'S > 0 less S ≤ 0')
        return rows

    def plot(self) -> Figure:
        """Histogram of the barriers that count, energies along their paths, and, where known, soft and hard ions."""
        from aiida_ufpnmr.engine.figure_style import Figure

        panels = 2 if self.by_softness is None else 3
        figure = Figure(figsize=(4.5 * panels, 3.8), layout='constrained')
        histogram, paths, *others = figure.subplots(1, panels)
        plot_histogram(self.counted, histogram)
        plot_paths(self.counted, paths)
        if self.by_softness is not None:
            plot_split(self.counted, self.by_softness, others[0])
        return figure


def _outcome(hop: HopBarrier) -> str:
    """What the hop came to, alike for all errors."""
    if hop.status.startswith(FAILED):
        return 'failed'
    if hop.status != CONVERGED:
        return hop.status
    return f'{CONVERGED}, {"collective" if hop.collective else "single ion"}'


def plot_histogram(hops: Sequence[HopBarrier], axis: Axes) -> None:
    """Draw how often barriers occur, forward and backward."""
    from aiida_ufpnmr.engine.figure_style import BLUE, ORANGE, finish

    forward, backward = ([getattr(hop, name) for hop in hops] for name in ('forward_eV', 'backward_eV'))
    bins = np.histogram_bin_edges([*forward, *backward, 0.0], bins=20).tolist()
    axis.hist(forward, bins, color=BLUE, alpha=0.7, label='forward')
    axis.hist(backward, bins, color=ORANGE, histtype='step', lw=1.4, label='backward')
    axis.set(xlabel='barrier (eV)', ylabel='hops', title=f'{len(hops)} hops of single ions')
    finish(axis)


def plot_split(hops: Sequence[HopBarrier], split: SoftnessSplit, axis: Axes) -> None:
    """Draw which share of the hops of soft ions, and of hard ones, has a barrier below each energy."""
    from aiida_ufpnmr.engine.figure_style import BLUE, ORANGE, finish

    known = [(hop.forward_eV, hop.softness > split.split) for hop in hops if hop.softness is not None]
    for wanted, colour, label in ((True, ORANGE, 'soft'), (False, BLUE, 'hard')):
        energies = np.sort([energy for energy, soft in known if soft == wanted])
        axis.step(energies, np.arange(1, len(energies) + 1) / len(energies), where='post', color=colour, label=label)
    axis.set(xlabel='barrier forward (eV)', ylabel='share of hops below', title=f'p = {split.mann_whitney_p:.2g}')
    finish(axis)


def plot_paths(hops: Sequence[HopBarrier], axis: Axes) -> None:
    """Draw energies along the paths."""
    from aiida_ufpnmr.engine.figure_style import BLUE, finish

    for hop in hops:
        axis.plot(hop.path_angstrom, hop.energies_eV, color=BLUE, lw=0.8, alpha=max(0.15, 1 / max(1, len(hops)) ** 0.5))
    axis.set(xlabel='way along the path (Å)', ylabel='energy above the start (eV)')
    finish(axis, legend=False)

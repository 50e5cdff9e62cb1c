"""Structure factors S(q) as neutrons and X-rays see them, and the first sharp diffraction peak."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations_with_replacement
from typing import TYPE_CHECKING

import numpy as np

from aiida_ufpnmr.engine.analyses.base import Result, SnapshotSource, Table, analysis
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.neighbours import cell_heights
from aiida_ufpnmr.engine.records import Record, quantity
from aiida_ufpnmr.engine.settings import setting
from aiida_ufpnmr.engine.structure.radial import count_pairs
from aiida_ufpnmr.engine.structure.scattering import (
    first_sharp_peak,
    from_pairs,
    from_positions,
    neutron_lengths,
    xray_form_factors,
)
from aiida_ufpnmr.engine.trajectories.snapshots import SnapshotSettings

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Below this ⟨b⟩²/⟨b²⟩ the normalisation magnifies every error.
SMALL_MEAN = 0.1


@dataclass(frozen=True)
class StructureFactorSettings(SnapshotSettings):
    """Range and resolution of S(q)."""

    q_max_per_angstrom: float = setting(10.0, 'Largest wave number in Å⁻¹.', above=0)
    q_bin_per_angstrom: float = setting(0.05, 'Width of the bins in Å⁻¹.', above=0)
    vectors_per_bin: int = setting(40, 'Average over no more wave vectors than this in each bin.', least=1)
    seed: int = setting(0, 'Seed of the choice among more.', least=0)
    r_max_angstrom: float | None = setting(
        None, 'End of g(r) in Å for its transform; default half the smallest height of the first cell.', above=0
    )
    r_bin_angstrom: float = setting(0.02, 'Width of the bins of that g(r) in Å.', above=0)
    peak_range_per_angstrom: tuple[float, float] = setting(
        (0.5, 3.0), 'Look for the first sharp peak between these two wave numbers in Å⁻¹.', least=0
    )

    def __post_init__(self):
        super().__post_init__()
        if not self.peak_range_per_angstrom[0] < self.peak_range_per_angstrom[1]:
            raise InputError('--peak-range-per-angstrom takes the lower end first')


@dataclass(frozen=True)
class PartialStructureFactor(Record):
    """Faber–Ziman structure factor of two elements."""

    direct: np.ndarray = quantity('', 'S(q) from the positions', 'wave numbers')
    from_g: np.ndarray = quantity('', 'S(q) by the sine transform of g(r)', 'wave numbers')


@dataclass(frozen=True)
class TotalStructureFactor(Record):
    """Weighted sum of the partial ones, and its first sharp peak."""

    direct: np.ndarray = quantity('', 'S(q) from the positions', 'wave numbers')
    from_g: np.ndarray = quantity('', 'S(q) by the sine transform of g(r)', 'wave numbers')
    mean_square_share: float = quantity('', '⟨f⟩²/⟨f²⟩ at the smallest q: near zero S(q) is ill-defined')
    peak_position_per_angstrom: float | None = quantity('Å⁻¹', 'of the first sharp peak', default=None)
    peak_width_per_angstrom: float | None = quantity('Å⁻¹', 'full width at half its prominence', default=None)
    peak_height: float | None = quantity('', 'S(q) there', default=None)


@dataclass(frozen=True)
class StructureFactorResult(Result):
    """S(q), total and partial."""

    KIND = 'structure-factor'

    q_per_angstrom: np.ndarray = quantity('Å⁻¹', 'mean wave numbers of the bins', 'wave numbers')
    totals: dict[str, TotalStructureFactor] = quantity('', 'by radiation: neutron, xray')
    pairs: dict[str, PartialStructureFactor] = quantity('', 'by pair, such as Li-S')
    g_end_angstrom: float = quantity('Å', 'end of the g(r) that was transformed')

    @property
    def remarks(self) -> list[str]:
        return [
            f'{name}: amplitudes nearly cancel (⟨f⟩²/⟨f²⟩ = {one.mean_square_share:.3f}), which magnifies all errors.'
            for name, one in self.totals.items()
            if one.mean_square_share < SMALL_MEAN
        ]

    def table(self) -> Table:
        rows: list[tuple[str, ...]] = [('radiation', 'first sharp peak (Å⁻¹)', 'width (Å⁻¹)', 'height')]
        for name, one in self.totals.items():
            values = one.peak_position_per_angstrom, one.peak_width_per_angstrom, one.peak_height
            rows.append((name, *('-' if value is None else f'{value:.3f}' for value in values)))
        return rows

    def plot(self) -> Figure:
        from aiida_ufpnmr.engine.figure_style import Figure

        figure = Figure(figsize=(10.0, 4.0), layout='constrained')
        for axis, name in zip(figure.subplots(1, len(self.totals)), self.totals):
            plot_structure_factor(self, name, axis)
        return figure


@analysis('structure-factor', 'ufpnmr analyse structure-factor run.h5 --stride 10 --plot sq.png --json sq.json')
def structure_factor(source: SnapshotSource, settings: StructureFactorSettings) -> StructureFactorResult:
    """Structure factors S(q), weighted for neutrons and X-rays, and the first sharp diffraction peak.

    Both from the positions themselves and by the transform of g(r); the peak is that of the first.
    """
    snapshots = source.snapshots
    direct = from_positions(
        snapshots, settings.q_max_per_angstrom, settings.q_bin_per_angstrom, settings.vectors_per_bin, settings.seed
    )
    end = settings.r_max_angstrom or float(cell_heights(snapshots.atoms.cell.array).min() / 2)
    transformed = from_pairs(count_pairs(snapshots, end, settings.r_bin_angstrom), direct.q)
    totals = {}
    for name, amplitude in (
        ('neutron', neutron_lengths(direct.elements, len(direct.q))),
        ('xray', xray_form_factors(direct.elements, direct.q)),
    ):
        total = direct.total(amplitude)
        peak = first_sharp_peak(direct.q, total, *settings.peak_range_per_angstrom) or (None, None, None)
        mean, square = (float(direct.share @ amplitude[:, 0] ** power) for power in (1, 2))
        totals[name] = TotalStructureFactor(total, transformed.total(amplitude), mean**2 / square, *peak)
    pairs = combinations_with_replacement(enumerate(direct.elements), 2)
    return StructureFactorResult(
        q_per_angstrom=direct.q,
        totals=totals,
        pairs={
            f'{first}-{second}': PartialStructureFactor(direct.partial[a, b], transformed.partial[a, b])
            for (a, first), (b, second) in pairs
        },
        g_end_angstrom=end,
    )


def plot_structure_factor(found: StructureFactorResult, name: str, axis: Axes) -> None:
    """Draw S(q) of one radiation by both ways, with the first sharp peak marked."""
    from aiida_ufpnmr.engine.figure_style import BLUE, GREY, ORANGE, finish

    one = found.totals[name]
    axis.plot(found.q_per_angstrom, one.direct, color=BLUE, lw=1.2, label='from positions')
    axis.plot(
        found.q_per_angstrom, one.from_g, color=ORANGE, lw=1.2, label=f'from g(r) up to {found.g_end_angstrom:.1f} Å'
    )
    axis.axhline(1.0, color=GREY, lw=0.6)
    if one.peak_position_per_angstrom is not None:
        axis.axvline(one.peak_position_per_angstrom, color=GREY, lw=0.8, ls=':')
    axis.set(xlabel='q (Å⁻¹)', ylabel='S(q)', xlim=(0, found.q_per_angstrom[-1]))
    axis.set_title({'neutron': 'neutrons', 'xray': 'X-rays'}[name], fontsize=10, loc='left')
    finish(axis)

"""Polyanions such as PS4, P2S7 and P2S6 by their bonds: shares, lifetimes, bridging ligands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from aiida_ufpnmr.engine.analyses.base import Result, SnapshotSource, Table, analysis
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.records import Record, quantity
from aiida_ufpnmr.engine.settings import setting
from aiida_ufpnmr.engine.structure.unit_history import UnitHistory, lasting, lifetime, unit_history
from aiida_ufpnmr.engine.structure.units import CENTRES, LIGANDS
from aiida_ufpnmr.engine.trajectories.snapshots import SnapshotSettings

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class AnionsSettings(SnapshotSettings):
    """Definition of a lifetime."""

    residence_ps: float = setting(0.5, 'Breaks and stays that are shorter, in ps, are vibrations.', least=0)


@dataclass(frozen=True)
class AnionKind(Record):
    """Units of one kind."""

    count: np.ndarray = quantity('', 'number of them', 'frames')
    mean_count: float = quantity('', 'its mean over frames')
    share_of_centres: float = quantity('', 'share of all centres, such as P, that are in such units')
    ends: int = quantity('', 'how many end, their vibrations aside')
    lifetime_ps: float | None = quantity('ps', 'time lived by ends; null where none ends', default=None)
    lifetime_ps_low: float | None = quantity('ps', 'lower end of its 95 % interval', default=None)
    lifetime_ps_high: float | None = quantity('ps', 'upper end; null where none ends', default=None)


@dataclass(frozen=True)
class LigandShares(Record):
    """Shares of the atoms of one ligand by their bonds to centres, averaged over frames."""

    bridging: float = quantity('', 'two bonds or more')
    terminal: float = quantity('', 'one bond')
    free: float = quantity('', 'none')


@dataclass(frozen=True)
class AnionsResult(Result):
    """Units by kind, and ligands by their bonds."""

    KIND = 'anions'

    time_ps: np.ndarray = quantity('ps', 'times of the frames', 'frames')
    kinds: dict[str, AnionKind] = quantity('', 'by name, such as PS4')
    ligands: dict[str, LigandShares] = quantity('', 'by element')
    foreign_bonds_mean: float = quantity('', 'bonds that no unit has, such as S-S, in a frame')

    def table(self) -> Table:
        rows: list[tuple[str, ...]] = [('anion', 'number', 'share of centres', 'ends', 'lifetime (ps)')]
        for name, kind in self.kinds.items():
            life = '-' if kind.lifetime_ps_low is None else f'> {kind.lifetime_ps_low:.3g}'
            if kind.lifetime_ps is not None:
                life = f'{kind.lifetime_ps:.3g} ({kind.lifetime_ps_low:.3g} to {kind.lifetime_ps_high:.3g})'
            rows.append((name, f'{kind.mean_count:.2f}', f'{kind.share_of_centres:.3f}', str(kind.ends), life))
        return rows

    @property
    def remarks(self) -> list[str]:
        return [
            f'{name}: {one.bridging:.1%} bridging, {one.terminal:.1%} terminal, {one.free:.1%} free.'
            for name, one in self.ligands.items()
        ]

    def plot(self) -> Figure:
        from aiida_ufpnmr.engine.figure_style import Figure

        figure = Figure(figsize=(6.0, 4.0), layout='constrained')
        plot_anions(self, figure.subplots())
        return figure


@analysis('anions', 'ufpnmr analyse anions run.h5 --plot anions.png --json anions.json')
def anions(source: SnapshotSource, settings: AnionsSettings) -> AnionsResult:
    """Polyanions such as PS4, P2S7 and P2S6 by their bonds: shares, lifetimes, bridging ligands.

    Any tetrahedra AX4 of a network former are told, and what they share, in any cell.
    """
    snapshots = source.snapshots
    elements = set(snapshots.symbols)
    if not elements & set(CENTRES):
        raise InputError(f'holds no atom that units have at their centre: {", ".join(CENTRES)}')
    if len(snapshots.frames) > 1:
        snapshots = snapshots.at_regular_times()
    history = unit_history(snapshots)
    return AnionsResult(
        time_ps=snapshots.step_ps * np.arange(history.n_frames),
        kinds=_kinds(history, snapshots.symbols, snapshots.step_ps, settings.residence_ps),
        ligands={
            symbol: LigandShares(bridging, 1 - bridging - free, free)
            for symbol in LIGANDS
            if symbol in elements
            for bridging, free in [
                (float(share[snapshots.symbols == symbol].mean()) for share in (history.bridging, history.free))
            ]
        },
        foreign_bonds_mean=float(history.foreign.mean()),
    )


def _kinds(history: UnitHistory, symbols: np.ndarray, step_ps: float, residence_ps: float) -> dict[str, AnionKind]:
    is_centre = np.isin(symbols, CENTRES)
    residence = max(1, round(residence_ps / step_ps)) if step_ps else 1
    stays = lasting(history.stays, residence)
    found = {}
    for name, count in history.counts.items():
        seen = [stay for stay in history.stays if stay.name == name]
        centres = sum((stay.stop - stay.first) * int(is_centre[list(stay.members)].sum()) for stay in seen)
        mine = [stay for stay in stays if stay.name == name]
        life = lifetime(mine, history.n_frames)
        found[name] = AnionKind(
            count=count,
            mean_count=float(count.mean()),
            share_of_centres=centres / (history.n_frames * int(is_centre.sum())),
            ends=life.ends,
            lifetime_ps=None if life.mean is None else life.mean * step_ps,
            lifetime_ps_low=life.low * step_ps if mine and step_ps else None,
            lifetime_ps_high=None if life.high is None else life.high * step_ps,
        )
    return found


def plot_anions(found: AnionsResult, axis: Axes) -> None:
    """Draw the number of units of each kind against time, those that are most first."""
    from aiida_ufpnmr.engine.figure_style import COLOURS, finish, time_unit

    unit, factor = time_unit(found.time_ps[-1])
    most = sorted(found.kinds, key=lambda name: -found.kinds[name].mean_count)[: len(COLOURS)]
    for name, colour in zip(most, COLOURS):
        axis.plot(found.time_ps * factor, found.kinds[name].count, color=colour, lw=1.2, label=name)
    axis.set(xlabel=f'time ({unit})', ylabel='number')
    axis.set_ylim(bottom=0)
    finish(axis)

"""Rotations of tetrahedral anions: memory of their orientation, jumps, and hops of ions that go with them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from ase.data import atomic_masses
from ase.geometry import find_mic

from aiida_ufpnmr.engine.analyses.base import Result, SnapshotSource, Table, analysis
from aiida_ufpnmr.engine.efg.tensors import to_irreps
from aiida_ufpnmr.engine.records import Record, quantity
from aiida_ufpnmr.engine.settings import setting
from aiida_ufpnmr.engine.structure.tetrahedra import (
    IDEAL,
    Tetrahedra,
    are_mirrored,
    centred_tetrahedra,
    closest_rotations,
)
from aiida_ufpnmr.engine.timeseries.correlation import autocorrelation
from aiida_ufpnmr.engine.timeseries.sums import poisson_limits
from aiida_ufpnmr.engine.trajectories.snapshots import Snapshots, SnapshotSettings
from aiida_ufpnmr.engine.transport.hops import HopFinder, Hops, HopSettings
from aiida_ufpnmr.engine.transport.rotation_jumps import JUMPS, JumpFinder, RotationJumps, coincidence

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Tetrahedra whose correlation is computed at a time.
BLOCK = 16


@dataclass(frozen=True)
class RotationsSettings(HopSettings, SnapshotSettings):
    """Definition of a jump, of a hop of an ion, and of the two together."""

    species: str = setting('Li', 'Element of the ions whose hops are compared.')
    jump_deg: float = setting(
        60.0, 'A tetrahedron jumps where a corner turns by more than this, in °, and stays there.', above=0, most=109
    )
    coincidence_ps: float = setting(1.0, 'A hop and a jump less apart than this, in ps, go together.', least=0)
    reach_angstrom: float = setting(4.5, 'Tetrahedra whose centre is within this distance of the ion, in Å.', above=0)
    seed: int = setting(0, 'Seed of the shifts in time that tell what chance would make.', least=0)


@dataclass(frozen=True)
class RotationKind(Record):
    """Rotation of the tetrahedra of one kind."""

    tetrahedra: int = quantity('', 'number of them')
    first_rank: np.ndarray = quantity('', 'mean cosine of the angle of a bond to where it was', 'lags')
    second_rank: np.ndarray = quantity('', 'mean of (3 cos² − 1)/2, as NMR sees it', 'lags')
    jumps: int = quantity('', 'number of jumps')
    jump_rate_per_s: float = quantity('1/s', 'jumps of a tetrahedron per second')
    jump_rate_per_s_ci95: tuple[float, float] = quantity('1/s', 'its 95 % interval if they come at random')
    jump_angle_mean_deg: float | None = quantity('°', 'mean angle of the jumps; null without any', default=None)
    second_rank_decay_ps: float | None = quantity('ps', 'first lag at which it is below 1/e', default=None)


@dataclass(frozen=True)
class HopsWithJumps(Record):
    """Hops of ions that a jump of a tetrahedron nearby goes with."""

    ion_hops: int = quantity('', 'number of hops of ions')
    share: float = quantity('', 'share of them with a jump nearby')
    share_expected: float = quantity('', 'the same if jumps came at other times')
    p_value: float = quantity('', 'chance of as large a share where they have nothing to do with each other')


@dataclass(frozen=True)
class RotationsResult(Result):
    """Rotations by kind of tetrahedron, each jump, and hops that go with them."""

    KIND = 'rotations'

    lag_ps: np.ndarray = quantity('ps', 'lags, up to half of the trajectory', 'lags')
    kinds: dict[str, RotationKind] = quantity('', 'by kind, such as PS4')
    jump_atom: np.ndarray = quantity('', 'centre of the tetrahedron that jumps', 'jumps')
    jump_time_ps: np.ndarray = quantity('ps', 'its time after the first frame', 'jumps')
    jump_angle_deg: np.ndarray = quantity('°', 'angle between the mean orientations before and after', 'jumps')
    verdict: str = quantity('', 'jumps, or what speaks against them')
    hops_with_jumps: HopsWithJumps | None = quantity('', 'null without hops or jumps', default=None)

    def table(self) -> Table:
        rows: list[tuple[str, ...]] = [
            ('tetrahedra', 'number', 'jumps', 'rate (1/s)', '95 % interval', 'mean angle (°)')
        ]
        for name, one in self.kinds.items():
            angle = '-' if one.jump_angle_mean_deg is None else f'{one.jump_angle_mean_deg:.0f}'
            interval = '{:.2e} to {:.2e}'.format(*one.jump_rate_per_s_ci95)
            rows.append((name, str(one.tetrahedra), str(one.jumps), f'{one.jump_rate_per_s:.2e}', interval, angle))
        return rows

    @property
    def headline(self) -> str:
        return f'{super().headline}: {self.verdict}'

    @property
    def remarks(self) -> list[str]:
        both = self.hops_with_jumps
        if both is None:
            return []
        return [
            f'{both.share:.1%} of {both.ion_hops} hops have a jump nearby, {both.share_expected:.1%} would by chance '
            f'(p = {both.p_value:.2g}).'
        ]

    def plot(self) -> Figure:
        from aiida_ufpnmr.engine.figure_style import BLUE, COLOURS, GREY, Figure, finish, time_unit

        figure = Figure(figsize=(10.0, 4.0), layout='constrained')
        left, right = figure.subplots(1, 2)
        unit, factor = time_unit(self.lag_ps[-1])
        for (name, one), colour in zip(self.kinds.items(), COLOURS):
            lags = self.lag_ps * factor
            left.plot(lags, one.first_rank, color=colour, lw=1.4, label=f'{name}, first rank')
            left.plot(lags, one.second_rank, color=colour, lw=1.4, ls='--', label=f'{name}, second rank')
        left.axhline(0.0, color=GREY, lw=0.6)
        left.set(xlabel=f'lag time ({unit})', ylabel='correlation of orientation')
        finish(left)
        right.hist(self.jump_angle_deg, np.arange(0, 181, 5), color=BLUE)
        right.set(xlabel='angle of a jump (°)', ylabel='jumps')
        finish(right, legend=False)
        return figure


@analysis('rotations', 'ufpnmr analyse rotations run.h5 --species Li --plot rotations.png --json rotations.json')
def rotations(source: SnapshotSource, settings: RotationsSettings) -> RotationsResult:
    """Rotations of tetrahedral anions: memory of their orientation, jumps, and hops of ions that go with them.

    Tetrahedra are the centres with four ligands of the first frame, such as PS4.
    """
    snapshots = source.snapshots.at_regular_times()
    there = centred_tetrahedra(snapshots.atoms)
    turns, jumps, hops, near = _follow(snapshots, there, settings)
    n_frames = len(turns)
    exposure_s = n_frames * snapshots.step_ps * 1e-12
    lags = max(2, n_frames // 2)
    kinds = {}
    for name in sorted(set(there.names)):
        of_kind = there.names == name
        chosen = of_kind[jumps.unit]
        first, second = orientation_correlation(turns[:, of_kind])
        below = np.flatnonzero(second[:lags] < np.exp(-1))
        count, time_s = int(chosen.sum()), exposure_s * int(of_kind.sum())
        low, high = poisson_limits(count)
        kinds[name] = RotationKind(
            tetrahedra=int(of_kind.sum()),
            first_rank=first[:lags],
            second_rank=second[:lags],
            jumps=count,
            jump_rate_per_s=count / time_s,
            jump_rate_per_s_ci95=(low / time_s, high / time_s),
            jump_angle_mean_deg=float(jumps.angle_deg[chosen].mean()) if count else None,
            second_rank_decay_ps=float(below[0] * snapshots.step_ps) if len(below) else None,
        )
    both = None
    if len(hops.frame) and jumps.verdict == JUMPS:
        within = round(settings.coincidence_ps / snapshots.step_ps)
        met = coincidence(hops.frame, near, jumps, n_frames, within, settings.seed)
        both = HopsWithJumps(len(hops.frame), met.share, met.expected, met.p_value)
    return RotationsResult(
        lag_ps=snapshots.step_ps * np.arange(lags),
        kinds=kinds,
        jump_atom=there.origin[jumps.unit],
        jump_time_ps=jumps.frame * snapshots.step_ps,
        jump_angle_deg=jumps.angle_deg,
        verdict=jumps.verdict,
        hops_with_jumps=both,
    )


def _follow(
    snapshots: Snapshots, there: Tetrahedra, settings: RotationsSettings
) -> tuple[np.ndarray, RotationJumps, Hops, np.ndarray]:
    """Rotations of the tetrahedra, their jumps, hops of ions, and which tetrahedra are near to each hop.

    Rotations are (n_frames, n_units, 3, 3) in single precision; what is near is (n_hops, n_units) booleans.
    """
    ions = snapshots.chosen(settings.species, 'species')
    n_frames, n_units = len(snapshots.frames), len(there.names)
    turns = np.empty((n_frames, n_units, 3, 3), np.float32)
    places, cells = np.empty((n_frames, n_units + len(ions), 3), np.float32), np.empty((n_frames, 3, 3))
    jump_finder = JumpFinder(n_units, snapshots.step_ps, settings, settings.jump_deg)
    hop_finder = HopFinder(len(ions), snapshots.step_ps, settings)
    masses = atomic_masses[snapshots.atoms.numbers] * (snapshots.symbols != settings.species)
    frame, mirrored = 0, None
    for positions, cell in snapshots.parts():
        corners = there.vectors(positions, cell)
        mirrored = are_mirrored(corners[0]) if mirrored is None else mirrored
        turned = closest_rotations(corners, mirrored)
        jump_finder.add(turned)
        framework = np.einsum('fax,a->fx', positions, masses) / masses.sum()
        hop_finder.add(positions[:, ions] - framework[:, None])
        part = slice(frame, frame + len(positions))
        turns[part], cells[part] = turned, cell
        places[part] = positions[:, np.concatenate([there.origin, ions])]
        frame = part.stop
    hops = hop_finder.hops()
    near = np.zeros((len(hops.frame), n_units), bool)
    for row, (frame, ion) in enumerate(zip(hops.frame, hops.ion)):
        vectors = places[frame, :n_units].astype(float) - places[frame, n_units + ion]
        near[row] = find_mic(vectors, cells[frame], snapshots.atoms.pbc)[1] <= settings.reach_angstrom
    return turns, jump_finder.jumps(turns), hops, near


def orientation_correlation(turns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Correlation of the directions of the corners, of first and of second rank, (n_frames,) each.

    First rank: ⟨u(0)·u(t)⟩ of the four corners, which is ⟨tr R(0)ᵀR(t)⟩/3. Second rank: ⟨(3 (u(0)·u(t))² − 1)/2⟩.

    Args:
        turns: (n_frames, n_units, 3, 3) rotations.
    """
    n_frames, n_units = turns.shape[:2]
    first, second = np.zeros((2, n_frames))
    for start in range(0, n_units, BLOCK):
        block = turns[:, start : start + BLOCK].astype(float)
        corners = np.einsum('fnxy,ky->fnkx', block, IDEAL)
        tensors = np.einsum('fnkx,fnky->fnkxy', corners, corners) - np.eye(3) / 3
        share = block.shape[1] / n_units
        first += share * autocorrelation(block.reshape(n_frames, -1, 9), 1.0)[1]
        second += share * autocorrelation(to_irreps(tensors).reshape(n_frames, -1, 5), 1.0)[1]
    return first, second

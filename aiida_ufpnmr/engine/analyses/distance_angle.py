"""Density of ions by their distance from a ligand and the angle centre–ligand–ion; Miyagawa 2024, Fig. 7."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from aiida_ufpnmr.engine.analyses.base import Result, SnapshotSource, Table, analysis
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.records import Record, quantity
from aiida_ufpnmr.engine.settings import setting
from aiida_ufpnmr.engine.structure.distance_angle import count_distance_angle
from aiida_ufpnmr.engine.structure.units import ligand_bonds
from aiida_ufpnmr.engine.trajectories.snapshots import SnapshotSettings

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class DistanceAngleSettings(SnapshotSettings):
    """Choice of the ions, range and resolution."""

    species: str = setting('Li', 'Element of the ions.')
    ligand: str = setting('S', 'Element of the ligands, such as S of PS4.')
    r_max_angstrom: float = setting(6.0, 'Largest distance in Å.', above=0)
    bin_angstrom: float = setting(0.05, 'Width of the bins in Å.', above=0)
    angle_bins: int = setting(90, 'Bins in half a turn.', least=2, most=720)


@dataclass(frozen=True)
class DistanceAngleMap(Record):
    """Density about the ligands of one kind of centre."""

    density: np.ndarray = quantity('1/(Å °)', 'probability density, with area 1', 'distances, angles')
    relative: np.ndarray = quantity('', 'over that of ions that are anywhere, 1 where independent', 'distances, angles')
    bonds: int = quantity('', 'bonds from the ligand to such centres')
    peak_r_angstrom: float = quantity('Å', 'distance of the bin that is densest relative to independent ions')
    peak_angle_deg: float = quantity('°', 'its angle')


@dataclass(frozen=True)
class DistanceAngleResult(Result):
    """Maps by kind of centre."""

    KIND = 'distance-angle'

    r_angstrom: np.ndarray = quantity('Å', 'middles of the bins of distance', 'distances')
    angle_deg: np.ndarray = quantity('°', 'middles of the bins of the angle', 'angles')
    maps: dict[str, DistanceAngleMap] = quantity('', 'by angle, such as P-S-Li')

    def table(self) -> Table:
        rows: list[tuple[str, ...]] = [('angle', 'bonds', 'densest at (Å)', 'and (°)', 'times independent')]
        for name, one in self.maps.items():
            place = f'{one.peak_r_angstrom:.2f}', f'{one.peak_angle_deg:.0f}'
            rows.append((name, str(one.bonds), *place, f'{one.relative.max():.2f}'))
        return rows

    def plot(self) -> Figure:
        from aiida_ufpnmr.engine.figure_style import Figure

        figure = Figure(figsize=(5.0 * len(self.maps), 4.0), layout='constrained')
        for axis, name in zip(figure.subplots(1, len(self.maps), squeeze=False)[0], self.maps):
            plot_distance_angle(self, name, axis)
        return figure


@analysis('distance-angle', 'ufpnmr analyse distance-angle run.h5 --species Li --plot map.png --json map.json')
def distance_angle(source: SnapshotSource, settings: DistanceAngleSettings) -> DistanceAngleResult:
    """Density of ions by their distance from a ligand and the angle centre–ligand–ion, such as P–S–Li.

    Bonds between centres and ligands are those of the first frame.
    """
    snapshots = source.snapshots
    ions = snapshots.chosen(settings.species, 'species')
    snapshots.chosen(settings.ligand, 'ligand')
    bonds = ligand_bonds(snapshots.atoms)
    symbols = snapshots.symbols
    n_r = int(np.ceil(settings.r_max_angstrom / settings.bin_angstrom - 1e-9))
    r_edges, angle_edges = settings.bin_angstrom * np.arange(n_r + 1), np.linspace(0, 180, settings.angle_bins + 1)
    r, angle = (r_edges[1:] + r_edges[:-1]) / 2, (angle_edges[1:] + angle_edges[:-1]) / 2
    area = settings.bin_angstrom * (angle_edges[1] - angle_edges[0])
    maps = {}
    for centre in sorted(set(symbols[bonds.centre])):
        chosen = (symbols[bonds.centre] == centre) & (symbols[bonds.ligand] == settings.ligand)
        if not chosen.any():
            continue
        found = count_distance_angle(snapshots, bonds.of(chosen), ions, r_edges, angle_edges)
        relative = found.counts / found.independent
        peak = np.unravel_index(relative.argmax(), relative.shape)
        maps[f'{centre}-{settings.ligand}-{settings.species}'] = DistanceAngleMap(
            density=found.counts / (max(1, found.counts.sum()) * area),
            relative=relative,
            bonds=int(chosen.sum()),
            peak_r_angstrom=float(r[peak[0]]),
            peak_angle_deg=float(angle[peak[1]]),
        )
    if not maps:
        raise InputError(f'no {settings.ligand} of the first frame is bound to a centre; give --ligand, or skip it')
    return DistanceAngleResult(r, angle, maps)


def plot_distance_angle(found: DistanceAngleResult, name: str, axis: Axes) -> None:
    """Draw the probability density of one map."""
    density = found.maps[name].density.T
    mesh = axis.pcolormesh(found.r_angstrom, found.angle_deg, density, cmap='viridis', rasterized=True)
    bar = axis.figure.colorbar(mesh, ax=axis, fraction=0.05, pad=0.02)
    bar.set_label('density (1/(Å °))')
    bar.outline.set_visible(False)
    _, ligand, ion = name.split('-')
    axis.set(xlabel=f'r({ion}–{ligand}) (Å)', ylabel=f'φ({name.replace("-", "–")}) (°)')

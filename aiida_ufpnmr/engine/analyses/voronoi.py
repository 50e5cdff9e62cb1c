"""Voronoi volumes and coordination of ions; Chen 2023."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from aiida_ufpnmr.engine.analyses.base import Result, SnapshotSource, Table, analysis
from aiida_ufpnmr.engine.records import Record, quantity
from aiida_ufpnmr.engine.settings import setting
from aiida_ufpnmr.engine.structure.voronoi import VoronoiSums, voronoi_sums
from aiida_ufpnmr.engine.trajectories.snapshots import SnapshotSettings

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: More faces than this are counted as so many.
MOST_FACES = 40


@dataclass(frozen=True)
class VoronoiSettings(SnapshotSettings):
    """Choice of the atoms, and which faces count."""

    species: str = setting('Li', 'Element of the atoms whose cells are made among all atoms, or "all".')
    least_face_share: float = setting(
        0.01, 'Faces with a smaller share of the surface of a cell are no neighbours.', least=0, most=0.5
    )
    volume_max_angstrom3: float = setting(60.0, 'End of the histogram of volumes in Å³.', above=0)
    volume_bin_angstrom3: float = setting(0.25, 'Width of its bins in Å³.', above=0)


@dataclass(frozen=True)
class VoronoiKind(Record):
    """Voronoi cells of one element."""

    volume_density: np.ndarray = quantity('1/Å³', 'probability density of the volume', 'volumes')
    coordination_share: np.ndarray = quantity('', 'share of cells with 0, 1, 2 … faces that count', 'numbers')
    volume_mean_angstrom3: float = quantity('Å³', 'mean volume')
    volume_std_angstrom3: float = quantity('Å³', 'standard deviation over atoms and frames')
    coordination_mean: float = quantity('', 'mean number of faces that count')
    neighbours: dict = quantity('', 'the same by element of the neighbour')


@dataclass(frozen=True)
class VoronoiResult(Result):
    """Volumes and neighbours by element."""

    KIND = 'voronoi'

    atom: np.ndarray = quantity('', 'indices of the atoms', 'chosen')
    volume_angstrom3: np.ndarray = quantity('Å³', 'mean volume of each', 'chosen')
    bin_volume_angstrom3: np.ndarray = quantity('Å³', 'middles of the bins; the last holds larger ones', 'volumes')
    kinds: dict[str, VoronoiKind] = quantity('', 'by element')

    def table(self) -> Table:
        rows: list[tuple[str, ...]] = [('element', 'volume (Å³)', 'std (Å³)', 'neighbours', 'of them')]
        for name, one in self.kinds.items():
            parts = ', '.join(f'{count:.2f} {symbol}' for symbol, count in one.neighbours.items())
            volume = f'{one.volume_mean_angstrom3:.3f}', f'{one.volume_std_angstrom3:.3f}'
            rows.append((name, *volume, f'{one.coordination_mean:.2f}', parts))
        return rows

    def plot(self) -> Figure:
        from aiida_ufpnmr.engine.figure_style import COLOURS, Figure, finish

        figure = Figure(figsize=(9.0, 3.8), layout='constrained')
        left, right = figure.subplots(1, 2)
        for (name, one), colour in zip(self.kinds.items(), COLOURS):
            left.plot(self.bin_volume_angstrom3, one.volume_density, color=colour, lw=1.4, label=name)
            right.plot(one.coordination_share, 'o-', color=colour, ms=4, lw=1.0, label=name)
        left.set(xlabel='Voronoi volume (Å³)', ylabel='density (1/Å³)')
        right.set(xlabel='neighbours', ylabel='share of cells')
        finish(left)
        finish(right, legend=False)
        return figure


@analysis('voronoi', 'ufpnmr analyse voronoi run.h5 --species Li --stride 10 --plot voronoi.png --json voronoi.json')
def voronoi(source: SnapshotSource, settings: VoronoiSettings) -> VoronoiResult:
    """Voronoi volumes and numbers of neighbours of ions.

    A cell is all that is nearer to its atom than to any other of any element; neighbours share a face with it.
    """
    snapshots = source.snapshots
    elements, kind = np.unique(snapshots.symbols, return_inverse=True)
    everyone = settings.species == 'all'
    chosen = np.arange(len(kind)) if everyone else snapshots.chosen(settings.species, 'species')
    width = settings.volume_bin_angstrom3
    edges = width * np.arange(int(np.ceil(settings.volume_max_angstrom3 / width - 1e-9)) + 1)
    sums = voronoi_sums(snapshots, chosen, kind, settings.least_face_share, edges, MOST_FACES)
    return VoronoiResult(
        atom=chosen,
        volume_angstrom3=sums.volume / sums.n_frames,
        bin_volume_angstrom3=(edges[1:] + edges[:-1]) / 2,
        kinds={
            str(elements[k]): _of_kind(sums, kind[chosen] == k, list(map(str, elements)), width)
            for k in np.unique(kind[chosen])
        },
    )


def _of_kind(sums: VoronoiSums, rows: np.ndarray, elements: list[str], width: float) -> VoronoiKind:
    """Averages over the frames and some of the chosen atoms."""
    cells = int(rows.sum()) * sums.n_frames
    mean = float(sums.volume[rows].sum() / cells)
    faces = sums.faces[rows].sum(axis=0) / cells
    return VoronoiKind(
        volume_density=sums.volume_counts[rows].sum(axis=0) / (cells * width),
        coordination_share=sums.coordination[rows].sum(axis=0) / cells,
        volume_mean_angstrom3=mean,
        volume_std_angstrom3=float(np.sqrt(max(0.0, sums.volume_square[rows].sum() / cells - mean**2))),
        coordination_mean=float(faces.sum()),
        neighbours={symbol: float(count) for symbol, count in zip(elements, faces)},
    )

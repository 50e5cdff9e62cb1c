"""Rings and cavities of a network by persistent homology, and the part of rings in the first sharp peak of S(q)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from ase.data import chemical_symbols

from aiida_ufpnmr.engine.analyses.base import Result, SnapshotSource, Table, analysis
from aiida_ufpnmr.engine.analyses.structure_factor import StructureFactorSettings
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.neighbours import cell_heights
from aiida_ufpnmr.engine.records import Record, quantity
from aiida_ufpnmr.engine.settings import setting, with_default
from aiida_ufpnmr.engine.structure.radial import PairCounts, count_pairs
from aiida_ufpnmr.engine.structure.ring_sums import RingSums, ring_sums
from aiida_ufpnmr.engine.structure.rings import MOST_ATOMS
from aiida_ufpnmr.engine.structure.scattering import (
    PartialStructureFactors,
    first_sharp_peak,
    neutron_lengths,
    sine_transform,
    xray_form_factors,
)
from aiida_ufpnmr.engine.trajectories.snapshots import Snapshots, SnapshotSettings

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: No atom is larger, Å.
LARGEST_RADIUS = 5.0
#: Name of the classes of each dimension.
NAMES = ('H0', 'H1', 'H2')


def read_radii(value: str | Mapping[str, float]) -> dict[str, float]:
    """Radii in Å by element, from a mapping or from text such as ``Li=0.6,S=1.8``."""
    parts = [part.partition('=')[::2] for part in value.split(',')] if isinstance(value, str) else list(value.items())
    radii: dict[str, float] = {}
    for element, radius in parts:
        try:
            number = float(radius)
        except ValueError:
            number = -1.0
        if element.strip() not in chemical_symbols[1:] or element.strip() in radii or not 0 <= number <= LARGEST_RADIUS:
            raise ValueError(
                f'{value!r} is no list of radii up to {LARGEST_RADIUS:g} Å, each element once, such as Li=0.6,S=1.8'
            )
        radii[element.strip()] = number
    return radii


@dataclass(frozen=True)
class RingsSettings(SnapshotSettings):
    """Choice of the network, and which rings count."""

    network: str = setting('S', 'Elements of the atoms that make rings, such as S or P,S, or all.')
    radii_angstrom: dict[str, float] | None = setting(
        None, 'Radii in Å by element, whose squares are the weights; default none.', parse=read_radii, metavar='S=1.8'
    )
    least_persistence_angstrom: float = setting(
        0.1, 'Count classes that live so long, from birth to death, in Å.', above=0
    )
    large_ring_atoms: int = setting(9, 'Rings of so many atoms are large.', least=4, most=MOST_ATOMS)
    most_persistent: int = setting(10, 'Name the atoms of so many rings of each frame.', least=0, most=1000)
    radius_max_angstrom: float = setting(5.0, 'End of the maps of births and deaths in Å.', above=0)
    radius_bin_angstrom: float = setting(0.05, 'Width of their bins in Å.', above=0)
    q_max_per_angstrom: float = with_default(StructureFactorSettings, 'q_max_per_angstrom', 5.0)
    q_bin_per_angstrom: float = with_default(StructureFactorSettings, 'q_bin_per_angstrom', 0.02)
    r_max_angstrom: float | None = with_default(StructureFactorSettings, 'r_max_angstrom', None)
    r_bin_angstrom: float = with_default(StructureFactorSettings, 'r_bin_angstrom', 0.05)
    peak_range_per_angstrom: tuple[float, float] = with_default(
        StructureFactorSettings, 'peak_range_per_angstrom', (0.5, 3.0)
    )

    def __post_init__(self):
        super().__post_init__()
        if not self.peak_range_per_angstrom[0] < self.peak_range_per_angstrom[1]:
            raise InputError('--peak-range-per-angstrom takes the lower end first')


@dataclass(frozen=True)
class HomologyMap(Record):
    """Births and deaths of the classes of one dimension."""

    density: np.ndarray = quantity('', 'classes by birth and death, a frame', 'births, deaths')
    number: np.ndarray = quantity('', 'classes that are persistent enough', 'frames')
    number_mean: float = quantity('', 'its mean over frames')
    number_std: float = quantity('', 'its standard deviation over frames')
    birth_mean_angstrom: float | None = quantity('Å', 'mean birth of these', default=None)
    death_mean_angstrom: float | None = quantity('Å', 'mean death of these', default=None)


@dataclass(frozen=True)
class RingScattering(Record):
    """Structure factor of all atoms, and the parts of pairs that lie within one ring."""

    total: np.ndarray = quantity('', 'S(q) by the sine transform of g(r)', 'wave numbers')
    small: np.ndarray = quantity('', 'part of pairs within a ring that is not large', 'wave numbers')
    large: np.ndarray = quantity('', 'part of pairs that only a large ring holds', 'wave numbers')
    peak_position_per_angstrom: float | None = quantity('Å⁻¹', 'of the first sharp peak', default=None)
    peak_height: float | None = quantity('', 'S(q) there', default=None)
    small_at_peak: float | None = quantity('', 'part of small rings there', default=None)
    large_at_peak: float | None = quantity('', 'part of large rings there', default=None)
    small_share: float | None = quantity('', 'share of S(q) − 1 at the peak; null below 1', default=None)
    large_share: float | None = quantity('', 'the same of large rings', default=None)


@dataclass(frozen=True)
class RingsResult(Result):
    """Classes by dimension, rings by size, and the atoms of the most persistent ones."""

    KIND = 'rings'

    radius_angstrom: np.ndarray = quantity('Å', 'middles of the bins of births and deaths', 'births')
    classes: dict[str, HomologyMap] = quantity('', 'by dimension: H0 components, H1 rings, H2 cavities')
    rings_by_size: np.ndarray = quantity('', 'mean number of rings of 0, 1, 2 … atoms; of 0 those too long', 'sizes')
    rings_by_size_std: np.ndarray = quantity('', 'its standard deviation over frames', 'sizes')
    atom: np.ndarray = quantity('', 'indices of the atoms of the network', 'network')
    rings_of_atom: np.ndarray = quantity('', 'mean number of rings through each', 'network')
    large_rings_of_atom: np.ndarray = quantity('', 'those that are large', 'network')
    ring_frame: np.ndarray = quantity('', 'frame of each of the most persistent rings, counted from 0', 'rings')
    ring_birth_angstrom: np.ndarray = quantity('Å', 'their births', 'rings')
    ring_death_angstrom: np.ndarray = quantity('Å', 'their deaths', 'rings')
    ring_atoms: np.ndarray = quantity('', 'indices of their atoms along the ring, then −1', 'rings, most atoms')
    large_rings_mean: float = quantity('', 'mean number of large rings')
    repeats: tuple[int, int, int] = quantity('', 'how often a small cell was repeated; numbers are of one cell')
    q_per_angstrom: np.ndarray = quantity('Å⁻¹', 'wave numbers of S(q)', 'wave numbers')
    g_end_angstrom: float = quantity('Å', 'end of the g(r) that was transformed')
    scattering: dict[str, RingScattering] = quantity('', 'S(q) and the part of rings by radiation: neutron, xray')
    ring_size_mean: float | None = quantity('', 'mean number of atoms of a ring', default=None)

    def table(self) -> Table:
        rows: list[tuple[str, ...]] = [('classes', 'number', 'std', 'birth (Å)', 'death (Å)')]
        for name, one in self.classes.items():
            ends = one.birth_mean_angstrom, one.death_mean_angstrom
            spread = f'{one.number_mean:.1f}', f'{one.number_std:.1f}'
            rows.append((name, *spread, *('-' if end is None else f'{end:.3f}' for end in ends)))
        return rows

    @property
    def remarks(self) -> list[str]:
        large = self.settings.get('large_ring_atoms', 'many')
        peaks = [
            f'{name}: first peak at {one.peak_position_per_angstrom:.2f} Å⁻¹; of S(q) − 1 there pairs within small '
            f'rings make {one.small_share:.0%}, pairs that only large ones hold {one.large_share:.0%}.'
            for name, one in self.scattering.items()
            if one.small_share is not None and one.large_share is not None
        ]
        return [f'{self.large_rings_mean:.1f} rings of {large} atoms or more in a frame.', *peaks]

    def plot(self) -> Figure:
        from aiida_ufpnmr.engine.figure_style import Figure

        figure = Figure(figsize=(10.0, 8.5), layout='constrained')
        (rings, cavities), (sizes, scattering) = figure.subplots(2, 2)
        plot_map(self, 'H1', rings)
        plot_map(self, 'H2', cavities)
        plot_sizes(self, sizes)
        plot_scattering(self, 'xray', scattering)
        return figure


@analysis('rings', 'ufpnmr analyse rings run.h5 --network S --stride 100 --plot rings.png --json rings.json')
def rings(source: SnapshotSource, settings: RingsSettings) -> RingsResult:
    """Rings and cavities of a network by persistent homology, and the part of rings in the first sharp peak; needs
    GUDHI.

    The alpha complex is that of the periodic cell. A ring is the shortest cycle through the edge that makes its class.
    """
    snapshots = source.snapshots.periodic('S(q)')
    chosen, radii = _network(snapshots, settings)
    width = settings.radius_bin_angstrom
    lowest, highest = (int(np.ceil(end / width - 1e-9)) for end in (radii.max(), settings.radius_max_angstrom))
    radius_edges = width * np.arange(-lowest, highest + 1)
    end = settings.r_max_angstrom or float(cell_heights(snapshots.atoms.cell.array).min() / 2)
    counts = count_pairs(snapshots, end, settings.r_bin_angstrom)
    sums = ring_sums(
        snapshots,
        chosen,
        weights=radii**2,
        kind=np.unique(snapshots.symbols, return_inverse=True)[1],
        least_persistence=settings.least_persistence_angstrom,
        large=settings.large_ring_atoms,
        most_persistent=settings.most_persistent,
        radius_edges=radius_edges,
        r_edges=counts.edges,
    )
    q = np.arange(settings.q_bin_per_angstrom, settings.q_max_per_angstrom, settings.q_bin_per_angstrom)
    parts = _parts_of_rings(counts, sums.pairs, q)
    amplitudes = {'neutron': neutron_lengths(counts.elements, len(q)), 'xray': xray_form_factors(counts.elements, q)}
    n_frames, sizes = len(snapshots.frames), sums.sizes.mean(axis=0)
    largest = int(np.flatnonzero(sizes).max(initial=0))
    atoms = np.array([one.atoms for one in sums.strongest], int).reshape(-1, MOST_ATOMS)
    followed = sizes[1:].sum()
    return RingsResult(
        radius_angstrom=(radius_edges[1:] + radius_edges[:-1]) / 2,
        classes={name: _homology_map(sums, dimension) for dimension, name in enumerate(NAMES)},
        rings_by_size=sizes[: largest + 1],
        rings_by_size_std=sums.sizes[:, : largest + 1].std(axis=0),
        atom=chosen,
        rings_of_atom=sums.through[0] / n_frames,
        large_rings_of_atom=sums.through[1] / n_frames,
        ring_frame=np.array([one.frame for one in sums.strongest], int),
        ring_birth_angstrom=np.array([one.birth for one in sums.strongest], float),
        ring_death_angstrom=np.array([one.death for one in sums.strongest], float),
        ring_atoms=np.where(atoms >= 0, chosen[atoms], -1)[:, : max(1, largest)],
        ring_size_mean=float(sizes[1:] @ np.arange(1, len(sizes)) / followed) if followed else None,
        large_rings_mean=float(sizes[settings.large_ring_atoms :].sum()),
        repeats=sums.repeats,
        q_per_angstrom=q,
        g_end_angstrom=float(counts.edges[-1]),
        scattering={
            name: _scattering(parts, amplitude, settings.peak_range_per_angstrom)
            for name, amplitude in amplitudes.items()
        },
    )


def _network(snapshots: Snapshots, settings: RingsSettings) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the atoms that make rings and their radii (n_chosen,) in Å.

    Raises:
        InputError: an element that the trajectory does not hold.
    """
    symbols = snapshots.symbols
    chosen = np.arange(len(symbols))
    if settings.network != 'all':
        elements = settings.network.split(',')
        chosen = np.unique(np.concatenate([snapshots.chosen(element.strip(), 'network') for element in elements]))
    radii = settings.radii_angstrom or {}
    absent = sorted(set(radii) - set(symbols[chosen]))
    if absent:
        raise InputError(f'--radii-angstrom names {", ".join(absent)}, which the network does not hold; leave it out')
    return chosen, np.array([radii.get(symbol, 0.0) for symbol in symbols[chosen]])


def _homology_map(sums: RingSums, dimension: int) -> HomologyMap:
    """Averages over frames of the classes of one dimension."""
    number = sums.numbers[:, dimension]
    ends = {}
    if number.any():
        ends = {
            'birth_mean_angstrom': float(sums.births[:, dimension].sum() / number.sum()),
            'death_mean_angstrom': float(sums.deaths[:, dimension].sum() / number.sum()),
        }
    return HomologyMap(
        density=sums.maps[dimension] / len(number),
        number=number,
        number_mean=float(number.mean()),
        number_std=float(number.std()),
        **ends,
    )


def _parts_of_rings(counts: PairCounts, within: np.ndarray, q: np.ndarray) -> list[PartialStructureFactors]:
    """Partial S(q) of all pairs, then the parts of those within small rings and within large ones alone.

    Args:
        within: (2, n_elements, n_elements, n_bins) the pairs of each part by elements and distance.
    """
    transform = sine_transform(counts.edges, counts.density, q)
    pairs = np.maximum(counts.counts.sum(axis=0), 1)
    n = len(counts.elements)
    partial = np.empty((3, n, n, len(q)))
    for a, b in np.ndindex(n, n):
        excess = counts.g(a, b) - 1
        partial[0, a, b] = 1 + transform(excess)
        for part, held in zip(partial[1:], within):
            part[a, b] = transform(held[a, b] / pairs[a, b] * excess)
    share = counts.atoms / counts.atoms.sum()
    return [PartialStructureFactors(counts.elements, share, q, one) for one in partial]


def _scattering(
    parts: list[PartialStructureFactors], amplitude: np.ndarray, peak_range: tuple[float, float]
) -> RingScattering:
    """Sums of the partial ones for amplitudes (n_elements, n_q), and the shares of rings in the first peak."""
    total, small, large = (one.total(amplitude) for one in parts)
    q, found = parts[0].q, {}
    peak = first_sharp_peak(q, total, *peak_range)
    if peak is not None:
        at_peak = (float(np.interp(peak[0], q, part)) for part in (total, small, large))
        names = 'peak_position_per_angstrom', 'peak_height', 'small_at_peak', 'large_at_peak'
        found = dict(zip(names, (peak[0], *at_peak)))
        excess = found['peak_height'] - 1
        if excess > 0:
            found |= {f'{part}_share': found[f'{part}_at_peak'] / excess for part in ('small', 'large')}
    return RingScattering(total=total, small=small, large=large, **found)


def plot_map(found: RingsResult, name: str, axis: Axes) -> None:
    """Draw the classes of one dimension by birth and death, with the sums over each beside."""
    from matplotlib.colors import LogNorm

    from aiida_ufpnmr.engine.figure_style import BLUE, GREY

    density, radius = found.classes[name].density, found.radius_angstrom
    top = max(density.max(), 1e-9)
    shown = np.ma.masked_less_equal(density.T, 0)
    mesh = axis.pcolormesh(
        radius, radius, shown, cmap='viridis', norm=LogNorm(min(top / 1e3, 1e-1), top), rasterized=True
    )
    bar = axis.figure.colorbar(mesh, ax=axis, fraction=0.05, pad=0.14)
    bar.set_label('classes in a frame')
    bar.outline.set_visible(False)
    axis.plot(radius[[0, -1]], radius[[0, -1]], color=GREY, lw=0.8)
    axis.set(xlabel=f'birth of {name} (Å)', ylabel='death (Å)', xlim=radius[[0, -1]], ylim=radius[[0, -1]])
    births = axis.inset_axes((0, 1.02, 1, 0.16), sharex=axis)
    deaths = axis.inset_axes((1.02, 0, 0.16, 1), sharey=axis)
    births.fill_between(radius, density.sum(axis=1), step='mid', color=BLUE, lw=0)
    deaths.fill_betweenx(radius, density.sum(axis=0), step='mid', color=BLUE, lw=0)
    for marginal in (births, deaths):
        marginal.set_axis_off()
    axis.spines[['top', 'right']].set_visible(False)


def plot_sizes(found: RingsResult, axis: Axes) -> None:
    """Draw the numbers of rings by size, with their spread over frames."""
    from aiida_ufpnmr.engine.figure_style import BLUE, GREY, finish

    size = np.arange(len(found.rings_by_size))[1:]
    spread = {'ecolor': GREY, 'lw': 0.8}
    axis.bar(size, found.rings_by_size[1:], yerr=found.rings_by_size_std[1:], color=BLUE, width=0.8, error_kw=spread)
    axis.set(xlabel='atoms of a ring', ylabel='rings in a frame')
    finish(axis, legend=False)


def plot_scattering(found: RingsResult, name: str, axis: Axes) -> None:
    """Draw S(q) − 1 of one radiation and the parts of rings in it, with the first peak marked."""
    from aiida_ufpnmr.engine.figure_style import BLUE, GREEN, GREY, ORANGE, finish

    one, q = found.scattering[name], found.q_per_angstrom
    axis.plot(q, one.total - 1, color=BLUE, lw=1.4, label='all pairs')
    axis.plot(q, one.small, color=GREEN, lw=1.2, label='within small rings')
    axis.plot(q, one.large, color=ORANGE, lw=1.2, label='within large rings alone')
    axis.axhline(0.0, color=GREY, lw=0.6)
    if one.peak_position_per_angstrom is not None:
        axis.axvline(one.peak_position_per_angstrom, color=GREY, lw=0.8, ls=':')
    axis.set(xlabel='q (Å⁻¹)', ylabel='S(q) − 1', xlim=(0, q[-1]))
    axis.set_title({'neutron': 'neutrons', 'xray': 'X-rays'}[name], fontsize=10, loc='left')
    finish(axis)

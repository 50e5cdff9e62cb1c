"""Quadrupolar parameters by the site at which an ion sits: Harper 2024, Fig. 4."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from aiida_ufpnmr.engine.efg.isotopes import Isotope
from aiida_ufpnmr.engine.efg.tensors import KHZ_PER_MB_AU, to_irreps
from aiida_ufpnmr.engine.nmr.echo import powder_directions
from aiida_ufpnmr.engine.nmr.principal import coupling_and_asymmetry
from aiida_ufpnmr.engine.nmr.runs import EfgRuns
from aiida_ufpnmr.engine.records import Record, quantity
from aiida_ufpnmr.engine.structure.sites import Sites

BINS = 120
#: Frames are thinned until no more values than this are kept.
MOST_VALUES = 4_000_000
#: Order of the quadrature over directions of the field for the distribution of ω_Q in a powder.
POWDER_ORDER = 6


@dataclass(frozen=True)
class Densities(Record):
    """Values of one quantity at each site, over frames and ions; NaN and zero where no ion sits there."""

    edges: np.ndarray = quantity('of the quantity', 'bin edges', 'bins + 1')
    density: np.ndarray = quantity('per unit of the quantity', 'probability density', 'sites, bins')
    mean: np.ndarray = quantity('of the quantity', 'mean', 'sites')
    std: np.ndarray = quantity('of the quantity', 'standard deviation', 'sites')


def by_site(runs: EfgRuns, sites: Sites, isotope: Isotope, direction=None) -> dict[str, Densities]:
    """Distributions of |C_Q| (``c_q_khz``), ``eta`` and ω_Q (``omega_q_khz``) of the ions of one run, by site.

    Args:
        runs: tensors; of the first run only.
        sites: sites of the same ions along the same trajectory.
        isotope: nuclide.
        direction: unit vector of the field; ``None`` averages over directions.
    """
    length = runs.lengths[0]
    every = max(1, -(-length * runs.n_ions // MOST_VALUES))
    column = np.searchsorted(sites.index, runs.index)
    chosen = np.arange(0, length, every)
    where = sites.at(runs.time_fs(0)[chosen])[:, column]
    parts_of_time, frame = [], 0
    for segment in runs.runs[0]:
        for part in segment.chunks(runs.species):
            rows = np.arange(-frame % every, len(part), every)
            parts_of_time.append(np.asarray(part[rows], float))
            frame += len(part)
    tensors = np.concatenate(parts_of_time)
    khz = KHZ_PER_MB_AU * isotope.moment_mb
    coupling, eta = coupling_and_asymmetry(tensors)
    irreps = khz * to_irreps(tensors)
    directions, weight = np.array([direction]), np.ones(1)
    if direction is None:
        directions, weight = powder_directions(POWDER_ORDER)
    quantities: dict[str, list[tuple[float, np.ndarray]]] = {
        'c_q_khz': [(1.0, abs(khz) * coupling)],
        'eta': [(1.0, eta)],
        'omega_q_khz': [(w, irreps @ to_irreps(np.outer(b, b))) for b, w in zip(directions, weight)],
    }
    found = {}
    for name, parts in quantities.items():
        low = min(float(np.nanmin(x)) for _, x in parts)
        high = max(float(np.nanmax(x)) for _, x in parts)
        edges = np.linspace(0.0, 1.0, BINS + 1) if name == 'eta' else np.linspace(min(low, 0.0), high, BINS + 1)
        at_sites = [_distribution(parts, where == site, edges) for site in range(len(sites.names))]
        found[name] = Densities(edges, *(np.array(column) for column in zip(*at_sites)))
    return found


def _distribution(parts: list[tuple[float, np.ndarray]], here: np.ndarray, edges: np.ndarray) -> tuple:
    """Density, mean and standard deviation."""
    if not here.any():
        return np.zeros(len(edges) - 1), np.nan, np.nan
    # over all directions of the field the mean is exactly zero
    mean = 0.0 if len(parts) > 1 else np.nanmean(parts[0][1][here])
    square = sum(share * np.nanmean(x[here] ** 2) for share, x in parts)
    counts = np.sum([share * np.histogram(x[here], edges)[0] for share, x in parts], axis=0)
    density = counts / max(counts.sum(), 1e-300) / np.diff(edges)
    return density, mean, np.sqrt(max(square - mean**2, 0.0))

"""Structure factors S(q): direct, from the positions of each frame, and by the sine transform of g(r).

Partial ones are those of Faber and Ziman (J. Non-Cryst. Solids 1965, Philos. Mag. 11, 153), which go to one at large q.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.signal import find_peaks, peak_widths

from aiida_ufpnmr.engine.compiled import njit
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.structure.radial import PairCounts
from aiida_ufpnmr.engine.trajectories.snapshots import Snapshots

#: Share of the range of S(q) by which a first peak stands out.
PROMINENCE = 0.1
#: Peaks are measured after S(q) was smoothed over this, on a grid of that spacing, Å⁻¹.
SMOOTHING_PER_ANGSTROM, GRID_PER_ANGSTROM = 0.05, 0.002


@dataclass(frozen=True)
class PartialStructureFactors:
    """Partial structure factors by Faber and Ziman.

    Attributes:
        elements: (n_elements,) chemical symbols, and share: (n_elements,) their shares of all atoms.
        q: (n_q,) wave numbers in Å⁻¹.
        partial: (n_elements, n_elements, n_q).
    """

    elements: tuple[str, ...]
    share: np.ndarray
    q: np.ndarray
    partial: np.ndarray

    def total(self, amplitude: np.ndarray) -> np.ndarray:
        """Sum of the partial ones with weights c_a c_b f_a f_b/⟨f⟩², for amplitudes f (n_elements, n_q)."""
        weight = self.share[:, None] * amplitude
        return np.einsum('aq,bq,abq->q', weight, weight, self.partial) / weight.sum(axis=0) ** 2


def neutron_lengths(elements: Sequence[str], n_q: int) -> np.ndarray:
    """Bound coherent scattering lengths of the natural elements in fm, (n_elements, n_q), alike at all q.

    Raises:
        InputError: an element without a known length.
    """
    from periodictable import elements as table

    lengths = [table.symbol(symbol).neutron.b_c for symbol in elements]
    if None in lengths:
        raise InputError(f'{elements[lengths.index(None)]} has no known scattering length for neutrons')
    return np.repeat(np.array(lengths)[:, None], n_q, axis=1)


def xray_form_factors(elements: Sequence[str], q: np.ndarray) -> np.ndarray:
    """Form factors of the neutral atoms in electrons, (n_elements, n_q), for q in Å⁻¹."""
    from periodictable import elements as table

    return np.array([table.symbol(symbol).xray.f0(q) for symbol in elements])


def from_pairs(counts: PairCounts, q: np.ndarray) -> PartialStructureFactors:
    """S(q) = 1 + the transform of g(r) − 1, see :func:`sine_transform`."""
    transform = sine_transform(counts.edges, counts.density, q)
    n = len(counts.elements)
    partial = np.empty((n, n, len(q)))
    for a, b in counts.pairs:
        partial[a, b] = partial[b, a] = 1 + transform(counts.g(a, b) - 1)
    return PartialStructureFactors(counts.elements, counts.atoms / counts.atoms.sum(), q, partial)


def sine_transform(edges: np.ndarray, density: float, q: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """The function h(r) ↦ 4πρ ∫ r² h(r) sin(qr)/(qr) M(r) dr up to the end R of the bins.

    M(r) = sin(πr/R)/(πr/R) (Lorch, J. Phys. C 2, 229 (1969)) takes away the ripples of the cut at R and broadens peaks
    by about 5.4/R.

    Args:
        edges: (n_bins + 1,) of bins of r in Å; the function takes h (n_bins,) and returns (n_q,).
        density: ρ in Å⁻³.
        q: (n_q,) in Å⁻¹.
    """
    r, width = (edges[1:] + edges[:-1]) / 2, np.diff(edges)
    kernel = 4 * np.pi * density * r**2 * width * np.sinc(r / edges[-1])
    wave = np.sinc(np.outer(q, r) / np.pi)
    return lambda h: wave @ (kernel * h)


def from_positions(
    snapshots: Snapshots, q_max_per_angstrom: float, bin_per_angstrom: float, vectors_per_bin: int, seed: int
) -> PartialStructureFactors:
    """Average |Σ exp(iq·r)|² over the wave vectors that fit the cell, and over frames.

    The vectors of a bin are averaged, at most so many of them, chosen at random; bins without any are left out, and q
    is the mean of those of a bin. Where the cell changes, a vector changes with it and stays in the bin of the mean
    cell.

    Raises:
        InputError: a direction that is not periodic, or a cell too small for any vector.
    """
    symbols = snapshots.periodic('S(q)').symbols
    elements, kind = np.unique(symbols, return_inverse=True)
    miller, length = wave_vectors(snapshots.mean_cell(), q_max_per_angstrom, bin_per_angstrom, vectors_per_bin, seed)
    if not len(miller):
        raise InputError(f'no wave vector below {q_max_per_angstrom:g} Å⁻¹ fits the cell; raise --q-max-per-angstrom')
    order = np.argsort(kind, kind='stable')
    atoms = np.bincount(kind)
    first = np.concatenate([[0], np.cumsum(atoms)])
    products = np.zeros((len(elements), len(elements), len(miller)))
    for positions, cells in snapshots.parts():
        fractional = np.ascontiguousarray((positions @ np.linalg.inv(cells))[:, order].swapaxes(1, 2))
        _add_products(fractional, miller, first, products)
    _, bin_, vectors = np.unique((length / bin_per_angstrom).astype(int), return_inverse=True, return_counts=True)
    q = np.bincount(bin_, length) / vectors
    n, share = len(snapshots.frames), atoms / atoms.sum()
    partial = np.empty((len(elements), len(elements), len(q)))
    for a in range(len(elements)):
        for b in range(len(elements)):
            mean = np.bincount(bin_, products[a, b]) / (vectors * n * len(symbols))
            partial[a, b] = 1 + (mean - share[a] * (a == b)) / (share[a] * share[b])
    return PartialStructureFactors(tuple(map(str, elements)), share, q, partial)


def wave_vectors(
    cell: np.ndarray, q_max: float, width: float, per_bin: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Wave vectors of a periodic cell, one of each pair q and −q.

    Args:
        cell: (3, 3) in Å.
        q_max, width: largest length and width of the bins of lengths, Å⁻¹.
        per_bin: how many vectors of a bin to keep at most.
        seed: of the choice among more.

    Returns:
        Miller indices (n, 3) and lengths (n,) in Å⁻¹.
    """
    rng = np.random.default_rng(seed)
    reciprocal = 2 * np.pi * np.linalg.inv(cell).T
    most = np.floor(q_max * np.linalg.norm(cell, axis=1) / (2 * np.pi)).astype(int)
    second, third = (np.arange(-m, m + 1) for m in most[1:])
    kept = [np.zeros((0, 3), int)]
    # how many there are in a bin, from the volume of the shell: thinned at once where far more than wanted
    per_length = abs(np.linalg.det(cell)) * width / (2 * np.pi) ** 2
    for h in range(most[0] + 1):
        plane = np.stack(np.meshgrid([h], second, third, indexing='ij'), axis=-1).reshape(-1, 3)
        if h == 0:
            plane = plane[len(plane) // 2 + 1 :]
        length = np.linalg.norm(plane @ reciprocal, axis=1)
        chance = 3 * per_bin / np.maximum(per_length * length**2, 1e-9)
        kept.append(plane[(length <= q_max) & (rng.random(len(plane)) < chance)])
    miller = rng.permutation(np.concatenate(kept))
    length = np.linalg.norm(miller @ reciprocal, axis=1)
    bin_ = (length / width).astype(int)
    order = np.argsort(bin_, kind='stable')
    rank = np.arange(len(order)) - np.searchsorted(bin_[order], bin_[order])
    chosen = order[rank < per_bin]
    return miller[chosen], length[chosen]


@njit(nogil=True, fastmath=True)
def _add_products(fractional, miller, first, products):
    """Add Re(A_a A_b*) of each frame, A the sum of exp(2πi hkl·s) over the atoms of an element.

    Args:
        fractional: (n_frames, 3, n_atoms), atoms of an element together.
        miller: (n_q, 3).
        first: (n_elements + 1,) where the atoms of each element begin.
        products: (n_elements, n_elements, n_q), added to.
    """
    n_atoms, n_elements = fractional.shape[2], len(first) - 1
    most = np.abs(miller).max()
    real = np.empty((3, 2 * most + 1, n_atoms))
    imaginary = np.empty((3, 2 * most + 1, n_atoms))
    sums = np.empty((n_elements, 2))
    for f in range(len(fractional)):
        one_r, one_i = np.cos(2 * np.pi * fractional[f]), np.sin(2 * np.pi * fractional[f])
        for x in range(3):
            up_r, up_i, down_i = real[x, most:], imaginary[x, most:], imaginary[x, : most + 1]
            up_r[0], up_i[0] = 1.0, 0.0
            for h in range(1, most + 1):
                for i in range(n_atoms):
                    up_r[h, i] = up_r[h - 1, i] * one_r[x, i] - up_i[h - 1, i] * one_i[x, i]
                    up_i[h, i] = up_r[h - 1, i] * one_i[x, i] + up_i[h - 1, i] * one_r[x, i]
                    real[x, most - h, i] = up_r[h, i]
                    down_i[most - h, i] = -up_i[h, i]
        for q in range(len(miller)):
            h, k, l = most + miller[q, 0], most + miller[q, 1], most + miller[q, 2]
            for a in range(n_elements):
                # slices that the loop runs through from 0 on, which the compiler turns into vector instructions
                here = slice(first[a], first[a + 1])
                xr, xi = real[0, h, here], imaginary[0, h, here]
                yr, yi = real[1, k, here], imaginary[1, k, here]
                zr, zi = real[2, l, here], imaginary[2, l, here]
                total_r = total_i = 0.0
                for i in range(len(xr)):
                    r, m = xr[i] * yr[i] - xi[i] * yi[i], xr[i] * yi[i] + xi[i] * yr[i]
                    total_r += r * zr[i] - m * zi[i]
                    total_i += r * zi[i] + m * zr[i]
                sums[a, 0], sums[a, 1] = total_r, total_i
            for a in range(n_elements):
                for b in range(n_elements):
                    products[a, b, q] += sums[a, 0] * sums[b, 0] + sums[a, 1] * sums[b, 1]


def first_sharp_peak(q: np.ndarray, s: np.ndarray, low: float, high: float) -> tuple[float, float, float] | None:
    """Position, full width at half its prominence (both Å⁻¹) and height of the first peak of S(q) between two q.

    S(q) is smoothed, which broadens a peak of a crystal, and no peak of a glass; a peak stands out by a tenth of its
    range there. ``None`` where none does.
    """
    grid = np.arange(low, high, GRID_PER_ANGSTROM)
    curve = gaussian_filter1d(np.interp(grid, q, s), SMOOTHING_PER_ANGSTROM / GRID_PER_ANGSTROM)
    peaks = find_peaks(curve, prominence=PROMINENCE * max(float(np.ptp(curve)), 1e-12))[0]
    if not len(peaks):
        return None
    width = peak_widths(curve, peaks[:1], rel_height=0.5)[0][0] * GRID_PER_ANGSTROM
    return float(grid[peaks[0]]), float(width), float(curve[peaks[0]])

"""Static and MAS line shapes of quadrupolar nuclei in a powder, through mrsimulator where it is installed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from aiida_ufpnmr.engine.efg.isotopes import Isotope
from aiida_ufpnmr.engine.efg.tensors import KHZ_PER_MB_AU, from_irreps, to_irreps
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.nmr.principal import coupling_and_asymmetry
from aiida_ufpnmr.engine.nmr.runs import EfgRuns
from aiida_ufpnmr.engine.records import Record, quantity

Average = Literal['ion', 'cell', 'none']
#: Tensors that are looked at where nothing is averaged.
MOST_TENSORS = 200_000
#: More sites than this are gathered on a grid of C_Q and η.
MOST_SITES = 400
GRID = (40, 10)
#: Points of a spectrum, and its width over that of the outermost satellites.
POINTS, MARGIN = 4096, 1.3


@dataclass(frozen=True)
class Spectrum(Record):
    """A spectrum of a powder."""

    mas_khz: float = quantity('kHz', 'spinning frequency; 0 for a static sample')
    frequency_khz: np.ndarray = quantity('kHz', 'frequency from the Larmor frequency', 'points')
    intensity_per_khz: np.ndarray = quantity('1/kHz', 'intensity, with area 1', 'points')

    def to_dict(self) -> dict:
        return {**super().to_dict(), 'rms_width_khz': self.rms_width_khz}

    @property
    def rms_width_khz(self) -> float:
        """Root of the second moment about the mean."""
        weight = self.intensity_per_khz / self.intensity_per_khz.sum()
        mean = weight @ self.frequency_khz
        return float(np.sqrt(weight @ (self.frequency_khz - mean) ** 2))


def averaged_tensors(runs: EfgRuns, average: Average = 'ion') -> np.ndarray:
    """Tensors as motion leaves them, (n, 3, 3) in atomic units.

    Args:
        runs: tensors.
        average: the mean of each ion over each run (``ion``), the mean of all ions of each run (``cell``: exchange
            that is fast against the line width), or at most 200 000 single tensors (``none``: no motion).

    Raises:
        ValueError: another average.
    """
    if average not in get_args(Average):
        raise ValueError(f'average must be one of {", ".join(get_args(Average))}, not {average!r}')
    every = max(1, -(-sum(runs.lengths) * runs.n_ions // MOST_TENSORS))
    found = []
    for run, length in enumerate(runs.lengths):
        total = np.zeros((runs.n_ions, 3, 3))
        for place, part in runs.chunks(run):
            if average == 'none':
                rows = np.arange(-place.start % every, len(part), every)
                found.append(np.asarray(part[rows], float).reshape(-1, 3, 3))
            else:
                total += np.asarray(part, float).sum(axis=0)
        if average == 'ion':
            found.append(total / length)
        elif average == 'cell':
            found.append(total.mean(axis=0, keepdims=True) / length)
    return from_irreps(to_irreps(np.concatenate(found)))


def sites_of(tensors: np.ndarray, isotope: Isotope) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """C_Q in kHz, η and share of the sites that tensors (n, 3, 3) make; many tensors are gathered on a grid."""
    khz = KHZ_PER_MB_AU * isotope.moment_mb
    size, eta = coupling_and_asymmetry(tensors)
    coupling, eta = abs(khz) * size, np.nan_to_num(eta)
    if len(coupling) <= MOST_SITES:
        return coupling, eta, np.full(len(coupling), 1 / len(coupling))
    edges = (np.linspace(0.0, coupling.max() * (1 + 1e-9), GRID[0] + 1), np.linspace(0.0, 1.0 + 1e-9, GRID[1] + 1))
    where = [np.clip(np.digitize(x, edge) - 1, 0, len(edge) - 2) for x, edge in zip((coupling, eta), edges)]
    cell = where[0] * GRID[1] + where[1]
    number = np.bincount(cell)
    used = np.flatnonzero(number)
    means = [np.bincount(cell, weights=x)[used] / number[used] for x in (coupling, eta)]
    return means[0], means[1], number[used] / len(coupling)


def quadrupolar_spectra(
    tensors: np.ndarray,
    isotope: Isotope,
    *,
    field_tesla: float = 7.05,
    mas_khz: Sequence[float] = (0.0,),
    broadening_khz: float = 0.5,
) -> list[Spectrum]:
    """Spectra of all transitions of the nuclei in a powder, to second order, one for each spinning frequency.

    Orientations of tensors to one another do not matter in a powder: each gives a pattern of its C_Q and η, by
    mrsimulator (Srivastava et al., J. Chem. Phys. 161, 212501 (2024)).

    Args:
        tensors: (n, 3, 3) in atomic units, partially averaged.
        isotope: the nucleus.
        field_tesla: magnetic field.
        mas_khz: spinning frequencies about the magic angle; 0 for a static sample.
        broadening_khz: full width at half maximum of a Gaussian; 0 for none.

    Raises:
        InputError: mrsimulator is not installed or does not know the nucleus, spin ½, tensors that vanish, or
            numbers out of range.
    """
    try:
        from mrsimulator import Simulator, Site, SpinSystem
        from mrsimulator.method import Method
    except ImportError as error:
        raise InputError('spectra need mrsimulator; pip install "aiida-ufpnmr[spectra]"') from error
    if isotope.spin < 1:
        raise InputError(f'{isotope.name} has spin {isotope.spin:g}: no quadrupolar spectrum')
    if not 0 < field_tesla < np.inf or not 0 <= broadening_khz < np.inf or not all(0 <= f < np.inf for f in mas_khz):
        raise InputError('the field must be above zero, spinning frequencies and broadening not below')
    coupling, eta, share = sites_of(tensors, isotope)
    if not coupling.max() > 0:
        raise InputError('the EFG tensors are zero throughout')
    spin, symbol = isotope.spin, isotope.name.partition(':')[0]  # a moment of one's own is in C_Q already
    # the outermost satellite lies at 3/(2I(2I − 1)) (I − ½) ω_Q, and |ω_Q| is C_Q at most
    outermost = 3 / (2 * spin * (2 * spin - 1)) * (spin - 0.5) * coupling.max()
    width_khz = 2 * MARGIN * outermost + 10 * broadening_khz
    try:
        systems = [
            SpinSystem(
                sites=[Site(isotope=symbol, quadrupolar={'Cq': 1e3 * c, 'eta': float(min(max(e, 0.0), 1.0))})],
                abundance=100 * w,
            )
            for c, e, w in zip(coupling, eta, share)
        ]
    except Exception as error:  # of pydantic, whose text tells nothing to a reader
        raise InputError(f'mrsimulator knows no isotope {symbol}; choose another with --isotope') from error
    frequency = (np.arange(POINTS) - POINTS // 2) * width_khz / POINTS
    found = []
    for spinning in mas_khz:
        total = np.zeros(POINTS)
        methods = [
            Method(
                channels=[symbol],
                magnetic_flux_density=field_tesla,
                rotor_frequency=1e3 * spinning,
                spectral_dimensions=[
                    {
                        'count': POINTS,
                        'spectral_width': 1e3 * width_khz,
                        'events': [{'transition_queries': [{'ch1': {'P': [-1], 'D': [d]}} for d in steps]}],
                    }
                ],
            )
            for steps, _ in transitions(spin)
        ]
        simulator = Simulator(spin_systems=systems, methods=methods)
        simulator.config.integration_volume = 'hemisphere'
        simulator.config.number_of_sidebands = _sidebands(width_khz, spinning)
        simulator.run()
        for method, (_, weight) in zip(simulator.methods, transitions(spin)):
            intensity = np.asarray(method.simulation.y[0].components[0].real, float)
            total += weight * intensity / intensity.sum()
        total = _broadened(total, broadening_khz / (width_khz / POINTS))
        found.append(Spectrum(float(spinning), frequency, total / (total.sum() * width_khz / POINTS)))
    return found


def transitions(spin: float) -> list[tuple[tuple[int, ...], float]]:
    """Single-quantum transitions m → m − 1 of one splitting each, with their share of the intensity.

    Named by (m − 1)² − m², which is 0 for the central one; intensities go with I(I + 1) − m(m − 1), which is 3 : 4 : 3
    for I = 3/2.
    """
    found: dict[int, list[tuple[int, float]]] = {}
    for m in np.arange(spin, -spin, -1):
        step = int(round((m - 1) ** 2 - m**2))
        found.setdefault(abs(step), []).append((step, spin * (spin + 1) - m * (m - 1)))
    total = sum(weight for parts in found.values() for _, weight in parts)
    return [(tuple(s for s, _ in parts), sum(w for _, w in parts) / total) for parts in found.values()]


def _sidebands(width_khz: float, spinning_khz: float) -> int:
    """A power of two of sidebands, on both sides further than the spectrum reaches."""
    if spinning_khz == 0:
        return 64
    return int(2 ** np.clip(np.ceil(np.log2(2 * width_khz / spinning_khz)), 6, 12))


def _broadened(intensity: np.ndarray, width_points: float) -> np.ndarray:
    """Convolution with a Gaussian of the full width at half maximum, in points."""
    if width_points == 0:
        return intensity
    frequency = np.fft.rfftfreq(len(intensity))
    sigma = width_points / np.sqrt(8 * np.log(2))
    return np.fft.irfft(np.fft.rfft(intensity) * np.exp(-2 * (np.pi * sigma * frequency) ** 2), len(intensity))

"""Vibrational density of states by element, its bands and their shifts; Miyagawa 2024, eqns (2) and (3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.integrate import trapezoid
from scipy.signal import find_peaks

from aiida_ufpnmr.engine.analyses.base import PathSource, Result, Table, analysis
from aiida_ufpnmr.engine.records import Record, quantity
from aiida_ufpnmr.engine.settings import setting, with_default
from aiida_ufpnmr.engine.trajectories.paths import PathSettings, Reference
from aiida_ufpnmr.engine.trajectories.series import POSITION
from aiida_ufpnmr.engine.trajectories.trajectory import Trajectory
from aiida_ufpnmr.engine.transport.vibrations import power_spectra, smoothed

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Height of a peak above its surroundings, as a share of the highest point, that makes it a band.
PROMINENCE = 0.05


def read_ranges(value: Any) -> tuple[tuple[float, float], ...]:
    """Ranges such as ``0-200,350-450``, or pairs of numbers."""
    parts = value.split(',') if isinstance(value, str) else value
    ranges = []
    for part in filter(len, parts):
        low, high = (float(end) for end in (part.split('-') if isinstance(part, str) else part))
        if not 0 <= low < high:
            raise ValueError(f'{part!r} is no range of wavenumbers, such as 350-450')
        ranges.append((low, high))
    return tuple(ranges)


@dataclass(frozen=True)
class VdosSettings(PathSettings):
    """Resolution of the spectrum, and its bands."""

    reference: Reference = with_default(PathSettings, 'reference', 'cell')
    resolution_per_cm: float = setting(
        2.0, 'Spacing of the points in cm⁻¹; the finer, the fewer segments are averaged.', above=0
    )
    smoothing_per_cm: float = setting(15.0, 'Window of the Savitzky–Golay filter in cm⁻¹; 0 for none.', least=0)
    ranges_per_cm: tuple[tuple[float, float], ...] = setting(
        (),
        'Ranges in cm⁻¹ whose centres are given, beside the whole spectrum.',
        parse=read_ranges,
        metavar='0-200,350-450',
    )


@dataclass(frozen=True)
class Band(Record):
    """Part of the spectrum of one element."""

    element: str = quantity('', 'chemical symbol')
    low_per_cm: float = quantity('cm⁻¹', 'lower end')
    high_per_cm: float = quantity('cm⁻¹', 'upper end')
    centre_per_cm: float = quantity('cm⁻¹', 'mean wavenumber')
    centre_error_per_cm: float = quantity('cm⁻¹', 'its standard error, from segment to segment')
    width_per_cm: float = quantity('cm⁻¹', 'standard deviation of the wavenumber')
    share: float = quantity('', 'share of the kinetic energy of the element')


@dataclass(frozen=True)
class VdosResult(Result):
    """Density of states: the whole, which has area 1, and what each element contributes."""

    KIND = 'vdos'

    wavenumber_per_cm: np.ndarray = quantity('cm⁻¹', 'wavenumbers', 'points')
    density: np.ndarray = quantity('cm', 'density of states of all atoms, with area 1, smoothed', 'points')
    partial_density: np.ndarray = quantity('cm', 'contribution of each element to it', 'elements, points')
    unsmoothed_density: np.ndarray = quantity('cm', 'contributions before smoothing', 'elements, points')
    elements: tuple[str, ...] = quantity('', 'chemical symbols, in the order of the contributions')
    bands: dict[str, Band] = quantity('', 'whole spectra and ranges of each element')
    peaks_per_cm: dict = quantity('cm⁻¹', 'maxima of the smoothed contribution, by element')
    segments: int = quantity('', 'segments of the trajectory that were averaged')
    velocities_from: str = quantity('', 'velocities or positions')

    @property
    def remarks(self) -> list[str]:
        highest = self.wavenumber_per_cm[-1]
        words = []
        if highest < 700:
            words.append(
                f'The frames resolve up to {highest:.0f} cm⁻¹; what vibrates faster is folded back below that.'
            )
        if self.segments < 4:
            words.append(f'{self.segments} segments: errors of the centres are not known; coarsen --resolution-per-cm.')
        return words

    def shifts(self, other: VdosResult) -> dict[str, tuple[float, float]]:
        """How far the centre of each band lies above that of ``other``, and the standard error, in cm⁻¹."""
        return {
            name: (
                band.centre_per_cm - other.bands[name].centre_per_cm,
                float(np.hypot(band.centre_error_per_cm, other.bands[name].centre_error_per_cm)),
            )
            for name, band in self.bands.items()
            if name in other.bands
        }

    def table(self) -> Table:
        rows: list[tuple[str, ...]] = [('band (cm⁻¹)', 'centre (cm⁻¹)', 'width (cm⁻¹)', 'share')]
        for name, band in self.bands.items():
            centre = f'{band.centre_per_cm:.1f} ± {2 * band.centre_error_per_cm:.1f}'
            rows.append((name, centre, f'{band.width_per_cm:.0f}', f'{band.share:.2f}'))
        return rows

    def plot(self) -> Figure:
        from aiida_ufpnmr.engine.figure_style import COLOURS, GREY, Figure, finish

        figure = Figure(figsize=(6.4, 4.2), layout='constrained')
        axis = figure.subplots()
        axis.fill_between(self.wavenumber_per_cm, self.density, color=GREY, alpha=0.25, lw=0, label='all atoms')
        for element, partial, colour in zip(self.elements, self.partial_density, COLOURS * len(self.elements)):
            axis.plot(self.wavenumber_per_cm, partial, color=colour, lw=1.3, label=element)
        seen = np.flatnonzero(self.density > 0.005 * self.density.max())
        axis.set(xlabel='wavenumber (cm⁻¹)', ylabel='density of states (cm)')
        axis.set(xlim=(0, 1.1 * self.wavenumber_per_cm[seen[-1]]), ylim=(0, None))
        finish(axis)
        return figure


@analysis('vdos', 'ufpnmr analyse vdos run.h5 --ranges-per-cm 0-200,350-450 --plot vdos.png --json vdos.json')
def vdos(source: PathSource, settings: VdosSettings) -> VdosResult:
    """Vibrational density of states of all elements: the spectrum of the velocities, weighted by mass.

    Velocities are read where the file has them, and made of positions where it has not.
    """
    with Trajectory(source.path) as trajectory:
        spectra = power_spectra(trajectory, settings.resolution_per_cm, source.skip_fs, settings.reference)
    wavenumber = spectra.wavenumber_per_cm
    area = trapezoid(spectra.power.mean(axis=0).sum(axis=0), wavenumber)
    power = spectra.power / area if area > 0 else spectra.power
    plain = power.mean(axis=0)
    partial = smoothed(plain, wavenumber[1], settings.smoothing_per_cm)
    bands, peaks = {}, {}
    for number, element in enumerate(spectra.elements):
        for low, high in ((0.0, float(wavenumber[-1])), *settings.ranges_per_cm):
            name = f'{element} {low:g}-{high:g}' if high < wavenumber[-1] else element
            bands[name] = band_of(element, low, high, wavenumber, power[:, number])
        found = find_peaks(partial[number], prominence=PROMINENCE * partial[number].max())[0]
        peaks[element] = [float(wavenumber[peak]) for peak in found]
    return VdosResult(
        wavenumber_per_cm=wavenumber,
        density=partial.sum(axis=0),
        partial_density=partial,
        unsmoothed_density=plain,
        elements=spectra.elements,
        bands=bands,
        peaks_per_cm=peaks,
        segments=len(power),
        velocities_from='positions' if spectra.origin == POSITION else 'velocities',
    )


def band_of(element: str, low: float, high: float, wavenumber: np.ndarray, power: np.ndarray) -> Band:
    """Centre and width of the power (n_segments, n_points) of an element between two wavenumbers.

    Segments overlap by half, so that neighbours are not independent: the error is that of half as many.
    """
    inside = (wavenumber >= low) & (wavenumber <= high)
    weights = power[:, inside]
    total = weights.sum()
    if total <= 0:
        return Band(element, low, high, np.nan, np.nan, np.nan, 0.0)
    mean = weights.mean(axis=0) / weights.mean(axis=0).sum()
    centre = float(mean @ wavenumber[inside])
    each = weights @ (wavenumber[inside] - centre) / weights.sum(axis=1).mean()
    error = float(each.std(ddof=1) / np.sqrt(len(each) / 2)) if len(each) > 1 else np.nan
    return Band(
        element=element,
        low_per_cm=low,
        high_per_cm=high,
        centre_per_cm=centre,
        centre_error_per_cm=error,
        width_per_cm=float(np.sqrt(mean @ (wavenumber[inside] - centre) ** 2)),
        share=float(total / power.sum()),
    )

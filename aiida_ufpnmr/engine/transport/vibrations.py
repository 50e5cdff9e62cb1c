"""Power spectra of velocities, element by element, from velocities or positions along a trajectory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from ase.data import atomic_masses
from scipy.fft import rfft, rfftfreq
from scipy.signal import savgol_filter
from scipy.signal.windows import hann

from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.progress import progress
from aiida_ufpnmr.engine.timeseries.low_pass import PER_CM
from aiida_ufpnmr.engine.trajectories.series import FAST_VELOCITY, POSITION, VELOCITY
from aiida_ufpnmr.engine.trajectories.trajectory import Trajectory, regular_frames

#: Order of the polynomial of the filter of Savitzky and Golay.
POLYNOMIAL = 3
#: Atoms whose spectra are held at a time.
BATCH_ATOMS = 128
#: A segment of fewer frames has no spectrum.
FEWEST_FRAMES = 16


@dataclass(frozen=True)
class PowerSpectra:
    """Spectra of the kinetic energy by element, of segments of a trajectory.

    Attributes:
        wavenumber_per_cm: (n_points,) from zero to the highest that the frames resolve.
        elements: chemical symbols.
        power: (n_segments, n_elements, n_points) in proportion to the kinetic energy.
        origin: series of the trajectory from which the velocities come.
    """

    wavenumber_per_cm: np.ndarray
    elements: tuple[str, ...]
    power: np.ndarray
    origin: str


def power_spectra(trajectory: Trajectory, resolution_per_cm: float, skip_fs: float, reference: str) -> PowerSpectra:
    """Spectra of segments of the trajectory under a window of Hann, each beginning in the middle of the one before.

    By the theorem of Wiener and Khinchin the spectrum is the Fourier transform of the velocity autocorrelation
    function. Where the file has no velocities, differences of positions are taken, divided by the response of
    differences, (2/ωΔt) sin(ωΔt/2).

    Args:
        trajectory: with velocities or positions.
        resolution_per_cm: spacing of the points of the spectrum, which sets the length of a segment.
        skip_fs: left out at the start.
        reference: whose mass centre is held still; ``none``, or ``cell`` for all atoms.

    Raises:
        InputError: no positions, or too few frames.
    """
    if trajectory.n_frames == 0:
        raise InputError(f'{trajectory.path}: holds no positions; give the trajectory that "ufpnmr md" wrote')
    name = next((one for one in (FAST_VELOCITY, VELOCITY) if one in trajectory), POSITION)
    series = trajectory.series(name)
    frames = regular_frames(series['time'][...], skip_fs, trajectory.path)
    step_ps = float(np.diff(series['time'][frames.start : frames.start + 2])[0]) * 1e-3
    differences = int(name == POSITION)
    available = frames.stop - frames.start - differences
    length = min(available, max(FEWEST_FRAMES, round(PER_CM / (resolution_per_cm * step_ps))))
    if length < FEWEST_FRAMES:
        raise InputError(f'{trajectory.path}: {available} frames; a spectrum needs at least {FEWEST_FRAMES}')
    starts = range(frames.start, frames.start + available - length + 1, max(1, length // 2))

    def segments() -> Iterator[np.ndarray]:
        with progress(len(starts), 'spectra', 'segment') as bar:
            for start in starts:
                part = series['value'][start : start + length + differences].astype(float)
                yield np.diff(part, axis=0) / step_ps if differences else part
                bar.update(1)

    masses = atomic_masses[trajectory.numbers]
    symbols = np.array(trajectory.symbols)
    elements = tuple(dict.fromkeys(trajectory.symbols))
    frequency = rfftfreq(length, step_ps)
    window = hann(length, sym=False)[:, None, None]
    power = np.zeros((len(starts), len(elements), len(frequency)))
    for segment, velocity in zip(power, segments()):
        if not np.isfinite(velocity).all():
            raise InputError(f'{trajectory.path}: a position or velocity is NaN or infinite; remake it')
        if reference != 'none':
            velocity -= np.einsum('fax,a->fx', velocity, masses)[:, None] / masses.sum()
        for number, element in enumerate(elements):
            atoms = np.flatnonzero(symbols == element)
            for batch in np.array_split(atoms, -(-len(atoms) // BATCH_ATOMS)):
                amplitude = rfft(velocity[:, batch] * window, axis=0)
                segment[number] += masses[batch[0]] * (np.abs(amplitude) ** 2).sum(axis=(1, 2))
    if differences:
        power /= np.sinc(frequency * step_ps) ** 2
    return PowerSpectra(PER_CM * frequency, elements, power, name)


def smoothed(spectrum: np.ndarray, spacing: float, width: float) -> np.ndarray:
    """Spectra (..., n_points) under the filter of Savitzky and Golay, a cubic over ``width`` in the unit of
    ``spacing``; unchanged where that is fewer points than a cubic needs."""
    points = 2 * round(width / spacing / 2) + 1
    if points <= POLYNOMIAL + 1 or points > spectrum.shape[-1]:
        return spectrum
    return savgol_filter(spectrum, points, POLYNOMIAL, axis=-1)

"""Quadrupolar spin–lattice relaxation from the spectral density of the EFG tensors along a trajectory.

In a powder, the rate at which the magnetisation begins to recover is

    1/T1 = (3/40) (2I + 3)/(I²(2I − 1)) (2π)² [J(ω0) + 4 J(2ω0)],   J(ω) = ∫ G(t) cos ωt dt over t > 0,

with G(t) the powder-averaged correlation function of ω_Q in Hz². Since G(0) = C_Q² (1 + η²/3)/5 this is the rate of
Abragam (The Principles of Nuclear Magnetism, 1961, chapter VIII),

    3/200 (2I + 3)/(I²(2I − 1)) (1 + η²/3) (2π C_Q)² [j(ω0) + 4 j(2ω0)],   j = ∫ G/G(0) cos ωt dt.

It is exact for I = 1. For I = 3/2 it is the initial slope of a recovery of two exponentials of weights 1/5 and 4/5 with
rates ½ (2π)² J(ω0) and ½ (2π)² J(2ω0) (Hubbard, J. Chem. Phys. 53, 985 (1970)).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import fft
from scipy.stats import t as student

from aiida_ufpnmr.engine.efg.isotopes import Isotope
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.nmr.runs import COMPONENTS, POWDER, EfgRuns
from aiida_ufpnmr.engine.records import Record, quantity

#: The density at a frequency is averaged over this half width of it, in ln f.
HALF_WIDTH = 0.2
#: Frequencies that the trajectory resolves within that width, at least.
FEWEST = 4
#: Fluctuations of less than this share of the tensors are those of rounding.
ROUNDING = 1e-6
#: The window of Hann makes so many neighbouring frequencies one.
HANN = 1.5
RESOLVED = 'resolved'
STATIC = 'nothing fluctuates at this frequency beyond rounding'
TOO_SHORT = 'the trajectory is too short for this frequency'
TOO_COARSE = 'frames are too far apart for this frequency'


@dataclass(frozen=True)
class SpinLattice(Record):
    """T1 at one Larmor frequency."""

    larmor_MHz: float = quantity('MHz', 'Larmor frequency')
    t1_s: float = quantity('s', '1/rate of the initial recovery; null where it is not resolved')
    t1_s_ci95: tuple[float, float] = quantity('s', 'its 95 % interval')
    t1_parts_s: tuple[float, float] = quantity('s', 'for I = 3/2 the parts of weights 1/5 and 4/5')
    spectral_density_khz2_ns: tuple[float, float] = quantity('kHz² ns', 'J at the frequency and at twice of it')
    spectral_density_error_khz2_ns: tuple[float, float] = quantity('kHz² ns', 'their standard errors')
    verdict: str = quantity('', 'resolved, or why not')


def spin_lattice_relaxation(runs: EfgRuns, isotope: Isotope, larmor_mhz: Sequence[float]) -> list[SpinLattice]:
    """T1 at each Larmor frequency, from averaged periodograms.

    What does not change within the run does not relax anything: the mean of each component of each ion is taken away.

    Args:
        runs: tensors; averages run over all runs, ions and frequencies within a fifth of the asked one.
        isotope: the nucleus; its spin must be above ½.
        larmor_mhz: Larmor frequencies.

    Raises:
        InputError: a frequency that is not above zero, or a spin of ½.
    """
    if not len(larmor_mhz) or not all(0 < one < np.inf for one in larmor_mhz):
        raise InputError('Larmor frequencies must be above zero')
    spin = isotope.spin
    if spin < 1:
        raise InputError(f'{isotope.name} has spin {spin:g}: no quadrupolar relaxation')
    wanted = np.array([[one, 2 * one] for one in larmor_mhz]).ravel()
    step_us = runs.step_ps * 1e-6
    bands, squares = [], 0.0
    sums: list[list[np.ndarray]] = [[] for _ in wanted]
    for length in runs.lengths:
        frequency = np.fft.rfftfreq(length, step_us)  # MHz
        bands.append([np.flatnonzero(np.abs(np.log(np.maximum(frequency, 1e-12) / f)) < HALF_WIDTH) for f in wanted])
    for block in runs.blocks(isotope):
        for run, series in enumerate(block.series):
            length = series.shape[2]
            window = np.hanning(length + 2)[1:-1]
            for ion in series[:, COMPONENTS].astype(float):
                squares += (ion**2).sum()
                ion = (ion - ion.mean(axis=1, keepdims=True)) * window
                power = POWDER * (np.abs(fft.rfft(ion, axis=1)) ** 2).sum(axis=0)
                # kHz² ns; half of the two-sided density, since J is over times above zero
                power *= 0.5 * runs.step_ps * 1e-3 / (window**2).sum()
                for n, band in enumerate(bands[run]):
                    if len(band):
                        sums[n].append(power[band])
    nyquist = 0.5 / step_us
    rounding = ROUNDING**2 * POWDER * squares / (runs.n_ions * sum(runs.lengths)) * runs.step_ps * 1e-3
    found = []
    for n, larmor in enumerate(larmor_mhz):
        values, errors, freedom, verdict = np.full(2, np.nan), np.full(2, np.nan), np.inf, RESOLVED
        for k, f in enumerate(wanted[2 * n : 2 * n + 2]):
            if f * np.exp(HALF_WIDTH) > nyquist:
                verdict = TOO_COARSE
            elif max(len(band[2 * n + k]) for band in bands) < FEWEST:
                verdict = TOO_SHORT
            else:
                values[k], errors[k], free = _mean(sums[2 * n + k])
                freedom = min(freedom, free)
        if verdict == RESOLVED and (values < rounding).all():
            verdict = STATIC
        found.append(_relaxation(float(larmor), values, errors, freedom, verdict, spin))
    return found


def _mean(parts: list[np.ndarray]) -> tuple[float, float, float]:
    """Mean over ions and frequencies, its error by both, and degrees of freedom."""
    everything = np.concatenate(parts)
    independent = len(everything) / HANN
    error, freedom = everything.std(ddof=1) / np.sqrt(independent), independent - 1
    if len(parts) >= 8:  # ions that differ from one another
        of_ions = np.array([part.mean() for part in parts]).std(ddof=1) / np.sqrt(len(parts))
        if of_ions > error:
            error, freedom = of_ions, len(parts) - 1
    return float(everything.mean()), float(error), float(freedom)


def _relaxation(larmor, values, errors, freedom, verdict, spin) -> SpinLattice:
    t1, interval, parts = np.nan, (np.nan, np.nan), (np.nan, np.nan)
    if verdict == RESOLVED:
        # kHz² ns to Hz² s
        factor = 3 / 40 * (2 * spin + 3) / (spin**2 * (2 * spin - 1)) * (2 * np.pi) ** 2 * 1e6 * 1e-9
        rate = factor * (values[0] + 4 * values[1])
        # on a logarithmic scale, on which the mean of squares is nearly symmetric
        wide = student.ppf(0.975, max(freedom, 1.0)) * factor * np.hypot(errors[0], 4 * errors[1]) / rate
        t1, interval = float(1 / rate), (float(np.exp(-wide) / rate), float(np.exp(wide) / rate))
        if spin == 1.5:
            parts = tuple((1 / (0.5 * (2 * np.pi) ** 2 * 1e-3 * values)).tolist())
    return SpinLattice(
        larmor_MHz=larmor,
        t1_s=t1,
        t1_s_ci95=interval,
        t1_parts_s=parts,
        spectral_density_khz2_ns=tuple(values.tolist()),
        spectral_density_error_khz2_ns=tuple(errors.tolist()),
        verdict=verdict,
    )

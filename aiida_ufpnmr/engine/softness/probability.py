"""Probability P_R that an ion rearranges, by its softness, and its law in temperature.

Schoenholz et al., Nature Phys. 12, 469 (2016): P_R(S, T) = exp(Σ(S) − ΔE(S)/k_B T), with Σ and ΔE linear in the
softness S. Where all lines ln P_R against 1/T meet, at the onset temperature T₀ = (dΔE/dS)/(k_B dΣ/dS), softness tells
nothing more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student

from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.records import Record, quantity
from aiida_ufpnmr.engine.timeseries.sums import mean_with_interval, poisson_limits
from aiida_ufpnmr.engine.transport.arrhenius import EV_PER_K

#: Bins with fewer rearrangements than this are left out of fits.
FEWEST_EVENTS = 5
#: Draws for the interval of the onset temperature.
DRAWS, SEED = 20000, 0
ONSET = 'onset'
NO_ONSET = 'no onset: Σ(S) is not told from one that is the same for all ions'
NO_MEETING = 'no onset: the lines do not meet at a temperature above zero'


@dataclass(frozen=True)
class RearrangementProbability(Record):
    """P_R(S): share of ions and windows in which an ion rearranges, by its softness as the window begins."""

    windows: int = quantity('', 'windows in which rearrangements were looked for')
    window_ps: float = quantity('ps', 'their length')
    rearranging_share: float = quantity('', 'share of ions and windows that rearrange')
    softness_edges: np.ndarray = quantity('', 'edges of the bins; the outer two hold all beyond', 'bins + 1')
    softness: np.ndarray = quantity('', 'mean in each bin; NaN for an empty one', 'bins')
    ions_and_windows: np.ndarray = quantity('', 'how many', 'bins')
    rearrangements: np.ndarray = quantity('', 'in how many of them the ion rearranges', 'bins')
    probability: np.ndarray = quantity('', 'their share; NaN for an empty bin', 'bins')
    probability_ci95: np.ndarray = quantity('', 'its 95 % interval by the scatter from ion to ion', 'bins, 2')


def rearrangement_probability(
    softness: np.ndarray, rearranged: np.ndarray, edges: np.ndarray, window_ps: float
) -> RearrangementProbability:
    """P_R(S) of the windows of one run.

    The interval takes all windows of an ion as one unit, and is never narrower than that of a Poisson count.

    Args:
        softness: (n_windows, n_ions) as windows begin.
        rearranged: (n_windows, n_ions) booleans.
        edges: (n_bins + 1,) of softness.
        window_ps: length of a window.
    """
    n_bins, n_ions = len(edges) - 1, softness.shape[1]
    number = np.clip(np.searchsorted(edges, softness, side='right') - 1, 0, n_bins - 1)
    sums, events, counts = (np.zeros((n_ions, n_bins)) for _ in range(3))
    ion = np.broadcast_to(np.arange(n_ions), softness.shape)
    for total, value in ((sums, softness), (events, rearranged), (counts, 1.0)):
        np.add.at(total, (ion, number), value)
    interval = np.full((n_bins, 2), np.nan)
    for n in np.flatnonzero(counts.sum(axis=0)):
        _, scatter = mean_with_interval(events[:, n], counts[:, n])
        low, high = np.array(poisson_limits(events[:, n].sum())) / counts[:, n].sum()
        interval[n] = max(0.0, np.fmin(low, scatter[0])), min(1.0, np.fmax(high, scatter[1]))
    with np.errstate(invalid='ignore'):
        return RearrangementProbability(
            windows=len(softness),
            window_ps=window_ps,
            rearranging_share=float(rearranged.mean()),
            softness_edges=edges,
            softness=sums.sum(axis=0) / counts.sum(axis=0),
            ions_and_windows=counts.sum(axis=0).astype(int),
            rearrangements=events.sum(axis=0).astype(int),
            probability=events.sum(axis=0) / counts.sum(axis=0),
            probability_ci95=interval,
        )


@dataclass(frozen=True)
class RearrangementLaw(Record):
    """ln P_R = Σ₀ + Σ₁ S − (E₀ + E₁ S)/k_B T."""

    entropy: float = quantity('', 'Σ₀, ln P_R of S = 0 at infinite temperature')
    entropy_ci95: tuple[float, float] = quantity('', 'its 95 % interval')
    entropy_slope: float = quantity('', 'Σ₁, change of Σ with S')
    entropy_slope_ci95: tuple[float, float] = quantity('', 'its 95 % interval')
    energy_eV: float = quantity('eV', 'E₀, barrier at S = 0')
    energy_eV_ci95: tuple[float, float] = quantity('eV', 'its 95 % interval')
    energy_slope_eV: float = quantity('eV', 'E₁, change of the barrier with S')
    energy_slope_eV_ci95: tuple[float, float] = quantity('eV', 'its 95 % interval')
    law_scatter: float = quantity('', 'scatter about the law over what the intervals of the bins allow')
    onset_verdict: str = quantity('', 'onset, or why there is none')
    onset_K: float | None = quantity('K', 'where softness tells nothing more; null without an onset', default=None)
    onset_K_ci95: tuple[float, float] | None = quantity('K', 'its 95 % interval', default=None)

    def probability(self, softness: np.ndarray, temperature_K: float) -> np.ndarray:
        """P_R of the law at one temperature, of the shape of ``softness``."""
        energy = self.energy_eV + self.energy_slope_eV * softness
        return np.exp(self.entropy + self.entropy_slope * softness - energy / (EV_PER_K * temperature_K))


def fit_law(runs: Sequence[tuple[float, RearrangementProbability]]) -> RearrangementLaw:
    """Fit P_R(S, T) to the bins of runs, weighted by their intervals.

    Where bins scatter more than their intervals allow, all errors grow by one factor, and intervals have Student's.

    Args:
        runs: temperature in K and P_R(S) of each.

    Raises:
        InputError: fewer than two temperatures, or too few bins in which ions rearrange.
    """
    rows = [
        (temperature, one.softness[n], one.probability[n], *one.probability_ci95[n])
        for temperature, one in runs
        for n in np.flatnonzero(one.rearrangements >= FEWEST_EVENTS)
    ]
    if len({temperature for temperature, *_ in rows}) < 2 or len(rows) < 5:
        raise InputError(
            'P_R(S, T) needs two temperatures with rearrangements in several bins; give longer or hotter runs'
        )
    temperature, softness, probability, low, high = np.array(rows).T
    error = (high - low) / (2 * 1.96 * probability)
    inverse, y = 1 / (EV_PER_K * temperature), np.log(probability)
    design = np.column_stack([np.ones(len(y)), softness, -inverse, -inverse * softness])
    weighted = design / error[:, None]
    covariance = np.linalg.pinv(weighted.T @ weighted)
    fitted = covariance @ (weighted.T @ (y / error))
    freedom = len(y) - 4
    scatter = float(np.sqrt((((y - design @ fitted) / error) ** 2).sum() / freedom))
    covariance *= max(1.0, scatter) ** 2
    half = student.ppf(0.975, freedom) * np.sqrt(np.diag(covariance))
    limits = [(float(value - width), float(value + width)) for value, width in zip(fitted, half)]
    verdict, onset, interval = _onset(fitted, covariance, limits[1])
    return RearrangementLaw(
        entropy=float(fitted[0]),
        entropy_ci95=limits[0],
        entropy_slope=float(fitted[1]),
        entropy_slope_ci95=limits[1],
        energy_eV=float(fitted[2]),
        energy_eV_ci95=limits[2],
        energy_slope_eV=float(fitted[3]),
        energy_slope_eV_ci95=limits[3],
        law_scatter=scatter,
        onset_verdict=verdict,
        onset_K=onset,
        onset_K_ci95=interval,
    )


def _onset(
    fitted: np.ndarray, covariance: np.ndarray, slope: tuple[float, float]
) -> tuple[str, float | None, tuple[float, float] | None]:
    """Verdict, T₀ and its interval, from draws of the parameters."""
    if slope[0] <= 0 <= slope[1]:
        return NO_ONSET, None, None
    onset = float(fitted[3] / (EV_PER_K * fitted[1]))
    if onset <= 0:
        return NO_MEETING, None, None
    draws = np.random.default_rng(SEED).multivariate_normal(fitted, covariance, DRAWS)
    low, high = np.quantile(draws[:, 3] / (EV_PER_K * draws[:, 1]), [0.025, 0.975])
    return ONSET, onset, (float(low), float(high))

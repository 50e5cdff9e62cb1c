"""Diffusion coefficient of a random walk, from its slow cosine modes.

The points of a mean square displacement share their displacements, so that their errors go together, and their
covariance is nearly singular. The cosine modes (DCT-II) of a walk tell the same and are independent: of a walk with
steps of variance s² along each axis, seen for N frames, mode k has the variance s²/λ_k, λ_k = 4 sin²(πk/2N). No matrix
of lags is needed (compare Vestergaard, Blainey, Flyvbjerg, Phys. Rev. E 89, 022726 (2014), for the sine modes of the
steps, and McCluskey et al., J. Chem. Theory Comput. 21, 79 (2025), for the covariance of the displacements).

An ion that also relaxes within a cage, with the rate of λ_c, adds B λ_k/(λ_k + λ_c) to the constant that diffusion
gives to λ_k times the mean square of the modes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.fft import dct
from scipy.special import chdtr, fdtri, log_ndtr

from aiida_ufpnmr.engine.timeseries.distributions import student_factor

#: Modes that are fitted at least; a mode has this many frames or more, since faster ones show vibrations.
FEWEST_MODES, FRAMES_PER_MODE = 4, 12
#: Rates of cages that are tried; the slowest is that of this mode, since a slower one is not told from diffusion.
CAGES, SLOWEST_CAGE = 8, 4
#: Parameters that a cage counts as in Schwarz's criterion: its strength, its rate, and one against chance.
CAGE_PARAMETERS = 3
#: Least share of the mean that a fitted mode has, since its error is taken as proportional to it.
LEAST_MODE = 0.05
#: Fewer ions than this do not tell how much ions differ.
FEWEST_IONS = 8
#: Where ions begin and end is their mean over this share of the trajectory, so that vibrations count little.
END = 0.05
#: Slow modes that tell the mobility of single ions.
MOBILITY_MODES = 24


@dataclass(frozen=True)
class Walk:
    """Diffusion of a walk.

    Attributes:
        diffusion: diffusion coefficient, in Å²/ps for positions in Å and steps in ps.
        error: half the width of its 95 % interval.
        collective_ratio: variance over time of the ions' mean squared displacement, over that of independent ions.
    """

    diffusion: float
    error: float
    collective_ratio: float

    def interval(self, unit: float = 1.0) -> tuple[float, float]:
        """The 95 % interval, times ``unit``."""
        return (self.diffusion - self.error) * unit, (self.diffusion + self.error) * unit


def cosine_modes(positions: np.ndarray, count: int) -> np.ndarray:
    """Squares of the slowest cosine modes times λ_k, summed over the axes, (n_ions, count); the same for all k in a
    walk: s² for each axis.

    Args:
        positions: (n_frames, n_ions, n_axes).
        count: number of modes, from k = 1 on.
    """
    k = np.arange(1, count + 1)
    modes = np.array([(dct(path, axis=0, norm='ortho')[k] ** 2).sum(axis=1) for path in positions.swapaxes(0, 1)])
    return modes * eigenvalues(len(positions), count)


def eigenvalues(n_frames: int, count: int) -> np.ndarray:
    """λ_k = 4 sin²(πk/2N), (count,)."""
    return 4 * np.sin(np.pi * np.arange(1, count + 1) / (2 * n_frames)) ** 2


def fit_walk(positions: np.ndarray, step: float, shortest: float) -> Walk:
    """Diffusion coefficient of the slow motions, averaged over walks with and without cages by their evidence.

    Each description is fitted by weighted least squares, the errors of the modes proportional to themselves, and counts
    by Schwarz's criterion and by the chance that its diffusion coefficient is above zero. The interval comes from the
    scatter of the ions. Where they move together, which shows in the scatter of their mean over the time, or are fewer
    than eight, it is that of the time if that is wider. What the descriptions differ by is added.

    Args:
        positions: (n_frames, n_ions, n_axes) unwrapped, free of drift; at least 16 frames.
        step: time between frames.
        shortest: shortest period that counts, as a share of the trajectory.
    """
    n_frames, n_ions, n_axes = positions.shape
    count = int(np.clip(round(2 / shortest), FEWEST_MODES, max(FEWEST_MODES, n_frames // FRAMES_PER_MODE)))
    modes = cosine_modes(positions, count) / (2 * n_axes * step)
    mean = modes.mean(axis=0)
    if not mean.mean() > 0:
        return Walk(0.0, 0.0, 1.0)
    lag = max(1, 3 * n_frames // count)
    parts = (n_frames - 1) // lag
    scatter, collective = _scatter(positions, lag)
    scatter = max(scatter, 2 / (n_axes * n_ions))

    diffusion, weights, variances, evidence = _descriptions(mean, eigenvalues(n_frames, count), scatter)
    evidence = np.exp(evidence - evidence.max())
    evidence /= evidence.sum()
    best = float(evidence @ diffusion)
    between_models = evidence @ (diffusion - best) ** 2

    over_time = scatter * (evidence @ variances)
    over_ions = float((modes @ (evidence @ weights)).var(ddof=1)) / n_ions if n_ions > 1 else 0.0
    together = n_ions < FEWEST_IONS or collective > fdtri(parts - 1, (parts - 1) * (n_ions - 1), 0.975)
    if together and over_time > over_ions:
        variance, freedom = over_time, parts - 1
    else:
        variance, freedom = over_ions, (parts if n_ions < FEWEST_IONS else n_ions) - 1
    return Walk(best, float(student_factor(freedom) * np.sqrt(variance + between_models)), collective)


def chance_of_return(positions: np.ndarray, walk: Walk, step: float) -> float:
    """Chance that ions which walk end as near to where they began as these do, or nearer.

    The squared way from start to end is the derivative of the likelihood by the strength of a harmonic cage, at none
    (the score, Rao 1948), so that no other number tells a wide cage from a walk much better. Over ions that walk with
    different mobilities its sum is nearly that of χ² (Satterthwaite, Biometrics Bull. 2, 110 (1946)); ions that move
    together count as fewer.

    Args:
        positions: (n_frames, n_ions, n_axes) unwrapped, free of drift.
        walk: the walk that was fitted to them; its diffusion coefficient is above zero.
        step: time between frames.
    """
    n_frames, _, n_axes = positions.shape
    length = max(1, round(END * n_frames))
    way = positions[-length:].mean(axis=0) - positions[:length].mean(axis=0)
    # of a walk with steps of variance one, from the mean over one end to that over the other
    expected = n_frames - length - (length**2 - 1) / (3 * length)
    mobility = cosine_modes(positions, min(MOBILITY_MODES, n_frames // 8)).mean(axis=1)
    freedom = n_axes * mobility.sum() ** 2 / (mobility**2).sum() / max(1.0, walk.collective_ratio)
    ratio = (way**2).sum(axis=1).mean() / (2 * n_axes * walk.diffusion * step * expected)
    return float(chdtr(freedom, ratio * freedom))


def _scatter(positions: np.ndarray, lag: int) -> tuple[float, float]:
    """Relative variance of the ions' mean squared displacement from part to part of the time, and its ratio to that of
    ions that move independently (analysis of variance); parts are ``lag`` frames long."""
    n_ions = positions.shape[1]
    relative, ratio = [], []
    for start in range(0, lag, max(1, lag // 8)):
        squares = (np.diff(positions[start::lag], axis=0) ** 2).sum(axis=2)
        mean = squares.mean(axis=1)
        if len(mean) < 2 or not mean.any():
            continue
        relative.append(mean.var(ddof=1) / mean.mean() ** 2)
        if n_ions > 1:
            alone = squares - squares.mean(axis=0) - mean[:, None] + mean.mean()
            independent = (alone**2).sum() / ((len(mean) - 1) * (n_ions - 1) * n_ions)
            ratio.append(mean.var(ddof=1) / max(independent, 1e-12 * mean.var()))
    return (float(np.mean(relative)) if relative else 0.0), (float(np.mean(ratio)) if ratio else 1.0)


def _descriptions(
    mean: np.ndarray, eigenvalue: np.ndarray, scatter: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The walk alone, and with cages of several rates, fitted to the mean of the modes (count,).

    Returns:
        diffusion coefficient (n,), the weights of the modes in it (n, count), its variance over ``scatter`` (n,), and
        the logarithm of the evidence (n,).
    """
    count = len(mean)
    slowest = eigenvalue[min(SLOWEST_CAGE, count) - 1]
    rates = np.geomspace(slowest, max(16 * eigenvalue[-1], 2 * slowest), CAGES)
    design = np.ones((CAGES + 1, count, 2))
    design[0, :, 1] = 0.0
    design[1:, :, 1] = eigenvalue / (eigenvalue + rates[:, None])
    alone = np.zeros((CAGES + 1, 2, 2))
    alone[0, 1, 1] = 1.0  # no cage in the first: its strength stays zero
    fitted = np.full((CAGES + 1, count), mean.mean())
    for _ in range(5):
        weighted = design / fitted[..., None] ** 2
        solved = np.linalg.solve(design.swapaxes(1, 2) @ weighted + alone, weighted.swapaxes(1, 2))
        strengths = solved @ mean
        fitted = np.maximum((design @ strengths[..., None])[..., 0], LEAST_MODE * mean.mean())
    diffusion, weights = strengths[:, 0], solved[:, 0]
    variances = ((weights * fitted) ** 2).sum(axis=1)
    quotient = np.maximum(mean, 1e-9 * mean.mean()) / fitted
    criterion = 2 * (quotient - 1 - np.log(quotient)).sum(axis=1) / scatter  # deviance of squares of Gaussian numbers
    criterion[1:] += CAGE_PARAMETERS * np.log(count) + 2 * np.log(CAGES)
    return diffusion, weights, variances, log_ndtr(diffusion / np.sqrt(scatter * variances)) - criterion / 2

"""Distribution of relaxation times of a correlation function: a regularised inverse Laplace transform.

c(t) = ∫ g(ln τ) exp(−t/τ) d ln τ + P is solved for g by least squares, weighted by the errors of the points, with a
penalty on the second derivative of g with respect to ln τ (Tikhonov). Without the constraint g ≥ 0 the solution is
linear in the data and shows growth of a correlation, too (Granwehr and Roberts, J. Chem. Theory Comput. 8, 3473
(2012)); with it, peaks are sharper.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from scipy.optimize import nnls

from aiida_ufpnmr.engine.nmr.observables import Curve, WeightedTime
from aiida_ufpnmr.engine.records import Record, quantity

Rule = Literal['discrepancy', 'gcv']
#: Strengths of the penalty that are tried, in units of the norms of both parts.
STRENGTHS = np.geomspace(1e-7, 1e3, 61)
#: Areas without their signs add up to no more than this many times the curve: more is noise that cancels itself.
MOST_AREA = 3.0
#: Peaks of a smaller share than this are not named.
LEAST_SHARE = 0.03


@dataclass(frozen=True)
class RelaxationTimes(Record):
    """Points of the correlation function, and the distribution of relaxation times behind it."""

    tau_axis_ns: np.ndarray = quantity('ns', 'relaxation times, equally spaced in ln τ', 'points')
    density: np.ndarray = quantity('', 'density per unit of ln τ', 'points')
    band: np.ndarray = quantity('', '2.5 and 97.5 % of the bootstrap', 'points, 2')
    lag_ps: np.ndarray = quantity('ps', 'lags of the transform', 'lags')
    c: np.ndarray = quantity('', 'correlation function', 'lags')
    error: np.ndarray = quantity('', 'its errors', 'lags')
    fitted: np.ndarray = quantity('', 'curve of the distribution', 'lags')
    plateau: float = quantity('', 'share that stays')
    misfit: float = quantity('', 'rms deviation over its error')
    rule: str = quantity('', 'rule that chose the penalty, or given')
    strength: float = quantity('', 'strength of the penalty')
    peaks: tuple[WeightedTime, ...] = quantity(
        '', 'from fast to slow: exp of the mean of ln τ between the minima on either side, and the area', default=()
    )


def inverse_laplace(
    lag_ps: np.ndarray,
    c: np.ndarray,
    error: np.ndarray,
    *,
    non_negative: bool = False,
    rule: Rule = 'discrepancy',
    strength: float | None = None,
    points: int = 60,
    samples: np.ndarray | None = None,
) -> RelaxationTimes:
    """Distribution of relaxation times behind a curve.

    The strength of the penalty is the largest with which the deviations are no larger than their errors
    (``discrepancy``, Morozov's principle; where none gets there, the largest with which their squares are at most a
    tenth above those of the best non-negative density), or that of the smallest generalised cross-validation score
    (``gcv``, for errors that are independent but of unknown size). Densities whose areas, without their signs, add up
    to more than three times the curve are not considered.

    Args:
        lag_ps: (m,) times of the points, above zero, rising.
        c: (m,) the curve.
        error: (m,) standard deviations of the points; only their ratios count with ``gcv``.
        non_negative: allow no negative density and no negative plateau.
        rule: how the strength of the penalty is chosen.
        strength: of the penalty, where it is given.
        points: of the distribution.
        samples: (n_samples, m) resampled curves, for bands.

    Raises:
        ValueError: wrong shapes, values that are not finite, errors not above zero, or fewer than 8 points.
    """
    lag, c, error = (np.asarray(x, float) for x in (lag_ps, c, error))
    if lag.ndim != 1 or lag.shape != c.shape or lag.shape != error.shape or len(lag) < 8:
        raise ValueError(f'lag, c and error must be three arrays of one length of at least 8, not {lag.shape}')
    if not (np.isfinite(lag).all() and np.isfinite(c).all() and np.isfinite(error).all()):
        raise ValueError('lag, c or error holds values that are not finite')
    if not (lag[0] > 0 and (np.diff(lag) > 0).all() and (error > 0).all()):
        raise ValueError('lags must rise from above zero, and errors must be above zero')
    if rule not in get_args(Rule):
        raise ValueError(f'rule must be one of {", ".join(get_args(Rule))}, not {rule!r}')
    log_tau = np.linspace(np.log(0.5 * lag[0]), np.log(2 * lag[-1]), points)
    problem = _Problem(lag, error, log_tau, non_negative)
    chosen = strength if strength is not None else problem.strength(c, rule)
    solution = problem.solve(c, chosen)
    density, plateau = solution[:-1], float(solution[-1])
    fitted = error * (problem.kernel @ solution)
    refits = None if samples is None else np.array([problem.solve(sample, chosen)[:-1] for sample in samples])
    nothing = np.full((points, 2), np.nan)
    return RelaxationTimes(
        tau_axis_ns=np.exp(log_tau) * 1e-3,
        density=density,
        band=nothing if refits is None else np.quantile(refits, [0.025, 0.975], axis=0).T,
        plateau=plateau,
        lag_ps=lag,
        c=c,
        error=error,
        fitted=fitted,
        strength=float(chosen),
        rule=rule if strength is None else 'given',
        misfit=float(np.sqrt(np.mean(((c - fitted) / error) ** 2))),
        peaks=_peaks(log_tau, density, refits),
    )


def curve_points(curve: Curve, bootstrap: int = 100, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points of a correlation function for the transform: averages over bins of the lags that were fitted.

    Returns:
        lags (m,) in ps, the function (m,), and functions of resampled ions (bootstrap, m), each one at lag 0.
    """
    ions = curve.per_ion[np.isfinite(curve.per_ion[:, 0])]
    known = (curve.band_lag > 0) & (curve.band_lag >= curve.fit.first_lag) & (curve.band_lag <= curve.fit.last_lag)
    known &= np.isfinite(ions).all(axis=0)
    rng = np.random.default_rng(seed)
    times = rng.multinomial(len(ions), np.full(len(ions), 1 / len(ions)), bootstrap) / len(ions)
    drawn = times @ np.nan_to_num(ions)
    return curve.band_lag[known], ions[:, known].mean(axis=0), drawn[:, known] / drawn[:, :1]


class _Problem:
    """Least squares of one set of points, with a penalty."""

    def __init__(self, lag: np.ndarray, error: np.ndarray, log_tau: np.ndarray, non_negative: bool):
        step = log_tau[1] - log_tau[0]
        self.error, self.non_negative, self.step = error, non_negative, step
        kernel = np.column_stack([step * np.exp(-lag[:, None] / np.exp(log_tau)), np.ones(len(lag))])
        self.kernel = kernel / error[:, None]
        n = len(log_tau)
        # beyond both ends the density is zero; the constant is free
        bend = (np.eye(n + 2, n, 0) - 2 * np.eye(n + 2, n, -1) + np.eye(n + 2, n, -2)) / step**2
        bend = np.column_stack([bend, np.zeros(n + 2)])
        self.penalty = bend * np.linalg.norm(self.kernel, 2) / np.linalg.norm(bend, 2)

    def solve(self, c: np.ndarray, strength: float, non_negative: bool = False) -> np.ndarray:
        """Density and plateau."""
        matrix = np.vstack([self.kernel, strength * self.penalty])
        right = np.concatenate([c / self.error, np.zeros(len(self.penalty))])
        if self.non_negative or non_negative:
            return nnls(matrix, right, maxiter=50 * matrix.shape[1])[0]
        return np.linalg.lstsq(matrix, right, rcond=None)[0]

    def strength(self, c: np.ndarray, rule: str) -> float:
        """The strength by a rule."""
        solutions = np.array([self.solve(c, strength) for strength in STRENGTHS])
        squares = self.squares(c, solutions)
        areas = self.step * np.abs(solutions[:, :-1]).sum(axis=1)
        sober = areas <= MOST_AREA * np.abs(c).max()
        if rule == 'gcv':
            score = squares / np.array([self.freedom(x, one) for x, one in zip(solutions, STRENGTHS)]) ** 2
            return float(STRENGTHS[int(np.argmin(np.where(sober | ~sober.any(), score, np.inf)))])
        allowed = sober & (squares <= len(c))
        if not allowed.any():
            positive = np.array([self.solve(c, strength, non_negative=True) for strength in STRENGTHS])
            allowed = squares <= 1.1 * self.squares(c, positive).min()
        return float(STRENGTHS[np.flatnonzero(allowed)[-1]])

    def squares(self, c: np.ndarray, solutions: np.ndarray) -> np.ndarray:
        """Sums of squares of the deviations over their errors."""
        return ((c / self.error - solutions @ self.kernel.T) ** 2).sum(axis=1)

    def freedom(self, x: np.ndarray, strength: float) -> float:
        """Degrees of freedom that a solution leaves."""
        used = (x > 0) if self.non_negative else np.ones(len(x), bool)
        kernel, penalty = self.kernel[:, used], self.penalty[:, used]
        gram = kernel.T @ kernel
        taken = np.trace(np.linalg.lstsq(gram + strength**2 * penalty.T @ penalty, gram, rcond=None)[0])
        return max(len(self.kernel) - float(taken), 1e-3)


def _peaks(log_tau: np.ndarray, density: np.ndarray, refits: np.ndarray | None) -> tuple[WeightedTime, ...]:
    """Maxima of what is above zero and minima of what is below, with their areas between the turning points.

    Intervals are over resampled curves, NaN without them.
    """
    step = log_tau[1] - log_tau[0]
    size = np.abs(density)
    change = np.flatnonzero(np.diff(np.sign(density)) != 0) + 1
    inner = np.arange(1, len(size) - 1)
    valleys = inner[(size[1:-1] <= size[:-2]) & (size[1:-1] < size[2:])]
    edges = np.unique(np.concatenate([[0], change, valleys, [len(size)]]))
    total = size.sum()
    found = []
    for begin, end in zip(edges[:-1], edges[1:]):
        part = slice(begin, end)
        area = density[part].sum()
        if total == 0 or abs(area) < LEAST_SHARE * total:
            continue
        tau_ci = weight_ci = (np.nan, np.nan)
        if refits is not None:
            areas = refits[:, part].sum(axis=1)
            share = np.abs(refits[:, part])
            centre = (share * log_tau[part]).sum(axis=1) / np.maximum(share.sum(axis=1), 1e-300)
            tau_ci = tuple((1e-3 * np.exp(np.quantile(centre[share.sum(axis=1) > 0], [0.025, 0.975]))).tolist())
            weight_ci = tuple((step * np.quantile(areas, [0.025, 0.975])).tolist())
        mean = float(np.exp((size[part] * log_tau[part]).sum() / size[part].sum()))
        found.append(
            WeightedTime(tau_ns=mean * 1e-3, tau_ns_ci95=tau_ci, weight=float(step * area), weight_ci95=weight_ci)
        )
    return tuple(found)

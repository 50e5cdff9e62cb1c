"""The decay law of Harper 2024, eqn (5), and its weighted least-squares fit without starting values.

For given τ and γ the law is linear in the decaying part D = A(1 − b²) and the constant part P = A b². So a search over
a grid of (τ, γ), with the best D ≥ 0, P ≥ 0, D + P ≤ 1 in closed form, finds the global minimum, for many curves at
once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Decay:
    """c(t) = decaying · exp(−(t/tau)^gamma) + constant, with t and tau in frames."""

    tau: float
    gamma: float
    decaying: float
    constant: float

    @property
    def parts(self) -> tuple[Decay, ...]:
        """The single decays it is made of."""
        return (self,)

    def __call__(self, t: np.ndarray) -> np.ndarray:
        return self.decaying * np.exp(-((t / self.tau) ** self.gamma)) + self.constant


@dataclass(frozen=True)
class TwoDecays:
    """c(t) = Σ decaying_i · exp(−t/tau_i) + constant; times in frames.

    Attributes:
        parts: the fast and the slow decay, each without a constant.
        constant: what stays.
    """

    parts: tuple[Decay, Decay]
    constant: float

    @property
    def tau(self) -> float:
        """The slow decay time."""
        return self.parts[1].tau

    @property
    def gamma(self) -> float:
        """The exponent of both."""
        return 1.0

    @property
    def decaying(self) -> float:
        """The decaying part, fast and slow together."""
        return self.parts[0].decaying + self.parts[1].decaying

    def __call__(self, t: np.ndarray) -> np.ndarray:
        return self.parts[0](t) + self.parts[1](t) + self.constant


#: Laws that a curve may follow.
Law = Decay | TwoDecays


@dataclass(frozen=True)
class GridFit:
    """Best point of the grid for each curve; arrays of one length."""

    log_tau: np.ndarray
    gamma: np.ndarray
    decaying: np.ndarray
    constant: np.ndarray
    squares: np.ndarray


class DecaySearch:
    """Least-squares search over a fixed grid of decay times and stretching exponents.

    Args:
        t: (n,) lags in frames.
        weight: (n,) weights of the squared deviations.
        log_tau: (n_tau,) equally spaced natural logarithms of the decay times.
        gamma: (n_gamma,) exponents.
        limit: upper limit of D + P.
    """

    def __init__(self, t: np.ndarray, weight: np.ndarray, log_tau: np.ndarray, gamma: np.ndarray, limit: float = 1.0):
        self.t, self.log_tau, self.gamma, self.limit = t, log_tau, gamma, limit
        self.weight = weight / weight.sum()
        ratio = t[None, None] / np.exp(log_tau)[:, None, None]
        shapes = np.exp(-(ratio ** gamma[None, :, None])).reshape(-1, len(t))
        self._shapes = shapes
        self._weighted = shapes * self.weight
        self._ff = (self._weighted * shapes).sum(axis=1)
        self._f1 = self._weighted.sum(axis=1)

    def __call__(self, curves: np.ndarray) -> GridFit:
        """Fit curves (n_curves, n)."""
        cf = curves @ self._weighted.T
        c1 = (curves @ self.weight)[:, None]
        cc = ((curves**2) @ self.weight)[:, None]
        decaying, constant, squares = _best_parts(cf, c1, cc, self._ff, self._f1, self.limit)
        best = squares.argmin(axis=1)
        rows = np.arange(len(curves))
        i_tau, i_gamma = np.divmod(best, len(self.gamma))
        log_tau = self.log_tau[i_tau].copy()
        inside = (i_tau > 0) & (i_tau < len(self.log_tau) - 1)
        if inside.any():  # the bottom of the parabola through the best point and its neighbours in log tau
            low, mid, high = (squares[rows[inside], best[inside] + step * len(self.gamma)] for step in (-1, 0, 1))
            curvature = low - 2 * mid + high
            shift = np.where(curvature > 0, 0.5 * (low - high) / np.where(curvature > 0, curvature, 1.0), 0.0)
            log_tau[inside] += np.clip(shift, -0.5, 0.5) * (self.log_tau[1] - self.log_tau[0])
        return GridFit(
            log_tau=log_tau,
            gamma=self.gamma[i_gamma],
            decaying=decaying[rows, best],
            constant=constant[rows, best],
            squares=squares[rows, best],
        )


def _best_parts(cf, c1, cc, ff, f1, limit):
    """Best D and P in the triangle D, P ≥ 0, D + P ≤ limit, and the sum of squares there."""

    def squares(d, p):
        return cc - 2 * d * cf - 2 * p * c1 + d * d * ff + 2 * d * p * f1 + p * p

    determinant = np.maximum(ff - f1**2, 1e-300)
    d = (cf - c1 * f1) / determinant
    p = c1 - d * f1
    inside = (d >= 0) & (p >= 0) & (d + p <= limit) & (ff - f1**2 > 1e-12)
    best_d, best_p = np.where(inside, d, 0.0), np.where(inside, p, 0.0)
    best = np.where(inside, squares(d, p), np.inf)
    corners = [
        (np.clip(cf / np.maximum(ff, 1e-300), 0.0, limit), np.zeros_like(cf)),
        (np.zeros_like(cf), np.broadcast_to(np.clip(c1, 0.0, limit), cf.shape)),
    ]
    if np.isfinite(limit):
        edge = np.clip((cf - c1 + limit * (1 - f1)) / np.maximum(ff - 2 * f1 + 1, 1e-300), 0.0, limit)
        corners.append((edge, limit - edge))
    for d, p in corners:
        s = squares(d, p)
        better = s < best
        best_d, best_p, best = np.where(better, d, best_d), np.where(better, p, best_p), np.where(better, s, best)
    return best_d, best_p, best


def fit_curve(t, weight, curve, log_tau, gamma, limit: float = 1.0) -> Decay:
    """Global best fit of one curve: the grid, then finer and finer grids around its best point."""
    for _ in range(5):
        found = DecaySearch(t, weight, log_tau, gamma, limit=limit)(curve[None])
        step = log_tau[1] - log_tau[0]
        centre = found.log_tau[0]
        best = Decay(float(np.exp(centre)), float(found.gamma[0]), float(found.decaying[0]), float(found.constant[0]))
        log_tau = np.linspace(centre - 1.5 * step, centre + 1.5 * step, 13)
        if len(gamma) > 1:
            half = 1.5 * (gamma[1] - gamma[0])
            gamma = np.unique(np.clip(np.linspace(best.gamma - half, best.gamma + half, 9), 0.02, 1.0))
    return best

"""Spin-alignment echo of a spin-3/2 nucleus at finite times, and its powder average."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np

from aiida_ufpnmr.engine.timeseries.correlation import autocorrelation_per_ion

#: Prefactor of Harper 2024, eqn (3), for spin 3/2.
PREFACTOR = 9 / 20


def rad_per_khz_us(half: bool) -> float:
    """Phase in rad that a ω_Q of 1 kHz makes in 1 µs: with 2π·½·ω_Q (``half``), or with 2π·ω_Q."""
    return 2 * np.pi * 1e3 * 1e-6 * (0.5 if half else 1.0)


def echo_signals(omega: np.ndarray, prepared: float, detected: float) -> Iterator[tuple[float, np.ndarray]]:
    """Signs and signals whose autocorrelations add up to 2 <pd + dp>, for the sines p and d of both phases.

    <pd + dp>/2 = <(p + d)(p + d)>/4 − <(p − d)(p − d)>/4; the phases are ``prepared`` and ``detected`` times omega.
    """
    p, d = np.sin(prepared * omega), np.sin(detected * omega)
    yield 1.0, p + d
    if prepared != detected:
        yield -1.0, p - d


def spin_alignment_echo(
    omega_khz: np.ndarray,
    dt: float,
    t_p: float,
    t_d: float,
    *,
    half: bool = True,
    weight: np.ndarray | None = None,
    normalise: bool = True,
) -> tuple[np.ndarray, np.ndarray]:
    """Echo amplitude (9/20) <sin(ω(0) t_p) sin(ω(t_m) t_d)> against the mixing time t_m; Harper 2024, eqn (3).

    The dynamics is reversible in time, so both orders of the two sines are averaged. For t_p, t_d → 0 the normalised
    echo becomes :func:`autocorrelation` of ω.

    Args:
        omega_khz: (n_frames, n_ions) quadrupolar frequency ω_Q in kHz, or (n_frames, n_ions, k) for k directions of the
            field, over which the echo is averaged before it is normalised.
        dt: time between frames (any unit; the mixing times come back in it).
        t_p: pulse (evolution) time in µs.
        t_d: detection (decay) time in µs.
        half: the phase runs with ω = 2π·½·ω_Q, the splitting of a spin-3/2 satellite; ``False`` uses 2π·ω_Q.
        weight: (k,) weights of the directions, with sum 1; equal where not given.
        normalise: divide by the value at t_m = 0; otherwise the echo itself, with its factor 9/20.

    Returns:
        t_m (n_frames,) and s (n_frames,).

    Raises:
        ValueError: wrong shapes, times not above zero, or no echo at all.
    """
    omega = np.asarray(omega_khz, float)
    if not (t_p > 0 and t_d > 0):
        raise ValueError(f't_p and t_d must be above zero, not {t_p} and {t_d}')
    if omega.ndim not in (2, 3):
        raise ValueError(f'omega_khz must be (n_frames, n_ions) or (n_frames, n_ions, k), not {omega.shape}')
    directions = omega.shape[2] if omega.ndim == 3 else 1
    if weight is None:
        weight = np.full(directions, 1 / directions)
    omega = omega.reshape(*omega.shape[:2], directions)
    lag, echo = _averaged_echo(np.moveaxis(omega, -1, 0), weight, dt, t_p, t_d, half)
    return lag, _normalised(echo) if normalise else echo


def powder_echo(
    khz_per_direction: Callable[[np.ndarray], np.ndarray],
    directions: np.ndarray,
    weight: np.ndarray,
    dt: float,
    t_p: float,
    t_d: float,
    *,
    half: bool = True,
) -> tuple[np.ndarray, np.ndarray]:
    """Echo of a powder: averaged over directions of the field first, normalised last.

    Args:
        khz_per_direction: function of a unit vector that gives ω_Q (n_frames, n_ions) in kHz.
        directions: (k, 3) unit vectors, from :func:`powder_directions`.
        weight: (k,) their weights.
        dt, t_p, t_d, half: as in :func:`spin_alignment_echo`.
    """
    lag, echo = _averaged_echo(map(khz_per_direction, directions), weight, dt, t_p, t_d, half)
    return lag, _normalised(echo)


def powder_directions(order: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """Directions over half the sphere and weights that integrate even polynomials up to degree 2·order − 1 exactly.

    Gauss–Legendre in cos θ, equal steps in φ. Opposite directions have the same ω_Q, so half the sphere is enough.

    Returns:
        directions (k, 3) and weights (k,) with sum 1.
    """
    cosine, share = np.polynomial.legendre.leggauss(order)
    share = np.where(cosine == 0, 0.5 * share, share)[cosine >= 0]
    cosine = cosine[cosine >= 0]
    phi = 2 * np.pi * (np.arange(2 * order) + 0.5) / (2 * order)
    sine = np.sqrt(1 - cosine**2)
    directions = np.stack(
        [np.outer(sine, np.cos(phi)), np.outer(sine, np.sin(phi)), np.outer(cosine, np.ones_like(phi))], axis=-1
    )
    return directions.reshape(-1, 3), np.repeat(share / len(phi), len(phi))


def _averaged_echo(
    omegas_khz: Iterable[np.ndarray], weight: np.ndarray, dt: float, t_p: float, t_d: float, half: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Mixing times and echo, averaged over directions, one at a time to keep memory that of the input."""
    rate, total = rad_per_khz_us(half), np.zeros(1)
    for omega, share in zip(omegas_khz, weight, strict=True):
        echo = np.zeros(1)
        for sign, signal in echo_signals(omega, rate * t_p, rate * t_d):
            lag, c = autocorrelation_per_ion(signal, dt)
            echo = echo + sign * c.mean(axis=0)
        total = total + share * (PREFACTOR * echo / 4)
    return lag, total


def _normalised(echo: np.ndarray) -> np.ndarray:
    if not abs(echo[0]) > 0:
        raise ValueError('there is no echo at mixing time 0: the frequency is zero throughout')
    return echo / echo[0]

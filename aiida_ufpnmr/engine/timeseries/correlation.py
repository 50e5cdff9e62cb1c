"""Autocorrelation functions by FFT: O(N log N), unbiased, the same numbers as the plain double sum."""

from __future__ import annotations

import numpy as np
from scipy import fft

#: Upper limit on the zero-padded spectra held at a time.
BATCH_BYTES = 256e6


def autocorrelation(x: np.ndarray, dt: float, *, subtract_mean: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Normalised autocorrelation <x(0)·x(t)> / <x(0)·x(0)>, averaged over ions and over all time origins.

    Harper 2024, eqn (4). The mean stays in, so that a crystal keeps its plateau, unless ``subtract_mean`` takes away
    the average over frames and ions.

    Args:
        x: (n_frames, n_ions), or (n_frames, n_ions, k): products are summed over the k components.
        dt: time between frames, in any unit.
        subtract_mean: correlate the deviation from the mean instead.

    Returns:
        lag (n_frames,) in the unit of ``dt``, and c (n_frames,) with c[0] = 1. Lag m is averaged over n_frames − m
        origins.

    Raises:
        ValueError: wrong shape, values that are not finite, or a signal that is zero throughout.
    """
    x = _checked(x, dt)
    mean = x.mean(axis=(0, 1)) if subtract_mean else np.zeros(x.shape[2])
    n_frames = len(x)
    total = np.zeros(n_frames)
    for part in _batches(x):
        total += lagged_products(x[:, part] - mean).sum(axis=0)
    if not total[0] > 0:
        raise ValueError('the signal is zero throughout; it has no autocorrelation')
    c = total / np.arange(n_frames, 0, -1)
    return np.arange(n_frames) * dt, c / c[0]


def autocorrelation_per_ion(x: np.ndarray, dt: float, *, subtract_mean: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Autocorrelation of each ion by itself, averaged over time origins and not normalised.

    The mean over ions, divided by its first value, is :func:`autocorrelation`.

    Args:
        x: as in :func:`autocorrelation`.
        dt: time between frames.
        subtract_mean: correlate the deviation from the mean over all frames and ions.

    Returns:
        lag (n_frames,) and c (n_ions, n_frames) in the unit of x squared.
    """
    x = _checked(x, dt)
    mean = x.mean(axis=(0, 1)) if subtract_mean else np.zeros(x.shape[2])
    n_frames = len(x)
    c = np.empty((x.shape[1], n_frames))
    for part in _batches(x):
        c[part] = lagged_products(x[:, part] - mean)
    return np.arange(n_frames) * dt, c / np.arange(n_frames, 0, -1)


def _checked(x: np.ndarray, dt: float) -> np.ndarray:
    x = np.asarray(x)
    if x.ndim not in (2, 3) or 0 in x.shape:
        raise ValueError(f'x must be (n_frames, n_ions) or (n_frames, n_ions, k), not {x.shape}')
    if not dt > 0:
        raise ValueError(f'dt must be above zero, not {dt}')
    if not np.isfinite(x).all():
        raise ValueError('x holds values that are not finite')
    return x.reshape(x.shape[0], x.shape[1], -1)


def _batches(x: np.ndarray):
    """Slices over ions, so small that their padded spectra fit the limit."""
    per_ion = 2 * len(x) * x.shape[2] * 8 * 4
    size = max(1, int(BATCH_BYTES // per_ion))
    for start in range(0, x.shape[1], size):
        yield slice(start, min(start + size, x.shape[1]))


def lagged_products(
    x: np.ndarray, n_origins: int | None = None, n_lags: int | None = None, origins: np.ndarray | None = None
) -> np.ndarray:
    """Sum over origins t < n_origins of x(t)·x(t + m), for m < n_lags: (n_ions, n_lags). x: (frames, n_ions, k).

    ``origins`` (frames, n_ions), where given, is true for the origins that count.
    """
    n_frames = len(x)
    n_origins = n_frames if n_origins is None else n_origins
    n_lags = n_frames if n_lags is None else n_lags
    series = np.ascontiguousarray(np.moveaxis(x, 0, -1), dtype=float)
    size = fft.next_fast_len(n_frames + n_lags, real=True)
    spectrum = fft.rfft(series, size)
    first = spectrum
    if origins is not None:
        first = fft.rfft((series * origins.T[:, None])[..., :n_origins], size)
    elif n_origins < n_frames:
        first = fft.rfft(series[..., :n_origins], size)
    power = (first.conj() * spectrum).sum(axis=1)
    return fft.irfft(power, size)[:, :n_lags]

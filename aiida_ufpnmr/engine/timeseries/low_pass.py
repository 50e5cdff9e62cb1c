"""Fourier filter that keeps slow motion, and wavenumbers."""

from __future__ import annotations

import numpy as np
from scipy.constants import speed_of_light
from scipy.fft import dct, idct

#: 1 THz in cm⁻¹.
PER_CM = 1e10 / speed_of_light


def low_pass(x: np.ndarray, step_ps: float, most_per_cm: float) -> np.ndarray:
    """Series (..., n) without what is faster than ``most_per_cm``, cut off sharply.

    The series goes on as its mirror image at both ends (cosine modes), so that its end does not run into its start.
    """
    modes = dct(x, norm='ortho', axis=-1)
    modes[..., PER_CM * np.arange(x.shape[-1]) / (2 * x.shape[-1] * step_ps) > most_per_cm] = 0
    return idct(modes, norm='ortho', axis=-1)

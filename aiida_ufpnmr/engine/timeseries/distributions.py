"""Student's t and χ², bit for bit as ``scipy.stats`` has them, whose import takes longer than most fits."""

from __future__ import annotations

from scipy.special import gammaincinv, stdtrit


def student_factor(freedom: float) -> float:
    """Half the width of a 95 % interval in standard errors that are known with so many degrees of freedom, above 0."""
    return float(stdtrit(freedom, 0.975))


def chi_squared_quantile(probability: float, freedom: float) -> float:
    """The value below which χ² with so many degrees of freedom, above 0, lies with this probability."""
    return float(2 * gammaincinv(freedom / 2, probability))

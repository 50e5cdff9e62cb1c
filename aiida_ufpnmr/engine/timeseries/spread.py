"""What answers of drawn models say together: an interval that holds the models' error and that of sampling."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from aiida_ufpnmr.engine.timeseries.distributions import student_factor

#: Fewer answers than this make no interval.
FEWEST = 5


def spread(drawn: Sequence[float | None], fitted_ci95: Sequence[float | None] | None = None) -> dict[str, Any]:
    """Spread of a positive quantity over drawn models, one run each.

    The interval is that of the answer of one more draw, of which the truth is one as far as labels tell: mean of the
    logarithms ± t s √(1 + 1/n), t of Student with n − 1 degrees of freedom. There is none where fewer than
    :data:`FEWEST` answers are there, or where a run has none: those would have been the slow ones.

    Args:
        drawn: answers, ``None`` of a run that carries none.
        fitted_ci95: 95 % interval of the run of the fitted models, from sampling alone.

    Returns:
        ``drawn``, ``median``, ``ci95``; ``factor_by_all`` (e to the standard deviation s of the logarithms),
        ``factor_by_sampling`` of that interval, and ``factor_by_models`` of what remains; ``None`` where not known.
    """
    values = np.array([value for value in drawn if value], float)
    found: dict[str, Any] = {
        'drawn': list(drawn),
        'without_answer': len(drawn) - len(values),
        'median': float(np.median(values)) if len(values) else None,
        **dict.fromkeys(('ci95', 'factor_by_all', 'factor_by_sampling', 'factor_by_models')),
    }
    limits = [end for end in fitted_ci95 or () if end]
    sampling = float(np.diff(np.log(limits))[0]) / (2 * 1.96) if len(limits) == 2 else None
    if sampling is not None:
        found['factor_by_sampling'] = float(np.exp(sampling))
    if len(values) == len(drawn) >= FEWEST:
        logs = np.log(values)
        s, n = float(logs.std(ddof=1)), len(logs)
        half = student_factor(n - 1) * s * np.sqrt(1 + 1 / n)
        found['ci95'] = np.exp(logs.mean() + half * np.array([-1.0, 1.0])).tolist()
        found['factor_by_all'] = float(np.exp(s))
        if sampling is not None:
            found['factor_by_models'] = float(np.exp(np.sqrt(max(0.0, s**2 - sampling**2))))
    return found

"""Claims about quantiles: those of scipy.stats, bit for bit, with degrees of freedom that need not be whole."""

from __future__ import annotations

import pytest
from scipy.stats import chi2, t

from aiida_ufpnmr.engine.timeseries.distributions import chi_squared_quantile, student_factor


@pytest.mark.parametrize('freedom', [1, 2, 3.7, 10, 200])
def test_quantiles_are_those_of_scipy(freedom):
    assert student_factor(freedom) == t.ppf(0.975, freedom)
    for probability in (0.025, 0.975):
        assert chi_squared_quantile(probability, freedom) == chi2.ppf(probability, freedom)

"""Claims about the interval of answers of drawn models."""

from __future__ import annotations

import numpy as np
import pytest

from aiida_ufpnmr.engine.timeseries.spread import FEWEST, spread


@pytest.mark.parametrize('number', [5, 8, 16])
def test_the_interval_holds_one_more_draw_as_often_as_it_says(number):
    """Of 2000 sets of answers that scatter by a factor of two, another one lies within in 95 % of cases."""
    rng = np.random.default_rng(1)
    answers = 30 * np.exp(np.log(2) * rng.standard_normal((2000, number + 1)))
    within = [low <= one[-1] <= high for one in answers for low, high in [spread(list(one[:-1]))['ci95']]]
    assert np.mean(within) == pytest.approx(0.95, abs=4 * np.sqrt(0.95 * 0.05 / 2000))


def test_what_sampling_does_not_explain_is_the_models():
    """Answers of models that scatter by a factor of 1.5, each with an error of sampling by a factor of 1.2."""
    rng = np.random.default_rng(2)
    answers = np.exp(np.log(1.5) * rng.standard_normal(4000) + np.log(1.2) * rng.standard_normal(4000))
    limits = [1.2**-1.96, 1.2**1.96]
    found = spread(answers.tolist(), limits)
    assert found['factor_by_sampling'] == pytest.approx(1.2) and found['factor_by_models'] == pytest.approx(
        1.5, rel=0.02
    )
    only_sampling = np.exp(np.log(1.2) * rng.standard_normal(4000))
    assert spread(only_sampling.tolist(), limits)['factor_by_models'] < 1.05


def test_too_few_answers_or_a_run_without_one_make_no_interval():
    assert spread([1.0] * (FEWEST - 1))['ci95'] is None
    found = spread([2.0, 3.0, 4.0, 5.0, 6.0, None])
    assert found['ci95'] is None and found['without_answer'] == 1 and found['median'] == 4.0
    assert spread([None] * 6)['median'] is None

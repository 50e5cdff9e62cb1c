"""Claims about the search of penalties: the best is found wherever it lies, and an end of the search is said."""

from dataclasses import dataclass

import numpy as np
import pytest

from aiida_ufpnmr.engine.commands.fits import ends_line, penalty_line
from aiida_ufpnmr.engine.regression.compressed_rows import CompressedRows
from aiida_ufpnmr.engine.regression.penalties import (
    FIRST_PENALTIES,
    PENALTY_CEILING,
    PENALTY_FLOOR,
    choose_penalties,
    cross_validated,
    penalties_around,
    search_penalty,
)
from aiida_ufpnmr.engine.regression.tuning import CoordinateSearch


def folds_of_noisy_rows(noise, n_folds=5, columns=30):
    """Rows of many sizes, weights of size 1, and targets with noise: the best penalty is the variance of the noise."""
    rng = np.random.default_rng(0)
    weights, sizes = rng.normal(size=columns), np.logspace(0, -5, columns)
    parts = []
    for _ in range(n_folds):
        rows = rng.normal(size=(200, columns)) * sizes
        part = CompressedRows(columns)
        part.add(rows, rows @ weights + noise * rng.normal(size=200))
        parts.append(part)
    return parts


@pytest.mark.parametrize('noise', [1e-3, 1.0])
def test_the_best_penalty_is_the_variance_of_the_noise_wherever_it_lies(noise):
    parts = folds_of_noisy_rows(noise)
    found = choose_penalties(parts, FIRST_PENALTIES)
    assert found.minimum == 'inside'
    # steps are half a decade, and a minimum drawn from 1000 rows is flat over about another
    assert noise**2 / 10 < found.penalty < noise**2 * 10
    assert min(found.tried) < found.penalty < max(found.tried)
    assert len(found.of_folds) == 5 and set(found.of_folds) <= set(found.tried)
    assert cross_validated(parts, FIRST_PENALTIES).penalty == found.penalty


def test_a_minimum_among_the_first_penalties_asks_for_no_other():
    assert choose_penalties(folds_of_noisy_rows(0.2), FIRST_PENALTIES).tried == FIRST_PENALTIES


@pytest.mark.parametrize(
    ('error', 'minimum', 'penalty'),
    [
        (lambda p: p, 'edge', PENALTY_FLOOR),
        (lambda p: 1 / p, 'edge', PENALTY_CEILING),
        # 1e-6 adds half of the tenth of a per cent that counts to what is left, 3e-6 more than that
        (lambda p: 2e-3 + p, 'flat', 1e-6),
        (lambda p: abs(np.log10(p) + 6) + 1, 'inside', 1e-6),
    ],
)
def test_where_the_minimum_lies_is_said(error, minimum, penalty):
    found = search_penalty(error, FIRST_PENALTIES)
    assert (found.minimum, found.penalty) == (minimum, pytest.approx(penalty))
    line = penalty_line(found.minimum, found.penalty)
    assert line is None if minimum == 'inside' else minimum in line


def test_a_search_ends_where_there_is_no_solution():
    def error(penalty):
        if penalty < 1e-7:
            raise np.linalg.LinAlgError
        return penalty

    found = search_penalty(error, FIRST_PENALTIES)
    assert (found.minimum, found.penalty) == ('edge', 1e-7)


def test_a_given_penalty_is_not_searched_around():
    found = choose_penalties(folds_of_noisy_rows(1e-3), (0.5,))
    assert (found.penalty, found.minimum, found.tried, set(found.of_folds)) == (0.5, None, (0.5,), {0.5})


def test_a_search_begun_near_the_best_penalty_finds_it_in_three_trials_and_one_far_from_it_all_the_same():
    parts = folds_of_noisy_rows(1e-3)
    from_the_start = cross_validated(parts, FIRST_PENALTIES)
    near = cross_validated(parts, penalties_around(from_the_start.penalty))
    assert (near.penalty, near.error, near.minimum) == (from_the_start.penalty, from_the_start.error, 'inside')
    assert len(near.tried) == 3 < len(from_the_start.tried)
    assert cross_validated(parts, penalties_around(1.0)).penalty == from_the_start.penalty
    assert penalties_around(PENALTY_FLOOR)[0] == PENALTY_FLOOR


def test_what_is_hopeless_at_one_penalty_is_tried_at_no_other():
    parts = folds_of_noisy_rows(1e-3)
    least = cross_validated(parts, FIRST_PENALTIES).error
    given_up = cross_validated(parts, FIRST_PENALTIES, hopeless=least)
    assert given_up.tried == (FIRST_PENALTIES[1],) and given_up.error > least
    assert cross_validated(parts, FIRST_PENALTIES, hopeless=given_up.error).error == least


@dataclass(frozen=True)
class Numbers:
    ridge: float = 0.1
    width: float = 1.0
    order: int = 1


def test_a_coordinate_search_goes_on_beyond_an_endless_grid_and_says_where_it_ends():
    search = CoordinateSearch[Numbers](
        grid={'ridge': (1e-2, 1e-1, 1.0), 'width': (1.0, 2.0), 'order': (1, 2)},
        score=lambda x: 1 + (np.log10(x.ridge) + 6) ** 2 + 1 / x.width + x.order,
        threshold=lambda lowest: 0.998 * lowest,
        shown=lambda *_: '',
        endless=frozenset({'ridge'}),
        limits={'order': (1, 5)},
    )
    best, ends = search.run(Numbers(), sweeps=2)
    assert best == Numbers(ridge=1e-6, width=2.0, order=1)
    assert ends == {'width': 'upper edge'}
    assert ends_line({'ends': ends}) == 'not between two values that are worse: width (upper edge)'


def test_a_coordinate_search_says_that_a_penalty_does_not_matter():
    search = CoordinateSearch[Numbers](
        grid={'ridge': (1e-2, 1e-1, 1.0)},
        score=lambda x: 1 + 1e-6 * x.ridge,
        threshold=lambda lowest: 0.998 * lowest,
        shown=lambda *_: '',
        endless=frozenset({'ridge'}),
    )
    best, ends = search.run(Numbers(), sweeps=1)
    assert best.ridge == 0.1 and ends == {'ridge': 'flat above and flat below'}

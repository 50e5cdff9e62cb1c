"""Claims about how an answer reads."""

import pytest

from aiida_ufpnmr.tools.answer import answer_rows, rounded, sentence


@pytest.mark.parametrize(
    ('value', 'text'),
    [(0, '0'), (155.2, '155'), (22100.0, '22,100'), (0.592, '0.592'), (3.42e11, '3.42·10¹¹'), (6.17e-5, '6.17·10⁻⁵')],
)
def test_numbers_are_rounded_to_three_digits(value, text):
    assert rounded(value) == text


def test_a_decay_time_is_given_with_its_interval_in_a_unit_of_its_size():
    tau = {'tau_ns': 0.00119, 'tau_ns_ci95': [0.00089, 0.00161], 'verdict': 'decay', 'temperature_mean_K': 901.2}
    assert ('decay time τ', '1.19 ps', '0.89 to 1.61') in answer_rows(tau)
    assert sentence(tau).endswith('decays in τ = 1.19 ps (95 % interval 0.89 to 1.61 ps) at 901 K.')
    assert ('decay time τ', '46 ns', '') in answer_rows({'tau_ns': 46.0, 'tau_ns_ci95': None})


def test_where_no_form_fits_the_times_that_need_none_stand_in():
    verdict = {'tau_ns': None, 'verdict': 'a decay of no form that fits', 'reason': 'the best fit misses the curve'}
    rows = answer_rows({**verdict, 'integral_time_ns': 0.0052, 'integral_time_ns_ci95': [0.004, 0.007]})
    assert ('integral correlation time', '5.2 ps', '4 to 7') in rows
    assert not [row for row in rows if row[0] == 'decay time τ']


def test_where_there_is_no_decay_no_time_is_given():
    tau = {'tau_ns': None, 'tau_ns_ci95': None, 'tau_ns_lower_bound': 2.0, 'verdict': 'no decay within the trajectory'}
    assert ('decay time τ', '> 2 ns', '') in answer_rows(tau)
    assert 'no decay' in sentence(tau) and '> 2 ns' in sentence(tau)
    nothing = {**tau, 'tau_ns_lower_bound': None}
    assert not [row for row in answer_rows(nothing) if row[0] == 'decay time τ']
    assert sentence(nothing).endswith('within the trajectory.')


def test_a_number_that_a_verdict_speaks_against_gives_way_to_it():
    numbers = {'hop_rate_per_s': 2e10, 'diffusion_coefficient_cm2_per_s': 1e-6}
    assert ('diffusion coefficient', '1.00·10⁻⁶ cm²/s', '') in answer_rows({**numbers, 'msd_verdict': 'diffusion'})
    rows = answer_rows({**numbers, 'msd_verdict': 'no diffusion', 'hops_verdict': 'no hop is certain'})
    assert ('diffusion coefficient', 'no diffusion', '') in rows and (
        'hop rate of an ion',
        'no hop is certain',
        '',
    ) in rows


def test_a_hop_rate_that_could_not_be_corrected_is_a_lower_limit():
    numbers = {'hop_rate_per_s': 6e11, 'hop_rate_per_s_ci95': [5.9e11, 6.1e11], 'hops_verdict': 'hops'}
    assert ('hop rate of an ion', '> 6.00·10¹¹ 1/s', '') in answer_rows({**numbers, 'hop_rate_corrected': False})
    held = ('hop rate of an ion', '6.00·10¹¹ 1/s', '5.90·10¹¹ to 6.10·10¹¹')
    assert held in answer_rows({**numbers, 'hop_rate_corrected': True})
    assert held in answer_rows(numbers)  # an answer of an older version

"""Claims about the law of Arrhenius through runs at several temperatures."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from aiida_ufpnmr.engine.analyses.arrhenius import ArrheniusResult, ArrheniusSettings, fit_results
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.main import ufpnmr
from aiida_ufpnmr.engine.transport.arrhenius import EV_PER_K, KINKED, STRAIGHT, TOO_FEW, fit_arrhenius
from aiida_ufpnmr.engine.transport.hops import HOPS
from aiida_ufpnmr.engine.transport.msd import DIFFUSION, NO_DIFFUSION

TEMPERATURES = np.repeat([500.0, 600, 700, 800, 900], 2)
ENERGY, PREFACTOR = 0.3, 1e-3


def law(temperature_K):
    return PREFACTOR * np.exp(-ENERGY / (EV_PER_K * temperature_K))


def drawn(seed, spread=0.1):
    """Values about the law with so large a relative spread, which their errors state as 0.1."""
    rng = np.random.default_rng(seed)
    return law(TEMPERATURES) * np.exp(spread * rng.standard_normal(len(TEMPERATURES)))


def test_exact_rates_give_the_law_back():
    value = law(TEMPERATURES)
    found = fit_arrhenius(TEMPERATURES, value, 0.1 * value, [300, 1000])
    assert found.activation_energy_eV == pytest.approx(ENERGY) and found.prefactor == pytest.approx(PREFACTOR)
    assert [one.value for one in found.extrapolations] == pytest.approx([law(300), law(1000)])
    assert found.kink == STRAIGHT and found.scatter == pytest.approx(0, abs=1e-6)
    assert [(one.temperature_K, one.runs) for one in found.temperatures] == [(t, 2) for t in np.unique(TEMPERATURES)]


@pytest.mark.parametrize('spread', [0.1, 0.3])
def test_intervals_hold_also_where_the_runs_scatter_more_than_they_say(spread):
    hold = np.zeros((400, 3), bool)
    for seed in range(len(hold)):
        value = drawn(seed, spread)
        found = fit_arrhenius(TEMPERATURES, value, 0.1 * value, [300])
        pairs = [
            (found.activation_energy_eV_ci95, ENERGY),
            (found.prefactor_ci95, PREFACTOR),
            (found.extrapolations[0].value_ci95, law(300)),
        ]
        hold[seed] = [low < true < high for (low, high), true in pairs]
    assert ((0.92 <= hold.mean(axis=0)) & (hold.mean(axis=0) <= 0.985)).all()


def test_a_kink_is_found_where_there_is_one_and_seldom_where_there_is_none():
    bent = np.where(TEMPERATURES > 700, 1.0, np.exp(-0.3 / EV_PER_K * (1 / TEMPERATURES - 1 / 700)))
    kinks = []
    for seed in range(200):
        value = drawn(seed)
        straight = fit_arrhenius(TEMPERATURES, value, 0.1 * value)
        found = fit_arrhenius(TEMPERATURES, value * bent, 0.1 * value * bent)
        kinks.append((straight.kink == KINKED, found.kink == KINKED))
    false, true = np.mean(kinks, axis=0)
    assert false <= 0.08 and true > 0.9
    below, above = found.kink_energies_eV
    assert 600 < found.kink_K < 800 and below > above + 0.1
    assert fit_arrhenius([1, 2, 3], [1, 2, 3], [0.1] * 3).kink == TOO_FEW


def test_the_spread_of_replicas_is_that_of_their_logarithms():
    found = fit_arrhenius([500, 500, 600], [1.0, 1.2, 3.0], [0.1, 0.12, 0.3])
    assert found.temperatures[0].spread == pytest.approx(np.log(1.2) / np.sqrt(2))
    assert found.temperatures[0].mean == pytest.approx(np.sqrt(1.2)) and np.isnan(found.temperatures[1].spread)


def results(temperature, verdict=DIFFUSION, factor=1.0):
    value = factor * float(law(temperature))
    interval = [0.8 * value, 1.2 * value]
    return {
        'diffusion_coefficient_cm2_per_s': value,
        'diffusion_coefficient_cm2_per_s_ci95': interval,
        'verdict': verdict,
    }


def test_runs_without_certain_diffusion_are_left_out_by_name():
    runs = [(t, f'{t}.json', results(t)) for t in (600, 700, 800)]
    found = fit_results([*runs, (500, '500.json', results(500, NO_DIFFUSION, factor=9.0))])
    assert found.left_out == ('500.json (500 K)',) and '500.json' in found.remarks[0]
    assert found.activation_energy_eV == pytest.approx(ENERGY)
    with pytest.raises(InputError, match='certain at fewer than two temperatures'):
        fit_results(runs[:1])
    with pytest.raises(InputError, match=r'600\.json: holds no hop_rate_per_s'):
        fit_results(runs, ArrheniusSettings(quantity='hop_rate_per_s'))


def test_hop_rates_that_are_only_lower_limits_are_left_out():
    rate = {'hops_verdict': HOPS, 'hop_rate_corrected': True}
    runs = [(t, f'{t}.json', rate | {'hop_rate_per_s': r, 'hop_rate_per_s_ci95': (0.9 * r, 1.1 * r)})
            for t, r in ((600, 1e9), (700, 5e9), (800, 2e10), (900, 2.1e10))]  # fmt: skip
    runs[3][2]['hop_rate_corrected'] = False
    found = fit_results(runs, ArrheniusSettings(quantity='hop_rate_per_s'))
    assert found.left_out == ('900.json (900 K)',) and found.run_temperature_K.max() == 800


def test_a_conductivity_is_fitted_times_the_temperature():
    def run(temperature):
        value = float(law(temperature)) / temperature
        return {'conductivity_S_per_cm': value, 'conductivity_S_per_cm_ci95': [0.9 * value, 1.1 * value]}

    found = fit_results([(t, 'run', run(t)) for t in (500, 700, 900)])
    assert found.activation_energy_eV == pytest.approx(ENERGY) and found.unit == 'K·S/cm'


def test_the_command_reads_results_and_writes_what_can_be_read_back(tmp_path):
    files = []
    for temperature in (600, 700, 800, 900):
        path = tmp_path / f'{temperature}.json'
        path.write_text(json.dumps(results(temperature)))
        files.append(f'{temperature}={path}')
    out, figure, answer = (tmp_path / name for name in ('fit.h5', 'fit.png', 'fit.json'))
    options = ['-o', str(out), '--plot', str(figure), '--json', str(answer), '--extrapolate-k', '300,400']
    assert CliRunner().invoke(ufpnmr, ['arrhenius', *files, *options], catch_exceptions=False).exit_code == 0
    written = json.loads(answer.read_text())
    assert written['activation_energy_eV'] == pytest.approx(ENERGY)
    assert [one['temperature_K'] for one in written['extrapolations']] == [300, 400]
    again = ArrheniusResult.load(out)
    assert again.to_dict() == {key: written[key] for key in again.to_dict()}
    assert figure.read_bytes().startswith(b'\x89PNG')
    bare = files[0].partition('=')[2]
    for arguments, words in (([bare], 'does not say its temperature; write 700='), ([str(out)], 'no JSON')):
        found = CliRunner().invoke(ufpnmr, ['arrhenius', *arguments])
        assert isinstance(found.exception, InputError) and words in str(found.exception)

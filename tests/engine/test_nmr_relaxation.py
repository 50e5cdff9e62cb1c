"""Claims about distributions of relaxation times and about T1: known ones come back, and nothing is made up."""

import json

import numpy as np
import pytest
from click.testing import CliRunner
from two_site import two_site_paths, two_site_tensors

from aiida_ufpnmr.engine.commands.analyse import analyse
from aiida_ufpnmr.engine.efg.isotopes import get_isotope
from aiida_ufpnmr.engine.efg.tensors import asymmetry, quadrupolar_coupling
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.nmr.relaxation_times import inverse_laplace
from aiida_ufpnmr.engine.nmr.runs import EfgRuns
from aiida_ufpnmr.engine.nmr.spin_lattice import RESOLVED, STATIC, TOO_COARSE, TOO_SHORT, spin_lattice_relaxation
from aiida_ufpnmr.engine.trajectories.trajectory import EfgSeries, write_efg

LAG = np.geomspace(1.0, 3000.0, 60)


def noisy(c, noise, seed=0):
    return c + noise * np.random.default_rng(seed).standard_normal(c.shape), np.full(c.shape, noise)


@pytest.mark.parametrize('rule', ['discrepancy', 'gcv'])
@pytest.mark.parametrize('non_negative', [True, False])
def test_two_times_come_back_with_their_weights(rule, non_negative):
    c = 0.2 + 0.3 * np.exp(-LAG / 10) + 0.5 * np.exp(-LAG / 300)
    points, error = noisy(c, 1e-3)
    found = inverse_laplace(LAG, points, error, rule=rule, non_negative=non_negative)
    main = sorted(found.peaks, key=lambda peak: -peak.weight)[:2]
    fast, slow = sorted(main, key=lambda peak: peak.tau_ns)
    # broadening by the penalty leaves mean ln τ and the area nearly as they are; without the constraint there are
    # side lobes of opposite sign, which the main peaks make up for
    assert 1e3 * fast.tau_ns == pytest.approx(10, rel=0.15) and 1e3 * slow.tau_ns == pytest.approx(300, rel=0.15)
    assert (fast.weight, slow.weight) == pytest.approx((0.3, 0.5), abs=0.04 if non_negative else 0.12)
    assert found.plateau == pytest.approx(0.2, abs=0.02 if non_negative else 0.06)
    np.testing.assert_allclose(found.fitted, c, atol=5e-3)


def test_the_discrepancy_rule_fits_as_well_as_the_errors_allow_and_no_better():
    strengths = []
    for noise in (1e-4, 1e-3, 1e-2):
        points, error = noisy(0.8 * np.exp(-((LAG / 100) ** 0.6)), noise)
        found = inverse_laplace(LAG, points, error)
        # the strengths that are tried lie apart by half a decade of the penalty
        assert 0.85 < found.misfit <= 1.0 + 1e-9
        strengths.append(found.strength)
    assert strengths[0] < strengths[1] < strengths[2]


def test_growth_shows_without_the_constraint_and_cannot_with_it():
    points, error = noisy(np.exp(-LAG / 300) - 0.5 * np.exp(-LAG / 10), 1e-3)
    free, bound = (inverse_laplace(LAG, points, error, non_negative=flag) for flag in (False, True))
    (growth,) = [peak for peak in free.peaks if peak.weight < -0.2]
    assert 1e3 * growth.tau_ns == pytest.approx(10, rel=0.25)
    assert (bound.density >= 0).all() and bound.misfit > 5


@pytest.mark.parametrize('rule', ['discrepancy', 'gcv'])
@pytest.mark.parametrize('non_negative', [True, False])
def test_vibrations_are_not_described_by_large_areas_that_cancel(rule, non_negative):
    c = 0.2 * np.exp(-LAG / 300) + 0.1 * np.cos(LAG) * np.exp(-LAG / 30)
    points, error = noisy(c, 2e-4)
    found = inverse_laplace(LAG, points, error, rule=rule, non_negative=non_negative)
    assert np.abs(found.density).sum() * np.log(found.tau_axis_ns[1] / found.tau_axis_ns[0]) < 1.0
    assert found.misfit > 2  # and says so
    if rule == 'discrepancy':  # the other takes deviations for independent, and follows the vibration as far as it may
        main = max(found.peaks, key=lambda peak: peak.weight)
        assert 1e3 * main.tau_ns == pytest.approx(300, rel=0.5)


def test_bands_hold_the_weight_of_a_single_time():
    rng = np.random.default_rng(0)
    c = 0.9 * np.exp(-LAG / 50)
    samples = c + 5e-3 * rng.standard_normal((40, len(LAG)))
    points, error = noisy(c, 5e-3)
    (peak,) = inverse_laplace(LAG, points, error, non_negative=True, samples=samples).peaks
    assert peak.tau_ns_ci95[0] < 0.05 * 1.05 and peak.tau_ns_ci95[1] > 0.05 * 0.95
    assert peak.weight_ci95[0] < 0.91 and peak.weight_ci95[1] > 0.89


@pytest.mark.parametrize(
    'lag, c, error, options',
    [
        (LAG[:5], LAG[:5], LAG[:5], {}),
        (LAG, np.full(60, np.nan), np.ones(60), {}),
        (LAG, np.ones(60), np.zeros(60), {}),
        (LAG - 1, np.ones(60), np.ones(60), {}),
        (LAG, np.ones(60), np.ones(60), {'rule': 'guess'}),
    ],
)
def test_points_that_cannot_be_transformed_are_refused(lag, c, error, options):
    with pytest.raises(ValueError, match='at least 8|not finite|above zero|rule must'):
        inverse_laplace(lag, c, error, **options)


def tumbling(tau_frames, n_frames=2**15, n_ions=40, seed=0):
    """A rigid tensor that jumps to a random orientation with rate 1/τ: (n_frames, n_ions, 3, 3), a.u."""
    from scipy.spatial.transform import Rotation

    rng = np.random.default_rng(seed)
    jumps = rng.random((n_frames, n_ions)) < 1 - np.exp(-1 / tau_frames)
    number = np.cumsum(jumps, axis=0) + np.arange(n_ions) * (n_frames + 1)
    _, where = np.unique(number, return_inverse=True)
    turns = Rotation.random(where.max() + 1, random_state=seed).as_matrix()
    rigid = 5e-3 * np.diag([-0.3, -0.7, 1.0])
    return (turns @ rigid @ turns.swapaxes(1, 2))[where.reshape(number.shape)], rigid


@pytest.mark.parametrize('name, factor', [('7Li', 2 / 100), ('6Li', 3 / 40)])
def test_t1_of_a_tumbling_tensor_is_that_of_the_textbook(name, factor):
    # frames of 0.1 ns, τ = 2 ns, ω0 = 50 MHz: ω0 τ = 0.63
    tau_s, larmor = 2e-9, 50.0
    v, rigid = tumbling(20.0)
    runs = EfgRuns.of(EfgSeries('Li', np.arange(40), 1e5 * np.arange(len(v)), v))
    (found,) = spin_lattice_relaxation(runs, get_isotope(name), [larmor])
    coupling = 2 * np.pi * 1e3 * quadrupolar_coupling(rigid, name)
    j = [tau_s / (1 + (2 * np.pi * 1e6 * m * larmor * tau_s) ** 2) for m in (1, 2)]
    # (3/200)(2I + 3)/(I²(2I − 1)): 1/50 for I = 3/2, 3/40 for I = 1
    expected = 1 / (factor * (1 + asymmetry(rigid) ** 2 / 3) * coupling**2 * (j[0] + 4 * j[1]))
    assert found.verdict == RESOLVED
    assert found.t1_s_ci95[0] < expected < found.t1_s_ci95[1]
    assert found.t1_s == pytest.approx(expected, rel=0.06)  # frames see the exponential in steps of τ/20
    if name == '7Li':
        initial = 0.2 / found.t1_parts_s[0] + 0.8 / found.t1_parts_s[1]
        assert 1 / found.t1_s == pytest.approx(initial)


def test_t1_needs_frequencies_that_the_trajectory_knows():
    v = 1e-3 * two_site_tensors(np.random.default_rng(0).integers(0, 2, (600, 3)))
    runs = EfgRuns.of(EfgSeries('Li', np.arange(3), 1e5 * np.arange(600), v))  # 60 ns, up to 5 GHz
    verdicts = [one.verdict for one in spin_lattice_relaxation(runs, get_isotope('7Li'), [1.0, 500.0, 4000.0])]
    assert verdicts == [TOO_SHORT, RESOLVED, TOO_COARSE]
    with pytest.raises(InputError, match='above zero'):
        spin_lattice_relaxation(runs, get_isotope('7Li'), [-1.0])


def test_a_static_tensor_relaxes_nothing():
    v = np.broadcast_to(1e-3 * np.diag([-0.3, -0.7, 1.0]), (600, 3, 3, 3))
    runs = EfgRuns.of(EfgSeries('Li', np.arange(3), 1e5 * np.arange(600), v))
    (found,) = spin_lattice_relaxation(runs, get_isotope('7Li'), [500.0])
    assert found.verdict == STATIC and np.isnan(found.t1_s)


def test_the_command_gives_times_and_t1(tmp_path):
    path = tmp_path / 'run.h5'
    site, _ = two_site_paths(n_ions=40, n_frames=4000)
    write_efg(path, EfgSeries('Li', np.arange(40), 1e5 * np.arange(4000), two_site_tensors(site)))
    files = [tmp_path / name for name in ('out.h5', 'out.png', 'out.json')]
    arguments = ['relaxation', str(path), '-o', str(files[0]), '--plot', str(files[1]), '--json', str(files[2])]
    options = ['--non-negative', '--larmor-mhz', '50,116.6', '--bootstrap', '30']
    result = CliRunner().invoke(analyse, [*arguments, *options], catch_exceptions=False)
    assert result.exit_code == 0 and all(file.stat().st_size for file in files)
    found = json.loads(files[2].read_text())
    # the heaviest peak is the jump: 50 frames of 0.1 ns
    peak = max(found['peaks'], key=lambda peak: peak['weight'])
    assert peak['tau_ns'] == pytest.approx(5.0, rel=0.35)
    assert [one['larmor_MHz'] for one in found['t1']] == [50, 116.6]
    assert found['rule'] == 'discrepancy'


def test_no_times_are_named_where_there_is_no_decay(tmp_path):
    path = tmp_path / 'run.h5'
    write_efg(
        path, EfgSeries('Li', np.arange(20), 100.0 * np.arange(1000), two_site_tensors(np.zeros((1000, 20), int)))
    )
    out = tmp_path / 'out.json'
    result = CliRunner().invoke(analyse, ['relaxation', str(path), '--json', str(out)], catch_exceptions=False)
    assert result.exit_code == 0
    found = json.loads(out.read_text())
    assert found['verdict'] == 'no decay within the trajectory' and found['peaks'] == []

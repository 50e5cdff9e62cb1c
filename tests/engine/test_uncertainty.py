"""Claims about what a potential does not know: posterior, expected errors, extrapolation grade."""

import itertools

import numpy as np
import pytest

from aiida_ufpnmr.engine.dataset import Dataset, forces, read_dataset
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.hdf5 import content_hash
from aiida_ufpnmr.engine.regression.calibration import Noise, coverage, cross_fitted, fit_noise
from aiida_ufpnmr.engine.ufp import (
    PotentialSettings,
    UltraFastPotential,
    extrapolation_grade,
    fit_potential,
    force_uncertainty,
    uncertainty,
)
from aiida_ufpnmr.engine.ufp.calibration import Comparison, calibrate
from aiida_ufpnmr.engine.ufp.features import features, local_features
from aiida_ufpnmr.engine.ufp.fitting import run_fit
from aiida_ufpnmr.engine.ufp.problem import Problem

SETTINGS = PotentialSettings(bond_intervals=5, third_intervals=7, pair_intervals=12)


@pytest.fixture(scope='module')
def labelled(example_data):
    """Twelve of the shipped structures, of four groups: β and γ at low temperature, amorphous, quenched."""
    return read_dataset(example_data).subset([0, 1, 2, 8, 9, 10, 36, 37, 38, 65, 66, 67])


@pytest.fixture(scope='module')
def fitted(labelled):
    return fit_potential(labelled, SETTINGS)[0]


def test_variance_of_a_prediction_is_that_of_the_dense_formula(labelled):
    """Against fᵀ(XWX + P)⁻¹f, written out with dense matrices."""
    problem = Problem.of(labelled, SETTINGS)
    matrix = problem.penalty.toarray()
    for rows in problem.rows(range(len(labelled))):
        weighted = rows.design * rows.weights
        matrix += weighted @ weighted.T
    potential = run_fit(problem).potential
    atoms = labelled.structures[4]
    design = features(atoms, potential.types(atoms), potential.basis)
    expected = np.einsum('ij,ij->j', design, np.linalg.solve(matrix, design))
    # the posterior is kept in float32: 1e-7, times the square root of the condition number of about 1e6
    np.testing.assert_allclose(potential.posterior.variances(design), expected, rtol=1e-3)


def test_posterior_spread_equals_that_of_refits_to_noisy_labels():
    """Labels with noise of the stated size, coefficients from the stated prior: real errors follow the posterior."""
    rng = np.random.default_rng(4)
    design, prior = rng.normal(size=(12, 30)), np.diag(rng.uniform(0.5, 2.0, 12))
    covariance = np.linalg.inv(design @ design.T + prior)
    row = rng.normal(size=12)
    truth = rng.normal(size=(4000, 12)) / np.sqrt(np.diag(prior))
    labels = truth @ design + rng.normal(size=(4000, 30))
    found = labels @ design.T @ covariance
    errors = (found - truth) @ row
    # relative error of a variance over 4000 samples is √(2/4000) = 0.022
    assert np.var(errors) == pytest.approx(row @ covariance @ row, rel=0.08)


def test_basis_of_a_potential_is_that_of_its_fit(labelled, fitted):
    basis = Problem.of(labelled, SETTINGS).basis
    for found, expected in zip(fitted.basis.column_tables, basis.column_tables):
        np.testing.assert_array_equal(found, expected)
    assert fitted.basis.n_columns == len(fitted.posterior.whitening)


def test_local_rows_add_up_to_the_energy_row(labelled, fitted):
    atoms = labelled.structures[0][np.random.default_rng(0).permutation(32)]
    types = fitted.types(atoms)
    local = local_features(atoms, types, fitted.basis)
    # the same products in another order
    np.testing.assert_allclose(local.sum(axis=0), features(atoms, types, fitted.basis)[:, 0], rtol=1e-12, atol=1e-12)
    for t, row in zip(types, local):
        assert set(np.flatnonzero(row)) <= set(fitted.basis.columns_around(t))


def test_local_rows_give_the_energies_of_atoms(labelled):
    problem = Problem.of(labelled, SETTINGS)
    coefficients = np.random.default_rng(1).normal(size=problem.basis.n_columns)
    basis = problem.basis
    potential = UltraFastPotential(basis.species, *basis.expand(coefficients), np.zeros((3, 3)))
    atoms = labelled.structures[7]
    local = local_features(atoms, potential.types(atoms), basis)
    np.testing.assert_allclose(local @ coefficients, potential.compute(atoms).energies, rtol=1e-10)


def test_uncertainty_follows_the_symmetries_of_the_structure(labelled, fitted):
    atoms = labelled.structures[5]
    found = uncertainty(fitted, atoms)
    order = np.random.default_rng(0).permutation(len(atoms))
    np.testing.assert_allclose(uncertainty(fitted, atoms[order]).forces, found.forces[order], rtol=1e-4)  # float32
    np.testing.assert_allclose(
        extrapolation_grade(fitted, atoms[order]), extrapolation_grade(fitted, atoms)[order], rtol=1e-9
    )
    turned = atoms.copy()
    turned.rotate(90, 'z', rotate_cell=True)
    # components x and y change places, their variances with them
    np.testing.assert_allclose(uncertainty(fitted, turned).forces, found.forces[:, [1, 0, 2]], rtol=1e-4)


def test_grade_is_one_at_the_edge_of_the_training_set_and_grows_beyond_it(labelled, fitted):
    grades = [extrapolation_grade(fitted, atoms) for atoms in labelled]
    types = [fitted.types(atoms) for atoms in labelled]
    for t in range(3):
        largest = max(grade[kind == t].max() for grade, kind in zip(grades, types))
        assert largest == pytest.approx(1.0, rel=1e-9)
    atoms = labelled.structures[0]
    worst = []
    for step in (0.0, 0.3, 0.6):
        moved = atoms.copy()
        moved.positions += step * np.random.default_rng(0).normal(size=(len(atoms), 3))
        worst.append(extrapolation_grade(fitted, moved).max())
    assert worst[0] <= 1 < worst[2] and worst[0] < worst[1] < worst[2]


def test_more_structures_of_a_kind_leave_less_unknown(labelled):
    few = fit_potential(labelled.subset([0, 1, 2, 6]), SETTINGS)[0]
    more = fit_potential(labelled, SETTINGS)[0]
    atoms = labelled.structures[10]
    assert uncertainty(more, atoms).forces_posterior.mean() < uncertainty(few, atoms).forces_posterior.mean()


def test_expected_errors_hold_on_structures_never_seen(example_data):
    """Fitted to two thirds of the groups; the others see only the result."""
    dataset = read_dataset(example_data)
    groups = np.array(dataset.groups)
    unseen = np.isin(groups, ['beta_600K', 'gamma_300K', 'amorphous1_300K', 'quench1', 'amorphous2_700K'])
    potential = fit_potential(dataset.subset(np.flatnonzero(~unseen)), SETTINGS)[0]
    errors, expected = [], []
    for atoms in dataset.subset(np.flatnonzero(unseen)):
        errors.append((potential.compute(atoms).forces - forces(atoms)).ravel())
        expected.append(force_uncertainty(potential, atoms).ravel())
    found = coverage(np.concatenate(errors), np.concatenate(expected))
    # 0.68 and 0.95 of a Gaussian; five groups of correlated structures scatter by several per cent
    assert 0.60 < found['fraction_within_1_sigma'] < 0.80
    assert 0.91 < found['fraction_within_2_sigma'] < 0.99
    assert 0.75 < found['slope'] < 1.3


def test_noise_is_found_again():
    rng = np.random.default_rng(2)
    variances = np.exp(rng.normal(size=20000))
    for truth in (Noise(0.3, 1.5, 1.0), Noise(0.8, 0.7, 0.6)):
        found = fit_noise(truth.error(variances) * rng.normal(size=len(variances)), variances)
        # the error itself is what matters: floor and power trade off
        np.testing.assert_allclose(found.error(variances), truth.error(variances), rtol=0.1)
    assert fit_noise(np.zeros(5), np.ones(5)).error(1.0) == 0.0


def test_each_fold_is_judged_by_the_others():
    rng = np.random.default_rng(0)
    variances, fold = np.ones(4000), np.repeat([0, 1], 2000)
    errors = np.where(fold == 0, 1.0, 3.0) * rng.normal(size=4000)
    expected = cross_fitted(errors, variances, fold)
    # 2000 numbers give a standard deviation to 1.6 %
    np.testing.assert_allclose(expected[fold == 0], 3.0, rtol=0.06)
    np.testing.assert_allclose(expected[fold == 1], 1.0, rtol=0.06)


def test_coverage_of_a_gaussian():
    rng = np.random.default_rng(0)
    expected = rng.uniform(0.5, 3.0, 20000)
    right, small = (coverage(factor * expected * rng.normal(size=20000), expected) for factor in (1.0, 2.0))
    assert right['fraction_within_1_sigma'] == pytest.approx(0.683, abs=0.01)  # √(0.68·0.32/20000) = 0.003
    assert right['fraction_within_2_sigma'] == pytest.approx(0.954, abs=0.01)
    assert right['slope'] == pytest.approx(1.0, abs=0.05)
    assert small['slope'] == pytest.approx(2.0, abs=0.1)


def test_a_floor_that_errors_do_not_show_is_zero():
    rng = np.random.default_rng(3)
    variances = np.exp(2 * rng.normal(size=5000))
    errors = rng.normal(size=5000) * np.sqrt(variances)
    assert fit_noise(errors, variances).floor == 0.0
    # errors that small variances cannot explain
    assert fit_noise(errors + 0.5 * rng.normal(size=5000), variances).floor == pytest.approx(0.5, rel=0.1)


def test_weights_say_how_much_a_number_counts():
    rng = np.random.default_rng(4)
    variances = np.exp(rng.normal(size=600))
    errors = rng.normal(size=600) * np.sqrt(variances)
    repeated = np.repeat(np.arange(600), rng.integers(1, 5, 600))
    weights = 1 / np.bincount(repeated)[repeated]
    once, weighted = fit_noise(errors, variances), fit_noise(errors[repeated], variances[repeated], weights)
    # one likelihood, summed in another order, to the tolerance of the search
    np.testing.assert_allclose(weighted.error(variances), once.error(variances), rtol=1e-3)


@pytest.mark.parametrize('factor', [1.0, 2.5])
def test_the_interval_of_the_slope_holds_what_independent_groups_can_tell(factor):
    """Numbers of one group share their deviation, so that there are as many independent ones as groups."""
    rng = np.random.default_rng(5)
    group = np.repeat(np.arange(400), 5)
    expected = rng.uniform(0.5, 3.0, 400)[group]
    errors = factor * expected * rng.normal(size=400)[group]
    by_group = coverage(errors, expected, group)
    alone = coverage(errors, expected, np.arange(2000))
    low, high = by_group['slope_ci95']
    assert low < factor < high
    assert by_group['groups'] == 400 and by_group['numbers'] == 2000
    # five times as many numbers would seem √5 = 2.2 times as sure
    assert 1.6 < (high - low) / np.ptp(alone['slope_ci95']) < 3.0
    assert coverage(errors, expected)['slope_ci95'] is None


def test_a_run_with_many_structures_does_not_rule_the_noise_of_the_energy():
    """Twenty runs err by 10 meV/atom; one, of forty structures that share their offset, by 80."""
    rng = np.random.default_rng(6)
    sample = []
    for run in range(21):
        offset = 0.08 if run == 20 else 0.01 * rng.choice([-1, 1])
        for _ in range(40 if run == 20 else 2):
            comparison = Comparison(
                forces_error=rng.normal(size=3),
                forces_variance=np.ones(3),
                species=np.zeros(3, int),
                energy_error=offset,
                energy_variance=1e-6,
                fold=run % 5,
                group=f'run{run}',
            )
            sample.append(comparison)
    _, noise, found = calibrate(sample, 1)
    # 21 runs: √((20·10² + 80²)/21) = 20 meV/atom; with each structure the same, it would be 57
    assert noise.error(1e-6) == pytest.approx(0.020, abs=0.002)
    assert found['energy']['groups'] == 21


def test_posterior_survives_the_file(tmp_path, labelled, fitted):
    fitted.save(tmp_path / 'a.h5')
    again = UltraFastPotential.load(tmp_path / 'a.h5')
    atoms = labelled.structures[2]
    np.testing.assert_array_equal(force_uncertainty(again, atoms), force_uncertainty(fitted, atoms))
    np.testing.assert_array_equal(extrapolation_grade(again, atoms), extrapolation_grade(fitted, atoms))
    again.save(tmp_path / 'b.h5')
    assert content_hash(tmp_path / 'a.h5') == content_hash(tmp_path / 'b.h5')
    # float32 lower triangle, beside the potential itself
    n = fitted.basis.n_columns
    assert (tmp_path / 'a.h5').stat().st_size < 2 * n * n + 500_000


def test_potential_without_posterior_says_so(labelled):
    fit = run_fit(Problem.of(labelled, SETTINGS), keep_posterior=False)
    assert fit.potential.posterior is None
    for function in (force_uncertainty, extrapolation_grade):
        with pytest.raises(InputError, match='holds no posterior'):
            function(fit.potential, labelled.structures[0])


def test_a_single_group_takes_its_noise_from_training_residuals(labelled):
    one = []
    for atoms in itertools.islice(labelled, 4):
        copy = atoms.copy()
        copy.info['config_type'] = 'same'
        copy.calc = atoms.calc
        one.append(copy)
    potential, results = fit_potential(Dataset(tuple(one)), SETTINGS)
    assert results['calibration'] is None
    train = results['train']['forces_rmse_meV_per_angstrom']
    mean = 1000 * np.sqrt(np.mean(force_uncertainty(potential, one[0]) ** 2))
    assert mean > train  # degrees of freedom spent on the fit are taken into account

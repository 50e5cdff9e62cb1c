"""Claims about ridge regression, sparse kernels, posterior and domain of the EFG model."""

import ase.io
import numpy as np
import pytest
from ase import Atoms
from reference_data import FOLDER, needs
from scipy.spatial.transform import Rotation

from aiida_ufpnmr.engine.dataset import Dataset, read_dataset
from aiida_ufpnmr.engine.efg import EfgModel, EfgSettings, fit_efg_model
from aiida_ufpnmr.engine.efg.descriptors import Expansion, equivariant_features, invariant_features
from aiida_ufpnmr.engine.efg.domain import SHARE, Domain, Moments
from aiida_ufpnmr.engine.efg.environments import Environments
from aiida_ufpnmr.engine.efg.posterior import frequency_error_khz, variances
from aiida_ufpnmr.engine.efg.prediction import predict_labelled
from aiida_ufpnmr.engine.efg.problem import EfgProblem
from aiida_ufpnmr.engine.efg.sparse import SparseKernel, farthest_points, sum_kernels, tensor_kernel
from aiida_ufpnmr.engine.efg.tensors import quadrupolar_frequency, to_irreps
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.regression import penalties
from aiida_ufpnmr.engine.regression.compressed_rows import CompressedRows, RidgeSolution

LINEAR = EfgSettings(cutoff=4.5, n_max=4, l_max=4, mixed_channels=5, folds=4)
KERNEL = EfgSettings(cutoff=4.5, n_max=4, l_max=4, mixed_channels=5, folds=4, zeta=2, sparse_points=40)


def ill_conditioned(n=300, columns=40):
    """Rows whose singular values span seven decades."""
    rng = np.random.default_rng(0)
    left, right = (np.linalg.qr(rng.normal(size=(m, columns)))[0] for m in (n, columns))
    rows = left * np.logspace(0, -7, columns) @ right.T
    return rows, rows @ rng.normal(size=columns) + 1e-9 * rng.normal(size=n)


def test_ridge_keeps_the_digits_of_a_qr_where_normal_equations_lose_them():
    rows, targets = ill_conditioned()
    penalty = 1e-13
    stacked = np.vstack([rows, np.sqrt(penalty) * np.eye(rows.shape[1])])
    reference = np.linalg.lstsq(stacked, np.append(targets, np.zeros(rows.shape[1])), rcond=None)[0]
    gram = rows.T @ rows + penalty * np.eye(rows.shape[1])
    naive = np.linalg.solve(gram, rows.T @ targets)
    compressed = CompressedRows(rows.shape[1])
    compressed.add(rows, targets)
    error = lambda w: np.linalg.norm(w - reference) / np.linalg.norm(reference)  # noqa: E731
    ours = error(RidgeSolution([compressed], penalty).weights)
    # condition number 3e6 times rounding, against its square times rounding
    assert ours < 1e-8 and ours < 1e-2 * error(naive)


def test_compressed_rows_have_the_squared_error_of_all_rows():
    rng = np.random.default_rng(1)
    rows, targets, weights = rng.normal(size=(500, 12)), rng.normal(size=500), rng.normal(size=12)
    compressed = CompressedRows(12)
    for start in range(0, 500, 7):
        compressed.add(rows[start : start + 7], targets[start : start + 7])
    assert len(compressed.rows) <= 36 + 7
    np.testing.assert_allclose(compressed.squared_error(weights), np.sum((rows @ weights - targets) ** 2), rtol=1e-12)
    np.testing.assert_allclose(compressed.gram, rows.T @ rows, rtol=1e-10, atol=1e-10)


def test_whitening_gives_the_inverse_of_the_normal_matrix():
    rng = np.random.default_rng(2)
    rows = rng.normal(size=(30, 6))
    compressed = CompressedRows(6)
    compressed.add(rows, np.zeros(30))
    whitening = RidgeSolution([compressed], 0.5).whitening
    np.testing.assert_allclose(whitening.T @ whitening, np.linalg.inv(rows.T @ rows + 0.5 * np.eye(6)), atol=1e-7)


def test_farthest_points_are_far_from_each_other_and_taken_once():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(200, 3))
    features /= np.linalg.norm(features, axis=1)[:, None]
    features[100:] = features[:100]  # each there twice
    chosen = farthest_points(features, 20)
    distance = lambda i: np.linalg.norm(features[i][:, None] - features[i], axis=2)  # noqa: E731
    apart = distance(chosen)[~np.eye(20, dtype=bool)].min()
    at_random = np.sort(distance(rng.permutation(100)[:20])[~np.eye(20, dtype=bool)])[0]
    assert apart > 2 * at_random
    # each step takes the farthest there is
    for k in range(1, 20):
        to_chosen = np.linalg.norm(features[:, None] - features[chosen[:k]], axis=2).min(axis=1)
        assert to_chosen[chosen[k]] > to_chosen.max() - 1e-9
    assert len(farthest_points(features, 150)) == 100


def made_up_environments(n, seed):
    rng = np.random.default_rng(seed)
    equivariant, invariant = rng.normal(size=(n, 5, 9)), rng.normal(size=(n, 6))
    return equivariant, invariant / np.linalg.norm(invariant, axis=1)[:, None]


@pytest.mark.parametrize('zeta', [1, 2, 3])
def test_sparse_kernel_regression_equals_the_textbook(zeta):
    """Projected-process regression written with kernel matrices (Rasmussen & Williams, eqns 8.14 and 8.15)."""
    e, p = made_up_environments(12, 0)
    x, q = made_up_environments(7, 1)
    m, noise = 5, 0.1
    y = np.random.default_rng(2).normal(size=60)
    space = SparseKernel.of(e[:m], p[:m], zeta)
    rows = CompressedRows(space.n_columns)
    rows.add(space.rows(e, p).reshape(60, -1), y)
    solution = RidgeSolution([rows], noise)
    kmm = tensor_kernel(e[:m], p[:m], e[:m], p[:m], zeta)
    kmn, kmx = tensor_kernel(e[:m], p[:m], e, p, zeta), tensor_kernel(e[:m], p[:m], x, q, zeta)
    inner = kmn @ kmn.T + noise * kmm
    mean = kmx.T @ np.linalg.solve(inner, kmn @ y)
    phi = space.rows(x, q)
    np.testing.assert_allclose((phi @ solution.weights).ravel(), mean, rtol=1e-8)
    np.testing.assert_allclose(
        sum_kernels(x, q, space.directions(solution.weights), p[:m], zeta).ravel(), mean, rtol=1e-8
    )
    kxx = np.diag(tensor_kernel(x, q, x, q, zeta))
    variance = kxx - np.diag(kmx.T @ np.linalg.solve(kmm, kmx)) + noise * np.diag(kmx.T @ np.linalg.solve(inner, kmx))
    ours = noise * np.sum((phi.reshape(35, -1) @ solution.whitening.T.astype(float)) ** 2, axis=1).reshape(7, 5).mean(1)
    ours += space.unexplained(x, phi)
    np.testing.assert_allclose(ours, variance.reshape(7, 5).mean(axis=1), rtol=1e-5)  # single precision


@pytest.fixture(scope='module')
def shipped(example_data):
    return read_dataset(example_data, ('efg',), 'Li')


@pytest.fixture(scope='module')
def some(shipped):
    return shipped.subset(range(0, 73, 4))


@pytest.fixture(scope='module', params=[LINEAR, KERNEL], ids=['linear', 'kernel'])
def fitted(request, some):
    return fit_efg_model(some, 'Li', request.param)[0]


def test_sa_gpr_turns_with_the_structure_and_stays_under_inversion(fitted, crystal):
    v = fitted.predict(crystal)
    for turn in (Rotation.random(random_state=3).as_matrix(), -np.eye(3)):
        turned = crystal.copy()
        turned.set_cell(crystal.cell.array @ turn.T, scale_atoms=False)
        turned.positions = crystal.positions @ turn.T
        np.testing.assert_allclose(fitted.predict(turned), turn @ v @ turn.T, atol=1e-10 * np.abs(v).max())


def test_errors_and_grades_do_not_depend_on_the_frame_of_reference(fitted, crystal):
    before = fitted.predict_with_errors(crystal)
    turn = Rotation.random(random_state=4).as_matrix()
    turned = crystal.copy()
    turned.set_cell(crystal.cell.array @ turn.T, scale_atoms=False)
    turned.positions = crystal.positions @ turn.T
    after = fitted.predict_with_errors(turned)
    np.testing.assert_allclose(after.error, before.error, rtol=1e-3)  # single precision
    np.testing.assert_allclose(after.grade, before.grade, rtol=1e-6)
    assert before.error.shape == before.grade.shape == (12,) and (before.error > 0).all()
    np.testing.assert_array_equal(before.tensors, fitted.predict(crystal))


def test_a_saved_model_tells_the_same_errors(fitted, crystal, tmp_path):
    fitted.save(tmp_path / 'm.h5')
    loaded = EfgModel.load(tmp_path / 'm.h5')
    ours, theirs = fitted.predict_with_errors(crystal), loaded.predict_with_errors(crystal)
    for name in ('tensors', 'error', 'grade'):
        np.testing.assert_array_equal(getattr(theirs, name), getattr(ours, name))


def test_without_posterior_errors_are_refused_and_tensors_stay(fitted, some, crystal, tmp_path):
    small, _ = fit_efg_model(some, 'Li', fitted.settings, keep_posterior=False)
    np.testing.assert_array_equal(small.predict(crystal), fitted.predict(crystal))
    with pytest.raises(InputError, match='--no-posterior'):
        small.predict_with_errors(crystal)
    fitted.save(tmp_path / 'a.h5')
    small.save(tmp_path / 'b.h5')
    assert (tmp_path / 'b.h5').stat().st_size < (tmp_path / 'a.h5').stat().st_size


def test_messages_weigh_as_much_as_the_density_and_both_ranks_the_same(some):
    problem = EfgProblem.of(some, 'Li', LINEAR)
    density, messages = np.split(
        problem.design.rows(Environments.joined(problem.environments))[0], [-problem.design.messages], axis=2
    )
    assert (density**2).sum(axis=2).mean() == pytest.approx(1)
    assert (messages**2).sum(axis=2).mean() == pytest.approx(1)
    ranks = messages.reshape(len(messages), 5, 3, 5, 4, -1)  # species, pairs, radial functions, channels
    assert (ranks[:, :, :, :2] ** 2).sum(axis=(2, 3, 4, 5)).mean() == pytest.approx(0.5)


def test_variance_is_that_of_the_bayesian_linear_model(some):
    problem = EfgProblem.of(some, 'Li', LINEAR)
    solution = RidgeSolution([problem.compressed(range(len(some)))], 0.05)
    rows = np.concatenate([problem.design.rows(x)[0] for x in problem.environments])
    flat = rows.reshape(-1, rows.shape[2])
    inverse = np.linalg.inv(flat.T @ flat + 0.05 * np.eye(flat.shape[1]))
    expected = 0.05 * np.einsum('imf,fg,img->i', rows[:12], inverse, rows[:12]) / 5
    found = variances(problem.design, solution.whitening, 0.05, problem.environments[0])
    np.testing.assert_allclose(found, expected, rtol=1e-4)  # single precision


def test_error_of_a_frequency_follows_from_that_of_the_components():
    rng = np.random.default_rng(0)
    from aiida_ufpnmr.engine.efg.tensors import from_irreps

    tensors = from_irreps(rng.normal(0, 1e-3, (40000, 5)))
    spread = quadrupolar_frequency(tensors, (1.0, -2.0, 0.5)).std()
    # relative standard error of a standard deviation from 40 000 numbers: 0.35 %
    np.testing.assert_allclose(frequency_error_khz(1e-3, '7Li'), spread, rtol=0.015)


def test_domain_is_the_regularised_mahalanobis_distance(some):
    problem = EfgProblem.of(some, 'Li', LINEAR)
    domain = Domain.of([Moments(problem.environments[:9]), Moments(problem.environments[9:])])
    features = np.concatenate([invariant_features(x.density) for x in problem.environments])
    covariance = np.cov(features.T, bias=True)
    covariance[np.diag_indices(len(covariance))] += SHARE * np.trace(covariance)
    apart = features - features.mean(axis=0)
    expected = np.einsum('if,fg,ig->i', apart, np.linalg.inv(covariance), apart)
    found = np.concatenate([domain.squared_distances(x) for x in problem.environments])
    # directions of negligible variance are taken as one
    np.testing.assert_allclose(found, expected, rtol=0.01)


def test_errors_hold_on_withheld_groups(some):
    _, results = fit_efg_model(some, 'Li', LINEAR)
    found = results['calibration']
    # 10 points of the fractions of a Gaussian
    assert abs(found['fraction_within_1_sigma'] - 0.683) < 0.1
    assert abs(found['fraction_within_2_sigma'] - 0.954) < 0.1


def test_expected_errors_hold_whatever_penalties_the_folds_choose(some, monkeypatch):
    """Variances grow with the penalty: those that calibrate must be of the penalty that the model has."""
    expected = []
    for fold_penalty in (0.01, 0.1):
        monkeypatch.setattr(
            penalties, '_chosen_penalties', lambda errors, _, p=fold_penalty: ([p] * errors.shape[1], 0.01)
        )
        model, _ = fit_efg_model(some, 'Li', LINEAR)
        expected.append(np.concatenate([model.predict_with_errors(atoms).error for atoms in some]))
    # the withheld errors themselves differ by some per cent between the penalties
    np.testing.assert_allclose(expected[1], expected[0], rtol=0.2)


def test_a_melt_is_told_from_a_crystal(shipped):
    """Fitted to crystals: errors grow in melts, and most ions there are flagged."""
    kind = np.array([group.split('_')[0] for group in shipped.groups])
    crystals = shipped.subset(np.flatnonzero((kind == 'beta') | (kind == 'gamma')))
    melts = shipped.subset(np.flatnonzero(np.char.startswith(kind, 'melt')))
    model, _ = fit_efg_model(crystals, 'Li', EfgSettings(l_max=4, mixed_channels=8))
    inside, outside = (predict_labelled(model, data) for data in (crystals, melts))
    assert np.mean(np.concatenate(outside.error)) > 1.3 * np.mean(np.concatenate(inside.error))
    assert (np.concatenate(outside.grade) > 1).mean() > 0.5
    assert (np.concatenate(inside.grade) > 1).mean() < 0.05


def test_an_ion_far_from_all_others_has_no_gradient_and_is_flagged(fitted):
    found = fitted.predict_with_errors(Atoms('Li', positions=[[0, 0, 0]]))
    np.testing.assert_allclose(found.tensors, 0, atol=1e-12)
    assert np.isfinite(found.error).all() and found.grade[0] > 1


@pytest.mark.slow
@needs('sagpr')
def test_polarizabilities_of_water_are_learnt_as_well_as_published():
    """The set and the split of TENSOAP: 200 monomers train, 800 test, the surroundings of O alone."""
    frames = ase.io.read(FOLDER / 'sagpr' / 'water_monomer_coords_1000.xyz', ':')
    alpha = np.array([np.reshape(atoms.info['alpha'], (3, 3)) for atoms in frames])
    e = Expansion(('H', 'O'), 4.0, 0.5, 8, 6, 0.3, 1.0, 0.0)
    coefficients = np.concatenate([
        e.coefficients(a.positions, np.zeros((3, 3)), np.zeros(3, bool), e.species_indices(a.numbers),
                       np.flatnonzero(a.numbers == 8)) for a in frames
    ])  # fmt: skip
    invariant = invariant_features(coefficients)
    cases = {
        # λ, what stands for it, features, largest RMSE in a.u.; measured 0.0018 and 0.0008
        0: (np.trace(alpha, axis1=1, axis2=2)[:, None] / np.sqrt(3), invariant[:, None], 0.0050),
        2: (to_irreps(alpha), equivariant_features(coefficients), 0.0030),
    }
    train, test = slice(0, 200), slice(200, 1000)
    for rank, (labels, features, limit) in cases.items():
        mean = labels[train].mean(axis=0) if rank == 0 else 0.0
        points = farthest_points(invariant[train], 200)
        space = SparseKernel.of(features[points], invariant[points], 2)
        rows = CompressedRows(space.n_columns)
        design = space.rows(features[train], invariant[train]).reshape(-1, space.n_columns)
        rows.add(design, (labels[train] - mean).ravel())
        scale = np.mean(features[train] ** 2)
        best = _best_penalty(space, features[train], invariant[train], labels[train] - mean, scale)
        weights = RidgeSolution([rows], best).weights
        predicted = space.rows(features[test], invariant[test]) @ weights + mean
        assert np.sqrt(np.mean((predicted - labels[test]) ** 2)) < limit, rank


def _best_penalty(space, features, invariant, labels, scale):
    """Five-fold cross-validation over the training monomers."""
    parts = []
    for f in range(5):
        part = CompressedRows(space.n_columns)
        chosen = slice(f, None, 5)
        part.add(space.rows(features[chosen], invariant[chosen]).reshape(-1, space.n_columns), labels[chosen].ravel())
        parts.append(part)

    def error(penalty):
        fits = [RidgeSolution(parts[:f] + parts[f + 1 :], penalty) for f in range(5)]
        return sum(part.squared_error(fit.weights) for part, fit in zip(parts, fits))

    return min((scale * 10.0**-k for k in range(2, 8)), key=error)


def test_labels_that_are_no_gradients_are_refused_by_atom(some):
    def spoilt(change):
        copies = [atoms.copy() for atoms in some.subset(range(4))]
        change(copies[2].arrays['efg'])
        return Dataset(tuple(copies), 'mine.extxyz')

    def trace(efg):
        efg[3] += 0.02 * np.eye(3)

    def skew(efg):
        efg[3, 0, 1] += 0.02

    def unit(efg):
        efg *= 97.17

    def unit_of_one(efg):
        efg[3] *= 97.17

    def si(efg):
        efg *= 9.717e21

    other = 'in another unit'
    cases = {
        trace: 'atom 3: its efg has a trace',
        skew: 'atom 3: its efg is not symmetric',
        unit: other,
        unit_of_one: other,
        si: other,
    }
    for change, words in cases.items():
        with pytest.raises(InputError, match=f'mine.extxyz, structure 2.*{words}') as caught:
            fit_efg_model(spoilt(change), 'Li', LINEAR)
        assert '\n' not in str(caught.value)


def test_half_of_a_set_or_a_test_set_in_another_unit_is_found(some):
    def scaled(structures, factor):
        copies = [atoms.copy() for atoms in structures]
        for atoms in copies:
            atoms.arrays['efg'] *= factor
        return copies

    half = [*some.subset(range(4)), *scaled(some.subset(range(4, 8)), 97.17)]
    with pytest.raises(InputError, match=r'mine.extxyz, structure \d.* in another unit'):
        fit_efg_model(Dataset(tuple(half), 'mine.extxyz'), 'Li', LINEAR)
    test = Dataset(tuple(scaled(some.subset(range(4)), 97.17)), 'test.extxyz')
    with pytest.raises(InputError, match=r'test.extxyz: efg is .* the training set, as if in another unit'):
        fit_efg_model(some.subset(range(8)), 'Li', LINEAR, test)
    with pytest.raises(InputError, match='mine.extxyz: every efg of Li is zero'):
        fit_efg_model(Dataset(tuple(scaled(some.subset(range(4)), 0.0)), 'mine.extxyz'), 'Li', LINEAR)

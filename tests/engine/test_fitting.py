"""Claims about the fit of a potential: its equations, their continuation, tuning, learning curves."""

import dataclasses
import json

import numpy as np
import pytest
import scipy.sparse as sparse
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from click.testing import CliRunner

from aiida_ufpnmr.engine.dataset import Dataset, read_dataset, write_dataset
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.main import ufpnmr
from aiida_ufpnmr.engine.regression.learning import FRACTIONS
from aiida_ufpnmr.engine.regression.normal_equations import NormalEquations
from aiida_ufpnmr.engine.regression.tuning import Coordinate
from aiida_ufpnmr.engine.settings import read_settings
from aiida_ufpnmr.engine.ufp import PotentialSettings, UltraFastPotential
from aiida_ufpnmr.engine.ufp.continuation import SavedEquations
from aiida_ufpnmr.engine.ufp.fitting import run_fit
from aiida_ufpnmr.engine.ufp.front import (
    CUTOFFS,
    FEWEST_INTERVALS,
    MOST_INTERVALS,
    PROTOCOLS,
    Reach,
    count_triplets,
    search_front,
)
from aiida_ufpnmr.engine.ufp.learning import learning_curve
from aiida_ufpnmr.engine.ufp.problem import Problem, closest_distances
from aiida_ufpnmr.engine.ufp.splines import Grid
from aiida_ufpnmr.engine.ufp.tuning import cross_validate, tune

SETTINGS = PotentialSettings(bond_intervals=4, third_intervals=6, pair_intervals=10)


@pytest.fixture(scope='module')
def labelled(example_data):
    """Twelve of the shipped structures, of four groups."""
    return read_dataset(example_data).subset([0, 1, 2, 8, 9, 10, 36, 37, 38, 65, 66, 67])


@pytest.fixture(scope='module')
def problem(labelled):
    return Problem.of(labelled, SETTINGS)


def dense(problem, indices):
    """Normal equations without batches and without leaving out columns."""
    matrix, vector = np.zeros((problem.basis.n_columns,) * 2), np.zeros(problem.basis.n_columns)
    for rows in problem.rows(indices):
        weighted = rows.design * rows.weights
        matrix += weighted @ weighted.T
        vector += weighted @ (rows.labels * rows.weights)
    return matrix, vector


def test_equations_do_not_depend_on_how_many_cores_there_are(problem, monkeypatch):
    found = []
    for cores in ({0}, {0, 1, 2}):
        monkeypatch.setattr('os.sched_getaffinity', lambda _, cores=cores: cores)
        found.append(problem.equations(range(12)))
    np.testing.assert_array_equal(found[0].matrix, found[1].matrix)
    np.testing.assert_array_equal(found[0].vector, found[1].vector)


def test_batched_equations_are_the_sum_over_all_rows(problem):
    matrix, vector = dense(problem, range(12))
    found = problem.equations(range(12))
    # float64 sums in another order
    np.testing.assert_allclose(np.tril(found.matrix), np.tril(matrix), atol=1e-10 * matrix.max())
    np.testing.assert_allclose(found.vector, vector, atol=1e-10 * abs(vector).max())


def test_equations_of_parts_add_up_and_a_part_can_be_left_out(problem):
    parts = [problem.equations(members) for members in (range(4), range(4, 9), range(9, 12))]
    matrix, vector = dense(problem, [0, 1, 2, 3, 9, 10, 11])
    without = problem.total(parts, without=1)
    np.testing.assert_allclose(np.tril(without.matrix), np.tril(matrix), atol=1e-10 * matrix.max())
    np.testing.assert_allclose(without.vector, vector, atol=1e-10 * abs(vector).max())


def test_solution_minimises_residuals_plus_penalty(problem):
    matrix, vector = dense(problem, range(12))
    regularised = matrix + problem.penalty.toarray()
    solution = problem.equations(range(12)).solve(problem.penalty)
    gradient = regularised @ solution.coefficients - vector
    # a Cholesky solution is backward stable: what is left of the gradient is round-off of the products
    assert np.linalg.norm(gradient) < 1e-12 * np.linalg.norm(regularised) * np.linalg.norm(solution.coefficients)
    scale = 1 / np.sqrt(np.diag(regularised))
    # eigenvalues to 1e-3, the smaller one with round-off of the largest: 1e-16 times the condition number of 1e7
    assert solution.condition_number() == pytest.approx(np.linalg.cond(regularised * scale[:, None] * scale), rel=1e-2)


def test_effective_degrees_of_freedom_are_the_trace_of_the_hat_matrix(problem):
    matrix, _ = dense(problem, range(12))
    exact = np.trace(np.linalg.solve(matrix + problem.penalty.toarray(), matrix))
    found = run_fit(problem).results['effective_degrees_of_freedom']
    assert found == pytest.approx(exact, rel=1e-6)
    assert 0 < found < min(problem.basis.n_columns, 12 * 103)


def test_singular_equations_are_reported():
    equations = NormalEquations(3)
    equations.matrix[:] = np.tril(np.ones((3, 3)))
    with pytest.raises(InputError, match='singular'):
        equations.solve(sparse.csc_matrix((3, 3)))


def test_data_added_later_give_the_fit_of_all_data_at_once(tmp_path, labelled):
    """With grids and reference energies of the first part, which a continuation keeps."""
    first, second = labelled.subset(range(7)), labelled.subset(range(7, 12))
    # the first part holds the shorter distances if asked to: take grids from the whole set for both
    whole = Problem.of(labelled, SETTINGS)
    start = Problem(first, whole.basis, whole.one_body, whole.penalty, whole.settings, first.content_hash)
    run_fit(start, keep_equations=True).equations.save(tmp_path / 'first.h5')
    continued = run_fit(Problem.adding(second, SavedEquations.load(tmp_path / 'first.h5')), keep_equations=True)
    at_once = run_fit(whole)
    one, other = at_once.potential, continued.potential
    numbers = [(one.one_body, other.one_body), (one.closest_distance, other.closest_distance)]
    for kind in ('pairs', 'triplets'):
        for name, term in getattr(one, kind).items():
            numbers.append((term.coefficients, getattr(other, kind)[name].coefficients))
    for expected, found in numbers:
        # one linear problem, its rows summed in another order; condition number about 1e6
        np.testing.assert_allclose(found, expected, atol=1e-7 * max(1.0, abs(expected).max()))
    assert continued.results['structures'] == 12
    assert continued.results['rows'] == at_once.results['rows']
    assert continued.results['training_sha256'] not in (first.content_hash, second.content_hash)
    np.testing.assert_allclose(
        continued.equations.equations.vector, whole.equations(range(12)).vector, rtol=1e-6, atol=1e-6
    )


def test_data_that_do_not_fit_the_basis_are_refused(labelled):
    saved = run_fit(Problem.of(labelled, SETTINGS), keep_equations=True).equations
    closest = closest_distances(labelled, labelled.species, 6.0)
    saved.check(labelled, closest)
    near = closest.copy()
    near[0, 2] = near[2, 0] = 0.4 * closest[0, 2]
    with pytest.raises(InputError, match=r'Li-S of .* below the grids'):
        saved.check(labelled, near)
    foreign = Atoms('LiCl', positions=[[0, 0, 0], [2.4, 0, 0]], cell=[8, 8, 8], pbc=True)
    foreign.calc = SinglePointCalculator(foreign, energy=-1.0, forces=np.zeros((2, 3)))
    with pytest.raises(InputError, match='holds Cl'):
        saved.check(Dataset((foreign,)), closest)


def test_a_resample_counts_every_group_as_often_as_it_was_drawn(labelled):
    whole = Problem.of(labelled, dataclasses.replace(SETTINGS, resample=3))
    drawn = whole.resampled()
    assert drawn.basis is whole.basis
    groups = np.array(labelled.groups)
    counts = {name: drawn.dataset.groups.count(name) / np.sum(groups == name) for name in np.unique(groups)}
    assert sum(counts.values()) == 4 and max(counts.values()) > 1  # as many as there are, one of them twice at least
    total = NormalEquations(whole.basis.n_columns)
    for name, count in counts.items():
        assert count == int(count)
        for _ in range(int(count)):
            total += whole.equations(np.flatnonzero(groups == name))
    found = drawn.equations(range(len(drawn.dataset)))
    # float64 sums in another order
    np.testing.assert_allclose(np.tril(found.matrix), np.tril(total.matrix), atol=1e-10 * total.matrix.max())
    np.testing.assert_allclose(found.vector, total.vector, atol=1e-10 * abs(total.vector).max())


def test_structures_without_groups_are_resampled_by_blocks_that_stay_together(example_data):
    shipped = read_dataset(example_data)
    unnamed = Dataset(tuple(Atoms(a.numbers, a.positions, cell=a.cell, pbc=True, calculator=a.calc) for a in shipped))
    drawn = unnamed.resampled(0)
    block = {id(atoms.calc): name for atoms, name in zip(unnamed, unnamed.groups)}
    assert drawn.groups == [block[id(atoms.calc)] for atoms in drawn]
    assert 1 < len(set(drawn.groups)) < len(set(unnamed.groups))


def test_what_cannot_be_resampled_is_refused(labelled):
    settings = dataclasses.replace(SETTINGS, resample=0)
    with pytest.raises(InputError, match='single group cannot be resampled'):
        run_fit(Problem.of(labelled.subset([0, 1]), settings))
    lithium = Atoms('Li2', positions=[[0, 0, 0], [2.6, 0, 0]], cell=[8, 8, 8], pbc=True)
    lithium.calc = SinglePointCalculator(lithium, energy=-1.0, forces=np.zeros((2, 3)))
    lithium.info['config_type'] = 'lithium'
    both = Dataset((labelled.structures[0], lithium))
    problems = [Problem.of(both, dataclasses.replace(SETTINGS, resample=seed)) for seed in range(8)]
    with pytest.raises(InputError, match='hold no P; choose another seed'):
        for problem in problems:  # one in four draws the lithium twice
            problem.resampled()


def test_tuning_measures_structures_by_fits_that_did_not_see_them(problem, labelled):
    folds = labelled.folds(SETTINGS.folds, SETTINGS.seed)
    found = cross_validate(problem, folds, problem.parts(folds))
    by_force, by_energy = [], []
    for members in folds:
        matrix, vector = dense(problem, np.setdiff1d(np.arange(12), members))
        coefficients = np.linalg.solve(matrix + problem.penalty.toarray(), vector)
        for rows in problem.rows(members):
            error = coefficients @ rows.design - rows.labels
            by_force.append(error[7:])
            by_energy.append(error[0] / 32)
    # two solutions of equations with a condition number of about 1e6, one unscaled
    assert found.forces == pytest.approx(1000 * np.sqrt(np.mean(np.square(by_force))), rel=1e-5)
    assert found.energy == pytest.approx(1000 * np.sqrt(np.mean(np.square(by_energy))), rel=1e-5)


def test_tuning_only_accepts_what_lowers_the_withheld_errors(example_data):
    """Begun with bonds cut off: pairs alone to 2 Å."""
    poor = PotentialSettings(bond_intervals=4, third_intervals=6, pair_intervals=8, pair_cutoff=2.0, ridge_triplet=1e9)
    grid = {'pair_cutoff': (2.0, 6.0), 'ridge_pair': (1e-2, 1e-1)}
    labelled = read_dataset(example_data).subset(range(0, 73, 4))
    chosen, report = tune(labelled, poor, grid, sweeps=1)
    assert chosen.pair_cutoff == 6.0
    assert report['changed']['pair_cutoff'] == 6.0
    assert report['forces_rmse_meV_per_angstrom'] < report['forces_rmse_meV_per_angstrom_before']
    measured = {(t['pair_cutoff'], t['ridge_pair']): t['forces_rmse_meV_per_angstrom'] for t in report['trials']}
    assert measured[chosen.pair_cutoff, chosen.ridge_pair] == report['forces_rmse_meV_per_angstrom']
    assert tune(labelled, poor, grid, sweeps=1)[0] == chosen


def test_an_entry_of_a_centre_is_for_its_triplets_that_have_none_of_their_own():
    settings = PotentialSettings(triplet_cutoff={'S': 5.0, 'S-P-Li': 4.5, 'default': 3.5})
    for triplet, cutoff in ((('S', 'S', 'S'), 5.0), (('S', 'Li', 'P'), 4.5), (('P', 'S', 'S'), 3.5)):
        assert settings.of_triplet('triplet_cutoff', triplet) == cutoff


def test_triplets_are_counted_as_pairs_of_neighbours(labelled):
    atoms = labelled.structures[0].repeat((3, 3, 3))
    distances, symbols = atoms.get_all_distances(mic=True), np.array(atoms.get_chemical_symbols())
    for c, cutoff in enumerate((3.0, 4.0)):
        near = (distances < cutoff).sum(axis=1) - 1
        for symbol, total in count_triplets(labelled.subset([0]), (3.0, 4.0)).items():
            assert total[c] == pytest.approx(np.sum((near * (near - 1) / 2)[symbols == symbol]) / len(atoms))


def test_the_front_is_what_nothing_beats_and_protocols_are_points_of_it(labelled):
    settings = dataclasses.replace(SETTINGS, folds=2)
    chosen = {}
    for protocol in PROTOCOLS:
        chosen[protocol], report = search_front(labelled, settings, protocol)
    points, key = report['points'], 'forces_rmse_meV_per_angstrom'
    for point in points:
        assert set(point['triplet_cutoff_angstrom'].values()) <= set(CUTOFFS)
        cheaper = [other for other in points if other['triplets_per_atom'] <= point['triplets_per_atom']]
        assert point['on_front'] == (point[key] == min(other[key] for other in cheaper))
    by_protocol = {name: point for point in points for name in point['protocols']}
    assert set(by_protocol) == set(PROTOCOLS)
    assert by_protocol['fast'][key] >= by_protocol['balanced'][key] >= by_protocol['stringent'][key]
    assert by_protocol['stringent'][key] == min(point[key] for point in points)
    for protocol, found in chosen.items():
        assert found.triplet_cutoff == by_protocol[protocol]['triplet_cutoff_angstrom']
        assert dataclasses.replace(found, triplet_cutoff=settings.triplet_cutoff) == settings
    # its errors are those of a cross-validation with these cut-offs
    problem, folds = Problem.of(labelled, chosen['stringent']), labelled.folds(2, settings.seed)
    parts = [problem.equations(members) for members in folds]
    assert by_protocol['stringent'][key] == cross_validate(problem, folds, parts).forces


def test_intervals_may_differ_by_centre_and_third_sides_follow_them(labelled, problem):
    by_centre = dataclasses.replace(SETTINGS, bond_intervals={'P': 5, 'default': 4}, third_intervals=None)
    basis = Problem.of(labelled, by_centre).basis
    for (centre, *_), grids in basis.triplets.items():
        assert [grid.n_intervals for grid in grids] == ([5, 5, 7] if centre == 'P' else [4, 4, 6])
    alike = Problem.of(labelled, dataclasses.replace(SETTINGS, bond_intervals={'P': 4, 'default': 4})).basis
    assert alike.triplets == problem.basis.triplets and alike.n_columns == problem.basis.n_columns
    # what is left open is as fine as the data carry
    chosen = Problem.of(labelled, PotentialSettings()).settings.bond_intervals
    filled = Problem.of(labelled, PotentialSettings(bond_intervals={'P': 7})).settings
    assert filled.bond_intervals['P'] == 7 and filled.bond_intervals['default'] <= chosen
    with pytest.raises(ValueError, match='bond_intervals must lie between 4 and 100'):
        PotentialSettings(bond_intervals={'P': 2})


def test_a_search_with_intervals_takes_those_that_lower_the_error_and_measures_the_front(labelled, monkeypatch):
    monkeypatch.setattr('aiida_ufpnmr.engine.ufp.front.CUTOFFS', (3.5, 4.0))
    settings = dataclasses.replace(SETTINGS, folds=2, third_intervals=None)
    timed = []

    def speed(potential):
        timed.append(potential)
        return 1e6 / len(timed)

    chosen, report = search_front(labelled, settings, 'stringent', intervals=True, speed=speed)
    points, key = report['points'], 'forces_rmse_meV_per_angstrom'
    assert {number for point in points for number in point['bond_intervals'].values()} > {4}
    assert min(points, key=lambda point: point[key])['protocols'][-1] == 'stringent'
    assert len(timed) == sum('atom_steps_per_second' in point for point in points)
    assert all(point['on_front'] == ('atom_steps_per_second' in point) for point in points)
    for symbol, number in report['bond_intervals'].items():
        assert chosen.entry('bond_intervals', symbol, 'default') == number
        assert chosen.entry('triplet_cutoff', symbol) == report['triplet_cutoff_angstrom'][symbol]
    problem, folds = Problem.of(labelled, chosen), labelled.folds(2, settings.seed)
    parts = [problem.equations(members) for members in folds]
    # the search solves with one thread of BLAS, which rounds otherwise than several
    assert min(point[key] for point in points) == pytest.approx(cross_validate(problem, folds, parts).forces, rel=1e-9)


def test_a_search_of_reach_says_what_lies_at_an_edge():
    inside, longest = CUTOFFS[1], CUTOFFS[-1]
    reach = Reach(('Li', 'S'), (inside, longest), (FEWEST_INTERVALS, 6))
    assert reach.ends(()) == {'triplet_cutoff S': 'upper edge', 'bond_intervals Li': 'lower edge'}
    finer = dataclasses.replace(reach, intervals=(FEWEST_INTERVALS, 7))
    assert reach.ends({finer})['bond_intervals S'] == 'upper edge'
    assert {step.cutoffs for step in reach.steps()} == {reach.cutoffs, (CUTOFFS[2], longest)}
    assert {step.intervals for step in reach.steps()} == {reach.intervals, (5, 6), (4, 7), (4, 5)}
    assert not [step for step in Reach(('P',), (longest,), (MOST_INTERVALS,)).steps() if step.intervals[0] > 10]


def test_every_entry_of_a_mapping_is_tuned(example_data):
    labelled = read_dataset(example_data).subset(range(0, 73, 6))
    settings = PotentialSettings(
        bond_intervals=4,
        third_intervals=6,
        pair_intervals=8,
        pair_cutoff={'default': 6.0, 'P-S': 2.2},
        ridge_triplet=1e9,
    )
    coordinates = Coordinate.all_of(settings, ('pair_cutoff', 'pair_intervals'))
    assert [(c.name, c.entry, c.value(settings)) for c in coordinates] == [
        ('pair_cutoff', 'default', 6.0), ('pair_cutoff', 'P-S', 2.2), ('pair_intervals', None, 8)
    ]  # fmt: skip
    # the bonds are stretched to 2.2 Å and more: a cut-off there costs
    chosen, report = tune(labelled, settings, {'pair_cutoff': (2.2, 5.0, 6.0)}, sweeps=1)
    assert chosen.pair_cutoff['P-S'] > 2.2 and chosen.pair_cutoff['default'] >= 5.0
    assert report['changed'] == {'pair_cutoff': chosen.pair_cutoff}


def test_settings_that_the_grids_cannot_follow_end_a_search_and_nothing_else(labelled):
    settings = PotentialSettings(bond_intervals=4, third_intervals=6, pair_intervals=10, folds=2)
    chosen, report = tune(labelled, settings, {'pair_intervals': (4, 10)}, sweeps=1)
    assert chosen.pair_intervals == 10 and len(report['trials']) == 1


def test_penalties_may_differ_by_pair_and_triplet(labelled):
    """A pair and a triplet that are all but forbidden."""
    settings = dataclasses.replace(
        SETTINGS,
        ridge_pair={'S-Li': 1e9},
        ridge_triplet={'Li-S-P': 1e9},
        curvature_triplet={'default': 3.0, 'S-S-S': 5.0},
    )
    potential = run_fit(Problem.of(labelled, settings)).potential
    below = potential.pairs['Li', 'S'].grid.functions_below(potential.closest_distance[0, 2])
    assert abs(potential.pairs['Li', 'S'].coefficients[below:]).max() < 1e-3
    assert abs(potential.pairs['Li', 'P'].coefficients[below:]).max() > 1e-2
    assert abs(potential.triplets['Li', 'P', 'S'].coefficients).max() < 1e-5 < 1e-2
    assert abs(potential.triplets['Li', 'S', 'S'].coefficients).max() > 1e-2


@pytest.mark.parametrize('breaks', [np.linspace(1, 5, 9), [1.0, 1.2, 1.6, 2.0, 3.0, 3.1, 5.0]])
def test_second_differences_are_second_derivatives_at_the_knots(breaks):
    grid = Grid(tuple(np.asarray(breaks, float).tolist()))
    coefficients = np.random.default_rng(0).normal(size=grid.n_functions)
    expected = (4 / grid.n_intervals) ** 2 * grid.design_matrix(breaks, 2) @ coefficients
    np.testing.assert_allclose(grid.second_differences() @ coefficients, expected, atol=1e-10)
    if grid.is_uniform:
        plain = np.eye(9, 11) - 2 * np.eye(9, 11, 1) + np.eye(9, 11, 2)
        np.testing.assert_allclose(grid.second_differences(), plain, atol=1e-12)


@pytest.mark.parametrize(
    'text, message',
    [
        ('pair_cutoff: {Li-S: 6.0, S-Li: 5.0}', 'given twice'),
        ('pair_cutoff: {Li: 6.0}', 'does not name 2 elements'),
        ('triplet_cutoff: {Xx: 4.0}', 'does not name 3 elements'),
        ('triplet_cutoff: {Li-S-Xx: 4.0}', 'does not name 3 elements'),
        ('triplet_cutoff: {Li-S-S: 0.5}', 'must lie between 1 and 20'),
        ('pair_cutoff: {Li-S: far}', "'pair_cutoff', Li-S must be a finite number"),
        ('ridge_pair: {Li-S: -1}', 'must be positive'),
        ('pair_knots: {Li-S: [1, 2, 3]}', 'five or more ascending'),
        ('pair_knots: {Li-S: [1, 2, 2, 3, 4]}', 'five or more ascending'),
        ('pair_knots: [1, 2, 3, 4, 5]', 'name: value'),
        ('triplet_knots: {Li-S-S: [[1, 2, 3, 4, 5]]}', 'three lists'),
        ('triplet_knots: {Li-S-S: [[1, 2, 3, 4, 5], [1, 2, 3, 4, 6], [1, 2, 3, 4, 9]]}', 'must have the same knots'),
        ('short_range: morse', "short_range must be zbl or left out, not 'morse'"),
        ('curvature_pair: {Cl-S: 3.0}', 'names Cl, but the structures hold Li, P, S'),
    ],
)
def test_bad_entries_of_settings_are_refused_in_one_line(tmp_path, labelled, text, message):
    (tmp_path / 's.yaml').write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        read_settings(PotentialSettings, tmp_path / 's.yaml').check_species(labelled.species)
    assert '\n' not in str(caught.value)


def test_settings_by_pair_and_triplet_are_read_from_yaml(tmp_path):
    (tmp_path / 's.yaml').write_text(
        'pair_cutoff: {default: 7, Li-Li: 6}\nridge_pair: {S-Li: 1e-3}\ntriplet_cutoff: 4\n'
        'pair_knots:\n  P-S: [1, 1.5, 2, 3, 4]\n'
    )
    settings = read_settings(PotentialSettings, tmp_path / 's.yaml')
    assert settings.of_pair('pair_cutoff', ('Li', 'Li')) == 6.0 and settings.of_pair('pair_cutoff', ('Li', 'S')) == 7.0
    # an exponent without a point is text to YAML
    assert settings.of_pair('ridge_pair', ('Li', 'S')) == 1e-3
    assert settings.of_pair('ridge_pair', ('Li', 'P')) == PotentialSettings().ridge_pair
    assert settings.of_triplet('triplet_cutoff', ('Li', 'P', 'S')) == 4.0
    assert settings.stated_pair_knots(('S', 'P')) == [1.0, 1.5, 2.0, 3.0, 4.0]


def test_tuning_needs_groups(labelled):
    with pytest.raises(InputError, match='single group'):
        tune(labelled.subset([0, 1, 2]), SETTINGS)


def test_learning_curve_ends_at_the_withheld_error_of_the_whole_set(labelled, problem):
    curve = learning_curve(labelled, SETTINGS)
    folds = labelled.folds(SETTINGS.folds, SETTINGS.seed)
    forces = []
    for members in folds:
        others = np.setdiff1d(np.arange(12), members)
        coefficients = problem.equations(others).solve(problem.penalty).coefficients
        forces.append(1000 * np.sqrt(np.mean(problem.residuals(coefficients, members)[0] ** 2)))
    assert len(curve['structures']) == len(FRACTIONS)
    assert curve['structures'][-1] == np.mean([12 - len(members) for members in folds])
    assert curve['forces_rmse_meV_per_angstrom'][-1] == pytest.approx(np.mean(forces), rel=1e-6)
    # fewer structures are fitted more closely
    assert curve['train_forces_rmse_meV_per_angstrom'][-1] > curve['train_forces_rmse_meV_per_angstrom'][0]
    assert (np.diff(curve['structures']) >= 0).all()


@pytest.fixture
def files(tmp_path, labelled):
    """Two halves of the structures and a settings file of a small basis."""
    write_dataset(tmp_path / 'a.extxyz', labelled)
    write_dataset(tmp_path / 'b.extxyz', labelled.subset([1, 4, 7, 10]))
    (tmp_path / 's.yaml').write_text('bond_intervals: 4\nthird_intervals: 6\npair_intervals: 10\n')
    return tmp_path


def invoke(folder, *arguments):
    return CliRunner().invoke(ufpnmr, ['fit-potential', *(str(folder / a) if '.' in a else a for a in arguments)])


def test_command_reports_calibration_freedom_and_learning_curve(files):
    found = invoke(
        files,
        'a.extxyz',
        '-o',
        'p.h5',
        '--settings',
        's.yaml',
        '--learning-curve',
        '--plot',
        'f.png',
        '--json',
        'r.json',
    )
    assert found.exit_code == 0, found.output
    results = json.loads((files / 'r.json').read_text())
    assert {'fraction_within_1_sigma', 'fraction_within_2_sigma', 'slope'} <= set(results['calibration']['forces'])
    assert results['effective_degrees_of_freedom'] < results['columns']
    assert results['condition_number'] > 1
    assert len(results['learning_curve']['structures']) == len(FRACTIONS)
    assert (files / 'f.png').stat().st_size > 10_000
    assert UltraFastPotential.load(files / 'p.h5').posterior is not None


def test_tuning_shows_errors_against_measured_speed(files, monkeypatch):
    monkeypatch.setattr('aiida_ufpnmr.engine.ufp.front.CUTOFFS', (3.5, 4.0))
    monkeypatch.setattr(
        'aiida_ufpnmr.engine.commands.potential.GRID', {'triplet_cutoff': (4.0, 5.0), 'ridge_pair': (0.01,)}
    )
    found = invoke(
        files, 'a.extxyz', '-o', 'p.h5', '--settings', 's.yaml', '--tune', '--json', 'r.json', '--no-posterior'
    )
    assert found.exit_code == 0, found.output
    results = json.loads((files / 'r.json').read_text())
    assert results['front']['protocol'] == 'balanced'
    on_front = [point for point in results['front']['points'] if point['on_front']]
    assert all(point['atom_steps_per_second'] > 1e3 for point in on_front)
    # the rest is searched around the point of the front, which stays
    assert {'ridge_pair'} == {name for name in results['tuning']['trials'][0] if 'rmse' not in name}
    assert results['settings']['triplet_cutoff'] == results['front']['triplet_cutoff_angstrom']
    assert 'atom-steps/s on a core' in found.output and 'balanced, at an edge of what was tried: ' in found.output
    assert (files / 'p-front.png').stat().st_size > 10_000


def test_command_leaves_out_the_posterior(files):
    assert invoke(files, 'a.extxyz', '-o', 'p.h5', '--settings', 's.yaml', '--no-posterior').exit_code == 0
    assert UltraFastPotential.load(files / 'p.h5').posterior is None


def test_several_files_are_fitted_as_one_and_copies_between_them_are_named(files):
    one, other = read_dataset(files / 'a.extxyz'), read_dataset(files / 'b.extxyz')
    write_dataset(files / 'both.extxyz', Dataset.joined([one, other]))
    options = ('--settings', 's.yaml', '--no-posterior')
    for name, train in (('p.h5', ['a.extxyz', 'b.extxyz']), ('q.h5', ['both.extxyz'])):
        found = invoke(files, *train, '-o', name, *options)
        assert found.exit_code == 0, found.output
    p, q = (UltraFastPotential.load(files / name) for name in ('p.h5', 'q.h5'))
    np.testing.assert_array_equal(p.one_body, q.one_body)
    for name, term in p.triplets.items():
        np.testing.assert_array_equal(term.coefficients, q.triplets[name].coefficients)
    assert p.training_sha256 == q.training_sha256
    found = invoke(files, 'a.extxyz', 'a.extxyz', '-o', 'r.h5', *options)
    assert f'{len(one)} copies of structures' in found.output


def test_evaluation_puts_expected_errors_beside_real_ones(files):
    assert invoke(files, 'a.extxyz', '-o', 'p.h5', '--settings', 's.yaml').exit_code == 0
    arguments = [str(files / 'p.h5'), str(files / 'b.extxyz'), '--json', str(files / 'e.json')]
    found = CliRunner().invoke(ufpnmr, ['evaluate-potential', *arguments])
    assert found.exit_code == 0, found.output
    results = json.loads((files / 'e.json').read_text())
    assert results['calibration']['forces']['numbers'] == 4 * 32 * 3
    assert set(results['energy_rmse_meV_per_atom_by_group']) == set(results['forces_rmse_meV_per_angstrom_by_group'])


def test_command_records_a_resample_and_the_same_seed_gives_the_same_potential(files):
    for seed, name in (('1', 'p.h5'), ('1', 'q.h5'), ('2', 'r.h5')):
        found = invoke(files, 'a.extxyz', '-o', name, '--settings', 's.yaml', '--resample', seed, '--no-posterior')
        assert found.exit_code == 0, found.output
    p, q, r = (UltraFastPotential.load(files / name) for name in ('p.h5', 'q.h5', 'r.h5'))
    assert (p.settings.resample, r.settings.resample) == (1, 2)
    assert p.identity == q.identity != r.identity
    assert p.training_sha256 == r.training_sha256  # of all labels, from which the seed draws


def test_command_continues_from_equations(files):
    assert invoke(files, 'a.extxyz', '-o', 'p.h5', '--settings', 's.yaml', '--save-equations', 'e.h5').exit_code == 0
    found = invoke(files, 'b.extxyz', '-o', 'q.h5', '--add-to', 'e.h5', '--json', 'r.json')
    assert found.exit_code == 0, found.output
    results = json.loads((files / 'r.json').read_text())
    assert results['structures'] == 16
    assert results['settings']['bond_intervals'] == 4
    refused = invoke(files, 'b.extxyz', '-o', 'r.h5', '--add-to', 'e.h5', '--settings', 's.yaml')
    assert isinstance(refused.exception, InputError) and 'fix the settings' in str(refused.exception)
    assert not (files / 'r.h5').exists()
    refused = invoke(files, 'b.extxyz', '-o', 'r.h5', '--add-to', 'e.h5', '--resample', '1')
    assert isinstance(refused.exception, InputError) and '--resample' in str(refused.exception)

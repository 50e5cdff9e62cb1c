"""Claims about weights of structures, and about the bonds that a compound of ions does not have."""

import json
from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from click.testing import CliRunner
from test_efg_fitting import made_up_set

from aiida_ufpnmr.engine.active import Candidate, select_structures
from aiida_ufpnmr.engine.dataset import Dataset, read_dataset, write_dataset
from aiida_ufpnmr.engine.efg import EfgModel, EfgSettings, fit_efg_model
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.foreign_bonds import foreign_bonds
from aiida_ufpnmr.engine.main import ufpnmr
from aiida_ufpnmr.engine.ufp import PotentialSettings, UltraFastPotential, fit_potential, force_uncertainty
from aiida_ufpnmr.engine.ufp.problem import Problem
from aiida_ufpnmr.engine.ufp.tuning import cross_validate
from aiida_ufpnmr.engine.weights import structure_weights

POTENTIAL = PotentialSettings(bond_intervals=4, third_intervals=6, pair_intervals=10, folds=4)
EFG = EfgSettings(cutoff=4.5, n_max=4, l_max=3, mixed_channels=5, folds=4, penalty=0.01)


def changed(atoms, **info):
    """A copy with other entries of the comment line, and the same labels."""
    copy = atoms.copy()
    copy.calc = atoms.calc
    copy.info.update(info)
    return copy


@pytest.fixture(scope='module')
def crystals(example_data):
    """Three frames each of four runs."""
    dataset = read_dataset(example_data)
    groups = np.array(dataset.groups)
    names = ('beta_300K', 'beta_900K', 'gamma_300K', 'gamma_800K')
    return dataset.subset(np.concatenate([np.flatnonzero(groups == name)[:3] for name in names]))


@pytest.mark.parametrize(
    ('formula', 'distance', 'found'),
    [
        ('LiS2', 2.05, {'S-S': 1}),
        ('LiP2', 2.25, {'P-P': 1}),
        ('LiS2', 3.3, {}),  # the edge of a tetrahedron PS4
        ('S2', 2.05, {}),  # sulphur itself
        ('SLi2', 2.6, {}),  # metals
        ('LiC2', 1.2, {}),
    ],
)
def test_foreign_bonds_join_like_non_metals_of_a_compound(formula, distance, found):
    first = [0, 0, 0], [9, 9, 9]
    positions = [first[1], [0, 0, 0], [distance, 0, 0]][-len(Atoms(formula)) :]
    assert foreign_bonds(Atoms(formula, positions=positions, cell=[20] * 3, pbc=True)) == found


def test_a_bond_across_the_cell_is_one():
    atoms = Atoms('LiS2', positions=[[5, 5, 5], [0.5, 0, 0], [9.0, 0, 0]], cell=[10, 10, 10], pbc=True)
    assert foreign_bonds(atoms) == {'S-S': 1}


def test_shipped_crystals_have_no_foreign_bond_and_melts_and_quenches_do(example_data):
    dataset = read_dataset(example_data)
    foreign = {name for atoms, name in zip(dataset, dataset.groups) if foreign_bonds(atoms)}
    assert foreign == {name for name in dataset.groups if not name.startswith(('beta', 'gamma'))}
    count = sum(dataset.groups.count(name) for name in foreign)
    assert dataset.summary()['with_foreign_bonds'] == count
    assert f'{count} with foreign bonds (P-P, S-S)' in dataset.headline
    columns = list(zip(*dataset.table()))
    assert columns[2][0] == 'with foreign bonds' and sum(map(int, columns[2][1:])) == count


def test_a_set_without_foreign_bonds_does_not_speak_of_them(crystals):
    assert crystals.table()[0] == ('group', 'structures') and 'foreign' not in crystals.headline


def test_a_weight_is_read_and_written_and_part_of_the_content(crystals, tmp_path):
    heavy = Dataset((changed(crystals[0], weight=2), *crystals.structures[1:]))
    write_dataset(tmp_path / 'set.extxyz', heavy)
    again = read_dataset(tmp_path / 'set.extxyz')
    assert structure_weights(again, None).tolist() == [2.0] + 11 * [1.0]
    assert heavy.content_hash != Dataset(crystals.structures).content_hash
    ones = Dataset(tuple(changed(atoms, weight=1.0) for atoms in crystals))
    assert ones.content_hash == crystals.content_hash


@pytest.mark.parametrize('weight', ['0', '-1', 'nan', 'heavy', 'T'])
def test_what_is_no_weight_is_refused(crystals, tmp_path, weight):
    write_dataset(tmp_path / 'set.extxyz', crystals.subset([0]))
    text = (tmp_path / 'set.extxyz').read_text().replace('pbc=', f'weight={weight} pbc=')
    (tmp_path / 'set.extxyz').write_text(text)
    with pytest.raises(InputError, match='set.extxyz, structure 0: weight=.* is no positive number'):
        read_dataset(tmp_path / 'set.extxyz')


@pytest.mark.parametrize('settings', [PotentialSettings, EfgSettings])
def test_a_rule_with_a_weight_that_is_none_is_refused(settings):
    with pytest.raises(ValueError, match='weights must be above zero, not 0.0 for melt'):
        settings(weights={'melt': 0.0})


def test_a_rule_for_a_group_that_is_not_there_is_refused(crystals):
    rule = {'beta_30K': 0.5}
    with pytest.raises(InputError, match='weights names beta_30K, which is no group; there are .*beta_300K'):
        fit_potential(crystals, replace(POTENTIAL, weights=rule))
    with pytest.raises(InputError, match='weights names beta_30K'):
        fit_efg_model(crystals, 'Li', replace(EFG, weights=rule))


def test_weights_of_a_structure_multiply():
    bonded = Atoms('LiS2', positions=[[9, 9, 9], [0, 0, 0], [2.05, 0, 0]], info={'config_type': 'melt', 'weight': 3.0})
    apart = Atoms('LiS2', positions=[[9, 9, 9], [0, 0, 0], [4.0, 0, 0]], info={'config_type': 'melt'})
    found = structure_weights(Dataset((bonded, apart)), {'foreign bonds': 0.1, 'melt': 0.5, 'other': 7.0})
    np.testing.assert_allclose(found, [3.0 * 0.1 * 0.5, 0.5])


def test_a_pattern_weighs_all_groups_that_fit_it_beside_their_own_weight():
    frames = [Atoms('Li', info={'config_type': name}) for name in ('packed_300K', 'packed_900K', 'melt', 'a[0]')]
    found = structure_weights(Dataset(tuple(frames)), {'packed*': 2.0, '*_900K': 3.0, 'packed_900K': 5.0, 'a[0]': 7.0})
    np.testing.assert_allclose(found, [2.0, 30.0, 1.0, 7.0])


def test_a_pattern_that_fits_no_group_is_refused(crystals):
    with pytest.raises(InputError, match=r'weights names packed\*, which is no group; there are .*beta_300K'):
        fit_potential(crystals, replace(POTENTIAL, weights={'packed*': 2.0}))


def test_files_hold_weights_where_they_are_given_alone(crystals, tmp_path):
    for settings in (POTENTIAL, replace(POTENTIAL, weights={'beta_300K': 0.5})):
        fit_potential(crystals, settings)[0].save(tmp_path / 'p.h5')
        read = UltraFastPotential.load(tmp_path / 'p.h5').settings
        assert read.weights == settings.weights and ('weights' in read.to_json()) == (settings.weights is not None)
    for settings in (EFG, replace(EFG, weights={'beta_300K': 0.5})):
        fit_efg_model(crystals, 'Li', settings)[0].save(tmp_path / 'm.h5')
        assert EfgModel.load(tmp_path / 'm.h5').settings == settings


def forces_of(potential, structures):
    return np.concatenate([potential.compute(atoms).forces for atoms in structures])


def wrongly_labelled(structures, weight):
    """The structures with forces of a random direction, in a group of their own."""
    rng = np.random.default_rng(0)
    spoilt = []
    for atoms in structures:
        copy = changed(atoms, config_type='wrong', weight=weight)
        results = {**atoms.calc.results, 'forces': rng.normal(size=(len(atoms), 3))}
        copy.calc = SinglePointCalculator(copy, **results)
        spoilt.append(copy)
    return spoilt


def test_wrong_labels_of_little_weight_change_a_potential_little(crystals):
    without = fit_potential(crystals, POTENTIAL)[0]
    reference, expected = forces_of(without, crystals), force_uncertainty(without, crystals[0]).mean()
    apart, ratio = [], []
    for weight in (1.0, 0.01):
        dataset = Dataset((*crystals, *wrongly_labelled(crystals.subset(range(0, 12, 2)), weight)))
        potential = fit_potential(dataset, POTENTIAL)[0]
        apart.append(np.sqrt(np.mean((forces_of(potential, crystals) - reference) ** 2)))
        ratio.append(force_uncertainty(potential, crystals[0]).mean() / expected)
    # the pull of the wrong labels is linear in their weight as long as this is small
    assert apart[1] < 0.05 * apart[0]
    # and expected errors do not go by them
    assert ratio[1] < 1.5 < 3 < ratio[0]


def test_a_weight_of_two_is_the_structure_given_twice_for_a_potential(crystals):
    heavy = Dataset((changed(crystals[0], weight=2.0), *crystals.structures[1:]))
    twice = Dataset((crystals[0], *crystals.structures))
    (one, found), (other, expected) = (fit_potential(dataset, POTENTIAL) for dataset in (heavy, twice))
    np.testing.assert_allclose(one.one_body, other.one_body, rtol=1e-6)
    # solutions of equations with a condition number of about 1e6, whose sums are in another order
    np.testing.assert_allclose(forces_of(one, crystals), forces_of(other, crystals), atol=1e-6)
    np.testing.assert_allclose(one.posterior.leverage_limit, other.posterior.leverage_limit, rtol=1e-4)
    for a, b in zip(
        (*one.posterior.forces_noise, one.posterior.energy_noise),
        (*other.posterior.forces_noise, other.posterior.energy_noise),
    ):
        assert (a.floor, a.scale, a.power) == pytest.approx((b.floor, b.scale, b.power), rel=1e-3)
    for name in ('forces_rmse_meV_per_angstrom', 'energy_rmse_meV_per_atom', 'stress_rmse_GPa'):
        assert found['weighted'][name] == pytest.approx(expected[name], rel=1e-5)
        assert found[name] != expected[name]


def test_a_rule_is_the_weights_in_the_structures(crystals):
    settings = replace(POTENTIAL, weights={'beta_300K': 0.25})
    entries = Dataset(
        tuple(changed(a, weight=0.25 if g == 'beta_300K' else 1) for a, g in zip(crystals, crystals.groups))
    )
    by_rule, by_entry = fit_potential(crystals, settings), fit_potential(entries, POTENTIAL)
    np.testing.assert_array_equal(forces_of(by_rule[0], crystals), forces_of(by_entry[0], crystals))
    for results in (by_rule[1], by_entry[1]):
        assert results['weights'] == {
            'structures': 3,
            'effective_structures': pytest.approx(9.75**2 / (9 + 3 / 16)),
            'mean_by_group': {'beta_300K': 0.25, 'beta_900K': 1.0, 'gamma_300K': 1.0, 'gamma_800K': 1.0},
        }
        weighted = results['weighted']
        # one weight for all of a group changes nothing within it, and more than that over all
        same, key = 'forces_rmse_meV_per_angstrom_by_group', 'forces_rmse_meV_per_angstrom'
        assert weighted[same] == pytest.approx(results[same], rel=1e-12) and weighted[key] != results[key]
        assert results['train']['weighted'][same] == pytest.approx(results['train'][same], rel=1e-12)


def test_without_weights_results_do_not_speak_of_them(crystals):
    results = fit_potential(crystals, POTENTIAL)[1]
    assert not {'weights', 'weighted'} & set(results) and 'weights' not in results['settings']


def test_tuning_judges_settings_by_the_weights(crystals):
    wrong = wrongly_labelled(crystals.subset(range(0, 12, 2)), 1e-6)
    settings = replace(POTENTIAL, folds=5)
    problem = Problem.of(Dataset((*crystals, *wrong)), settings)
    folds = problem.dataset.folds(5, 0)
    found = cross_validate(problem, folds, problem.parts(folds))
    # without the wrong ones, each of the four runs is withheld in turn as well
    alone = Problem.of(crystals, settings)
    folds = crystals.folds(5, 0)
    assert found.forces == pytest.approx(cross_validate(alone, folds, alone.parts(folds)).forces, rel=1e-3)


def tensors_of(model, structures):
    return np.concatenate([model.predict(atoms) for atoms in structures])


@pytest.fixture(scope='module', params=[1, 2], ids=['linear', 'kernel'])
def efg_settings(request):
    return replace(EFG, zeta=request.param, sparse_points=30)


def test_wrong_labels_of_little_weight_change_an_efg_model_little(efg_settings):
    data = made_up_set()
    without = fit_efg_model(data, 'Li', efg_settings)[0]
    reference, rng = tensors_of(without, data), np.random.default_rng(0)
    apart = []
    for weight in (1.0, 0.01):
        wrong = [changed(atoms, config_type='wrong', weight=weight) for atoms in made_up_set(6)]
        for atoms in wrong:
            labelled = np.isfinite(atoms.arrays['efg'][:, 0, 0])
            turned = atoms.arrays['efg'][labelled]
            atoms.arrays['efg'][labelled] = turned[rng.permutation(len(turned))]
        model, results = fit_efg_model(Dataset((*data, *wrong)), 'Li', efg_settings)
        apart.append(np.sqrt(np.mean((tensors_of(model, data) - reference) ** 2)))
    assert apart[1] < 0.05 * apart[0]
    assert results['weighted']['omega_q_mae_khz'] < 0.5 * results['omega_q_mae_khz']


def test_a_weight_of_two_is_the_structure_given_twice_for_an_efg_model(efg_settings):
    data = made_up_set()
    heavy = Dataset((changed(data[0], weight=2.0), *data.structures[1:]))
    twice = Dataset((data[0], *data.structures))
    (one, found), (other, expected) = (fit_efg_model(dataset, 'Li', efg_settings) for dataset in (heavy, twice))
    tensors = tensors_of(other, data)
    np.testing.assert_allclose(tensors_of(one, data), tensors, atol=1e-6 * np.abs(tensors).max())
    by_weight, given_twice = (model.predict_with_errors(data[1]) for model in (one, other))
    np.testing.assert_allclose(by_weight.error, given_twice.error, rtol=1e-2)
    # a quantile of some hundred numbers is taken between two of them here, and at one of them there
    np.testing.assert_allclose(by_weight.grade, given_twice.grade, rtol=0.05)
    for name in ('omega_q_mae_khz', 'c_q_rmse_khz', 'efg_relative_rmse', 'quaternion_dot_fraction_above_0_9'):
        assert found['weighted'][name] == pytest.approx(expected[name], rel=1e-4)
    assert found['weighted']['by_group'].keys() == found['by_group'].keys()


def test_labels_that_would_count_little_tell_little(crystals, example_data):
    potential = fit_potential(crystals, POTENTIAL)[0]
    weighing = replace(potential, settings=replace(POTENTIAL, weights={'foreign bonds': 0.1, 'run': 0.5}))
    melt = next(atoms for atoms in read_dataset(example_data) if foreign_bonds(atoms))
    crystal = read_dataset(example_data).subset([14])[0]
    gains = {}
    for name, atoms, source in (('melt', melt, 'a.h5'), ('crystal', crystal, 'a.h5'), ('of a run', crystal, 'run.h5')):
        gains[name] = [select_structures(p, [Candidate(atoms, source)], 1).gain[0] for p in (potential, weighing)]
    # nearly ½ ln(1 + w x) a direction, with x far above 1 in a melt
    assert gains['melt'][1] < gains['melt'][0] - 0.5
    assert gains['crystal'][1] == gains['crystal'][0]
    assert gains['of a run'][1] < gains['of a run'][0]


@pytest.mark.parametrize('command', ['fit-potential', 'fit-efg'])
def test_a_command_reports_errors_with_and_without_weights(crystals, tmp_path, command):
    write_dataset(tmp_path / 'set.extxyz', crystals)
    settings = {'folds': 4, 'weights': {'beta_300K': 0.25, 'foreign bonds': 0.1}}
    settings |= {'bond_intervals': 4} if command == 'fit-potential' else {'n_max': 3, 'l_max': 3, 'penalty': 0.1}
    (tmp_path / 's.yaml').write_text(json.dumps(settings))
    arguments = [command, 'set.extxyz', '-o', 'm.h5', '--settings', 's.yaml', '--json', 'r.json']
    arguments += ['--species', 'Li'] if command == 'fit-efg' else []
    arguments = [str(tmp_path / word) if '.' in word else word for word in arguments]
    result = CliRunner().invoke(ufpnmr, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert 'weights: 3 of 12 structures have another than 1' in result.output
    assert 'withheld, weighted' in result.output
    results = json.loads((tmp_path / 'r.json').read_text())
    assert results['settings']['weights'] == settings['weights']
    assert results['weights']['structures'] == 3 and 'weighted' in results['train']

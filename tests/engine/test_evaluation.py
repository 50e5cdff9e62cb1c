"""Claims about "ufpnmr evaluate-potential": what it reports, and what it flags."""

import json

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from click.testing import CliRunner

from aiida_ufpnmr.engine.dataset import Dataset, energy, forces, read_dataset, stress, write_dataset
from aiida_ufpnmr.engine.main import ufpnmr
from aiida_ufpnmr.engine.ufp import PotentialSettings, UltraFastPotential, fit_potential
from aiida_ufpnmr.engine.ufp.metrics import potential_errors, predict
from aiida_ufpnmr.engine.ufp.proximity import close_contact, close_contacts

SETTINGS = PotentialSettings(bond_intervals=4, third_intervals=6, pair_intervals=10)


@pytest.fixture(scope='module')
def labelled(example_data) -> Dataset:
    """Twelve of the shipped structures, of four groups."""
    return read_dataset(example_data).subset([0, 1, 2, 8, 9, 10, 36, 37, 38, 65, 66, 67])


@pytest.fixture(scope='module')
def fitted(labelled) -> UltraFastPotential:
    return fit_potential(labelled, SETTINGS)[0]


def squeezed(atoms, potential, share):
    """A copy in which the closest Li and S come to a share of their closest distance in training; and the two."""
    moved = atoms.copy()
    i, j = (list(moved.symbols).index(name) for name in ('Li', 'S'))
    direction = moved.get_distance(i, j, mic=True, vector=True)
    wanted = share * potential.closest_distance[potential.species.index('Li'), potential.species.index('S')]
    moved.positions[i] += direction * (1 - wanted / np.linalg.norm(direction))
    moved.calc = SinglePointCalculator(moved, energy=energy(atoms), forces=forces(atoms), stress=stress(atoms))
    return moved, (min(i, j), max(i, j)), wanted


def evaluate(folder, potential, dataset, *options):
    potential.save(folder / 'p.h5')
    write_dataset(folder / 'd.extxyz', dataset)
    arguments = ['evaluate-potential', str(folder / 'p.h5'), str(folder / 'd.extxyz'), '--json', str(folder / 'e.json')]
    found = CliRunner().invoke(ufpnmr, [*arguments, *options])
    assert found.exit_code == 0, found.output
    return json.loads((folder / 'e.json').read_text()), found.output


def test_errors_by_group_and_species_make_up_the_whole(labelled, fitted):
    errors = potential_errors([(fitted, labelled)])
    groups, sizes = np.unique(labelled.groups, return_counts=True)
    for name in ('energy_rmse_meV_per_atom', 'forces_rmse_meV_per_angstrom', 'stress_rmse_GPa'):
        by_group = [errors[f'{name}_by_group'][group] ** 2 for group in groups]
        # all structures have 32 atoms
        assert np.average(by_group, weights=sizes) == pytest.approx(errors[name] ** 2)
    by_species = errors['forces_rmse_meV_per_angstrom_by_species']
    parts = [(by_species['Li'], 12), (by_species['P'], 4), (by_species['S'], 16)]
    mean_square = sum(count * value**2 for value, count in parts) / 32
    assert mean_square == pytest.approx(errors['forces_rmse_meV_per_angstrom'] ** 2)


def test_predictions_stand_beside_their_labels(labelled, fitted):
    found = predict([(fitted, labelled)])
    atoms = labelled.structures[3]
    assert found.energy_label[3] == energy(atoms) / 32
    assert found.energy[3] == fitted.compute(atoms).energy / 32
    np.testing.assert_array_equal(found.forces_label[96:128], forces(atoms))
    assert list(found.species[96:128]) == atoms.get_chemical_symbols()
    assert set(found.forces_group[96:128]) == {labelled.groups[3]}


def test_training_structures_have_no_contact_closer_than_in_training(labelled, fitted):
    assert close_contacts(fitted, labelled) == []


@pytest.mark.parametrize('share', [0.999, 0.8])
def test_atoms_closer_than_in_training_are_found(labelled, fitted, share):
    atoms, pair, distance = squeezed(labelled.structures[0], fitted, share)
    contact = close_contact(fitted, atoms)
    assert contact.atoms == pair
    assert contact.distance == pytest.approx(distance)
    assert contact.closest_distance * share == pytest.approx(distance)
    assert set(contact.species) == {'Li', 'S'}
    assert contact.pairs >= 1


def test_an_atom_too_close_to_its_own_image_is_one_pair(fitted):
    limit = fitted.closest_distance[0, 0]
    atoms = Atoms('Li', cell=[0.9 * limit, 8, 8], pbc=True)
    contact = close_contact(fitted, atoms)
    assert contact.atoms == (0, 0) and contact.pairs == 1
    assert contact.distance == pytest.approx(0.9 * limit)


def test_report_says_of_what_and_with_what_and_how_fast(tmp_path, labelled, fitted):
    results, output = evaluate(tmp_path, fitted, labelled, '--plot', str(tmp_path / 'p.png'))
    assert results['training_sha256'] == labelled.content_hash == results['data_sha256']
    assert results['settings']['bond_intervals'] == 4
    assert {'aiida_ufpnmr', 'numpy'} <= set(results['versions']) == set(results['potential_versions'])
    assert results['timing']['structures_per_second'] > 0
    assert results['timing']['atoms_per_second'] == pytest.approx(32 * results['timing']['structures_per_second'])
    assert {'fraction_within_1_sigma', 'slope', 'slope_ci95'} <= set(results['calibration']['forces'])
    assert results['closer_than_training'] == []
    assert all(group in output for group in set(labelled.groups))
    assert 'closer than any' not in output
    assert (tmp_path / 'p.png').stat().st_size > 30_000


def test_structures_with_atoms_closer_than_in_training_are_flagged_not_refused(tmp_path, labelled, fitted):
    atoms, pair, distance = squeezed(labelled.structures[1], fitted, 0.85)
    results, output = evaluate(tmp_path, fitted, Dataset((labelled.structures[0], atoms)))
    (row,) = results['closer_than_training']
    assert row['structure'] == 1 and row['atoms'] == list(pair)
    assert row['distance_angstrom'] == pytest.approx(distance, abs=1e-6)  # eight decimals on disk
    assert 'closer than any in training' in output and f'{distance:.3f}' in output


def test_a_potential_without_posterior_and_history_is_evaluated_all_the_same(tmp_path, labelled, fitted):
    fitted.save(tmp_path / 'p.uf3')
    write_dataset(tmp_path / 'd.extxyz', labelled.subset([0, 3]))
    arguments = [
        'evaluate-potential',
        str(tmp_path / 'p.uf3'),
        str(tmp_path / 'd.extxyz'),
        '--json',
        str(tmp_path / 'e.json'),
    ]
    assert CliRunner().invoke(ufpnmr, arguments).exit_code == 0
    results = json.loads((tmp_path / 'e.json').read_text())
    for name in ('calibration', 'settings', 'training_sha256', 'potential_versions'):
        assert results[name] is None
    assert results['forces_rmse_meV_per_angstrom'] > 0


def test_a_fit_warns_of_copies_and_counts_them(tmp_path, labelled):
    write_dataset(tmp_path / 'a.extxyz', labelled.subset([*range(12), 4]))
    write_dataset(tmp_path / 't.extxyz', labelled.subset([2]))
    (tmp_path / 's.yaml').write_text('bond_intervals: 4\nthird_intervals: 6\npair_intervals: 10\n')
    files = {name: str(tmp_path / name) for name in ('a.extxyz', 't.extxyz', 's.yaml', 'p.h5', 'r.json')}
    arguments = [files['a.extxyz'], '-o', files['p.h5'], '--settings', files['s.yaml'], '--test', files['t.extxyz']]
    found = CliRunner().invoke(ufpnmr, ['fit-potential', *arguments, '--json', files['r.json']])
    assert found.exit_code == 0, found.output
    lines = found.stderr.splitlines()
    assert len(lines) == 2 and 'structure 12 is structure 4' in lines[0] and 'structure 0 is structure 2' in lines[1]
    duplicates = json.loads((tmp_path / 'r.json').read_text())['duplicates']
    assert duplicates['rows'] == [[12, 4]] and duplicates['test_rows'] == [[0, 2]]

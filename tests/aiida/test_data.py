"""Claims about the data types: what they refuse, what they remember, what their hashes say."""

import io

import h5py
import numpy as np
import pytest

from aiida_ufpnmr.data import DatasetData, EfgModelData, PotentialData, TrajectoryData
from aiida_ufpnmr.engine.dataset import read_dataset, write_dataset
from aiida_ufpnmr.engine.errors import InputError


@pytest.mark.parametrize('kind', [DatasetData, PotentialData, EfgModelData, TrajectoryData])
@pytest.mark.parametrize(('content', 'message'), [(b'', 'is empty'), (b'nonsense\n', 'damaged')])
def test_a_file_of_another_kind_is_refused(kind, content, message, tmp_path):
    path = tmp_path / 'file'
    path.write_bytes(content)
    with pytest.raises(InputError, match=f'^{path}.*{message}'):
        kind(path)


def test_one_kind_of_model_is_not_taken_for_the_other(potential_file, efg_model_file):
    with pytest.raises(InputError, match='not a ufpnmr potential'):
        PotentialData(efg_model_file)
    with pytest.raises(InputError, match='not a ufpnmr efg-model'):
        EfgModelData(potential_file)


def test_a_model_of_a_newer_format_is_refused(potential_file, tmp_path):
    path = tmp_path / 'newer.h5'
    path.write_bytes(potential_file.read_bytes())
    with h5py.File(path, 'r+') as file:
        file.attrs['format_version'] = 99
    with pytest.raises(InputError, match='newer'):
        PotentialData(path)


def test_a_truncated_dataset_is_refused(dataset_file, tmp_path):
    path = tmp_path / 'cut.extxyz'
    path.write_text(dataset_file.read_text()[:-200])
    with pytest.raises(InputError, match='cut.extxyz, line 306 .structure 8.: 4 columns, but Properties names 16'):
        DatasetData(path)


def test_a_handle_opened_as_text_is_refused_and_a_binary_one_taken(dataset_file):
    with open(dataset_file) as text, pytest.raises(InputError, match='binary'):
        DatasetData(text)
    assert DatasetData(io.BytesIO(dataset_file.read_bytes())).sha256 == DatasetData(dataset_file).sha256


def test_equal_numbers_give_equal_hashes_however_they_are_written(dataset_file, tmp_path):
    rewritten = tmp_path / 'other-name.extxyz'
    write_dataset(rewritten, read_dataset(dataset_file))
    rewritten.write_text(rewritten.read_text().replace('pbc="T T T"', 'note=x pbc="T T T"'))
    first, second = DatasetData(dataset_file).store(), DatasetData(rewritten).store()
    assert rewritten.read_bytes() != dataset_file.read_bytes()
    assert first.base.caching.get_hash() == second.base.caching.get_hash()


def test_versions_do_not_enter_the_hash_of_a_model_and_numbers_do(potential_file, tmp_path):
    def changed(name, change):
        path = tmp_path / name
        path.write_bytes(potential_file.read_bytes())
        with h5py.File(path, 'r+') as file:
            change(file)
        return PotentialData(path).store().base.caching.get_hash()

    def other_version(file):
        file['record'].attrs['numpy'] = '0.0'

    def other_number(file):
        def double(_, item):
            if isinstance(item, h5py.Dataset) and item.ndim == 1 and item.dtype.kind == 'f':
                item[...] *= 2

        file.visititems(double)
        del file['record'].attrs['content_sha256']  # or the file would be refused as damaged

    original = PotentialData(potential_file).store().base.caching.get_hash()
    assert changed('version.h5', other_version) == original
    assert changed('number.h5', other_number) != original


def test_a_dataset_knows_where_each_row_came_from(dataset):
    assert dataset.base.attributes.get('structures') == len(dataset.rows) == 9
    assert dataset.row(3)['label_id'] == read_dataset_row(dataset, 3).info['label_id']
    assert {row['group'] for row in dataset.rows} == {'beta_300K', 'beta_600K', 'gamma_300K'}
    assert [row['index'] for row in dataset.rows] == list(range(9))


def read_dataset_row(dataset, index):
    return dataset.get_dataset().structures[index]


def test_a_structure_of_a_dataset_has_its_atoms_in_place(dataset):
    original = read_dataset_row(dataset, 4)
    found = dataset.get_structure(4).get_ase()
    np.testing.assert_array_equal(found.numbers, original.numbers)
    np.testing.assert_array_equal(found.positions, original.positions)
    np.testing.assert_array_equal(found.cell.array, original.cell.array)


def test_models_name_the_set_that_trained_them(dataset, potential, efg_model):
    assert potential.training_sha256 == efg_model.training_sha256 == dataset.sha256
    assert potential.base.attributes.get('settings')['bond_intervals'] == 4
    assert efg_model.base.attributes.get('settings')['l_max'] == 3
    assert efg_model.base.attributes.get('unit') == 'a.u.'
    assert efg_model.base.attributes.get('convention').startswith('V_ij = d2V/dx_i dx_j')


def test_stored_models_compute_as_before(dataset, potential, efg_model, potential_file):
    from aiida_ufpnmr.engine.ufp import UltraFastPotential

    atoms = read_dataset_row(dataset, 0)
    stored = potential.store().load().compute(atoms)
    np.testing.assert_array_equal(stored.forces, UltraFastPotential.load(potential_file).compute(atoms).forces)
    assert efg_model.store().load().predict(atoms).shape == (12, 3, 3)


def test_a_stored_trajectory_is_read_where_it_lies(trajectory):
    trajectory.store()
    assert (trajectory.n_frames, trajectory.n_atoms, trajectory.species) == (81, 32, ['Li', 'P', 'S'])
    assert trajectory.time_ps == pytest.approx(4.0)
    assert trajectory.base.attributes.get('efg_frames') == {'Li': 81}
    with trajectory.open_trajectory() as opened:
        assert opened.positions(80, 81).shape == (1, 32, 3)
        assert opened.efg('Li').tensors.shape == (81, 12, 3, 3)
    with trajectory.open_hdf5() as file:
        assert 'h5md' in file


def test_attributes_can_be_queried(dataset):
    from aiida.orm import QueryBuilder

    dataset.store()
    query = QueryBuilder().append(
        DatasetData, filters={'attributes.sha256': dataset.sha256, 'attributes.structures': {'>': 5}}
    )
    assert dataset.pk in [node.pk for node in query.all(flat=True)]

"""Claims about damaged model files: the kernels trust shapes, so nothing out of shape may reach them."""

import h5py
import numpy as np
import pytest

from aiida_ufpnmr.engine.dataset import read_dataset
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.hdf5 import RECORD, content_hash, recorded_versions, seal, versions
from aiida_ufpnmr.engine.ufp import PotentialSettings, UltraFastPotential
from aiida_ufpnmr.engine.ufp.continuation import SavedEquations
from aiida_ufpnmr.engine.ufp.fitting import run_fit
from aiida_ufpnmr.engine.ufp.problem import Problem


@pytest.fixture(scope='module')
def files(example_data, tmp_path_factory):
    """A potential and its equations."""
    folder = tmp_path_factory.mktemp('whole')
    few = read_dataset(example_data).subset(range(0, 73, 12))
    fit = run_fit(Problem.of(few, PotentialSettings(bond_intervals=4, folds=2)), keep_equations=True)
    fit.potential.save(folder / 'potential.h5')
    fit.equations.save(folder / 'equations.h5')
    return folder


@pytest.fixture(scope='module')
def saved(files):
    """The bytes of a potential file."""
    return (files / 'potential.h5').read_bytes()


def put(name, change):
    def damage(file):
        value = change(file[name][...])
        del file[name]
        file[name] = value

    return damage


def attribute(name, value):
    return lambda file: file.attrs.__setitem__(name, value)


def group_instead(file):
    del file['one_body']
    file.create_group('one_body')


def no_version(file):
    del file.attrs['format_version']


def without(name):
    return lambda file: file.__delitem__(name)


PAIR, TRIPLET = 'pairs/Li-S', 'trios/Li-P-S'


@pytest.mark.parametrize(
    'damage',
    [
        *(put(name, lambda value: value[..., :-1]) for name in ('one_body', 'closest_distance', f'{PAIR}/knots')),
        *(
            put(f'{TRIPLET}/{name}', lambda value: value[..., :-1])
            for name in ('knots_first', 'knots_third', 'coefficients')
        ),
        *(
            without(name)
            for name in (PAIR, TRIPLET, f'{TRIPLET}/knots_second', f'{PAIR}/coefficients', 'closest_distance')
        ),
        put(f'{PAIR}/coefficients', lambda value: value[:, None]),
        put(f'{PAIR}/knots', lambda value: value[:, None]),
        put(f'{PAIR}/knots', lambda value: value[:1]),
        put(f'{PAIR}/knots', lambda value: value[::-1]),
        put(f'{PAIR}/knots', np.negative),
        put(f'{PAIR}/knots', lambda value: value - 3),
        put(f'{PAIR}/coefficients', lambda value: value * np.nan),
        put('trios/S-P-P/coefficients', lambda value: value + np.arange(value.shape[0])[:, None, None]),
        put('one_body', lambda value: value * np.nan),
        put('one_body', lambda value: 1.0),
        put('one_body', lambda value: 'text'),
        put('posterior/whitening', lambda value: value[:10]),
        put('posterior/centre', lambda value: value[:, 1:]),
        attribute('species', 1.0),
        attribute('species', ['Li', 'P']),
        attribute('settings', '{bad'),
        attribute('format_version', 'abc'),
        attribute('format_version', [1, 2]),
        attribute('format', [1, 2]),
        group_instead,
        no_version,
    ],
)
def test_a_potential_file_that_is_out_of_shape_is_refused_in_one_line(saved, tmp_path, damage):
    """Whoever wrote it, and whatever checksum it has."""
    path = tmp_path / 'potential.h5'
    path.write_bytes(saved)
    assert UltraFastPotential.load(path).species == ('Li', 'P', 'S')
    with h5py.File(path, 'a') as file:
        damage(file)
        seal(file)
    with pytest.raises(InputError, match='potential.h5') as caught:
        UltraFastPotential.load(path)
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize('name, load', [('potential', UltraFastPotential.load), ('equations', SavedEquations.load)])
def test_a_flipped_bit_is_noticed_wherever_it_is(files, tmp_path, name, load):
    """In the bytes of the arrays, where the file stays readable and all numbers finite."""
    whole, path = (files / f'{name}.h5').read_bytes(), tmp_path / f'{name}.h5'
    with h5py.File(files / f'{name}.h5') as file:
        datasets = []
        file.visititems(lambda _, item: datasets.append(item) if isinstance(item, h5py.Dataset) else None)
        places = [(item.id.get_offset(), item.id.get_storage_size()) for item in datasets]
    assert len(places) > 60
    rng = np.random.default_rng(0)
    for start, size in [places[n] for n in rng.choice(len(places), 12, replace=False)]:
        damaged = bytearray(whole)
        damaged[start + int(rng.integers(size))] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        with pytest.raises(InputError, match=f'{name}.h5: incomplete or damaged .* not what was written') as caught:
            load(path)
        assert '\n' not in str(caught.value)
    path.write_bytes(whole)
    load(path)


def test_a_changed_attribute_is_noticed(saved, tmp_path):
    path = tmp_path / 'potential.h5'
    path.write_bytes(saved)
    with h5py.File(path, 'a') as file:
        file.attrs['training_sha256'] = file.attrs['training_sha256'][::-1]
    with pytest.raises(InputError, match='not what was written'):
        UltraFastPotential.load(path)


def test_the_checksum_is_no_part_of_the_content(saved, tmp_path):
    path = tmp_path / 'potential.h5'
    path.write_bytes(saved)
    before = content_hash(path)
    with h5py.File(path, 'a') as file:
        assert file[RECORD].attrs['content_sha256'] == before
        file[RECORD].attrs['python'] = '3.14'
    assert content_hash(path) == before
    assert set(recorded_versions(path)) == set(versions())
    UltraFastPotential.load(path)


def test_files_of_old_formats_are_told_from_damaged_ones(files, tmp_path):
    for name, load in (('potential', UltraFastPotential.load), ('equations', SavedEquations.load)):
        path = tmp_path / f'{name}.h5'
        path.write_bytes((files / f'{name}.h5').read_bytes())
        with h5py.File(path, 'a') as file:
            file.attrs['format_version'] = 1
        with pytest.raises(InputError, match='format version 1 is older than this program reads; make the file again'):
            load(path)


@pytest.mark.parametrize(
    'damage',
    [
        put('lower_triangle', lambda value: value[:-1]),
        put('vector', lambda value: value[:-1]),
        put('vector', lambda value: value * np.nan),
        put('pairs/Li-S/knots', lambda value: value[:-1]),
        put('centre', lambda value: value[:, 1:]),
        put('leverage_limit', lambda value: value[1:]),
        put('closest_distance', lambda value: value[1:]),
        without('trios/Li-P-S'),
        attribute('settings', '{"bond_intervals": "many"}'),
    ],
)
def test_equations_that_are_out_of_shape_are_refused_in_one_line(files, tmp_path, damage):
    path = tmp_path / 'equations.h5'
    path.write_bytes((files / 'equations.h5').read_bytes())
    SavedEquations.load(path)
    with h5py.File(path, 'a') as file:
        damage(file)
        seal(file)
    with pytest.raises(InputError, match='equations.h5') as caught:
        SavedEquations.load(path)
    assert '\n' not in str(caught.value)

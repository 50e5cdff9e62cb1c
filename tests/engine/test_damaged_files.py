"""Claims about damaged model files: the kernels trust shapes, so nothing out of shape may reach them."""

import h5py
import numpy as np
import pytest

from aiida_ufpnmr.engine.dataset import read_dataset
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.ufp import PotentialSettings, UltraFastPotential, fit_potential


@pytest.fixture(scope='module')
def saved(example_data, tmp_path_factory):
    """The bytes of a potential file."""
    path = tmp_path_factory.mktemp('whole') / 'potential.h5'
    few = read_dataset(example_data).subset(range(0, 73, 12))
    fit_potential(few, PotentialSettings(leg_intervals=4, folds=2))[0].save(path)
    return path.read_bytes()


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


@pytest.mark.parametrize(
    'damage',
    [
        *(
            put(name, lambda value: value[..., :-1])
            for name in ('one_body', 'pair_start', 'pair_cutoff', 'leg_start', 'third_start', 'closest_distance')
        ),
        put('trio_coefficients', lambda value: value[:, :, :1]),
        put('trio_coefficients', lambda value: value[:, :, :, :-1]),
        put('pair_coefficients', lambda value: value[..., :3]),
        put('one_body', lambda value: value * np.nan),
        put('one_body', lambda value: 1.0),
        put('one_body', lambda value: 'text'),
        put('pair_cutoff', np.negative),
        put('leg_start', np.negative),
        attribute('trio_cutoff', np.nan),
        attribute('trio_cutoff', 'far'),
        attribute('species', 1.0),
        attribute('settings', '{bad'),
        attribute('format_version', 'abc'),
        attribute('format_version', [1, 2]),
        attribute('format', [1, 2]),
        group_instead,
        no_version,
    ],
)
def test_a_potential_file_that_is_out_of_shape_is_refused_in_one_line(saved, tmp_path, damage):
    path = tmp_path / 'potential.h5'
    path.write_bytes(saved)
    assert UltraFastPotential.load(path).species == ('Li', 'P', 'S')
    with h5py.File(path, 'a') as file:
        damage(file)
    with pytest.raises(InputError, match='potential.h5') as caught:
        UltraFastPotential.load(path)
    assert '\n' not in str(caught.value)

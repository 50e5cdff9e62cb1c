"""Claims about labels under the names that other programs give them."""

import re
from pathlib import Path

import numpy as np
import pytest
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read

from aiida_ufpnmr.engine.dataset import Dataset, energy, forces, read_dataset, stress, write_dataset
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.label_names import LabelKeys
from aiida_ufpnmr.engine.ufp import PotentialSettings, fit_potential

INPUTS = Path(__file__).parent / 'inputs'
FORCES = np.array([[0.1, 0.0, 0.2], [-0.1, 0.0, -0.2]])
STRESS = np.array([[-0.01, 0.002, 0.001], [0.002, -0.02, 0.003], [0.001, 0.003, -0.03]])


def rows(array):
    return ' '.join(f'{value:.10f}' for value in np.ravel(array))


def text(
    entries: str, columns: str = 'forces', values=FORCES, lattice: str = 'Lattice="8 0 0 0 8 0 0 0 8" pbc="T T T"'
):
    lines = [f'{lattice} Properties=species:S:1:pos:R:3:{columns}:R:{values.shape[1]} {entries}']
    lines += [f'{symbol} {x} 0 0 {rows(row)}' for symbol, x, row in zip(('Li', 'S'), (0.0, 2.4), values)]
    return '\n'.join(['2', *lines, ''])


def read_text(folder, content, *args, **kwargs) -> Dataset:
    (folder / 'set.extxyz').write_text(content)
    return read_dataset(folder / 'set.extxyz', *args, **kwargs)


PLAIN = f'energy=-3.5 stress="{rows(STRESS)}"'


@pytest.mark.parametrize(
    'content, note',
    [
        (text(PLAIN), None),
        (text(PLAIN, 'force'), 'force as forces'),
        (
            text(PLAIN.replace('energy', 'REF_energy').replace('stress', 'REF_stress'), 'REF_forces'),
            'REF_stress as stress',
        ),
        (
            text(PLAIN.replace('energy', 'DFT_energy').replace('stress', 'dft_stress'), 'dft_force'),
            'dft_force as forces',
        ),
        (text(PLAIN.replace('energy', 'Energy')), 'Energy as energy'),
        (text(PLAIN.replace('energy', 'free_energy')), 'free_energy as energy'),
        (text(f'{PLAIN} free_energy=-3.6'), None),
        (text(f'energy=-3.5 virial="{rows(-512 * STRESS)}"'), 'virial as stress (−virial/volume)'),
        (text(f'energy=-3.5 REF_virials="{rows(-512 * STRESS)}"'), 'REF_virials as stress (−virial/volume)'),
        (text(f'{PLAIN} virial="{rows(-512 * STRESS)}"'), None),
        (text(f'energy=-3.5 stress="{rows(STRESS[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]])}"'), None),
        (
            text(f'energy=-3.5 virial="{rows(-512 * STRESS[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]])}"'),
            'virial as stress',
        ),
        (text(PLAIN.replace('energy', 'e0'), 'f0'), 'read e0 as energy, f0 as forces'),
    ],
)
def test_labels_are_known_by_the_names_of_the_field(tmp_path, content, note):
    keys = LabelKeys(energy='e0', forces='f0') if 'e0=' in content else LabelKeys()
    dataset = read_text(tmp_path, content, ('energy', 'forces', 'stress'), keys=keys)
    assert energy(dataset[0]) == -3.5
    np.testing.assert_array_equal(forces(dataset[0]), FORCES)
    np.testing.assert_allclose(stress(dataset[0]), STRESS, atol=1e-12)
    assert bool(dataset.notes) == bool(note) and all(note in line for line in dataset.notes)
    write_dataset(tmp_path / 'again.extxyz', dataset)
    assert read_dataset(tmp_path / 'again.extxyz').notes == ()


@pytest.mark.parametrize('name', ['efg', 'EFG', 'REF_EFG', 'dft_efg', 'magres_efg', 'mine'])
def test_tensors_are_known_by_the_names_of_the_field(tmp_path, name):
    values = np.arange(18.0).reshape(2, 9)
    keys = LabelKeys(efg='mine' if name == 'mine' else None)
    dataset = read_text(tmp_path, text('', name, values), ('efg',), 'Li', keys)
    np.testing.assert_array_equal(dataset[0].arrays['efg'], values.reshape(2, 3, 3))
    assert bool(dataset.notes) == (name != 'efg')


@pytest.mark.parametrize(
    'content, keys, message',
    [
        (
            text('energy=-1', 'f'),
            {},
            'structure 0: no forces; there are positions, f, energy: name the right one with --f',
        ),
        (
            text('E=-1'),
            {},
            'structure 0: no energy; there are positions, forces, E: name the right one with --energy-key',
        ),
        (
            text('energy=-1'),
            {'energy': 'E'},
            'structure 0: holds no E, which --energy-key names; there are forces, energy',
        ),
        (
            text('energy=-1 REF_energy=-2'),
            {},
            'energy and REF_energy hold different numbers; choose one with --energy-key',
        ),
        (text(f'{PLAIN} virial="{rows(512 * STRESS)}"'), {}, 'stress and virial hold different numbers'),
        (text(f'{PLAIN} virial="{rows(-STRESS)}"'), {}, 'stress and virial hold different numbers'),
        (text('REF_energy=low'), {}, 'energy is not as many numbers'),
        (text('energy=-1 virial="1 2 3"'), {}, 'not in the form of a 9-long'),
        (text('energy=-1 virial="1 0 0 0 1 0 0 0 nan"'), {}, 'NaN or infinite stress'),
        (text('energy=-1', 'force', FORCES[:, :2]), {}, 'forces is not as many numbers'),
    ],
)
def test_labels_that_cannot_be_told_are_refused_with_the_names_that_are_there(tmp_path, content, keys, message):
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        read_text(tmp_path, content, ('energy', 'forces'), keys=LabelKeys(**keys))
    assert str(tmp_path) in str(caught.value) and '\n' not in str(caught.value)


def test_a_key_chooses_between_names_that_disagree(tmp_path):
    content = text('energy=-1 REF_energy=-2')
    assert energy(read_text(tmp_path, content, keys=LabelKeys(energy='REF_energy'))[0]) == -2
    assert energy(read_text(tmp_path, content, keys=LabelKeys(energy='energy'))[0]) == -1


def test_what_might_be_a_stress_is_not_passed_over_in_silence(tmp_path):
    (note,) = read_text(tmp_path, text('energy=-1 sigma="1 0 0 0 1 0 0 0 1.5"')).notes
    assert 'sigma is not read' in note and '--stress-key sigma' in note
    named = read_text(tmp_path, text('energy=-1 sigma="1 0 0 0 1 0 0 0 1.5"'), keys=LabelKeys(stress='sigma'))
    np.testing.assert_array_equal(stress(named[0]), np.diag([1, 1, 1.5]))


def test_a_virial_without_a_volume_is_left_out_and_said(tmp_path):
    content = text('energy=-1 virial="1 0 0 0 1 0 0 0 1.5"', lattice='pbc="F F F"')
    (note,) = read_text(tmp_path, content).notes
    assert note.endswith('virial of structures without a cell, so without a volume, is not read')


def test_names_of_a_part_of_the_structures_are_said_with_their_number(tmp_path):
    (note,) = read_text(tmp_path, text('energy=-1') + text('REF_energy=-1')).notes
    assert note.endswith('read REF_energy as energy in 1 of 2 structures')


def test_names_of_columns_may_hold_hyphens_and_dots(tmp_path):
    assert energy(read_dataset(INPUTS / 'column_names.extxyz', ('energy', 'forces'))[0]) == -1.0
    content = (INPUTS / 'column_names.extxyz').read_text()
    assert len(read_text(tmp_path, content.replace('site-charge', 'site.charge'))) == 1
    with pytest.raises(InputError, match='line 3 .* 7 columns, but Properties names 8'):
        read_text(tmp_path, content.replace('Li 0.0', 'Li'))


@pytest.mark.parametrize('name', ['names_of_gpumd', 'names_with_ref', 'energy_is_free_energy'])
def test_the_fit_is_that_of_the_labels_under_their_plain_names(tmp_path, name):
    """Bit for bit: the twin holds the same numbers, a virial divided by −volume."""
    twin = read(INPUTS / f'{name}.extxyz', ':')
    for atoms in twin:
        held = {**atoms.info, **atoms.arrays, **({} if atoms.calc is None else atoms.calc.results)}
        plain = {key.removeprefix('REF_').removeprefix('free_'): value for key, value in held.items()}
        virial = plain.get('virial')
        tensor = np.reshape(plain['stress'], -1) if virial is None else -virial / atoms.cell.volume
        if tensor.size == 9:
            tensor = tensor.reshape(3, 3)[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]
        atoms.calc = None
        results = {'energy': plain['energy'], 'forces': plain.get('forces', plain.get('force')), 'stress': tensor}
        atoms.calc = SinglePointCalculator(atoms, **results)
    settings = PotentialSettings(bond_intervals=4, pair_cutoff=5.0, triplet_cutoff=3.5)
    dataset = read_dataset(INPUTS / f'{name}.extxyz', ('energy', 'forces', 'stress'))
    assert dataset.content_hash == Dataset(tuple(twin)).content_hash
    fits = [fit_potential(labels, settings)[0] for labels in (dataset, Dataset(tuple(twin)))]
    assert fits[0].identity == fits[1].identity


def test_a_name_that_stands_twice_and_a_stress_that_is_not_symmetric_are_refused(tmp_path):
    with pytest.raises(InputError, match=r'structure 0: .*energy is given twice; remove one'):
        read_text(tmp_path, text(f'{PLAIN} energy=-99.0'))
    skew = STRESS + np.array([[0, 0.05, 0], [0, 0, 0], [0, 0, 0]])
    with pytest.raises(InputError, match='structure 0: .*stress is not symmetric'):
        read_text(tmp_path, text(f'energy=-3.5 stress="{rows(skew)}"'))


@pytest.mark.parametrize('pbc, notes', [('T T T', 0), ('T T F', 1), ('F F F', 1)])
def test_a_stress_beside_a_cell_that_is_not_periodic_is_said(tmp_path, pbc, notes):
    content = text(PLAIN, lattice=f'Lattice="8 0 0 0 8 0 0 0 8" pbc="{pbc}"')
    found = [note for note in read_text(tmp_path, text('energy=-1') + content).notes if 'give pbc="T T T"' in note]
    assert len(found) == notes and all('set.extxyz: structure 1: pbc says' in note for note in found)


def test_stresses_of_zero_are_said(tmp_path):
    found = read_text(tmp_path, text(f'energy=-3.5 stress="{rows(0 * STRESS)}"') + text(PLAIN))
    assert [note for note in found.notes if 'stress of 1 of 2 structures is exactly zero' in note]

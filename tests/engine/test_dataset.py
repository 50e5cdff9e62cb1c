"""Claims about labelled sets: what is read, what is refused, how it is parted."""

import re

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

from aiida_ufpnmr.engine.dataset import Dataset, energy, forces, read_dataset, read_structure, stress, write_dataset
from aiida_ufpnmr.engine.duplicates import Copies, find_copies
from aiida_ufpnmr.engine.errors import InputError


def labelled(group='a', seed=0, **changes):
    rng = np.random.default_rng(seed)
    atoms = Atoms('Li2S', positions=[[0, 0, 0], [2.4, 0, 0], [0, 2.4, 0]], cell=[6, 6, 6], pbc=True)
    atoms.info['config_type'] = group
    results = {'energy': -10.0 + rng.normal(), 'forces': rng.normal(size=(3, 3)), 'stress': rng.normal(size=6)}
    results.update(changes.pop('results', {}))
    atoms.calc = SinglePointCalculator(atoms, **{name: value for name, value in results.items() if value is not None})
    efg = rng.normal(size=(3, 9))
    atoms.arrays['efg'] = changes.pop('efg', efg)
    atoms.positions += changes.pop('shift', 0)
    return atoms


def saved(folder, *structures):
    write(folder / 'set.extxyz', structures)
    return folder / 'set.extxyz'


def test_labels_come_back_as_they_were_written(tmp_path):
    original = labelled()
    dataset = read_dataset(saved(tmp_path, original), ('energy', 'forces', 'stress', 'efg'), efg_species='Li')
    atoms = dataset.structures[0]
    assert energy(atoms) == pytest.approx(original.calc.results['energy'])
    np.testing.assert_allclose(forces(atoms), original.calc.results['forces'], atol=1e-8)  # 8 decimals on disk
    xx, yy, zz, yz, xz, xy = original.calc.results['stress']
    np.testing.assert_allclose(stress(atoms), [[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
    assert atoms.arrays['efg'].shape == (3, 3, 3)
    np.testing.assert_allclose(atoms.arrays['efg'].reshape(3, 9), original.arrays['efg'], atol=1e-8)


def test_content_hash_is_of_the_content_not_of_the_file(tmp_path):
    dataset = read_dataset(saved(tmp_path, labelled('a'), labelled('b', 1)))
    write_dataset(tmp_path / 'copy.extxyz', dataset)
    text = (tmp_path / 'copy.extxyz').read_text()
    (tmp_path / 'copy.extxyz').write_text(text.replace('pbc="T T T"', 'note=something pbc="T T T"'))
    assert read_dataset(tmp_path / 'copy.extxyz').content_hash == dataset.content_hash
    assert dataset.subset([1, 0]).content_hash != dataset.content_hash


def test_a_set_shows_itself_in_one_line_and_as_a_table(example_data):
    dataset = read_dataset(example_data)
    assert repr(dataset) == f'Dataset({len(dataset)} structures of Li, P, S; {dataset.source})'
    assert '<table>' in dataset._repr_html_()


def test_folds_keep_groups_together_and_use_every_structure_once():
    groups = list('aaaabbbccddddde')
    dataset = Dataset(tuple(labelled(g, i) for i, g in enumerate(groups)))
    folds = dataset.folds(3)
    assert sorted(np.concatenate(folds)) == list(range(15))
    for fold in folds:
        others = set(range(15)) - set(fold.tolist())
        assert not {groups[i] for i in fold} & {groups[i] for i in others}
    assert [f.tolist() for f in dataset.folds(3)] == [f.tolist() for f in folds]
    assert max(map(len, folds)) - min(map(len, folds)) <= 2  # as even as groups of up to five allow


def test_a_single_group_cannot_be_parted():
    assert Dataset((labelled(), labelled(seed=1))).folds(5) == []


def test_unnamed_structures_are_grouped_in_blocks():
    structures = [labelled(seed=i) for i in range(40)]
    for atoms in structures:
        del atoms.info['config_type']
    groups = Dataset(tuple(structures)).groups
    assert groups == sorted(groups) and len(set(groups)) == 10


def break_text(path, change):
    path.write_text(change(path.read_text()))


def nan_in(results_key):
    values = {'energy': np.nan, 'forces': np.full((3, 3), np.nan), 'stress': np.full(6, np.inf)}
    return labelled(results={results_key: values[results_key]})


def cell(text, numbers):
    return re.sub('Lattice="[^"]*"', f'Lattice="{numbers}"', text)


PARTLY_NAN = np.vstack([np.r_[np.nan, np.ones(8)], np.ones((2, 9))])
INFINITE = np.vstack([np.full(9, np.inf), np.ones((2, 9))])
NO_LITHIUM = np.vstack([np.full((2, 9), np.nan), np.ones((1, 9))])


@pytest.mark.parametrize(
    'structures, change, message',
    [
        ([labelled()], lambda text: '', 'empty'),
        ([labelled()], lambda text: '\n', 'no structure'),
        ([labelled(), labelled()], lambda text: text[:-40], 'structure 1'),
        ([labelled(), labelled()], lambda text: ''.join(text.splitlines(True)[:-2]), 'truncated'),
        ([labelled()], lambda text: 'hello\n' + text, 'line 1'),
        ([labelled()], lambda text: '\0\1' + text, 'line 1'),
        ([labelled(), labelled(results={'forces': None})], None, 'structure 1: no forces'),
        ([labelled(results={'energy': None})], None, 'structure 0: no energy'),
        ([nan_in('energy')], None, 'NaN or infinite energy'),
        ([nan_in('forces')], None, 'atom 0: NaN or infinite forces'),
        ([nan_in('stress')], None, 'NaN or infinite stress'),
        ([labelled()], lambda text: re.sub(r'\benergy=\S+', 'energy=low', text), 'energy is not as many numbers'),
        ([labelled()], lambda text: re.sub(r'\benergy=\S+', 'energy="1 2 3"', text), 'energy is not as many numbers'),
        ([labelled()], lambda text: text.replace('\nLi ', '\nLi 0.0 ', 1), 'line 3 (structure 0): 17 columns'),
        ([labelled()], lambda text: text.replace('\nLi ', '\nX ', 1), 'X is no element'),
        ([labelled()], lambda text: cell(text, '6 0 0 0 6 0 6 6 0'), 'opposite faces of the cell'),
        ([labelled()], lambda text: cell(text, '6 0 0 0 6 0 0 0 1e-5'), 'opposite faces of the cell'),
        ([labelled()], lambda text: cell(text, '6 0 0 0 6 0 0 0 0'), 'without a full cell'),
        ([labelled()], lambda text: cell(text, '6 0 0 0 6 0 0 0 1e200'), 'beyond 1e+06'),
        (
            [labelled(shift=np.array([[0, 0, 0], [0, 0, 1e5], [0, 0, 0]]))],
            None,
            'atom 1: lies more than 4000 cells away',
        ),
        ([labelled(efg=PARTLY_NAN)], None, 'atom 0: efg'),
        ([labelled(efg=INFINITE)], None, 'atom 0: efg'),
        ([labelled(efg=NO_LITHIUM)], None, 'no labelled Li'),
        ([labelled(efg=np.ones((3, 6)))], None, '9 numbers'),
        ([labelled(shift=np.array([[0, 0, 0], [-2.2, 0, 0], [0, 0, 0]]))], None, 'atoms 0 and 1: closer'),
        ([labelled(shift=np.array([[0, 0, 0], [-2.4, 0, 0], [0, 0, 0]]))], None, 'one atom twice'),
        (
            [labelled(shift=np.array([[0, 0, 0], [-1.3, 0, 0], [0, 0, 0]]))],
            None,
            '(Li-Li): 1.10 Å apart, less than half',
        ),
        ([labelled(shift=np.array([[0, 0, 0], [0, 0, 0], [0, 2.8, 0]]))], None, '(Li-S): 0.80 Å apart, less than half'),
        ([labelled(shift=np.array([[0, 0, np.nan], [0, 0, 0], [0, 0, 0]]))], None, 'atom 0: position'),
    ],
)
def test_bad_sets_are_refused_with_one_line_that_names_the_row(tmp_path, structures, change, message):
    path = saved(tmp_path, *structures)
    if change:
        break_text(path, change)
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        read_dataset(path, ('energy', 'forces'), efg_species='Li')
    assert str(path) in str(caught.value) and '\n' not in str(caught.value)


def test_copies_are_found_whichever_cell_their_atoms_are_wrapped_into():
    rng = np.random.default_rng(0)
    structures = [labelled(seed=i, shift=0.2 * rng.normal(size=(3, 3))) for i in range(6)]
    wrapped, nearly, mirrored, permuted = (structures[i].copy() for i in (2, 3, 4, 4))
    wrapped.positions += [[12, 0, 0], [0, -6, 0], [0, 0, 0]]
    nearly.positions += 0.01
    mirrored.positions *= -1
    permuted = permuted[[1, 0, 2]]
    molecule = structures[0].copy()
    molecule.pbc = False
    found = find_copies([*structures, wrapped, nearly, mirrored, permuted, molecule, structures[2], molecule.copy()])
    np.testing.assert_array_equal(found, [0, 1, 2, 3, 4, 5, 2, 7, 8, 9, 10, 2, 10])


def test_copies_are_reported_with_what_is_wrong_about_them():
    originals = [labelled(group, shift=0.3 * number) for number, group in enumerate('aab')]
    same, elsewhere, other_energy = labelled('a', shift=0.3), labelled('b', shift=0.3), labelled('a', seed=7)
    copies = Copies.of(Dataset((*originals, same, elsewhere, other_energy), 'train.extxyz'))
    assert copies.rows == ((3, 1), (4, 1), (5, 0))
    assert (copies.contradicting, copies.across_groups) == (1, 1)
    (line,) = copies.warnings()
    assert line.startswith('train.extxyz: 3 copies of structures (structure 3 is structure 1), 1 with another energy')
    assert 'remove them' in line
    leaking = Copies.of(Dataset(tuple(originals), 'train.extxyz'), Dataset((labelled('c', shift=0.6),), 'test.extxyz'))
    assert leaking.rows == () and leaking.test_rows == ((0, 2),)
    (line,) = leaking.warnings()
    assert line.startswith('test.extxyz: holds 1 structure of train.extxyz')
    assert Copies.of(Dataset(tuple(originals))).warnings() == []


def test_shipped_set_holds_no_copies(example_data):
    assert Copies.of(read_dataset(example_data)).rows == ()


def test_a_slab_needs_no_cell_vector_across(tmp_path):
    slab = labelled()
    slab.pbc, slab.cell[2] = [True, True, False], 0.0
    assert len(read_dataset(saved(tmp_path, slab), ('energy', 'forces'))) == 1


def test_structures_without_any_ion_of_the_species_are_refused(tmp_path):
    with pytest.raises(InputError, match='no Na atom'):
        read_dataset(saved(tmp_path, labelled()), efg_species='Na')


def test_one_structure_is_chosen_from_many(tmp_path):
    path = saved(tmp_path, labelled(), labelled(seed=1))
    with pytest.raises(InputError, match='--index'):
        read_structure(path)
    with pytest.raises(InputError, match='no structure 7'):
        read_structure(path, 7)
    assert len(read_structure(path, 1)) == 3
    with pytest.raises(InputError, match='no such'):
        read_structure(tmp_path / 'missing.cif')
    (tmp_path / 'bad.cif').write_text('nothing of use')
    with pytest.raises(InputError, match='cannot be read'):
        read_structure(tmp_path / 'bad.cif')
    write(tmp_path / 'li2s.data', labelled(), format='lammps-data')
    with pytest.raises(InputError, match='li2s.data: a data file of LAMMPS without masses'):
        read_structure(tmp_path / 'li2s.data')


@pytest.mark.parametrize(
    'arguments, message',
    [
        (['fit-potential', 'missing.extxyz', '-o', 'out.h5'], 'no such'),
        (['fit-potential', 'set.extxyz', '-o', 'nowhere/out.h5'], 'does not exist'),
        (['fit-potential', 'set.extxyz', '-o', 'out.h5', '--json', 'out.h5'], 'same name'),
        (['fit-potential', 'set.extxyz', '-o', 'out.h5', '--settings', 'typo.yaml'], "unknown setting 'pair_cutof'"),
        (['fit-potential', 'set.extxyz', '-o', 'out.h5', '--settings', 'type.yaml'], 'must be a whole number'),
        (['fit-potential', 'set.extxyz', '-o', 'out.h5', '--settings', 'infinite.yaml'], 'must be a finite number'),
        (['fit-potential', 'set.extxyz', '-o', 'out.h5', '--settings', 'twice.yaml'], "'folds' is given twice"),
        (['fit-potential', 'set.extxyz', '-o', 'set.extxyz'], 'is an input, too'),
        (['fit-potential', 'set.extxyz', '-o', '/dev/null'], 'a device or a pipe'),
        (['fit-potential', 'set.extxyz', '-o', 'a' * 300], 'cannot be written'),
        (['acf', 'set.extxyz', '--skip-ps', 'nan'], 'not a finite number'),
        (['acf', 'set.extxyz', '--first-lag-ps', 'inf'], 'not a finite number'),
        (['fit-potential', 'set.extxyz', '-o', 'out.h5', '--settings', 'range.yaml'], 'between 1 and 20'),
        (['fit-potential', 'set.extxyz', '-o', 'out.h5', '--settings', 'set.extxyz'], 'set.extxyz'),
        (['fit-potential', 'set.extxyz', '-o', 'out.h5', '--test', 'other.extxyz'], 'holds Cl'),
        (['fit-potential', 'set.extxyz'], "'-o' / '--output'"),
        (['evaluate-potential', 'set.extxyz', 'set.extxyz'], 'not a readable HDF5'),
    ],
)
def test_commands_refuse_bad_input_before_they_write(tmp_path, monkeypatch, capsys, arguments, message):
    from aiida_ufpnmr.engine import main

    monkeypatch.chdir(tmp_path)
    saved(tmp_path, labelled('a'), labelled('b', 1))
    other = labelled('c', 2)
    other.symbols[2] = 'Cl'
    write('other.extxyz', other)
    (tmp_path / 'typo.yaml').write_text('pair_cutof: 5\n')
    (tmp_path / 'type.yaml').write_text('pair_intervals: many\n')
    (tmp_path / 'range.yaml').write_text('pair_cutoff: -2\n')
    (tmp_path / 'infinite.yaml').write_text('ridge_pair: .inf\n')
    (tmp_path / 'twice.yaml').write_text('folds: 3\nfolds: 4\n')
    before = sorted(path.name for path in tmp_path.iterdir())
    monkeypatch.setattr('sys.argv', ['ufpnmr', *arguments])
    with pytest.raises(SystemExit, match='2'):
        main.main()
    stderr = capsys.readouterr().err
    assert message in stderr and stderr.count('\n') == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_the_last_version_of_the_shipped_set_goes_on_from_the_first(example_data):
    first = read_dataset(example_data)
    last = read_dataset(example_data.with_name('li3ps4-pbe-gpaw-v6.extxyz'))
    assert Dataset(last.structures[: len(first)]).content_hash == first.content_hash
    new = last.structures[len(first) :]
    assert len(new) == 492 and all(atoms.info['engine_version'] == 'gpaw-26.7.0' for atoms in new)
    assert len({atoms.info['label_sha256'] for atoms in new}) == 492 and find_copies(last.structures).tolist() == list(
        range(565)
    )

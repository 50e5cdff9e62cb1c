"""Claims about files that become nodes."""

import json
import re
import zipfile
from pathlib import Path

import pytest
from aiida import orm
from ase.io import write

from aiida_ufpnmr.cli.shared import load_or_store
from aiida_ufpnmr.data import DatasetData, EfgModelData, PotentialData, TrajectoryData
from aiida_ufpnmr.engine.analyses import get_analysis
from aiida_ufpnmr.engine.dataset import read_dataset
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.ufp import UltraFastPotential
from aiida_ufpnmr.tools.files import ORIGIN, node_of, stored_once
from aiida_ufpnmr.tools.verification import verify_archive


@pytest.fixture
def files(dataset_file, potential_file, efg_model_file, trajectory_file, structure, tmp_path):
    """A file of each kind, by the type of its node."""
    write(tmp_path / 'start.cif', structure.get_ase())
    write(tmp_path / 'one.extxyz', structure.get_ase())
    write(tmp_path / 's.data', structure.get_ase(), format='lammps-data', masses=True)
    UltraFastPotential.load(potential_file).save(tmp_path / 'potential.uf3')
    return {
        dataset_file: DatasetData,
        potential_file: PotentialData,
        tmp_path / 'potential.uf3': PotentialData,
        efg_model_file: EfgModelData,
        trajectory_file: TrajectoryData,
        tmp_path / 'start.cif': orm.StructureData,
        tmp_path / 'one.extxyz': orm.StructureData,
        tmp_path / 's.data': orm.StructureData,
    }


PAGE = Path(__file__).parents[2] / 'docs' / 'source' / 'howto' / 'import.rst'


def rows(result) -> list[list[str]]:
    assert result.exit_code == 0, (result.output, result.exception)
    return [re.split(r' {2,}', line.strip()) for line in result.stdout.splitlines()[2:]]


def test_each_file_becomes_a_node_of_its_kind_and_only_once(command, files):
    first = rows(command('import', *files, '--label', 'mine'))
    for (name, kind, pk, state), (path, expected) in zip(first, files.items()):
        node = orm.load_node(int(pk))
        assert (name, kind) == (str(path), expected.__name__) and isinstance(node, expected)
        if state == 'new':  # other tests may have stored the content already
            assert (node.base.extras.get(ORIGIN)['file'], node.label) == (path.name, 'mine')
    again = rows(command('import', *files))
    assert [row[1:3] for row in again] == [row[1:3] for row in first]
    assert {row[3] for row in again} == {'there before'}


def test_the_origin_of_a_file_is_kept(command, files, tmp_path):
    path = tmp_path / 'potential.uf3'
    node = node_of(path)
    assert node.base.extras.get(ORIGIN)['file'] == 'potential.uf3'
    assert len(node.base.extras.get(ORIGIN)['sha256']) == 64 and node.label == 'potential.uf3'
    loaded, direct = node.load(), UltraFastPotential.load(path)
    assert loaded.cutoff == direct.cutoff and loaded.species == direct.species


def test_a_trajectory_of_another_program_becomes_one_of_this(command, structure, tmp_path):
    frames = []
    for number in range(5):
        frames.append(structure.get_ase())
        frames[-1].positions += 0.05 * number
    write(tmp_path / 'XDATCAR', frames, format='vasp-xdatcar')
    given = ('--timestep', 2, '--every', 10)
    made = rows(command('import', tmp_path / 'XDATCAR', *given))
    node = orm.load_node(int(made[0][2]))
    assert made[0][1] == 'TrajectoryData' and (node.n_frames, node.time_ps) == (5, pytest.approx(0.08))
    assert 'converted' in node.base.extras.get(ORIGIN)['notes'][0]
    assert rows(command('import', tmp_path / 'XDATCAR', *given))[0][2] == made[0][2]
    refused = command('import', tmp_path / 'XDATCAR')
    assert isinstance(refused.exception, InputError) and '--timestep' in str(refused.exception)


def test_one_bad_file_leaves_everything_as_it_was(command, dataset_file, trajectory_file, tmp_path, structure):
    count = orm.QueryBuilder().append(orm.Data).count()
    moved = structure.get_ase()
    moved.positions[0, 0] += 0.01
    write(tmp_path / 'new.cif', moved)
    found = get_analysis('msd')(trajectory_file, bootstrap=10)
    found.save(tmp_path / 'msd.h5')
    result = command('import', tmp_path / 'new.cif', tmp_path / 'msd.h5')
    assert isinstance(result.exception, InputError) and 'msd.h5: holds ufpnmr-msd' in str(result.exception)
    result = command('import', tmp_path / 'new.cif', tmp_path / 'missing.h5')
    assert isinstance(result.exception, InputError) and 'missing.h5' in str(result.exception)
    result = command('import', dataset_file, '--kind', 'picture')
    assert isinstance(result.exception, InputError) and 'choose one of labels' in str(result.exception)
    assert orm.QueryBuilder().append(orm.Data).count() == count


@pytest.mark.parametrize(
    ('name', 'content'),
    [
        ('a.extxyz', b'2\n\nLi 0 0 0\n'),
        ('a.extxyz', b'1\nLattice="5 0 0 0 5 0 0 0 5"\nXx 0 0 0\n'),
        ('a.extxyz', b'1\nenergy=nan Lattice="5 0 0 0 5 0 0 0 5"\nLi 0 0 0\n'),
        ('a.extxyz', b''),
        ('a.h5', bytes(range(256))),
        ('a.uf3', b'no potential'),
        ('a.json', b'{"a": 1'),
        ('a.cif', b'data_x\n'),
        ('XDATCAR', b'title\n1.0\n5 0 0\n'),
        ('a.dump', b'ITEM: TIMESTEP\n0\n'),
        ('OUTCAR', b' vasp.6.4.2\n'),
        ('a.txt', b'hello\n'),
    ],
)
def test_a_broken_file_is_refused_in_one_line_and_stores_nothing(name, content, command, tmp_path):
    folder, count = tmp_path / 'meine Daten ä', orm.QueryBuilder().append(orm.Data).count()
    folder.mkdir()
    (folder / name).write_bytes(content)
    refused = command('import', folder / name, '--timestep', 2).exception
    assert isinstance(refused, InputError) and str(folder / name) in str(refused) and '\n' not in str(refused)
    assert orm.QueryBuilder().append(orm.Data).count() == count


def test_a_launch_takes_files_where_it_takes_nodes(command, code, potential_file, efg_model_file, structure, tmp_path):
    (tmp_path / 'overrides.yaml').write_text('min_cell_height_angstrom: 1.0\nmd: {parameters: {timestep: 1.0}}\n')
    write(tmp_path / 'start.extxyz', structure.get_ase())
    given = ('--steps', 100, '--temperature', 100, '--overrides', tmp_path / 'overrides.yaml')
    models = ('--potential', potential_file, '--efg-model', efg_model_file)
    found = command('launch', 'md', tmp_path / 'start.extxyz', *models, *given)
    assert found.exit_code == 0, (found.output, found.exception)
    run = orm.load_node(int(re.search(r'Trajectory #(\d+)', found.output)[1])).creator.caller
    assert run.inputs.md.potential.sha256 == PotentialData(potential_file).sha256
    assert stored_once(node_of(potential_file))[0].pk == stored_once(node_of(potential_file))[0].pk


def test_one_of_several_structures_is_launched_by_its_index(command, potential_file, dataset_file, monkeypatch):
    refused = command('launch', 'md', dataset_file, '--potential', potential_file)
    assert isinstance(refused.exception, InputError)
    assert 'holds 9 structures; choose one with --index (0 to 8)' in str(refused.exception)
    seen = []
    monkeypatch.setattr('aiida_ufpnmr.cli.launch.Launch.run', lambda self, workflow, **inputs: seen.append(inputs))
    learning = ('launch', 'active-learning', dataset_file, '--engine', 'gpaw', '--label-code', 'ufpnmr@localhost')
    for line in (
        ('launch', 'md', dataset_file, '--potential', potential_file, '--index', 7),
        ('launch', 'pipeline', dataset_file, '--structure', dataset_file, '--index', 7),
        (*learning, f'a={dataset_file}@7'),
    ):
        assert isinstance(command(*line).exception, (type(None), AttributeError, SystemExit))
    expected = read_dataset(dataset_file)[7]
    for inputs in seen:
        node = inputs.get('structure') or inputs['structures']['a']
        assert (node.get_ase().positions == expected.positions).all()
    assert len(seen) == 3
    pk = seen[0]['structure'].pk
    for line, words in (
        ((*learning, f'a={dataset_file}'), f'choose one with a={dataset_file}@I (0 to 8)'),
        (('launch', 'md', pk, '--potential', potential_file, '--index', 1), 'leave --index out'),
        (('launch', 'pipeline', dataset_file, '--structure-index', 0, '--index', 1), '--index is for the file of'),
    ):
        assert words in str(command(*line).exception)


def test_labels_with_names_of_their_own_are_imported_and_read_once(command, dataset_file, tmp_path, monkeypatch):
    reads = []
    monkeypatch.setattr(
        'aiida_ufpnmr.engine.dft.label_files.read_dataset', lambda *given: reads.append(1) or read_dataset(*given)
    )
    monkeypatch.setattr(
        'aiida_ufpnmr.engine.dataset.read_dataset', lambda *given: reads.append(1) or read_dataset(*given)
    )
    plain = rows(command('import', dataset_file))
    assert reads == [1]
    text = dataset_file.read_text().replace(' energy=', ' e0=').replace(':forces:', ':f0:')
    (tmp_path / 'mine.extxyz').write_text(text)
    keys = ('--energy-key', 'e0', '--forces-key', 'f0')
    found = rows(command('import', tmp_path / 'mine.extxyz', *keys))
    assert found[0][1:3] == plain[0][1:3]  # equal content is the same node
    write(tmp_path / 'start.cif', read_dataset(dataset_file)[0])
    refused = command('import', tmp_path / 'start.cif', *keys)
    assert 'holds no labels, whose names a key could say' in str(refused.exception)


def test_a_label_names_one_node_of_a_kind_or_is_said_to_be_ambiguous(command, structure, potential_file, tmp_path):
    frames = [structure.get_ase() for _ in range(2)]
    frames[0].positions[0] += 0.03
    frames[1].positions[0] += 0.02
    for name, atoms in zip(('one.cif', 'two.cif'), frames):
        write(tmp_path / name, atoms)
    made = command('import', tmp_path / 'one.cif', potential_file, '--label', 'shared-label')
    assert 'warning' not in made.stderr
    pk = int(rows(made)[0][2])
    stored = orm.load_node(pk)
    stored.label = 'shared-label'
    stored_once(node_of(potential_file))[0].label = 'shared-label'
    assert load_or_store('shared-label', 'structure').pk == pk
    second = command('import', tmp_path / 'two.cif', '--label', 'shared-label')
    assert f"#{pk} is labelled 'shared-label', too; name them by their pks" in second.stderr
    with pytest.raises(InputError, match='shared-label: is the label or UUID of several nodes; give a pk'):
        load_or_store('shared-label', 'structure')


def test_an_archive_of_a_model_from_a_file_is_whole(command, potential_file, tmp_path):
    """Its training set was never in the profile."""
    node, _ = stored_once(node_of(potential_file))
    made = command('archive', 'create', node.pk, '-o', tmp_path / 'potential.aiida')
    assert made.exit_code == 0, (made.output, made.exception)
    checks, faults = verify_archive(tmp_path / 'potential.aiida')
    assert [check.fault for check in checks if check.kind == 'PotentialData'] == [''] and not faults


def test_the_page_shows_commands_that_work(command, files, tmp_path, monkeypatch):
    for path in files:
        (tmp_path / {'small.extxyz': 'labels.extxyz'}.get(path.name, path.name)).write_bytes(path.read_bytes())
    for old, new in (('start.cif', 'beta.cif'), ('efg-model.h5', 'efg.h5'), ('trajectory.h5', 'run.h5')):
        (tmp_path / old).rename(tmp_path / new)
    monkeypatch.chdir(tmp_path)
    shown = re.findall(r'^   aiida-ufpnmr (import .*)$', PAGE.read_text(), re.MULTILINE)
    assert shown
    for line in shown[:1]:  # that of an XDATCAR is claimed above
        made = rows(command(*line.split()))
        expected = re.findall(r'^     (\S+) +(\w+Data) ', PAGE.read_text(), re.MULTILINE)
        assert [tuple(row[:2]) for row in made] == expected


def test_an_archive_of_a_newer_aiida_says_so(command, potential_file, tmp_path):
    node, _ = stored_once(node_of(potential_file))
    command('archive', 'create', node.pk, '-o', tmp_path / 'now.aiida')
    with zipfile.ZipFile(tmp_path / 'now.aiida') as old, zipfile.ZipFile(tmp_path / 'newer.aiida', 'w') as new:
        for name in old.namelist():
            content = old.read(name)
            if name == 'metadata.json':
                content = json.dumps({**json.loads(content), 'export_version': 'main_0999'}).encode()
            new.writestr(name, content)
    with pytest.raises(InputError, match='newer.aiida: its archive format main_0999 .*; update AiiDA'):
        verify_archive(tmp_path / 'newer.aiida')

"""Claims about labels from GPAW under AiiDA: what is run, what is kept, what a failure says; one real run."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from aiida import orm
from aiida.common.folders import SandboxFolder
from aiida.engine import run_get_node
from aiida.engine.utils import instantiate_process
from aiida.manage import get_manager
from aiida.plugins import CalculationFactory
from ase import Atoms
from ase.io import write

from aiida_ufpnmr.calculations.resources import processes_on_one_machine
from aiida_ufpnmr.data import DatasetData
from aiida_ufpnmr.engine.dataset import Dataset, energy, forces, read_dataset, stress, write_dataset
from aiida_ufpnmr.engine.dft.gpaw_engine import PYTHON_VARIABLE
from aiida_ufpnmr.engine.dft.identity import label_sha256, settings_sha256, structure_sha256
from aiida_ufpnmr.engine.dft.labels import Labels, labelled_atoms, labels_of, read_sources
from aiida_ufpnmr.engine.dft.pieces import Pieces
from aiida_ufpnmr.engine.dft.record import LabelRecord
from aiida_ufpnmr.tools.profile import get_or_create_code, ufpnmr_executable

LABEL = CalculationFactory('ufpnmr.label_gpaw')

#: Two atoms in a cell without symmetry, as coarse as gives a label in some seconds.
COARSE = {'cutoff_ev': 200.0, 'kpoints': [1, 1, 1], 'protocol': 'fast', 'min_success_fraction': 0.5}


def lithium_chloride(x=0.1, **info):
    atoms = Atoms(
        'LiCl', [[x, 0.2, 0.1], [1.9, 1.7, 2.0]], cell=[[3.3, 0, 0], [0.4, 3.6, 0], [0.2, -0.3, 3.9]], pbc=True
    )
    atoms.info |= info
    return atoms


@pytest.fixture
def unlabelled(tmp_path) -> DatasetData:
    path = tmp_path / 'frames.extxyz'
    write(
        path,
        [lithium_chloride(config_type='run1', label_id='a'), lithium_chloride(0.2, config_type='run2', label_id='b')],
    )
    return DatasetData(path).store()


@pytest.fixture(scope='session')
def real_gpaw(code, gpaw_installation) -> orm.InstalledCode:
    """The command with a real GPAW, as ``aiida-ufpnmr setup --gpaw`` makes it known, under a name of its own."""
    prepend = f'export {PYTHON_VARIABLE}={shlex.quote(str(gpaw_installation.python))}'
    get_or_create_code(ufpnmr_executable(), 'real-gpaw', 'GPAW itself', prepend)
    return orm.load_code('real-gpaw@localhost')


def prepared(**inputs):
    """The command line, the files in the working directory, and what AiiDA is told to copy and fetch."""
    process = instantiate_process(get_manager().create_runner(communicator=None), LABEL, **inputs)
    with SandboxFolder() as folder:
        info = process.prepare_for_submission(folder)
        return info.codes_info[0].cmdline_params, folder.get_content_list(), info


@pytest.mark.slow
def test_gpaw_labels_real_structures_with_everything_on_record(real_gpaw, unlabelled):
    results, node = run_get_node(LABEL, code=real_gpaw, structures=unlabelled, parameters=COARSE)
    assert node.is_finished_ok, (node.exit_message, node.outputs.retrieved.get_object_content('ufpnmr.err'))
    labelled = results['dataset']
    for atoms, row in zip(labelled.get_dataset(), labelled.rows):
        assert np.isfinite(atoms.arrays['efg']).all() and abs(atoms.arrays['efg']).max() > 1e-3
        assert energy(atoms) is not None and forces(atoms).shape == (2, 3) and stress(atoms).shape == (3, 3)
        assert row['engine'] == 'gpaw' and row['dataset_Li'].startswith('Li.3e.PBE:')
    assert [row['source_row'] for row in labelled.rows] == [0, 1]
    assert [row['group'] for row in labelled.rows] == ['run1', 'run2']
    assert [row['label_id'] for row in labelled.rows] == ['a', 'b']
    report = results['results'].get_dict()
    assert report['data_sha256'] == labelled.sha256
    assert report['datasets'].keys() == {'Li', 'Cl'} and report['settings']['cutoff_ev'] == 200
    assert results['timing'].get_dict()['wall_s'] > 0
    # the way back from a label to the structure
    assert labelled.creator.inputs.structures.uuid == unlabelled.uuid


@pytest.mark.slow
def test_a_single_structure_can_be_labelled_and_a_rerun_takes_over_what_was_done(real_gpaw, tmp_path):
    structure = orm.StructureData(ase=lithium_chloride())
    first, node = run_get_node(LABEL, code=real_gpaw, structures=structure, parameters=COARSE)
    assert node.is_finished_ok and len(first['dataset'].get_dataset()) == 1
    # as if the run had been cut off after its first structure
    (atoms,) = first['dataset'].get_dataset()
    with Pieces(tmp_path / 'labels.extxyz') as pieces:
        pieces.save(atoms.info['label_sha256'], labels_of(atoms))
    parent = orm.RemoteData(computer=real_gpaw.computer, remote_path=str(tmp_path)).store()
    again, node = run_get_node(LABEL, code=real_gpaw, structures=structure, parameters=COARSE, parent_folder=parent)
    assert node.is_finished_ok and again['results']['labelled_before'] == 1
    assert again['dataset'].sha256 == first['dataset'].sha256


def test_the_command_gets_the_structures_and_the_cores_of_the_job(code, unlabelled):
    options = {'resources': {'num_machines': 1, 'num_mpiprocs_per_machine': 3}}
    words, files, info = prepared(code=code, structures=unlabelled, parameters=COARSE, metadata={'options': options})
    assert ' '.join(words) == (
        'label structures.extxyz -o labels.extxyz --engine gpaw --jobs 3 --cutoff-ev 200.0 --kpoints 1 1 1 '
        '--min-success-fraction 0.5 --protocol fast --json results.json'
    )
    assert files == [] and [(uuid, name) for uuid, _, name in info.local_copy_list] == [
        (unlabelled.uuid, 'structures.extxyz')
    ]
    assert 'labels.extxyz' in info.retrieve_temporary_list


def test_settings_go_along_in_a_file(code, unlabelled):
    words, files, _ = prepared(code=code, structures=unlabelled, settings={'exact_grid': True})
    assert ' '.join(words).endswith('--settings settings.yaml --json results.json') and files == ['settings.yaml']
    with pytest.raises(ValueError, match="unknown setting 'cut_off'"):
        LABEL.get_builder().settings = {'cut_off': 5.0}


def test_a_cut_off_run_is_taken_up_where_it_lies(code, unlabelled):
    parent = orm.RemoteData(computer=code.computer, remote_path='/far/away').store()
    _, _, info = prepared(code=code, structures=unlabelled, parent_folder=parent)
    assert info.remote_copy_list == [(code.computer.uuid, '/far/away/labels.extxyz.pieces', 'labels.extxyz.pieces')]


@pytest.mark.parametrize(
    ('resources', 'expected'),
    [
        ({'num_machines': 1, 'num_mpiprocs_per_machine': 4}, 4),
        ({'num_machines': 1, 'num_mpiprocs_per_machine': 2, 'num_cores_per_mpiproc': 3}, 6),
        ({'num_machines': 2, 'tot_num_mpiprocs': 8}, 4),
        ({'tot_num_mpiprocs': 5}, 5),
        ({'parallel_env': 'mpi', 'tot_num_mpiprocs': 1}, 1),
    ],
)
def test_cores_are_those_of_one_machine(resources, expected):
    assert processes_on_one_machine(resources) == expected


def test_structures_that_are_no_crystals_are_refused(code):
    slab = lithium_chloride()
    slab.pbc = [True, True, False]
    alloy = orm.StructureData(cell=np.eye(3).tolist())
    alloy.append_atom(symbols=['Li', 'Na'], weights=[0.5, 0.5], position=(0, 0, 0))
    for structure, message in ((orm.StructureData(ase=slab), 'periodic'), (alloy, 'partly occupied')):
        with pytest.raises(ValueError, match=message):
            prepared(code=code, structures=structure)


def test_too_few_labels_have_an_exit_code_that_names_the_first(parse):
    results = {
        'enough': False, 'labelled': 1, 'structures': 3,
        'refused': [{'number': 0, 'reason': 'not periodic'}],
        'failed': [{'number': 2, 'reason': 'the density did not converge'}],
    }  # fmt: skip
    files = {'exit-status': '1', 'results.json': json.dumps(results), 'ufpnmr.err': 'ufpnmr: error: not written\n'}
    found, status, message = parse('ufpnmr.label_gpaw', files, {})
    assert (status, found) == (410, {})
    assert message.endswith('1 of 3; structure 0: not periodic; structure 2: the density did not converge')
    # without results that say so, it is a failure like any other
    _, status, _ = parse('ufpnmr.label_gpaw', {**files, 'results.json': '{}'}, {})
    assert status == 310


def rows_swapped(rows):
    rows[0], rows[1] = rows[1], rows[0]
    for number, atoms in enumerate(rows[:2]):
        atoms.info['source_row'] = number


def one_row_twice(rows):
    rows[1] = rows[0]


def another_row_named(rows):
    rows[0].info['source_row'], rows[1].info['source_row'] = 1, 0


def no_row_named(rows):
    del rows[0].info['source_row']


def an_atom_moved(rows):
    rows[0].positions[0, 0] += 1e-4


def the_key_of_another(rows):
    rows[0].info['label_sha256'] = rows[1].info['label_sha256']


@pytest.mark.parametrize(
    'damage', [rows_swapped, one_row_twice, another_row_named, no_row_named, an_atom_moved, the_key_of_another]
)
def test_labels_of_another_structure_than_was_asked_for_become_no_data(
    parse, dataset, gpaw_labels_file, tmp_path, damage
):
    rows = list(read_dataset(gpaw_labels_file))
    damage(rows)
    write_dataset(tmp_path / 'damaged.extxyz', Dataset(tuple(rows)))
    files = {'exit-status': '0', 'results.json': '{}'}
    outputs = {'labels.extxyz': (tmp_path / 'damaged.extxyz').read_bytes()}
    found, status, message = parse('ufpnmr.label_gpaw', files, outputs, {'structures': dataset})
    assert (status, found) == (330, {}) and 'labels.extxyz: structure ' in message


def test_a_structure_with_more_digits_than_a_file_keeps_gets_its_labels(parse, tmp_path):
    """One coordinate lies half-way between two that the file can hold."""
    atoms = lithium_chloride(0.123456785)
    atoms.positions[1] *= np.pi / 3
    structure = orm.StructureData(ase=atoms)
    path = tmp_path / 'structures.extxyz'
    write(path, structure.get_ase())
    (source,), settings = read_sources(path), settings_sha256('gpaw', {})
    known = Labels(0.0, 0.0, np.zeros((2, 3)), np.zeros((3, 3)), np.zeros((2, 3, 3)), 'gpaw-0', {}, 1, 0.1)
    label = label_sha256(structure_sha256(source.atoms), settings)
    record = LabelRecord(settings_sha256=settings, label_sha256=label)
    write_dataset(tmp_path / 'written.extxyz', Dataset((labelled_atoms(source, known, record),)))
    outputs = {'labels.extxyz': (tmp_path / 'written.extxyz').read_bytes()}
    found, status, message = parse(
        'ufpnmr.label_gpaw', {'exit-status': '0', 'results.json': '{}'}, outputs, {'structures': structure}
    )
    assert status == 0 and len(found['dataset'].rows) == 1, message


@pytest.mark.slow
def test_setup_makes_a_code_that_knows_its_gpaw_once(tmp_path):
    pretender = tmp_path / 'python'
    pretender.write_text(f'#!{sys.executable}\nprint(\'{{"gpaw": "9.9.9", "mpi": false, "setups": true}}\')\n')
    pretender.chmod(0o755)
    environment = {**os.environ, 'AIIDA_PATH': str(tmp_path)}
    setup = [Path(sys.executable).with_name('aiida-ufpnmr'), 'setup', '--gpaw-python', pretender]
    (tmp_path / '.aiida').mkdir()
    for expected in ('made', 'there'):
        ended = subprocess.run(setup, env=environment, capture_output=True, text=True)
        assert ended.returncode == 0, ended.stderr
        assert ended.stdout.splitlines()[-1].split() == ['code', 'gpaw@localhost', expected, '(GPAW', '9.9.9)']
    show = [Path(sys.executable).with_name('verdi'), 'code', 'show', 'gpaw@localhost']
    assert (
        f'{PYTHON_VARIABLE}={pretender}' in subprocess.run(show, env=environment, capture_output=True, text=True).stdout
    )
    other = tmp_path / 'other'
    other.write_bytes(pretender.read_bytes())
    other.chmod(0o755)
    ended = subprocess.run([*setup[:-1], other], env=environment, capture_output=True, text=True)
    assert ended.returncode == 2 and 'verdi code relabel' in ended.stderr

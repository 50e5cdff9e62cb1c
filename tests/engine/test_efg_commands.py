"""Claims about ``ufpnmr fit-efg``, ``evaluate-efg`` and ``predict-efg``."""

import json

import ase.io
import h5py
import numpy as np
import pytest
from ase import Atoms
from click.testing import CliRunner

from aiida_ufpnmr.engine.dataset import Dataset, read_dataset, write_dataset
from aiida_ufpnmr.engine.dft import read_magres
from aiida_ufpnmr.engine.efg import EfgModel
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.hdf5 import content_hash
from aiida_ufpnmr.engine.main import ufpnmr
from aiida_ufpnmr.engine.md.trajectory import EDGES, POSITION, Trajectory, TrajectoryWriter

SETTINGS = 'cutoff: 4.5\nn_max: 4\nl_max: 3\nmixed_channels: 5\nfolds: 3\n'


def run(*arguments):
    """Run a command; what it raises comes out, as it does for the program, which turns it into a line and a status."""
    return CliRunner().invoke(ufpnmr, [str(a) for a in arguments], catch_exceptions=False, standalone_mode=False)


@pytest.fixture(scope='module')
def folder(tmp_path_factory, example_data):
    """A few structures of the shipped set, and a model fitted to them."""
    folder = tmp_path_factory.mktemp('efg')
    dataset = read_dataset(example_data).subset(range(0, 60, 6))
    write_dataset(folder / 'train.extxyz', dataset)
    write_dataset(folder / 'one.extxyz', dataset.subset([0]))
    (folder / 'settings.yaml').write_text(SETTINGS)
    run(
        *('fit-efg', folder / 'train.extxyz', '-o', folder / 'model.h5', '--species', 'Li'),
        *('--settings', folder / 'settings.yaml', '--json', folder / 'fit.json'),
    )
    return folder


@pytest.fixture(scope='module')
def model(folder):
    return EfgModel.load(folder / 'model.h5')


def write_trajectory(path, atoms, frames):
    writer = TrajectoryWriter(path, atoms)
    rng = np.random.default_rng(0)
    for step in range(frames):
        writer.append(POSITION, 10 * step, 5.0 * step, atoms.positions + rng.normal(0, 0.05, (len(atoms), 3)))
        writer.append(EDGES, 10 * step, 5.0 * step, atoms.cell.array)
    writer.close()


def test_fit_writes_a_model_and_results_with_units(folder):
    results = json.loads((folder / 'fit.json').read_text())
    assert results['omega_q_mae_khz'] > results['train']['omega_q_mae_khz'] > 0
    assert {'omega_q_rmse_khz', 'c_q_mae_khz', 'c_q_rmse_khz', 'eta_mae', 'efg_relative_rmse'} <= set(results)
    assert {f'quaternion_dot_fraction_above_{x}' for x in ('0_9', '0_99', '0_999')} <= set(results)
    assert results['isotope'] == '7Li' and results['settings']['l_max'] == 3
    assert results['training_sha256'] == read_dataset(folder / 'train.extxyz').content_hash
    assert 'wall_s' in results['timing'] and not any('.' in key for key in results['by_group'])


def test_equal_input_gives_a_model_of_equal_content(folder):
    run(
        *('fit-efg', folder / 'train.extxyz', '-o', folder / 'again.h5', '--species', 'Li'),
        *('--settings', folder / 'settings.yaml'),
    )
    assert content_hash(folder / 'again.h5') == content_hash(folder / 'model.h5')


def test_evaluation_on_the_training_set_gives_the_training_errors(folder):
    printed = run('evaluate-efg', folder / 'model.h5', folder / 'train.extxyz', '--json', folder / 'errors.json').output
    errors, fit = (json.loads((folder / f'{name}.json').read_text()) for name in ('errors', 'fit'))
    for key in ('omega_q_mae_khz', 'c_q_rmse_khz', 'eta_mae'):
        assert errors[key] == pytest.approx(fit['train'][key], rel=1e-9)
    assert 'omega_Q, MAE (kHz)' in printed


def test_prediction_for_structures_goes_to_extxyz_with_nan_for_other_species(folder, model, tmp_path):
    run('predict-efg', folder / 'model.h5', folder / 'train.extxyz', '-o', tmp_path / 'out.extxyz')
    source, target = read_dataset(folder / 'train.extxyz'), read_dataset(tmp_path / 'out.extxyz', ('efg',), 'Li')
    assert len(source) == len(target)
    for before, after in zip(source, target):
        lithium = after.numbers == 3
        # eight decimals in the file
        np.testing.assert_allclose(after.arrays['efg'][lithium], model.predict(before), atol=1e-8)
        assert np.isnan(after.arrays['efg'][~lithium]).all()


def test_prediction_goes_to_magres_that_ase_reads_back_with_the_same_numbers(folder, model, tmp_path):
    run('predict-efg', folder / 'model.h5', folder / 'one.extxyz', '-o', tmp_path / 'out.magres')
    atoms = read_dataset(folder / 'one.extxyz').structures[0]
    lithium = atoms.numbers == 3
    np.testing.assert_array_equal(read_magres(tmp_path / 'out.magres').arrays['efg'][lithium], model.predict(atoms))
    np.testing.assert_array_equal(ase.io.read(tmp_path / 'out.magres').arrays['efg'][lithium], model.predict(atoms))
    with pytest.raises(InputError, match='10 structures'):
        run('predict-efg', folder / 'model.h5', folder / 'train.extxyz', '-o', tmp_path / 'many.magres')
    assert not (tmp_path / 'many.magres').exists()


def test_prediction_along_a_trajectory_keeps_its_times_and_tells_the_tensors_of_every_frame(folder, model, tmp_path):
    atoms = read_dataset(folder / 'one.extxyz').structures[0]
    write_trajectory(tmp_path / 'trajectory.h5', atoms, 150)  # more than two parts of 64
    run(
        *('predict-efg', folder / 'model.h5', tmp_path / 'trajectory.h5', '-o', tmp_path / 'efg.h5'),
        *('--json', tmp_path / 'out.json'),
    )
    with Trajectory(tmp_path / 'trajectory.h5') as source, Trajectory(tmp_path / 'efg.h5') as target:
        series = target.efg('Li')
        np.testing.assert_array_equal(series.time_fs, source.time_fs)
        np.testing.assert_array_equal(series.index, model.ions(atoms.numbers))
        for frame in (0, 63, 64, 149):
            expected = model.predict(source.atoms(frame))
            # stored in single precision
            np.testing.assert_allclose(series.tensors[frame], expected, atol=1e-7 * np.abs(expected).max())
    with h5py.File(tmp_path / 'efg.h5') as file:
        np.testing.assert_array_equal(file['particles/efg_Li/efg/step'][...], 10 * np.arange(150))
        assert file['particles/efg_Li/efg/value'].attrs['unit'] == 'a.u.'
    results = json.loads((tmp_path / 'out.json').read_text())
    assert results['frames'] == 150 and results['tensors'] == 150 * 12 and results['c_q_mean_khz'] > 0


def test_structures_go_to_h5_with_the_time_step_that_is_given_and_without_one_cannot_be_correlated(folder, tmp_path):
    atoms = read_dataset(folder / 'one.extxyz').structures[0]
    write_dataset(tmp_path / 'three.extxyz', Dataset((atoms,) * 3))
    run('predict-efg', folder / 'model.h5', tmp_path / 'three.extxyz', '-o', tmp_path / 'a.h5', '--timestep', 2)
    with Trajectory(tmp_path / 'a.h5') as trajectory:
        assert trajectory.efg().time_fs.tolist() == [0, 2, 4]
    run('predict-efg', folder / 'model.h5', tmp_path / 'three.extxyz', '-o', tmp_path / 'b.h5')
    with Trajectory(tmp_path / 'b.h5') as trajectory, pytest.raises(InputError):
        trajectory.efg()
    sulphur_first = atoms[np.argsort(-atoms.numbers)]
    write_dataset(tmp_path / 'mixed.extxyz', Dataset((atoms, sulphur_first)))
    with pytest.raises(InputError, match='structure 1.*write .extxyz'):
        run('predict-efg', folder / 'model.h5', tmp_path / 'mixed.extxyz', '-o', tmp_path / 'c.h5')


def bad_structures(folder, tmp_path):
    whole = (folder / 'one.extxyz').read_text()
    sodium = Atoms('NaS', positions=[[0, 0, 0], [0, 0, 2.5]])
    germanium = Atoms('LiGe', positions=[[0, 0, 0], [0, 0, 2.5]])
    cases = {
        'empty.extxyz': '',
        'truncated.extxyz': ''.join(whole.splitlines(True)[:-3]),
        'foreign.h5': 'this is no HDF5 file',
        'foreign.cif': 'this is no crystal',
    }
    for name, text in cases.items():
        (tmp_path / name).write_text(text)
    write_dataset(tmp_path / 'sodium.extxyz', Dataset((sodium,)))
    write_dataset(tmp_path / 'germanium.extxyz', Dataset((germanium,)))
    write_trajectory(tmp_path / 'germanium.h5', germanium, 2)
    with h5py.File(tmp_path / 'other.h5', 'w') as file:
        file['x'] = 1
    return {
        'empty.extxyz': 'empty',
        'truncated.extxyz': 'truncated',
        'foreign.h5': 'HDF5',
        'foreign.cif': 'cannot be read|holds no structure',
        'sodium.extxyz': 'holds no Li',
        'germanium.extxyz': 'structure 0.*Ge',
        'germanium.h5': 'Ge',
        'other.h5': 'H5MD',
        'missing.cif': 'no such',
    }


def test_structures_that_cannot_be_used_are_refused_by_name_and_nothing_is_written(folder, tmp_path):
    for name, words in bad_structures(folder, tmp_path).items():
        with pytest.raises(InputError, match=words) as caught:
            run('predict-efg', folder / 'model.h5', tmp_path / name, '-o', tmp_path / 'out.h5')
        assert name in str(caught.value) and '\n' not in str(caught.value)
        assert not list(tmp_path.glob('*out.h5*'))


def test_outputs_that_cannot_be_written_are_refused_before_anything_is_read(tmp_path):
    for output in (tmp_path / 'missing' / 'out.h5', tmp_path / 'out.txt', tmp_path / 'out'):
        with pytest.raises(InputError):
            run('predict-efg', 'no-model.h5', 'no-structure.cif', '-o', output)
    with pytest.raises(InputError, match='does not exist'):
        run('fit-efg', 'no-data.extxyz', '-o', tmp_path / 'missing' / 'm.h5', '--species', 'Li')


def test_training_sets_without_usable_labels_are_refused(folder, tmp_path):
    atoms = read_dataset(folder / 'one.extxyz').structures[0]
    cases = {}
    for name in ('none', 'nan', 'partly', 'other'):
        copy = atoms.copy()
        cases[name] = copy
    del cases['none'].arrays['efg']
    cases['nan'].arrays['efg'][:] = np.nan
    cases['partly'].arrays['efg'][3, 1, 1] = np.inf
    words = {'none': 'no efg', 'nan': 'no labelled Li', 'partly': 'atom 3', 'other': 'no Na'}
    for name, copy in cases.items():
        path = tmp_path / f'{name}.extxyz'
        write_dataset(path, Dataset((copy,)))
        with pytest.raises(InputError, match=words[name]):
            run('fit-efg', path, '-o', tmp_path / 'm.h5', '--species', 'Na' if name == 'other' else 'Li')
        assert not (tmp_path / 'm.h5').exists()

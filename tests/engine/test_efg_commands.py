"""Claims about ``ufpnmr fit-efg``, ``evaluate-efg`` and ``predict-efg``."""

import json

import ase.io
import click
import h5py
import numpy as np
import pytest
from ase import Atoms
from click.testing import CliRunner

from aiida_ufpnmr.engine.commands.fits import tuning_line
from aiida_ufpnmr.engine.dataset import Dataset, read_dataset, write_dataset
from aiida_ufpnmr.engine.dft import read_magres
from aiida_ufpnmr.engine.efg import EfgModel
from aiida_ufpnmr.engine.efg.posterior import frequency_error_khz
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.hdf5 import content_hash
from aiida_ufpnmr.engine.main import ufpnmr
from aiida_ufpnmr.engine.trajectories.trajectory import EDGES, POSITION, Trajectory, TrajectoryWriter

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
    with Trajectory(tmp_path / 'b.h5') as trajectory, pytest.raises(InputError, match='not equally spaced in time'):
        trajectory.efg()
    sulphur_first = atoms[np.argsort(-atoms.numbers)]
    write_dataset(tmp_path / 'mixed.extxyz', Dataset((atoms, sulphur_first)))
    with pytest.raises(InputError, match='structure 1.*write .extxyz'):
        run('predict-efg', folder / 'model.h5', tmp_path / 'mixed.extxyz', '-o', tmp_path / 'c.h5')


def test_labels_that_came_later_are_given_as_another_file(folder, tmp_path):
    dataset = read_dataset(folder / 'train.extxyz')
    for name, part in (('a', range(6)), ('b', range(6, 10))):
        write_dataset(tmp_path / f'{name}.extxyz', dataset.subset(part))
    run(
        *('fit-efg', tmp_path / 'a.extxyz', tmp_path / 'b.extxyz', '-o', tmp_path / 'm.h5', '--species', 'Li'),
        *('--settings', folder / 'settings.yaml'),
    )
    assert content_hash(tmp_path / 'm.h5') == content_hash(folder / 'model.h5')
    spoilt = dataset.structures[7].copy()
    spoilt.arrays['efg'][0] += 0.1 * np.eye(3)
    write_dataset(tmp_path / 'b.extxyz', Dataset((dataset.structures[6], spoilt)))
    with pytest.raises(InputError, match='b.extxyz, structure 1, atom 0: its efg has a trace'):
        run('fit-efg', tmp_path / 'a.extxyz', tmp_path / 'b.extxyz', '-o', tmp_path / 'n.h5', '--species', 'Li')


def test_expected_errors_and_grades_stand_beside_the_tensors(folder, model, tmp_path):
    files = '-o', tmp_path / 'a.extxyz', '--json', tmp_path / 'a.json'
    run('predict-efg', folder / 'model.h5', folder / 'one.extxyz', *files)
    atoms = read_dataset(tmp_path / 'a.extxyz').structures[0]
    expected = model.predict_with_errors(read_dataset(folder / 'one.extxyz').structures[0])
    lithium = atoms.numbers == 3
    # eight decimals in the file
    np.testing.assert_allclose(atoms.arrays['efg_error_au'][lithium], expected.error, atol=1e-8)
    np.testing.assert_allclose(atoms.arrays['efg_grade'][lithium], expected.grade, atol=1e-8)
    khz = frequency_error_khz(expected.error, '7Li')
    np.testing.assert_allclose(atoms.arrays['omega_q_error_khz'][lithium], khz, atol=1e-7)
    assert np.isnan(atoms.arrays['efg_grade'][~lithium]).all()
    results = json.loads((tmp_path / 'a.json').read_text())
    assert results['omega_q_error_expected_khz'] == pytest.approx(np.sqrt(np.mean(khz**2)))
    assert results['extrapolating_fraction'] == (expected.grade > 1).mean()
    run('predict-efg', folder / 'model.h5', folder / 'one.extxyz', '-o', tmp_path / 'b.h5')
    with h5py.File(tmp_path / 'b.h5') as file:
        assert file['particles/efg_Li/efg_error/value'].attrs['unit'] == 'a.u.'
        np.testing.assert_allclose(file['per_ion/efg_grade_Li/value'][0], expected.grade, rtol=1e-6)


def test_errors_along_a_trajectory_are_those_of_every_nth_frame_whatever_the_number_of_threads(folder, model, tmp_path):
    atoms = read_dataset(folder / 'one.extxyz').structures[0]
    write_trajectory(tmp_path / 't.h5', atoms, 150)
    for cores in (1, 3):
        run(
            *('predict-efg', folder / 'model.h5', tmp_path / 't.h5', '-o', tmp_path / f'{cores}.h5'),
            *('--uncertainty-every', 50, '--threads', cores),
        )
    assert content_hash(tmp_path / '1.h5') == content_hash(tmp_path / '3.h5')
    with h5py.File(tmp_path / '3.h5') as file, Trajectory(tmp_path / 't.h5') as trajectory:
        error = file['particles/efg_Li/efg_error']
        assert error['step'][...].tolist() == [0, 500, 1000]
        expected = model.predict_with_errors(trajectory.atoms(100)).error
        np.testing.assert_allclose(error['value'][2], expected, rtol=1e-5)


def test_a_prediction_that_was_cut_off_goes_on_to_the_same_file(folder, tmp_path, monkeypatch):
    from aiida_ufpnmr.engine.efg import storage

    monkeypatch.setattr(storage, 'BYTES', 1)  # a piece for each part
    atoms = read_dataset(folder / 'one.extxyz').structures[0]
    write_trajectory(tmp_path / 't.h5', atoms, 300)
    command = ('predict-efg', folder / 'model.h5', tmp_path / 't.h5', '--uncertainty-every', 100, '-o')
    run(*command, tmp_path / 'whole.h5')
    add, predicted = storage.PredictionWriter.add, []

    def interrupted(writer, part):
        if part.first >= 128:
            raise KeyboardInterrupt
        add(writer, part)

    monkeypatch.setattr(storage.PredictionWriter, 'add', interrupted)
    with pytest.raises((KeyboardInterrupt, click.exceptions.Abort), match='^$'):
        run(*command, tmp_path / 'cut.h5')
    assert not (tmp_path / 'cut.h5').exists() and (tmp_path / 'cut.h5.pieces').is_dir()

    def watched(writer, part):
        predicted.append(part.first)
        add(writer, part)

    monkeypatch.setattr(storage.PredictionWriter, 'add', watched)
    run(*command, tmp_path / 'cut.h5', '--restart')
    assert predicted == [128, 192, 256]
    assert content_hash(tmp_path / 'cut.h5') == content_hash(tmp_path / 'whole.h5')
    assert not (tmp_path / 'cut.h5.pieces').exists()
    predicted.clear()
    run(*command, tmp_path / 'cut.h5', '--restart', '--json', tmp_path / 'again.json')  # all is there
    assert not predicted and json.loads((tmp_path / 'again.json').read_text())['frames'] == 300


def test_a_prediction_is_not_continued_with_another_trajectory(folder, tmp_path, monkeypatch):
    from aiida_ufpnmr.engine.efg import storage

    atoms = read_dataset(folder / 'one.extxyz').structures[0]
    write_trajectory(tmp_path / 'a.h5', atoms, 3)
    write_trajectory(tmp_path / 'b.h5', atoms, 4)
    with monkeypatch.context() as patch, pytest.raises((KeyboardInterrupt, click.exceptions.Abort), match='^$'):
        patch.setattr(storage.PredictionWriter, 'close', lambda writer: (_ for _ in ()).throw(KeyboardInterrupt()))
        run('predict-efg', folder / 'model.h5', tmp_path / 'a.h5', '-o', tmp_path / 'out.h5')
    with pytest.raises(InputError, match='begun with another'):
        run('predict-efg', folder / 'model.h5', tmp_path / 'b.h5', '-o', tmp_path / 'out.h5', '--restart')
    run('predict-efg', folder / 'model.h5', tmp_path / 'b.h5', '-o', tmp_path / 'out.h5')
    assert (tmp_path / 'out.h5').exists()


def test_a_position_that_is_nan_ends_a_prediction_by_frame_and_leaves_nothing(folder, tmp_path):
    atoms = read_dataset(folder / 'one.extxyz').structures[0]
    write_trajectory(tmp_path / 't.h5', atoms, 130)
    with h5py.File(tmp_path / 't.h5', 'a') as file:
        file[f'{POSITION}/value'][100, 3] = np.nan
    with pytest.raises(InputError, match='t.h5, frame 100: position is NaN'):
        run('predict-efg', folder / 'model.h5', tmp_path / 't.h5', '-o', tmp_path / 'out.h5')
    assert not list(tmp_path.glob('*out.h5*'))


def test_without_posterior_errors_must_not_be_asked_for(folder, tmp_path):
    run(
        *('fit-efg', folder / 'train.extxyz', '-o', tmp_path / 'm.h5', '--species', 'Li'),
        *('--settings', folder / 'settings.yaml', '--no-posterior'),
    )
    with pytest.raises(InputError, match='--no-posterior'):
        run('predict-efg', tmp_path / 'm.h5', folder / 'one.extxyz', '-o', tmp_path / 'a.h5', '--uncertainty-every', 1)
    run('predict-efg', tmp_path / 'm.h5', folder / 'one.extxyz', '-o', tmp_path / 'a.h5', '--json', tmp_path / 'a.json')
    assert json.loads((tmp_path / 'a.json').read_text())['extrapolating_fraction'] is None


def test_learning_curve_and_figures_come_with_a_fit_and_an_evaluation(folder, tmp_path):
    printed = run(
        *('fit-efg', folder / 'train.extxyz', '-o', tmp_path / 'm.h5', '--species', 'Li', '--learning-curve'),
        *('--settings', folder / 'settings.yaml', '--plot', tmp_path / 'fit.png', '--json', tmp_path / 'fit.json'),
    ).output
    curve = json.loads((tmp_path / 'fit.json').read_text())['learning_curve']
    assert curve['ions'] == sorted(curve['ions']) and len(curve['omega_q_mae_khz']) == len(curve['ions'])
    assert curve['omega_q_mae_khz'][0] > curve['omega_q_mae_khz'][-1]
    assert 'within the expected error' in printed
    run(
        *('evaluate-efg', tmp_path / 'm.h5', folder / 'train.extxyz'),
        *('--plot', tmp_path / 'errors.png', '--json', tmp_path / 'errors.json'),
    )
    errors = json.loads((tmp_path / 'errors.json').read_text())
    assert errors['calibration']['bins'] and errors['extrapolating_fraction'] is not None
    for name in ('fit', 'errors'):
        assert (tmp_path / f'{name}.png').read_bytes().startswith(b'\x89PNG')


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
    for output, message in (('missing/out.h5', 'does not exist'), ('out.txt', 'suffix'), ('out', 'suffix')):
        with pytest.raises(InputError, match=message):
            run('predict-efg', 'no-model.h5', 'no-structure.cif', '-o', tmp_path / output)
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


def test_prediction_along_an_xdatcar_is_that_along_the_converted_trajectory(folder, tmp_path):
    atoms = read_dataset(folder / 'one.extxyz').structures[0]
    write_trajectory(tmp_path / 'own.h5', atoms, 8)
    with Trajectory(tmp_path / 'own.h5') as own:
        frames = [own.atoms(frame) for frame in range(8)]
    for atoms in frames:
        atoms.wrap()
    ase.io.write(tmp_path / 'XDATCAR', frames, format='vasp-xdatcar')
    run(
        *('predict-efg', folder / 'model.h5', tmp_path / 'XDATCAR', '-o', tmp_path / 'a.h5'),
        *('--timestep', 2, '--every', 5),
    )
    run('convert-trajectory', tmp_path / 'XDATCAR', '-o', tmp_path / 'run.h5', '--timestep', 2, '--every', 5)
    run('predict-efg', folder / 'model.h5', tmp_path / 'run.h5', '-o', tmp_path / 'b.h5')
    run('predict-efg', folder / 'model.h5', tmp_path / 'own.h5', '-o', tmp_path / 'c.h5')
    with Trajectory(tmp_path / 'a.h5') as a, Trajectory(tmp_path / 'b.h5') as b, Trajectory(tmp_path / 'c.h5') as c:
        largest = np.abs(c.efg().tensors).max()
        # positions in single precision, and with eight digits in the XDATCAR
        np.testing.assert_allclose(a.efg().tensors, b.efg().tensors, atol=1e-4 * largest)
        np.testing.assert_allclose(a.efg().tensors, c.efg().tensors, atol=1e-4 * largest)
        assert a.efg().time_fs.tolist() == [10.0 * frame for frame in range(8)]
    with pytest.raises(InputError, match='is read as structures, which elements says nothing about'):
        run('predict-efg', folder / 'model.h5', folder / 'one.extxyz', '-o', tmp_path / 'd.h5', '--elements', 'Li')


def test_a_tuned_setting_may_be_a_word_a_number_or_a_mapping():
    changed = {'radial_basis': 'laplacian', 'cutoff': 5.0, 'charges': {'Li': 1.0, 'S': -2.0}}
    assert tuning_line({'changed': changed}) == 'tuned: radial_basis laplacian, cutoff 5, charges Li 1 S -2'


def test_an_evaluation_is_in_the_frequencies_of_the_isotope_that_is_named(folder, tmp_path):
    found = {}
    for isotope in ('7Li', '6Li'):
        path = tmp_path / f'{isotope}.json'
        run('evaluate-efg', folder / 'model.h5', folder / 'train.extxyz', '--isotope', isotope, '--json', path)
        found[isotope] = json.loads(path.read_text())
    assert found['6Li']['isotope'] == '6Li'
    # frequencies go with the moments, −0.808 and −40.1 mb; C_Q = e Q V_zz / h whatever the spin
    assert found['6Li']['c_q_mae_khz'] == pytest.approx(found['7Li']['c_q_mae_khz'] * 0.808 / 40.1)
    with pytest.raises(InputError, match='isotope 23Na is none of Li'):
        run('evaluate-efg', folder / 'model.h5', folder / 'train.extxyz', '--isotope', '23Na')


@pytest.mark.parametrize('factor, words', [(-1.0, 'the opposite of what the model predicts'), (0.0, 'zero throughout')])
def test_an_evaluation_refuses_labels_of_the_other_sign_or_none(folder, tmp_path, factor, words):
    dataset = read_dataset(folder / 'train.extxyz')
    for atoms in dataset:
        atoms.arrays['efg'] = factor * atoms.arrays['efg']
    write_dataset(tmp_path / 'turned.extxyz', dataset)
    with pytest.raises(InputError, match=f'turned.extxyz: efg is {words}'):
        run('evaluate-efg', folder / 'model.h5', tmp_path / 'turned.extxyz')

"""Claims about "ufpnmr acf" and "ufpnmr analyse" from file to file."""

import json

import h5py
import numpy as np
import pytest
from two_site import two_site_paths, two_site_tensors, write_two_site_trajectory

from aiida_ufpnmr.engine import main as program
from aiida_ufpnmr.engine.efg.tensors import quadrupolar_frequency
from aiida_ufpnmr.engine.hdf5 import content_hash
from aiida_ufpnmr.engine.nmr import NO_DECAY, powder_directions
from aiida_ufpnmr.engine.nmr.observables import AcfSettings, correlation_functions
from aiida_ufpnmr.engine.trajectories.trajectory import EfgSeries, Trajectory, write_efg
from aiida_ufpnmr.engine.transport import ion_paths

RATE_PER_FRAME = 0.01
STEP_PS = 0.1
TAU_NS = 0.5 / RATE_PER_FRAME * STEP_PS * 1e-3


@pytest.fixture(scope='module')
def trajectory(tmp_path_factory):
    path = tmp_path_factory.mktemp('two_site') / 'run.h5'
    write_two_site_trajectory(path, *two_site_paths(seed=2, n_ions=40, rate_per_frame=RATE_PER_FRAME))
    return path


@pytest.fixture
def ufpnmr(monkeypatch, capsys):
    def run(*arguments):
        monkeypatch.setattr('sys.argv', ['ufpnmr', *map(str, arguments)])
        with pytest.raises(SystemExit, match=r'\d') as exit_status:
            program.main()
        return exit_status.value.code, capsys.readouterr()

    return run


@pytest.mark.parametrize('options', [['--gamma', '1'], []])
def test_acf_gives_back_the_decay_time_from_a_file(trajectory, ufpnmr, tmp_path, options):
    files = [tmp_path / name for name in ('acf.h5', 'acf.png', 'acf.json')]
    status, _ = ufpnmr('acf', trajectory, '-o', files[0], '--plot', files[1], '--json', files[2], *options)
    assert status == 0
    results = json.loads(files[2].read_text())
    low, high = results['tau_ns_ci95']
    assert results['verdict'] == 'decay'
    assert low < TAU_NS < high
    assert low < results['tau_ns'] < high
    assert results['decay_rate_per_s'] == pytest.approx(1e9 / results['tau_ns'])
    assert results['observables']['omega_q_powder']['tau_ns'] == results['tau_ns']
    assert results['observables']['c_q']['verdict'] == NO_DECAY  # both sites have the same |C_Q|
    assert results['observables']['c_q']['tau_ns'] is None
    assert files[1].read_bytes().startswith(b'\x89PNG')
    with h5py.File(files[0]) as file:
        group = file['observables/omega_q_powder']
        assert group['c'][0] == 1
        assert group['lag_ps'].shape == group['c'].shape == group['fit'].shape
        assert group['band'].shape == (*group['band_lag_ps'].shape, 2)


def test_acf_twice_gives_the_same_content(trajectory, ufpnmr, tmp_path):
    for name in ('a.h5', 'b.h5'):
        assert ufpnmr('acf', trajectory, '-o', tmp_path / name)[0] == 0
    assert content_hash(tmp_path / 'a.h5') == content_hash(tmp_path / 'b.h5')


def test_all_directions_and_the_echo_agree_for_a_tensor_that_only_changes_sign(trajectory, ufpnmr, tmp_path):
    out = tmp_path / 'acf.json'
    options = ['--gamma', '1', '--field', '1,1,0', '--pulse-us', '0.1', '--decay-us', '0.1']
    assert ufpnmr('acf', trajectory, '--json', out, *options)[0] == 0
    found = json.loads(out.read_text())['observables']
    assert found['omega_q_vector']['tau_ns'] == pytest.approx(found['omega_q_powder']['tau_ns'], rel=1e-6)
    # phases below 0.1 rad: sines within a per cent of their arguments
    assert found['sae']['tau_ns'] == pytest.approx(found['omega_q_powder']['tau_ns'], rel=0.05)


def test_powder_identity_equals_the_average_over_directions():
    rng = np.random.default_rng(0)
    v = rng.normal(size=(50, 3, 3, 3)) * 1e-3
    v = v + v.swapaxes(-1, -2)
    v -= np.eye(3) * np.trace(v, axis1=-2, axis2=-1)[..., None, None] / 3
    curves, results = correlation_functions(EfgSeries('Li', np.arange(3), np.arange(50) * 100.0, v), AcfSettings())
    directions, weight = powder_directions(4)
    omega = np.array([quadrupolar_frequency(v, b) for b in directions])
    expected = [np.einsum('k,kfn->', weight, omega[:, : 50 - m] * omega[:, m:]) / (50 - m) for m in range(50)]
    np.testing.assert_allclose(curves['omega_q_powder'].c, np.array(expected) / expected[0], atol=1e-12)
    assert results['omega_q_std_khz'] == pytest.approx(np.sqrt(expected[0] / 3))


def test_hops_and_msd_from_a_file(trajectory, ufpnmr, tmp_path):
    for name in ('hops', 'msd'):
        files = [tmp_path / f'{name}.{suffix}' for suffix in ('h5', 'png', 'json')]
        assert ufpnmr('analyse', name, trajectory, '-o', files[0], '--plot', files[1], '--json', files[2])[0] == 0
        assert all(file.stat().st_size for file in files)
    hops = json.loads((tmp_path / 'hops.json').read_text())
    low, high = hops['hop_rate_per_s_ci95']
    assert low < RATE_PER_FRAME / (STEP_PS * 1e-12) < high
    msd = json.loads((tmp_path / 'msd.json').read_text())
    assert not msd['diffusive']  # to and fro between two sites leads nowhere


def test_drift_of_the_whole_is_no_motion_of_the_ions(trajectory):
    with Trajectory(trajectory) as source:
        held, free = (ion_paths(source, 'Li', reference=name) for name in ('framework', 'none'))
    drift = (free.positions - held.positions)[-1]
    np.testing.assert_allclose(drift, 0.001 * (len(held.positions) - 1), atol=1e-3)  # float32 on disk


@pytest.mark.parametrize(
    'arguments',
    [
        ['acf', 'TRAJ', '--species', 'Na'],
        ['acf', 'TRAJ', '--skip-ps', '1e6'],
        ['acf', 'TRAJ', '--skip-ps', '-1'],
        ['acf', 'TRAJ', '--first-lag-ps', '200'],
        ['acf', 'TRAJ', '--gamma', '2'],
        ['acf', 'TRAJ', '--gamma', 'nan'],
        ['acf', 'TRAJ', '--field', 'up'],
        ['acf', 'TRAJ', '--pulse-us', '5'],
        ['acf', 'TRAJ', '--isotope', '99Li'],
        ['acf', 'missing.h5'],
        ['acf', 'FOREIGN'],
        ['acf', 'CORRUPT'],
        ['acf', 'SHORT'],
        ['acf', 'UNEVEN'],
        ['analyse', 'hops', 'EFG_ONLY'],
        ['analyse', 'hops', 'TRAJ', '--species', 'Na'],
        ['analyse', 'hops', 'TRAJ', '--window-ps', '0'],
        ['analyse', 'hops', 'TRAJ', '--window-ps', '400'],
        ['analyse', 'msd', 'TRAJ', '--window', '0.5', '0.1'],
        ['analyse', 'msd', 'TRAJ', '--skip-ps', '299.9'],
        ['analyse', 'msd', 'CORRUPT'],
    ],
    ids=' '.join,
)
def test_bad_input_is_one_line_and_status_two_and_writes_nothing(trajectory, ufpnmr, tmp_path, arguments):
    times = np.arange(40) * 100.0
    tensors = two_site_tensors(np.zeros((40, 2), int))
    places = {name: tmp_path / f'{name}.h5' for name in ('FOREIGN', 'CORRUPT', 'SHORT', 'UNEVEN', 'EFG_ONLY')}
    with h5py.File(places['FOREIGN'], 'w') as file:
        file['x'] = 1
    places['CORRUPT'].write_bytes(trajectory.read_bytes()[:5000])
    write_efg(places['SHORT'], EfgSeries('Li', np.arange(2), times[:1], tensors[:1]))
    write_efg(places['UNEVEN'], EfgSeries('Li', np.arange(2), np.where(times > 900, times + 50, times), tensors))
    write_efg(places['EFG_ONLY'], EfgSeries('Li', np.arange(2), times, tensors))
    places['TRAJ'] = trajectory
    before = sorted(tmp_path.iterdir())
    outputs = ['-o', tmp_path / 'out.h5', '--json', tmp_path / 'out.json', '--plot', tmp_path / 'out.png']
    status, printed = ufpnmr(*[places.get(argument, argument) for argument in arguments], *outputs)
    assert status == 2
    assert len(printed.err.strip().splitlines()) == 1 and printed.err.startswith('ufpnmr: error: ')
    assert sorted(tmp_path.iterdir()) == before

"""Claims about correlation functions of several runs, of groups of ions, and of trajectories read block by block."""

import json

import h5py
import numpy as np
import pytest
from two_site import TENSOR, two_site_paths, two_site_tensors, write_two_site_trajectory

from aiida_ufpnmr.engine.analyses.groups import hopping_ions
from aiida_ufpnmr.engine.commands import analyse as command
from aiida_ufpnmr.engine.efg.tensors import asymmetry, quadrupolar_coupling
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.nmr import observables
from aiida_ufpnmr.engine.nmr import runs as module
from aiida_ufpnmr.engine.nmr.observables import AcfSettings, correlation_functions
from aiida_ufpnmr.engine.nmr.principal import coupling_and_asymmetry
from aiida_ufpnmr.engine.nmr.runs import EfgRuns
from aiida_ufpnmr.engine.timeseries.lag_bins import bin_nodes
from aiida_ufpnmr.engine.timeseries.sums import CorrelationSums
from aiida_ufpnmr.engine.trajectories.trajectory import EfgSeries, write_efg
from aiida_ufpnmr.engine.trajectories.writer import FOLLOWS

FAST = AcfSettings(gamma=1.0, bootstrap=20, decays=1)


def tensors(seed, n_frames, n_ions=3):
    rng = np.random.default_rng(seed)
    v = 1e-3 * rng.standard_normal((n_frames, n_ions, 3, 3)) + 1e-3 * TENSOR
    v = v + v.swapaxes(-1, -2)
    return v - np.eye(3) * np.trace(v, axis1=-2, axis2=-1)[..., None, None] / 3


def write(path, v, start_fs=0.0, step_fs=100.0):
    write_efg(path, EfgSeries('Li', np.arange(v.shape[1]), start_fs + step_fs * np.arange(len(v)), v))
    return path


def test_closed_form_equals_the_eigenvalue_solver():
    v = tensors(0, 200)
    v[0, 0] = 0
    v[1, 0] = 1e-3 * np.diag([-0.5, -0.5, 1.0])  # η = 0
    v[2, 0] = 1e-3 * np.diag([0.0, -1.0, 1.0])  # η = 1
    size, eta = coupling_and_asymmetry(v)
    per_au = quadrupolar_coupling(np.diag([-0.5, -0.5, 1.0]), signed=False)
    np.testing.assert_allclose(per_au * size, quadrupolar_coupling(v, signed=False), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(eta, asymmetry(v), atol=1e-7)  # arccos near 1 loses half the digits


def test_replicas_are_averaged_over_origins_and_never_across_the_seam(tmp_path):
    one, other = tensors(0, 60), tensors(1, 40)
    files = [write(tmp_path / 'a.h5', one), write(tmp_path / 'b.h5', other)]
    runs = EfgRuns.open(files)
    assert runs.lengths == (60, 40)
    curve = correlation_functions(runs, FAST)[0]['omega_q_powder'].c
    expected = np.empty(60)
    for m in range(60):
        parts = [np.einsum('finm,finm->fi', v[: len(v) - m], v[m:]) for v in (one, other) if m < len(v)]
        expected[m] = sum(part.sum() for part in parts) / sum(part.size for part in parts)
    np.testing.assert_allclose(curve, expected / expected[0], atol=1e-5)  # float32 on disk


@pytest.mark.parametrize('overlap', [0, 1])
def test_a_restart_goes_on_where_the_file_before_ended(tmp_path, overlap):
    v = tensors(0, 100)
    uncut = EfgRuns.open([write(tmp_path / 'uncut.h5', v)])
    parts = [write(tmp_path / 'a.h5', v[:40]), write(tmp_path / 'b.h5', v[40 - overlap :], 100.0 * (40 - overlap))]
    joined = EfgRuns.open(parts)
    assert joined.lengths == (100,)
    a, b = (correlation_functions(runs, FAST)[0]['c_q'].c for runs in (uncut, joined))
    np.testing.assert_allclose(a, b, atol=1e-12)


def write_parts(folder, v, cuts):
    """Parts of one run, each of which goes on from a checkpoint ten frames before the end of the one before."""
    paths = []
    for number, (start, stop) in enumerate(cuts):
        paths.append(write(folder / f'part{number}.h5', v[start:stop], 100.0 * start))
        if number:
            with h5py.File(paths[-1], 'r+') as file:
                file.attrs[FOLLOWS] = start - 1
    return paths


@pytest.mark.parametrize('order', [(0, 1, 2), (2, 0, 1), (2, 1, 0)])
def test_parts_of_a_run_are_joined_in_any_order_with_each_frame_once(tmp_path, order):
    v = tensors(0, 120)
    uncut = EfgRuns.open([write(tmp_path / 'uncut.h5', v)])
    parts = write_parts(tmp_path, v, [(0, 50), (40, 90), (80, 120)])
    joined = EfgRuns.open([parts[number] for number in order])
    assert joined.lengths == (120,) and joined.files == [[part.name for part in parts]]
    np.testing.assert_array_equal(joined.time_fs(0), uncut.time_fs(0))
    a, b = (correlation_functions(runs, FAST)[0]['c_q'].c for runs in (uncut, joined))
    np.testing.assert_allclose(a, b, atol=1e-12)


def test_parts_of_several_runs_stay_with_their_run_and_a_part_alone_is_a_run(tmp_path):
    runs = []
    for seed in range(2):
        (tmp_path / f'{seed}').mkdir()
        runs.append(write_parts(tmp_path / f'{seed}', tensors(seed, 90), [(0, 50), (40, 90)]))
    joined = EfgRuns.open([*runs[0], *runs[1]])
    assert joined.lengths == (90, 90)
    assert [[segment.path for segment in run] for run in joined.runs] == runs
    assert EfgRuns.open(runs[0][1:]).lengths == (50,)
    # the frames that both hold tell to which run a part belongs, whatever the order
    mixed = EfgRuns.open([runs[1][1], runs[0][1], runs[0][0], runs[1][0]])
    assert sorted([segment.path for segment in run] for run in mixed.runs) == runs


def test_parts_without_a_common_frame_stay_with_the_run_before_them_and_are_refused_between_two(tmp_path):
    runs = []
    for seed in range(2):
        (tmp_path / f'{seed}').mkdir()
        runs.append(write_parts(tmp_path / f'{seed}', tensors(seed, 90), [(0, 50), (50, 90)]))
    joined = EfgRuns.open([*runs[0], *runs[1]])
    assert [[segment.path for segment in run] for run in joined.runs] == runs
    with pytest.raises(InputError, match='goes on from several'):
        EfgRuns.open([runs[0][0], runs[1][0], runs[0][1]])


def test_branches_from_one_run_are_not_joined_with_one_another(tmp_path):
    v, branch = tensors(0, 120), tensors(1, 120)
    parts = write_parts(tmp_path, v, [(0, 50), (40, 90)])
    other = write(tmp_path / 'branch.h5', branch[45:], 4500.0)
    with h5py.File(other, 'r+') as file:
        file.attrs[FOLLOWS] = 44
    assert EfgRuns.open([*parts, other]).lengths == (90, 75)


@pytest.mark.parametrize('kind', ['same file', 'copy', 'link', 'overlap', 'inside', 'part twice', 'joined and part'])
def test_frames_that_are_given_twice_are_refused_with_both_names(tmp_path, kind):
    v = tensors(0, 100)
    first = write(tmp_path / 'first.h5', v)
    again = tmp_path / 'again.h5'
    given = [write(tmp_path / 'other.h5', tensors(1, 100)), first, again]
    if kind == 'same file':
        given[2] = first
    elif kind == 'copy':  # written anew: another file with the same content
        write(again, v)
    elif kind == 'link':
        again.symlink_to(first)
    elif kind == 'overlap':
        write(again, np.concatenate([v[60:], tensors(2, 40)]), 6000.0)
    elif kind == 'inside':
        write(again, v[20:70], 2000.0)
    else:
        parts = write_parts(tmp_path, v, [(0, 50), (40, 90)])
        given = [*parts, parts[1]] if kind == 'part twice' else [first, parts[1]]
    with pytest.raises(InputError, match='give each run once') as refused:
        EfgRuns.open(given)
    assert given[-1].name in str(refused.value) and given[-2].name in str(refused.value)


def test_replicas_that_start_from_one_configuration_are_runs_of_their_own(tmp_path):
    one, other = tensors(0, 60), tensors(1, 60)
    other[0] = one[0]
    files = [write(tmp_path / 'a.h5', one, 5000.0), write(tmp_path / 'b.h5', other, 5000.0)]
    assert EfgRuns.open(files).lengths == (60, 60)


@pytest.mark.parametrize('options', [{}, {'field': 'z'}, {'subtract_mean': True}, {'pulse_us': 3.0, 'decay_us': 5.0}])
def test_blocks_of_ions_do_not_change_the_result(tmp_path, monkeypatch, options):
    path = write(tmp_path / 'a.h5', tensors(0, 80, 7))
    settings = AcfSettings(gamma=1.0, bootstrap=20, decays=1, **options)
    whole, numbers = correlation_functions(EfgRuns.open([path]), settings)
    monkeypatch.setattr(module, 'BLOCK_BYTES', 80 * 6 * 4 * 2.0)
    monkeypatch.setattr(module, 'CHUNK_BYTES', 36 * 7 * 11.0)
    monkeypatch.setattr(observables, 'SIGNAL_BYTES', 1.0)
    blocks, others = correlation_functions(EfgRuns.open([path]), settings)
    for name in whole:
        np.testing.assert_allclose(whole[name].c, blocks[name].c, atol=1e-12)
        np.testing.assert_allclose(whole[name].band, blocks[name].band, atol=1e-12)
    assert numbers['c_q_std_khz'] == pytest.approx(others['c_q_std_khz'])


def test_subtracting_the_mean_leaves_no_plateau_in_any_function(tmp_path):
    path = write(tmp_path / 'a.h5', tensors(0, 400, 20))
    settings = AcfSettings(gamma=1.0, bootstrap=20, decays=1, field='z', subtract_mean=True)
    for curve in correlation_functions(EfgRuns.open([path]), settings)[0].values():
        assert abs(curve.c[1:100].mean()) < 0.02


@pytest.mark.parametrize('share', [0.4, 1.0])
@pytest.mark.parametrize('blocks', [1, 3])
def test_sums_over_chosen_origins_equal_the_double_sum(blocks, share):
    rng = np.random.default_rng(0)
    x, inside = rng.standard_normal((90, 4, 2)), rng.random((90, 4)) < share
    origins = inside.astype(float) if share < 1 else None
    nodes = bin_nodes(40)
    sums = CorrelationSums((90,), 4, nodes, blocks)
    sums.count(0, np.arange(4), origins)
    sums.add(0, np.arange(4), 1.0, x, origins)
    products = np.array([((x[: 90 - m] * x[m:]).sum(-1) * inside[: 90 - m]).sum() for m in range(60)])
    pairs = np.array([inside[: 90 - m].sum() for m in range(60)])
    expected = products / pairs
    np.testing.assert_allclose(sums.curve()[:60], expected / expected[0], atol=1e-12)
    binned, counts = sums.units()
    hats = np.array([np.interp(np.arange(40), nodes, np.eye(len(nodes))[k]) for k in range(len(nodes))])
    np.testing.assert_allclose(binned.sum(axis=0), hats @ products[:40], atol=1e-9)
    np.testing.assert_allclose(counts.sum(axis=0), hats @ pairs[:40], atol=1e-9)


def test_the_average_over_hopping_ions_is_that_of_these_ions(tmp_path):
    site, positions = two_site_paths(seed=1, n_ions=20, n_frames=800, rate_per_frame=0.01)
    site[:, 8:], positions[:, 8:] = site[:1, 8:], positions[:1, 8:]
    path = tmp_path / 'run.h5'
    write_two_site_trajectory(path, site, positions)
    runs = EfgRuns.open([path])
    group = hopping_ions(runs)
    assert group.members[0].nonzero()[0].tolist() == list(range(8))
    curves, results = correlation_functions(runs, FAST, [group])
    alone = EfgSeries('Li', np.arange(8), 100.0 * np.arange(800), two_site_tensors(site)[:, :8])
    expected = correlation_functions(alone, FAST)[0]['omega_q_powder'].c
    np.testing.assert_allclose(curves['omega_q_powder_hopping'].c, expected, atol=1e-5)  # float32 on disk
    assert results['observables']['c_q_hopping']['origins_share'] == pytest.approx(0.4)


@pytest.mark.parametrize('n_ions', [1, 3])
def test_a_single_ion_and_a_constant_give_an_answer(n_ions):
    v = np.broadcast_to(1e-3 * (TENSOR + TENSOR.T), (64, n_ions, 3, 3)).copy()
    results = correlation_functions(EfgSeries('Li', np.arange(n_ions), 100.0 * np.arange(64), v), AcfSettings())[1]
    assert results['verdict'] == 'no decay within the trajectory'
    assert np.isnan(results['tau_ns'])


@pytest.mark.parametrize('kind', ['ions', 'step', 'nan', 'short', 'gap'])
def test_runs_that_do_not_fit_together_are_refused_with_the_file_named(tmp_path, kind):
    first = write(tmp_path / 'first.h5', tensors(0, 40))
    second = tmp_path / 'second.h5'
    if kind == 'ions':
        write(second, tensors(1, 40, 4))
    if kind == 'step':
        write(second, tensors(1, 40), step_fs=50.0)
    if kind == 'short':
        write(second, tensors(1, 1))
    if kind == 'gap':
        write(second, tensors(1, 40), start_fs=3950.0)
    if kind == 'nan':
        write(second, tensors(1, 40))
        with h5py.File(second, 'r+') as file:
            file['particles/efg_Li/efg/value'][5, 0, 0, 0] = np.nan
    with pytest.raises(InputError, match='second.h5'):
        correlation_functions(EfgRuns.open([first, second]), FAST)


def test_the_command_takes_several_files_groups_and_two_decays(tmp_path):
    from click.testing import CliRunner

    files = []
    for seed in range(2):
        files.append(tmp_path / f'{seed}.h5')
        write_two_site_trajectory(files[-1], *two_site_paths(seed=seed, n_ions=20, n_frames=1500))
    out = tmp_path / 'out.json'
    arguments = [*map(str, files), '--json', str(out), '--hopping', '--decays', '1', '--gamma', '1']
    result = CliRunner().invoke(command.acf, arguments, catch_exceptions=False)
    assert result.exit_code == 0 and 'averaged over 2 runs: 0.h5; 1.h5' in result.output
    found = json.loads(out.read_text())
    assert (found['runs'], found['frames'], found['run_files']) == (2, 3000, [['0.h5'], ['1.h5']])
    twice = CliRunner().invoke(command.acf, [str(files[0]), *map(str, files)])
    assert isinstance(twice.exception, InputError) and '0.h5: holds frames of' in str(twice.exception)
    low, high = found['tau_ns_ci95']
    assert low < 0.005 < high  # τ = 1/2k = 50 frames of 0.1 ps
    assert set(found['observables']) == {'omega_q_powder', 'c_q', 'omega_q_powder_hopping', 'c_q_hopping'}

"""Claims about softness: invariances of structure functions, planes that find what decides, laws that come back."""

import json
import sys

import h5py
import numpy as np
import pytest
from ase import Atoms
from click.testing import CliRunner
from frames import write_frames
from scipy.spatial.transform import Rotation
from two_site import write_run

import aiida_ufpnmr as un
from aiida_ufpnmr.engine.commands.softness import fit_softness as fit_command
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.hdf5 import content_hash
from aiida_ufpnmr.engine.main import main
from aiida_ufpnmr.engine.softness.averages import averaged_parts
from aiida_ufpnmr.engine.softness.fitting import _folds, fit_softness
from aiida_ufpnmr.engine.softness.model import SoftnessModel, SoftnessSettings
from aiida_ufpnmr.engine.softness.probability import NO_ONSET, ONSET, fit_law, rearrangement_probability
from aiida_ufpnmr.engine.softness.samples import Samples
from aiida_ufpnmr.engine.softness.structure_functions import StructureFunctions, StructureSettings
from aiida_ufpnmr.engine.trajectories.snapshots import Snapshots, SnapshotSettings
from aiida_ufpnmr.engine.transport.arrhenius import EV_PER_K

#: Narrower than twice, and along one direction than once, the cut-offs below.
SKEW = np.array([[6.0, 0.0, 0.0], [2.0, 5.5, 0.0], [-2.0, 1.5, 4.5]])
BOTH = StructureSettings(features='radial,angular', last_shell_angstrom=4.0, shell_step_angstrom=0.4)
PARTNERS = ('Li', 'S')


def features_of(atoms, settings=BOTH, ions=None):
    functions = StructureFunctions(PARTNERS, settings)
    ions = np.flatnonzero(np.array(atoms.symbols) == 'Li') if ions is None else ions
    symbols = np.array(atoms.symbols)
    return functions.of(atoms.positions[None], atoms.cell.array[None], atoms.pbc, symbols, ions)[0]


@pytest.fixture
def narrow():
    """Nine atoms, no two too close, in a cell that is narrower than twice the cut-off."""
    rng = np.random.default_rng(5)
    places = np.stack(np.meshgrid([0.1, 0.6], [0.2, 0.7], [0.1, 0.6], indexing='ij'), axis=-1).reshape(-1, 3)
    return Atoms('Li3S5', (places + rng.uniform(-0.1, 0.1, places.shape)) @ SKEW, cell=SKEW, pbc=True)


def slow_features(atoms, settings):
    """The same sums as they are written, over all images, pair by pair."""
    symbols, rows = np.array(atoms.symbols), []
    shifts = np.array(list(np.ndindex(9, 9, 9))) - 4
    for i in np.flatnonzero(symbols == 'Li'):
        vectors = (atoms.positions[None] + (shifts @ atoms.cell.array)[:, None] - atoms.positions[i]).reshape(-1, 3)
        kinds, r = np.tile(symbols, len(shifts)), np.linalg.norm(vectors, axis=1)
        row = [
            np.exp(-((r[(kinds == kind) & (r > 1e-9)] - mu) ** 2) / (2 * settings.shell_width_angstrom**2)).sum()
            for kind in PARTNERS
            for mu in settings.shells_angstrom
        ]
        cutoff = settings.angular_cutoff_angstrom
        near = np.flatnonzero((r > 1e-9) & (r < cutoff))
        for pair in (('Li', 'Li'), ('Li', 'S'), ('S', 'S')):
            of_pair = [(j, k) for j in near for k in near if j < k and tuple(sorted((kinds[j], kinds[k]))) == pair]
            for xi, sign, zeta in settings.angles:
                total = 0.0
                for j, k in of_pair:
                    cosine = vectors[j] @ vectors[k] / (r[j] * r[k])
                    squares = r[j] ** 2 + r[k] ** 2 + ((vectors[j] - vectors[k]) ** 2).sum()
                    edges = (1 + np.cos(np.pi * r[j] / cutoff)) * (1 + np.cos(np.pi * r[k] / cutoff)) / 4
                    total += np.exp(-squares / xi**2) * max(0.0, 1 + sign * cosine) ** zeta * edges
                row.append(total)
        rows.append(row)
    return np.array(rows)


def test_structure_functions_equal_their_sums_in_a_cell_narrower_than_the_cut_off(narrow):
    settings = StructureSettings(
        features='radial,angular', last_shell_angstrom=4.0, shell_step_angstrom=0.4, angular_xi_angstrom=(3.0,),
        angular_zeta=(1.0, 3.0), angular_cutoff_angstrom=4.6,
    )  # fmt: skip
    found = features_of(narrow, settings)
    names = StructureFunctions(PARTNERS, settings).names
    assert found.shape == (3, len(names)) and names[0] == 'radial Li 1.50' and names[-1] == 'angular S-S 3 1 3'
    # beyond six widths a neighbour is left out, where it counts 1e-8
    np.testing.assert_allclose(found, slow_features(narrow, settings), rtol=1e-6, atol=1e-7)


def test_structure_functions_do_not_see_rotation_translation_order_wrapping_or_the_choice_of_the_cell(narrow):
    expected = features_of(narrow)
    turned, turn = narrow.copy(), Rotation.from_rotvec([0.3, -1.0, 0.7]).as_matrix()
    turned.set_cell(narrow.cell.array @ turn.T)
    turned.positions = narrow.positions @ turn.T + [3.1, -8.0, 0.4]
    wrapped, order = narrow.copy(), np.array([2, 0, 1, 7, 4, 3, 6, 5])
    wrapped.positions += (np.arange(24).reshape(8, 3) % 5 - 2) @ SKEW
    repeated = narrow.repeat((2, 1, 3))
    for found in (features_of(turned), features_of(wrapped), features_of(repeated)[:3]):
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(features_of(narrow[order]), expected[[2, 0, 1]], rtol=1e-9, atol=1e-10)


def test_structure_functions_are_continuous_also_where_images_come_within_the_cut_off(narrow):
    """A whole way through the cell changes no function by more than its slope times the step, whoever comes or goes."""
    path = []
    for share in np.linspace(0, 1, 401):
        moved = narrow.copy()
        moved.positions[5] += share * SKEW[0]
        moved.positions[5, 2] += 1.4 * np.sin(2 * np.pi * share)
        path.append(features_of(moved))
    path = np.array(path)
    steps = np.abs(np.diff(path, axis=0))
    # steps are 0.015 Å; a jump would stand out of its neighbours
    assert np.abs(np.diff(steps, axis=0)).max() < 0.3 * steps.max() and steps.max() < 0.05 * path.max()
    np.testing.assert_allclose(path[-1], path[0], rtol=1e-9, atol=1e-10)


def test_positions_are_averaged_over_the_frames_up_to_each_however_they_are_read(tmp_path, monkeypatch):
    rng = np.random.default_rng(2)
    atoms = Atoms('Li2S3', rng.uniform(0, 9, (5, 3)), cell=[9, 9, 9], pbc=True)
    frames = [atoms.copy() for _ in range(40)]
    for one in frames:
        one.positions += rng.standard_normal((5, 3))
        one.set_cell(np.diag(9 + 0.1 * rng.standard_normal(3)))
    path = write_frames(tmp_path / 'run.h5', frames)
    places, cells = np.array([one.positions for one in frames]), np.array([one.cell.array for one in frames])
    for stride, chunk_bytes in ((1, 1e9), (3, 1e9), (3, 1000)):
        monkeypatch.setattr('aiida_ufpnmr.engine.softness.averages.CHUNK_BYTES', chunk_bytes)
        run = Snapshots.open(path, SnapshotSettings(stride=stride, skip_ps=0.3))
        found = [np.concatenate(parts) for parts in zip(*averaged_parts(run, 0.7))]
        for averaged, given in zip(found, (places, cells)):
            expected = [given[max(0, frame - 6) : frame + 1].mean(axis=0) for frame in range(3, 40, stride)]
            np.testing.assert_allclose(averaged, expected, rtol=1e-12)
        as_they_are = np.concatenate([part for part, _ in averaged_parts(run, 0.0)])
        np.testing.assert_array_equal(as_they_are, places[3::stride])


#: Radii of the shells of the toy in Å; the number in the middle one decides.
SHELLS, DECIDING = (2.5, 3.25, 4.0), 1
TOY = {
    'window_ps': 2.0, 'lag_ps': 0.5, 'hop_window_ps': 1.0, 'rule': 'hop', 'cutoff_angstrom': 4.6, 'bootstrap': 50,
    'last_shell_angstrom': 4.75, 'average_ps': 0.3,
}  # fmt: skip


def write_toy(path, seed, n_ions=40, tensors=False):
    """Ions in a plane, each among rings of ligands; those with many in the deciding ring hop up and back in each
    window. With ``tensors`` |C_Q| decides and not the ring."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(2, 8, (n_ions, len(SHELLS)))
    mobile = rng.random(n_ions) < 0.5 if tensors else counts[:, DECIDING] > 4
    places, ions = [], np.zeros((n_ions, 3))
    for i in range(n_ions):
        ions[i] = 20.0 * (i % 8), 20.0 * (i // 8), 5.0
        for radius, count in zip(SHELLS, counts[i]):
            angle = rng.uniform(0, 2 * np.pi) + 2 * np.pi * np.arange(count) / count
            ring = np.column_stack([radius * np.cos(angle), radius * np.sin(angle), rng.uniform(-0.3, 0.3, count)])
            places.append(ions[i] + ring)
    places = np.vstack([ions, *places])
    n_frames = 101
    cell = [160.0, 20.0 * (-(-n_ions // 8)), 30.0]
    atoms = Atoms(f'Li{n_ions}S{len(places) - n_ions}', places, cell=cell, pbc=True)
    positions = places + 0.03 * rng.standard_normal((n_frames, *places.shape))
    away = (np.arange(n_frames) % 20 >= 8) & (np.arange(n_frames) % 20 < 15)
    positions[:, :n_ions, 2] += 2.0 * away[:, None] * mobile
    if not tensors:
        frames = [Atoms(atoms.symbols, one, cell=cell, pbc=True) for one in positions]
        return write_frames(path, frames)
    diagonal = np.diag([-0.5, -0.5, 1.0])
    size = 0.01 * (1 + mobile) * (1 + 0.1 * rng.standard_normal((n_frames, n_ions)))
    return write_run(path, atoms, positions, size[..., None, None] * diagonal)


@pytest.fixture(scope='module')
def toys(tmp_path_factory):
    folder = tmp_path_factory.mktemp('toys')
    return [write_toy(folder / f'toy-{seed}.h5', seed) for seed in range(3)]


@pytest.fixture(scope='module')
def fitted(toys):
    return fit_softness(toys[:2], SoftnessSettings(**TOY), toys[2:])


def test_the_plane_finds_the_shell_that_decides_and_foretells_a_run_it_never_saw(fitted, toys):
    model, results = fitted
    assert results['balanced_accuracy'] > 0.95 and results['roc_auc'] > 0.98 and results['withheld_runs'] == 1
    low, high = results['balanced_accuracy_ci95']
    assert 0.85 < low <= results['balanced_accuracy'] <= high <= 1 and results['intervals_by'] == 'ion'
    weights = results['weights']
    strongest = max(weights, key=lambda name: abs(weights[name]))
    assert strongest == 'radial S 3.25' and weights[strongest] > 0.5
    assert results['undecided'] == 0 and results['mobile'] + results['immobile'] == pytest.approx(1)
    # one number by its shell parts them: the rest of the learning curve adds nothing
    assert results['learning_curve']['accuracy'][-1] > 0.95
    assert np.linalg.norm(list(weights.values())) == pytest.approx(1)


def test_softness_is_the_signed_distance_from_the_plane_in_standardised_features(fitted):
    model, _ = fitted
    rng = np.random.default_rng(0)
    z = rng.standard_normal((7, len(model.weights)))
    on_plane = z - np.outer(z @ model.weights + model.offset, model.weights) / (model.weights @ model.weights)
    normal = model.weights / np.linalg.norm(model.weights)
    for distance in (-1.3, 0.0, 2.0):
        rows = model.mean + model.spread * (on_plane + distance * normal)
        np.testing.assert_allclose(model.softness(rows), distance, atol=1e-9)


def test_the_analysis_gives_the_softness_of_every_ion_and_frame_and_who_rearranges(fitted, toys, tmp_path):
    model, _ = fitted
    model.save(tmp_path / 'model.h5')
    found = un.softness(toys[2], model=tmp_path / 'model.h5')
    assert found.softness.shape == (101, 40) and found.balanced_accuracy > 0.95 and found.rearrangement.windows == 5
    every_tenth = un.softness(toys[2], model=tmp_path / 'model.h5', stride=2)
    np.testing.assert_array_equal(every_tenth.softness, found.softness[::2])
    probability = found.rearrangement
    assert probability.ions_and_windows.sum() == 200
    soft, there = probability.softness > 0.2, probability.ions_and_windows > 0
    assert (probability.probability[soft & there] > 0.9).all()
    assert (probability.probability[(probability.softness < -0.2) & there] < 0.1).all()


def test_a_model_comes_back_from_its_file_and_a_damaged_or_newer_one_is_refused(fitted, toys, tmp_path):
    model, results = fitted
    path = tmp_path / 'model.h5'
    model.save(path)
    again = SoftnessModel.load(path)
    assert again.features == model.features and again.settings == model.settings
    for name in ('mean', 'spread', 'weights', 'edges'):
        np.testing.assert_array_equal(getattr(again, name), getattr(model, name))
    again.save(tmp_path / 'again.h5')
    assert content_hash(path) == content_hash(tmp_path / 'again.h5')
    second, others = fit_softness(toys[:2], SoftnessSettings(**TOY), toys[2:])
    second.save(tmp_path / 'second.h5')
    assert content_hash(path) == content_hash(tmp_path / 'second.h5') and others == results
    with h5py.File(path, 'r+') as file:
        file['weights'][0] += 1.0
    with pytest.raises(InputError, match='its content is not what was written'):
        SoftnessModel.load(path)
    with h5py.File(tmp_path / 'again.h5', 'r+') as file:
        file.attrs['format_version'] = 2
    with pytest.raises(InputError, match='newer than this program knows'):
        SoftnessModel.load(tmp_path / 'again.h5')


def test_no_run_and_no_ion_of_a_single_run_is_on_both_sides_of_a_fold():
    rng = np.random.default_rng(1)
    run, ion = rng.integers(0, 4, 500), rng.integers(0, 9, 500)
    samples = Samples(np.zeros((500, 1), np.float32), np.ones(500, np.int8), run, ion)
    for chosen, unit in ((samples, run), (samples.of(run == 0), ion[run == 0])):
        folds, _ = _folds(chosen, len(np.unique(chosen.run)), 0, SoftnessSettings(folds=3))
        assert len(folds) == 3 and (sum(test.astype(int) for _, test in folds) == 1).all()
        for train, test in folds:
            assert (train ^ test).all() and not set(unit[train]) & set(unit[test])


def test_efg_tell_mobility_where_they_decide_and_shells_then_do_not(tmp_path):
    runs = [write_toy(tmp_path / f'efg-{seed}.h5', seed, tensors=True) for seed in range(2)]
    settings = {**TOY, 'bootstrap': 20}
    _, by_efg = fit_softness(runs, SoftnessSettings(**settings, features='efg'))
    assert by_efg['balanced_accuracy'] > 0.95 and list(by_efg['weights']) == ['|C_Q| kHz', 'eta']
    assert by_efg['weights']['|C_Q| kHz'] > 0.9 and by_efg['validation']['folds'] == 2
    _, by_shells = fit_softness(runs, SoftnessSettings(**settings))
    # 80 ions that nothing tells apart: guesses are right for half of them, ± 0.06
    assert 0.3 < by_shells['balanced_accuracy'] < 0.7
    with pytest.raises(InputError, match='holds no EFG tensors'):
        fit_softness([write_toy(tmp_path / 'bare.h5', 5, n_ions=8)], SoftnessSettings(**settings, features='efg'))


#: Σ₀, Σ₁, E₀ and E₁ in eV of a law whose lines meet at 900 K.
LAW = (4.0, -1.2, 0.35, -1.2 * 900 * EV_PER_K)


def drawn_runs(law, temperatures, seed=0, n_ions=300, n_windows=40):
    """P_R(S) of ions with a softness of their own that scatters, which rearrange by a law."""
    rng, found = np.random.default_rng(seed), []
    for temperature in temperatures:
        softness = 0.5 * rng.standard_normal(n_ions) + 0.5 * rng.standard_normal((n_windows, n_ions))
        logarithm = law[0] + law[1] * softness - (law[2] + law[3] * softness) / (EV_PER_K * temperature)
        rearranged = rng.random(softness.shape) < np.exp(np.minimum(logarithm, 0.0))
        found.append((temperature, rearrangement_probability(softness, rearranged, np.linspace(-1.2, 1.2, 13), 10.0)))
    return found


def test_the_law_of_a_process_with_known_barriers_comes_back_with_its_onset():
    law = fit_law(drawn_runs(LAW, (450.0, 500.0, 550.0, 600.0)))
    intervals = law.entropy_ci95, law.entropy_slope_ci95, law.energy_eV_ci95, law.energy_slope_eV_ci95
    for truth, (low, high) in zip(LAW, intervals):
        assert low < truth < high
    assert law.onset_verdict == ONSET and law.onset_K_ci95[0] < 900 < law.onset_K_ci95[1]
    assert 0.5 < law.law_scatter < 1.6 and law.energy_slope_eV == pytest.approx(LAW[3], rel=0.25)
    np.testing.assert_allclose(
        law.probability(np.array([-1.0, 1.0]), 900.0), np.exp(4 - 0.35 / (EV_PER_K * 900)), rtol=0.3
    )


def test_where_softness_tells_nothing_there_is_no_onset():
    law = fit_law(drawn_runs((2.0, 0.0, 0.25, 0.0), (450.0, 500.0, 550.0)))
    assert law.onset_verdict == NO_ONSET and law.onset_K is None and law.onset_K_ci95 is None


def test_the_interval_of_a_probability_counts_ions_and_not_windows():
    """Ions that all rearrange in each window, or never, are worth no more than one window each."""
    softness, mobile = np.zeros((100, 20)), np.arange(20) < 6
    found = rearrangement_probability(softness, np.broadcast_to(mobile, softness.shape), np.array([-1.0, 1.0]), 10.0)
    low, high = found.probability_ci95[0]
    # 6 of 20: ± 0.2
    assert found.probability[0] == 0.3 and 0.05 < low < 0.15 and 0.45 < high < 0.55


def refused(monkeypatch, capsys, *arguments):
    """What the command says where it ends with status 2."""
    monkeypatch.setattr(sys, 'argv', ['ufpnmr', *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    return capsys.readouterr().err


def test_commands_go_from_runs_to_an_onset_and_say_what_they_cannot_do(toys, tmp_path, monkeypatch, capsys):
    options = [word for name, value in TOY.items() for word in (f'--{name.replace("_", "-")}', str(value))]
    model, fit = tmp_path / 'model.h5', tmp_path / 'fit.json'
    arguments = [*map(str, toys), '-o', str(model), *options, '--plot', str(tmp_path / 'fit.png'), '--json', str(fit)]
    result = CliRunner().invoke(fit_command, arguments)
    assert result.exit_code == 0, result.output
    assert 'whole runs withheld in turn, 3 parts' in result.output and 'balanced accuracy withheld' in result.output
    assert json.loads(fit.read_text())['roc_auc'] > 0.98 and (tmp_path / 'fit.png').stat().st_size > 1000
    found = un.softness(toys[0], model=model)
    found.save(tmp_path / 'softness.h5')
    for words, message in (
        (['softness-onset', tmp_path / 'softness.h5'], 'does not say its temperature; write 600='),
        (['softness-onset', f'600={tmp_path / "softness.h5"}'], 'P_R(S, T) needs two temperatures'),
        (['analyse', 'softness', toys[0]], 'needs a softness model'),
        (['analyse', 'softness', toys[0], '--model', toys[1]], 'not a ufpnmr softness-model file'),
        (['fit-softness', toys[0], toys[0], '-o', model, *options], 'the same run as'),
        (['softness-correlations', toys[0], toys[0], '--model', model], 'the same run as'),
        (['softness-onset', *(f'{K}={tmp_path / "softness.h5"}' for K in (500, 600))], 'the same run as'),
        (['fit-softness', toys[0], '-o', model, '--features', 'radial,radial'], 'each once'),
        (['fit-softness', toys[0], '-o', model, *options, '--hop-angstrom2', '500'], 'no mobile Li to learn from'),
    ):
        said = refused(monkeypatch, capsys, *words)
        assert message in said and len(said.strip().splitlines()) == 1

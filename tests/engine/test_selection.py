"""Claims about the choice of structures to label."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from analytic import solid_potential
from ase import Atoms
from ase.io import write as ase_write
from click.testing import CliRunner

from aiida_ufpnmr.engine.active import Candidate, disagreement, select_structures
from aiida_ufpnmr.engine.active.selection import METHODS
from aiida_ufpnmr.engine.commands.select import _candidates
from aiida_ufpnmr.engine.dataset import Dataset, read_dataset, write_dataset
from aiida_ufpnmr.engine.efg import EfgSettings, fit_efg_model
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.main import ufpnmr
from aiida_ufpnmr.engine.ufp import PotentialSettings, UltraFastPotential, fit_potential, uncertainty
from aiida_ufpnmr.engine.ufp.features import N_LEADING, features

#: Fits that take half a second.
SETTINGS = PotentialSettings(bond_intervals=4, third_intervals=6, pair_intervals=10, folds=3)


def bare(atoms) -> Atoms:
    return Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=True)


@pytest.fixture(scope='module')
def shipped(example_data):
    return read_dataset(example_data)


@pytest.fixture(scope='module')
def crystal_potential(shipped):
    """Knows cold crystals and nothing else."""
    return fit_potential(
        shipped.subset(i for i, g in enumerate(shipped.groups) if g in ('beta_300K', 'beta_600K')), SETTINGS
    )[0]


@pytest.fixture(scope='module')
def crystals(shipped):
    """Cold and warm crystals of both phases, but for one frame of each group."""
    groups = np.array(shipped.groups)
    some = [np.flatnonzero(groups == name)[1:] for name in ('beta_300K', 'beta_600K', 'gamma_300K', 'gamma_800K')]
    return shipped.subset(np.concatenate(some))


def resampled(crystals, seed):
    return fit_potential(crystals, replace(SETTINGS, resample=seed))[0]


@pytest.fixture(scope='module')
def committee(crystals):
    """Potentials fitted to resamples of the crystals."""
    return [resampled(crystals, seed) for seed in range(4)]


def small_cells(n: int) -> list[Candidate]:
    """Cells of four atoms, each with as many force components as directions are kept."""
    rng = np.random.default_rng(0)
    corners = np.array([[0, 0, 0], [2.6, 2.5, 0], [2.5, 0, 2.6], [0, 2.5, 2.5]])
    return [
        Candidate(
            Atoms('Li2PS', corners + 0.3 * rng.normal(size=(4, 3)), cell=[5.1, 5.0, 5.2], pbc=True), f's{i % 3}', i
        )
        for i in range(n)
    ]


def test_the_choice_is_the_greedy_one_of_the_exact_information(crystal_potential):
    """Twin: determinants of everything that was chosen so far, with all rows."""
    candidates = small_cells(8)
    found = select_structures(crystal_potential, candidates, 4)
    error = crystal_potential.settings.forces_error_meV_per_angstrom / 1000
    whitening = np.tril(crystal_potential.posterior.whitening).astype(float)
    rows = []
    for one in candidates:
        types = crystal_potential.types(one.atoms)
        rows.append(whitening @ features(one.atoms, types, crystal_potential.basis)[:, N_LEADING:] / error)

    def information(chosen):
        everything = np.hstack([rows[i] for i in chosen])
        return 0.5 * np.linalg.slogdet(np.eye(everything.shape[1]) + everything.T @ everything)[1]

    chosen, before = [], 0.0
    for index, gain in zip(found.index, found.gain):
        gains = {i: information([*chosen, i]) - before for i in range(len(candidates)) if i not in chosen}
        assert max(gains, key=gains.get) == index
        assert gain == pytest.approx(gains[index], rel=1e-3)  # float32 products
        chosen.append(index)
        before = information(chosen)


def test_a_copy_of_what_was_chosen_adds_little(crystal_potential):
    (one, *_) = small_cells(1)
    found = select_structures(crystal_potential, [one, one], 2)
    assert found.gain[1] < 0.5 * found.gain[0]  # labels have errors, so a copy still tells something


def test_the_unknown_comes_before_the_known(crystal_potential, shipped):
    groups = np.array(shipped.groups)
    frames = [i for i in range(len(shipped)) if groups[i] in ('beta_300K', 'melt_3000K')]
    candidates = [Candidate(bare(shipped.structures[i]), groups[i]) for i in frames]
    found = select_structures(crystal_potential, candidates, 3)
    assert all(candidates[i].source == 'melt_3000K' for i in found.index)
    melt = np.array([one.source == 'melt_3000K' for one in candidates])
    assert found.grade[melt].min() > 1 > found.grade[~melt].max()
    for i, one in enumerate(candidates[:2]):
        expected = np.sqrt(np.mean(uncertainty(crystal_potential, one.atoms).forces ** 2))
        assert found.force_error[i] == pytest.approx(expected, rel=1e-6)


def test_what_the_tensors_tell_is_added_where_an_efg_model_is_given(crystal_potential, shipped):
    crystals = shipped.subset(i for i, group in enumerate(shipped.groups) if group in ('beta_300K', 'beta_600K'))
    model = fit_efg_model(crystals, 'Li', EfgSettings(n_max=4, l_max=3, mixed_channels=6, folds=2, penalty=0.1))[0]
    (one,) = [Candidate(bare(a)) for a, group in zip(shipped, shipped.groups) if group == 'melt0']
    rows = model.whitened_rows(one.atoms).astype(float)
    told = 0.5 * np.log1p(np.linalg.eigvalsh(rows.T @ rows)[-12:]).sum()  # by the directions that are kept
    alone, both = (select_structures(crystal_potential, [one], 1, efg_model=efg).gain[0] for efg in (None, model))
    assert both - alone == pytest.approx(told, rel=1e-3)


def test_a_committee_disagrees_more_on_what_its_labels_do_not_hold(committee, crystals, shipped):
    spread = {}
    for atoms, group in zip(shipped, shipped.groups):
        spread.setdefault(group, []).append(disagreement(committee, atoms).max())
    known = [spread[name][0] for name in sorted(set(crystals.groups))]  # the frame that no member saw
    assert min(spread['melt_3000K']) > 2 * max(known)
    assert min(spread['amorphous0_700K']) > max(known)


def test_disagreement_is_the_spread_of_the_forces_on_each_atom(committee):
    (one,) = small_cells(1)
    forces = [member.compute(one.atoms).forces for member in committee]
    mean = sum(forces) / 4
    expected = [np.sqrt(sum(np.sum((f[i] - mean[i]) ** 2) for f in forces) / 4) for i in range(4)]
    np.testing.assert_allclose(disagreement(committee, one.atoms), expected, rtol=1e-12)


def test_a_committee_chooses_where_it_disagrees_most_and_the_same_seeds_give_it_again(
    crystal_potential, committee, crystals
):
    candidates = small_cells(8)
    found = select_structures(crystal_potential, candidates, 3, method='committee', committee=committee)
    spread = [disagreement(committee, one.atoms).max() for one in candidates]
    assert found.index == list(np.argsort(spread)[::-1][:3])
    np.testing.assert_array_equal(found.disagreement, spread)
    again = [resampled(crystals, seed) for seed in range(2)]
    assert [member.identity for member in again] == [member.identity for member in committee[:2]]


def test_no_source_gives_more_than_its_share(crystal_potential, committee):
    candidates = small_cells(9)
    for method in METHODS:
        members = committee if method == 'committee' else ()
        found = select_structures(crystal_potential, candidates, 6, max_per_source=2, method=method, committee=members)
        assert sorted(candidates[i].source for i in found.index) == ['s0', 's0', 's1', 's1', 's2', 's2']


def test_structures_that_dft_would_choke_on_are_left_out_with_a_reason(crystal_potential):
    overlapping = Candidate(Atoms('Li2', [[0, 0, 0], [0.2, 0, 0]], cell=[5, 5, 5], pbc=True))
    found = select_structures(crystal_potential, [overlapping, *small_cells(2)], 3)
    assert 0 not in found.index and list(found.refused) == [0] and 'overlapping' in found.refused[0]


def test_a_potential_without_posterior_is_refused(crystal_potential, tmp_path):
    crystal_potential.save(tmp_path / 'p.uf3')
    with pytest.raises(InputError, match='no posterior'):
        select_structures(UltraFastPotential.load(tmp_path / 'p.uf3'), small_cells(2), 1)


def test_the_command_writes_what_it_chose_and_says_why(crystal_potential, shipped, tmp_path):
    crystal_potential.save(tmp_path / 'p.h5')
    for name in ('beta_300K', 'melt_3000K'):
        some = [i for i, group in enumerate(shipped.groups) if group == name]
        write_dataset(tmp_path / f'{name}.extxyz', shipped.subset(some))
    arguments = [tmp_path / 'p.h5', tmp_path / 'beta_300K.extxyz', tmp_path / 'melt_3000K.extxyz', '-n', 2]
    arguments += ['-o', tmp_path / 'out.extxyz', '--json', tmp_path / 'out.json']
    result = CliRunner().invoke(ufpnmr, ['select', *map(str, arguments)])
    assert result.exit_code == 0, result.exception
    picked = read_dataset(tmp_path / 'out.extxyz')
    chosen = json.loads((tmp_path / 'out.json').read_text())['chosen']
    assert set(picked.groups) == {'melt_3000K'} and len(picked) == len(chosen) == 2
    for atoms, one in zip(picked, chosen):
        assert atoms.calc is None and one['source'] == 'melt_3000K.extxyz'
        original = read_dataset(tmp_path / one['source']).structures[one['row']]
        np.testing.assert_allclose(atoms.positions, original.positions, atol=1e-7)
        assert one['extrapolation_grade'] > 1


def test_of_a_long_run_frames_at_equal_times_are_looked_at_and_more_near_its_end(tmp_path):
    atoms = Atoms('H', cell=[5.0] * 3, pbc=True)
    ase_write(tmp_path / 'run.extxyz', [atoms] * 100)
    looked_at = [one.row for one in _candidates((tmp_path / 'run.extxyz',), looked_at=5)]
    assert looked_at == [19, 35, 39, 59, 67, 79, 83, 91, 95, 97, 98, 99]
    ase_write(tmp_path / 'one.extxyz', atoms)
    assert [one.row for one in _candidates((tmp_path / 'one.extxyz',), looked_at=5)] == [0]


def test_the_command_says_how_far_a_committee_disagrees(crystal_potential, committee, tmp_path):
    candidates = small_cells(4)
    for potential, name in zip((crystal_potential, *committee), ('p.h5', 'one.h5', 'two.h5')):
        potential.save(tmp_path / name)
    write_dataset(tmp_path / 'cells.extxyz', Dataset(tuple(one.atoms for one in candidates)))
    words = [
        'select',
        'p.h5',
        'cells.extxyz',
        '-n',
        '2',
        '-o',
        'out.extxyz',
        '--json',
        'out.json',
        '--method',
        'committee',
    ]
    words += ['--committee', 'one.h5', '--committee', 'two.h5']
    result = CliRunner().invoke(ufpnmr, [str(tmp_path / word) if '.' in word else word for word in words])
    assert result.exit_code == 0, result.exception
    assert 'disagreement, meV/Å' in result.output and len(read_dataset(tmp_path / 'out.extxyz')) == 2
    found = json.loads((tmp_path / 'out.json').read_text())
    assert found['committee_sha256'] == [member.identity for member in committee[:2]]
    for one in found['chosen']:
        expected = 1000 * disagreement(committee[:2], candidates[one['row']].atoms).max()
        assert one['disagreement_meV_per_angstrom'] == pytest.approx(
            expected, rel=1e-5
        )  # places as they stand in the file


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--method', 'committee'], 'two or more different members'),
        (['--method', 'committee', '--committee', 'one.h5'], 'two or more different members'),
        (['--method', 'committee', '--committee', 'one.h5', '--committee', 'one.h5'], 'two or more different members'),
        (['--method', 'committee', '--committee', 'one.h5', '--committee', 'none.h5'], 'none.h5'),
        (['--method', 'committee', '--committee', 'one.h5', '--committee', 'cells.extxyz'], 'cells.extxyz'),
        (['--method', 'committee', '--committee', 'one.h5', '--committee', 'argon.h5'], 'does not know'),
        (['--committee', 'one.h5', '--committee', 'two.h5'], 'of use to the method committee alone'),
    ],
)
def test_a_committee_that_is_none_is_refused(crystal_potential, committee, tmp_path, arguments, message):
    for potential, name in zip((crystal_potential, *committee), ('p.h5', 'one.h5', 'two.h5')):
        potential.save(tmp_path / name)
    solid_potential().save(tmp_path / 'argon.h5')
    write_dataset(tmp_path / 'cells.extxyz', Dataset(tuple(one.atoms for one in small_cells(2))))
    words = ['select', 'p.h5', 'cells.extxyz', '-o', 'out.extxyz', *arguments]
    result = CliRunner().invoke(ufpnmr, [str(tmp_path / word) if '.' in word else word for word in words])
    assert isinstance(result.exception, InputError) and message in str(result.exception), result.exception
    assert not (tmp_path / 'out.extxyz').exists()


@pytest.fixture(scope='module')
def compared(tmp_path_factory):
    """Labels that each method needs over five seeds: 110 meV/Å in a crystal, a hot one, another phase and a glass."""
    results = tmp_path_factory.mktemp('compared') / 'out.json'
    benchmark = Path(__file__).parents[2] / 'examples' / 'benchmarks' / 'selection.py'
    subprocess.run([sys.executable, benchmark, '--json', results], check=True)
    return json.loads(results.read_text())


@pytest.mark.slow
def test_a_stated_error_takes_half_the_labels_of_a_random_choice(compared):
    found = compared['information']
    assert len(found['labels']) == 5 and None not in found['labels'], compared  # all reached the error
    assert found['labels_median'] <= 0.5 * compared['random']['labels_median'], compared
    # calibrated, on what it was not fitted to
    assert np.mean(found['fraction_within_1_sigma']) == pytest.approx(0.68, abs=0.1), compared


@pytest.mark.slow
def test_a_committee_takes_fewer_labels_than_a_random_choice(compared):
    assert None not in compared['committee']['labels'], compared
    assert compared['committee']['labels_median'] < compared['random']['labels_median'], compared

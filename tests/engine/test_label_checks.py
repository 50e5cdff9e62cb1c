"""Claims about labels that contradict each other, on the shipped structures: factors are made, causes must be named."""

import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.units import Bohr, GPa, Hartree, Ry, kcal, mol
from reference_data import FOLDER, needs

from aiida_ufpnmr.engine.dataset import Dataset, energy, read_dataset, write_dataset
from aiida_ufpnmr.engine.dft.label_files import read_labels
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.ufp import PotentialSettings, fit_potential
from aiida_ufpnmr.engine.ufp.isolated import foreign_compositions, isolated_energies
from aiida_ufpnmr.engine.ufp.label_checks import (
    check_against_forces,
    check_bonds,
    check_single_energies,
    check_work,
    evaluation_warnings,
)
from aiida_ufpnmr.engine.ufp.metrics import predict
from aiida_ufpnmr.engine.ufp.problem import Problem

EXAMPLES = Path(__file__).parents[2] / 'examples' / 'data'
QUICK = PotentialSettings(bond_intervals=4, pair_cutoff=5.0, triplet_cutoff=3.5, folds=2)


def with_labels(atoms, **labels):
    copy = atoms.copy()
    copy.calc = SinglePointCalculator(copy, **labels)
    return copy


def scaled(dataset, **factors) -> Dataset:
    """The set with some labels times a factor."""
    labels = lambda atoms: {k: v * factors.get(k, 1.0) for k, v in atoms.calc.results.items()}  # noqa: E731
    return Dataset(tuple(with_labels(atoms, **labels(atoms)) for atoms in dataset), 'set.extxyz')


@pytest.fixture(scope='module')
def labels(example_data):
    dataset = read_dataset(example_data)
    return dataset.subset(range(0, len(dataset), 2))


@pytest.fixture(scope='module')
def fitted(labels):
    return fit_potential(labels, QUICK)


def test_labels_that_agree_are_passed_without_a_word(labels, fitted):
    potential, results = fitted
    assert 'label_warnings' not in results and 'isolated_atoms_eV' not in results
    assert evaluation_warnings(labels, predict([(potential, labels)])) == []


@pytest.mark.parametrize(
    'factor, cause',
    [
        (-1.0, 'of the other sign)'),
        (1 / GPa, 'as if in GPa)'),
        (10 / GPa, 'as if in kbar)'),
        (-10 / GPa, 'as if in kbar, and of the other sign)'),
        (1 / 160, 'another sign or unit)'),
    ],
)
def test_stresses_of_another_sign_or_unit_are_said_with_the_cause(labels, fitted, factor, cause):
    wrong = scaled(labels, stress=factor)
    for warnings in (
        fit_potential(wrong, QUICK)[1]['label_warnings'],
        evaluation_warnings(wrong, predict([(fitted[0], wrong)])),
    ):
        assert len(warnings) == 1 and cause in warnings[0] and warnings[0].startswith('set.extxyz: stresses are')


def along_a_run(fitted, labels, steps=12) -> Dataset:
    """Near frames, with labels of a potential, which agree with each other."""
    rng, frames = np.random.default_rng(0), []
    atoms = labels[0].copy()
    for _ in range(steps):
        atoms.positions += rng.normal(scale=0.05, size=atoms.positions.shape)
        found = fitted[0].compute(atoms)
        frames.append(with_labels(atoms, energy=found.energy, forces=found.forces))
    return Dataset(tuple(frames), 'set.extxyz')


@pytest.mark.parametrize(
    'factors, cause',
    [
        ({}, None),
        ({'energy': mol / kcal}, 'energies in kcal/mol'),
        ({'energy': 1 / Hartree}, 'energies in hartree'),
        ({'forces': Bohr / Ry}, 'forces in Ry/bohr'),
        ({'forces': Bohr / Hartree}, 'forces in hartree/bohr'),
        ({'forces': -1.0}, 'forces are gradients'),
        ({'energy': 1 / 32}, 'energies are per atom'),
    ],
)
def test_energies_change_by_the_work_of_the_forces_or_the_unit_is_named(fitted, labels, factors, cause):
    run = scaled(along_a_run(fitted, labels), **factors)
    warnings = check_work(run)
    assert (len(warnings) == 1 and cause in warnings[0]) if cause else warnings == []


@needs('lps_dft')
def test_a_real_run_passes_and_shows_a_wrong_unit():
    run = read_dataset(FOLDER / 'lps_dft' / 'beta_Li3PS4_f0-799_every4.extxyz').subset(range(60))
    assert check_work(run) == []
    (warning,) = check_work(scaled(run, energy=mol / kcal))
    assert 'between 17 pairs of near frames' in warning and 'energies in kcal/mol' in warning


#: Labels in other units, or of another sign, and what shall be said of them.
WRONG = [
    ({'forces': -1.0}, 'forces are gradients: change their sign)'),
    ({'forces': Bohr / Hartree}, 'as if forces in hartree/bohr)'),
    ({'forces': Bohr / Ry}, 'forces in Ry/bohr'),
    ({'energy': 1 / Hartree}, 'energies in hartree'),
    ({'energy': 1 / Ry}, 'as if energies in rydberg)'),
    ({'energy': -1.0}, 'energies are of the other sign'),
]


@pytest.mark.parametrize('factors, cause', WRONG)
def test_energies_and_forces_that_contradict_each_other_show_without_near_frames(labels, fitted, factors, cause):
    few = labels.subset(range(1, len(labels), 3))
    assert check_work(scaled(few, forces=-1.0)) == []  # no near frames
    wrong = scaled(few, **factors)
    (warning,) = fit_potential(wrong, QUICK)[1]['label_warnings']
    assert cause in warning and 'stress' not in warning
    (warning, *_) = evaluation_warnings(wrong, predict([(fitted[0], wrong)]))
    assert 'stress' not in warning and cause.partition('energies are ')[2] in warning


@pytest.mark.parametrize('count, row', [(10, 3), (None, 17)])
def test_one_energy_that_is_off_is_named(labels, fitted, count, row):
    some = labels.subset(range(len(labels))[:count])
    off = with_labels(some[row], **some[row].calc.results | {'energy': energy(some[row]) + 30})
    wrong = Dataset((*some[:row], off, *some[row + 1 :]), 'set.extxyz')
    for warnings in (
        fit_potential(wrong, QUICK)[1]['label_warnings'],
        evaluation_warnings(wrong, predict([(fitted[0], wrong)])),
    ):
        (warning,) = warnings
        assert re.match(rf'set.extxyz: structure {row} \(\+[123]\d(\.\d)? eV\): energy far from', warning)


def test_one_structure_shows_forces_of_the_wrong_sign(labels):
    one = labels.subset([0])
    assert check_bonds(one) == []
    (warning,) = fit_potential(scaled(one, forces=-1.0), QUICK)[1]['label_warnings']
    assert re.search(r'over \d+ bonds, forces push atoms apart where bonds are long', warning)


def test_stresses_are_not_blamed_where_energies_and_forces_are_in_atomic_units(labels):
    wrong = scaled(labels, energy=1 / Hartree, forces=Bohr / Hartree)
    (warning,) = fit_potential(wrong, QUICK)[1]['label_warnings']
    assert 'energies in hartree and forces in hartree/bohr' in warning


RIGHT = [
    *(pytest.param(EXAMPLES / f'li3ps4-pbe-gpaw{name}.extxyz', id=f'gpaw{name}') for name in ('', '-v5', '-v6')),
    *(
        pytest.param(FOLDER / name, marks=needs(name.partition('/')[0]), id=name)
        for name in ('lps_dft/beta_Li3PS4_f0-799_every4.extxyz', 'lps_dft/Li2S_every50.extxyz',
                     'lps_dft/P2S5_every20.extxyz', 'lps_dft/glass75_Li91P35S129_iter0_every2.extxyz',
                     'uf3/uf3_test.xyz', '../inputs/names_with_ref.extxyz')
    ),
]  # fmt: skip


@pytest.mark.parametrize('path', RIGHT)
def test_right_labels_of_any_set_are_passed_without_a_word(path):
    whole = read_labels(path, ('energy', 'forces'))
    assert check_work(whole) == check_bonds(whole) == []
    for rows in (range(0, len(whole), 1 + len(whole) // 30), range(min(8, len(whole)))):
        problem = Problem.of(whole.subset(rows), QUICK)
        assert check_against_forces(problem)[0] == []
        fitted = problem.fitted(range(len(problem.dataset)))
        assert check_single_energies(problem.dataset, predict([(fitted, problem.dataset)])) == []


def isolated(symbol, value, size=20.0, name='IsolatedAtom'):
    atoms = Atoms(symbol, cell=[size] * 3, pbc=True)
    atoms.info['config_type'] = name
    return with_labels(atoms, energy=value, forces=np.zeros((1, 3)))


ENERGIES = {'Li': -0.2, 'P': -1.8, 'S': -0.9}


def test_isolated_atoms_set_the_energy_of_each_element(labels):
    atoms = [isolated(symbol, value) for symbol, value in ENERGIES.items()]
    potential, results = fit_potential(Dataset((*labels, *atoms), 'set.extxyz'), QUICK)
    assert results['isolated_atoms_eV'] == ENERGIES
    np.testing.assert_allclose(potential.one_body, list(ENERGIES.values()), atol=1e-4)
    assert results['train']['energy_rmse_meV_per_atom'] < 40  # and the crystals are fitted all the same


def test_one_isolated_atom_leaves_the_others_to_the_fit(labels):
    potential, _ = fit_potential(Dataset((*labels, isolated('Li', -0.2, name='any')), 'set.extxyz'), QUICK)
    assert potential.one_body[0] == pytest.approx(-0.2, abs=1e-4) and abs(potential.one_body[1]) > 0.1


def test_what_only_looks_like_an_isolated_atom_is_none():
    metal = Dataset((isolated('Li', -1.9, size=3.4, name='bcc'),))
    assert isolated_energies(metal, 6.0) == {}
    with pytest.raises(InputError, match='called isolated_atom, but has neighbours within the cut-off of 6 Å'):
        isolated_energies(Dataset((isolated('Li', -1.9, size=3.4, name='isolated_atom'),)), 6.0)
    with pytest.raises(InputError, match='an isolated Li of -0.3 eV, after one of -0.2 eV'):
        isolated_energies(Dataset((isolated('Li', -0.2), isolated('Li', -0.3))), 6.0)


def test_energies_of_compositions_that_were_not_learnt_are_not_comparable(labels, fitted):
    atoms = labels[0].copy()
    atoms.symbols[np.flatnonzero(atoms.symbols == 'P')[0]] = 'S'
    other = with_labels(atoms, energy=energy(labels[0]), forces=labels[0].calc.results['forces'])
    test, one = Dataset((other, other), 'test.extxyz'), labels.subset([0, 1, 2])
    assert foreign_compositions(one, test, ('Li', 'P', 'S')) == [atoms.get_chemical_formula()]
    assert foreign_compositions(one, one, ('Li', 'P', 'S')) == []
    learnt = Dataset((*one, *(isolated(symbol, value) for symbol, value in ENERGIES.items())))
    assert foreign_compositions(learnt, test, ('Li', 'P', 'S')) == []
    (warning,) = fit_potential(one, QUICK, test)[1]['label_warnings']
    assert warning.startswith('test.extxyz: absolute energies of') and 'are not comparable' in warning
    shifted = Dataset(
        tuple(with_labels(a, **a.calc.results | {'energy': energy(a) - 30}) for a in labels), 'set.extxyz'
    )
    (warning,) = evaluation_warnings(shifted, predict([(fitted[0], shifted)]))
    assert re.search(r'energies are off by a constant: \S+ \(\+\d+ meV/atom\)', warning)


def test_commands_say_what_is_wrong_with_labels(tmp_path, labels):
    write_dataset(tmp_path / 'set.extxyz', scaled(labels, stress=-1.0))
    (tmp_path / 's.yaml').write_text('bond_intervals: 4\npair_cutoff: 5.0\ntriplet_cutoff: 3.5\nfolds: 2\n')
    run = lambda *words: subprocess.run(['ufpnmr', *words], cwd=tmp_path, capture_output=True, text=True, check=True)  # noqa: E731
    fit = run('fit-potential', 'set.extxyz', '-o', 'p.h5', '--settings', 's.yaml')
    assert 'warning: set.extxyz: stresses are' in fit.stderr

"""Claims about terms of up to four bodies: their kernel, their rows, their files, and what a fit makes of them."""

import dataclasses
import functools
import itertools

import h5py
import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from scipy.spatial.transform import Rotation
from test_potential import random_potential, triclinic_cell, with_tables

from aiida_ufpnmr import run_md
from aiida_ufpnmr.engine.dataset import Dataset, bare, read_dataset
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.trajectories.trajectory import Trajectory
from aiida_ufpnmr.engine.ufp import (
    PotentialSettings,
    UltraFastPotential,
    extrapolation_grade,
    fit_potential,
    uncertainty,
)
from aiida_ufpnmr.engine.ufp.continuation import SavedEquations
from aiida_ufpnmr.engine.ufp.features import N_LEADING, features, local_features
from aiida_ufpnmr.engine.ufp.fitting import run_fit
from aiida_ufpnmr.engine.ufp.moments import MomentBasis, MomentTerms, products
from aiida_ufpnmr.engine.ufp.problem import Problem

SETTINGS = PotentialSettings(bond_intervals=4, third_intervals=6, pair_intervals=10, folds=4, moments=['P', 'S'])
#: Shortest distance in made-up data, Å; some atoms of the cells here are closer.
CLOSEST = 1.9


def random_moments(centres, n_species, reach=4.0, closest=CLOSEST, seed=0):
    """Terms of random coefficients; the centres reach differently far, and some atoms are closer than ``closest``."""
    basis = MomentBasis.of(centres, reach + 0.3 * np.arange(len(centres)), np.full((n_species, n_species), closest))
    return MomentTerms(basis, np.random.default_rng(seed).normal(size=basis.scale.shape))


def with_moments(species=('Li', 'P', 'S'), centres=(1, 2), **options):
    """A potential of random splines and moments."""
    potential = random_potential(species=species, **options)
    return dataclasses.replace(potential, moments=random_moments(centres, len(species)))


def only_moments(terms):
    """A potential of one element that has no other terms."""
    potential = random_potential(species=('Li',))
    return dataclasses.replace(
        potential,
        one_body=np.zeros(1),
        pairs={k: dataclasses.replace(t, coefficients=0 * t.coefficients) for k, t in potential.pairs.items()},
        triplets={k: dataclasses.replace(t, coefficients=0 * t.coefficients) for k, t in potential.triplets.items()},
        moments=terms,
    )


def plain_energies(terms, types, positions, cell):
    """The terms as they are defined, with tensors, written out over all images: the slow twin of kernel and rows."""
    shifts = np.array(list(itertools.product(range(-3, 4), repeat=3))) @ cell
    found = np.zeros(len(types))
    for i, kind in enumerate(types):
        if kind not in terms.basis.centres:
            continue
        row = terms.basis.centres.index(kind)
        scalars, vectors, matrices = [], [], []
        for t, reach in itertools.product(range(terms.basis.n_species), terms.basis.ranges[row]):
            d = (positions[types == t][:, None] + shifts - positions[i]).reshape(-1, 3)
            r = np.linalg.norm(d, axis=1)
            d, r = d[(r > 1e-9) & (r < reach)], r[(r > 1e-9) & (r < reach)]
            fade = np.clip(r, 0.9 * CLOSEST, CLOSEST) - 0.9 * CLOSEST
            grown = np.where(r > CLOSEST, r, 0.95 * CLOSEST + fade**2 / (0.2 * CLOSEST))
            g, u = (1 - grown / reach) ** 3, d / r[:, None]
            scalars.append(g.sum())
            vectors.append(g @ u)
            matrices.append(np.einsum('j,ja,jb->ab', g, u, u) - g.sum() * np.eye(3) / 3)
        n = len(scalars)
        pairs = list(itertools.combinations_with_replacement(range(n), 2))
        third = [*scalars, 1.0]
        values = [
            scalars[p] * scalars[q] * scalars[r] for p, q, r in itertools.combinations_with_replacement(range(n), 3)
        ]
        values += [vectors[p] @ vectors[q] * a for p, q in pairs for a in third]
        values += [np.sum(matrices[p] * matrices[q]) * a for p, q in pairs for a in third]
        values += [vectors[p] @ matrices[r] @ vectors[q] for p, q in pairs for r in range(n)]
        found[i] = terms.coefficients[row] @ values
    return found


@pytest.mark.parametrize(
    ('species', 'centres'), [(('Li',), (0,)), (('Li', 'P', 'S'), (1, 2)), (('Cl', 'Ge', 'Li', 'P', 'S'), (4, 0))]
)
def test_energies_are_the_defining_products_of_moments(species, centres):
    atoms = triclinic_cell(10, species=species)
    potential = with_moments(species, centres)
    difference = potential.compute(atoms).energies - random_potential(species=species).compute(atoms).energies
    plain = plain_energies(potential.moments, potential.types(atoms), atoms.positions, atoms.cell.array)
    assert abs(plain).max() > 0.01
    # differences of energies of some eV; the same products in another order
    np.testing.assert_allclose(difference, plain, atol=1e-11)


@pytest.mark.parametrize('uniform', [True, False])
def test_kernel_and_design_rows_agree(uniform):
    potential, atoms = with_moments(uniform=uniform, reach={'Li': 3.5, 'P': 4.3, 'S': 4.0}), triclinic_cell()
    basis, types = potential.basis, potential.types(atoms)
    design = features(atoms, types, basis)[basis.n_splines :]
    by_rows = potential.moments.coefficients.ravel() @ design
    found = potential.compute(atoms)
    without = dataclasses.replace(potential, moments=None).compute(atoms)
    np.testing.assert_allclose(found.energy - without.energy, by_rows[0], atol=1e-10)
    np.testing.assert_allclose(
        (found.virial - without.virial)[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]], by_rows[1:N_LEADING], atol=1e-10
    )
    np.testing.assert_allclose((found.forces - without.forces).ravel(), by_rows[N_LEADING:], atol=1e-10)
    local = local_features(atoms, types, basis)[:, basis.n_splines :]
    np.testing.assert_allclose(
        local @ potential.moments.coefficients.ravel(), found.energies - without.energies, atol=1e-10
    )


def test_forces_and_stress_are_derivatives_of_the_energy():
    potential, atoms = with_moments(), triclinic_cell()
    found, h = potential.compute(atoms), 1e-4

    def energy(change):
        return potential.compute(change(atoms.copy())).energy

    def moved(i, a, step):
        def change(copy):
            copy.positions[i, a] += step
            return copy

        return change

    def strained(a, b, step):
        strain = np.eye(3)
        strain[a, b] += step

        def change(copy):
            copy.set_cell(copy.cell.array @ strain, scale_atoms=True)
            return copy

        return change

    for i, a in itertools.product((0, 1, 2, 7), range(3)):
        slope = (energy(moved(i, a, h)) - energy(moved(i, a, -h))) / (2 * h)
        np.testing.assert_allclose(found.forces[i, a], -slope, atol=1e-5)
    for a, b in itertools.product(range(3), range(3)):
        slope = (energy(strained(a, b, h)) - energy(strained(a, b, -h))) / (2 * h)
        np.testing.assert_allclose(found.virial[a, b], slope, rtol=1e-5, atol=1e-4)


def test_energies_do_not_depend_on_frame_order_or_origin():
    potential, atoms = with_moments(), triclinic_cell()
    found = potential.compute(atoms)
    turn = Rotation.from_euler('xyz', [0.3, -1.1, 2.0]).as_matrix()
    turned = Atoms(atoms.symbols, cell=atoms.cell.array @ turn.T, positions=(atoms.positions + 3.3) @ turn.T, pbc=True)
    np.testing.assert_allclose(potential.compute(turned).forces, found.forces @ turn.T, atol=1e-9)
    order = np.random.default_rng(0).permutation(len(atoms))
    np.testing.assert_allclose(potential.compute(atoms[order]).energies, found.energies[order], atol=1e-10)
    twice = potential.compute(atoms.repeat((2, 1, 1)))
    np.testing.assert_allclose(twice.energy, 2 * found.energy, rtol=1e-12)


def test_threads_and_plain_sums_give_the_same():
    potential, atoms = with_moments(), triclinic_cell()
    found = potential.compute(atoms)
    for tables in (potential.tables_for(threads=2), potential.tables._replace(plain=True)):
        other = with_tables(potential, tables).compute(atoms)
        np.testing.assert_allclose(other.forces, found.forces, atol=1e-10)
        np.testing.assert_allclose(other.virial, found.virial, atol=1e-9)


def test_neighbours_beyond_the_range_do_not_count_and_enter_smoothly():
    basis = MomentBasis.of([0], [4.0], np.array([[CLOSEST]]))
    zero = only_moments(MomentTerms(basis, np.ones(basis.scale.shape)))
    energies = [
        zero.compute(Atoms('Li2', positions=[[0, 0, 0], [r, 0, 0]], cell=[20] * 3, pbc=True)).energy
        for r in (4.01, 3.999, 3.99)
    ]
    # products of two or three densities, each of the third power of the distance to the range
    assert energies[0] == 0 and 0 < energies[1] < 1e-6 * energies[2] * (1 + 1e7) and energies[2] < 1e-12


def test_densities_do_not_grow_where_atoms_come_closer_than_any_in_the_data():
    dimer = functools.partial(Atoms, 'Li2', cell=[20] * 3, pbc=True)
    zero = only_moments(random_moments([0], 1))
    energies, pulls = [], []
    for r in (2.5, 1.9, 1.8, 1.7, 1.2):
        found = zero.compute(dimer(positions=[[0, 0, 0], [r, 0, 0]]))
        energies.append(found.energy)
        pulls.append(abs(found.forces).max())
    assert len(set(energies[:3])) == 3 and energies[3] == pytest.approx(energies[4], abs=1e-15)
    assert pulls[1] > pulls[2] > 0 and max(pulls[3:]) < 1e-12


def test_all_terms_are_different_and_each_is_there():
    terms = products(6)
    assert terms.n_terms == 56 + 2 * 21 * 7 + 21 * 6
    assert len({tuple(place) for place in terms.places}) == terms.n_terms
    assert set(terms.factors[:, 0]) == set(range(terms.n_terms))


def test_a_file_with_moments_is_of_a_newer_version_and_one_without_as_before(tmp_path):
    potential = with_moments()
    potential.save(tmp_path / 'moments.h5')
    random_potential().save(tmp_path / 'splines.h5')
    again, atoms = UltraFastPotential.load(tmp_path / 'moments.h5'), triclinic_cell()
    assert again.identity == potential.identity != random_potential().identity
    assert (again.compute(atoms).forces == potential.compute(atoms).forces).all()
    versions = {}
    for name in ('moments', 'splines'):
        with h5py.File(tmp_path / f'{name}.h5') as file:
            versions[name] = file.attrs['format_version']
    assert versions == {'moments': 3, 'splines': 2}


@pytest.mark.parametrize('name', ['out.uf3', 'out.json'])
def test_formats_of_other_programs_have_no_place_for_moments(tmp_path, name):
    with pytest.raises(InputError, match='has many-body terms, for which there is no place'):
        with_moments().save(tmp_path / name)
    assert not (tmp_path / name).exists()


@pytest.mark.parametrize(
    ('settings', 'words'),
    [
        ({'moments': []}, 'moments must be a list of different elements'),
        ({'moments': ['S', 'S']}, 'moments must be a list of different elements'),
        ({'ridge_moments': 1.0}, 'ridge_moments is for moments'),
        ({'moments': ['S'], 'ridge_moments': 0.0}, 'must be positive'),
    ],
)
def test_bad_settings_are_refused(settings, words):
    with pytest.raises(ValueError, match=words):
        PotentialSettings(**settings)


@pytest.fixture(scope='module')
def crystals(example_data):
    """Some frames each of four runs."""
    dataset = read_dataset(example_data)
    groups = np.array(dataset.groups)
    names = ('beta_300K', 'beta_900K', 'gamma_300K', 'gamma_800K')
    return dataset.subset(np.concatenate([np.flatnonzero(groups == name)[:3] for name in names]))


def test_moments_of_an_element_that_is_not_there_are_refused(crystals):
    with pytest.raises(InputError, match="setting 'moments' names Ge, but the structures hold Li, P, S"):
        fit_potential(crystals, dataclasses.replace(SETTINGS, moments=['Ge']))


@pytest.fixture(scope='module')
def made_up(crystals):
    """The crystals with energies and forces of moments around P, and of nothing else."""
    teacher = with_moments(centres=(1,))
    pairs = {
        name: dataclasses.replace(term, coefficients=0 * term.coefficients) for name, term in teacher.pairs.items()
    }
    teacher = dataclasses.replace(teacher, pairs=pairs, triplets={})
    structures = []
    for k in range(36):
        copy = bare(crystals[k % len(crystals)])
        copy.rattle(0.1, seed=k)
        copy.info['config_type'] = f'group{k % 3}'
        found = teacher.compute(copy)
        copy.calc = SinglePointCalculator(copy, energy=found.energy, forces=found.forces)
        structures.append(copy)
    return Dataset(tuple(structures))


def test_a_fit_finds_forces_of_four_bodies_that_triplets_cannot(made_up):
    test = np.arange(len(made_up)) % 3 == 1
    train, withheld = made_up.subset(np.flatnonzero(~test)), made_up.subset(np.flatnonzero(test))
    exact = {'energy_error_meV_per_atom': 0.1, 'forces_error_meV_per_angstrom': 1.0}
    settings = dataclasses.replace(SETTINGS, moments=None, **exact)
    errors = {}
    for name, more in (('triplets', {}), ('moments', {'moments': ['P'], 'ridge_moments': 1e-2})):
        results = fit_potential(train, dataclasses.replace(settings, **more), test=withheld)[1]
        errors[name] = results['forces_rmse_meV_per_angstrom']
    assert errors['moments'] < 0.5 * errors['triplets'], errors


@pytest.fixture(scope='module')
def fitted(crystals):
    """A fit with moments to the crystals, with its equations."""
    return run_fit(Problem.of(crystals, SETTINGS), keep_equations=True)


def test_sizes_of_terms_are_those_of_the_data(crystals, fitted):
    basis = fitted.potential.moments.basis
    rows = []
    for atoms in crystals:
        types = fitted.potential.types(atoms)
        local = local_features(atoms, types, fitted.potential.basis)[:, fitted.potential.basis.n_splines :]
        rows.append(local[types == 1, : basis.terms.n_terms])
    size = np.sqrt(np.mean(np.concatenate(rows) ** 2, axis=0))
    np.testing.assert_allclose(basis.scale[0], np.where(size > 0, size, 1.0), rtol=1e-10)


def test_the_posterior_knows_moments(crystals, fitted):
    atoms = crystals[0]
    known = uncertainty(fitted.potential, atoms)
    assert known.forces.shape == (len(atoms), 3) and (extrapolation_grade(fitted.potential, atoms) <= 1).all()
    squeezed = atoms.copy()
    squeezed.set_cell(0.9 * squeezed.cell.array, scale_atoms=True)
    assert uncertainty(fitted.potential, squeezed).forces_posterior.mean() > 1.5 * known.forces_posterior.mean()


def test_equations_with_moments_go_on_with_more_data(crystals, fitted, tmp_path):
    fitted.equations.save(tmp_path / 'equations.h5')
    saved = SavedEquations.load(tmp_path / 'equations.h5')
    assert (saved.basis.moments.scale == fitted.potential.moments.basis.scale).all()
    more = run_fit(Problem.adding(crystals.subset(np.arange(3)), saved))
    assert more.potential.moments is not None and more.results['columns'] == fitted.results['columns']


def test_dynamics_conserve_energy(crystals, fitted, tmp_path):
    options = {'steps': 400, 'timestep_fs': 1.0, 'ensemble': 'nve', 'temperature_K': 300, 'seed': 1, 'every': 20}
    run = run_md(fitted.potential, bare(crystals[0]), tmp_path / 'run.h5', **options)
    assert run.results['stop_reason'] == 'finished'
    with Trajectory(tmp_path / 'run.h5') as trajectory:
        first, last = trajectory.atoms(0), trajectory.atoms(trajectory.n_frames - 1)
    assert abs(run.results['energy_drift_meV_per_atom_per_ps']) < 1.0
    assert np.abs(last.positions - first.positions).max() > 0.1

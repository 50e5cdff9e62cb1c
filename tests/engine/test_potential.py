"""Claims about the ultra-fast potential: its kernel, its fit and its files."""

import dataclasses
import functools
import itertools

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from ase.optimize import BFGS

from aiida_ufpnmr.engine.dataset import Dataset, energy, forces, read_dataset, stress
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.hdf5 import content_hash
from aiida_ufpnmr.engine.ufp import PotentialSettings, UltraFastCalculator, UltraFastPotential, fit_potential
from aiida_ufpnmr.engine.ufp.features import N_LEADING, features, local_features
from aiida_ufpnmr.engine.ufp.lists import interaction_lists
from aiida_ufpnmr.engine.ufp.metrics import potential_errors
from aiida_ufpnmr.engine.ufp.problem import choose_basis
from aiida_ufpnmr.engine.ufp.repulsion import screened_repulsion
from aiida_ufpnmr.engine.ufp.splines import Grid
from aiida_ufpnmr.engine.ufp.terms import PairTerm, TripletTerm, pair_names, triplet_names


def random_grid(rng, start, stop, n, uniform):
    """Uniform knots, or knots up to a third of an interval off."""
    breaks = np.linspace(start, stop, n + 1)
    if not uniform:
        breaks[1:-1] += rng.uniform(-0.33, 0.33, n - 1) * (stop - start) / n
    return Grid(tuple(breaks.tolist()))


def trimmed(rng, scale, *grids, begins=True):
    """Random coefficients of splines that end smoothly, and begin so where asked."""
    coefficients = scale * rng.normal(size=[grid.n_functions for grid in grids])
    for axis in range(len(grids)):
        end = np.moveaxis(coefficients, axis, 0)
        end[-3:] = 0
        if begins:
            end[:3] = 0
    return coefficients


def random_potential(seed=0, species=('Li', 'P', 'S'), shared=True, uniform=True, reach=None):
    """A potential of random coefficients: nothing cancels, so every term shows in a gradient test.

    Grids differ between pairs and between triplets; where they are not ``shared``, those of the bonds with the partner,
    too. ``reach`` gives the longest bond of each centre, Å.
    """
    rng = np.random.default_rng(seed)
    starts = {pair: rng.uniform(0.8, 1.3) for pair in pair_names(species)}
    pairs, triplets = {}, {}
    for pair in pair_names(species):
        grid = random_grid(rng, starts[pair], rng.uniform(4.8, 5.5), int(rng.integers(10, 14)), uniform)
        pairs[pair] = PairTerm(grid, trimmed(rng, 1.0, grid, begins=False))

    @functools.cache
    def bond(*atoms):
        longest = 4.2 if reach is None else reach[atoms[0]]
        stop, n = (longest, 6) if shared else (rng.uniform(3.4, 4.2), int(rng.integers(5, 8)))
        return random_grid(rng, starts[min(atoms[:2]), max(atoms[:2])], stop, n, uniform)

    for centre, first, second in triplet_names(species):
        if shared:
            bonds = bond(centre, first), bond(centre, second)
        else:
            bonds = bond(centre, first, second), bond(centre, second, first)
        third = random_grid(rng, 0.9 * starts[first, second], bonds[0].stop + bonds[1].stop, 9, uniform)
        coefficients = trimmed(rng, 0.1, *bonds, third)
        if first == second:
            coefficients = coefficients + coefficients.transpose(1, 0, 2)
        triplets[centre, first, second] = TripletTerm((*bonds, third), coefficients)
    s = len(species)
    return UltraFastPotential(species, rng.normal(size=s), pairs, triplets, np.full((s, s), 1.5))


def triclinic_cell(n=14, seed=1, species=('Li', 'P', 'S')):
    """A triclinic cell narrower than the cut-off, so that some images of an atom count; atoms at least 1.6 Å apart."""
    rng = np.random.default_rng(seed)
    cell = np.array([[6.0, 0.2, 0.0], [1.5, 5.5, 0.3], [-0.8, 0.6, 5.0]])
    atoms = Atoms(cell=cell, pbc=True)
    while len(atoms) < n:
        trial = atoms + Atoms([species[len(atoms) % len(species)]], positions=[rng.uniform(0, 1, 3) @ cell])
        if len(trial) < 2 or trial.get_distances(-1, range(len(trial) - 1), mic=True).min() > 1.6:
            atoms = trial
    return atoms


def with_tables(potential, tables):
    """The same potential, computed with other tables."""
    other = dataclasses.replace(potential)
    other.__dict__['tables'] = tables  # the cached property
    return other


def plain_energies(potential, atoms):
    """The defining sum, written out over all images: the slow twin of the kernel."""
    shifts = np.array(list(itertools.product(range(-3, 4), repeat=3))) @ atoms.cell.array
    types = potential.types(atoms)
    names = potential.species
    result = potential.one_body[types].copy()
    for i in range(len(atoms)):
        vectors = (atoms.positions[:, None] + shifts - atoms.positions[i]).reshape(-1, 3)
        kinds = np.repeat(types, len(shifts))
        distances = np.linalg.norm(vectors, axis=1)
        near = np.flatnonzero((distances > 1e-9) & (distances < potential.cutoff))
        ti = types[i]
        for j in near:
            pair = potential.pairs[tuple(names[t] for t in sorted((ti, kinds[j])))]
            result[i] += float(pair.grid.design_matrix(distances[j])[0] @ pair.coefficients)
        for j, k in itertools.combinations(near, 2) if potential.triplets else ():
            if kinds[j] > kinds[k]:
                j, k = k, j
            triplet = potential.triplets[names[ti], names[kinds[j]], names[kinds[k]]]
            sides = distances[j], distances[k], np.linalg.norm(vectors[k] - vectors[j])
            if all(grid.start <= r < grid.stop for grid, r in zip(triplet.grids, sides)):
                rows = [grid.design_matrix(r)[0] for grid, r in zip(triplet.grids, sides)]
                result[i] += np.einsum('abc,a,b,c', triplet.coefficients, *rows)
    return result


@pytest.mark.parametrize('shared', [True, False])
@pytest.mark.parametrize('uniform', [True, False])
def test_kernel_equals_the_plain_sum(shared, uniform):
    potential, atoms = random_potential(shared=shared, uniform=uniform), triclinic_cell(6)
    assert (potential.tables.plain is None) == uniform
    # both are sums of the same few thousand float64 products in another order
    np.testing.assert_allclose(potential.compute(atoms).energies, plain_energies(potential, atoms), rtol=1e-12)


@pytest.mark.parametrize('species', [('Li',), ('Li', 'S'), ('Li', 'P', 'S')])
@pytest.mark.parametrize('shared', [True, False])
def test_vector_kernel_equals_its_plain_twin(species, shared):
    potential = random_potential(3, species, shared)
    atoms = triclinic_cell(species=species)
    assert potential.tables.bond_grid.shape[2] == (1 if shared or len(species) == 1 else len(species))
    vectorised = potential.compute(atoms)
    plain = with_tables(potential, potential.tables._replace(plain=True)).compute(atoms)
    for name in ('energies', 'forces', 'virial'):
        there, here = getattr(plain, name), getattr(vectorised, name)
        np.testing.assert_allclose(here, there, atol=1e-12 * abs(there).max())  # float64 sums in another order


#: Longest bonds of a centre, Å; one reaches across the cell.
UNEVEN = {'Li': 2.6, 'P': 5.2, 'S': 3.7}


def test_neighbours_reach_as_far_as_the_bonds_of_their_centre():
    potential, atoms = random_potential(reach=UNEVEN), triclinic_cell(6)
    tables = potential.tables
    assert tables.by_distance and tables.bond_grid.shape[2] == 1
    np.testing.assert_allclose(potential.compute(atoms).energies, plain_energies(potential, atoms), rtol=1e-12)
    order = np.argsort(potential.types(atoms), kind='stable')
    types, positions = potential.types(atoms)[order], atoms.positions[order]
    lists = interaction_lists(positions, types, atoms.cell.array, atoms.pbc, tables, 0.4)
    inside = positions - lists.home
    for i, kind in enumerate(types):
        row = slice(lists.near_start[i], lists.near_start[i + 1])
        there = inside[lists.near_index[row]] + lists.offsets[lists.near_image[row], :3]
        distance = np.linalg.norm(there - inside[i], axis=1)
        assert (distance < UNEVEN[potential.species[kind]] + 0.4).all()
        # by species, then by distance
        assert (np.lexsort((distance, types[lists.near_index[row]])) == np.arange(len(distance))).all()


def test_kernel_of_uneven_bonds_equals_its_plain_twin():
    potential = random_potential(3, reach=UNEVEN)
    atoms = triclinic_cell().repeat((2, 1, 1))
    atoms.rattle(0.05, seed=1)
    vectorised = potential.compute(atoms)
    plain = with_tables(potential, potential.tables._replace(plain=True)).compute(atoms)
    for name in ('energies', 'forces', 'virial'):
        there, here = getattr(plain, name), getattr(vectorised, name)
        np.testing.assert_allclose(here, there, atol=1e-12 * abs(there).max())  # float64 sums in another order


def test_functions_along_bonds_end_with_the_last_that_has_a_coefficient():
    tables = random_potential(reach=UNEVEN).tables
    bonds = np.unique(tables.bond_grid)
    # splines that end smoothly have no coefficients for their last three
    np.testing.assert_array_equal(tables.bond_functions[bonds], tables.grid_intervals[bonds])


@pytest.mark.parametrize('shared', [True, False])
def test_two_threads_give_what_one_does_and_the_same_each_time(shared):
    potential, atoms = random_potential(shared=shared), triclinic_cell().repeat(2)
    one = potential.compute(atoms)
    found = [with_tables(potential, potential.tables_for(threads=2)).compute(atoms) for _ in range(3)]
    for name in ('energies', 'forces', 'virial'):
        there = getattr(one, name)
        np.testing.assert_allclose(getattr(found[0], name), there, atol=1e-12 * abs(there).max())
        for again in found[1:]:
            np.testing.assert_array_equal(getattr(again, name), getattr(found[0], name))


def test_single_precision_is_good_to_seven_digits(labelled):
    potential, _ = fit_potential(labelled, PotentialSettings(bond_intervals=5))
    single = with_tables(potential, potential.tables_for('float32'))
    assert single.tables.triplet_coefficients.dtype == np.float32
    for atoms in labelled:
        exact, found = potential.compute(atoms), single.compute(atoms)
        # products and sums of some hundred triplets an atom, each with a relative error of 6e-8
        np.testing.assert_allclose(found.forces, exact.forces, atol=3e-6)
        np.testing.assert_allclose(found.energy, exact.energy, atol=1e-6 * len(atoms))
    assert abs(found.forces - exact.forces).max() > 0


def test_a_potential_without_triplets_is_its_pairs():
    whole, atoms = random_potential(), triclinic_cell(6)
    potential = dataclasses.replace(whole, triplets={})
    assert potential.cutoff == max(term.grid.stop for term in potential.pairs.values())
    np.testing.assert_allclose(potential.compute(atoms).energies, plain_energies(potential, atoms), rtol=1e-12)


@pytest.mark.parametrize(
    'grids', [{}, {'shared': False}, {'shared': False, 'uniform': False}, {'reach': UNEVEN}], ids=str
)
def test_forces_are_minus_the_gradient(grids):
    potential, atoms = random_potential(**grids), triclinic_cell(9)
    found, h = potential.compute(atoms).forces, 1e-4
    numerical = np.zeros_like(found)
    for i, a in np.ndindex(len(atoms), 3):
        energies = []
        for step in (-2, -1, 1, 2):
            moved = atoms.copy()
            moved.positions[i, a] += step * h
            energies.append(potential.compute(moved).energy)
        numerical[i, a] = -(energies[0] - 8 * energies[1] + 8 * energies[2] - energies[3]) / (12 * h)
    # the spline's third derivative jumps at knots; across one, the four-point formula errs by h³ times that jump
    np.testing.assert_allclose(found, numerical, atol=1e-7 * abs(found).max())


@pytest.mark.parametrize('shared, uniform', [(True, True), (False, True), (False, False)])
def test_stress_is_the_derivative_by_strain(shared, uniform):
    potential, atoms = random_potential(shared=shared, uniform=uniform), triclinic_cell(9)
    found, h = potential.compute(atoms), 1e-4
    numerical = np.zeros((3, 3))
    for a, b in np.ndindex(3, 3):
        energies = []
        for step in (-2, -1, 1, 2):
            strain = np.eye(3)
            strain[a, b] += step * h
            moved = atoms.copy()
            moved.set_cell(atoms.cell.array @ strain, scale_atoms=True)
            energies.append(potential.compute(moved).energy)
        numerical[a, b] = (energies[0] - 8 * energies[1] + 8 * energies[2] - energies[3]) / (12 * h)
    # as above
    np.testing.assert_allclose(found.virial, numerical, atol=1e-7 * abs(found.virial).max())
    np.testing.assert_allclose(found.stress, found.virial / atoms.get_volume())


def test_energy_is_invariant_under_rotation_translation_and_permutation():
    potential, atoms = random_potential(), triclinic_cell()
    reference = potential.compute(atoms)
    rng = np.random.default_rng(5)
    rotation = np.linalg.qr(rng.normal(size=(3, 3)))[0]  # proper or not: the energy is a scalar
    rotated = Atoms(atoms.symbols, atoms.positions @ rotation, cell=atoms.cell.array @ rotation, pbc=True)
    moved = atoms.copy()
    moved.positions += rng.uniform(-20, 20, 3)
    wrapped = moved.copy()
    wrapped.wrap()
    order = rng.permutation(len(atoms))
    for other, forces_there in (
        (rotated, reference.forces @ rotation),
        (moved, reference.forces),
        (wrapped, reference.forces),
        (atoms[order], reference.forces[order]),
    ):
        found = potential.compute(other)
        assert found.energy == pytest.approx(reference.energy, rel=1e-12)  # float64 sums in another order
        np.testing.assert_allclose(found.forces, forces_there, atol=1e-10 * abs(reference.forces).max())


def test_supercell_has_the_same_energy_per_atom():
    potential, atoms = random_potential(), triclinic_cell()
    small, large = potential.compute(atoms), potential.compute(atoms.repeat((2, 1, 3)))
    assert large.energy == pytest.approx(6 * small.energy, rel=1e-12)
    np.testing.assert_allclose(large.stress, small.stress, rtol=1e-9)


def without_pairs(potential):
    """Its triplets alone."""
    pairs = {
        name: dataclasses.replace(term, coefficients=0 * term.coefficients) for name, term in potential.pairs.items()
    }
    return dataclasses.replace(potential, pairs=pairs, one_body=0 * potential.one_body)


@pytest.mark.parametrize('uniform', [True, False])
def test_pairs_fade_out_smoothly_at_their_cutoffs(uniform):
    potential = random_potential(uniform=uniform)
    for (a, b), term in potential.pairs.items():
        free = potential.one_body[[potential.species.index(a), potential.species.index(b)]].sum()
        for gap in (1e-2, 1e-3):
            inside = potential.compute(Atoms([a, b], positions=[[0, 0, 0], [term.grid.stop - gap, 0, 0]]))
            # value ~ gap³/6h³, slope ~ gap²/2h³ with spacings of 0.2 Å or more and coefficients of order one
            assert abs(inside.energy - free) < 200 * gap**3
            assert abs(inside.forces).max() < 200 * gap**2


@pytest.mark.parametrize('uniform', [True, False])
def test_three_body_energy_does_not_jump_where_its_grids_begin_and_end(uniform):
    """A trimer is taken apart and pushed together: no two points close by differ by more than the slope allows."""
    potential = without_pairs(random_potential(2, shared=False, uniform=uniform))
    atoms, h = Atoms('LiSP', positions=np.zeros((3, 3))), 2e-3
    for angle in (0.4, 1.5):
        r = np.arange(0.6, 6.8, h)
        energies, slopes = np.empty(len(r)), np.empty(len(r))
        atoms.positions[2] = [2.2 * np.cos(angle), 2.2 * np.sin(angle), 0]
        for n, length in enumerate(r):
            atoms.positions[1, 0] = length
            found = potential.compute(atoms)
            energies[n], slopes[n] = found.energy, -found.forces[1, 0]
        assert energies[0] == energies[-1] == 0 and abs(energies).max() > 1e-3
        # the trapezium rule errs by h³/12 times the second derivative of the slope, of some 0.3 eV/(0.3 Å)³
        np.testing.assert_allclose(np.diff(energies), 0.5 * h * (slopes[1:] + slopes[:-1]), atol=1e-7)


MIXED = PotentialSettings(
    pair_cutoff={'default': 6.5, 'P-Li': 5.0},
    triplet_cutoff={'default': 3.6, 'S-Li-P': 4.2},
    bond_intervals=5,
    pair_knots={'S-S': [1.0, 1.4, 1.7, 1.9, 2.2, 2.6, 3.2, 4.0, 5.0, 6.0]},
    triplet_knots={
        'Li-S-P': [np.linspace(0.9, 4.0, 7).tolist(), [1.2, 1.6, 2.0, 2.5, 3.1, 3.8], np.linspace(1, 7, 9).tolist()]
    },
)


@pytest.mark.parametrize('settings', [PotentialSettings(bond_intervals=5), MIXED])
def test_features_times_coefficients_are_energy_virial_and_forces(labelled, settings):
    basis = choose_basis(labelled, settings)[1]
    coefficients = np.random.default_rng(2).normal(size=basis.n_columns)
    one_body, pairs, triplets = basis.expand(coefficients)
    potential = UltraFastPotential(basis.species, one_body, pairs, triplets, np.zeros((3, 3)))
    atoms = labelled.structures[0][np.random.default_rng(0).permutation(32)]
    # closer than the grid of that pair begins
    atoms.positions[1] = atoms.positions[0] + 0.9 * potential.pairs['Li', 'Li'].grid.start * np.array([1, 0, 0])
    found = potential.compute(atoms)
    predicted = coefficients @ features(atoms, potential.types(atoms), basis)
    assert predicted[0] == pytest.approx(found.energy, rel=1e-11)
    np.testing.assert_allclose(
        predicted[1:N_LEADING],
        found.virial[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]],
        atol=1e-9 * abs(found.virial).max(),
    )
    np.testing.assert_allclose(predicted[N_LEADING:].reshape(-1, 3), found.forces, atol=1e-10 * abs(found.forces).max())
    local = local_features(atoms, potential.types(atoms), basis)
    np.testing.assert_allclose(local @ coefficients, found.energies, rtol=1e-10)


def test_grids_are_those_of_the_settings(labelled):
    potential, _ = fit_potential(labelled, MIXED)
    assert potential.pairs['Li', 'P'].grid.stop == 5.0 and potential.pairs['Li', 'S'].grid.stop == 6.5
    assert (
        potential.triplets['S', 'Li', 'P'].grids[0].stop == 4.2
        and potential.triplets['S', 'Li', 'P'].grids[2].stop == 8.4
    )
    assert potential.triplets['S', 'Li', 'Li'].grids[0].stop == 3.6
    assert potential.pairs['S', 'S'].grid.breaks[-9:] == tuple(MIXED.pair_knots['S-S'][1:])
    # the neighbours of the setting stand in the other order
    first, second, third = potential.triplets['Li', 'P', 'S'].grids
    assert [list(grid.breaks) for grid in (second, first, third)] == MIXED.triplet_knots['Li-S-P']
    assert potential.cutoff == 6.5


def test_knots_that_leave_no_room_for_a_wall_are_refused(labelled):
    begun = PotentialSettings(bond_intervals=5, pair_knots={'Li-S': [3.0, 3.5, 4.5, 6.0, 7.0]})
    grid = choose_basis(labelled, begun)[1].pairs['Li', 'S']
    # down to half of the shortest distance, 2.12 Å
    assert grid.breaks == (1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.5, 6.0, 7.0)
    coarse = dataclasses.replace(begun, pair_knots={'Li-S': [3.0, 4.0, 5.0, 6.0, 7.0]})
    with pytest.raises(InputError, match='Li-S has less than 2 intervals below .* make the first interval'):
        choose_basis(labelled, coarse)
    with pytest.raises(InputError, match='raise pair_intervals'):
        choose_basis(labelled, PotentialSettings(bond_intervals=5, pair_intervals=4))


def test_fit_recovers_the_potential_that_made_the_labels(labelled):
    """Labels made by a fitted potential lie in its own basis: a fit with weak penalties must predict them."""
    settings = PotentialSettings(
        pair_cutoff=6.0,
        bond_intervals=4,
        pair_intervals=8,
        ridge_pair=1e-9,
        ridge_triplet=1e-9,
        curvature_pair=0,
        curvature_triplet=0,
    )
    first, _ = fit_potential(labelled, settings)
    structures = []
    for atoms in labelled:
        copy = atoms.copy()
        copy.calc = UltraFastCalculator(first)
        copy.get_potential_energy()
        copy.get_stress()
        structures.append(copy)
    second, results = fit_potential(Dataset(tuple(structures)), settings)
    # far below the errors of any real fit (hundreds of meV/Å); what is left is the ridge
    assert results['train']['forces_rmse_meV_per_angstrom'] < 0.5
    assert results['train']['energy_rmse_meV_per_atom'] < 0.05


def test_withheld_errors_come_from_structures_that_were_not_seen(labelled):
    potential, results = fit_potential(labelled, PotentialSettings(bond_intervals=5))
    assert results['validation']['folds'] >= 2
    assert results['forces_rmse_meV_per_angstrom'] > results['train']['forces_rmse_meV_per_angstrom']
    assert results['train'] == potential_errors([(potential, labelled)])


@pytest.mark.parametrize(
    'settings',
    [
        PotentialSettings(bond_intervals=5),
        dataclasses.replace(MIXED, pair_intervals=12),
        PotentialSettings(bond_intervals=5, short_range='zbl'),
        dataclasses.replace(MIXED, pair_intervals=12, short_range='zbl'),
    ],
)
def test_wall_keeps_rising_below_the_data(labelled, settings):
    potential, _ = fit_potential(labelled, settings)
    for (i, a), (j, b) in itertools.product(enumerate(potential.species), repeat=2):
        grid = potential.pairs[min(a, b), max(a, b)].grid
        # from the overlap limit to where the last spline that data have seen begins
        seen = grid.knots[grid.functions_below(potential.closest_distance[i, j])]
        distances = np.linspace(0.51, max(seen, grid.start), 40)
        energies = [potential.compute(Atoms([a, b], positions=[[0, 0, 0], [d, 0, 0]])).energy for d in distances]
        assert (np.diff(energies) < 0).all()
        assert energies[0] - energies[-1] > 3.0  # eV, ten times kT in a melt of 3000 K


@pytest.mark.parametrize('short_range', [None, 'zbl'])
def test_no_atom_can_be_pushed_through_another(labelled, short_range):
    """In a crystal, with all its triplets: from 0.8 times the shortest distance in training on, work rises without
    end."""
    potential, _ = fit_potential(labelled, PotentialSettings(short_range=short_range))
    rng = np.random.default_rng(0)
    for atoms in labelled.subset([0, 9, 11]):
        for i in rng.choice(32, 6, replace=False):
            close = atoms.get_distances(i, range(32), mic=True)
            j = int(np.argsort(close)[1])
            towards = atoms.get_distance(i, j, mic=True, vector=True) / close[j]
            at = {name: t for t, name in enumerate(potential.species)}
            shortest = potential.closest_distance[at[atoms.symbols[i]], at[atoms.symbols[j]]]
            pushed, work = atoms.copy(), []
            for r in np.linspace(0.8 * shortest, 0.52, 30):
                pushed.positions[j] = atoms.positions[i] + r * towards
                work.append(potential.compute(pushed).energy)
            assert (np.diff(work) > 0).all()


def test_elements_that_were_never_near_each_other_repel(labelled):
    """Of two Na in the set, none is near the other."""
    structures = []
    for atoms in labelled.subset([0, 1, 2, 3, 4]):
        copy = atoms.repeat((2, 1, 1))[:33]
        copy.symbols[0] = 'Na'
        copy.calc = SinglePointCalculator(copy, energy=-100.0, forces=np.zeros((33, 3)))
        copy.cell[0] += 3
        structures.append(copy)
    potential, _ = fit_potential(Dataset(tuple(structures)), PotentialSettings(pair_cutoff=5.0, bond_intervals=4))
    assert potential.pairs['Na', 'Na'].grid.start < 2.0  # 0.6 of two covalent radii of 1.66 Å
    distances = np.linspace(0.51, 2.5, 40)
    energies = [potential.compute(Atoms('Na2', positions=[[0, 0, 0], [d, 0, 0]])).energy for d in distances]
    assert (np.diff(energies) < 0).all() and energies[0] - energies[-1] > 5


def test_screened_repulsion_is_coulomb_at_contact():
    r = 1e-4
    assert screened_repulsion(r, 3, 16) == pytest.approx(14.399645 * 48 / r, rel=2e-3)  # screening 1 − O(r/0.2 Å)


def test_saved_potential_is_the_same_and_equal_fits_have_equal_content(tmp_path, labelled):
    settings = dataclasses.replace(MIXED, folds=2)
    for name in ('a.h5', 'b.h5'):
        fit_potential(labelled, settings)[0].save(tmp_path / name)
    assert content_hash(tmp_path / 'a.h5') == content_hash(tmp_path / 'b.h5')
    potential, again = fit_potential(labelled, settings)[0], UltraFastPotential.load(tmp_path / 'a.h5')
    atoms = labelled.structures[3]
    assert again.compute(atoms).energy == potential.compute(atoms).energy
    assert again.training_sha256 == labelled.content_hash
    assert again.identity == potential.identity
    assert again.settings == potential.settings == dataclasses.replace(settings, third_intervals=7)


def test_calculator_serves_ase(labelled):
    potential, _ = fit_potential(labelled, PotentialSettings(bond_intervals=5))
    atoms = labelled.structures[0].copy()
    atoms.calc = UltraFastCalculator(potential)
    before = atoms.get_potential_energy()
    BFGS(atoms, logfile=None).run(fmax=0.3, steps=10)
    assert atoms.get_potential_energy() < before
    assert atoms.get_stress().shape == (6,)


def test_a_potential_shows_itself_in_one_line(small_potential):
    shown = repr(small_potential)
    assert shown == f'UltraFastPotential(Li, P, S; cut-off {small_potential.cutoff:g} Å; {small_potential.source})'
    assert str(small_potential) == shown


def test_unknown_element_is_refused(labelled):
    potential = random_potential()
    with pytest.raises(InputError, match='does not know Cu'):
        potential.compute(bulk('Cu'))


@pytest.fixture(scope='module')
def labelled(example_data):
    """Twelve of the shipped structures, of four groups."""
    return read_dataset(example_data).subset([0, 1, 2, 8, 9, 10, 36, 37, 38, 65, 66, 67])


def test_shipped_set_is_complete(example_data):
    dataset = read_dataset(example_data, ('energy', 'forces', 'stress', 'efg'), efg_species='Li')
    assert len(dataset) == 73
    assert all(len(atoms) == 32 and np.isfinite(energy(atoms)) for atoms in dataset)
    rms = np.sqrt(np.mean([forces(atoms) ** 2 for atoms in dataset]))
    assert rms == pytest.approx(0.81, abs=0.01)  # as its README says
    for atoms in dataset:
        np.testing.assert_allclose(stress(atoms), stress(atoms).T)
        np.testing.assert_allclose(np.trace(atoms.arrays['efg'], axis1=1, axis2=2), 0, atol=1e-7)

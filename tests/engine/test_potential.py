"""Claims about the ultra-fast potential: its kernel, its fit and its files."""

import itertools

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.optimize import BFGS

from aiida_ufpnmr.engine.dataset import Dataset, energy, forces, read_dataset, stress
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.hdf5 import content_hash
from aiida_ufpnmr.engine.ufp import PotentialSettings, UltraFastCalculator, UltraFastPotential, fit_potential
from aiida_ufpnmr.engine.ufp.features import N_LEADING, features
from aiida_ufpnmr.engine.ufp.fitting import choose_basis
from aiida_ufpnmr.engine.ufp.metrics import potential_errors
from aiida_ufpnmr.engine.ufp.repulsion import screened_repulsion
from aiida_ufpnmr.engine.ufp.splines import design_matrix


def random_potential(seed=0, species=('Li', 'P', 'S')):
    """A potential of random coefficients: nothing cancels, so every term shows in a gradient test."""
    rng = np.random.default_rng(seed)
    s = len(species)
    start = rng.uniform(0.8, 1.3, (s, s))
    start = (start + start.T) / 2
    pairs = rng.normal(size=(s, s, 15))
    pairs = pairs + pairs.transpose(1, 0, 2)
    pairs[:, :, -3:] = 0
    trios = 0.1 * rng.normal(size=(s, s, s, 9, 9, 12))
    trios[:, :, :, :3] = trios[:, :, :, -3:] = 0
    trios[:, :, :, :, :3] = trios[:, :, :, :, -3:] = 0
    trios[..., :3] = trios[..., -3:] = 0
    for i, j in itertools.product(range(s), range(s)):
        trios[i, j, j] += trios[i, j, j].transpose(1, 0, 2)
    cutoff = np.full((s, s), 5.5)
    return UltraFastPotential(
        species, rng.normal(size=s), start, cutoff, pairs, 4.2, start, 0.9 * start, trios, np.full((s, s), 1.5)
    )  # fmt: skip


def triclinic_cell(n=14, seed=1):
    """A triclinic cell narrower than the cut-off, atoms at least 1.6 Å apart."""
    rng = np.random.default_rng(seed)
    cell = np.array([[6.0, 0.2, 0.0], [1.5, 5.5, 0.3], [-0.8, 0.6, 5.0]])
    atoms = Atoms(cell=cell, pbc=True)
    while len(atoms) < n:
        trial = atoms + Atoms([['Li', 'P', 'S'][len(atoms) % 3]], positions=[rng.uniform(0, 1, 3) @ cell])
        if len(trial) < 2 or trial.get_distances(-1, range(len(trial) - 1), mic=True).min() > 1.6:
            atoms = trial
    return atoms


def spline(r, start, stop, coefficients):
    n = len(coefficients) - 3
    return float((design_matrix([r], start, (stop - start) / n, n) @ coefficients)[0])


def plain_energies(potential, atoms):
    """The defining sum, written out over all images: the slow twin of the kernel."""
    reach = [range(-3, 4)] * 3
    shifts = np.array(list(itertools.product(*reach))) @ atoms.cell.array
    types = potential.types(atoms)
    result = potential.one_body[types].copy()
    legs, thirds = potential.trio_coefficients.shape[3] - 3, potential.trio_coefficients.shape[5] - 3
    for i in range(len(atoms)):
        vectors = (atoms.positions[:, None] + shifts - atoms.positions[i]).reshape(-1, 3)
        kinds = np.repeat(types, len(shifts))
        distances = np.linalg.norm(vectors, axis=1)
        ti = types[i]
        for d, t in zip(distances, kinds):
            if 1e-9 < d < potential.pair_cutoff[ti, t]:
                result[i] += spline(
                    d, potential.pair_start[ti, t], potential.pair_cutoff[ti, t], potential.pair_coefficients[ti, t]
                )
        near = np.flatnonzero((distances > 1e-9) & (distances < potential.trio_cutoff))
        for j, k in itertools.combinations(near, 2):
            if kinds[j] > kinds[k]:
                j, k = k, j
            tj, tk = kinds[j], kinds[k]
            grids = (
                (distances[j], potential.leg_start[ti, tj], potential.trio_cutoff, legs),
                (distances[k], potential.leg_start[ti, tk], potential.trio_cutoff, legs),
                (np.linalg.norm(vectors[k] - vectors[j]), potential.third_start[tj, tk], 2 * potential.trio_cutoff, thirds),
            )
            rows = [design_matrix([r], start, (stop - start) / n, n)[0] for r, start, stop, n in grids]
            result[i] += np.einsum('abc,a,b,c', potential.trio_coefficients[ti, tj, tk], *rows)
    return result


def test_kernel_equals_the_plain_sum():
    potential, atoms = random_potential(), triclinic_cell(6)
    # both are sums of the same few thousand float64 products in another order
    np.testing.assert_allclose(potential.compute(atoms).energies, plain_energies(potential, atoms), rtol=1e-12)


def test_vector_kernel_equals_its_plain_twin():
    potential, atoms = random_potential(), triclinic_cell()
    tables = potential.tables
    vectorised = potential.compute(atoms)
    potential.__dict__['tables'] = tables._replace(vectorised=False)  # the cached property
    plain = potential.compute(atoms)
    assert tables.vectorised
    for name in ('energies', 'forces', 'virial'):
        there, here = getattr(plain, name), getattr(vectorised, name)
        np.testing.assert_allclose(here, there, atol=1e-12 * abs(there).max())  # float64 sums in another order


def test_forces_are_minus_the_gradient():
    potential, atoms = random_potential(), triclinic_cell()
    found, h = potential.compute(atoms).forces, 1e-4
    numerical = np.zeros_like(found)
    for i, a in np.ndindex(len(atoms), 3):
        energies = []
        for step in (-2, -1, 1, 2):
            moved = atoms.copy()
            moved.positions[i, a] += step * h
            energies.append(potential.compute(moved).energy)
        numerical[i, a] = -(energies[0] - 8 * energies[1] + 8 * energies[2] - energies[3]) / (12 * h)
    # the spline's third derivative jumps at knots, so the four-point formula errs by h³ times that jump where one is crossed
    np.testing.assert_allclose(found, numerical, atol=1e-7 * abs(found).max())


def test_stress_is_the_derivative_by_strain():
    potential, atoms = random_potential(), triclinic_cell()
    found, h = potential.compute(atoms), 1e-5
    for a, b in np.ndindex(3, 3):
        energies = []
        for sign in (-1, 1):
            strain = np.eye(3)
            strain[a, b] += sign * h
            moved = atoms.copy()
            moved.set_cell(atoms.cell.array @ strain, scale_atoms=True)
            energies.append(potential.compute(moved).energy)
        numerical = (energies[1] - energies[0]) / (2 * h)
        # central differences of an energy of some 100 eV: round-off 1e-13/1e-5, truncation of order h²
        assert found.virial[a, b] == pytest.approx(numerical, abs=1e-6 * abs(found.virial).max())
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


def test_energy_and_forces_fade_out_smoothly_at_the_cutoff():
    potential = random_potential()
    dimer = lambda r: Atoms('LiS', positions=[[0, 0, 0], [r, 0, 0]])  # noqa: E731
    free = potential.compute(dimer(8.0)).energy
    for gap in (1e-2, 1e-3):
        inside = potential.compute(dimer(5.5 - gap))
        # value ~ gap³/6h³, slope ~ gap²/2h³ with spacings of about 0.35 Å and coefficients of order one
        assert abs(inside.energy - free) < 100 * gap**3
        assert abs(inside.forces).max() < 100 * gap**2


def test_features_times_coefficients_are_energy_virial_and_forces(labelled):
    settings = PotentialSettings(leg_intervals=5)
    basis = choose_basis(labelled, labelled.species, settings)
    coefficients = np.random.default_rng(2).normal(size=basis.n_columns)
    one_body, pairs, trios = basis.expand(coefficients)
    s = len(basis.species)
    potential = UltraFastPotential(
        basis.species, one_body, basis.pair_start, np.full((s, s), basis.pair_cutoff), pairs, basis.trio_cutoff,
        basis.leg_start, basis.third_start, trios, np.zeros((s, s)),
    )  # fmt: skip
    atoms = labelled.structures[0][np.random.default_rng(0).permutation(32)]
    found = potential.compute(atoms)
    predicted = coefficients @ features(atoms, potential.types(atoms), basis)
    assert predicted[0] == pytest.approx(found.energy, rel=1e-11)
    np.testing.assert_allclose(
        predicted[1:N_LEADING], found.virial[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]], atol=1e-9 * abs(found.virial).max()
    )
    np.testing.assert_allclose(
        predicted[N_LEADING:].reshape(-1, 3), found.forces, atol=1e-10 * abs(found.forces).max()
    )


def test_fit_recovers_the_potential_that_made_the_labels(labelled):
    """Labels made by a fitted potential lie in its own basis: a fit with weak penalties must predict them."""
    settings = PotentialSettings(
        pair_cutoff=6.0, leg_intervals=4, pair_intervals=8, ridge_pair=1e-9, ridge_trio=1e-9, curvature_pair=0, curvature_trio=0
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
    potential, results = fit_potential(labelled, PotentialSettings(leg_intervals=5))
    assert results['validation']['folds'] >= 2
    assert results['forces_rmse_meV_per_angstrom'] > results['train']['forces_rmse_meV_per_angstrom']
    assert results['train'] == potential_errors([(potential, labelled)])


def test_wall_keeps_rising_below_the_data(labelled):
    potential, _ = fit_potential(labelled, PotentialSettings(leg_intervals=5))
    for (i, a), (j, b) in itertools.product(enumerate(potential.species), repeat=2):
        closest = potential.closest_distance[i, j]
        spacing = (potential.pair_cutoff[i, j] - potential.pair_start[i, j]) / 20
        # from the overlap limit to where the last spline that data have seen begins
        distances = np.linspace(0.51, closest - 3 * spacing, 40)
        energies = [potential.compute(Atoms([a, b], positions=[[0, 0, 0], [d, 0, 0]])).energy for d in distances]
        assert (np.diff(energies) < 0).all()
        assert energies[0] - energies[-1] > 3.0  # eV, ten times kT in a melt of 3000 K


def test_screened_repulsion_is_coulomb_at_contact():
    r = 1e-4
    assert screened_repulsion(r, 3, 16) == pytest.approx(14.399645 * 48 / r, rel=2e-3)  # screening 1 − O(r/0.2 Å)


def test_saved_potential_is_the_same_and_equal_fits_have_equal_content(tmp_path, labelled):
    settings = PotentialSettings(leg_intervals=5)
    for name in ('a.h5', 'b.h5'):
        fit_potential(labelled, settings)[0].save(tmp_path / name)
    assert content_hash(tmp_path / 'a.h5') == content_hash(tmp_path / 'b.h5')
    potential, again = fit_potential(labelled, settings)[0], UltraFastPotential.load(tmp_path / 'a.h5')
    atoms = labelled.structures[3]
    assert again.compute(atoms).energy == potential.compute(atoms).energy
    assert again.training_sha256 == labelled.content_hash


def test_calculator_serves_ase(labelled):
    potential, _ = fit_potential(labelled, PotentialSettings(leg_intervals=5))
    atoms = labelled.structures[0].copy()
    atoms.calc = UltraFastCalculator(potential)
    before = atoms.get_potential_energy()
    BFGS(atoms, logfile=None).run(fmax=0.3, steps=10)
    assert atoms.get_potential_energy() < before
    assert atoms.get_stress().shape == (6,)


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

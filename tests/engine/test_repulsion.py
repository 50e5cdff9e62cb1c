"""Claims about pairs that are closer than the data, where the repulsion of screened nuclei is the prior."""

import dataclasses

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.data import atomic_numbers, covalent_radii

from aiida_ufpnmr.engine.dataset import Dataset, forces, read_dataset
from aiida_ufpnmr.engine.hdf5 import content_hash
from aiida_ufpnmr.engine.neighbours import neighbour_list
from aiida_ufpnmr.engine.ufp import PotentialSettings, UltraFastPotential, fit_potential
from aiida_ufpnmr.engine.ufp.repulsion import faded_repulsion, screened_repulsion

SETTINGS = PotentialSettings(bond_intervals=5)
REPULSIVE = dataclasses.replace(SETTINGS, short_range='zbl')


@pytest.fixture(scope='module')
def shipped(example_data):
    return read_dataset(example_data)


@pytest.fixture(scope='module')
def fits(shipped):
    """A fit to a few structures without the prior, and one with it."""
    few = shipped.subset(range(0, 73, 12))
    return few, *(fit_potential(few, dataclasses.replace(one, folds=2))[0] for one in (SETTINGS, REPULSIVE))


@pytest.mark.parametrize('pair', [('Li', 'Li'), ('Li', 'S'), ('P', 'S'), ('S', 'S')])
def test_repulsion_is_that_of_nuclei_and_fades_out_smoothly(pair):
    numbers = [atomic_numbers[symbol] for symbol in pair]
    bond = covalent_radii[numbers].sum()
    r = np.linspace(0.05, 0.25 * bond, 20)
    np.testing.assert_allclose(faded_repulsion(r, *numbers), screened_repulsion(r, *numbers), rtol=5e-3)  # 28 / 4⁶
    r = np.linspace(0.3, 1.5 * bond, 4001)
    energy, slope = faded_repulsion(r, *numbers), np.gradient(faded_repulsion(r, *numbers), r)
    assert (np.diff(energy) <= 0).all() and (energy[r >= bond] == 0).all()
    # value, slope and curvature go to nothing together: within a hundredth of the bond all are small
    near = abs(r - bond) < 0.01 * bond
    assert energy[near].max() < 1e-3 and abs(slope[near]).max() < 0.1 and abs(np.gradient(slope, r)[near]).max() < 10


def test_elements_that_were_never_near_each_other_repel_as_their_nuclei(shipped):
    """Of two Na in the set, none is near the other: nothing but the prior says what their energy is."""
    structures = []
    for atoms in shipped.subset(range(5)):
        copy = atoms.repeat((2, 1, 1))[:33]
        copy.symbols[0] = 'Na'
        copy.calc = SinglePointCalculator(copy, energy=-100.0, forces=np.zeros((33, 3)))
        copy.cell[0] += 3
        structures.append(copy)
    settings = dataclasses.replace(REPULSIVE, pair_cutoff=5.0, bond_intervals=4)
    potential, _ = fit_potential(Dataset(tuple(structures)), settings)
    term = potential.pairs['Na', 'Na']
    r = np.linspace(term.grid.start, 5.0, 200)
    found, expected = 2 * term.values(r), faded_repulsion(r, 11, 11)
    # what intervals of 0.15 Å resolve
    np.testing.assert_allclose(found, expected, rtol=0.01, atol=0.01)
    pair = potential.compute(Atoms('Na2', positions=[[0, 0, 0], [0, 0, 2.2]]))
    assert pair.energy - 2 * potential.one_body[1] == pytest.approx(faded_repulsion(2.2, 11, 11), rel=0.01)


def test_nothing_changes_where_there_are_data(fits):
    dataset, before, after = fits
    for (a, b), term in after.pairs.items():
        closest = after.closest_distance[after.species.index(a), after.species.index(b)]
        seen = np.linspace(closest, term.grid.stop, 50)
        np.testing.assert_array_equal(term.values(seen), before.pairs[a, b].values(seen))
        assert term.values(0.8 * closest) != before.pairs[a, b].values(0.8 * closest)
    for atoms in dataset:
        np.testing.assert_array_equal(after.compute(atoms).forces, before.compute(atoms).forces)
    np.testing.assert_array_equal(after.posterior.whitening, before.posterior.whitening)


def atoms_in_contact(potential, atoms):
    """Which atoms (n,) are closer to another than any such pair in training."""
    types, limit = potential.types(atoms), potential.closest_distance
    found = neighbour_list(atoms.positions, atoms.cell.array, atoms.pbc, limit.max())
    distance = np.linalg.norm(found.vectors(atoms.positions, atoms.cell.array), axis=1)
    close = distance < (1 - 1e-6) * limit[types[found.centre], types[found.index]]
    return np.isin(np.arange(len(atoms)), found.centre[close])


def force_errors(potential, dataset):
    """RMSE of forces (eV/Å) on atoms in contact, and on all others."""
    near, far = [], []
    for atoms in dataset:
        close, error = atoms_in_contact(potential, atoms), potential.compute(atoms).forces - forces(atoms)
        near.append(error[close])
        far.append(error[~close])
    return tuple(float(np.sqrt(np.mean(np.concatenate(parts) ** 2))) for parts in (near, far))


def test_atoms_closer_than_the_data_have_smaller_errors(shipped):
    """Crystals alone are trained on; melts and glasses have bonds S–S and P–P that no crystal has."""
    crystals = np.array([name.startswith(('beta', 'gamma')) for name in shipped.groups])
    train, test = shipped.subset(np.flatnonzero(crystals)), shipped.subset(np.flatnonzero(~crystals))
    (wall_near, wall_far), (near, far) = (
        force_errors(fit_potential(train, settings)[0], test) for settings in (SETTINGS, REPULSIVE)
    )
    assert near < 0.75 * wall_near and far == wall_far


def test_withheld_errors_are_no_larger(shipped):
    before, after = (fit_potential(shipped, settings)[1] for settings in (SETTINGS, REPULSIVE))
    for name in ('energy_rmse_meV_per_atom', 'forces_rmse_meV_per_angstrom', 'stress_rmse_GPa'):
        assert after[name] < 1.001 * before[name]  # another seed of the folds changes the forces by six per cent


def test_a_file_tells_the_prior_and_one_without_it_does_not_name_it(fits, tmp_path):
    hashes = []
    for fitted, short_range in zip(fits[1:], (None, 'zbl')):
        fitted.save(tmp_path / 'potential.h5')
        loaded = UltraFastPotential.load(tmp_path / 'potential.h5')
        assert loaded.identity == fitted.identity and loaded.settings.short_range == short_range
        assert ('short_range' in loaded.settings.to_json()) == (short_range is not None)
        hashes.append(content_hash(tmp_path / 'potential.h5'))
    assert hashes[0] != hashes[1]

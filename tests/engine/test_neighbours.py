"""Claims about neighbour lists."""

import numpy as np
import pytest
from ase import Atoms
from ase.neighborlist import primitive_neighbor_list

from aiida_ufpnmr.engine.neighbours import neighbour_list, surroundings


def as_set(i, j, s):
    return sorted(zip(i.tolist(), j.tolist(), map(tuple, s.tolist())))


@pytest.mark.parametrize('pbc', [(1, 1, 1), (1, 0, 1), (0, 0, 0), (0, 1, 0)])
@pytest.mark.parametrize('cutoff', [1.0, 4.0, 8.9])
@pytest.mark.parametrize('n', [1, 2, 40])
def test_list_agrees_with_ase_in_a_triclinic_cell_narrower_than_the_cutoff(pbc, cutoff, n):
    rng = np.random.default_rng(3)
    cell = np.array([[5.0, 0, 0], [1.5, 6.0, 0], [-2.0, 1.0, 4.0]])
    positions = rng.uniform(-8, 12, (n, 3))  # far outside the cell on purpose
    ours = neighbour_list(positions, cell, pbc, cutoff)
    i = np.repeat(np.arange(n), np.diff(ours.start))
    theirs = primitive_neighbor_list('ijS', pbc, cell, positions, cutoff)
    assert as_set(i, ours.index, ours.shift) == as_set(*theirs)


def test_order_is_by_atom_then_image_however_the_atoms_lie():
    atoms = Atoms('Li20', positions=np.random.default_rng(0).uniform(0, 5, (20, 3)), cell=[5, 5, 5], pbc=True)
    found = neighbour_list(atoms.positions, atoms.cell.array, atoms.pbc, 6.0)
    for i in range(20):
        rows = slice(found.start[i], found.start[i + 1])
        keys = [(j, *s) for j, s in zip(found.index[rows], found.shift[rows].tolist())]
        assert keys == sorted(keys)


def test_chosen_atoms_have_the_same_neighbours_with_the_vectors_to_them():
    atoms = Atoms('Li20', positions=np.random.default_rng(0).uniform(0, 5, (20, 3)), cell=[5, 6, 7], pbc=True)
    cell = atoms.cell.array
    everything = neighbour_list(atoms.positions, cell, atoms.pbc, 4.0)
    chosen = np.array([15, 3, 6])
    found = surroundings(atoms.positions, cell, atoms.pbc, 4.0, chosen)
    for k, i in enumerate(chosen):
        here, there = slice(*found.start[k : k + 2]), slice(*everything.start[i : i + 2])
        np.testing.assert_array_equal(found.index[here], everything.index[there])
        vector = atoms.positions[everything.index[there]] + everything.shift[there] @ cell - atoms.positions[i]
        np.testing.assert_allclose(found.vector[here], vector, atol=1e-14)
    assert len(found.index) == found.start[-1]

"""Claims about neighbour lists."""

import numpy as np
import pytest
from ase import Atoms
from ase.neighborlist import primitive_neighbor_list

from aiida_ufpnmr.engine.neighbours import find_neighbours, neighbour_list


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


def test_chosen_centres_have_the_same_neighbours_and_other_atoms_none():
    atoms = Atoms('Li20', positions=np.random.default_rng(0).uniform(0, 5, (20, 3)), cell=[5, 6, 7], pbc=True)
    everything = find_neighbours(atoms.positions, atoms.cell.array, atoms.pbc, 4.0)
    chosen = np.arange(20) % 3 == 0
    start, index, shift = find_neighbours(atoms.positions, atoms.cell.array, atoms.pbc, 4.0, chosen)
    rows = np.repeat(chosen, np.diff(everything[0]))
    np.testing.assert_array_equal(np.diff(start), np.where(chosen, np.diff(everything[0]), 0))
    np.testing.assert_array_equal(index, everything[1][rows])
    np.testing.assert_array_equal(shift, everything[2][rows])

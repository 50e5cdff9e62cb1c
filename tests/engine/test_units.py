"""Claims about units that are known by their bonds."""

import numpy as np
import pytest
from ase import Atoms
from ase.io import read
from scipy.spatial.transform import Rotation

from aiida_ufpnmr.engine.building.rigid_units import RIGID_UNITS
from aiida_ufpnmr.engine.structure import find_units

TRICLINIC = np.array([[11.0, 0.0, 0.0], [4.0, 10.0, 0.0], [-3.0, 5.0, 9.5]])
CUBIC = 11.0 * np.eye(3)


def in_cell(parts: list[Atoms], cell: np.ndarray, at: np.ndarray, seed: int = 0) -> Atoms:
    """Parts turned at random, with their centres at places in units of the cell vectors, all atoms wrapped."""
    rng = np.random.default_rng(seed)
    atoms = Atoms(cell=cell, pbc=True)
    for part, place in zip(parts, at):
        positions = Rotation.random(random_state=rng).apply(part.positions - part.positions.mean(axis=0))
        atoms += Atoms(part.numbers, positions + place @ cell)
    atoms.wrap()
    return atoms


@pytest.mark.parametrize('cell', [CUBIC, TRICLINIC], ids=['cubic', 'triclinic'])
@pytest.mark.parametrize('name', RIGID_UNITS)
@pytest.mark.parametrize('corner', [(0, 0, 0), (0, 0.5, 0.5), (0.5, 0, 0.02), (0.5, 0.5, 0.5)])
def test_a_unit_is_known_across_the_faces_of_any_cell(name, cell, corner):
    unit = RIGID_UNITS[name]
    for seed in range(5):
        atoms = in_cell([unit.atoms], cell, np.array([corner]), seed)
        # and with atoms outside of the cell
        atoms.positions += np.random.default_rng(seed).integers(-2, 3, (len(atoms), 3)) @ cell
        found = find_units(atoms)
        assert found.counts == {name: 1} and (found.unit == 0).all() and not len(found.foreign)
        assert atoms.symbols[found.bridging].formula.count() == ({'S': 1} if name == 'P2S7' else {})


def test_units_stand_in_the_order_of_their_first_atoms_and_ions_in_none():
    parts = [Atoms('Li'), RIGID_UNITS['P2S7'].atoms, Atoms('Cl'), RIGID_UNITS['PS4'].atoms, Atoms('Na')]
    at = np.array([[0.5, 0.5, 0.5], [0, 0, 0], [0.45, 0, 0.6], [0.5, 0.5, 0], [0, 0.5, 0.5]])
    found = find_units(in_cell(parts, 1.5 * TRICLINIC, at))
    assert found.names == ('P2S7', 'Cl', 'PS4')
    assert found.unit.tolist() == [-1, *[0] * 9, 1, *[2] * 5, -1]


def tetrahedron(centre: str = 'P', ligand: str = 'S', bond: float = 2.05) -> Atoms:
    ends = bond / 3**0.5 * np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]])
    return Atoms(f'{centre}{ligand}4', np.vstack([np.zeros(3), ends]))


@pytest.mark.parametrize(
    ('centre', 'ligand', 'bond'),
    [('P', 'S', 2.05), ('Ge', 'S', 2.2), ('Si', 'S', 2.13), ('Sn', 'Se', 2.5), ('P', 'O', 1.54), ('Al', 'Cl', 2.14)],
)
def test_any_tetrahedron_is_known(centre, ligand, bond):
    atoms = in_cell([tetrahedron(centre, ligand, bond)], TRICLINIC, np.zeros((1, 3)))
    assert find_units(atoms).counts == {f'{centre}{ligand}4': 1}


def test_a_unit_that_lost_a_ligand_is_another_and_the_ligand_one_of_its_own():
    atoms = tetrahedron()
    atoms.positions[1] *= 1.5
    found = find_units(atoms)
    assert found.counts == {'PS3[3]': 1, 'S': 1} and found.unit.tolist() == [0, 1, 0, 0, 0]


def test_two_tetrahedra_with_an_edge_in_common_are_no_p2s6_of_two_bound_centres():
    atoms = Atoms('P2S2', [[1.5, 0, 0], [-1.5, 0, 0], [0, 1.45, 0], [0, -1.45, 0]])
    atoms += Atoms('S4', [[2.6, 0, 1.7], [2.6, 0, -1.7], [-2.6, 0, 1.7], [-2.6, 0, -1.7]])
    found = find_units(atoms)
    assert found.counts == {'P2S6 ring': 1} and found.bridging.tolist() == [2, 3]


def test_bonds_that_no_unit_has_are_foreign():
    one = tetrahedron()
    other = one.copy()
    other.positions = -one.positions + 2 * one.positions[1] + 2.1 / 3**0.5
    joined = find_units(one + other)
    assert joined.counts == {'PS4': 2} and joined.foreign.tolist() == [[1, 6]]
    # a third S at one P of a P2S6 makes its bond between P foreign, too
    crowded = RIGID_UNITS['P2S6'].atoms + Atoms('S', [[1.9, 0.0, 0.5]])
    found = find_units(crowded)
    assert found.counts == {'P2S7[4+5]': 1} and [0, 1] in found.foreign.tolist()


def test_a_chain_without_an_end_is_no_unit_of_known_name():
    # one P whose fourth S is bound to its image
    chain = Atoms('PS3', [[0, 0, 0], [0, 1.05, 1.7], [0, 1.05, -1.7], [1.95, -0.6, 0]], cell=[3.9, 20, 20], pbc=True)
    found = find_units(chain)
    assert found.counts == {'PS3 ring': 1} and found.bridging.tolist() == [3]


def test_units_do_not_depend_on_the_choice_of_the_cell(example_data):
    sheared = np.array([[1, 0, 0], [2, 1, 0], [-1, 1, 1]])
    for atoms in read(example_data, index='::9'):
        found = find_units(atoms)
        other = atoms.copy()
        other.set_cell(sheared @ atoms.cell.array)
        assert find_units(other).counts == found.counts and len(find_units(other).foreign) == len(found.foreign)
        doubled = find_units(atoms.repeat((2, 1, 1)))
        finite = {name: 2 * n for name, n in found.counts.items() if 'ring' not in name}
        assert finite.items() <= doubled.counts.items() and len(doubled.foreign) == 2 * len(found.foreign)


def test_structures_without_centres_and_ligands_have_no_units():
    found = find_units(Atoms('Li2', [[0, 0, 0], [0, 0, 2.7]]))
    assert found.names == () and found.unit.tolist() == [-1, -1] and found.foreign.shape == (0, 2)

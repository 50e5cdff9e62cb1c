"""Claims about cells that are built: ordered from disordered crystals, repeated, strained."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.io import read, write
from ase.utils.structure_comparator import SymmetryEquivalenceCheck
from click.testing import CliRunner
from reference_data import FOLDER, needs

from aiida_ufpnmr.engine.building.charges import FORMAL_CHARGES, read_charges
from aiida_ufpnmr.engine.building.composition import exact_supercell, whole_numbers
from aiida_ufpnmr.engine.building.ewald import COULOMB_EV_ANGSTROM, ewald_matrix
from aiida_ufpnmr.engine.building.ordered_cells import OrderSettings
from aiida_ufpnmr.engine.building.ordering import order_crystal
from aiida_ufpnmr.engine.building.strain import StrainSettings, strained_cells
from aiida_ufpnmr.engine.building.symmetry import distinct, permutations_of
from aiida_ufpnmr.engine.crystals import Crystal, read_crystal
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.main import ufpnmr

ARGYRODITE = Path(__file__).parent / 'fixtures' / 'disordered_argyrodite.cif'
PAGE = Path(__file__).parents[2] / 'docs' / 'source' / 'howto' / 'crystals.rst'


def energy(atoms: Atoms) -> float:
    charges = np.array([FORMAL_CHARGES[symbol] for symbol in atoms.symbols])
    return float(charges @ ewald_matrix(atoms.positions, atoms.cell.array) @ charges)


def shortest_distance(atoms: Atoms) -> float:
    distances = atoms.repeat(2).get_all_distances(mic=True)
    return distances[distances > 0].min()


def crystal_of(atoms: Atoms, shares: dict[str, dict[str, float]], source: str = 'made up') -> Crystal:
    """A crystal in which a site of a symbol is shared as said."""
    occupancies = tuple(shares.get(symbol, {symbol: 1.0}) for symbol in atoms.symbols)
    return Crystal(atoms.cell.array, atoms.positions, occupancies, source)


@pytest.fixture(scope='module')
def argyrodite() -> Crystal:
    return read_crystal(ARGYRODITE)


@pytest.fixture(scope='module')
def ordered(argyrodite):
    return order_crystal(argyrodite, settings=OrderSettings(number=6, seed=3))


# Madelung constants for the distance of nearest neighbours: Tosi, Solid State Phys. 16, 1 (1964)
@pytest.mark.parametrize(
    ('structure', 'madelung', 'neighbour'),
    [('rocksalt', 1.74756459, 0.5), ('zincblende', 1.63805506, 3**0.5 / 4), ('cesiumchloride', 1.76267477, 3**0.5 / 2)],
)
@pytest.mark.parametrize('repeat', [(1, 1, 1), (2, 1, 3)])
def test_the_coulomb_energy_is_that_of_madelung(structure, madelung, neighbour, repeat):
    atoms = bulk('LiCl', structure, 5.0).repeat(repeat)
    pairs = len(atoms) / 2
    # the sums leave out 2e-12 of each of some thousand charges
    assert energy(atoms) / pairs == pytest.approx(-madelung * COULOMB_EV_ANGSTROM / (5 * neighbour), rel=1e-8)


def test_the_coulomb_energy_of_a_charged_cell_knows_no_choice_of_cell():
    atoms = bulk('Li', 'sc', 3.0)
    # a simple cubic lattice in a uniform background: -2.837297/2 e² per edge
    assert energy(atoms) == pytest.approx(-2.837297 / 2 * COULOMB_EV_ANGSTROM / 3, rel=1e-6)
    assert energy(atoms.repeat((1, 2, 3))) == pytest.approx(6 * energy(atoms), rel=1e-9)


def test_ordered_cells_have_the_composition_and_energy_that_they_state(ordered):
    assert len(ordered.cells) == 6
    for cell, stated in zip(ordered.cells, ordered.ewald_energy_eV):
        assert cell.symbols.formula.count() == {'Li': 24, 'P': 4, 'S': 20, 'Cl': 4}
        assert shortest_distance(cell) > 1.5
        assert cell.info == {'ewald_energy_eV': stated}
        # rounded to 1e-6
        assert energy(cell) == pytest.approx(stated, abs=1e-6)
    assert (np.diff(ordered.ewald_energy_eV) >= 0).all()


def test_no_random_arrangement_is_lower_than_the_lowest(argyrodite, ordered):
    """Drawn here from the rows of the file, 2 of 4 in the shared orbits, 24 of 48 Li."""
    rng = np.random.default_rng(0)
    matrix = ewald_matrix(argyrodite.positions, argyrodite.cell)
    charges = np.zeros((2000, len(argyrodite.positions)))
    for i, site in enumerate(argyrodite.occupancies):
        if len(site) == 1:
            charges[:, i] = FORMAL_CHARGES[next(iter(site))]
    for content, sulphur in (({'Li': 0.5}, None), ({'S': 0.6, 'Cl': 0.4}, 2), ({'S': 0.4, 'Cl': 0.6}, 2)):
        sites = [i for i, site in enumerate(argyrodite.occupancies) if site == content]
        filling = [1] * 24 + [0] * 24 if sulphur is None else [-2] * sulphur + [-1] * (4 - sulphur)
        charges[:, sites] = rng.permuted(np.tile(filling, (2000, 1)), axis=1)
    drawn = np.einsum('ci,ci->c', charges @ matrix, charges)
    assert np.allclose(charges.sum(axis=1), 0)
    assert ordered.ewald_energy_eV[0] < drawn.min()


def test_the_same_seed_gives_the_same_file_bit_for_bit_and_another_the_same_lowest_energy(tmp_path):
    contents, energies = [], []
    for name, seed in (('a', 7), ('b', 7), ('c', 8)):
        path = tmp_path / f'{name}.extxyz'
        arguments = ['build', 'order', str(ARGYRODITE), '--number', '3', '--seed', str(seed), '-o', str(path)]
        CliRunner().invoke(ufpnmr, arguments, catch_exceptions=False)
        contents.append(path.read_bytes())
        energies.append(read(path, index=0).info['ewald_energy_eV'])
    assert contents[0] == contents[1] != contents[2]
    assert energies[0] == energies[2]


def test_ordered_cells_differ_by_symmetry(ordered):
    check = SymmetryEquivalenceCheck()
    for row, cell in enumerate(ordered.cells):
        assert not any(check.compare(cell, other) for other in ordered.cells[:row])


def test_arrangements_that_a_symmetry_turns_into_each_other_are_one():
    average = crystal_of(bulk('LiF', 'rocksalt', 4.0, cubic=True), {'Li': {'Li': 0.5, 'Na': 0.5}})
    found = order_crystal(average)
    # two Li and two Na on a face-centred lattice: six arrangements, all of them layers along an edge
    assert len(found.cells) == 1 and '1 of 5: no other' in ' '.join(found.remarks)
    permutations = permutations_of(average)
    assert len(permutations) == 192
    rows = np.full((3, 8), 2, np.int8)
    rows[:, [symbol == 'Li' for symbol in bulk('LiF', 'rocksalt', 4.0, cubic=True).symbols]] = [
        [0, 0, 1, 1],
        [1, 0, 0, 1],
        [0, 0, 0, 1],
    ]
    assert distinct(rows, permutations, 5) == [0, 2]


def test_a_file_without_its_symmetry_gives_the_same_cells(argyrodite, ordered):
    """Orbits are those of the average crystal, however it was listed."""
    lowest = order_crystal(argyrodite.repeated((1, 1, 1)), settings=OrderSettings(number=6, seed=4))
    shuffled = np.random.default_rng(1).permutation(len(argyrodite.positions))
    listed = Crystal(
        argyrodite.cell, argyrodite.positions[shuffled], tuple(argyrodite.occupancies[i] for i in shuffled), 'as P 1'
    )
    found = order_crystal(listed, settings=OrderSettings(number=6))
    assert found.ewald_energy_eV[:3] == pytest.approx(ordered.ewald_energy_eV[:3], abs=1e-5)
    assert found.ewald_energy_eV[:3] == pytest.approx(lowest.ewald_energy_eV[:3], abs=1e-5)


def test_of_alternative_sites_one_is_filled():
    """Li beside a centre of inversion, 0.4 Å from its other half; F and O at nearly the same place, half each."""
    atoms = Atoms('LiLiFO', [(0.2, 0, 0), (-0.2, 0, 0), (5, 5, 5), (5, 5, 5.3)], cell=[10, 10, 10], pbc=True)
    shares = {'Li': {'Li': 0.5}, 'F': {'F': 0.5}, 'O': {'O': 0.5}}
    found = order_crystal(crystal_of(atoms, shares).repeated((2, 1, 1)), settings=OrderSettings(charged=True))
    for cell in found.cells:
        assert cell.symbols.formula.count() == {'Li': 2, 'F': 1, 'O': 1}
        assert shortest_distance(cell) > 4
    overfull = crystal_of(atoms, {'Li': {'Li': 1.0}, 'F': {'F': 0.9}, 'O': {'O': 0.9}})
    with pytest.raises(InputError, match='closer than 1.5 Å cannot take all ions|closer than 0.5 Å'):
        order_crystal(overfull, settings=OrderSettings(charged=True))


def test_ions_leave_sites_beside_full_ones_for_others_of_their_kind():
    """Li 1.2 Å from F, in part, and elsewhere; half of the Li have to move."""
    places = [(0, 0, 0), (5, 5, 5), (1.2, 0, 0), (5, 5, 6.2), (5, 0, 0), (0, 5, 5)]
    atoms = Atoms('FFNaNaLiLi', places, cell=[10, 10, 10], pbc=True)
    average = crystal_of(atoms, {'Na': {'Li': 0.5}, 'Li': {'Li': 0.501}})
    found = order_crystal(average)
    assert found.composition == {'Li': 2, 'F': 2} and found.moved == pytest.approx({'Li': 1.0})
    assert shortest_distance(found.cells[0]) > 4 and 'Li1 moved' in ' '.join(found.remarks)
    with pytest.raises(InputError, match='have no room'):
        order_crystal(crystal_of(atoms, {'Na': {'Li': 0.5}, 'Li': {'Li': 0.9}}))
    bonded = order_crystal(average, settings=OrderSettings(closest_angstrom=1.0))
    assert not bonded.moved and shortest_distance(bonded.cells[0]) == pytest.approx(1.2)


def test_where_the_atoms_of_many_small_orbits_go_energy_decides():
    """Four sites without symmetry, half a Li on each: two of them, those next to F."""
    places = [(0, 0, 0), (5, 5, 5), (1.9, 0, 0), (5, 5, 6.8), (5, 0.3, 0), (0.2, 5, 5)]
    atoms = Atoms('FFLi4', places, cell=[10, 10, 10], pbc=True)
    found = order_crystal(crystal_of(atoms, {'Li': {'Li': 0.5}}), settings=OrderSettings(number=6))
    assert len(found.cells) == 6
    assert np.allclose(found.cells[0].positions[2:], places[2:4])


def test_rounding_keeps_totals_and_prefers_neutral_cells():
    sizes, shares = np.array([4, 8]), np.array([[0.6, 0.4], [0.4, 0.6]])
    # 2.4 + 3.2 and 1.6 + 4.8: each number one of its neighbours, and so are the totals
    counts = whole_numbers(sizes, shares, np.array([1.0, 1.0]), 'sites')
    assert counts.sum(axis=1).tolist() == [4, 8] and counts.sum(axis=0).tolist() == [6, 6]
    # 0.7 and 0.6 of an ion: nearest would be one each
    counts = whole_numbers(np.array([1, 1]), np.array([[0.7, 0.0], [0.0, 0.6]]), np.array([1.0, -2.0]), 'sites')
    assert counts.tolist() == [[0, 0], [0, 0]]
    # as printed with three digits
    assert whole_numbers(np.array([12]), np.array([[0.333]]), np.array([1.0]), 'sites').tolist() == [[4]]


@pytest.mark.parametrize(
    ('totals', 'lengths', 'expected'),
    [
        ([24.0, 4.0], [9, 9, 9], (1, 1, 1)),
        ([7.5, 2.0], [4, 8, 8], (2, 1, 1)),
        ([1 / 3], [20, 5, 20], (1, 3, 1)),
        ([0.5], [9, 9, 3], (1, 1, 2)),
        ([2**0.5], [9, 9, 9], None),
    ],
)
def test_the_smallest_exact_supercell_is_offered(totals, lengths, expected):
    assert exact_supercell(np.array(totals), np.diag(lengths)) == expected


def test_charges_that_do_not_balance_are_refused_with_their_sum(argyrodite):
    with pytest.raises(InputError, match=r'add up to \+24 \(Li \+2, P \+5, S -2, Cl -1\)'):
        order_crystal(argyrodite, charges={'Li': 2})
    found = order_crystal(argyrodite, charges={'Li': 2}, settings=OrderSettings(charged=True, number=1))
    assert 'add up to +24' in ' '.join(found.remarks)


def test_charges_are_asked_for_where_none_is_known(argyrodite):
    noble = crystal_of(bulk('XeF', 'rocksalt', 5.0), {})
    with pytest.raises(InputError, match='no formal charge of Xe is known'):
        order_crystal(noble)
    assert len(order_crystal(noble, charges={'Xe': 1}).cells) == 1
    with pytest.raises(InputError, match='charges name Na'):
        order_crystal(argyrodite, charges={'Na': 1})


@pytest.mark.parametrize('text', ['Li', 'Li=one', 'Li=1,Li=1', 'Xx=1', 'Li=nan', '', 'Li=10'])
def test_charges_that_are_none_are_refused(text):
    with pytest.raises(InputError, match='write Li=1,S=-2'):
        read_charges(text)


def test_an_ordered_crystal_is_one_cell_and_that_is_said():
    atoms = bulk('LiCl', 'rocksalt', 5.0, cubic=True)
    found = order_crystal(crystal_of(atoms, {}))
    assert len(found.cells) == 1 and np.array_equal(found.cells[0].positions, atoms.positions)
    assert found.remarks == ['Every site is full: there was nothing to order.']


def test_too_many_sites_are_refused(argyrodite):
    with pytest.raises(InputError, match='20520 sites; an order is found for up to 4000'):
        order_crystal(argyrodite, (10, 9, 3))


@needs('structures')
@pytest.mark.parametrize('name', ['cNa3PS4', 'obelix_122', 'obelix_joc', 'obelix_mdp', 'obelix_mtn', 'obelix_nhq'])
def test_crystals_of_databases_are_ordered(name):
    found = order_crystal(read_crystal(FOLDER / 'structures' / f'{name}.cif'))
    check = SymmetryEquivalenceCheck()
    for row, cell in enumerate(found.cells):
        assert cell.symbols.formula.count() == found.composition
        assert sum(FORMAL_CHARGES[symbol] for symbol in cell.symbols) == 0
        assert shortest_distance(cell) > 1.5
        assert not any(check.compare(cell, other) for other in found.cells[:row])
    assert (name == 'obelix_joc') == any('--supercell 2 5 5 holds exactly' in line for line in found.remarks)


def test_strained_cells_have_the_volume_and_shear_that_they_state(crystal):
    cells = strained_cells(crystal, StrainSettings((-6, 3), (2, -4)))
    assert len(cells) == 2 + 2 * 3
    for cell in cells:
        ratio = cell.get_volume() / crystal.get_volume()
        assert ratio == pytest.approx(1 + cell.info.get('volume_percent', 0) / 100, rel=1e-12)
        assert np.allclose(cell.get_scaled_positions(wrap=False), crystal.get_scaled_positions(wrap=False))
        deformation = np.linalg.solve(crystal.cell.array, cell.cell.array)
        axes = ['xyz'.index(axis) for axis in cell.info.get('shear_plane', 'xy')]
        # the strain is that of first order, so γ²/4 is left out
        assert 200 * deformation[axes[0], axes[1]] == pytest.approx(cell.info.get('shear_percent', 0), rel=1e-3)
        assert cell.calc is None


def test_what_cannot_be_strained_or_repeated_is_refused(tmp_path):
    with pytest.raises(InputError, match='no strain'):
        StrainSettings()
    with pytest.raises(InputError, match='periodic along all directions'):
        strained_cells(Atoms('LiF', [(0, 0, 0), (2, 0, 0)]), StrainSettings((1.0,)))
    write(tmp_path / 'slab.extxyz', Atoms('LiF', [(0, 0, 0), (2, 0, 0)], cell=[4, 4, 20], pbc=(True, True, False)))
    arguments = ['build', 'supercell', str(tmp_path / 'slab.extxyz'), '1', '1', '2', '-o', str(tmp_path / 'a.extxyz')]
    assert 'not periodic' in str(CliRunner().invoke(ufpnmr, arguments).exception)


def test_the_commands_of_the_guide_do_what_it_shows(tmp_path, monkeypatch):
    """Each line of the page that begins with a dollar sign, with the table below it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / ARGYRODITE.name).write_bytes(ARGYRODITE.read_bytes())
    blocks = re.findall(r'^   \$ ufpnmr (.*)\n((?:   [^$\n].*\n)*)', PAGE.read_text(encoding='utf-8'), re.MULTILINE)
    assert [arguments.split()[1] for arguments, _ in blocks] == ['order', 'supercell', 'strain']
    for arguments, shown in blocks:
        result = CliRunner().invoke(ufpnmr, [*arguments.split(), '--json', 'results.json'], catch_exceptions=False)
        lines = [line.removeprefix('   ').rstrip() for line in shown.splitlines()]
        assert lines and lines == result.stdout.splitlines()
    assert len(read('strained.extxyz', index=':')) == len(json.loads(Path('results.json').read_text())['structures'])
    assert len(read('large.extxyz')) == 104

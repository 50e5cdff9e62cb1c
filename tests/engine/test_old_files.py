"""Files of version 0.1 in ``fixtures/v0.1``, made by that version with the numbers beside them in ``numbers.json``."""

import json
from pathlib import Path

import numpy as np
import pytest

from aiida_ufpnmr.engine.dataset import read_dataset
from aiida_ufpnmr.engine.efg import EfgModel
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.hdf5 import content_hash
from aiida_ufpnmr.engine.settings import settings_from_mapping
from aiida_ufpnmr.engine.ufp import PotentialSettings, UltraFastPotential, extrapolation_grade, uncertainty
from aiida_ufpnmr.engine.ufp.continuation import SavedEquations
from aiida_ufpnmr.engine.ufp.fitting import run_fit
from aiida_ufpnmr.engine.ufp.problem import Problem

FILES = Path(__file__).parent / 'fixtures' / 'v0.1'
NUMBERS = json.loads((FILES / 'numbers.json').read_text())
#: Processors sum in their own order: that is all that may differ.
CLOSE = {'rtol': 1e-9, 'atol': 1e-9}
#: Variances go through matrices in single precision.
SINGLE = {'rtol': 1e-4, 'atol': 1e-7}


@pytest.fixture(scope='module')
def chosen(example_data):
    return read_dataset(example_data).subset(NUMBERS['structures'])


def test_a_potential_of_version_0_1_gives_the_same_numbers(chosen):
    expected, potential = NUMBERS['potential'], UltraFastPotential.load(FILES / 'potential.h5')
    assert potential.identity == expected['identity'] and potential.cutoff == expected['cutoff_angstrom']
    assert potential.settings.pair_cutoff == expected['settings']['pair_cutoff'] == 5.0
    for k, atoms in enumerate(chosen):
        found, error = potential.compute(atoms), uncertainty(potential, atoms)
        np.testing.assert_allclose(found.energy, expected['energy_eV'][k], **CLOSE)
        np.testing.assert_allclose(found.forces[:3], expected['forces_eV_per_angstrom'][k], **CLOSE)
        np.testing.assert_allclose(error.energy, expected['expected_energy_error_eV'][k], **SINGLE)
        np.testing.assert_allclose(error.forces[:3], expected['expected_forces_error_eV_per_angstrom'][k], **SINGLE)
        np.testing.assert_allclose(extrapolation_grade(potential, atoms)[:5], expected['grade'][k], **SINGLE)


def test_equations_of_version_0_1_take_more_data(chosen):
    expected, equations = NUMBERS['equations'], SavedEquations.load(FILES / 'equations.h5')
    assert (equations.structures, equations.rows) == (expected['structures'], expected['rows'])
    assert equations.training_sha256 == expected['training_sha256']
    potential = run_fit(Problem.adding(chosen, equations), keep_posterior=False).potential
    energies = [potential.compute(atoms).energy for atoms in chosen]
    # the normal matrix has a condition number of some 1e5
    np.testing.assert_allclose(energies, expected['energy_eV_after_two_more'], rtol=1e-9, atol=1e-6)


@pytest.mark.parametrize('name', ['efg-linear', 'efg-kernel'])
def test_an_efg_model_of_version_0_1_gives_the_same_numbers(name, chosen):
    expected, model = NUMBERS[name], EfgModel.load(FILES / f'{name}.h5')
    assert model.penalty == expected['penalty']
    for k, atoms in enumerate(chosen):
        found = model.predict_with_errors(atoms)
        np.testing.assert_allclose(found.tensors[:3], expected['tensors_au'][k], **CLOSE)
        np.testing.assert_allclose(found.error[:5], expected['error_au'][k], **SINGLE)
        np.testing.assert_allclose(found.grade[:5], expected['grade'][k], **CLOSE)


@pytest.mark.parametrize(
    ('name', 'load'),
    [('potential', UltraFastPotential.load), ('efg-linear', EfgModel.load), ('efg-kernel', EfgModel.load)],
)
def test_loaded_and_saved_again_nothing_is_lost(name, load, tmp_path):
    load(FILES / f'{name}.h5').save(tmp_path / 'again.h5')
    assert content_hash(tmp_path / 'again.h5') == content_hash(FILES / f'{name}.h5') == NUMBERS[name]['sha256']


def test_settings_of_version_0_1_go_by_their_new_names():
    old = {'trio_cutoff': 5.0, 'leg_intervals': 6, 'ridge_trio': {'default': 2.0}}
    with pytest.warns(FutureWarning, match='trio_cutoff is now called triplet_cutoff'):
        found = settings_from_mapping(PotentialSettings, old)
    assert found == PotentialSettings(triplet_cutoff=5.0, bond_intervals=6, ridge_triplet={'default': 2.0})
    with pytest.warns(FutureWarning, match='leg_intervals is now called bond_intervals'):
        assert PotentialSettings(leg_intervals=6).bond_intervals == 6
    with pytest.warns(FutureWarning), pytest.raises(InputError, match='leg_intervals is an old name of bond_intervals'):
        settings_from_mapping(PotentialSettings, {'leg_intervals': 6, 'bond_intervals': 7})

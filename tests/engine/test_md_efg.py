"""Claims about EFG tensors that are predicted while a run goes on."""

import dataclasses

import numpy as np
import pytest

from aiida_ufpnmr.engine.dataset import read_dataset
from aiida_ufpnmr.engine.efg import EfgSettings, fit_efg_model
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.md import Simulation
from aiida_ufpnmr.engine.md.output import Output
from aiida_ufpnmr.engine.md.recording import EfgOutput
from aiida_ufpnmr.engine.md.run import run_md
from aiida_ufpnmr.engine.neighbours import surroundings
from aiida_ufpnmr.engine.trajectories.series import error_series, grade_series
from aiida_ufpnmr.engine.trajectories.trajectory import Trajectory

SETTINGS = EfgSettings(cutoff=5.0, n_max=3, l_max=3, mixed_channels=4, folds=3, penalty=1e-3)


@pytest.fixture(scope='module')
def model(example_data):
    return fit_efg_model(read_dataset(example_data).subset(range(0, 73, 9)), 'Li', SETTINGS)[0]


def after_some_steps(crystal, potential, **options) -> Simulation:
    """Far enough that lists were made anew and atoms have left the cell."""
    simulation = Simulation(crystal, potential, temperature_K=900.0, seed=3, **options)
    assert simulation.run(300) is None
    return simulation


@pytest.mark.parametrize('ensemble', ['nvt', 'npt'])
@pytest.mark.parametrize('cutoff', [3.0, 5.0, 9.0])  # within the lists of the run, and beyond them
def test_surroundings_of_a_run_are_those_of_its_structure(crystal, small_potential, ensemble, cutoff):
    simulation = after_some_steps(crystal, small_potential, ensemble=ensemble)
    chosen = np.array([20, 3, 31])  # in any order
    found, atoms = simulation.surroundings(chosen, cutoff), simulation.atoms
    wanted = surroundings(atoms.positions, atoms.cell.array, atoms.pbc, cutoff, chosen)
    np.testing.assert_array_equal(found.start, wanted.start)
    for k in range(len(chosen)):
        rows = slice(*found.start[k : k + 2])
        one, other = (
            np.array(sorted(np.column_stack([a.index[rows], a.vector[rows]]).round(9).tolist()))
            for a in (found, wanted)
        )
        np.testing.assert_allclose(one, other, atol=1e-8)


def test_tensors_of_a_run_are_those_of_its_structure_but_for_the_order_of_sums(crystal, small_potential, model):
    simulation = after_some_steps(crystal, small_potential)
    assert simulation.potential.cutoff >= model.cutoff  # so that the lists of the run serve
    found = EfgOutput.of(model, crystal)
    wanted = model.predict_with_errors(simulation.atoms)
    scale = np.abs(wanted.tensors).max()
    np.testing.assert_allclose(found.predict(simulation), wanted.tensors, atol=1e-12 * scale)
    judged = found.judge(simulation)
    np.testing.assert_allclose(judged.error, wanted.error, rtol=1e-4)  # rows of float32
    np.testing.assert_allclose(judged.grade, wanted.grade, rtol=1e-8)


def test_expected_errors_and_grades_are_written_with_a_cadence_of_their_own(crystal, small_potential, model, tmp_path):
    simulation = Simulation(crystal, small_potential, temperature_K=900.0, seed=3)
    efg, output = EfgOutput.of(model, crystal), Output(10, efg_every=5, efg_uncertainty_every=15)
    results = run_md(simulation, tmp_path / 'run.h5', 40, output, efg=efg)
    with Trajectory(tmp_path / 'run.h5') as trajectory:
        error, grade = (trajectory.series(name(efg.species)) for name in (error_series, grade_series))
        for series in (error, grade):
            assert series['step'][...].tolist() == [0, 15, 30, 40]  # the last step is always written
            assert series['value'].shape == (4, len(efg.index))
        last = model.predict_with_errors(simulation.atoms)
        np.testing.assert_allclose(grade['value'][-1], last.grade, rtol=1e-6)
        np.testing.assert_allclose(error['value'][-1], last.error, rtol=1e-4)
        assert results['efg_extrapolation_grade_max'] == pytest.approx(grade['value'][...].max())
        assert results['efg_extrapolating_fraction'] == pytest.approx((grade['value'][...] > 1).mean())


def test_without_a_posterior_there_are_no_errors(crystal, small_potential, model, tmp_path):
    silent = EfgOutput.of(dataclasses.replace(model, posterior=None), crystal)
    results = run_md(Simulation(crystal, small_potential), tmp_path / 'run.h5', 5, Output(5), efg=silent)
    assert results['efg_extrapolating_fraction'] is None
    with pytest.raises(InputError, match='efg_every'):
        Output(5, efg_every=0)

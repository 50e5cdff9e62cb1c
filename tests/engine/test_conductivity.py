"""Claims about the collective displacement of charge."""

import numpy as np
import pytest
from ase import Atoms
from processes import random_walk
from reference_data import FOLDER, needs
from scipy.constants import elementary_charge, k

from aiida_ufpnmr.engine.analyses import get_analysis
from aiida_ufpnmr.engine.analyses.conductivity import quotient
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.trajectories.convert import own_files
from aiida_ufpnmr.engine.trajectories.frames import ReadingSettings
from aiida_ufpnmr.engine.trajectories.trajectory import EDGES, POSITION, TrajectoryWriter

#: Å²/ps for the walk below: steps of 0.1 Å along each axis, one in 0.1 ps.
TRUE = 0.1**2 / 2 / 0.1


def written(path, lithium):
    """Lithium between chlorine that stands still, in a cube of 20 Å."""
    n_ions = lithium.shape[1]
    still = np.random.default_rng(0).uniform(0, 20, (n_ions, 3))
    atoms = Atoms(f'Li{n_ions}Cl{n_ions}', np.vstack([lithium[0], still]), cell=[20] * 3, pbc=True)
    writer = TrajectoryWriter(path, atoms, {}, seconds=1e9, megabytes=1e4)
    for frame, ions in enumerate(lithium):
        # all drift together, which moves no charge
        writer.append(POSITION, frame, 100.0 * frame, np.vstack([ions, still]) + 0.01 * frame)
        writer.append(EDGES, frame, 100.0 * frame, 20.0 * np.eye(3))
    writer.close()
    return path


def test_independent_ions_have_the_conductivity_of_nernst_and_einstein(tmp_path):
    path = written(tmp_path / 'run.h5', random_walk(np.random.default_rng(0), 2000, 20))
    found = get_analysis('conductivity')(path, temperature_K=500)
    # n e² D/(V k T): 20 ions in 8000 Å³ with 5·10⁻⁸ m²/s · 10⁻⁴
    expected = 20 * elementary_charge**2 * TRUE * 1e-8 / (8000e-30 * k * 500) / 100
    assert found.nernst_einstein_S_per_cm == pytest.approx(expected, rel=0.05)
    low, high = found.conductivity_S_per_cm_ci95
    assert low < expected < high
    assert found.haven_ratio_ci95[0] < 1 < found.haven_ratio_ci95[1]
    assert found.charge_e == 1 and found.volume_angstrom3 == pytest.approx(8000)


def test_ions_in_pairs_carry_twice_the_charge_together(tmp_path):
    ratios = []
    for seed in range(4):
        lithium = np.repeat(random_walk(np.random.default_rng(seed), 3000, 6), 2, axis=1)
        found = get_analysis('conductivity')(written(tmp_path / f'{seed}.h5', lithium), temperature_K=500)
        ratios.append(1 / found.haven_ratio)
        np.testing.assert_allclose(found.charge_msd_e2_angstrom2[1], 24 * 3 * 0.1**2, rtol=0.1)
    assert np.mean(ratios) == pytest.approx(2, abs=0.5)


def test_a_ratio_has_no_upper_end_where_what_it_is_divided_by_may_vanish():
    assert quotient(2.0, 0.0, 1.0, 0.5) == (2.0, (pytest.approx(4 / 3), pytest.approx(4.0)))
    assert quotient(2.0, 0.0, 1.0, 1.0)[1][1] == np.inf
    assert np.isnan(quotient(1.0, 0.1, -1.0, 0.5)[0])


def test_a_cell_that_is_not_neutral_and_a_run_without_temperature_are_refused(tmp_path):
    path = written(tmp_path / 'run.h5', random_walk(np.random.default_rng(0), 60, 4))
    with pytest.raises(InputError, match='Li=1,Cl=-2 leave -4 e in the cell'):
        get_analysis('conductivity')(path, charges='Cl=-2', temperature_K=300)
    with pytest.raises(InputError, match='holds no temperatures; give one with --temperature-k'):
        get_analysis('conductivity')(path)


@needs('analysis')
def test_sodium_thiophosphate_has_the_conductivity_of_pymatgen():
    with own_files([FOLDER / 'analysis' / 'cNa3PS4_pda.json'], ReadingSettings()) as (files, _):
        found = get_analysis('conductivity')(files, species='Na', temperature_K=800)
    low, high = found.diffusion_coefficient_cm2_per_s_ci95
    assert low < 2.19e-5 < high  # slope of all displacements from the first frame, as pymatgen takes it
    low, high = found.nernst_einstein_S_per_cm_ci95
    assert low < 0.868 < high
    ratio = found.nernst_einstein_S_per_cm / found.diffusion_coefficient_cm2_per_s
    # the lattice of the file has 2810.35 Å³
    assert ratio == pytest.approx(48 * elementary_charge**2 / (2810.35e-24 * k * 800), rel=1e-4)

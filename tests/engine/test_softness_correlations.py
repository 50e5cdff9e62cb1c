"""Claims about what softness goes with: counts that hold across faces of the cell, intervals that hold the truth."""

import json

import numpy as np
import pytest
from ase import Atoms
from ase.neighborlist import neighbor_list
from click.testing import CliRunner
from frames import shaken, write_frames

from aiida_ufpnmr.engine.building.rigid_units import RIGID_UNITS
from aiida_ufpnmr.engine.commands.softness import softness_correlations as command
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.softness.correlations import (
    NEGATIVE,
    NONE,
    POSITIVE,
    correlate,
    parts_of_cell,
    softness_bins,
    units_of,
)
from aiida_ufpnmr.engine.softness.features import Features
from aiida_ufpnmr.engine.softness.model import SoftnessModel, SoftnessSettings
from aiida_ufpnmr.engine.softness.surroundings import ENERGY, SurroundingsSettings, centres_nearby, properties_of
from aiida_ufpnmr.engine.trajectories.snapshots import Snapshots


def glass(seed=0, n_ions=30):
    """Units on a lattice that is wider than they are, and ions at random between them."""
    rng, atoms = np.random.default_rng(seed), Atoms(cell=[27.0, 27.0, 27.0], pbc=True)
    for n, place in enumerate(np.ndindex(3, 3, 3)):
        unit = RIGID_UNITS[('PS4', 'P2S7', 'P2S6')[n % 3]].atoms
        centred = unit.positions - unit.positions.mean(axis=0)
        atoms += Atoms(unit.symbols, centred + 9.0 * np.array(place))
    ions = Atoms(f'Li{n_ions}', rng.uniform(0, 27, (n_ions, 3)))
    return Atoms(ions + atoms, cell=atoms.cell, pbc=True)


def test_centres_of_units_near_ions_are_those_that_another_program_counts():
    atoms = glass()
    found = centres_nearby(atoms, np.arange(30), SurroundingsSettings(unit_radius_angstrom=6.0))
    first, second = neighbor_list('ij', atoms, 6.0)
    everything = sum(found.values())
    phosphorus = np.bincount(first[atoms.numbers[second] == 15], minlength=30)[:30]
    np.testing.assert_array_equal(everything, phosphorus)
    assert list(found) == ['P_in_PS4', 'P_in_P2S7', 'P_in_P2S6'] and all(one.any() for one in found.values())


def drawn(rng, r, n_units, ions_by_unit, n_frames):
    """Two quantities with a correlation of units, the same in all frames of all ions of one, beside noise."""
    of_unit = rng.multivariate_normal([0, 0], [[1, r], [r, 1]], n_units)
    values = np.repeat(of_unit, ions_by_unit, axis=0)[None] + np.zeros((n_frames, 1, 1))
    units = np.repeat(np.arange(n_units), ions_by_unit)
    return values[..., 0], values[..., 1], units


def test_intervals_hold_the_truth_where_ions_of_a_part_and_their_frames_are_alike():
    """Counting 60 ions in 5 frames as 300 independent values would make the interval far too narrow."""
    rng, held, too_narrow, repetitions = np.random.default_rng(4), 0, 0, 200
    for n in range(repetitions):
        x, y, units = drawn(rng, 0.5, n_units=30, ions_by_unit=2, n_frames=5)
        for resampled in (units, np.arange(60)):
            found = correlate([x], [y], [resampled], softness_bins([x]), bootstrap=200, seed=n)
            low, high = found.pearson_r_ci95
            held += resampled is units and low < 0.5 < high
            too_narrow += resampled is not units and low < 0.5 < high
    # 95 % of 200 are 190 ± 3, and a bootstrap of 30 units gives a little less
    assert 0.87 * repetitions < held <= 0.99 * repetitions and too_narrow < 0.85 * repetitions


def test_what_is_resampled_are_runs_where_there_are_five_then_parts_of_cells_then_ions():
    cell = np.diag([21.0, 21.0, 9.0])
    positions = np.array([[1.0, 1.0, 1.0], [12.0, 1.0, 8.0], [-1.0, 30.0, 1.0], [1.0, 13.0, 1.0], [1.0, 1.5, 6.0]])
    part = parts_of_cell(positions, cell)
    assert part.tolist() == [0, 2, 2, 1, 0]
    assert units_of([part] * 5)[1] == 'run' and units_of([part] * 3)[1] == 'part of a cell'
    units, what = units_of([part, part])
    assert what == 'ion' and np.concatenate(units).tolist() == list(range(10))
    units, _ = units_of([part] * 3)
    assert len(np.unique(np.concatenate(units))) == 9 and units[0][0] == units[0][4] != units[1][0]


def test_pooled_runs_may_correlate_where_no_run_does_and_bins_exaggerate():
    rng = np.random.default_rng(0)
    softness = [shift + rng.standard_normal((20, 50)) for shift in (-2, 2)]
    values = [shift + rng.standard_normal((20, 50)) for shift in (-2, 2)]
    ions = [np.arange(50), 50 + np.arange(50)]
    found = correlate(softness, values, ions, softness_bins(softness), 100, 0)
    assert found.pearson_r > 0.7 and abs(found.pearson_r_within_runs) < 0.1 and found.sign == POSITIVE
    weak = [-0.2 * softness[0] + rng.standard_normal((20, 50))]
    found = correlate(softness[:1], weak, ions[:1], softness_bins(softness[:1]), 100, 0)
    assert -0.3 < found.pearson_r < -0.1 and found.pearson_r_of_bins < -0.8 and found.sign == NEGATIVE
    constant = correlate(softness[:1], [np.ones((20, 50))], ions[:1], softness_bins(softness[:1]), 100, 0)
    assert np.isnan(constant.pearson_r) and constant.sign == NONE


def write_model(path):
    """A model whose ions are the softer, the more phosphorus is within 4 Å."""
    settings = SoftnessSettings(partners='P', last_shell_angstrom=4.0)
    features = Features.of('Li', np.array(['P']), settings)
    ones = np.ones(len(features.names))
    SoftnessModel(features, settings, ones, ones, ones, 0.0, np.linspace(-1, 1, 11), 'none').save(path)
    return path


def test_the_command_says_what_softness_goes_with(tmp_path):
    run = write_frames(tmp_path / 'run.h5', shaken(glass(n_ions=60), 20))
    model, written = write_model(tmp_path / 'model.h5'), tmp_path / 'c.json'
    options = ['--stride', '5', '--unit-radius-angstrom', '4.0', '--bootstrap', '100']
    outputs = ['--json', str(written), '--plot', str(tmp_path / 'c.png'), '-o', str(tmp_path / 'c.h5')]
    result = CliRunner().invoke(command, [str(run), '--model', str(model), *options, *outputs])
    assert result.exit_code == 0, result.output
    found = json.loads(written.read_text())
    assert found['intervals_by'] == 'part of a cell' and found['resampled'] == 8 and found['ions_and_frames'] == 240
    near = [found['correlations'][f'P_in_{unit}']['pearson_r'] for unit in ('PS4', 'P2S7', 'P2S6')]
    assert max(near) > 0.3 and set(found['correlations']) >= {'voronoi_volume_angstrom3', 'coordination'}
    with pytest.raises(InputError, match='holds no Cl, only Li, P, S; choose one with --anion'):
        CliRunner().invoke(command, [str(run), '--model', str(model), '--anion', 'Cl'], catch_exceptions=False)


def test_energies_are_those_that_the_potential_gives_each_ion(tmp_path, small_potential):
    frames = shaken(glass(n_ions=10), 2, amplitude_angstrom=0.02)
    run = Snapshots.open(write_frames(tmp_path / 'run.h5', frames))
    (found,) = properties_of(run, np.arange(10), SurroundingsSettings(), small_potential)
    expected = [small_potential.compute(one).energies[:10] for one in frames]
    np.testing.assert_allclose(found[ENERGY], expected, rtol=1e-9)

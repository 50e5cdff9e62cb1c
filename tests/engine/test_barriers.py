"""Claims about barriers: known ones are found, and a hop without one says why."""

import dataclasses
import json
import os

import numpy as np
import pytest
from analytic import solid, solid_potential
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.io import read
from frames import write_frames

from aiida_ufpnmr.engine.barriers.barrier import (
    BAND,
    CONVERGED,
    INTERMEDIATE,
    QUENCH,
    STAYED,
    TAKEN,
    TOGETHER,
    barrier_between,
)
from aiida_ufpnmr.engine.barriers.calculator import SteppingCalculator
from aiida_ufpnmr.engine.barriers.cutting import cut_hops
from aiida_ufpnmr.engine.barriers.pieces import Pieces
from aiida_ufpnmr.engine.barriers.result import Barriers, HopBarrier
from aiida_ufpnmr.engine.barriers.run import BarrierSearch
from aiida_ufpnmr.engine.barriers.settings import BandSettings, BarrierSettings
from aiida_ufpnmr.engine.barriers.softness import Softness, by_softness
from aiida_ufpnmr.engine.barriers.workers import KILLED, as_finished
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.main import ufpnmr
from aiida_ufpnmr.engine.trajectories.trajectory import Trajectory
from aiida_ufpnmr.engine.ufp.calculator import UltraFastCalculator

#: Of the wells below, eV and Å.
HEIGHT, HALF = 0.4, 1.5


class Wells(Calculator):
    """Atoms that do not see each other: a double well with a tilt, or a wave, along x; a spring across.

    E = Σ h (x²/a² − 1)² + t x + ½ k ((y − y₀)² + z²), or Σ h (1 − cos(2πx/a)) / 2 + … with ``wave``.
    """

    implemented_properties = ['energy', 'forces']

    def __init__(self, tilt=0.0, wave=False):
        super().__init__()
        self.tilt, self.wave = tilt, wave

    def calculate(self, atoms=None, properties=('energy',), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        x, across = atoms.positions[:, 0], atoms.positions[:, 1:] - lines(len(atoms))
        if self.wave:
            energy = HEIGHT * (1 - np.cos(2 * np.pi * x / HALF)) / 2
            slope = HEIGHT * np.pi / HALF * np.sin(2 * np.pi * x / HALF)
        else:
            energy = HEIGHT * (x**2 / HALF**2 - 1) ** 2 + self.tilt * x
            slope = 4 * HEIGHT * x / HALF**2 * (x**2 / HALF**2 - 1) + self.tilt
        forces = -np.column_stack([slope, 5.0 * across])
        self.results = {'energy': float(energy.sum() + 2.5 * (across**2).sum()), 'forces': forces}


def lines(n_atoms):
    """Where (y, z) the line of each atom lies, (n_atoms, 2): far from the others."""
    return np.column_stack([10.0 * np.arange(n_atoms), np.zeros(n_atoms)])


def at(*x):
    """One atom at each place along x, off its line."""
    return Atoms(f'Li{len(x)}', np.column_stack([x, lines(len(x)) + [0.1, -0.1]]))


@pytest.mark.parametrize('tilt', [0.0, 0.05])
def test_the_barriers_of_a_double_well_are_found_to_one_percent(tilt):
    found = barrier_between(at(-HALF), at(HALF), 0, lambda: Wells(tilt), BandSettings(force_eV_per_angstrom=0.02))
    # extrema of the well: 4 h x (x²/a² − 1) / a² + t = 0
    roots = np.sort(np.roots([4 * HEIGHT / HALF**4, 0, -4 * HEIGHT / HALF**2, tilt]).real)
    left, top, right = HEIGHT * (roots**2 / HALF**2 - 1) ** 2 + tilt * roots
    assert found.barrier.status == CONVERGED
    assert found.barrier.forward_eV == pytest.approx(top - left, rel=0.01)
    assert found.barrier.backward_eV == pytest.approx(top - right, rel=0.01)
    # across the way all is relaxed: the path is as long as the two wells are apart
    assert found.barrier.path_angstrom[-1] == pytest.approx(roots[2] - roots[0], rel=0.01)


def test_a_ridge_beside_a_shallow_minimum_is_climbed_though_images_are_far_apart():
    tilt = 0.38  # of 0.41 at which the upper well is gone
    roots = np.sort(np.roots([4 * HEIGHT / HALF**4, 0, -4 * HEIGHT / HALF**2, tilt]).real)
    left, top, right = HEIGHT * (roots**2 / HALF**2 - 1) ** 2 + tilt * roots
    settings = BandSettings(force_eV_per_angstrom=0.005, quench_force_eV_per_angstrom=0.001, images=3)
    found = barrier_between(at(roots[2]), at(roots[0]), 0, lambda: Wells(tilt), settings).barrier
    assert roots[2] - roots[1] < (roots[2] - roots[0]) / 4  # the ridge lies before the first of three images
    assert found.status == CONVERGED
    assert found.forward_eV == pytest.approx(top - right, rel=0.02)
    assert found.backward_eV == pytest.approx(top - left, rel=0.01)


def vacancy():
    """A solid with a vacancy, the atom (number 0) that hops into it, and the structure after."""
    start = solid((2, 2, 2))
    place = start.positions[1].copy()
    del start[1]
    end = start.copy()
    end.positions[0] = place
    return start, end


def test_the_hop_into_a_vacancy_costs_the_same_both_ways_and_moves_one_atom_alone():
    potential = solid_potential()
    start, end = vacancy()
    found = barrier_between(start, end, 0, lambda: SteppingCalculator(potential)).barrier
    assert found.status == CONVERGED
    assert found.moved == (0,)
    assert not found.collective
    # both ends are the same crystal, quenched to forces of 0.01 eV/Å
    assert found.forward_eV == pytest.approx(found.backward_eV, abs=1e-3)
    assert 0.1 < found.forward_eV < 2.0
    # an image on the saddle, halfway
    assert np.argmax(found.energies_eV) == (len(found.energies_eV) - 1) / 2


def test_a_hop_through_the_boundary_has_the_barrier_of_one_within_the_cell():
    potential = solid_potential()
    start, end = vacancy()
    expected = barrier_between(start, end, 0, lambda: SteppingCalculator(potential)).barrier
    halfway = 0.5 * (start.positions[0] + end.positions[0])
    for atoms in (start, end):
        atoms.positions -= halfway
        atoms.wrap()
    assert np.linalg.norm(end.positions[0] - start.positions[0]) > 5.0
    found = barrier_between(start, end, 0, lambda: SteppingCalculator(potential)).barrier
    assert found.ion_moved_angstrom == pytest.approx(expected.ion_moved_angstrom, abs=0.01)
    assert found.forward_eV == pytest.approx(expected.forward_eV, abs=1e-3)


@pytest.mark.parametrize(
    'start, end, settings, status',
    [
        (at(-1.4), at(-1.6), {}, TOGETHER),
        (at(-HALF, -HALF, -HALF, HALF), at(-HALF, HALF, -HALF, HALF), {}, STAYED),
        (at(-1.0), at(1.0), {'quench_steps': 1}, QUENCH.format(steps=1)),
        (at(-HALF), at(HALF), {'steps': 2, 'images': 4}, BAND.format(steps=2)),
    ],
)
def test_a_hop_without_a_barrier_says_why(start, end, settings, status):
    found = barrier_between(start, end, 0, Wells, BandSettings(**settings)).barrier
    assert found.status == status
    assert not found.counts


def test_a_minimum_between_the_ends_is_named_with_its_depth():
    found = barrier_between(at(0.0), at(2 * HALF), 0, lambda: Wells(wave=True)).barrier
    assert found.status == INTERMEDIATE
    assert found.intermediate_depth_eV == pytest.approx(HEIGHT, rel=0.02)  # images lie near the minimum, not on it


def test_a_hop_with_another_is_collective():
    start, end = at(*5 * [-HALF]), at(HALF, HALF, *3 * [-HALF])
    found = barrier_between(start, end, 0, Wells).barrier
    assert found.status == CONVERGED
    assert found.moved == (0, 1)
    assert found.collective
    assert not found.counts
    assert found.forward_eV == pytest.approx(2 * HEIGHT, rel=0.02)  # side by side; one after the other costs half of it


def test_a_calculator_that_keeps_its_lists_gives_the_numbers_of_one_that_does_not(small_potential, crystal):
    moving, rng = crystal.copy(), np.random.default_rng(0)
    moving.calc = SteppingCalculator(small_potential)
    for _ in range(12):  # beyond what the lists are kept for
        moving.positions += 0.08 * rng.standard_normal(moving.positions.shape)
        fresh = moving.copy()
        fresh.calc = UltraFastCalculator(small_potential)
        assert moving.get_potential_energy() == pytest.approx(fresh.get_potential_energy(), abs=1e-9)
        np.testing.assert_allclose(moving.get_forces(), fresh.get_forces(), atol=1e-9)


@pytest.fixture(scope='module')
def run(tmp_path_factory):
    """A solid with a vacancy into which one atom hops through the boundary in frame 40 of 80, and its potential."""
    folder = tmp_path_factory.mktemp('barriers')
    start, end = vacancy()
    step = end.positions - start.positions
    start.positions -= start.positions[0] + 0.5 * step[0]
    start.wrap()
    rng, frames = np.random.default_rng(1), []
    for number in range(80):
        frame = start.copy()
        frame.positions += step * (number >= 40) + 0.05 * rng.standard_normal(step.shape)
        frames.append(frame)
    path = write_frames(folder / 'run.h5', frames)
    solid_potential().save(folder / 'potential.h5')
    return path, folder / 'potential.h5', float(np.linalg.norm(step))


SETTINGS = {'species': 'Ar', 'reference': 'none'}


def test_hops_are_cut_with_their_frames_and_the_length_of_the_way_that_the_ion_took(run):
    path, _, length = run
    with Trajectory(path) as trajectory:
        (hop,), found = cut_hops(trajectory, BarrierSettings(**SETTINGS))
    assert found == 1
    assert (hop.ion, hop.frame_before, hop.frame_after) == (0, 39, 40)
    assert hop.length_angstrom == pytest.approx(length, abs=0.1)  # places are means over noise of 0.05 Å
    with Trajectory(path) as trajectory:
        assert np.linalg.norm(trajectory.atoms(40).positions[0] - hop.target) < 0.3
        with pytest.raises(InputError, match='none of its 1 hops is 5 to 10 Å long'):
            cut_hops(trajectory, BarrierSettings(**SETTINGS, min_length_angstrom=5))


@pytest.mark.parametrize('end', ['ion', 'frame'])
def test_finished_hops_are_not_found_anew(run, tmp_path, end):
    path, potential, _ = run
    search = BarrierSearch(path, potential, BarrierSettings(**SETTINGS, end=end))
    with Pieces(tmp_path / 'barriers.json') as pieces:
        first, cpu_s = search.run(pieces)
        again, nothing = search.run(pieces)
        images = list(search.images(pieces))
    assert len(cpu_s) == 1 and not nothing
    assert first == again
    (hop,) = first.hops
    assert hop.counts
    assert hop.forward_eV == pytest.approx(hop.backward_eV, abs=2e-3)
    assert len(images) == 9
    assert images[4].get_potential_energy() == pytest.approx(hop.forward_eV)


def test_a_command_writes_barriers_paths_and_a_figure(run, tmp_path, capsys):
    path, potential, _ = run
    output = tmp_path / 'barriers.json'
    options = ['--species', 'Ar', '--reference', 'none', '-o', str(output), '--plot', str(tmp_path / 'barriers.png')]
    ufpnmr(['barriers', str(path), str(potential), *options], standalone_mode=False)
    assert '1 of 1 hops, 1 with a barrier of a single ion' in capsys.readouterr().out
    found = json.loads(output.read_text())
    assert found['outcomes'] == {'converged, single ion': 1}
    assert found['timing']['cpu_s_per_hop'] > 0
    assert Barriers.load(output).hops[0].counts
    paths = read(tmp_path / 'barriers.extxyz', ':')
    assert max(image.get_potential_energy() for image in paths) == pytest.approx(found['hops'][0]['forward_eV'])
    assert (tmp_path / 'barriers.png').stat().st_size > 0
    assert sorted(file.name for file in tmp_path.iterdir()) == ['barriers.extxyz', 'barriers.json', 'barriers.png']


@pytest.mark.parametrize(
    'options, message',
    [
        (['-o', 'barriers.txt'], 'ends in .json'),
        (['-o', 'barriers.json', '--min-length', '4', '--max-length', '3'], 'must be shorter than the longest'),
        (['-o', 'barriers.json', '--species', 'Xe'], 'holds no Xe'),
        (['-o', 'barriers.json', '--softness', 'none.npz'], 'none.npz: no such table of softness'),
    ],
)
def test_a_command_that_cannot_work_says_why(run, tmp_path, monkeypatch, options, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Exception, match=message) as error:
        ufpnmr(['barriers', str(run[0]), str(run[1]), *options], standalone_mode=False)
    assert isinstance(error.value, InputError) or error.value.exit_code == 2
    assert not list(tmp_path.iterdir())


def test_a_hop_to_where_another_atom_is_says_so(run, tmp_path):
    path, potential, _ = run
    with Trajectory(path) as trajectory:
        frames = [trajectory.atoms(number) for number in range(trajectory.n_frames)]
    place = frames[-1].positions[0].copy()
    for frame in frames[:40]:  # two atoms change places
        frame += Atoms('Ar', [place])
    for frame in frames[40:]:
        frame += Atoms('Ar', [frames[0].positions[0]])
    swapped = write_frames(tmp_path / 'swapped.h5', frames)
    search = BarrierSearch(swapped, potential, BarrierSettings(**SETTINGS))
    with Pieces(tmp_path / 'barriers.json') as pieces:
        found, _ = search.run(pieces)
        assert len(list(search.images(pieces))) == 2  # a structure of each
    assert [hop.status for hop in found.hops] == [TAKEN, TAKEN]
    assert found.outcomes == {TAKEN: 2}


def test_a_hop_that_ends_in_an_error_says_so_and_is_tried_again(run, tmp_path, monkeypatch):
    def refuse(*_):
        raise InputError('two atoms are\nat one place')

    search = BarrierSearch(*run[:2], BarrierSettings(**SETTINGS))
    with Pieces(tmp_path / 'barriers.json') as pieces:
        with monkeypatch.context() as patched:
            patched.setattr('aiida_ufpnmr.engine.barriers.run.climb', refuse)
            (failed,) = search.run(pieces)[0].hops
        assert failed.status == 'failed: two atoms are at one place'
        assert not list(search.images(pieces))
        assert search.run(pieces)[0].hops[0].counts


def squares(offset):
    """What squares numbers, fails at 2 and dies at 3."""

    def square(number):
        if number == 2:
            raise InputError('two is refused')
        if number == 3:
            os._exit(9)
        return number**2 + offset

    return square


def test_a_task_that_fails_or_is_killed_stops_no_other():
    found = dict(as_finished(squares, (10,), list(range(6)), 2))
    assert {number: found[number] for number in (0, 1, 4, 5)} == {0: 10, 1: 11, 4: 26, 5: 35}
    assert str(found[2]) == 'two is refused'
    assert str(found[3]) == KILLED


def hops_with(forward_eV, ions=None):
    """Hops that count, of an ion each."""
    return [
        HopBarrier(
            status=CONVERGED,
            collective=False,
            forward_eV=float(barrier),
            ion=number if ions is None else ions[number],
            frame_before=10,
            frame_after=11,
            time_ps=1.0,
            length_angstrom=2.0,
        )
        for number, barrier in enumerate(forward_eV)
    ]


def test_soft_ions_have_the_lower_barriers_where_barriers_fall_with_softness():
    rng = np.random.default_rng(3)
    softness = rng.standard_normal(60)
    forward_eV = 0.4 - 0.1 * softness + 0.02 * rng.standard_normal(60)
    table = Softness(np.stack([np.zeros(60), softness]), np.arange(60), np.array([0, 8]))
    found = by_softness(hops_with(forward_eV), table)
    assert found.soft_hops == found.hard_hops == 30
    assert found.soft_median_eV == np.median(forward_eV[softness > np.median(softness)])
    low, high = found.difference_eV_ci95
    assert low < found.difference_eV < high < 0
    assert found.mann_whitney_p < 1e-6
    unrelated = by_softness(hops_with(rng.permutation(forward_eV)), table)
    assert unrelated.mann_whitney_p > 0.01
    low, high = unrelated.difference_eV_ci95
    assert low < 0 < high


def test_hops_of_one_ion_widen_the_interval_as_one():
    rng = np.random.default_rng(4)
    softness = rng.standard_normal(12)
    forward_eV = 0.4 - 0.1 * softness + 0.1 * rng.standard_normal(12)
    table = Softness(softness[None], np.arange(12), np.array([0]))
    width = []
    for repeats in (1, 20):
        hops = hops_with(np.repeat(forward_eV, repeats), np.repeat(np.arange(12), repeats))
        low, high = by_softness(hops, table).difference_eV_ci95
        width.append(high - low)
    assert width[1] > 0.6 * width[0]  # twenty times as many independent hops would have it at 0.22


def test_hops_without_a_barrier_or_a_known_softness_do_not_count():
    table = Softness(np.arange(12.0)[None], np.arange(12), np.array([20]))
    assert by_softness(hops_with(np.ones(12)), table) is None  # all hop before the first frame
    table = dataclasses.replace(table, frames=np.array([0]))
    collective = [dataclasses.replace(hop, collective=True) for hop in hops_with(np.ones(12))]
    assert by_softness(collective, table) is None


@pytest.mark.parametrize(
    'arrays, message',
    [
        ({'softness': np.zeros((2, 3)), 'ions': np.arange(3)}, 'no table of softness'),
        ({'softness': np.zeros((2, 3)), 'ions': np.arange(2), 'frames': np.arange(2)}, r'need \(2, 2\)'),
        ({'softness': np.zeros((2, 3)), 'ions': np.arange(3), 'frames': np.array([1, 0])}, 'frames must rise'),
    ],
)
def test_tables_of_softness_that_are_none_are_refused(tmp_path, arrays, message):
    np.savez(tmp_path / 'softness.npz', **arrays)
    with pytest.raises(InputError, match=message):
        Softness.read(tmp_path / 'softness.npz')

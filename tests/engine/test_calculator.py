"""Claims about the potential in ASE: optimisers, nudged elastic bands and phonons find what the potential has."""

import copy
import itertools

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.calculator import PropertyNotImplementedError
from ase.constraints import FixedPlane
from ase.filters import FrechetCellFilter
from ase.io import read
from ase.mep import NEB
from ase.optimize import BFGS, FIRE
from ase.phonons import Phonons

from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.ufp import UltraFastCalculator, UltraFastPotential


@pytest.fixture(scope='module')
def potential(example_data) -> UltraFastPotential:
    """The one that the project ships."""
    return UltraFastPotential.load(example_data.parent / 'li3ps4.uf3')


@pytest.fixture(scope='module')
def relaxed_li2s(potential) -> Atoms:
    """Antifluorite Li2S, primitive cell, lattice constant of the potential."""
    cell = 0.5 * 5.7 * np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]])
    atoms = Atoms('SLi2', scaled_positions=[[0, 0, 0], [0.25] * 3, [0.75] * 3], cell=cell, pbc=True)
    atoms.calc = UltraFastCalculator(potential)
    assert BFGS(FrechetCellFilter(atoms), logfile=None).run(fmax=1e-5, steps=50)
    return atoms


@pytest.fixture
def crystal(example_data) -> Atoms:
    """γ-Li3PS4 at 300 K, 32 atoms."""
    return next(a for a in read(example_data, ':') if a.info['config_type'] == 'gamma_300K')


def test_cell_and_atoms_relax_to_a_minimum_without_stress(potential, crystal):
    crystal.calc = UltraFastCalculator(potential)
    before = crystal.get_potential_energy()
    assert BFGS(FrechetCellFilter(crystal), logfile=None).run(fmax=0.01, steps=300)
    after = crystal.get_potential_energy()
    assert after < before
    assert abs(crystal.get_forces()).max() < 0.01
    # the filter asks for less than 0.01 eV/Å of the virial over the number of atoms: 0.01·32 eV in 640 Å³
    assert abs(crystal.get_stress()).max() < 0.01 * 32 / crystal.get_volume()
    for strain in itertools.product((-0.01, 0.01), range(3)):
        strained = crystal.copy()
        strained.calc = crystal.calc
        stretch = np.eye(3)
        stretch[strain[1], strain[1]] += strain[0]
        strained.set_cell(crystal.cell.array @ stretch, scale_atoms=True)
        assert strained.get_potential_energy() > after


def test_lattice_constant_is_where_the_energy_is_lowest(relaxed_li2s):
    energies = []
    for factor in (0.999, 1.0, 1.001):
        scaled = relaxed_li2s.copy()
        scaled.calc = relaxed_li2s.calc
        scaled.set_cell(factor * relaxed_li2s.cell.array, scale_atoms=True)
        energies.append(scaled.get_potential_energy())
    left, middle, right = energies
    # bottom of the parabola through three points; a third-order term shifts it by about (0.001)²
    assert abs(0.5 * (left - right) / (left - 2 * middle + right)) * 0.001 < 1e-5


def test_results_follow_positions_cell_species_and_boundaries(potential, crystal):
    crystal.calc = UltraFastCalculator(potential)
    seen = [crystal.get_potential_energy()]

    def changed():
        seen.append(crystal.get_potential_energy())
        assert seen[-1] == potential.compute(crystal).energy
        assert seen[-1] not in seen[:-1]

    crystal.positions[0, 0] += 0.05
    changed()
    crystal.set_cell(1.01 * crystal.cell.array, scale_atoms=True)
    changed()
    crystal.symbols[[0, -1]] = crystal.symbols[[-1, 0]]
    changed()
    crystal.pbc = [True, True, False]
    changed()


def test_unchanged_atoms_are_not_computed_again(potential, crystal, monkeypatch):
    calls = []
    compute = UltraFastPotential.compute
    monkeypatch.setattr(UltraFastPotential, 'compute', lambda self, atoms: calls.append(1) or compute(self, atoms))
    crystal.calc = UltraFastCalculator(potential)
    crystal.get_potential_energy()
    crystal.get_forces()
    crystal.get_stress()
    crystal.set_initial_magnetic_moments(np.ones(len(crystal)))
    crystal.set_initial_charges(np.ones(len(crystal)))
    crystal.get_potential_energies()
    assert len(calls) == 1
    crystal.rattle(0.01, seed=0)
    crystal.get_forces()
    assert len(calls) == 2


def test_what_a_caller_does_to_results_does_not_come_back(potential, crystal):
    crystal.calc = UltraFastCalculator(potential)
    expected = crystal.get_forces().copy()
    crystal.get_forces()[:] = 0.0
    crystal.get_stress()[:] = 0.0
    np.testing.assert_array_equal(crystal.get_forces(), expected)
    assert abs(crystal.get_stress()).max() > 0


def test_one_calculator_serves_many_structures_in_any_order(potential, crystal, relaxed_li2s):
    other = crystal.copy()
    other.rattle(0.05, seed=1)
    small = relaxed_li2s.copy()
    shared = UltraFastCalculator(potential)
    for atoms in (crystal, other, small):
        atoms.calc = shared
    for atoms in (crystal, other, small, other, crystal, small, crystal):
        found = potential.compute(atoms)
        assert atoms.get_potential_energy() == found.energy
        np.testing.assert_array_equal(atoms.get_forces(), found.forces)
        np.testing.assert_array_equal(atoms.get_potential_energies(), found.energies)


def test_a_copied_calculator_has_a_life_of_its_own(potential, crystal):
    crystal.calc = UltraFastCalculator(potential)
    energy = crystal.get_potential_energy()
    twin = crystal.copy()
    twin.calc = copy.deepcopy(crystal.calc)
    twin.rattle(0.05, seed=2)
    assert twin.get_potential_energy() != energy
    assert crystal.calc.results['energy'] == energy


def test_the_voigt_stress_is_the_strain_derivative_of_the_energy(potential, crystal):
    crystal.calc = UltraFastCalculator(potential)
    stress, volume, h = crystal.get_stress(), crystal.get_volume(), 1e-5
    for component, (a, b) in enumerate([(0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)]):
        energies = []
        for sign in (1, -1):
            strain = np.eye(3)
            strain[a, b] += 0.5 * sign * h
            strain[b, a] += 0.5 * sign * h
            strained = crystal.copy()
            strained.calc = UltraFastCalculator(potential)
            strained.set_cell(crystal.cell.array @ strain, scale_atoms=True)
            energies.append(strained.get_potential_energy())
        # energies of about 100 eV carry 1e-13 eV of round-off, over 2·10⁻⁵ and 640 Å³: far below 1e-7
        assert (energies[0] - energies[1]) / (2 * h) / volume == pytest.approx(stress[component], abs=1e-7)


def test_a_molecule_has_no_stress(potential):
    molecule = Atoms(
        'PS4', positions=[[0, 0, 0], *(1.18 * np.array([[1, 1, 1], [-1, -1, 1], [-1, 1, -1], [1, -1, -1]]))]
    )
    molecule.calc = UltraFastCalculator(potential)
    assert molecule.get_forces().shape == (5, 3)
    with pytest.raises(PropertyNotImplementedError, match='stress'):
        molecule.get_stress()


def test_foreign_elements_and_overlapping_atoms_are_refused_in_one_line(potential, crystal):
    crystal.calc = UltraFastCalculator(potential)
    crystal.get_potential_energy()
    crystal.positions[1] = crystal.positions[0] + [0.1, 0, 0]
    with pytest.raises(InputError, match='overlapping'):
        crystal.get_potential_energy()
    crystal.symbols[0] = 'Cu'
    with pytest.raises(InputError, match='does not know Cu'):
        crystal.get_potential_energy()


@pytest.fixture(scope='module')
def hop(relaxed_li2s) -> list[Atoms]:
    """Seven images of a Li that hops along a cube edge into a vacancy of Li2S, ends relaxed."""
    perfect = relaxed_li2s.repeat((2, 2, 2))
    lithium = np.flatnonzero(perfect.symbols == 'Li')
    edge = np.sqrt(2) * relaxed_li2s.cell.lengths()[0] / 2
    away = perfect.get_distances(lithium[0], lithium, mic=True)
    vacant = int(lithium[np.flatnonzero(abs(away - edge) < 0.01)[0]])
    vector = perfect.get_distance(lithium[0], vacant, mic=True, vector=True)
    first, last = perfect.copy(), perfect.copy()
    last.positions[lithium[0]] += vector
    for end in (first, last):
        del end[vacant]
        end.calc = UltraFastCalculator(relaxed_li2s.calc.potential)
        BFGS(end, logfile=None).run(fmax=1e-3)
    images = [first, *(first.copy() for _ in range(5)), last]
    shared = UltraFastCalculator(relaxed_li2s.calc.potential)
    for image in images[1:-1]:
        image.calc = shared
    band = NEB(images, climb=True, allow_shared_calculator=True, method='improvedtangent')
    band.interpolate(mic=True)
    assert FIRE(band, logfile=None).run(fmax=0.01, steps=300)
    return images


def test_the_barrier_of_a_band_is_that_of_a_constrained_saddle(hop, relaxed_li2s):
    """The path has a mirror plane half-way, so that the saddle is the lowest point with the ion held in that plane."""
    energies = np.array([image.get_potential_energy() for image in hop])
    np.testing.assert_allclose(energies, energies[::-1], atol=2e-3)  # forces to 0.01 eV/Å over paths of some 0.1 Å
    barrier = energies.max() - energies[0]
    assert energies.argmax() == 3
    moving = int(np.linalg.norm(hop[-1].positions - hop[0].positions, axis=1).argmax())
    along = hop[-1].positions[moving] - hop[0].positions[moving]
    saddle = hop[0].copy()
    saddle.calc = UltraFastCalculator(relaxed_li2s.calc.potential)
    others = [i for i in range(len(saddle)) if i != moving]
    saddle.positions[others] = 0.5 * (hop[0].positions + hop[-1].positions)[others]
    saddle.positions[moving] = 0.5 * (hop[0].positions + hop[-1].positions)[moving]
    saddle.set_constraint(FixedPlane(moving, along / np.linalg.norm(along)))
    assert BFGS(saddle, logfile=None).run(fmax=1e-3, steps=200)
    assert barrier == pytest.approx(saddle.get_potential_energy() - energies[0], abs=2e-3)
    assert 0.1 < barrier < 1.0
    saddle.set_constraint()
    # stationary without the plane, too
    assert abs(saddle.get_forces()).max() < 0.01
    assert number_of_downhill_directions(saddle) == 1


def number_of_downhill_directions(atoms: Atoms, h: float = 1e-3) -> int:
    hessian = np.empty((3 * len(atoms), 3 * len(atoms)))
    for row, (i, a) in enumerate(np.ndindex(len(atoms), 3)):
        both = []
        for sign in (1, -1):
            moved = atoms.copy()
            moved.calc = atoms.calc
            moved.positions[i, a] += sign * h
            both.append(moved.get_forces().ravel())
        hessian[row] = (both[1] - both[0]) / (2 * h)
    values = np.linalg.eigvalsh(0.5 * (hessian + hessian.T))
    # three translations are zero but for the differences: 1e-6 eV/Å² against modes of 0.1 and more
    return int((values < -1e-2).sum())


@pytest.fixture(scope='module')
def phonons(relaxed_li2s, tmp_path_factory) -> Phonons:
    folder = tmp_path_factory.mktemp('phonons') / 'displaced'
    calculator = UltraFastCalculator(relaxed_li2s.calc.potential)
    found = Phonons(relaxed_li2s, calculator, supercell=(2, 2, 2), delta=1e-3, name=str(folder))
    found.run()
    found.read(acoustic=False)
    return found


def test_acoustic_modes_vanish_at_the_zone_centre_and_nowhere_else(phonons):
    centre, edge = 1000 * phonons.band_structure([[0, 0, 0], [0.5, 0, 0.5]], verbose=False)
    # differences of 1e-3 Å leave 1e-6 of an optical force constant, and the root of that in frequency
    assert abs(centre[:3]).max() < 0.05
    assert centre[3:].min() > 20
    assert edge.min() > 5


def test_force_constants_are_second_differences_of_the_energy(phonons, relaxed_li2s):
    supercell = relaxed_li2s.repeat((2, 2, 2))
    calculator = UltraFastCalculator(relaxed_li2s.calc.potential)
    h = 5e-3

    def energy(*moves):
        moved = supercell.copy()
        moved.calc = calculator
        for atom, axis, sign in moves:
            moved.positions[atom, axis] += sign * h
        return moved.get_potential_energy()

    constants = phonons.get_force_constant()  # (cells, 9, 9)
    scale = abs(constants).max()
    # ASE repeats cells in the same order here and there
    for (i, a), (cell, j, b) in [((0, 0), (0, 0, 0)), ((0, 0), (0, 1, 1)), ((1, 2), (0, 2, 2)), ((0, 1), (3, 2, 0))]:
        first, second = (i, a), (3 * cell + j, b)
        mixed = sum(s * t * energy((*first, s), (*second, t)) for s, t in itertools.product((1, -1), repeat=2)) / (
            4 * h * h
        )
        # fourth-order terms: h² times a ratio of derivatives of about 10 Å⁻²
        assert constants[cell, 3 * i + a, 3 * j + b] == pytest.approx(mixed, abs=1e-3 * scale)

"""Claims about the labels that GPAW gives: real runs, small enough for a few seconds each."""

import dataclasses
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from ase import Atoms
from ase.io import read
from reference_data import FOLDER, needs

from aiida_ufpnmr.engine.dataset import energy, forces, read_dataset, stress
from aiida_ufpnmr.engine.dft import gpaw_engine
from aiida_ufpnmr.engine.dft.gpaw_engine import GpawEngine, GpawSettings
from aiida_ufpnmr.engine.dft.labelling import label_structures
from aiida_ufpnmr.engine.dft.labels import LabellingError, read_sources
from aiida_ufpnmr.engine.dft.programs import Programs
from aiida_ufpnmr.engine.dft.protocols import protocol_settings
from aiida_ufpnmr.engine.efg import quadrupolar_coupling
from aiida_ufpnmr.engine.settings import settings_from_mapping

pytestmark = pytest.mark.slow

#: Coarse, and exact where it matters here: forces and symmetry do not wait for convergence of the basis.
TINY = GpawSettings(
    cutoff_ev=220.0, kpoints=(2, 1, 1), exact_grid=True, density_tolerance=1e-7, eigenstates_tolerance=1e-10
)


def lithium_chloride(**changes):
    """Two atoms in a cell without symmetry."""
    return Atoms(
        'LiCl',
        [[0.1, 0.2, 0.1], [1.9, 1.7, 2.0]],
        cell=[[3.3, 0, 0], [0.4, 3.6, 0], [0.2, -0.3, 3.9]],
        pbc=True,
        **changes,
    )


def sodium_chloride():
    """The same with an element that the fastest eigensolver does not suit."""
    atoms = lithium_chloride()
    atoms.numbers[0] = 11
    return atoms


@pytest.fixture(scope='session')
def compute(gpaw_installation, tmp_path_factory):
    def run(atoms, settings=TINY):
        folder = tmp_path_factory.mktemp('gpaw')
        with Programs() as programs:
            return GpawEngine(settings, gpaw_installation.python).label(atoms, folder, folder, programs)

    return run


@pytest.fixture(scope='session')
def labels(compute):
    return compute(lithium_chloride())


def khz(tensors, isotope='7Li'):
    """Components in kHz: what one unit of V_ZZ is worth."""
    return np.asarray(tensors) * abs(quadrupolar_coupling(np.diag([-0.5, -0.5, 1.0]), isotope))


def test_tensors_are_symmetric_traceless_and_there(labels):
    assert labels.efg.shape == (2, 3, 3)
    assert labels.efg == pytest.approx(labels.efg.transpose(0, 2, 1), abs=1e-12)
    assert np.trace(labels.efg, axis1=1, axis2=2) == pytest.approx(0, abs=1e-12)
    assert abs(khz(labels.efg[0])).max() > 10


def test_lithium_has_three_valence_electrons(labels):
    assert labels.datasets['Li'].startswith('Li.3e.PBE:') and labels.datasets['Cl'].startswith('Cl.PBE:')
    assert all(len(name.split(':')[1]) == 64 for name in labels.datasets.values())


def test_rotating_the_crystal_rotates_its_labels(compute, labels):
    """The basis and the grid turn with the cell: only rounding and the rest of the SCF are left."""
    turn, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))
    atoms = lithium_chloride()
    atoms.set_cell(atoms.cell.array @ turn)
    atoms.positions = atoms.positions @ turn
    turned = compute(atoms)
    assert turned.energy == pytest.approx(labels.energy, abs=1e-6)
    assert turned.forces == pytest.approx(labels.forces @ turn, abs=1e-4)
    assert turned.stress == pytest.approx(turn.T @ labels.stress @ turn, abs=1e-5)
    assert khz(turned.efg) == pytest.approx(khz(turn.T @ labels.efg @ turn), abs=0.05)


def test_translating_the_crystal_changes_nothing(compute, labels):
    """On a grid without aliases; a little is left of the grid on which exchange and correlation are computed."""
    atoms = lithium_chloride()
    atoms.translate([0.35, 0.2, 0.45])
    moved = compute(atoms)
    assert moved.energy == pytest.approx(labels.energy, abs=1e-4)
    assert moved.forces == pytest.approx(labels.forces, abs=1e-3)
    assert khz(moved.efg[0]) == pytest.approx(khz(labels.efg[0]), abs=0.2)


def test_forces_are_minus_the_gradient_of_the_free_energy(compute, labels):
    """Central differences over 0.02 Å: their error goes with its square, some meV/Å at these short distances."""
    step, atom, axis = 0.01, 0, 1
    shifted = []
    for sign in (1, -1):
        atoms = lithium_chloride()
        atoms.positions[atom, axis] += sign * step
        shifted.append(compute(atoms).free_energy)
    gradient = (shifted[0] - shifted[1]) / (2 * step)
    assert labels.forces[atom, axis] == pytest.approx(-gradient, abs=0.01)


def test_the_same_structure_gives_the_same_labels(compute, labels):
    """To rounding, not to the bit: BLAS takes other paths through arrays that lie at other addresses."""
    again = compute(lithium_chloride())
    assert again.energy == pytest.approx(labels.energy, abs=1e-10)
    for name in ('forces', 'stress', 'efg'):
        assert getattr(again, name) == pytest.approx(getattr(labels, name), abs=1e-8)


def test_images_of_a_repeated_cell_agree(compute, labels):
    """The doubled cell with one k-point where the single cell has two is the same calculation."""
    doubled = compute(
        lithium_chloride().repeat((2, 1, 1)),
        GpawSettings(
            cutoff_ev=220.0, kpoints=(1, 1, 1), exact_grid=True, density_tolerance=1e-7, eigenstates_tolerance=1e-10
        ),
    )
    assert khz(doubled.efg[0]) == pytest.approx(khz(doubled.efg[2]), abs=0.1)


def test_a_density_that_does_not_converge_is_a_failure_with_its_reason(gpaw_installation, tmp_path):
    from ase.io import write

    write(tmp_path / 'frames.extxyz', [lithium_chloride()])
    engine = GpawEngine(
        GpawSettings(cutoff_ev=150.0, kpoints=(1, 1, 1), max_cycles=1, density_tolerance=1e-14),
        gpaw_installation.python,
    )
    results = label_structures(read_sources(tmp_path / 'frames.extxyz'), engine, tmp_path / 'out.extxyz')
    assert 'did not converge in 4 attempts' in results['failed'][0]['reason']


def test_a_later_attempt_helps_and_is_told(compute, labels):
    """Too few cycles for the first attempts; the third has three times as many and gives the numbers of one."""
    rough = {'cutoff_ev': 150.0, 'kpoints': (1, 1, 1), 'density_tolerance': 1e-4, 'eigenstates_tolerance': 1e-5}
    late = compute(lithium_chloride(), GpawSettings(max_cycles=5, **rough))
    at_once = compute(lithium_chloride(), GpawSettings(**rough))
    assert (late.attempt, at_once.attempt) == (3, 1) and late.smearing_ev == at_once.smearing_ev
    assert late.energy == pytest.approx(at_once.energy, abs=1e-3)
    assert khz(late.efg[0]) == pytest.approx(khz(at_once.efg[0]), abs=1)


def test_a_solver_that_loses_the_wave_functions_is_given_up_early(gpaw_installation, monkeypatch, tmp_path):
    """RMM-DIIS does that with sodium; left to itself, the engine does not begin with it."""
    found = {}
    for name, suited in (('as-is', gpaw_engine.SUIT_RMM_DIIS), ('forced', {'Na', 'Cl'})):
        folder = tmp_path / name
        folder.mkdir()
        monkeypatch.setattr(gpaw_engine, 'SUIT_RMM_DIIS', frozenset(suited))
        with Programs() as programs:
            found[name] = GpawEngine(TINY, gpaw_installation.python).label(sodium_chloride(), folder, folder, programs)
    assert (found['as-is'].attempt, found['forced'].attempt) == (1, 2)
    assert len([line for line in (tmp_path / 'forced' / 'gpaw.txt').read_text().splitlines() if '|iter: ' in line]) < 15
    assert found['forced'].energy == pytest.approx(found['as-is'].energy, abs=1e-9)  # both to the tolerance of TINY


def test_where_the_highest_of_few_bands_is_filled_more_are_taken(gpaw_installation, monkeypatch, tmp_path):
    """Electrons that are made hot by a wide smearing fill the only band above the gap in part, and many of all."""
    monkeypatch.setattr(gpaw_engine, 'EMPTY_BANDS', 1)
    for smearing_ev, attempt in ((0.05, 1), (1.0, 2)):
        settings = dataclasses.replace(TINY, smearing_ev=smearing_ev)
        folder = tmp_path / str(attempt)
        folder.mkdir()
        with Programs() as programs:
            found = GpawEngine(settings, gpaw_installation.python).label(sodium_chloride(), folder, folder, programs)
        assert found.attempt == attempt


def test_few_empty_bands_change_no_label(gpaw_installation, monkeypatch, tmp_path):
    """With those that GPAW itself takes it gives the same numbers, and with both no force on the whole crystal."""
    found = []
    for empty in (gpaw_engine.EMPTY_BANDS, None):
        monkeypatch.setattr(gpaw_engine, 'EMPTY_BANDS', empty)
        folder = tmp_path / str(empty)
        folder.mkdir()
        with Programs() as programs:
            found.append(GpawEngine(TINY, gpaw_installation.python).label(sodium_chloride(), folder, folder, programs))
    few, many = found
    assert few.energy == pytest.approx(many.energy, abs=1e-6)
    assert few.forces == pytest.approx(many.forces, abs=1e-3)
    assert few.stress == pytest.approx(many.stress, abs=1e-5)
    assert khz(few.efg, '23Na') == pytest.approx(khz(many.efg, '23Na'), abs=1)
    assert few.forces.sum(axis=0) == pytest.approx(np.zeros(3), abs=1e-3)


def test_more_processes_than_kpoints_do_no_harm(gpaw_installation, labels, tmp_path, monkeypatch):
    monkeypatch.setenv('OMPI_MCA_rmaps_base_oversubscribe', '1')  # than cores, too
    engine = GpawEngine(TINY, gpaw_installation.python)
    if not engine.shares_structures:
        pytest.skip('this GPAW has no MPI')
    with Programs() as programs:
        together = engine.label(lithium_chloride(), tmp_path, tmp_path, programs, 3)
    assert khz(together.efg) == pytest.approx(khz(labels.efg), abs=0.05)
    assert together.energy == pytest.approx(labels.energy, abs=1e-6)


def cycles(log):
    """How many cycles of self-consistency GPAW has written about."""
    return log.read_text().count('iter:') if log.exists() else 0


@pytest.mark.parametrize('processes', [1, 2])
def test_a_killed_run_goes_on_from_its_last_density(gpaw_installation, tmp_path, monkeypatch, processes):
    """Two k-points are left by symmetry, one for each of two processes."""
    monkeypatch.setenv('OMPI_MCA_rmaps_base_oversubscribe', '1')
    monkeypatch.setattr(gpaw_engine, 'CHECKPOINT_EVERY_S', 0.0)
    engine = GpawEngine(dataclasses.replace(TINY, kpoints=(3, 1, 1)), gpaw_installation.python)
    if processes > 1 and not engine.shares_structures:
        pytest.skip('this GPAW has no MPI')
    whole, killed, resumed, checkpoints = (tmp_path / name for name in ('whole', 'killed', 'resumed', 'checkpoints'))
    for folder in (whole, killed, resumed, checkpoints):
        folder.mkdir()
    with Programs() as programs:
        labels = engine.label(lithium_chloride(), whole, whole, programs, processes)
    needed = cycles(whole / 'gpaw.txt')
    with Programs() as programs, ThreadPoolExecutor(1) as pool:
        running = pool.submit(engine.label, lithium_chloride(), killed, checkpoints, programs, processes)
        while cycles(killed / 'gpaw.txt') < needed * 2 // 3 and not running.done():
            time.sleep(0.005)
        programs.stop()
        with pytest.raises(LabellingError, match='GPAW ended with status -?15'):
            running.result()
    assert (checkpoints / 'attempt-1.gpw').is_file()
    with Programs() as programs:
        found = engine.label(lithium_chloride(), resumed, checkpoints, programs, processes)
    assert cycles(resumed / 'gpaw.txt') < needed * 2 // 3
    assert found.attempt == 1 and found.energy == pytest.approx(labels.energy, abs=1e-6)
    assert found.forces == pytest.approx(labels.forces, abs=1e-3)
    assert khz(found.efg) == pytest.approx(khz(labels.efg), abs=0.05)


def test_what_cannot_be_gone_on_from_is_done_anew(gpaw_installation, labels, tmp_path):
    (tmp_path / 'attempt-1.gpw').write_bytes(b'not of GPAW')
    engine = GpawEngine(TINY, gpaw_installation.python)
    with Programs() as programs:
        found = engine.label(lithium_chloride(), tmp_path, tmp_path, programs)
    assert found.energy == pytest.approx(labels.energy, abs=1e-6)
    assert khz(found.efg) == pytest.approx(khz(labels.efg), abs=0.05)


def cell_of(name, compute, **settings):
    return compute(read(FOLDER / 'check_structures' / f'{name}.extxyz'), GpawSettings(**settings))


@needs('check_structures')
def test_lithium_nitride_has_the_couplings_of_independent_runs(compute):
    """637 and 301 kHz from another implementation; 644 and 311 from an all-electron code."""
    labels = cell_of('li3n', compute, cutoff_ev=600.0, kpoints=(4, 4, 4), kpoint_centre='gamma')
    couplings = abs(quadrupolar_coupling(labels.efg[:3], '7Li'))
    assert couplings == pytest.approx([637, 301, 301], rel=0.02)
    assert couplings[1] == pytest.approx(couplings[2], abs=0.01)  # sites that symmetry makes equal
    # on a sixfold axis the tensor is axial about it
    assert khz(labels.efg[0]) == pytest.approx(khz(labels.efg[0, 2, 2]) * np.diag([-0.5, -0.5, 1]), abs=0.1)


@needs('check_structures')
def test_gamma_lithium_thiophosphate_has_the_couplings_of_independent_runs(compute):
    """−54.4 and 116.0 kHz; −53.5 and 117.8 from an all-electron code."""
    labels = cell_of('gamma', compute, cutoff_ev=500.0, kpoints=(1, 1, 1), kpoint_centre='gamma')
    couplings = quadrupolar_coupling(labels.efg[:6], '7Li')
    assert couplings == pytest.approx([-54.4] * 4 + [116.0] * 2, abs=2)
    assert np.ptp(couplings[:4]) < 0.01 and np.ptp(couplings[4:]) < 0.01


def test_the_balanced_protocol_reproduces_a_shipped_label(gpaw_installation, example_data, tmp_path):
    """Made with GPAW 26.7: another version differs by some tenths of a kHz."""
    settings = settings_from_mapping(GpawSettings, protocol_settings('gpaw', 'balanced'))
    label_structures(
        read_sources(example_data, '0'), GpawEngine(settings, gpaw_installation.python), tmp_path / 'out.extxyz'
    )
    (found,) = read_dataset(tmp_path / 'out.extxyz')
    shipped = read_dataset(example_data).structures[0]
    assert energy(found) == pytest.approx(energy(shipped), abs=1e-4)
    assert forces(found) == pytest.approx(forces(shipped), abs=2e-3)
    assert stress(found) == pytest.approx(stress(shipped), abs=1e-5)
    lithium = shipped.numbers == 3
    assert khz(found.arrays['efg'][lithium]) == pytest.approx(khz(shipped.arrays['efg'][lithium]), abs=0.5)
    assert found.info['label_id'] == shipped.info['label_id'] == 'lps-0000'

"""Claims about S(q): the same as the plain sum, as known structures have it, and as dynasor computes it."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.io import write
from frames import shaken, write_frames

import aiida_ufpnmr as un
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.structure.scattering import (
    first_sharp_peak,
    from_positions,
    neutron_lengths,
    wave_vectors,
    xray_form_factors,
)
from aiida_ufpnmr.engine.trajectories.snapshots import Snapshots

TRICLINIC = np.array([[9.0, 0.0, 0.0], [2.0, 8.5, 0.0], [1.0, -1.0, 9.5]])


def random_atoms(formula: str, cell: np.ndarray, seed: int) -> Atoms:
    atoms = Atoms(formula, cell=cell, pbc=True)
    atoms.positions = np.random.default_rng(seed).uniform(-1, 2, (len(atoms), 3)) @ cell
    return atoms


def dimers(n: int, bond: float, seed: int) -> Atoms:
    """Molecules LiS at random, in a cube of 16 Å."""
    rng = np.random.default_rng(seed)
    first, turn = rng.uniform(0, 16, (n, 3)), rng.standard_normal((n, 3))
    second = first + bond * turn / np.linalg.norm(turn, axis=1)[:, None]
    return Atoms(f'Li{n}S{n}', np.vstack([first, second]), cell=16 * np.eye(3), pbc=True)


def test_wave_vectors_are_all_that_fit_the_cell_one_of_each_two():
    miller, length = wave_vectors(TRICLINIC, 4.0, 0.1, 10**6, seed=0)
    every = np.array(list(np.ndindex(17, 17, 17))) - 8
    expected = np.linalg.norm(every @ (2 * np.pi * np.linalg.inv(TRICLINIC).T), axis=1)
    assert 2 * len(miller) == ((expected <= 4.0) & every.any(axis=1)).sum()
    assert len({tuple(v) for v in miller} | {tuple(-v) for v in miller}) == 2 * len(miller)
    few, short = wave_vectors(TRICLINIC, 4.0, 0.1, 3, seed=0)
    assert np.bincount((short / 0.1).astype(int)).max() == 3 and len({tuple(v) for v in few}) == len(few)
    # bins with fewer than asked for keep theirs
    assert set((short / 0.1).astype(int)) == set((length / 0.1).astype(int))


def test_direct_partials_equal_the_plain_sum_also_where_the_cell_changes(tmp_path):
    frames = [random_atoms('Li5P2S8', cell, seed) for seed, cell in enumerate([TRICLINIC, 1.02 * TRICLINIC])]
    snapshots = Snapshots.open(write_frames(tmp_path / 'run.h5', frames))
    found = from_positions(snapshots, 3.0, 1e-6, 10**6, seed=0)
    miller, length = wave_vectors(1.01 * TRICLINIC, 3.0, 1e-6, 10**6, seed=0)
    order = np.argsort(length)
    np.testing.assert_allclose(found.q, length[order], rtol=1e-9)
    phases = [np.exp(2j * np.pi * miller[order] @ (one.positions @ np.linalg.inv(one.cell)).T) for one in frames]
    share = {'Li': 5 / 15, 'P': 2 / 15, 'S': 8 / 15}
    for a, first in enumerate(found.elements):
        for b, second in enumerate(found.elements):
            sums = [[p[:, frames[0].symbols == symbol].sum(axis=1) for symbol in (first, second)] for p in phases]
            product = np.mean([(one * two.conj()).real for one, two in sums], axis=0) / 15
            expected = 1 + (product - share[first] * (a == b)) / (share[first] * share[second])
            np.testing.assert_allclose(found.partial[a, b], expected, atol=1e-10)


def test_rock_salt_has_its_lattice_peaks_and_nothing_between(tmp_path):
    a = 5.6
    atoms = bulk('NaCl', 'rocksalt', a=a, cubic=True)
    found = un.structure_factor(
        write_frames(tmp_path / 'run.h5', [atoms]),
        q_max_per_angstrom=3.3,
        vectors_per_bin=10**6,
        q_bin_per_angstrom=1e-3,
    )
    lengths = neutron_lengths(('Cl', 'Na'), 1)[:, 0]
    reflections = {3: np.diff(lengths)[0] ** 2, 4: lengths.sum() ** 2, 8: lengths.sum() ** 2}
    total = found.totals['neutron'].direct
    # |F|² of four formula units, over the number of atoms and ⟨b⟩², with the self part of Faber and Ziman
    self_part = 1 - (lengths**2).mean() / lengths.mean() ** 2
    for square, per_pair in reflections.items():
        at = np.abs(found.q_per_angstrom - 2 * np.pi * square**0.5 / a).argmin()
        expected = per_pair * 4**2 / 8 / lengths.mean() ** 2 + self_part
        assert found.q_per_angstrom[at] == pytest.approx(2 * np.pi * square**0.5 / a, abs=1e-3)
        assert total[at] == pytest.approx(expected, rel=1e-9)
    others = [abs(found.q_per_angstrom * a / (2 * np.pi) - k**0.5) > 1e-2 for k in reflections]
    np.testing.assert_allclose(total[np.all(others, axis=0)], self_part, atol=1e-9)


def test_molecules_at_random_have_the_structure_factor_of_their_bond_by_both_ways(tmp_path):
    """S(q) of Li and S is 1 + 2 sin(qd)/(qd), damped in the transform of g(r) by what Lorch's function is at d."""
    bond = 2.4
    frames = [dimers(100, bond, seed) for seed in range(60)]
    found = un.structure_factor(write_frames(tmp_path / 'run.h5', frames), r_bin_angstrom=0.01)
    q, pair = found.q_per_angstrom, found.pairs['Li-S']
    wave = 2 * np.sinc(q * bond / np.pi)
    far = q > 1.5
    # one over the root of 60 frames and some 40 vectors, times the root of two
    assert np.abs(pair.direct - 1 - wave)[far].std() < 1.5 * 2 / np.sqrt(60 * 40)
    damped = np.sinc(bond / found.g_end_angstrom)
    np.testing.assert_allclose(pair.from_g[far], 1 + damped * wave[far], atol=0.05)
    assert np.abs(found.pairs['S-S'].direct[far] - 1).mean() < 0.05


def test_the_first_sharp_peak_has_its_place_width_and_height():
    q = np.arange(0.3, 6, 0.05)
    bell = 1.5 * np.exp(-((q - 1.25) ** 2) / (2 * 0.2**2))
    main = 2.0 * np.exp(-((q - 2.6) ** 2) / (2 * 0.25**2))
    noise = 0.02 * np.random.default_rng(0).standard_normal(len(q))
    place, width, height = first_sharp_peak(q, bell + main + noise, 0.5, 3.0)
    assert place == pytest.approx(1.25, abs=0.02) and height == pytest.approx(1.5, abs=0.08)
    # 2.355 standard deviations, of which smoothing makes 0.206 of 0.2
    assert width == pytest.approx(2.355 * 0.206, rel=0.06)
    assert first_sharp_peak(q, q, 0.5, 3.0) is None


def test_amplitudes_are_those_of_the_tables_and_their_weights_add_up(tmp_path):
    assert neutron_lengths(('P', 'S'), 1)[:, 0] == pytest.approx([5.13, 2.847])
    q = np.array([0.0, 6.0])
    np.testing.assert_allclose(xray_form_factors(('Li', 'S'), q)[:, 0], [3, 16], atol=0.02)
    snapshots = Snapshots.open(write_frames(tmp_path / 'run.h5', [random_atoms('Li5P2S8', TRICLINIC, 0)]))
    found = from_positions(snapshots, 3.0, 0.1, 20, seed=0)
    even = found.total(np.ones((3, len(found.q))))
    np.testing.assert_allclose(even, np.einsum('a,b,abq->q', found.share, found.share, found.partial))
    with pytest.raises(InputError, match='Po has no known scattering length'):
        neutron_lengths(('S', 'Po'), 1)


def test_a_cell_too_small_and_a_range_the_wrong_way_round_are_refused(tmp_path):
    path = write_frames(tmp_path / 'run.h5', [bulk('NaCl', 'rocksalt', a=5.6)])
    with pytest.raises(InputError, match='no wave vector below 0.5 Å⁻¹ fits the cell'):
        un.structure_factor(path, q_max_per_angstrom=0.5)
    with pytest.raises(InputError, match='takes the lower end first'):
        un.structure_factor(path, peak_range_per_angstrom=(3, 1))


def test_one_file_and_pieces_give_the_same_bits(tmp_path):
    frames = shaken(bulk('NaCl', 'rocksalt', a=5.6, cubic=True), 9)
    (tmp_path / 'other').mkdir()
    whole = un.structure_factor(write_frames(tmp_path / 'run.h5', frames))
    pieces = un.structure_factor(write_frames(tmp_path / 'other' / 'run.h5', frames, pieces=True))
    for name, one in whole.totals.items():
        np.testing.assert_array_equal(one.direct, pieces.totals[name].direct)
        np.testing.assert_array_equal(one.from_g, pieces.totals[name].from_g)


def test_the_same_partials_as_dynasor(tmp_path):
    dynasor = pytest.importorskip('dynasor')
    frames = [random_atoms('Li20S30', 9 * np.eye(3), seed) for seed in range(3)]
    write(tmp_path / 'run.xyz', frames)
    found = from_positions(Snapshots.open(write_frames(tmp_path / 'run.h5', frames)), 3.0, 1e-6, 10**6, seed=0)
    miller, length = wave_vectors(9 * np.eye(3), 3.0, 1e-6, 10**6, seed=0)
    indices = {symbol: np.flatnonzero(frames[0].symbols == symbol).tolist() for symbol in ('Li', 'S')}
    trajectory = dynasor.Trajectory(str(tmp_path / 'run.xyz'), 'extxyz', atomic_indices=indices)
    theirs = dynasor.compute_static_structure_factors(trajectory, miller * 2 * np.pi / 9)
    bin_ = np.unique((length / 1e-6).astype(int), return_inverse=True)[1]
    mean = np.bincount(bin_, theirs['Sq_Li_S'][:, 0]) / np.bincount(bin_)
    # dynasor adds both orders and divides by the number of atoms
    np.testing.assert_allclose(found.partial[0, 1], 1 + mean / (2 * 0.4 * 0.6), atol=1e-6)

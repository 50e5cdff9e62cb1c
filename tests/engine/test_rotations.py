"""Claims about rotations of tetrahedra: known rates, known jumps, and hops that go with them or do not."""

import numpy as np
import pytest
from ase import Atoms
from frames import write_frames
from scipy.spatial.transform import Rotation

import aiida_ufpnmr as un
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.structure.tetrahedra import IDEAL
from aiida_ufpnmr.engine.transport.rotation_jumps import JUMPS, LIBRATION, NO_JUMPS, RotationJumps, coincidence

SKEW = np.array([[9.0, 0.0, 0.0], [3.0, 8.5, 0.0], [-2.0, 3.0, 9.5]])
STEP_PS = 0.1


def write_turning(path, turns: list[Rotation], ions: np.ndarray, noise: float = 0.05, seed: int = 0):
    """One PS4 a rotation of (n_frames,), each in a part of a long cell, and ions (n_frames, n_ions, 3)."""
    rng = np.random.default_rng(seed)
    cell = SKEW * np.array([len(turns), 1, 1])[:, None]
    corners = [2.05 * np.einsum('fxy,ky->fkx', turn.as_matrix(), IDEAL) + n * SKEW[0] for n, turn in enumerate(turns)]
    n_frames = len(ions)
    centres = [np.broadcast_to(n * SKEW[0], (n_frames, 1, 3)) for n in range(len(turns))]
    units = [np.concatenate(pair, axis=1) for pair in zip(centres, corners)]
    places = np.concatenate([*units, ions], axis=1)
    places = places + noise * rng.standard_normal(places.shape)
    symbols = 'PS4' * len(turns) + f'Li{ions.shape[1]}'
    return write_frames(path, [Atoms(symbols, place, cell=cell, pbc=True) for place in places], step_fs=1000 * STEP_PS)


def still(n_frames: int, n_ions: int = 1) -> np.ndarray:
    return np.broadcast_to(4.0 + np.arange(n_ions)[:, None], (n_frames, n_ions, 1)) * np.ones(3)


def jumping(rng: np.random.Generator, n_frames: int, per_frame: float) -> tuple[Rotation, np.ndarray]:
    """Turns by 120° about bonds at random times, at least 40 frames apart, and those times."""
    times = np.cumsum(40 + rng.exponential(1 / per_frame, n_frames)).astype(int)
    times = times[times < n_frames - 30]
    state, states = Rotation.identity(), [Rotation.identity()]
    for _ in times:
        state = Rotation.from_rotvec(2 * np.pi / 3 * IDEAL[rng.integers(4)]) * state
        states.append(state)
    which = np.searchsorted(times, np.arange(n_frames), side='right')
    return Rotation.from_matrix(np.array([one.as_matrix() for one in states])[which]), times


def test_a_tetrahedron_that_spins_at_a_known_rate_has_the_correlation_of_that_rate(tmp_path):
    period_ps, n_frames = 4.0, 2000
    phase = 2 * np.pi * STEP_PS * np.arange(n_frames) / period_ps
    axis = IDEAL[0]
    path = write_turning(tmp_path / 'run.h5', [Rotation.from_rotvec(phase[:, None] * axis)], still(n_frames), noise=0.0)
    one = un.rotations(path).kinds['PS4']
    # averaged over whole periods: (1 + 2 cos ωt)/3, and for each corner P₂ of u·u(t)
    lag = phase[: n_frames // 2]
    np.testing.assert_allclose(one.first_rank, (1 + 2 * np.cos(lag)) / 3, atol=1e-5)
    along = (IDEAL @ axis) ** 2
    cosine = along[:, None] + (1 - along[:, None]) * np.cos(lag)
    np.testing.assert_allclose(one.second_rank, (1.5 * cosine**2 - 0.5).mean(axis=0), atol=1e-5)


def test_jumps_are_those_that_were_made_at_their_times_and_by_their_angle(tmp_path):
    rng = np.random.default_rng(1)
    n_frames = 3000
    made = [jumping(rng, n_frames, 1 / 300) for _ in range(3)]
    path = write_turning(tmp_path / 'run.h5', [turn for turn, _ in made], still(n_frames), noise=0.1)
    found = un.rotations(path)
    truth = np.concatenate([times for _, times in made])
    assert found.verdict == JUMPS and found.kinds['PS4'].jumps == len(truth)
    unit = np.repeat([0, 5, 10], [len(times) for _, times in made])
    np.testing.assert_array_equal(found.jump_atom, unit)
    # the middle of a window of 5 frames
    np.testing.assert_allclose(found.jump_time_ps, truth * STEP_PS, atol=0.61)
    np.testing.assert_allclose(found.jump_angle_deg, 120, atol=10)
    low, high = found.kinds['PS4'].jump_rate_per_s_ci95
    assert low < len(truth) / (3 * n_frames * STEP_PS * 1e-12) < high


def test_libration_makes_no_jumps_and_says_so_where_it_might(tmp_path):
    rng = np.random.default_rng(2)
    n_frames = 2000
    for number, (width, verdict) in enumerate([(0.15, NO_JUMPS), (1.5, LIBRATION)]):
        angles, x = np.empty((n_frames, 3)), np.zeros(3)
        for frame in range(n_frames):  # memory of some two windows, so that no average takes it away
            x = 0.9 * x + width * np.sqrt(1 - 0.81) * rng.standard_normal(3)
            angles[frame] = x
        path = write_turning(tmp_path / f'{number}.h5', [Rotation.from_rotvec(angles)], still(n_frames), noise=0.0)
        found = un.rotations(path)
        assert found.verdict == verdict and found.hops_with_jumps is None


@pytest.mark.parametrize('together', [True, False])
def test_hops_that_go_with_jumps_are_told_from_hops_that_do_not(tmp_path, together):
    rng = np.random.default_rng(3)
    n_frames = 6000
    turn, times = jumping(rng, n_frames, 1 / 150)
    hops = times + rng.integers(-4, 5, len(times)) if together else jumping(rng, n_frames, 1 / 150)[1]
    side = np.searchsorted(hops, np.arange(n_frames), side='right') % 2
    ion = 2.6 * np.array([[-1, -1, -1]]) / np.sqrt(3) + side[:, None] * np.array([0.0, 2.5, 0.0])
    path = write_turning(tmp_path / 'run.h5', [turn], ion[:, None], noise=0.1)
    both = un.rotations(path).hops_with_jumps
    assert both.ion_hops == pytest.approx(len(hops), abs=1)
    if together:
        assert both.share > 0.9 and both.share > 3 * both.share_expected and both.p_value < 0.01
    else:
        assert both.p_value > 0.01 and both.share < 0.35


def test_coincidence_by_chance_is_what_rates_make_of_it():
    rng = np.random.default_rng(4)
    n_frames, within = 100_000, 10
    jumps = RotationJumps(np.zeros(500, int), np.sort(rng.integers(0, n_frames, 500)), np.zeros(500), JUMPS)
    hops = rng.integers(0, n_frames, 2000)
    found = coincidence(hops, np.ones((2000, 1), bool), jumps, n_frames, within, seed=0)
    expected = 1 - np.exp(-500 * 21 / n_frames)
    # a share of 0.1 of 2000: standard error 0.007
    assert found.expected == pytest.approx(expected, abs=0.01) and found.share == pytest.approx(expected, abs=0.025)
    far = coincidence(hops, np.zeros((2000, 1), bool), jumps, n_frames, within, seed=0)
    assert far.share == far.expected == 0 and far.p_value == 1


def test_one_file_and_pieces_give_the_same_bits_and_a_missing_species_is_named(tmp_path):
    rng = np.random.default_rng(5)
    turn, _ = jumping(rng, 400, 1 / 100)
    path = write_turning(tmp_path / 'run.h5', [turn], still(400))
    with un.Trajectory(path) as run:
        frames = [run.atoms(n) for n in range(400)]
    (tmp_path / 'other').mkdir()
    pieces = un.rotations(write_frames(tmp_path / 'other' / 'run.h5', frames, pieces=True))
    whole = un.rotations(path)
    assert whole.to_dict() == pieces.to_dict()
    np.testing.assert_array_equal(whole.kinds['PS4'].second_rank, pieces.kinds['PS4'].second_rank)
    with pytest.raises(InputError, match='holds no Na, only Li, P, S; choose one with --species'):
        un.rotations(path, species='Na')

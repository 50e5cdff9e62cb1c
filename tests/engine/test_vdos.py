"""Claims about the vibrational density of states."""

import numpy as np
import pytest
from ase import Atoms
from ase.data import atomic_masses, atomic_numbers

from aiida_ufpnmr.engine.analyses import get_analysis
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.trajectories.trajectory import EDGES, POSITION, VELOCITY, TrajectoryWriter
from aiida_ufpnmr.engine.transport.vibrations import PER_CM, smoothed

#: 1 cm⁻¹ in rad/fs.
RADIANS = 2 * np.pi / PER_CM * 1e-3


def harmonic_chain(n_cells, n_frames, step_fs, seed=0):
    """Positions along a periodic chain of Li and S on springs, at equipartition, with its wavenumbers in cm⁻¹.

    Returns positions (frames, atoms, 3), velocities in Å/fs, symbols and the sorted wavenumbers of the modes.
    """
    rng = np.random.default_rng(seed)
    symbols = ['Li', 'S'] * n_cells
    n = len(symbols)
    masses = atomic_masses[[atomic_numbers[symbol] for symbol in symbols]]
    springs = 2 * np.eye(n) - np.roll(np.eye(n), 1, axis=0) - np.roll(np.eye(n), -1, axis=0)
    values, modes = np.linalg.eigh(springs / np.sqrt(np.outer(masses, masses)))
    wavenumber = 800.0 * np.sqrt(np.maximum(values, 0))
    angle = wavenumber[1:] * RADIANS * step_fs * np.arange(n_frames)[:, None]
    amplitude = rng.standard_normal((2, n - 1, 3))
    cosine, sine = np.cos(angle)[..., None], np.sin(angle)[..., None]
    omega = wavenumber[1:, None] * RADIANS
    coordinate = 1e-3 * (amplitude[0] * cosine + amplitude[1] * sine) / omega
    velocity = 1e-3 * (amplitude[1] * cosine - amplitude[0] * sine)
    spread = modes[:, 1:] / np.sqrt(masses)[:, None]
    places = 3.0 * np.arange(n)[:, None] * [1, 0, 0]
    return (
        places + np.einsum('am,fmx->fax', spread, coordinate),
        np.einsum('am,fmx->fax', spread, velocity),
        symbols,
        wavenumber,
    )


def written(path, positions, symbols, step_fs, velocities=None):
    atoms = Atoms(symbols, positions[0], cell=[30] * 3, pbc=True)
    writer = TrajectoryWriter(path, atoms, {}, seconds=1e9, megabytes=1e4)
    for frame, place in enumerate(positions):
        writer.append(POSITION, frame, step_fs * frame, place)
        writer.append(EDGES, frame, step_fs * frame, 30.0 * np.eye(3))
        if velocities is not None:
            writer.append(VELOCITY, frame, step_fs * frame, velocities[frame])
    writer.close()
    return path


@pytest.fixture(scope='module')
def chain(tmp_path_factory):
    positions, velocities, symbols, wavenumber = harmonic_chain(3, 6000, 4.0)
    folder = tmp_path_factory.mktemp('chain')
    moving = written(folder / 'positions.h5', positions, symbols, 4.0)
    fast = written(folder / 'velocities.h5', positions, symbols, 4.0, velocities)
    return moving, fast, wavenumber


@pytest.mark.parametrize('which', [0, 1])
def test_a_harmonic_crystal_has_its_lines(chain, which):
    found = get_analysis('vdos')(chain[which], resolution_per_cm=2.0, smoothing_per_cm=0)
    assert found.velocities_from == ('positions', 'velocities')[which]
    lines = np.unique(np.round(chain[2][1:], 3))
    peaks = np.unique(np.concatenate(list(found.peaks_per_cm.values())))
    spacing = found.wavenumber_per_cm[1]
    assert np.abs(peaks[:, None] - lines).min(axis=1).max() < spacing  # no other
    assert np.abs(peaks[:, None] - lines).min(axis=0).max() < spacing  # and none missing
    assert np.trapezoid(found.density, found.wavenumber_per_cm) == pytest.approx(1)


def test_positions_and_velocities_give_the_same_spectrum(chain):
    one, other = (get_analysis('vdos')(path).density for path in chain[:2])
    np.testing.assert_allclose(one, other, atol=0.01 * one.max())


def test_the_elements_share_the_kinetic_energy_by_their_numbers(tmp_path):
    shares = []
    for seed in range(6):
        positions, _, symbols, _ = harmonic_chain(4, 3000, 4.0, seed)
        found = get_analysis('vdos')(written(tmp_path / f'{seed}.h5', positions, symbols, 4.0))
        shares.append(np.trapezoid(found.partial_density, found.wavenumber_per_cm, axis=1))
    # equipartition holds on average over runs of 21 modes, less the one that is at rest
    np.testing.assert_allclose(np.mean(shares, axis=0), [0.5, 0.5], atol=0.1)


def test_stiffer_springs_shift_the_centre_of_a_band_up_by_as_much(tmp_path):
    positions, _, symbols, _ = harmonic_chain(3, 6000, 4.0)
    chosen = {'ranges_per_cm': '400-700', 'resolution_per_cm': 10.0}
    soft = get_analysis('vdos')(written(tmp_path / 'a.h5', positions, symbols, 4.0), **chosen)
    # the same motion, faster by 2 %
    stiff = get_analysis('vdos')(written(tmp_path / 'b.h5', positions, symbols, 4.0 / 1.02), **chosen)
    shift, error = stiff.shifts(soft)['Li']
    assert shift == pytest.approx(0.02 * soft.bands['Li'].centre_per_cm, abs=2.0)
    assert 0 < error < 10 and soft.bands['Li 400-700'].share < soft.bands['Li'].share == pytest.approx(1)


def test_the_filter_keeps_the_area_and_the_place_of_a_line():
    spectrum = np.exp(-0.5 * ((np.arange(400) - 200) / 10) ** 2)
    found = smoothed(spectrum, 1.0, 15.0)
    assert found.sum() == pytest.approx(spectrum.sum(), rel=1e-3) and found.argmax() == 200
    np.testing.assert_array_equal(smoothed(spectrum, 10.0, 15.0), spectrum)


def test_a_drift_of_the_cell_is_no_vibration(chain, tmp_path):
    positions, _, symbols, _ = harmonic_chain(3, 2000, 4.0)
    drifting = positions + 0.01 * np.arange(2000)[:, None, None]
    one = get_analysis('vdos')(written(tmp_path / 'a.h5', positions, symbols, 4.0)).density
    other = get_analysis('vdos')(written(tmp_path / 'b.h5', drifting, symbols, 4.0)).density
    np.testing.assert_allclose(one, other, atol=0.01 * one.max())


def test_frames_that_are_too_far_apart_are_said_and_too_few_refused(tmp_path):
    positions, _, symbols, _ = harmonic_chain(2, 200, 4.0)
    found = get_analysis('vdos')(written(tmp_path / 'a.h5', positions, symbols, 100.0))
    assert 'folded back' in found.remarks[0]
    with pytest.raises(InputError, match='a spectrum needs at least 16'):
        get_analysis('vdos')(written(tmp_path / 'b.h5', positions[:9], symbols, 4.0))
    with pytest.raises(InputError, match="ranges_per_cm: '5-2' is no range"):
        get_analysis('vdos')(tmp_path / 'a.h5', ranges_per_cm='5-2')

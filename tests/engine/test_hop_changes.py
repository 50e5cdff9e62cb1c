"""Claims about the change of the tensor at hops: what is silent is called so, and what a hop destroys is measured."""

import numpy as np
import pytest
from ase import Atoms
from processes import TETRAHEDRON, components
from test_sites import OCTAHEDRON as SIXFOLD
from test_sites import TETRAHEDRON as FOURFOLD
from two_site import write_run

import aiida_ufpnmr as un
from aiida_ufpnmr.engine.efg.isotopes import get_isotope
from aiida_ufpnmr.engine.efg.tensors import from_irreps
from aiida_ufpnmr.engine.nmr.hop_changes import NO_CONTROLS, SEEN, SILENT, UNCLEAR, Projection, hop_change, hop_windows
from aiida_ufpnmr.engine.nmr.runs import EfgRuns
from aiida_ufpnmr.engine.trajectories.trajectory import EfgSeries

LITHIUM = get_isotope('7Li')
FRAMES, STEP_FS = 1500, 100.0
#: Tensors along axes that are opposite to one another are the same.
SAME = np.array([[0.0, 0, 1], [0, 0, -1]])
#: Mirror images: along z they have one frequency.
MIRRORED = np.array([[0.6, 0, 0.8], [0, 0.6, 0.8]])


def jumps(rng, axes, probability, n_ions=24, n_frames=FRAMES, noise=1.0):
    """Tensors of ions that jump among axes, each to any other: (frames, ions, 3, 3), and ion and frame of each jump."""
    hopped = rng.random((n_frames, n_ions)) < probability
    hopped[0] = False
    step = rng.integers(1, len(axes), (n_frames, n_ions)) * hopped
    site = (np.cumsum(step, axis=0) + rng.integers(0, len(axes), n_ions)) % len(axes)
    x = components(axes)[site] + noise * rng.standard_normal((n_frames, n_ions, 5))
    frame, ion = np.nonzero(hopped)
    order = np.lexsort((frame, ion))
    return from_irreps(1e-3 * x), ion[order], frame[order]


def changes(tensors, ion, frame, average_ps=1.0, gap_ps=0.3, direction=None):
    n_frames, n_ions = tensors.shape[:2]
    runs = EfgRuns.of(EfgSeries('Li', np.arange(n_ions), STEP_FS * np.arange(n_frames), tensors))
    windows = hop_windows(runs, LITHIUM, [ion], [STEP_FS * frame], average_ps, gap_ps)
    return hop_change(windows.hops, windows.stays, Projection.along(direction)), windows


def test_windows_lie_on_both_sides_of_each_hop_and_within_stays():
    site = np.repeat([[0], [1], [2], [1]], [40, 30, 4, 40], axis=0)  # the third stay is too short for a window
    tensors = from_irreps(1e-3 * np.array([[1.0, 0, 0, 0, 0], [0, 2.0, 0, 0, 0], [0, 0, 3.0, 0, 0]])[site])
    _, windows = changes(tensors, np.zeros(3, int), np.array([40, 70, 74]))
    khz = windows.hops.first[0, 0] / 1e-3
    np.testing.assert_array_equal(windows.hops.hop, [0])
    np.testing.assert_allclose(windows.hops.first[0] / khz, [1e-3, 0, 0, 0, 0], atol=1e-15)
    np.testing.assert_allclose(windows.hops.second[0] / khz, [0, 2e-3, 0, 0, 0], atol=1e-15)
    # a pair of windows of 10 frames takes 26: one in the 37 frames of the first stay, one in the last 37
    assert len(windows.stays.first) == 2
    np.testing.assert_allclose(windows.stays.first, windows.stays.second, atol=1e-12)


def test_exchange_between_sites_of_one_tensor_is_silent_and_that_between_others_is_seen():
    silent, _ = changes(*jumps(np.random.default_rng(0), SAME, 0.005))
    assert silent.verdict == SILENT and silent.changed_share_ci95[1] < 0.2 and silent.loss_per_hop_ci95[1] < 0.2
    seen, _ = changes(*jumps(np.random.default_rng(0), TETRAHEDRON, 0.005))
    assert seen.verdict == SEEN and seen.hops_judged > 100
    # every hop changes the tensor; a tenth of the stays' noise hides less than a tenth of them
    assert seen.changed_share > 0.9


def test_what_the_field_does_not_see_is_silent_along_it_and_seen_in_a_powder():
    made = jumps(np.random.default_rng(1), MIRRORED, 0.005)
    assert changes(*made, direction=(0.0, 0.0, 1.0))[0].verdict == SILENT
    assert changes(*made, direction=(1.0, 0.0, 0.0))[0].verdict == SEEN
    assert changes(*made)[0].verdict == SEEN


@pytest.mark.parametrize(
    'axes, loss', [(TETRAHEDRON, 4 / 3), (np.eye(3), 3 / 2), (MIRRORED, None), (SAME, 0.0)], ids=['4', '3', '2', 'same']
)
def test_a_hop_destroys_what_the_sites_say_within_the_interval(axes, loss):
    """Sites among which all hops are alike: N/(N − 1) where their tensors add up to zero."""
    x = components(axes)
    if loss is None:
        loss = 1 - x[0] @ x[1] / (x[0] @ x[0])
    n = 60
    found = [changes(*jumps(np.random.default_rng(seed), axes, 0.005))[0] for seed in range(n)]
    within = sum(low <= loss <= high for low, high in (one.loss_per_hop_ci95 for one in found))
    assert within >= 0.88 * n  # of 60 intervals that hold in 95 %, fewer than 53 do in one case out of 100
    assert np.mean([one.loss_per_hop for one in found]) == pytest.approx(loss, abs=0.02)  # no bias by the noise
    wrong = SEEN if loss == 0 else SILENT
    assert sum(one.verdict == wrong for one in found) <= (6 if loss == 0 else 0)


def test_few_hops_much_noise_and_short_stays_are_not_judged():
    rng = np.random.default_rng(2)
    assert changes(*jumps(rng, SAME, 2e-5))[0].verdict == UNCLEAR
    assert changes(*jumps(rng, SAME, 0.002, n_ions=8, noise=8.0))[0].verdict == UNCLEAR
    hasty, _ = changes(*jumps(rng, TETRAHEDRON, 0.5, n_ions=4))
    assert hasty.verdict == NO_CONTROLS and np.isnan(hasty.changed_share)


@pytest.fixture(scope='module')
def crystal():
    """Ions on rows of three places each, two fourfold ones of one tensor and a sixfold one of another."""
    rng = np.random.default_rng(3)
    n_ions, n_frames = 8, 3000
    # to and fro along the row: a step that would lead out leads back
    steps = (rng.random((n_frames, n_ions)) < 0.01) * rng.choice([-1, 1], (n_frames, n_ions))
    place = np.cumsum(steps, axis=0) % 4
    place = np.where(place == 3, 1, place)
    rows = np.array([[4.0, 8 + 16 * ion, 8] for ion in range(n_ions)])
    along = np.array([0.0, 5.0, 11.3])[:, None] * [1.0, 0, 0]
    shell = [along[0] + FOURFOLD, along[1] + FOURFOLD, along[2] + SIXFOLD]
    anions = np.concatenate([row + around for row in rows for around in shell])
    ions = rows + along[place] + 0.1 * rng.standard_normal((n_frames, n_ions, 3))
    positions = np.concatenate([ions, np.broadcast_to(anions, (n_frames, *anions.shape))], axis=1)
    x = components(np.array([[0.0, 0, 1], [0, 0, 1], [1, 0, 0]]))[place] + 0.5 * rng.standard_normal((*place.shape, 5))
    atoms = Atoms(f'Li{n_ions}S{len(anions)}', positions=positions[0], cell=[24.0, 16.0 * n_ions, 16.0], pbc=True)
    return atoms, positions, from_irreps(1e-3 * x)


def test_hops_are_told_apart_by_the_sites_between_which_they_lead(crystal, tmp_path):
    result = un.silent_hops(write_run(tmp_path / 'run.h5', *crystal), threshold_angstrom=2.5)
    pairs = result.by_sites
    assert pairs['LiS4_to_LiS4'].verdict == SILENT
    for pair in ('LiS4_to_LiS6', 'LiS6_to_LiS4'):
        assert pairs[pair].verdict == SEEN and pairs[pair].changed_share > 0.9
    assert result.verdict == SEEN and result.hops_judged == sum(one.hops_judged for one in pairs.values())
    # the tensors have one size: hops turn them
    assert result.coupling_changed_hops < 0.15 * result.hops_judged < result.seen_hops
    assert result.seen.sum() == result.seen_hops and (np.diff(result.run) >= 0).all()


def test_one_file_and_two_of_a_run_give_the_same_hops_and_changes(crystal, tmp_path):
    atoms, positions, tensors = crystal
    whole = un.silent_hops(write_run(tmp_path / 'run.h5', *crystal), threshold_angstrom=2.5)
    cut = 1234
    parts = [
        write_run(tmp_path / f'{number}.h5', atoms, positions, tensors, frames=frames)
        for number, frames in enumerate((range(cut), range(cut - 1, len(positions))))  # the seam is in both
    ]
    joined = un.silent_hops(parts, threshold_angstrom=2.5)
    assert joined.hops == whole.hops and joined.by_sites.keys() == whole.by_sites.keys()
    np.testing.assert_array_equal(joined.atom, whole.atom)
    np.testing.assert_allclose(joined.time_ps, whole.time_ps)
    np.testing.assert_allclose(joined.change_khz, whole.change_khz, rtol=1e-9)
    assert joined.table() == whole.table()

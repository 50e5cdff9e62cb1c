"""Claims about polyanions along a trajectory: kinds, bridges and lifetimes are those that were built."""

import numpy as np
import pytest
from ase import Atoms
from frames import shaken, write_frames
from scipy.spatial.transform import Rotation

import aiida_ufpnmr as un
from aiida_ufpnmr.engine.building.rigid_units import RIGID_UNITS
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.structure.unit_history import Stay, lasting, lifetime

TRICLINIC = np.array([[22.0, 0.0, 0.0], [7.0, 12.0, 0.0], [-3.0, 5.0, 11.5]])


def mixture(cell: np.ndarray, seed: int) -> Atoms:
    """Two PS4, a P2S7, a P2S6, free S and Li; one unit lies across a corner of the cell and one across a face."""
    rng = np.random.default_rng(seed)
    places = [('P2S7', (0, 0, 0)), ('P2S6', (0.5, 0, 0.5)), ('PS4', (0.25, 0.5, 0)), ('PS4', (0.75, 0.5, 0.02))]
    atoms = Atoms('LiS', np.array([[0.5, 0.5, 0.5], [0.0, 0.5, 0.5]]) @ cell, cell=cell, pbc=True)
    for name, place in places:
        unit = RIGID_UNITS[name].atoms
        turned = Rotation.random(random_state=rng).apply(unit.positions - unit.positions.mean(axis=0))
        atoms += Atoms(unit.numbers, turned + np.array(place) @ cell)
    atoms.wrap()
    return atoms


@pytest.mark.parametrize('cell', [np.diag([22.0, 12.0, 12.0]), TRICLINIC], ids=['orthorhombic', 'triclinic'])
def test_kinds_shares_and_bridges_are_those_that_were_built_across_the_faces_of_the_cell(tmp_path, cell):
    frames = shaken(mixture(cell, seed=1), 30, 0.03)
    found = un.anions(write_frames(tmp_path / 'run.h5', frames))
    assert {name: kind.mean_count for name, kind in found.kinds.items()} == {'P2S6': 1, 'P2S7': 1, 'PS4': 2, 'S': 1}
    shares = {name: kind.share_of_centres for name, kind in found.kinds.items()}
    assert shares == pytest.approx({'P2S6': 1 / 3, 'P2S7': 1 / 3, 'PS4': 1 / 3, 'S': 0})
    # 7 + 6 + 8 + 1 atoms of S
    ligands = found.ligands['S']
    assert (ligands.bridging, ligands.terminal, ligands.free) == pytest.approx((1 / 22, 20 / 22, 1 / 22))
    assert all(kind.ends == 0 and kind.lifetime_ps is None for kind in found.kinds.values())
    # the lower end of an interval without an event: 30 frames over 3.69
    assert found.kinds['P2S7'].lifetime_ps_low == pytest.approx(3.0 / 3.689, rel=1e-3)


def test_lifetimes_are_those_of_units_that_break_and_form_at_random(tmp_path):
    """Twelve PS4 lose a ligand once in 4 ps and find it again within 2 ps; flicker of a frame does not count."""
    rng = np.random.default_rng(3)
    n_frames, n_units, step = 1500, 12, 0.1
    whole, state = np.empty((n_frames, n_units), bool), np.ones(n_units, bool)
    for frame in range(n_frames):
        chance = np.where(state, step / 4, step / 2)
        state = state ^ (rng.random(n_units) < chance)
        whole[frame] = state
    flicker = rng.random(whole.shape) < 0.003
    tetrahedron = RIGID_UNITS['PS4'].atoms
    unit = Atoms(tetrahedron.numbers, tetrahedron.positions - tetrahedron.positions[0], cell=[9, 9, 9], pbc=True)
    start = unit.repeat((3, 2, 2))
    frames = []
    for bound in whole ^ flicker:
        atoms = start.copy()
        away = atoms.positions[1::5] - atoms.positions[::5]
        atoms.positions[1::5] += np.where(bound, 0, 0.5)[:, None] * away
        frames.append(atoms)
    kinds = un.anions(write_frames(tmp_path / 'run.h5', frames), residence_ps=0.2).kinds
    for name, truth in (('PS4', 4.0), ('PS3[3]', 2.0)):
        # stays of one frame are lost to the residence time, which lengthens the others: some 0.1 ps of either
        assert kinds[name].lifetime_ps_low < truth * 1.1 and truth * 0.9 < kinds[name].lifetime_ps_high
        assert kinds[name].lifetime_ps == pytest.approx(truth, rel=0.2)
    assert kinds['PS4'].share_of_centres == pytest.approx(2 / 3, abs=0.05)


def test_flicker_is_no_end_and_short_stays_are_none():
    stays = [Stay('PS4', (0,), 0, 10), Stay('PS4', (0,), 11, 20), Stay('PS4', (0,), 25, 40), Stay('PS3', (0,), 10, 11)]
    kept = lasting(stays, 2)
    assert [(stay.first, stay.stop) for stay in kept] == [(0, 20), (25, 40)]
    found = lifetime(kept, 40)
    # 35 frames lived, one end
    assert found.ends == 1 and found.mean == 35 and found.low < 35 < found.high
    assert lifetime(kept[1:], 40).mean is None


def test_the_interval_of_a_lifetime_holds_the_truth():
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(400):
        ends = np.cumsum(rng.exponential(50, 40)).astype(int)
        edges = [0, *ends[ends < 400]]
        found = lifetime([Stay('PS4', (0,), a, b) for a, b in zip(edges, [*edges[1:], 400])], 400)
        held += found.low <= 50 <= (found.high or np.inf)
    # of 400 at 95 %: within three standard errors, and whole frames
    assert 0.92 <= held / 400 <= 0.985


def test_one_file_and_pieces_give_the_same_bits_and_structures_without_centres_are_refused(tmp_path):
    frames = shaken(mixture(TRICLINIC, seed=2), 10, 0.1)
    (tmp_path / 'other').mkdir()
    whole = un.anions(write_frames(tmp_path / 'run.h5', frames))
    pieces = un.anions(write_frames(tmp_path / 'other' / 'run.h5', frames, pieces=True))
    assert whole.to_dict() == pieces.to_dict()
    with pytest.raises(InputError, match=r'salt.h5: holds no atom that units have at their centre'):
        un.anions(write_frames(tmp_path / 'salt.h5', [Atoms('LiS', [[0, 0, 0], [2, 0, 0]], cell=[5] * 3, pbc=True)]))

"""Claims about sites: neighbours are counted, images included, and flickers are no stays."""

import json

import numpy as np
import pytest
from ase import Atoms
from click.testing import CliRunner

from aiida_ufpnmr.engine.analyses import get_analysis
from aiida_ufpnmr.engine.commands import analyse as command
from aiida_ufpnmr.engine.commands.analyse import acf
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.structure import sites as module
from aiida_ufpnmr.engine.structure import soft_coordination, stays
from aiida_ufpnmr.engine.trajectories.trajectory import EDGES, POSITION, Trajectory, TrajectoryWriter

TETRAHEDRON = 2.4 / np.sqrt(3) * np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]])
OCTAHEDRON = 2.6 * np.vstack([np.eye(3), -np.eye(3)])


def plain_coordination(positions, cell, ions, anions, radius, width, images=2):
    """The definition: every image, without a cut-off."""
    shifts = (
        np.array(
            [
                [a, b, c]
                for a in range(-images, images + 1)
                for b in range(-images, images + 1)
                for c in range(-images, images + 1)
            ]
        )
        @ cell
    )
    d = positions[anions][None, :, None] + shifts - positions[ions][:, None, None]
    return (1 / (1 + np.exp((np.linalg.norm(d, axis=-1) - radius) / width))).sum(axis=(1, 2))


def plain_stays(coordination, low, high, residence):
    """The definition for one ion: raw sites, then runs of them, the short ones given away."""
    now = int(coordination[0] > 0.5 * (low + high))
    raw = []
    for value in coordination:
        now = 1 if value > high else 0 if value < low else now
        raw.append(now)
    edges = [0, *(np.flatnonzero(np.diff(raw)) + 1), len(raw)]
    lengths = [[raw[a], b - a] for a, b in zip(edges[:-1], edges[1:])]
    while len(lengths) > 1 and lengths[0][1] < residence:
        lengths[1][1] += lengths.pop(0)[1]
    kept = []
    for site, n in lengths:
        kept += [kept[-1] if kept and n < residence else site] * n
    return np.array(kept)


def test_kernel_equals_its_plain_twin_in_a_small_skew_cell():
    rng = np.random.default_rng(0)
    cell = np.array([[6.0, 0.0, 0.0], [2.0, 5.5, 0.0], [1.0, -1.0, 6.5]])
    positions = rng.uniform(-10, 10, (3, 9, 3))  # outside of the cell: unwrapped
    ions, anions = np.arange(4), np.arange(4, 9)
    found = soft_coordination(positions, np.array([cell] * 3), [True] * 3, ions, anions, 3.3, 0.1)
    for frame in range(3):
        wrapped = (positions[frame] @ np.linalg.inv(cell) % 1.0) @ cell
        expected = plain_coordination(wrapped, cell, ions, anions, 3.3, 0.1)
        np.testing.assert_allclose(found[frame], expected, atol=0.01)  # the tail beyond the reach


@pytest.mark.parametrize('residence', [1, 5, 40])
def test_stays_equal_their_plain_twin(residence):
    coordination = 5 + np.cumsum(np.random.default_rng(1).normal(0, 0.2, (500, 6)), axis=0)
    coordination = 5 + np.sin(coordination)
    found = stays(coordination, 4.75, 5.25, residence)
    for ion in range(6):
        np.testing.assert_array_equal(found[:, ion], plain_stays(coordination[:, ion], 4.75, 5.25, residence))


def write_trajectory(path, formula):
    """One ion in a tetrahedron, one that is moved to an octahedron after half of the time; tensors to tell."""
    rng = np.random.default_rng(0)
    centre = np.array([[5.0, 5, 5], [15.0, 5, 5]])
    anions = np.vstack([centre[0] + TETRAHEDRON, centre[0] + [0, 10, 0] + TETRAHEDRON, centre[1] + OCTAHEDRON])
    atoms = Atoms(formula, positions=np.vstack([centre, anions]), cell=[20.0] * 3, pbc=True)
    writer = TrajectoryWriter(path, atoms, {'Li': np.arange(2)}, seconds=1e9, megabytes=1e4)
    for frame in range(400):
        second = centre[0] + [0, 10, 0] if frame < 200 else centre[1]
        positions = np.vstack([centre[0], second, anions]) + 0.05 * rng.standard_normal((16, 3))
        height = np.array([1.0, 1.0 if frame < 200 else 3.0]) * 1e-2
        for name, value in (
            (POSITION, positions),
            (EDGES, 20.0 * np.eye(3)),
            ('particles/efg_Li/efg', height[:, None, None] * np.diag([-0.5, -0.5, 1.0])),
        ):
            writer.append(name, frame, 100.0 * frame, value)
    writer.close()
    return path


@pytest.fixture
def trajectory(tmp_path):
    return write_trajectory(tmp_path / 'run.h5', 'Li2S14')


def test_several_anions_count_together_and_one_alone_says_what_it_leaves_out(trajectory, tmp_path):
    sites, mixed = get_analysis('sites'), write_trajectory(tmp_path / 'mixed.h5', 'Li2S8Cl6')
    plain, both = sites([trajectory]), sites([mixed], anion='S,Cl')
    np.testing.assert_array_equal(both.coordination, plain.coordination)
    np.testing.assert_array_equal(both.site, plain.site)
    assert list(both.sites) == ['Li(S,Cl)4', 'Li(S,Cl)6'] and both.remarks == plain.remarks == []
    assert 'not_counted' not in plain.to_dict()
    one = sites([mixed])
    assert one.remarks == ['Cl around the ions is not counted; --anion S,Cl counts all.']
    one.save(tmp_path / 'sites.h5')
    assert type(one).load(tmp_path / 'sites.h5').to_dict() == one.to_dict() and one.not_counted == 'Cl'
    hops = get_analysis('hops')
    assert one.remarks[0] in hops([mixed], by_site=True).remarks
    assert one.remarks[0] not in hops([mixed], by_site=True, anion='S,Cl').remarks + hops([mixed]).remarks
    with pytest.raises(InputError, match='holds no Br, only Cl, Li, S; choose one with --anion'):
        sites([mixed], anion='S,Br')


def test_sites_and_their_couplings_from_a_file(trajectory, tmp_path):
    files = [tmp_path / name for name in ('out.h5', 'out.png', 'out.json')]
    arguments = ['sites', str(trajectory), '-o', str(files[0]), '--plot', str(files[1]), '--json', str(files[2])]
    result = CliRunner().invoke(command.analyse, [*arguments, '--field', 'z'], catch_exceptions=False)
    assert result.exit_code == 0
    found = json.loads(files[2].read_text())
    assert found['site_changes'] == 1
    four, six = found['sites']['LiS4'], found['sites']['LiS6']
    assert (four['share'], six['share']) == pytest.approx((0.75, 0.25), abs=0.01)
    assert (four['coordination_mean'], six['coordination_mean']) == pytest.approx((4, 6), abs=0.05)
    # 94.2 kHz a hundredth of an atomic unit; ω_Q along the axis is the same with its sign
    assert four['c_q_mean_khz'] == pytest.approx(94.2, rel=0.02)
    assert six['c_q_mean_khz'] == pytest.approx(282.7, rel=0.02)
    assert six['omega_q_mean_khz'] == pytest.approx(-282.7, rel=0.02)
    assert all(file.stat().st_size for file in files)


def test_a_hop_to_another_site_agrees_with_the_change_of_site(trajectory, tmp_path):
    out = tmp_path / 'out.json'
    arguments = ['hops', str(trajectory), '--by-site', '--json', str(out)]
    result = CliRunner().invoke(command.analyse, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    found = json.loads(out.read_text())
    between = found['hops_between_sites']
    assert between.pop('LiS4_to_LiS6') in (1, 2)  # 14 Å at once, farther than any ion hops: may count as two
    assert between == {'LiS4_to_LiS4': 0, 'LiS6_to_LiS4': 0, 'LiS6_to_LiS6': 0}
    assert (found['site_changes'], found['site_changes_with_hop']) == (1, 1)


def test_correlation_functions_by_site_are_drawn_with_those_of_single_ions(trajectory, tmp_path):
    plot, out = tmp_path / 'acf.png', tmp_path / 'acf.json'
    arguments = [str(trajectory), '--by-site', '--plot', str(plot), '--json', str(out), '--decays', '1', '--gamma', '1']
    result = CliRunner().invoke(acf, [*arguments, '--bootstrap', '10'], catch_exceptions=False)
    assert result.exit_code == 0 and plot.stat().st_size
    found = json.loads(out.read_text())['observables']
    shares = [found[f'omega_q_powder_LiS{n}']['origins_share'] for n in (4, 6)]
    assert shares == pytest.approx([0.75, 0.25], abs=0.01)


def test_blocks_of_ions_do_not_change_the_sites(trajectory, monkeypatch):
    def found():
        with Trajectory(trajectory) as source:
            return module.find_sites(source).site

    whole = found()
    monkeypatch.setattr(module, 'BLOCK_BYTES', 1.0)
    np.testing.assert_array_equal(found(), whole)


@pytest.mark.parametrize('options', [['--anion', 'O'], ['--radius-angstrom', '0'], ['--species', 'Na']])
def test_senseless_sites_are_refused(trajectory, options):
    result = CliRunner().invoke(command.analyse, ['sites', str(trajectory), *options])
    assert result.exit_code != 0 and result.exception is not None

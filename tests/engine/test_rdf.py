"""Claims about radial distribution functions: every pair and image counts once, in any cell, as others count them."""

import json

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from click.testing import CliRunner
from frames import shaken, write_frames
from reference_data import FOLDER, needs

import aiida_ufpnmr as un
from aiida_ufpnmr.engine.commands.analyse import analyse
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.structure.radial import first_shell
from aiida_ufpnmr.engine.trajectories import snapshots

TRICLINIC = np.array([[6.0, 0.0, 0.0], [2.0, 5.5, 0.0], [1.0, -1.0, 6.5]])


def plain_counts(atoms: Atoms, first: str, second: str, edges: np.ndarray, images: int = 7) -> np.ndarray:
    """The definition: all images of all pairs."""
    shifts = np.array(list(np.ndindex(*[2 * images + 1] * 3))) - images
    ends = atoms.positions[atoms.symbols == second][:, None] + (shifts @ atoms.cell.array)[None]
    distance = np.linalg.norm(ends[None] - atoms.positions[atoms.symbols == first][:, None, None], axis=-1)
    return np.histogram(distance[distance > 1e-9], edges)[0]


def random_atoms(formula: str, cell: np.ndarray, seed: int) -> Atoms:
    """Atoms anywhere, also outside of the cell."""
    atoms = Atoms(formula, cell=cell, pbc=True)
    atoms.positions = np.random.default_rng(seed).uniform(-1, 2, (len(atoms), 3)) @ cell
    return atoms


@pytest.mark.parametrize(
    ('crystal', 'pair', 'shells'),
    [
        (bulk('Cu', 'fcc', a=4.0), 'Cu-Cu', [(4 / 2**0.5, 12), (4.0, 6), (4 * 1.5**0.5, 24)]),
        (bulk('Fe', 'bcc', a=3.0), 'Fe-Fe', [(3 * 0.75**0.5, 8), (3.0, 6), (3 * 2**0.5, 12)]),
        (bulk('NaCl', 'rocksalt', a=5.6), 'Cl-Na', [(2.8, 6), (2.8 * 3**0.5, 8), (2.8 * 5**0.5, 24)]),
        (bulk('NaCl', 'rocksalt', a=5.6), 'Na-Na', [(5.6 / 2**0.5, 12), (5.6, 6)]),
    ],
    ids=['fcc', 'bcc', 'rock salt', 'rock salt, like ions'],
)
def test_shells_of_crystals_have_their_distances_and_numbers(tmp_path, crystal, pair, shells):
    """In the primitive cell, which is far smaller than the distances, and in a supercell."""
    for n, atoms in enumerate((crystal, crystal.repeat(3))):
        found = un.rdf(write_frames(tmp_path / f'{n}.h5', [atoms]), r_max_angstrom=7.0, bin_angstrom=0.013)
        one = found.pairs[pair]
        steps = np.diff(one.running_coordination, prepend=0.0)
        there = np.flatnonzero(steps > 1e-9)[: len(shells)]
        np.testing.assert_allclose(steps[there], [count for _, count in shells])
        np.testing.assert_allclose(found.r_angstrom[there], [r for r, _ in shells], atol=0.0066)
        assert one.coordination == pytest.approx(shells[0][1])
        # the cut-off is in the gap behind the first shell
        assert shells[0][0] < one.cutoff_angstrom < shells[1][0]


def test_pairs_are_those_of_the_definition_in_a_small_skew_cell_that_changes(tmp_path):
    cells = [TRICLINIC, 1.03 * TRICLINIC, TRICLINIC + 0.2 * np.eye(3)]
    frames = [random_atoms('Li4S5', cell, seed) for seed, cell in enumerate(cells)]
    found = un.rdf(write_frames(tmp_path / 'run.h5', frames), r_max_angstrom=9.0, bin_angstrom=0.09)
    edges = 0.09 * np.arange(101)
    ideal = 4 / 3 * np.pi * np.diff(edges**3) * sum(1 / atoms.get_volume() for atoms in frames)
    for first, second in (('Li', 'Li'), ('Li', 'S'), ('S', 'S')):
        counts = sum(plain_counts(atoms, first, second, edges) for atoms in frames)
        n, m = ((frames[0].symbols == symbol).sum() for symbol in (first, second))
        pair = found.pairs[f'{first}-{second}']
        np.testing.assert_allclose(pair.g, counts / (n * m * ideal), rtol=1e-12)
        np.testing.assert_allclose(pair.running_coordination, np.cumsum(counts) / (3 * n), rtol=1e-12)
        np.testing.assert_allclose(pair.running_coordination_of_second, np.cumsum(counts) / (3 * m), rtol=1e-12)


def test_independent_atoms_give_one_within_the_error_that_is_stated(tmp_path):
    frames = [random_atoms('Li60S60', 14 * np.eye(3), seed) for seed in range(64)]
    found = un.rdf(write_frames(tmp_path / 'run.h5', frames), bin_angstrom=0.2)
    far = found.r_angstrom > 2
    pull = ((found.pairs['Li-S'].g - 1) / found.pairs['Li-S'].g_error)[far]
    # Student's t with seven degrees of freedom has a standard deviation of 1.18
    assert 0.8 < np.sqrt((pull**2).mean()) < 1.7 and np.abs(found.pairs['Li-S'].g - 1)[far].max() < 0.2


def test_one_file_and_pieces_and_any_number_of_frames_at_a_time_give_the_same_bits(tmp_path, monkeypatch):
    frames = shaken(bulk('NaCl', 'rocksalt', a=5.6, cubic=True), 20)
    whole = un.rdf(write_frames(tmp_path / 'whole.h5', frames), stride=2)
    (tmp_path / 'other').mkdir()
    pieces = un.rdf(write_frames(tmp_path / 'other' / 'run.h5', frames, pieces=True), stride=2)
    monkeypatch.setattr(snapshots, 'CHUNK_BYTES', 1000)
    few = un.rdf(tmp_path / 'whole.h5', stride=2)
    chosen = un.rdf(write_frames(tmp_path / 'chosen.h5', frames[::2], step_fs=200.0))
    for name, pair in whole.pairs.items():
        for other in (pieces, few, chosen):
            np.testing.assert_array_equal(pair.g, other.pairs[name].g)
            np.testing.assert_array_equal(pair.g_error, other.pairs[name].g_error)
    assert whole.headline == pieces.headline == 'Cl4Na4, 10 frames, 1.8 ps'


def test_a_shell_ends_where_it_has_its_minimum_and_nowhere_without_one():
    r = np.arange(0.05, 8, 0.1)
    noise = 0.02 * np.random.default_rng(0).standard_normal(len(r))
    g = 3 * np.exp(-((r - 2.4) ** 2) / 0.05) + (r > 3) * (1 - np.exp(-((r - 3.3) ** 2)))
    shell = first_shell(g + noise, 0.1)
    assert abs(r[shell.peak] - 2.4) < 0.06 and abs(r[shell.end] - 3.25) < 0.25
    assert first_shell(np.ones(80) + noise, 0.1).peak is None
    assert first_shell(np.exp(-r), 0.1).end is None


def test_a_cell_without_a_density_and_distances_that_contradict_each_other_are_refused(tmp_path):
    atoms = bulk('NaCl', 'rocksalt', a=5.6)
    atoms.pbc = (True, True, False)
    with pytest.raises(InputError, match=r'run.h5: not periodic in all directions'):
        un.rdf(write_frames(tmp_path / 'run.h5', [atoms]))
    with pytest.raises(InputError, match='lies beyond --r-max-angstrom'):
        un.rdf(tmp_path / 'run.h5', r_max_angstrom=3.0, cutoff_angstrom=4.0)


def test_the_same_pairs_as_mdanalysis_and_freud(tmp_path):
    """MDAnalysis and freud hold distances in single precision, so that a pair near an edge may change its bin."""
    frames = [random_atoms('Li60S50', 16 * np.eye(3), seed) for seed in range(4)]
    found = un.rdf(write_frames(tmp_path / 'run.h5', frames), r_max_angstrom=7.9, bin_angstrom=0.1).pairs['Li-S']
    mda = pytest.importorskip('MDAnalysis')
    from MDAnalysis.analysis.rdf import InterRDF

    universe = mda.Universe.empty(110, trajectory=True)
    universe.add_TopologyAttr('type', list(frames[0].symbols))
    box = np.array([[16, 16, 16, 90, 90, 90]] * 4, np.float32)
    universe.load_new(np.array([atoms.get_positions(wrap=True) for atoms in frames], np.float32), dimensions=box)
    groups = universe.select_atoms('type Li'), universe.select_atoms('type S')
    theirs = InterRDF(*groups, nbins=79, range=(0, 7.9)).run().results.rdf
    one_pair = 16**3 / (60 * 50 * 4 * 4 / 3 * np.pi * np.diff((0.1 * np.arange(80)) ** 3))
    assert (np.abs(found.g - theirs) <= one_pair + 1e-5 * theirs).all()
    assert np.isclose(found.g, theirs, rtol=1e-5).mean() > 0.9

    freud = pytest.importorskip('freud')
    compute = freud.density.RDF(bins=79, r_max=7.9)
    for atoms in frames:
        points = atoms.positions[atoms.symbols == 'S'], atoms.positions[atoms.symbols == 'Li']
        cube = freud.box.Box.cube(16)
        compute.compute((cube, cube.wrap(points[0])), query_points=cube.wrap(points[1]), reset=False)
    assert (np.abs(found.g - compute.rdf) <= one_pair + 1e-5 * compute.rdf).all()


@needs('analysis')
def test_g_of_argyrodite_is_that_of_freud(tmp_path):
    """Li–S of Li6PS5Cl from 2 ps on: 4.793 at 2.425 Å, 3.11 neighbours up to 3.2 Å."""
    out = tmp_path / 'rdf.json'
    file = FOLDER / 'analysis' / 'Li6PS5Cl_0p_XDATCAR.gz'
    arguments = ['rdf', str(file), '--timestep', '100', '--skip-ps', '2', '--cutoff-angstrom', '3.2']
    result = CliRunner().invoke(analyse, [*arguments, '--json', str(out)], catch_exceptions=False)
    assert result.exit_code == 0
    found = json.loads(out.read_text())['pairs']['Li-S']
    assert found['first_peak_angstrom'] == pytest.approx(2.425)
    # single precision moves a few of 15 000 pairs in the bin
    assert found['first_peak_height'] == pytest.approx(4.793, abs=1.5e-3)
    assert found['coordination'] == pytest.approx(3.11, abs=5e-3)


@needs('lps_dft')
def test_structures_of_dft_that_are_no_run_are_read_as_they_are(tmp_path):
    out = tmp_path / 'rdf.json'
    (file,) = (FOLDER / 'lps_dft').glob('glass75*.extxyz')
    arguments = ['rdf', str(file), '--timestep', '1', '--unwrapped', '--json', str(out)]
    assert CliRunner().invoke(analyse, arguments, catch_exceptions=False).exit_code == 0
    found = json.loads(out.read_text())
    peaks = {pair: found['pairs'][pair]['first_peak_angstrom'] for pair in ('P-S', 'Li-S', 'S-S')}
    # bonds of thiophosphates at some hundred kelvin
    assert peaks == pytest.approx({'P-S': 2.05, 'Li-S': 2.45, 'S-S': 3.35}, abs=0.1)


@needs('analysis')
def test_g_of_na3ps4_has_its_peak_where_pymatgen_has_it(tmp_path):
    """The first ten frames of its example: S–Na at 2.9 Å in bins of 0.1 Å."""
    data = json.loads((FOLDER / 'analysis' / 'cNa3PS4_pda.json').read_text())
    cell = np.array(data['structure']['lattice']['matrix'])
    symbols = [site['species'][0]['element'] for site in data['structure']['sites']]
    start = np.array([site['abc'] for site in data['structure']['sites']]) @ cell
    moved = np.array(data['displacements'])[:, :10].swapaxes(0, 1)
    frames = [Atoms(symbols, start + step, cell=cell, pbc=True) for step in moved]
    found = un.rdf(write_frames(tmp_path / 'run.h5', frames), bin_angstrom=0.1)
    assert found.pairs['Na-S'].first_peak_angstrom == pytest.approx(2.9, abs=0.051)

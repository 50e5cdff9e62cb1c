"""Claims about grains: formulas equal brute force, Monte Carlo equals the formulas, and decays scale as they must."""

import json

import numpy as np
import pytest
from click.testing import CliRunner
from scipy.linalg import expm
from scipy.spatial.transform import Rotation
from scipy.special import ive
from two_site import two_site_paths, write_two_site_trajectory

from aiida_ufpnmr.engine.commands.analyse import analyse
from aiida_ufpnmr.engine.efg.isotopes import get_isotope
from aiida_ufpnmr.engine.efg.tensors import KHZ_PER_MB_AU
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.nmr.grain_walk import GLASS, _walk, cubes, voronoi, walk
from aiida_ufpnmr.engine.nmr.grains import cube_time_to_e, same_cube, same_interval, same_interval_of_barriers
from aiida_ufpnmr.engine.nmr.microstructure import (
    GrainSettings,
    diffusion_at,
    grain_exchange,
    grains_of_decay,
    polycrystals,
)
from aiida_ufpnmr.engine.nmr.observables import AcfSettings, correlation_functions
from aiida_ufpnmr.engine.nmr.residual import CHANCE, RESIDUAL, residual_coupling
from aiida_ufpnmr.engine.nmr.runs import EfgRuns
from aiida_ufpnmr.engine.trajectories.trajectory import EfgSeries, write_efg

TIMES = np.geomspace(0.02, 1.0, 9)
LITHIUM = get_isotope('7Li')


def slow_exchange(s: np.ndarray, permeability: float) -> np.ndarray:
    """The limit of :func:`same_cube` for h → 0: a random walk from cube to cube."""
    return ive(0, 2 * permeability * np.asarray(s, float)) ** 3


def never_left_cube(s: np.ndarray, terms: int = 400) -> np.ndarray:
    """Chance that an ion has never left its cube: the limit of ever faster motion outside of it."""
    odd = 2 * np.arange(terms)[:, None] + 1
    s = np.asarray(s, float)
    one = (8 / (np.pi * odd) ** 2 * np.exp(-((np.pi * odd) ** 2) * s.ravel())).sum(axis=0)
    # the sum lacks what its terms left out add up to at s = 0
    return np.minimum(one.reshape(s.shape) + 2 / (np.pi**2 * terms) * (s < 1e-9), 1.0) ** 3


def finite_volumes(s, permeability, cells=9, points=80):
    """A chain of intervals with barriers, each cut into many volumes: the master equation by its matrix exponential."""
    n = cells * points
    bond = np.full(n, points**2, float)
    bond[points - 1 :: points] = points / (1 / points + 1 / permeability)
    rate = np.zeros((n, n))
    left, right = np.arange(n), (np.arange(n) + 1) % n
    rate[left, right] += bond
    rate[right, left] += bond
    rate -= np.diag(rate.sum(axis=1))
    first = slice(0, points)
    return np.array([expm(rate * t)[first, first].sum() / points for t in s])


def plain_walk(labels, images, inside, across, outside, entering, times, walkers, seed):
    """The definition, a walker at a time."""
    rng, m = np.random.RandomState(seed), len(labels)
    same = np.zeros(len(times), int)
    steps = [(-1, 0, 0), (1, 0, 0), (0, -1, 0), (0, 1, 0), (0, 0, -1), (0, 0, 1)]
    for _ in range(walkers):
        while True:
            place = np.array([rng.randint(m) for _ in range(3)])
            if labels[tuple(place)] != GLASS:
                break
        start = (labels[tuple(place % m)], *(images[tuple(place % m)] + place // m))
        t, i = 0.0, 0
        while i < len(times):
            here = labels[tuple(place % m)]
            rates = []
            for step in steps:
                there = labels[tuple((place + step) % m)]
                both = (here == GLASS) + (there == GLASS)
                rates.append(
                    (inside if here == there else across) if not both else (entering if both == 1 else outside)
                )
            t += rng.exponential() / sum(rates)
            now = (here, *(images[tuple(place % m)] + place // m))
            while i < len(times) and times[i] < t:
                same[i] += now == start
                i += 1
            place = (
                place + steps[int(np.searchsorted(np.cumsum(rates), rng.random_sample() * sum(rates), side='right'))]
            )
    return same


def test_staying_in_an_interval_equals_the_integral_of_the_gaussian():
    x = (np.arange(1500) + 0.5) / 1500
    for s in (0.01, 0.1, 1.0):
        gaussian = np.exp(-((x[:, None] - x) ** 2) / (4 * s)) / np.sqrt(4 * np.pi * s)
        assert same_interval(s) == pytest.approx(gaussian.mean(), rel=1e-5)
    assert same_interval(0.0) == pytest.approx(1, abs=1e-7)


@pytest.mark.parametrize('permeability', [0.2, 1.0, 10.0])
def test_barriers_equal_the_master_equation(permeability):
    s = np.array([0.02, 0.1, 0.4])
    # volumes of an 80th of the interval: an error of a quarter of 1/80² at the first time
    np.testing.assert_allclose(same_interval_of_barriers(s, permeability), finite_volumes(s, permeability), rtol=2e-3)


def test_barriers_become_free_diffusion_and_slow_exchange():
    s = np.geomspace(1e-6, 30, 50)
    np.testing.assert_allclose(same_interval_of_barriers(s, 1e6), same_interval(s), atol=1e-5)
    slow = np.geomspace(1, 3e3, 30)
    np.testing.assert_allclose(same_cube(slow, 1e-3), slow_exchange(slow, 1e-3), atol=5e-4)
    assert (np.diff(same_cube(np.geomspace(1e-8, 1e3, 200), 0.3)) <= 1e-9).all()
    assert same_cube(np.array([1e-9]), 0.3)[0] == pytest.approx(1, abs=1e-6)


def test_who_never_left_is_in_the_cube_and_leaves_it_alike_at_first():
    s = np.geomspace(1e-5, 2, 40)
    assert (never_left_cube(s) <= same_cube(s) + 1e-9).all()
    assert never_left_cube(np.array([1e-8]))[0] == pytest.approx(1, abs=2e-3)
    assert cube_time_to_e() == pytest.approx(0.063344, rel=1e-4)


def test_kernel_equals_its_plain_twin():
    structure = voronoi(np.random.default_rng(0), 0.2, grains=4, resolution=4)
    arguments = (structure.labels, structure.images, 10.0, 3.0, 20.0, 5.0, np.array([0.01, 0.05, 0.2]))
    many, few = _walk(*arguments, 40000, 1) / 40000, plain_walk(*arguments, 1000, 1) / 1000
    # they draw other random numbers: four standard deviations of the smaller sample
    np.testing.assert_allclose(few, many, atol=4 * np.sqrt(0.25 / 1000))
    assert many[0] > 0.7 and many[-1] < 0.4


@pytest.mark.parametrize('permeability', [np.inf, 1.0])
def test_monte_carlo_equals_the_formula_for_cubes(permeability):
    chance, error = walk([cubes()], TIMES, permeability=permeability, walkers=5000)
    # nine points; the lattice adds a per cent at the first
    assert (np.abs(chance - same_cube(TIMES, permeability)) < 3.5 * error + 0.01).all()


def test_glass_between_cubes_in_which_ions_move_alike_changes_nothing_for_those_in_the_cubes():
    structure = cubes(0.3)
    assert structure.glass_fraction == pytest.approx(0.3, abs=0.01)
    chance, error = walk([structure], TIMES, walkers=5000)
    assert (np.abs(chance - same_cube(TIMES)) < 3.5 * error + 0.01).all()


def test_fast_glass_makes_leaving_final():
    s = np.array([0.03, 0.06, 0.12])
    chance, error = walk([cubes(0.6)], s, glass_ratio=100.0, walkers=1000)
    expected = never_left_cube(s)
    # one in a few comes back from the glass, which is not empty
    assert (chance > expected - 3.5 * error).all()
    assert (chance < expected + 0.35 * (same_cube(s) - expected) + 0.06 + 3.5 * error).all()


def test_voronoi_grains_are_left_through_their_surface_at_first():
    structures = [voronoi(np.random.default_rng(n)) for n in range(4)]
    s = np.array([0.012])
    chance, error = walk(structures, s, walkers=8000)
    # surface over volume of Poisson–Voronoi cells: 5.82/d; edges and corners bring some of those who left back
    surface = 1 - 5.82 * np.sqrt(s / np.pi)
    assert surface - 0.02 < chance < surface + 0.08


def test_grains_turned_at_random_share_no_correlation():
    v = np.diag([-0.3, -0.7, 1.0])
    turns = Rotation.random(20000, random_state=0).as_matrix()
    turned = turns @ v @ turns.swapaxes(1, 2)
    # each of 20 000 products has a standard deviation of (V:V)/√5
    assert abs(np.einsum('ij,nij->n', v, turned).mean()) < 4 * (v**2).sum() / np.sqrt(5 * 20000)


def crystal(n_frames=2000, n_ions=24, noise=3.0, order=1.0, seed=0):
    """A mean tensor common to all ions, one of each ion's own, and noise; atomic units."""
    rng = np.random.default_rng(seed)

    def random(*shape):
        v = rng.standard_normal((*shape, 3, 3))
        v = v + v.swapaxes(-1, -2)
        return v - np.eye(3) * np.trace(v, axis1=-2, axis2=-1)[..., None, None] / 3

    common = order * np.diag([-0.5, -1.5, 2.0])
    return 1e-3 * (common + random(n_ions) + noise * random(n_frames, n_ions)), 1e-3 * common


def runs_of(v):
    return EfgRuns.of(EfgSeries('Li', np.arange(v.shape[1]), 100.0 * np.arange(len(v)), v))


def test_the_residual_coupling_is_that_of_the_mean_tensor_without_the_noise():
    v, _ = crystal(n_frames=400, n_ions=200, noise=10.0)
    found = residual_coupling(runs_of(v), LITHIUM)
    khz = KHZ_PER_MB_AU * LITHIUM.moment_mb
    square = lambda x: 2 / 15 * khz**2 * np.einsum('...ij,...ij->...', x, x).mean()  # noqa: E731
    quiet = v.mean(axis=0)
    assert found.omega_q_rms_khz**2 == pytest.approx(square(v), rel=1e-6)
    # the mean of 400 frames keeps a 400th of the variance of the noise, which the products of parts leave out
    of_ions, error = found.omega_q_rms_ion_means_khz**2, found.share_of_ion_means_error * square(v)
    assert of_ions < square(quiet)
    assert of_ions == pytest.approx(square(quiet) - square(v - quiet) / 399, abs=5 * error)
    assert found.verdict == RESIDUAL


def test_a_glass_leaves_nothing_but_chance():
    v, _ = crystal(order=0.0)
    found = residual_coupling(runs_of(v), LITHIUM)
    assert found.verdict == CHANCE
    assert found.omega_q_rms_by_chance_khz == pytest.approx(found.omega_q_rms_ion_means_khz / np.sqrt(24))


def test_a_turned_crystal_has_the_same_residual_coupling():
    v, _ = crystal(n_frames=64)
    turn = Rotation.random(random_state=0).as_matrix()
    one, other = (residual_coupling(runs_of(x), LITHIUM) for x in (v, turn @ v @ turn.T))
    assert other.to_dict() == pytest.approx(one.to_dict(), rel=1e-6)
    np.testing.assert_allclose(other.mean_tensor_khz, turn @ one.mean_tensor_khz @ turn.T, atol=1e-6)


@pytest.fixture(scope='module')
def polycrystal_inputs():
    runs = runs_of(crystal(n_frames=1000)[0])
    curves, _ = correlation_functions(runs, AcfSettings(bootstrap=20, decays=1))
    return curves['omega_q_powder'], residual_coupling(runs, LITHIUM)


def test_the_decay_of_a_polycrystal_scales_with_size_and_diffusion(polycrystal_inputs):
    found = polycrystals(*polycrystal_inputs, [100.0, 1000.0], [1e-10, 1e-9])
    tau = {(one.grain_nm, one.diffusion_coefficient_cm2_per_s): one.tau_ms for one in found}
    # 0.0634 d²/D: 1e-10 cm² over 1e-10 cm²/s is a second
    assert tau[100.0, 1e-10] == pytest.approx(63.34, rel=1e-3)
    assert tau[1000.0, 1e-10] == pytest.approx(100 * tau[100.0, 1e-10])
    assert tau[100.0, 1e-9] == pytest.approx(0.1 * tau[100.0, 1e-10])
    for one in found:
        assert one.c[0] == 1
        middle = np.interp(np.sqrt(one.mixing_ns * 20 * one.tau_ms * 1e4), one.lag_ns, one.c)
        assert 0 < middle < 1
        # after the mixing, before the exchange: the residual share, less who has left already
        tau_ns = one.tau_ms * 1e6
        if one.mixing_ns < 1e-5 * tau_ns:
            early = np.interp(1e-4 * tau_ns, one.lag_ns, one.c)
            assert early == pytest.approx(one.residual_share, rel=0.1)
        assert abs(one.c[-1]) < 0.01
        assert (np.diff(one.c[one.lag_ns > 500]) < 1e-9).all()


def test_boundaries_and_glass_and_spread_slow_or_blur_the_decay():
    free = grain_exchange(100.0)
    barred = grain_exchange(100.0, GrainSettings(boundary_nm=1000.0))
    assert barred.tau == pytest.approx(10 / 6, rel=0.35)  # six faces of permeability d/1000 nm each, and who comes back
    assert barred.fit_gamma > 0.85 > free.fit_gamma
    assert grain_exchange(100.0, GrainSettings(size_spread=0.5)).fit_gamma < free.fit_gamma
    walked = grain_exchange(100.0, GrainSettings(structure='voronoi', walkers=1600))
    assert walked.method == 'Monte Carlo' and free.method == 'analytic'
    assert walked.tau == pytest.approx(free.tau, rel=0.15)  # 5.82 and 6 are nearly the same surface
    assert walked.at(np.array([1e-9]))[0] == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize('boundary_nm', [0.0, 50.0])
def test_the_grain_size_of_a_measured_decay_gives_that_decay(boundary_nm):
    settings = GrainSettings(boundary_nm=boundary_nm)
    size = grains_of_decay(40.0, 1e-10, settings)
    tau_ms = grain_exchange(size, settings).tau * size**2 * 1e-14 / 1e-10 * 1e3
    assert tau_ms == pytest.approx(40.0, rel=1e-3)


def test_temperature_carries_the_diffusion_by_arrhenius():
    assert diffusion_at(1e-9, 300.0, 0.0, 400.0) == 1e-9
    ratio = diffusion_at(1e-9, 300.0, 0.4, 350.0) / 1e-9
    assert ratio == pytest.approx(np.exp(0.4 / 8.617333e-5 * (1 / 300 - 1 / 350)), rel=1e-6)


@pytest.mark.parametrize(
    'options',
    [
        {'structure': 'spheres'},
        {'boundary_nm': -1.0},
        {'glass_fraction': 0.95},
        {'size_spread': 0.2, 'structure': 'voronoi'},
    ],
)
def test_senseless_grains_are_refused(options):
    with pytest.raises(InputError):
        GrainSettings(**options)


def test_the_command_takes_sizes_rates_and_temperatures(tmp_path):
    path = tmp_path / 'run.h5'
    write_efg(path, EfgSeries('Li', np.arange(24), 100.0 * np.arange(400), crystal(n_frames=400)[0]))
    files = [tmp_path / name for name in ('out.h5', 'out.png', 'out.json')]
    arguments = ['microstructure', str(path), '-o', str(files[0]), '--plot', str(files[1]), '--json', str(files[2])]
    options = ['--diffusion', '1e-10', '--activation-energy-ev', '0.4', '--temperatures', '300,350']
    result = CliRunner().invoke(analyse, [*arguments, *options], catch_exceptions=False)
    assert result.exit_code == 0 and all(file.stat().st_size for file in files)
    found = json.loads(files[2].read_text())
    assert len(found['polycrystals']) == 6 and found['verdict'] == RESIDUAL
    hot, cold = (
        next(one for one in found['polycrystals'] if (one['grain_nm'], one['temperature_K']) == (100, t))
        for t in (350, 300)
    )
    assert hot['tau_ms'] < 0.2 * cold['tau_ms'] and cold['tau_ms'] == pytest.approx(63.34, rel=1e-3)
    assert found['grain_nm_for_measured'][0] == pytest.approx([68.8, 88.8], abs=0.2)
    refused = CliRunner().invoke(analyse, arguments)
    assert isinstance(refused.exception, InputError) and '--diffusion' in str(refused.exception)


def test_without_diffusion_in_the_trajectory_the_command_asks_for_it(tmp_path):
    path = tmp_path / 'run.h5'
    write_two_site_trajectory(path, *two_site_paths())
    refused = CliRunner().invoke(analyse, ['microstructure', str(path)])
    assert isinstance(refused.exception, InputError) and 'no diffusion' in str(refused.exception)

"""Claims about ensembles: what thermostats and barostats sample, on small systems with a pair potential."""

import numpy as np
import pytest
from analytic import block_error, gas, ideal_gas, solid, solid_potential
from ase import units

from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.md import Simulation
from aiida_ufpnmr.engine.md.conditions import THERMOSTATS
from aiida_ufpnmr.engine.md.integrators import thermal_energy
from aiida_ufpnmr.engine.md.system import ACCELERATION, kinetic_tensor
from aiida_ufpnmr.engine.md.thermostats import CHAIN_LENGTH, chain_factor, friction_and_noise

TEMPERATURE_K = 200.0
THERMAL = units.kB * TEMPERATURE_K


@pytest.fixture(scope='module')
def samples():
    """Kinetic and potential energies, 40 fs apart over 160 ps, of eight atoms under each thermostat."""
    found = {}
    for thermostat in THERMOSTATS:
        simulation = Simulation(
            solid((2, 1, 1)), solid_potential(), temperature_K=TEMPERATURE_K, timestep_fs=4.0, thermostat=thermostat
        )
        simulation.run(1000)
        rows = []
        for _ in range(4000):
            assert simulation.run(10) is None
            rows.append((simulation.kinetic_energy, simulation.potential_energy))
        found[thermostat] = np.array(rows).T
    return found


@pytest.mark.parametrize('thermostat', THERMOSTATS)
def test_thermostat_samples_the_canonical_kinetic_energy(samples, thermostat):
    kinetic = samples[thermostat][0]
    degrees = 3 * 8 - 3
    mean, variance = kinetic / (0.5 * degrees * THERMAL), (kinetic / THERMAL - 0.5 * degrees) ** 2 / (0.5 * degrees)
    # the standard error comes from blocks of 8 ps; a thousand independent samples would have 1 % and 4 %
    assert block_error(mean) < 0.02 and block_error(variance) < 0.08
    assert mean.mean() == pytest.approx(1, abs=4 * block_error(mean))
    assert variance.mean() == pytest.approx(1, abs=4 * block_error(variance))


def test_thermostats_agree_on_the_potential_energy_and_its_fluctuation(samples):
    for moment in (lambda u: u, lambda u: (u - u.mean()) ** 2):
        values = [moment(potential) for _, potential in samples.values()]
        means, errors = [v.mean() for v in values], [block_error(v) for v in values]
        for i in range(3):
            for j in range(i):
                assert abs(means[i] - means[j]) < 4 * np.hypot(errors[i], errors[j])


def test_friction_and_noise_leave_the_maxwell_distribution_as_it_is():
    rng = np.random.default_rng(1)
    masses = np.array([7.0, 31.0, 32.0, 32.0])
    velocities = np.zeros((4, 3))
    total = np.zeros(4)
    for _ in range(20_000):
        friction_and_noise(velocities, masses, THERMAL, 0.5, rng)
        total += masses * (velocities**2).sum(axis=1) / ACCELERATION
    # relative to the centre of mass, an atom of mass m has (1 − m/M) of its three degrees of freedom
    expected = 3 * THERMAL * (1 - masses / masses.sum())
    # 20 000 samples that keep a quarter of their energies: σ = √(2/3 · 5/3 / 20 000) = 0.75 %
    np.testing.assert_allclose(total / 20_000, expected, rtol=0.03)
    assert abs(masses @ velocities).max() < 1e-12


def plain_chain(chain, kinetic, degrees, relaxation, interval):
    """Martyna et al., Mol. Phys. 87, 1117 (1996), with their thermostat masses and k_B T = 1, step by step."""
    masses = np.array([degrees, 1.0, 1.0]) * relaxation**2
    v, factor = chain.copy(), 1.0
    outer = 1 / (2 - 2 ** (1 / 3))
    for weight in (outer, 1 - 2 * outer, outer):
        step = weight * interval

        def force(k, factor):
            drive = 2 * kinetic * factor**2 - degrees if k == 0 else masses[k - 1] * v[k - 1] ** 2 - 1
            return drive / masses[k]

        v[2] += force(2, factor) * step / 2
        for k in (1, 0):
            v[k] *= np.exp(-v[k + 1] * step / 4)
            v[k] += force(k, factor) * step / 2
            v[k] *= np.exp(-v[k + 1] * step / 4)
        factor *= np.exp(-v[0] * step)
        for k in (0, 1):
            v[k] *= np.exp(-v[k + 1] * step / 4)
            v[k] += force(k, factor) * step / 2
            v[k] *= np.exp(-v[k + 1] * step / 4)
        v[2] += force(2, factor) * step / 2
    return factor, v


def test_nose_hoover_chain_follows_the_published_equations():
    chain = np.array([0.003, -0.02, 0.01])
    assert len(chain) == CHAIN_LENGTH
    expected = plain_chain(chain, 14.0, 21, 50.0, 2.0)
    factor = chain_factor(chain, 14.0 * THERMAL, THERMAL, 21, 50.0, 2.0)
    assert factor == pytest.approx(expected[0], rel=1e-13)
    np.testing.assert_allclose(chain, expected[1], rtol=1e-12)


@pytest.mark.parametrize('thermostat', THERMOSTATS)
def test_a_thermostat_lets_no_drift_of_the_whole_grow(thermostat):
    simulation = Simulation(solid(), solid_potential(), temperature_K=TEMPERATURE_K, thermostat=thermostat)
    state = simulation.state()
    state['velocities'] += 1e-6
    simulation.restore(state)
    simulation.run(1)
    assert abs(simulation.velocities.mean(axis=0)).max() < 1e-16


@pytest.mark.parametrize('thermostat', THERMOSTATS)
def test_total_energy_and_heat_together_are_conserved(thermostat):
    simulation = Simulation(
        solid(), solid_potential(), temperature_K=TEMPERATURE_K, thermostat=thermostat, relaxation_fs=50
    )
    before, total = simulation.conserved_energy, []
    for _ in range(500):
        simulation.run(10)
        total.append(simulation.total_energy)
        # what velocity Verlet alone lets fluctuate: a per mille of the spread of the total energy
        assert abs(simulation.conserved_energy - before) < 3e-3
    assert np.std(total) > 0.1


def test_temperature_follows_a_ramp():
    simulation = Simulation(
        solid(), solid_potential(), temperature_K=50, final_temperature_K=250, ramp_steps=20_000, relaxation_fs=20,
        timestep_fs=4,
    )  # fmt: skip
    lag = []
    for _ in range(200):
        simulation.run(100)
        lag.append(simulation.temperature / simulation.target_temperature - 1)
    assert simulation.target_temperature == pytest.approx(250)
    assert np.mean(lag) == pytest.approx(0, abs=4 * block_error(lag))
    assert simulation.target_temperature == pytest.approx(thermal_energy(simulation._bath, 30_000) / units.kB)


def test_masses_can_be_given():
    heavy = Simulation(solid(), solid_potential(), ensemble='nve', timestep_fs=4.0, masses={'Ar': 160.0}, seed=2)
    light = Simulation(solid(), solid_potential(), ensemble='nve', timestep_fs=2.0, masses={'Ar': 40.0}, seed=2)
    np.testing.assert_allclose(heavy.velocities * 2, light.velocities, rtol=1e-12)
    heavy.run(100)
    light.run(100)  # four times the mass is twice the time
    np.testing.assert_allclose(heavy.positions, light.positions, atol=1e-9)
    for masses, message in (({'Kr': 84.0}, 'does not hold'), ({'Ar': 0.0}, 'between 0 and 1000')):
        with pytest.raises(InputError, match=message):
            Simulation(solid(), solid_potential(), masses=masses)


@pytest.mark.parametrize('barostat', ['isotropic', 'flexible'])
def test_volume_of_an_ideal_gas_is_distributed_as_it_must_be(barostat):
    """With its centre of mass at rest, V^(N−1) exp(−P V/k_B T): mean N k_B T/P, variance N (k_B T/P)²."""
    n = 4
    atoms = gas(n)
    pressure = n * THERMAL / atoms.get_volume() / units.GPa
    simulation = Simulation(
        atoms, ideal_gas(), ensemble='npt', barostat=barostat, temperature_K=TEMPERATURE_K, pressure_GPa=pressure,
        bulk_modulus_GPa=pressure, pressure_relaxation_fs=100, timestep_fs=5.0, guard_fraction=0.0,
    )  # fmt: skip
    system, volumes, refused = simulation._system, [], 0
    for _ in range(6000):
        friction_and_noise(system.velocities, system.masses, THERMAL, 0.0, simulation._rng)  # velocities drawn anew
        simulation._change_cell()
        volumes.append(simulation.volume / atoms.get_volume())
        refused += len(volumes) > 1 and volumes[-1] == volumes[-2]
    volumes = np.array(volumes)
    spread = (volumes - 1) ** 2 * n
    assert refused > 600  # steps so long that they would be wrong without the rule of Metropolis
    assert block_error(volumes) < 0.03 and block_error(spread) < 0.15
    assert volumes.mean() == pytest.approx(1, abs=4 * block_error(volumes))
    assert spread.mean() == pytest.approx(1, abs=4 * block_error(spread))


@pytest.mark.parametrize(
    ('barostat', 'thermostat'), [('isotropic', 'rescaling'), ('flexible', 'langevin'), ('isotropic', 'nose-hoover')]
)
def test_pressure_is_the_one_that_was_set(barostat, thermostat):
    simulation = Simulation(
        solid(), solid_potential(), ensemble='npt', barostat=barostat, thermostat=thermostat,
        temperature_K=TEMPERATURE_K, pressure_GPa=0.5, bulk_modulus_GPa=5.0, pressure_relaxation_fs=200,
        timestep_fs=4.0,
    )  # fmt: skip
    simulation.run(2000)
    pressures, volumes = [], []
    for _ in range(2000):
        assert simulation.run(10) is None
        system = simulation._system
        tensor = (kinetic_tensor(system.velocities, system.masses) - system.virial) / simulation.volume / units.GPa
        pressures.append(tensor)
        volumes.append(simulation.volume)
    pressures = np.array(pressures)
    scalar = np.trace(pressures, axis1=1, axis2=2) / 3
    assert block_error(scalar) < 0.05
    assert scalar.mean() == pytest.approx(0.5, abs=4 * block_error(scalar))
    if barostat == 'flexible':
        for a in range(3):
            for b in range(a + 1):
                value = pressures[:, a, b]
                assert value.mean() == pytest.approx(0.5 * (a == b), abs=4 * block_error(value))
    else:
        before, after = solid().cell.array, simulation.cell
        np.testing.assert_allclose(after / after[0, 0], before / before[0, 0], atol=1e-12)
    assert np.std(volumes) > 1


def test_a_flexible_cell_does_not_turn_and_fractional_coordinates_go_with_it():
    atoms = solid()
    atoms.set_cell(atoms.cell.array + [[0, 0.3, 0.2], [0.5, 0, -0.3], [0, 0.7, 0]], scale_atoms=True)
    simulation = Simulation(
        atoms, solid_potential(), ensemble='npt', barostat='flexible', temperature_K=TEMPERATURE_K,
        pressure_relaxation_fs=100,
    )  # fmt: skip
    assert simulation.run(3000) is None
    strain = np.linalg.solve(atoms.cell.array, simulation.cell)
    assert abs(strain - np.eye(3)).max() > 1e-3
    np.testing.assert_allclose(strain, strain.T, atol=1e-12)


@pytest.mark.parametrize('options', [{}, {'ensemble': 'npt', 'barostat': 'flexible', 'bulk_modulus_GPa': 0.5}])
def test_lists_always_hold_what_the_potential_needs(options):
    """Forces against those from lists made at that moment, in a hot solid and in a cell that changes fast."""
    potential = solid_potential()
    simulation = Simulation(
        solid(), potential, temperature_K=600, skin=0.3, timestep_fs=4.0, relaxation_fs=20, **options
    )
    for _ in range(60):
        simulation.run(7)
        expected = potential.compute(simulation.atoms)
        np.testing.assert_allclose(simulation.forces, expected.forces, atol=1e-10)
        assert simulation.potential_energy == pytest.approx(expected.energy, abs=1e-10)


@pytest.mark.parametrize(
    'options, message',
    [
        ({'ensemble': 'nph'}, 'not known'),
        ({'thermostat': 'berendsen'}, 'not known'),
        ({'ensemble': 'npt', 'barostat': 'berendsen'}, 'not known'),
        ({'ensemble': 'nve', 'thermostat': 'langevin'}, 'has no thermostat'),
        ({'ensemble': 'nve', 'final_temperature_K': 400.0, 'ramp_steps': 10}, 'no thermostat'),
        ({'barostat': 'flexible'}, 'has no barostat'),
        ({'pressure_GPa': 1.0}, 'no barostat'),
        ({'final_temperature_K': 400.0}, 'number of steps'),
        ({'final_temperature_K': 0.0, 'ramp_steps': 10}, 'must be positive'),
        ({'ensemble': 'npt', 'pressure_GPa': float('nan')}, 'pressure'),
        ({'ensemble': 'npt', 'bulk_modulus_GPa': 0.0}, 'bulk_modulus_GPa must be above zero'),
        ({'relaxation_fs': -1.0}, 'relaxation_fs must be above zero'),
    ],
)
def test_conditions_that_make_no_sense_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        Simulation(solid(), solid_potential(), **options)


def test_constant_pressure_needs_a_periodic_cell():
    atoms = solid()
    atoms.pbc = (True, True, False)
    with pytest.raises(InputError, match='periodic'):
        Simulation(atoms, solid_potential(), ensemble='npt')

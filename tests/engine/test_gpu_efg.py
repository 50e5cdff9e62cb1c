"""Claims about EFG tensors that a GPU predicts, for which the processor stands in here."""

import importlib.util
import re
from pathlib import Path
from types import SimpleNamespace

import numba as nb
import numpy as np
import pytest
from gpu_stand_ins import ONE_LANE
from numba import cuda

from aiida_ufpnmr.engine.dataset import read_dataset
from aiida_ufpnmr.engine.efg import EfgModel, EfgSettings, fit_efg_model
from aiida_ufpnmr.engine.efg.descriptors import coupled_pairs
from aiida_ufpnmr.engine.efg.messages import message_count
from aiida_ufpnmr.engine.efg.tensors import from_irreps
from aiida_ufpnmr.engine.efg.terms import LinearTerms
from aiida_ufpnmr.engine.gpu import ensemble, prediction
from aiida_ufpnmr.engine.gpu.efg_kernels import Seen, gpu_efg_kernels
from aiida_ufpnmr.engine.gpu.simulation import GpuReplicas, GpuSimulation
from aiida_ufpnmr.engine.md.recording import EfgOutput
from aiida_ufpnmr.engine.trajectories.series import efg_group
from aiida_ufpnmr.engine.trajectories.trajectory import Trajectory
from aiida_ufpnmr.engine.ufp import UltraFastPotential

FIXTURES = Path(__file__).parent / 'fixtures' / 'v0.1'
HOT = {'thermostat': 'langevin', 'timestep_fs': 2.0, 'temperature_K': 600.0, 'guard_fraction': 0.0}


@pytest.fixture(scope='module')
def potential():
    """Its cut-off is 5 Å."""
    return UltraFastPotential.load(FIXTURES / 'potential.h5')


def random_model(known_species=('Li', 'P', 'S'), **settings) -> EfgModel:
    """A model with weights that no fit has made small."""
    rng, settings = np.random.default_rng(1), EfgSettings(**settings)
    l_max, n_max, mixed, told = settings.l_max, settings.n_max, settings.mixed_channels, settings.message_channels
    channels = len(known_species) * n_max
    return EfgModel(
        species='Li',
        isotope='7Li',
        known_species=known_species,
        settings=settings,
        penalty=1.0,
        mixing=rng.standard_normal((l_max + 1, channels, mixed)) / np.sqrt(channels),
        message_mixing=rng.standard_normal((2, len(known_species), channels, told)) / np.sqrt(channels),
        terms=LinearTerms(
            rng.standard_normal(mixed),
            rng.standard_normal((len(coupled_pairs(l_max)), mixed, mixed)) / mixed,
            0.1 * rng.standard_normal(message_count(l_max, len(known_species), n_max, told)),
        ),
        training_sha256='',
    )


#: With messages, and lists of the potential that reach far enough; of default size; without messages, where lists must
#: reach farther than forces, and radial functions that do not fill the sums of a thread.
MODELS = {
    'small': lambda: EfgModel.load(FIXTURES / 'efg-linear.h5'),
    'default': lambda: random_model(),
    'far': lambda: random_model(cutoff=8.0, n_max=7, l_max=2, mixed_channels=4, message_channels=0),
}


def on_processor(model, every, *simulations: GpuSimulation) -> GpuReplicas:
    """Replicas that the processor moves as a GPU would, with tensors."""
    efg = EfgOutput.of(model, simulations[0].atoms)
    return GpuReplicas(simulations, ONE_LANE, 'processor', efg, every)


def assert_those_of_the_model(simulation: GpuSimulation, model: EfgModel) -> None:
    """The present tensors, against double precision."""
    exact = model.predict(simulation.atoms)
    # 10⁻⁷ from each of some hundred numbers in float32 that are multiplied in threes
    np.testing.assert_allclose(from_irreps(simulation.made.present), exact, rtol=0, atol=2e-6 * abs(exact).max())


@pytest.mark.parametrize('size', MODELS)
def test_tensors_are_those_of_the_model_in_double_precision(potential, crystal, size):
    model = MODELS[size]()
    narrow, skewed = crystal.copy(), crystal.repeat((1, 2, 2))
    skewed.set_cell(skewed.cell.array + [[0, 0.3, 0.2], [1.0, 0, 0.4], [-0.5, 1.0, 0]], scale_atoms=True)
    for atoms in (narrow, skewed, crystal.repeat((3, 2, 3))):
        atoms.rattle(0.05, seed=1)
        simulation = GpuSimulation(atoms, potential, **HOT)
        on_processor(model, 5, simulation)
        assert_those_of_the_model(simulation, model)
        simulation.run(20)  # lists are not those of the first step
        assert_those_of_the_model(simulation, model)


def test_elements_of_a_model_may_stand_in_another_order_than_those_of_a_potential(potential, crystal):
    small = {'cutoff': 4.0, 'n_max': 3, 'l_max': 3, 'mixed_channels': 3, 'message_channels': 1}
    model = random_model(('S', 'Cl', 'Li', 'P'), **small)
    simulation = GpuSimulation(crystal[::-1], potential, **HOT)
    on_processor(model, 1, simulation)
    assert_those_of_the_model(simulation, model)


def test_a_structure_may_lack_elements_that_model_and_potential_know(potential, crystal):
    model = random_model(cutoff=4.0, n_max=2, l_max=2, mixed_channels=3, message_channels=0)
    simulation = GpuSimulation(crystal[crystal.numbers != 15], potential, **HOT)
    on_processor(model, 1, simulation)
    assert_those_of_the_model(simulation, model)


@pytest.mark.slow  # fits a model with default settings
def test_a_model_of_default_settings_errs_by_less_than_a_millionth(potential, crystal, example_data):
    model = fit_efg_model(read_dataset(example_data), 'Li')[0]
    simulation = GpuSimulation(crystal.repeat((2, 2, 3)), potential, **HOT)
    on_processor(model, 10, simulation).run([100])
    # 2e-8 a.u. in tensors of 0.02 were found; a label's noise is a thousandth
    assert abs(from_irreps(simulation.made.present) - model.predict(simulation.atoms)).max() < 1e-7


def test_atoms_move_with_the_same_bits_whether_tensors_are_predicted_or_not(potential, crystal):
    alone, with_tensors = GpuSimulation(crystal, potential, **HOT), GpuSimulation(crystal, potential, **HOT)
    GpuReplicas([alone], ONE_LANE, 'processor').run([60])
    on_processor(MODELS['far'](), 7, with_tensors).run([60])
    for name in GpuSimulation.state_arrays:
        np.testing.assert_array_equal(alone.state()[name], with_tensors.state()[name], err_msg=name)


def test_tensors_have_the_same_bits_alone_and_among_others_however_the_run_is_divided(potential, crystal):
    model = MODELS['small']()
    several = [GpuSimulation(crystal, potential, **HOT, seed=seed, first_step=-3) for seed in (3, 4, 5)]
    group, steps, components = on_processor(model, 4, *several), [], []
    for targets in ((9, 2, -1), (12, 5, 8), (30, 16, 8), (30, 30, 30)):
        group.run(targets)
        steps += several[1].made.steps.tolist()
        components += list(several[1].made.components)
    alone = GpuSimulation(crystal, potential, **HOT, seed=4, first_step=-3)
    on_processor(model, 4, alone).run([30])
    assert steps == alone.made.steps.tolist() == list(range(0, 31, 4))
    np.testing.assert_array_equal(components, alone.made.components)
    np.testing.assert_array_equal(several[1].made.present, alone.made.present)
    assert not np.array_equal(several[0].made.present, alone.made.present)
    # made again where the run goes on from a state in its middle
    rest = GpuSimulation(crystal, potential, **HOT, seed=4, first_step=-3)
    on_processor(model, 4, rest)
    middle = GpuSimulation(crystal, potential, **HOT, seed=4, first_step=-3)
    GpuReplicas([middle], ONE_LANE, 'processor').run([14])
    rest.restore(middle.state())
    rest.run(16)
    assert rest.made.steps.tolist() == [16, 20, 24, 28]
    np.testing.assert_array_equal(rest.made.components, alone.made.components[4:])


def test_tensors_of_a_large_replica_have_the_same_bits(potential, crystal, monkeypatch):
    model, atoms = MODELS['small'](), crystal.repeat((2, 3, 4))
    made = []
    for most in (1000, 100):
        monkeypatch.setattr(ensemble, 'MOST_IN_BLOCK', most)
        simulation = GpuSimulation(atoms, potential, **HOT)
        on_processor(model, 10, simulation).run([25])
        made.append(simulation.made)
    for one, other in zip(*made):
        np.testing.assert_array_equal(one, other)
    assert made[0].steps.tolist() == [10, 20]


def test_a_replica_that_was_held_up_loses_no_tensor(potential, crystal, monkeypatch):
    model = MODELS['small']()
    made = []
    for margin in (1.3, 0.2):
        monkeypatch.setattr(ensemble, '_LIST_MARGIN', margin)
        simulation = GpuSimulation(crystal, potential, **HOT)
        there = on_processor(model, 10, simulation).ensemble
        if margin < 1:  # what the first lists need, and no more
            there._capacity = before = int(there._lists.length.max())
            there._lists = there._lists._replace(entry=there._lists.entry[..., :before].copy())
            there.prediction.follow_lists(there._lists)
        simulation.run(200)
        made.append(simulation.made)
    assert there._capacity == before + 32
    for one, other in zip(*made):
        np.testing.assert_array_equal(one, other)


def test_a_call_ends_before_its_tensors_fill_the_memory(potential, crystal, monkeypatch):
    simulation = GpuSimulation(crystal, potential, **HOT)
    on_processor(MODELS['small'](), 10, simulation)
    assert simulation.chunk == 1_000_000 // len(crystal)
    row = 20 * int((crystal.numbers == 3).sum())
    monkeypatch.setattr(prediction, 'ROOM', 25 * row)
    assert simulation.chunk == 250


@pytest.mark.parametrize(
    ('model', 'predicts'),
    [
        (lambda: EfgModel.load(FIXTURES / 'efg-kernel.h5'), False),
        (lambda: random_model(charges={'Li': 1.0, 'P': 5.0, 'S': -2.0}), False),
        (lambda: random_model(l_max=12, n_max=12), False),  # 138 kB of shared memory
        (lambda: random_model(l_max=8, n_max=6), True),
    ],
)
def test_models_that_a_gpu_does_not_know_are_left_to_the_processor(potential, crystal, model, predicts):
    model = model()
    simulation = GpuSimulation(crystal, potential, **HOT)
    plan = prediction.plan(model, potential.species, simulation._system.types, 1)
    assert (plan is not None) == predicts
    if not predicts:
        group = on_processor(model, 1, simulation)
        tensors = group.efg.predict(simulation)
        np.testing.assert_allclose(tensors, model.predict(simulation.atoms), rtol=0, atol=1e-12 * abs(tensors).max())


def test_kernels_of_tensors_compile_for_a_gpu_within_its_limits(potential, crystal, monkeypatch):
    pytest.importorskip('numba_cuda', reason='numba-cuda, which brings the compiler, is not installed')
    dispatcher = importlib.import_module('numba.cuda.dispatcher')
    monkeypatch.setattr(dispatcher, 'get_current_device', lambda: SimpleNamespace(compute_capability=(9, 0)))
    there = on_processor(MODELS['default'](), 10, GpuSimulation(crystal, potential, **HOT)).ensemble
    made, state = there.prediction, there._state
    kernels, seen = gpu_efg_kernels(made.plan.shape), Seen(state.place, state.edges, state.control)
    rest = seen, made._close, made._tables, made._told, made._rows, 10
    for kernel, arguments in (
        (kernels.close, (seen, there._lists, made._tables.reach, made._close, made._rows, 10)),
        (kernels.tell, rest),
        (kernels.predict, rest),
    ):
        signature = nb.types.void(*(nb.typeof(argument) for argument in arguments))
        code, _ = cuda.compile_ptx(kernel.py_func, signature, cc=(9, 0))
        shared = [int(size) for size in re.findall(r'\.shared \.align \d+ \.b8 \w+\[(\d+)\]', code)]
        assert sum(shared) <= 48 * 1024 and (shared or kernel is kernels.close)
        assert 'fma.rn.f32' in code and '.local' not in code  # no array in slow memory


def test_the_benchmark_measures_what_it_says(potential, crystal, tmp_path, monkeypatch):
    path = Path(__file__).parents[2] / 'examples' / 'benchmarks' / 'gpu.py'
    spec = importlib.util.spec_from_file_location('gpu_benchmark', path)
    benchmark = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(benchmark)
    monkeypatch.setattr(benchmark, 'on_gpu', lambda simulations, *efg: GpuReplicas(simulations, ONE_LANE, 'one', *efg))
    monkeypatch.setattr(benchmark, 'LANGEVIN', HOT)
    model = MODELS['small']()
    errors = benchmark.tensor_errors(crystal, potential, model)
    assert errors['predicted_by'] == 'gpu' and 0 < errors['largest_error_au'] < 1e-6 < errors['largest_element_au']
    assert benchmark.same_tensors_among_others(crystal, potential, model, 30)
    found = benchmark.with_tensors(crystal, potential, model, tmp_path, 2, 100, 1)
    with Trajectory(tmp_path / 'efg-1.h5') as trajectory:
        assert len(trajectory.series(f'{efg_group("Li")}/efg')['step']) == 11
    assert found['simulated_us'] == pytest.approx(4e-7) and found['with_writing_minutes_per_us'] > 0
    assert 0 < found['without_writing_minutes_per_us'] < np.inf
    assert benchmark.speed(crystal, potential, 2, 20)['atom_steps_per_second'] > 0
    assert 0 < benchmark.force_errors(crystal, potential)['largest_error_eV_per_angstrom'] < 1e-4
    assert abs(benchmark.drift(crystal, potential, 200)['drift_meV_per_atom_per_ps']) < 10  # of 0.4 ps
    averages = benchmark.against_processor(crystal, potential, 200)
    for name in ('cpu', 'gpu'):  # the thermostat's, of 0.3 ps from atoms at rest in a crystal of 300 K
        assert 100 < averages[name]['temperature_K'][0] < 900

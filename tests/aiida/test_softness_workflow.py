"""Claims about softness in AiiDA: from trajectories to barriers in one chain, whose parts do not lose each other."""

import re
import shutil

import numpy as np
import pytest
import yaml
from aiida import orm
from aiida.common.links import LinkType
from aiida.engine import run_get_node
from aiida.engine.utils import instantiate_process
from aiida.manage import get_manager
from aiida.plugins import CalculationFactory, WorkflowFactory

from aiida_ufpnmr.data import SoftnessModelData, TrajectoryData
from aiida_ufpnmr.engine.dataset import read_dataset
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.softness.fitting import fit_softness
from aiida_ufpnmr.engine.softness.model import SoftnessSettings
from aiida_ufpnmr.engine.trajectories.chain import chain
from aiida_ufpnmr.engine.trajectories.trajectory import EDGES, POSITION, TrajectoryWriter

WORKFLOW = WorkflowFactory('ufpnmr.softness')
#: Frames of a window, and time between frames.
WINDOW, STEP_FS = 20, 50.0
LABELS = {
    'window_ps': 1.0, 'lag_ps': 0.25, 'hop_window_ps': 0.5, 'rule': 'hop', 'average_ps': 0.1, 'bootstrap': 10,
    'last_shell_angstrom': 5.0,
}  # fmt: skip
TEMPERATURES_K = (500.0, 600.0, 700.0)
#: Hops of ions that stay for a window.
SHORT = {'window_ps': 0.3, 'residence_ps': 0.3}


def write_restless(path, atoms, seed, n_windows=10):
    """Atoms that shake about their places, of which five ions hop to and fro, in some windows and not in others."""
    rng = np.random.default_rng(seed)
    ions = np.flatnonzero(atoms.numbers == 3)[:5]
    writer, away = TrajectoryWriter(path, atoms, {}), np.zeros(5)
    for number in range(n_windows * WINDOW + 1):
        if number % WINDOW == WINDOW // 2:
            away = np.where(rng.random(5) < 0.7, 1 - away, away)
        shaken = atoms.positions + 0.08 * rng.normal(size=atoms.positions.shape)
        shaken[ions, 0] += 2.0 * away
        writer.append(POSITION, number, STEP_FS * number, shaken)
        writer.append(EDGES, number, STEP_FS * number, atoms.cell.array)
    writer.close()
    return path


@pytest.fixture(scope='session')
def restless_files(dataset_file, tmp_path_factory):
    """Runs for three temperatures, and one to judge the fit on."""
    folder, atoms = tmp_path_factory.mktemp('restless'), read_dataset(dataset_file).structures[0]
    return [write_restless(folder / f'glass-{seed}.h5', atoms, seed) for seed in range(4)]


@pytest.fixture(scope='session')
def model_file(restless_files):
    path = restless_files[0].with_name('softness-model.h5')
    fit_softness(restless_files[:1], SoftnessSettings(**LABELS))[0].save(path)
    return path


@pytest.fixture
def runs(restless_files):
    return {f'run_{number}': TrajectoryData(path).store() for number, path in enumerate(restless_files[:3])}


@pytest.fixture(scope='session')
def launched(code, command, restless_files, potential_file):
    overrides = restless_files[0].with_name('overrides.yaml')
    overrides.write_text(
        yaml.safe_dump(
            {
                'fit': {'parameters': LABELS},
                'correlations': {'parameters': {'bootstrap': 20, 'units': 'PS4'}},
                'barriers': {'parameters': {'quench_force': 0.1, 'steps': 20, 'images': 3, **SHORT}},
            }
        )
    )
    *trajectories, withheld = restless_files
    return command(
        *('launch', 'softness', *(f'{kelvin:g}={path}' for kelvin, path in zip(TEMPERATURES_K, trajectories))),
        *('--withhold', withheld, '--potential', potential_file, '--max-hops', 4, '--barriers-of', trajectories[1]),
        *('--protocol', 'fast', '--overrides', overrides),
    )


@pytest.fixture(scope='session')
def measured(launched) -> orm.WorkChainNode:
    assert launched.exit_code == 0, (launched.output, launched.exception)
    return orm.load_node(int(re.search(r'SoftnessWorkChain #(\d+)', launched.output)[1]))


@pytest.mark.slow
def test_a_chain_goes_from_trajectories_to_barriers_by_softness(measured):
    outputs = measured.outputs
    assert outputs.fit.results['withheld_runs'] == 1 and outputs.softness_model.base.attributes.get('ion') == 'Li'
    assert sorted(outputs.softness) == ['run_001', 'run_002', 'run_003']
    for name in outputs.softness:
        made = outputs.softness[name].functions.creator
        assert made.inputs.model.uuid == outputs.softness_model.uuid
        assert outputs.softness[name].results['trajectory_sha256'] == measured.inputs.trajectories[name].sha256
    assert outputs.correlations.results['runs'] == 3 and 'energy_eV' in outputs.correlations.results['correlations']
    assert len(outputs.onset.results['run_rearrangement']) == 3
    climbed = outputs.barriers.results.creator
    assert climbed.inputs.softness.uuid == outputs.softness.run_002.functions.uuid
    assert all(hop['softness'] is not None for hop in outputs.barriers.results['hops'])
    assert len(outputs.barriers.results['hops']) == 4


@pytest.mark.slow
def test_the_terminal_shows_each_part(launched, measured):
    for words in ('mean over mobile and immobile', 'run_003', 'voronoi_volume', 'barrier at S = 0', '4 of '):
        assert words in launched.output
    assert f'aiida-ufpnmr report {measured.pk}' in launched.output


@pytest.mark.slow
def test_the_report_shows_all_parts_and_what_they_come_from(measured, command, tmp_path):
    result = command('report', measured.pk, '-o', tmp_path)
    assert result.exit_code == 0, result.exception
    page = (tmp_path / 'index.html').read_text()
    # the fit, three runs, correlations, onset, barriers
    assert page.count('src="data:image/png;base64,') == 7 == len(list(tmp_path.glob('*.png')))
    for words in ('undecided', 'mean over mobile and immobile', 'P_in_PS4', 'barrier at S = 0', 'converged', '600 K'):
        assert words in page
    assert 'is told from the other' in page and 'Withheld from the fit' in page and '1 runs withheld' in page
    for run in (*measured.inputs.trajectories.values(), *measured.inputs['withhold'].values()):
        assert f'#{run.pk}' in page and run.uuid in page
    assert measured.outputs.softness_model.sha256 in page


@pytest.mark.slow
def test_the_report_of_barriers_alone_shows_their_distribution(measured, command, tmp_path):
    inner = next(node for node in measured.called if node.process_label == 'BarriersWorkChain')
    assert command('report', inner.pk, '-o', tmp_path).exit_code == 0
    page = (tmp_path / 'index.html').read_text()
    assert 'Barriers of hops' in page and '4 of ' in page and 'nudged elastic band of 3 images' in page
    assert page.count('src="data:image/png;base64,') == 1


@pytest.mark.slow
def test_an_archive_of_the_chain_gives_its_fit_and_its_law_again(measured, command, tmp_path):
    path = tmp_path / 'softness.aiida'
    assert command('archive', 'create', measured.pk, '-o', path).exit_code == 0
    result = command('archive', 'verify', path, '--rerun', 'fit_softness', '--rerun', 'softness_onset')
    assert result.exit_code == 0, (result.output, result.exception)
    assert result.output.count('identical') >= 4 and 'differs' not in result.output


@pytest.fixture
def builder(code, runs, potential, model_file):
    """A builder with a model that is given, for three temperatures."""
    return WORKFLOW.get_builder_from_protocol(
        code,
        runs,
        potential.store(),
        softness_model=SoftnessModelData(model_file).store(),
        temperatures_K=dict(zip(runs, TEMPERATURES_K)),
        protocol='fast',
    )


def forged(builder, failed=()):
    """A workflow whose parts have ended, those of some names without success."""
    process = instantiate_process(get_manager().create_runner(communicator=None), builder)
    assert not process.needs_model()
    for name in (*(f'softness_of_run_{number}' for number in range(3)), 'correlations'):
        part = orm.WorkChainNode(process_type='aiida.workflows:ufpnmr.analyse').store()
        if name not in failed:
            for output in ('results', 'timing', 'functions', 'figure'):
                node = orm.Dict({}) if output in ('results', 'timing') else orm.SinglefileData(__file__)
                node.store().base.links.add_incoming(part, link_type=LinkType.RETURN, link_label=output)
        part.set_process_state('finished')
        part.set_exit_status(401 if name in failed else 0)
        process.ctx[name] = part
    return process


def submitted(process, monkeypatch):
    """What the workflow would submit next, by name of the part."""
    found = {}

    def submit(chain, **inputs):
        found[inputs['metadata']['call_link_label']] = inputs['calculation']
        return orm.WorkChainNode().store()

    monkeypatch.setattr(process, 'submit', submit)
    process.put_together()
    return found


def test_a_run_without_softness_is_named_and_the_others_go_on(builder, monkeypatch):
    process = forged(builder, failed=('softness_of_run_1', 'correlations'))
    assert process.inspect_softness() is None and sorted(process.outputs['softness']) == ['run_0', 'run_2']
    found = submitted(process, monkeypatch)
    assert sorted(found) == ['barriers']  # two temperatures are too few for an onset
    assert found['barriers'].softness.uuid == process.outputs['softness']['run_0']['functions'].uuid
    assert found['barriers'].parameters['max_hops'] == 20
    code = process.inspect_parts()
    assert code.status == 501 and 'run_1: ' in code.message and 'correlations: ' in code.message


def test_barriers_are_found_without_the_softness_of_their_run_or_not_at_all(builder, monkeypatch):
    process = forged(builder, failed=('softness_of_run_0',))
    process.inspect_softness()
    assert 'softness' not in submitted(process, monkeypatch)['barriers']
    builder.max_hops = 0
    process = forged(builder)
    process.inspect_softness()
    found = submitted(process, monkeypatch)
    assert sorted(found) == ['onset'] and sorted(found['onset'].softness) == ['run_0', 'run_1', 'run_2']
    assert process.inspect_parts() is None and 'correlations' in process.outputs


def test_no_softness_at_all_ends_the_workflow(builder):
    code = forged(builder, failed=[f'softness_of_run_{number}' for number in range(3)]).inspect_softness()
    assert code.status == 402 and 'run_2: ' in code.message


@pytest.mark.parametrize(
    ('values', 'words'),
    [
        ({'barriers_of': 'run_9'}, 'barriers_of: no trajectory is named run_9; there are run_0, run_1, run_2'),
        ({'temperatures_K': {'run_0': 300, 'x': 400}}, 'temperatures_K: no trajectory is named x'),
        ({'withhold': 'runs'}, 'withhold: nothing is fitted where softness_model is given'),
        ({'trajectories': {}}, 'trajectories: give at least one'),
    ],
)
def test_inputs_that_contradict_each_other_are_refused_before_anything_runs(code, builder, runs, values, words):
    for name, value in values.items():
        builder[name] = runs if value == 'runs' else value
    with pytest.raises(ValueError, match=words):
        instantiate_process(get_manager().get_runner(), builder)


@pytest.mark.parametrize(
    ('values', 'words'),
    [
        ({'temperatures_K': {'run_0': -3}}, 'temperatures must be numbers above zero, in K, not run_0: -3'),
        ({'overrides': {'max_hops': -1}}, 'max_hops must be at least 0'),
        ({'overrides': {'fit': {'parameters': {'penalti': 3}}}}, 'penalti'),
        ({'overrides': {'softness': {'parameters': {'model': 'x.h5'}}}}, "unknown parameter 'model'"),
        ({'overrides': {'correlations': {'parameters': {'potential': 'x.h5'}}}}, "unknown parameter 'potential'"),
        ({'overrides': {'barriers_of': 'run_1'}}, "'barriers_of' is an argument"),
    ],
)
def test_values_that_cannot_be_are_refused_with_the_name_of_their_input(code, runs, potential, values, words):
    with pytest.raises(ValueError, match=words):
        WORKFLOW.get_builder_from_protocol(code, runs, potential, **values)


def made_by_dynamics(code, file, **results):
    """A trajectory that dynamics on record made."""
    run = TrajectoryData(file)
    dynamics = orm.CalcJobNode(computer=code.computer, process_type='aiida.calculations:ufpnmr.md').store()
    for name, node in (('trajectory', run), ('results', orm.Dict(results))):
        node.base.links.add_incoming(dynamics, link_type=LinkType.CREATE, link_label=name)
        node.store()
    return run


def test_temperatures_of_runs_on_record_need_not_be_given_where_they_stay(code, potential, restless_files):
    kept = made_by_dynamics(code, restless_files[0], temperature_K=450.0, ensemble='nvt')
    ramp = made_by_dynamics(code, restless_files[1], temperature_K=450.0, ensemble='nvt', final_temperature_K=600.0)
    free = made_by_dynamics(code, restless_files[2], temperature_K=450.0, ensemble='nve')
    runs = {'kept': kept, 'told': kept, 'ramp': ramp, 'free': free}
    builder = WORKFLOW.get_builder_from_protocol(code, runs, potential, temperatures_K={'told': 600.0})
    assert builder.temperatures_K.get_dict() == {'kept': 450.0, 'told': 600.0}


def test_a_model_is_checked_when_it_is_stored_and_known_by_its_content(model_file, potential_file, tmp_path, command):
    shutil.copy(model_file, tmp_path / 'again.h5')
    first, second = SoftnessModelData(model_file), SoftnessModelData(tmp_path / 'again.h5')
    assert first.sha256 == second.sha256 and first.load().training_sha256 == first.training_sha256
    with pytest.raises(InputError, match='not a ufpnmr softness-model file'):
        SoftnessModelData(potential_file)
    result = command('import', model_file)
    assert result.exit_code == 0 and 'softness' in result.output.lower(), result.exception


@pytest.mark.slow
def test_trajectories_in_pieces_do_not_mix(code, restless_files, tmp_path):
    """The pieces of all of them have one name; each trajectory has a folder of its own."""
    runs = {}
    for number, path in enumerate(restless_files[:2]):
        folder = tmp_path / str(number)
        folder.mkdir()
        chain([path], folder / 'trajectory.h5')
        runs[f'run_{number}'] = TrajectoryData(folder / 'trajectory.h5')
        assert runs[f'run_{number}'].is_in_pieces
    process = CalculationFactory('ufpnmr.fit_softness')
    found, node = run_get_node(process, code=code, trajectories=runs, parameters=LABELS)
    assert node.is_finished_ok, node.exit_message
    model, _ = fit_softness(restless_files[:2], SoftnessSettings(**LABELS))
    np.testing.assert_array_equal(found['softness_model'].load().weights, model.weights)


def test_softness_that_is_no_file_is_refused_by_the_launch_of_barriers(command, runs, potential_file):
    words = ('launch', 'barriers', runs['run_0'].pk, '--potential', potential_file, '--softness')
    for given, reason in (('softness.h5', 'no such table of softness'), (10**9, 'no such node')):
        result = command(*words, given)
        assert isinstance(result.exception, InputError) and reason in str(result.exception)


def test_a_trajectory_for_barriers_that_is_none_of_those_given_is_refused(command):
    result = command('launch', 'softness', '600=glass.h5', '--potential', 1, '--barriers-of', 'other.h5')
    assert isinstance(result.exception, InputError) and '--barriers-of other.h5: is none' in str(result.exception)

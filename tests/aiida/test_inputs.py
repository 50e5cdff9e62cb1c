"""Claims about inputs: what is refused before anything runs, and what a command line becomes of them."""

from dataclasses import dataclass
from types import SimpleNamespace

import click
import pytest
from aiida import orm
from aiida.common.folders import SandboxFolder
from aiida.engine.processes.ports import PortNamespace
from aiida.engine.utils import instantiate_process
from aiida.manage import get_manager
from aiida.plugins import CalculationFactory, WorkflowFactory
from ase import Atoms

from aiida_ufpnmr.calculations import command_line
from aiida_ufpnmr.calculations.analyse import ANALYSES, options_of
from aiida_ufpnmr.cli.shared import load_or_store
from aiida_ufpnmr.data import TrajectoryData
from aiida_ufpnmr.engine.building.label_cells import repetitions
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.main import ufpnmr
from aiida_ufpnmr.engine.settings import Settings, parameters_of, setting
from aiida_ufpnmr.engine.trajectories.chain import chain
from aiida_ufpnmr.engine.trajectories.frames import ReadingSettings
from aiida_ufpnmr.workflows.repeat import AnalyseWorkChain

CALCULATIONS = [
    'ufpnmr.fit_potential',
    'ufpnmr.md',
    'ufpnmr.fit_efg',
    'ufpnmr.predict_efg',
    'ufpnmr.acf',
    'ufpnmr.analyse',
    'ufpnmr.label_gpaw',
    'ufpnmr.select',
    'ufpnmr.barriers',
    'ufpnmr.fit_softness',
    'ufpnmr.softness_onset',
    'ufpnmr.softness_correlations',
]
WORKFLOWS = [
    'ufpnmr.md', 'ufpnmr.dynamic_nmr', 'ufpnmr.arrhenius', 'ufpnmr.pipeline', 'ufpnmr.label', 'ufpnmr.label_castep',
    'ufpnmr.label_gpaw', 'ufpnmr.active_learning', 'ufpnmr.learning_generation', 'ufpnmr.barriers', 'ufpnmr.softness',
]  # fmt: skip

#: Options that name files or programs, choose a frame of a file, say how to go on after a kill or how much to do at a
#: time: the calculation's own business.
NO_PHYSICS = {
    'output', 'json', 'test', 'settings', 'plot', 'efg_model', 'committee', 'index', 'checkpoint_every', 'restart',
    'save_equations', 'add_to', 'engine', 'python', 'from_checkpoint', 'sites', 'softness', 'model',
    'withhold', 'potential', 'keep_in',
}  # fmt: skip

#: Options that say what files of other programs do not; trajectories in the database are those of this package.
FOREIGN = set(parameters_of(ReadingSettings))

#: Options that mean nothing to the way in which a calculation uses its command.
UNUSED = {
    'ufpnmr.predict_efg': FOREIGN | {'threads'},
    'ufpnmr.acf': FOREIGN,
    'ufpnmr.fit_efg': {'structure'},
    'ufpnmr.md': {'replicas', 'replica_temperatures', 'jobs', 'overwrite', 'max_wall_time'},
    'ufpnmr.label_gpaw': {'jobs'},
    'ufpnmr.barriers': {'workers'},
}


def option_names(command: click.Command) -> set[str]:
    options = [p for p in command.params if isinstance(p, click.Option)]
    return {max(p.opts, key=len).removeprefix('--').replace('-', '_') for p in options}


@pytest.mark.parametrize('name', [name for name in CALCULATIONS if name != 'ufpnmr.analyse'])
def test_every_option_that_changes_a_number_is_an_input(name):
    process = CalculationFactory(name)
    command = ufpnmr.get_command(click.Context(ufpnmr), process.COMMAND)
    assert option_names(command) - NO_PHYSICS - UNUSED.get(name, set()) == {
        option.lower() for option in process.OPTIONS
    }


@pytest.mark.parametrize('analysis', ANALYSES)
def test_every_option_of_an_analysis_is_an_input(analysis):
    group = ufpnmr.get_command(click.Context(ufpnmr), 'analyse')
    command = group.get_command(click.Context(group), analysis)
    assert option_names(command) - NO_PHYSICS - FOREIGN == {name.lower() for name in options_of(analysis)}


def test_a_parameter_of_an_analysis_has_the_name_of_its_option(monkeypatch):
    @dataclass(frozen=True)
    class DipSettings(Settings):
        depth_nm: float = setting(1.0, 'How deep.', option='how-deep')
        rounds: int = setting(3, 'How often.', option='')

    monkeypatch.setattr('aiida_ufpnmr.engine.analyses.get_analysis', lambda name: SimpleNamespace(Settings=DipSettings))
    assert options_of('dip') == ('how_deep',)


def ports(namespace, path=''):
    for name, port in namespace.items():
        yield f'{path}{name}', port
        if isinstance(port, PortNamespace):
            yield from ports(port, f'{path}{name}.')


PROCESSES = [*map(CalculationFactory, [*CALCULATIONS, 'ufpnmr.label_castep']), *map(WorkflowFactory, WORKFLOWS)]


@pytest.mark.parametrize('process', PROCESSES, ids=str)
def test_every_port_and_exit_code_explains_itself(process):
    spec = process.spec()
    for namespace in (spec.inputs, spec.outputs):
        for path, port in ports(namespace):
            inherited = path.split('.')[0] in ('metadata', 'monitors') or '.metadata' in path or '.monitors' in path
            assert port.help or inherited, f'{path} has no help'
    own = [code for code in spec.exit_codes.values() if code.status >= 200]
    assert own and all(code.message for code in own)
    assert process.__doc__


@pytest.mark.parametrize('name', CALCULATIONS)
def test_no_failure_is_ever_taken_from_the_cache(name):
    own = {label: code for label, code in CalculationFactory(name).spec().exit_codes.items() if code.status >= 200}
    # a run that reached its time limit left a whole part of it
    whole = ['ERROR_OUT_OF_TIME'] if name == 'ufpnmr.md' else []
    assert own and [label for label, code in own.items() if not code.invalidates_cache] == whole


def test_parameters_become_options():
    parameters = {
        'first_lag_ps': 1.5,
        'supercell': [1, 1, 2],
        'velocities': True,
        'subtract_mean': False,
        'gamma': None,
    }
    words = ['--first-lag-ps', '1.5', '--supercell', '1', '1', '2', '--velocities']
    assert command_line.options('md', parameters) == words


def test_a_list_for_an_option_of_one_argument_is_joined_with_commas(code, trajectory):
    parameters = {'grain_nm': [10, 100], 'measured_ms': [1.0, 2.0]}
    inputs = {'code': code, 'trajectory': trajectory.store(), 'analysis': 'microstructure', 'parameters': parameters}
    words, _, _ = prepared('ufpnmr.analyse', inputs)
    files, chosen = words[:5], words[5:10]
    assert ' '.join(files) == 'analyse microstructure trajectory.h5 -o analysis.h5'
    assert ' '.join(chosen) == '--grain-nm 10,100 --measured-ms 1.0 2.0'


@pytest.mark.parametrize(
    ('parameters', 'message'),
    [
        ({'steps': 10, 'stepz': 1}, "unknown parameter 'stepz'"),
        ({'steps': 10, 'output': 'x.h5'}, "unknown parameter 'output'"),
        ({'steps': 'many'}, 'steps'),
        ({'steps': 10, 'ensemble': 'nph'}, 'nph'),
        ({'steps': 10, 'supercell': [1, 2]}, 'supercell'),
        ({'temperature': 300.0}, '--steps'),
    ],
)
def test_md_refuses_parameters_before_it_is_submitted(parameters, message):
    builder = CalculationFactory('ufpnmr.md').get_builder()
    with pytest.raises(ValueError, match=message):
        builder.parameters = parameters


def test_a_parameter_that_was_renamed_is_known_by_its_old_name_too():
    builder = CalculationFactory('ufpnmr.md').get_builder()
    builder.parameters = {'steps': 10, 'closest_approach': 0.8}
    with pytest.raises(ValueError, match='--guard-fraction'):
        builder.parameters = {'steps': 10, 'closest_approach': 1.8}
    with pytest.raises(ValueError, match="unknown parameter 'closest_approach'"):
        CalculationFactory('ufpnmr.select').get_builder().parameters = {'closest_approach': 0.8}


def test_unknown_settings_of_a_fit_are_refused():
    with pytest.raises(ValueError, match="unknown setting 'cut_off'"):
        CalculationFactory('ufpnmr.fit_efg').get_builder().settings = {'cut_off': 5.0}
    with pytest.raises(ValueError, match="unknown setting 'cutoff'"):
        CalculationFactory('ufpnmr.fit_potential').get_builder().settings = {'cutoff': 5.0}


def test_an_analysis_refuses_the_parameters_of_another(code, trajectory):
    inputs = {'code': code, 'trajectory': trajectory.store(), 'analysis': 'msd', 'parameters': {'residence_ps': 1.0}}
    runner = get_manager().create_runner(communicator=None)
    unheard = inputs | {'analysis': 'hops', 'parameters': {'residence_time': 1.0}}
    with pytest.raises(ValueError, match="hops: unknown parameter 'residence_time'; known are .*residence_ps"):
        instantiate_process(runner, CalculationFactory('ufpnmr.analyse'), **unheard)
    with pytest.raises(ValueError, match="hops: unknown parameter 'residence_time'"):
        instantiate_process(runner, AnalyseWorkChain, calculation=unheard)
    with pytest.raises(ValueError, match="unknown parameter 'residence_ps'"):
        instantiate_process(runner, CalculationFactory('ufpnmr.analyse'), **inputs)
    builder = WorkflowFactory('ufpnmr.dynamic_nmr').get_builder()
    with pytest.raises(ValueError, match="unknown parameter 'residence_ps'"):
        builder.msd.parameters = {'residence_ps': 1.0}
    builder.hops.parameters = {'residence_ps': 1.0}


def test_sites_are_a_file_for_the_analysis_that_reads_them_and_no_parameter(code, trajectory):
    sites = orm.SinglefileData.from_string('data_sites', 'beta.cif').store()
    inputs = {'code': code, 'trajectory': trajectory.store(), 'sites': sites, 'parameters': {'core_angstrom': 2.0}}
    words, _, info = prepared('ufpnmr.analyse', {**inputs, 'analysis': 'jumps'})
    chosen = 'analyse jumps trajectory.h5 -o analysis.h5 --sites sites.cif --core-angstrom 2.0'
    assert ' '.join(words[: len(chosen.split())]) == chosen
    assert (sites.uuid, 'beta.cif', 'sites.cif') in info.local_copy_list
    runner = get_manager().create_runner(communicator=None)
    with pytest.raises(ValueError, match='hops takes no sites'):
        instantiate_process(
            runner, CalculationFactory('ufpnmr.analyse'), **{**inputs, 'analysis': 'hops', 'parameters': {}}
        )
    with pytest.raises(ValueError, match="jumps: unknown parameter 'sites'"):
        named = {**inputs, 'analysis': 'jumps', 'parameters': {'sites': 'beta.cif'}}
        instantiate_process(runner, CalculationFactory('ufpnmr.analyse'), **named)


def test_predict_efg_wants_one_thing_to_predict_for(code, efg_model, structure, dataset):
    runner = get_manager().create_runner(communicator=None)
    process = CalculationFactory('ufpnmr.predict_efg')
    for given in ({}, {'structure': structure, 'dataset': dataset}):
        with pytest.raises(ValueError, match='exactly one'):
            instantiate_process(runner, process, code=code, efg_model=efg_model, **given)


@pytest.mark.parametrize(
    ('process', 'port'),
    [
        (CalculationFactory('ufpnmr.md'), 'structure'),
        (CalculationFactory('ufpnmr.predict_efg'), 'structure'),
        (CalculationFactory('ufpnmr.label_castep'), 'structure'),
        (CalculationFactory('ufpnmr.label_gpaw'), 'structures'),
        (WorkflowFactory('ufpnmr.dynamic_nmr'), 'structure'),
        (WorkflowFactory('ufpnmr.pipeline'), 'structure'),
        (WorkflowFactory('ufpnmr.active_learning'), 'structures'),
        (WorkflowFactory('ufpnmr.learning_generation'), 'structures'),
    ],
)
def test_structures_with_partly_occupied_sites_are_refused_before_anything_runs(process, port):
    partial = orm.StructureData(cell=[[4, 0, 0], [0, 4, 0], [0, 0, 4]])
    partial.append_atom(symbols=['Li'], weights=[0.5], position=(0, 0, 0))
    found = process.spec().inputs[port]
    refusal = found.validator({'beta': partial} if isinstance(found, PortNamespace) else partial, None)
    assert 'the sites of LiX are partly occupied; order the structure first (ufpnmr build order)' in refusal


def test_a_stored_structure_with_partly_occupied_sites_is_refused_by_the_command_line():
    shared = orm.StructureData(cell=[[4, 0, 0], [0, 4, 0], [0, 0, 4]])
    shared.append_atom(symbols=['S', 'Cl'], weights=[0.6, 0.4], position=(0, 0, 0))
    with pytest.raises(InputError, match='partly occupied; order the structure first'):
        load_or_store(str(shared.store().pk), 'structure')


def prepared(name, inputs):
    """The command line, the working directory's own files and what will be fetched."""
    runner = get_manager().create_runner(communicator=None)
    process = instantiate_process(runner, CalculationFactory(name), **inputs)
    with SandboxFolder() as folder:
        info = process.prepare_for_submission(folder)
        files = {file: open(folder.get_abs_path(file)).read() for file in folder.get_content_list()}
    return info.codes_info[0].cmdline_params, files, info


def test_md_runs_the_command_that_its_inputs_say(code, structure, potential, efg_model):
    inputs = {'code': code, 'structure': structure, 'potential': potential.store(), 'efg_model': efg_model.store()}
    words, files, info = prepared('ufpnmr.md', {**inputs, 'parameters': {'steps': 10, 'temperature': 300.0}})
    files_named = 'md potential.h5 structure.extxyz -o trajectory.h5 --efg-model efg-model.h5'
    assert ' '.join(words) == f'{files_named} --steps 10 --temperature 300.0 --json results.json'
    assert files['structure.extxyz'].startswith('32\n')
    assert [name for _, _, name in info.local_copy_list] == ['potential.h5', 'efg-model.h5']
    assert 'trajectory.h5' in info.retrieve_temporary_list and 'trajectory.h5' not in info.retrieve_list


def test_a_committee_comes_to_the_choice_by_name(code, potential, trajectory):
    inputs = {'code': code, 'potential': potential.store(), 'trajectories': {'hot': trajectory.store()}}
    inputs['committee'] = {'two': potential, 'one': potential}
    words, _, info = prepared('ufpnmr.select', {**inputs, 'parameters': {'method': 'committee'}})
    members = '--committee committee-one.h5 --committee committee-two.h5'
    assert (
        ' '.join(words)
        == f'select potential.h5 hot.h5 -o picked.extxyz {members} --method committee --json results.json'
    )
    assert {'committee-one.h5', 'committee-two.h5'} <= {name for _, _, name in info.local_copy_list}


def test_trajectories_in_pieces_come_to_the_choice_in_folders_of_their_own(code, potential, trajectory_file, tmp_path):
    runs = {}
    for name in ('hot', 'cold'):
        (tmp_path / name).mkdir()
        chain([trajectory_file], tmp_path / name / 'trajectory.h5')
        runs[name] = TrajectoryData(tmp_path / name / 'trajectory.h5').store()
    words, _, info = prepared('ufpnmr.select', {'code': code, 'potential': potential.store(), 'trajectories': runs})
    assert words[2:4] == ['cold/cold.h5', 'hot/hot.h5']  # the names of the files are the groups
    targets = [target for _, _, target in info.local_copy_list]
    assert len(set(targets)) == len(targets)
    assert {f'{name}/trajectory.h5.pieces' for name in runs} <= set(targets)


def test_barriers_are_found_by_as_many_processes_as_the_job_has(code, potential, trajectory):
    inputs = {'code': code, 'potential': potential.store(), 'trajectory': trajectory.store()}
    resources = {'num_machines': 1, 'num_mpiprocs_per_machine': 2}
    inputs['metadata'] = {'options': {'resources': resources}}
    words, _, info = prepared('ufpnmr.barriers', {**inputs, 'parameters': {'max_hops': 5}})
    assert ' '.join(words) == (
        'barriers trajectory.h5 potential.h5 --jobs 2 --max-hops 5 --plot figure.png -o results.json'
    )
    assert 'results.extxyz' in info.retrieve_temporary_list


def test_a_fit_gets_its_settings_as_yaml(code, dataset):
    inputs = {'code': code, 'dataset': dataset.store(), 'settings': {'folds': 3}}
    words, files, _ = prepared('ufpnmr.fit_potential', inputs)
    assert words[-4:] == ['--settings', 'settings.yaml', '--json', 'results.json']
    assert files == {'settings.yaml': 'folds: 3\n'}


def test_a_calculation_asks_for_one_core_unless_told_otherwise():
    options = CalculationFactory('ufpnmr.md').get_builder().metadata.options
    assert options.resources == {'num_machines': 1, 'num_mpiprocs_per_machine': 1}


@pytest.fixture
def pipeline_inputs(code, dataset):
    return {'code': code, 'dataset': dataset.store(), 'structure_index': 0}


def test_protocols_have_descriptions_and_differ():
    process = WorkflowFactory('ufpnmr.dynamic_nmr')
    protocols = process.get_available_protocols()
    assert list(protocols) == ['fast', 'balanced', 'stringent'] and all(protocols.values())
    steps = [process.get_protocol_inputs(name)['md']['parameters']['steps'] for name in protocols]
    assert steps == sorted(set(steps))
    assert process.get_protocol_inputs() == process.get_protocol_inputs(process.get_default_protocol())


@pytest.mark.parametrize('protocol', ['fast', 'balanced', 'stringent', None])
def test_every_protocol_fills_every_input(pipeline_inputs, protocol):
    process = WorkflowFactory('ufpnmr.pipeline')
    builder = process.get_builder_from_protocol(**pipeline_inputs, protocol=protocol)
    instantiate_process(get_manager().create_runner(communicator=None), builder)  # raises where something is missing


@pytest.mark.parametrize(
    ('overrides', 'message'),
    [
        ({'fit_potentail': {}}, "unknown override 'fit_potentail'"),
        ({'fit_efg': {'setting': {}}}, "unknown override 'fit_efg.setting'"),
        ({'fit_efg': {'settings': {'cut_off': 1}}}, "fit_efg.settings: .*unknown setting 'cut_off'"),
        ({'fit_efg': {'metadata': {'options': {'fish': 1}}}}, "unknown override 'fit_efg.metadata.options.fish'"),
        (
            {'dynamic_nmr': {'md': {'parameters': {'stepz': 1}}}},
            "dynamic_nmr.md.parameters: .*unknown parameter 'stepz'",
        ),
        ({'dynamic_nmr': {'mdd': {}}}, "dynamic_nmr: unknown override 'mdd'"),
        ({'dynamic_nmr': 3}, 'must hold'),
        ({'structure_index': 99}, 'structure_index'),
    ],
)
def test_unknown_overrides_are_refused_by_name(pipeline_inputs, overrides, message):
    with pytest.raises(ValueError, match=message):
        WorkflowFactory('ufpnmr.pipeline').get_builder_from_protocol(**pipeline_inputs, overrides=overrides)


def test_an_unknown_protocol_is_refused(pipeline_inputs):
    with pytest.raises(ValueError, match="unknown protocol 'quick'"):
        WorkflowFactory('ufpnmr.pipeline').get_builder_from_protocol(**pipeline_inputs, protocol='quick')


def test_overrides_reach_their_input_and_leave_the_rest(pipeline_inputs):
    overrides = {'dynamic_nmr': {'md': {'parameters': {'temperature': 650.0}}}}
    process = WorkflowFactory('ufpnmr.pipeline')
    plain = process.get_builder_from_protocol(**pipeline_inputs, protocol='fast').dynamic_nmr.md.parameters.get_dict()
    changed = process.get_builder_from_protocol(**pipeline_inputs, protocol='fast', overrides=overrides)
    assert changed.dynamic_nmr.md.parameters.get_dict() == {**plain, 'temperature': 650.0}


def test_options_reach_every_calculation(pipeline_inputs):
    builder = WorkflowFactory('ufpnmr.pipeline').get_builder_from_protocol(
        **pipeline_inputs, options={'max_wallclock_seconds': 60}
    )
    below = builder.dynamic_nmr
    for namespace in (builder.fit_potential, builder.fit_efg, below.md, below.acf, below.msd, below.hops):
        assert namespace.metadata.options.max_wallclock_seconds == 60


@pytest.mark.parametrize(
    'start', [{}, {'structure_index': 9}, {'structure_index': -1}, {'structure_index': 0, 'structure': 1}]
)
def test_the_dynamics_must_start_from_one_structure_that_is_there(code, dataset, structure, start):
    start = {**start, 'structure': structure} if 'structure' in start else start
    with pytest.raises(ValueError, match='structure_index'):
        WorkflowFactory('ufpnmr.pipeline').get_builder_from_protocol(code=code, dataset=dataset, **start)


def test_the_dynamics_must_not_hold_elements_without_labels(code, dataset):
    xenon = orm.StructureData(ase=Atoms('LiXe', positions=[[0, 0, 0], [0, 0, 4]], cell=[8, 8, 8], pbc=True))
    with pytest.raises(ValueError, match='the structure holds Xe'):
        WorkflowFactory('ufpnmr.pipeline').get_builder_from_protocol(code=code, dataset=dataset, structure=xenon)


def test_a_supercell_has_no_height_below_the_one_asked_for():
    skew = [[6.0, 0.0, 0.0], [5.0, 4.0, 0.0], [0.0, 0.0, 12.0]]  # heights: 3.75, 4, 12
    assert repetitions(skew, 8.0) == [3, 2, 1]
    assert repetitions([[8.0, 0, 0], [0, 8.0, 0], [0, 0, 8.0]], 8.0) == [1, 1, 1]


def test_a_workchain_refuses_names_it_does_not_know():
    builder = WorkflowFactory('ufpnmr.pipeline').get_builder()
    with pytest.raises(AttributeError, match='settingz'):
        builder.fit_efg.settingz = {}
    with pytest.raises(AttributeError, match='parameterz'):
        builder.dynamic_nmr.md.parameterz = {}


def test_a_structure_is_taken_from_a_set_on_record(dataset):
    from aiida_ufpnmr.calculations.select_structure import select_structure

    found = select_structure(dataset.store(), orm.Int(3))
    assert found.creator.inputs.dataset.pk == dataset.pk
    assert found.get_formula() == 'Li12P4S16'

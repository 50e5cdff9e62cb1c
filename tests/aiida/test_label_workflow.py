"""Claims about ``ufpnmr.label``: one interface for both engines, nothing done twice, failures that stop no others."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import castep_stand_in
import numpy as np
import pytest
import yaml
from aiida import orm
from aiida.engine import run_get_node
from aiida.engine.utils import instantiate_process
from aiida.manage import get_manager
from aiida.plugins import CalculationFactory, WorkflowFactory
from ase import Atoms
from ase.io import write

from aiida_ufpnmr.data import DatasetData
from aiida_ufpnmr.data.dataset import find_labels
from aiida_ufpnmr.engine.dataset import energy, forces, read_dataset
from aiida_ufpnmr.engine.dft.gpaw_engine import gpaw_settings
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.tools.queries import labels_behind

WORKFLOW = WorkflowFactory('ufpnmr.label')


def crystal(x: float, symbols: str = 'SLiP', **info) -> Atoms:
    positions = [[x, 0, 0], [2.5 + x, 2.5, 0], [0, 2.6, 2.9]]
    atoms = Atoms(symbols, positions, cell=[[6, 0, 0], [1, 6, 0], [0, 0, 7]], pbc=True)
    atoms.info |= info
    return atoms


@pytest.fixture
def frames(request) -> DatasetData:
    """Three structures that no other test has, of which two name their group."""
    shift = sum(map(ord, request.node.name)) % 997 / 1000
    return DatasetData.of(
        [crystal(0.1 + shift, config_type='hot'), crystal(0.2 + shift, config_type='cold'), crystal(0.3 + shift)]
    ).store()


def castep_overrides(castep, *behaviours, **changes):
    return {**changes, 'castep': castep.overrides(*behaviours)}


def jobs(node):
    return [called for called in node.called_descendants if isinstance(called, orm.CalcJobNode)]


def test_structures_become_a_data_set_in_their_order(castep, frames):
    """The second needs another attempt; rows keep their group and say which calculation made them."""
    overrides = castep_overrides(castep, 'ok', 'killed', config_type='rest')
    builder = WORKFLOW.get_builder_from_protocol(
        castep.code, 'castep', dataset=frames, protocol='fast', overrides=overrides
    )
    outputs, node = run_get_node(builder)
    assert node.exit_status == 0 and sorted(job.exit_status for job in jobs(node)) == [0, 0, 0, 400]
    labelled = outputs['dataset']
    for atoms, source in zip(labelled.get_dataset(), frames.get_dataset()):
        np.testing.assert_allclose(atoms.positions, source.positions)
        charges = [castep_stand_in.ELEMENTS[symbol][1] for symbol in atoms.get_chemical_symbols()]
        expected = castep_stand_in.labels(atoms.cell.tolist(), atoms.positions.tolist(), charges)
        assert energy(atoms) == pytest.approx(expected[0], abs=1e-8)
        np.testing.assert_allclose(forces(atoms), expected[1], atol=1e-5)
        np.testing.assert_allclose(atoms.arrays['efg'], expected[3], atol=1e-8)
    assert [row['group'] for row in labelled.rows] == ['hot', 'cold', 'rest']
    assert [row['source_row'] for row in labelled.rows] == [0, 1, 2]
    assert {row['source_uuid'] for row in labelled.rows} == {frames.uuid}
    made_by = {row['calculation_uuid'] for row in labelled.rows}
    assert made_by == {job.uuid for job in jobs(node) if job.is_finished_ok}
    assert [label.dataset.pk for label in labels_behind(labelled)] == [labelled.pk] * 3
    results = outputs['results'].get_dict()
    assert (results['structures'], results['labelled'], results['labelled_before']) == (3, 3, 0)
    assert results['data_sha256'] == labelled.sha256


def test_one_failure_stops_no_other_and_is_tried_again_next_time(castep, frames):
    """Then nothing is left to do, and a run with other settings starts anew."""
    overrides = castep_overrides(castep, 'ok', 'crash', 'ok', min_success_fraction=0.6)
    arguments = {'code': castep.code, 'engine': 'castep', 'dataset': frames, 'protocol': 'fast'}
    outputs, node = run_get_node(WORKFLOW.get_builder_from_protocol(**arguments, overrides=overrides))
    assert node.exit_status == 0 and len(outputs['dataset'].rows) == 2
    (failure,) = outputs['results']['failed']
    assert 'insufficient memory' in failure['reason'] and outputs['results']['success_fraction'] == pytest.approx(2 / 3)

    again, node = run_get_node(WORKFLOW.get_builder_from_protocol(**arguments, overrides=castep_overrides(castep)))
    assert len(jobs(node)) == 1 and again['results']['labelled_before'] == 2
    assert [row['source_row'] for row in again['dataset'].rows] == [0, 1, 2]

    third, node = run_get_node(WORKFLOW.get_builder_from_protocol(**arguments))
    assert jobs(node) == [] and third['dataset'].sha256 == again['dataset'].sha256

    hashes = [row['label_sha256'] for row in third['dataset'].rows]
    assert set(find_labels(hashes)) == set(hashes)
    balanced = WORKFLOW.get_builder_from_protocol(**{**arguments, 'protocol': 'balanced'})
    other = instantiate_process(get_manager().create_runner(communicator=None), balanced)
    assert other.screen() is None and len(other.ctx.waiting) == 3


def test_labels_of_a_run_that_climbed_the_ladder_are_found_again(castep, frames):
    overrides = castep_overrides(castep, *['needs fix_occupancy false'] * 9)
    arguments = {'code': castep.code, 'engine': 'castep', 'structures': [frames.get_structure(0)], 'protocol': 'fast'}
    outputs, node = run_get_node(WORKFLOW.get_builder_from_protocol(**arguments, overrides=overrides))
    assert [job.exit_status for job in jobs(node)] == [410, 410, 0]
    assert outputs['dataset'].row(0)['occupations'] == 'smeared'
    again = instantiate_process(
        get_manager().create_runner(communicator=None), WORKFLOW.get_builder_from_protocol(**arguments)
    )
    assert again.screen() is None and again.ctx.waiting == []


def test_what_dft_would_choke_on_is_left_out_with_a_reason(castep, frames):
    good = frames.get_structure(0)
    overlapping = orm.StructureData(ase=Atoms('Li2S', [[0, 0, 0], [0, 0, 0.3], [2, 2, 2]], cell=[6, 6, 6], pbc=True))
    slab = orm.StructureData(ase=Atoms('Li', cell=[6, 6, 6], pbc=(True, True, False)))
    alloy = orm.StructureData(cell=np.eye(3).tolist())
    alloy.append_atom(symbols=['Li', 'S'], weights=[0.5, 0.5], position=(0, 0, 0))
    structures = {'a': overlapping, 'b': good, 'c': slab, 'd': alloy}
    builder = WORKFLOW.get_builder_from_protocol(castep.code, 'castep', structures=structures, protocol='fast')
    process = instantiate_process(get_manager().create_runner(communicator=None), builder)
    assert process.screen() is None
    refused = {entry['name']: entry['refused'] for entry in process.ctx.entries}
    assert 'atoms 0 and 1' in refused['a'] and 'periodic' in refused['c'] and refused['b'] is None
    assert 'partly occupied' in refused['d'] and process.ctx.waiting == [1]

    builder = WORKFLOW.get_builder_from_protocol(castep.code, 'castep', structures=[overlapping], protocol='fast')
    outputs, node = run_get_node(builder)
    assert list(outputs) == ['results'] and len(outputs['results']['refused']) == 1
    assert node.exit_status == 210 and 'atoms 0 and 1' in node.exit_message and jobs(node) == []


def test_equal_structures_are_labelled_once(castep, frames):
    twice = [frames.get_structure(0), frames.get_structure(1), frames.get_structure(0)]
    builder = WORKFLOW.get_builder_from_protocol(castep.code, 'castep', structures=twice, protocol='fast')
    process = instantiate_process(get_manager().create_runner(communicator=None), builder)
    process.screen()
    assert process.ctx.waiting == [0, 1]


def test_too_few_labels_are_kept_but_are_no_success(castep, frames):
    overlapping = orm.StructureData(ase=Atoms('Li2', [[0, 0, 0], [0, 0, 0.3]], cell=[6, 6, 6], pbc=True))
    structures = [frames.get_structure(0), overlapping]
    outputs, node = run_get_node(
        WORKFLOW.get_builder_from_protocol(castep.code, 'castep', structures=structures, protocol='fast')
    )
    assert node.exit_status == 501 and '1 of 2' in node.exit_message
    assert len(outputs['dataset'].rows) == 1 and len(outputs['results']['refused']) == 1


def test_no_label_at_all_leaves_a_report_and_no_data_set(castep, frames):
    structures = [frames.get_structure(0)]
    overrides = castep_overrides(castep, 'refused')
    builder = WORKFLOW.get_builder_from_protocol(
        castep.code, 'castep', structures=structures, protocol='fast', overrides=overrides
    )
    outputs, node = run_get_node(builder)
    assert node.exit_status == 401 and 'this input is refused' in node.exit_message
    assert 'dataset' not in outputs and outputs['results']['labelled'] == 0


def test_jobs_wait_for_each_other(castep, frames):
    overrides = {'max_concurrent': 2}
    builder = WORKFLOW.get_builder_from_protocol(castep.code, 'castep', dataset=frames, overrides=overrides)
    process = instantiate_process(get_manager().create_runner(communicator=None), builder)
    process.screen()
    submitted = []
    process.submit = lambda chain, **inputs: submitted.append(inputs) or frames  # any node will do
    process.label()
    assert len(submitted) == 2 and process.ctx.waiting == [2]
    assert [inputs['metadata']['call_link_label'] for inputs in submitted] == ['label_00000', 'label_00001']


def test_gpaw_labels_many_structures_a_job_and_names_those_that_fail(gpaw):
    gpaw.plan()
    frames = [crystal(x, 'SiLiP' if x == 0.43 else 'SLiP') for x in (0.41, 0.42, 0.43, 0.44, 0.45)]
    structures = DatasetData.of(frames).store()
    overrides = {'batch_size': 3, 'max_concurrent': 1, 'min_success_fraction': 0.5}
    arguments = {'code': gpaw.code, 'engine': 'gpaw', 'dataset': structures, 'protocol': 'fast'}
    outputs, node = run_get_node(WORKFLOW.get_builder_from_protocol(**arguments, overrides=overrides))
    assert node.exit_status == 0, node.exit_message
    assert len(jobs(node)) == 2 and gpaw.computed == 5
    assert [row['source_row'] for row in outputs['dataset'].rows] == [0, 1, 3, 4]
    assert [row['engine'] for row in outputs['dataset'].rows] == ['gpaw'] * 4
    (failure,) = outputs['results']['failed']
    assert failure['index'] == 2 and 'did not converge' in failure['reason']
    # what was labelled is found again, by content of structure and settings
    again = instantiate_process(
        get_manager().create_runner(communicator=None), WORKFLOW.get_builder_from_protocol(**arguments)
    )
    assert again.screen() is None and again.ctx.waiting == [2]


def test_where_jobs_start_at_once_all_cores_get_structures(gpaw):
    structures = DatasetData.of([crystal(0.48), crystal(0.49), crystal(0.50)]).store()
    arguments = {'code': gpaw.code, 'engine': 'gpaw', 'dataset': structures, 'protocol': 'fast'}
    _, node = run_get_node(WORKFLOW.get_builder_from_protocol(**arguments, overrides={'max_concurrent': 2}))
    assert sorted(len(job.inputs.structures.rows) for job in jobs(node)) == [1, 2]


def test_labels_that_a_job_mixed_up_are_made_anew(gpaw):
    gpaw.plan('mixed up')
    structures = DatasetData.of([crystal(0.46), crystal(0.47)]).store()
    arguments = {'code': gpaw.code, 'engine': 'gpaw', 'dataset': structures, 'protocol': 'fast'}
    outputs, node = run_get_node(WORKFLOW.get_builder_from_protocol(**arguments, overrides={'max_concurrent': 1}))
    assert node.exit_status == 0 and sorted(job.exit_status for job in jobs(node)) == [0, 330], node.exit_message
    for atoms, source in zip(outputs['dataset'].get_dataset(), structures.get_dataset()):
        assert energy(atoms) == pytest.approx(source.positions.sum(), abs=1e-6)


def test_engines_do_not_take_labels_of_each_other(castep, gpaw):
    gpaw.plan()
    digits = crystal(0.51)
    digits.positions *= np.pi / 3  # more digits than a file keeps
    structures = [orm.StructureData(ase=digits)]
    labelling = WORKFLOW.get_builder_from_protocol(gpaw.code, 'gpaw', structures=structures, protocol='fast')
    _, node = run_get_node(labelling)
    assert node.exit_status == 0, node.exit_message
    again = instantiate_process(get_manager().create_runner(communicator=None), labelling)
    assert again.screen() is None and again.ctx.waiting == []
    builder = WORKFLOW.get_builder_from_protocol(castep.code, 'castep', structures=structures, protocol='fast')
    other = instantiate_process(get_manager().create_runner(communicator=None), builder)
    assert other.screen() is None and other.ctx.waiting == [0]


def test_all_jobs_of_a_set_have_the_cutoff_of_its_hardest_element(gpaw):
    """Each sees its own structures only, and energies with different cut-offs do not belong into one set."""
    structures = [orm.StructureData(ase=crystal(0.52)), orm.StructureData(ase=crystal(0.53, 'OLiP'))]
    arguments = {'code': gpaw.code, 'engine': 'gpaw', 'structures': structures}
    parameters = lambda builder: builder.gpaw.calculation.parameters.get_dict()  # noqa: E731
    needed = gpaw_settings({'protocol': 'balanced'}, None, ['O']).cutoff_ev
    assert parameters(WORKFLOW.get_builder_from_protocol(**arguments))['cutoff_ev'] == needed
    given = {'gpaw': {'calculation': {'parameters': {'cutoff_ev': 250.0}}}}
    assert parameters(WORKFLOW.get_builder_from_protocol(**arguments, overrides=given))['cutoff_ev'] == 250
    given = {'gpaw': {'calculation': {'settings': {'cutoff_ev': 250.0}}}}
    assert 'cutoff_ev' not in parameters(WORKFLOW.get_builder_from_protocol(**arguments, overrides=given))
    arguments['structures'] = structures[:1]
    assert 'cutoff_ev' not in parameters(WORKFLOW.get_builder_from_protocol(**arguments))


@pytest.mark.parametrize('engine', ['castep', 'gpaw'])
@pytest.mark.parametrize('protocol', ['fast', 'balanced', 'stringent', None])
def test_every_protocol_fills_every_input(castep, gpaw, frames, engine, protocol):
    code = {'castep': castep, 'gpaw': gpaw}[engine].code
    builder = WORKFLOW.get_builder_from_protocol(code, engine, dataset=frames, protocol=protocol)
    instantiate_process(get_manager().create_runner(communicator=None), builder)


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ({'engine': 'vasp'}, "unknown DFT code 'vasp'"),
        ({'dataset': None}, 'give `dataset` or `structures`'),
        ({'overrides': {'min_success_fraction': 2.0}}, 'between 0 and 1'),
        ({'overrides': {'max_concurrent': 0}}, 'must be positive'),
        ({'overrides': {'gpaw': {}}}, "'gpaw' is of another DFT code"),
        ({'overrides': {'castep': {'kpoints': 1}}}, "castep: unknown override 'kpoints'"),
        ({'overrides': {'castep': {'calculation': {'parameters': {'PARAM': {'task': 'md'}}}}}}, 'task cannot be'),
        ({'protocol': 'quick'}, "unknown protocol 'quick'"),
    ],
)
def test_mistakes_are_refused_by_name(castep, frames, arguments, message):
    with pytest.raises(ValueError, match=message):
        WORKFLOW.get_builder_from_protocol(**{'code': castep.code, 'engine': 'castep', 'dataset': frames, **arguments})


def test_exactly_one_engine_must_be_given(castep, gpaw, frames):
    builder = WORKFLOW.get_builder_from_protocol(castep.code, 'castep', dataset=frames)
    inputs = {**builder._inputs(prune=True)}
    inputs['gpaw'] = WORKFLOW.get_builder_from_protocol(gpaw.code, 'gpaw', dataset=frames)._inputs(prune=True)['gpaw']
    runner = get_manager().create_runner(communicator=None)
    for given in (inputs, {name: value for name, value in inputs.items() if name not in ('castep', 'gpaw')}):
        with pytest.raises(ValueError, match='exactly one DFT code'):
            instantiate_process(runner, WORKFLOW, **given)


def test_launching_labels_a_file_and_writes_another(castep, command, tmp_path):
    """Frames that DFT would choke on are told with their place in the file, and count."""
    overlapping = Atoms('Li2', [[0, 0, 0], [0, 0, 0.2]], cell=[6, 6, 6], pbc=True)
    write(tmp_path / 'frames.extxyz', [crystal(0.61), overlapping, crystal(0.63)])
    overrides = tmp_path / 'overrides.yaml'
    overrides.write_text(yaml.safe_dump({'castep': castep.overrides('ok')}))
    result = command(
        'launch', 'label', tmp_path / 'frames.extxyz', '--engine', 'castep', '--protocol', 'fast',
        '--overrides', overrides, '--config-type', 'mine', '-o', tmp_path / 'labels.extxyz',
        '--min-success-fraction', 0.6,
    )  # fmt: skip
    assert result.exit_code == 0, (result.output, result.exception)
    labels = read_dataset(tmp_path / 'labels.extxyz', ('energy', 'forces', 'stress', 'efg'))
    assert len(labels) == 2 and labels.groups == ['mine'] * 2
    assert re.search(r'labelled +2\n', result.output) and re.search(r'refused +1\n', result.output)
    assert 'row_000001' in result.stderr and 'atoms 0 and 1' in result.stderr
    pk = int(re.search(r'Data set #(\d+)', result.output)[1])
    assert [(row['source_row'], row['file_row']) for row in orm.load_node(pk).rows] == [(0, 0), (1, 2)]
    # the second time there is nothing to do
    result = command('launch', 'label', tmp_path / 'frames.extxyz', '--engine', 'castep', '--protocol', 'fast')
    assert re.search(r'of these, before +2\n', result.output), result.output


def test_launching_with_mistakes_names_them(castep, command, dataset_file, tmp_path):
    for arguments, message in (
        (('nowhere.extxyz',), 'no such structure'),
        ((dataset_file, '--code', 'no@where'), 'no such code'),
        ((dataset_file, '--index', 'x'), 'give a number'),
        ((dataset_file, '--daemon', '-o', tmp_path / 'x.extxyz'), 'leave it out'),
        ((dataset_file, '-o', tmp_path / 'no' / 'x.extxyz'), 'does not exist'),
    ):
        result = command('launch', 'label', *arguments, '--engine', 'castep')
        assert isinstance(result.exception, InputError), (arguments, result.exception)
        assert message in str(result.exception)


@pytest.mark.parametrize(
    'process',
    [
        CalculationFactory('ufpnmr.label_castep'),
        *map(WorkflowFactory, ('ufpnmr.label', 'ufpnmr.label_castep', 'ufpnmr.label_gpaw')),
    ],
    ids=str,
)
def test_every_exit_code_is_in_the_documentation(process):
    text = (Path(__file__).parents[2] / 'docs' / 'source' / 'reference' / 'processes.rst').read_text()
    for code in process.spec().exit_codes.values():
        label = next(name for name, found in process.spec().exit_codes.items() if found == code)
        if code.status >= 200:
            assert re.search(rf'^{code.status} +``{label}``', text, re.MULTILINE), f'{code.status} {label}'


def test_without_aiida_castep_nothing_starts_and_the_remedy_is_named(castep, frames, monkeypatch):
    single = WorkflowFactory('ufpnmr.label_castep').get_builder_from_protocol(castep.code, frames.get_structure(0))
    many = WORKFLOW.get_builder_from_protocol(castep.code, 'castep', dataset=frames)
    monkeypatch.setitem(sys.modules, 'aiida_castep', None)
    for builder in (single, many):
        with pytest.raises(ValueError, match=r'pip install aiida-ufpnmr\[castep\]'):
            instantiate_process(get_manager().create_runner(communicator=None), builder)

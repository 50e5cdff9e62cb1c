"""Claims about analyses that are chosen for a run: each is a step with nodes of its own, and the report shows it."""

import pytest
from aiida import orm
from aiida.engine import run_get_node
from aiida.engine.utils import instantiate_process
from aiida.manage import get_manager
from aiida.plugins import WorkflowFactory

from aiida_ufpnmr.cli.launch import CHOICES
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.tools.queries import calculations_behind, step_name

CHOSEN = {'sites': {'anion': 'S'}, 'silent-hops': {'window_ps': 0.03, 'residence_ps': 0.03, 'average_ps': 0.02}}


@pytest.fixture(scope='session')
def chosen(code, pipeline, tiny):
    """The dynamics of the pipeline once more, with two analyses that were chosen."""
    builder = WorkflowFactory('ufpnmr.dynamic_nmr').get_builder_from_protocol(
        code,
        pipeline.inputs.dataset.get_structure(1),
        pipeline.outputs.potential,
        pipeline.outputs.efg_model,
        'fast',
        overrides={**tiny['dynamic_nmr'], 'analyses': CHOSEN},
    )
    return run_get_node(builder).node


def again(code, chosen, overrides):
    """The inputs of the same dynamics with other overrides."""
    models = (chosen.inputs[name] for name in ('structure', 'potential', 'efg_model'))
    return WorkflowFactory('ufpnmr.dynamic_nmr').get_builder_from_protocol(code, *models, 'fast', overrides=overrides)


def test_each_chosen_analysis_is_a_step_with_outputs_of_its_own(chosen, pipeline):
    assert chosen.is_finished_ok, chosen.exit_message
    assert sorted(chosen.outputs.analyses) == ['silent_hops', 'sites']
    assert chosen.outputs.analyses.sites.results['sites'].keys() == {'LiS4', 'LiS6'}
    assert chosen.outputs.analyses.silent_hops.figure.get_content(mode='rb').startswith(b'\x89PNG')
    assert {'sites', 'silent_hops'} <= {step_name(one) for one in calculations_behind(chosen)}
    assert 'analyses' not in pipeline.outputs


def test_parameters_of_a_chosen_analysis_are_one_node_from_the_workflow_to_the_calculation(chosen):
    given = chosen.inputs.analyses.silent_hops
    assert given.get_dict() == {**CHOSEN['silent-hops'], 'skip_ps': 0.0}
    job = chosen.outputs.analyses.silent_hops.results.creator
    assert job.inputs.parameters.uuid == given.uuid and job.inputs.analysis.value == 'silent-hops'


def test_the_report_shows_the_chosen_analyses_beside_the_answer(chosen, command, tmp_path):
    result = command('report', chosen.pk, '-o', tmp_path)
    assert result.exit_code == 0, result.exception
    page = (tmp_path / 'index.html').read_text()
    assert page.count('src="data:image/png;base64,') == 5
    assert 'Motion, structure and NMR' in page and 'LiS4' in page and 'hops, 0 judged' in page
    assert {path.name for path in tmp_path.glob('*.png')} >= {'sites.png', 'silent-hops.png', 'correlation.png'}


@pytest.mark.parametrize(
    'analyses, words',
    [
        ({'sitez': {}}, 'sitez: no such analysis'),
        ({'sites': {'anionz': 'S'}}, "sites: unknown parameter 'anionz'"),
        (['sites'], 'must hold "name: parameters" entries'),
    ],
)
def test_analyses_that_cannot_run_are_refused_before_anything_runs(code, pipeline, analyses, words):
    arguments = (pipeline.inputs.dataset.get_structure(1), pipeline.outputs.potential, pipeline.outputs.efg_model)
    with pytest.raises(ValueError, match=words):
        WorkflowFactory('ufpnmr.dynamic_nmr').get_builder_from_protocol(
            code, *arguments, 'fast', overrides={'analyses': analyses}
        )


def test_a_chosen_analysis_that_fails_leaves_the_answer_there(code, chosen, tiny):
    builder = again(code, chosen, {**tiny['dynamic_nmr'], 'analyses': {'sites': {'anion': 'Cl'}}})
    node = run_get_node(builder).node
    assert node.exit_status == 501 and 'holds no Cl' in node.exit_message
    assert node.outputs.tau.get_dict()['atoms'] == 32 and 'analyses' not in node.outputs


def test_the_pipeline_hands_analyses_on_and_their_outputs_back(code, dataset, chosen):
    builder = WorkflowFactory('ufpnmr.pipeline').get_builder_from_protocol(
        code, dataset, structure_index=0, overrides={'dynamic_nmr': {'analyses': {'rates': {'gamma': 1.0}}}}
    )
    given = builder.dynamic_nmr.analyses['rates']
    assert isinstance(given, orm.Dict) and given.get_dict() == {'skip_ps': 10.0, 'gamma': 1.0}
    process = instantiate_process(get_manager().get_runner(), builder)
    process.out_many(process.exposed_outputs(chosen, WorkflowFactory('ufpnmr.dynamic_nmr')))
    assert process.outputs['analyses']['sites']['results'].uuid == chosen.outputs.analyses.sites.results.uuid


@pytest.fixture(scope='module')
def kept(code, chosen, tiny, command, tmp_path_factory):
    """The archive of a run of β with the analyses of which the scripts of results draw one figure each."""
    grains = {'grain_nm': [10.0, 100.0], 'diffusion': [1e-10]}
    drawn = {'sites': {}, 'orientations': {}, 'frequency': CHOSEN['silent-hops'], 'microstructure': grains}
    node = run_get_node(again(code, chosen, {**tiny['dynamic_nmr'], 'analyses': drawn})).node
    assert node.is_finished_ok, node.exit_message
    node.label = 'beta'
    archive = tmp_path_factory.mktemp('kept') / 'run.aiida'
    assert command('archive', 'create', node.pk, '-o', archive).exit_code == 0
    return archive


@pytest.mark.slow
@pytest.mark.parametrize('figure', ['sites', 'orientations', 'frequency', 'grains'])
def test_the_scripts_of_results_draw_chosen_analyses_from_an_archive_alone(kept, figure, draw):
    assert draw(figure, kept).startswith(b'\x89PNG')


@pytest.fixture(scope='session')
def sites_file(pipeline, tmp_path_factory):
    """The structure where the dynamics of the pipeline starts, as a CIF file."""
    path = tmp_path_factory.mktemp('sites') / 'beta.cif'
    pipeline.inputs.dataset.get_structure(1).get_ase().write(path)
    return path


def test_a_file_of_sites_reaches_the_analysis_that_reads_it_and_no_other(code, chosen, tiny, sites_file):
    builder = again(
        code,
        chosen,
        {
            **tiny['dynamic_nmr'],
            'analyses': {'jumps': {}, 'rdf': {}},
            'analysis_files': {'sites': orm.SinglefileData(sites_file)},
        },
    )
    node = run_get_node(builder).node
    assert node.is_finished_ok, node.exit_message
    results = node.outputs.analyses.jumps.results
    assert results.creator.inputs.sites.uuid == node.inputs.analysis_files.sites.uuid
    assert results['sites'] == 'sites.cif'
    assert sum(kind['number_of_sites'] for kind in results['kinds'].values()) == 12
    assert 'sites' not in node.outputs.analyses.rdf.results.creator.inputs


@pytest.mark.parametrize(
    ('analysis', 'files', 'words'),
    [('rdf', ('sites',), 'none of the chosen analyses reads sites'), ('softness', (), 'softness needs model')],
)
def test_files_that_nothing_reads_or_that_lack_are_named_before_anything_runs(
    code, chosen, sites_file, analysis, files, words
):
    builder = again(
        code,
        chosen,
        {'analyses': {analysis: {}}, 'analysis_files': {name: orm.SinglefileData(sites_file) for name in files}},
    )
    with pytest.raises(ValueError, match=words):
        instantiate_process(get_manager().get_runner(), builder)


def test_a_file_of_sites_that_is_none_is_refused_before_anything_is_stored(command, dataset_file, tmp_path):
    (tmp_path / 'sites.cif').write_text('no crystal')
    arguments = ('--structure-index', 0, '--analysis', 'jumps', '--sites', tmp_path / 'sites.cif')
    result = command('launch', 'pipeline', dataset_file, *arguments)
    assert isinstance(result.exception, InputError) and 'sites.cif' in str(result.exception)


def test_the_command_line_chooses_analyses_by_name(command, dataset_file):
    assert 'environments' in CHOICES and 'acf' not in CHOICES
    result = command('launch', 'pipeline', dataset_file, '--structure-index', 99, '--analysis', 'environments')
    assert isinstance(result.exception, InputError)  # got as far as the structure
    refused = command('launch', 'pipeline', dataset_file, '--structure-index', 0, '--analysis', 'acf')
    assert refused.exit_code == 2 and "'acf' is not one of" in refused.output

"""Claims about dynamic NMR at several temperatures: each run is on record, and laws go through those that end well."""

import re
import subprocess
import sys

import numpy as np
import pytest
import yaml
from aiida import orm
from aiida.common.links import LinkType
from aiida.engine.utils import instantiate_process
from aiida.manage import get_manager
from aiida.plugins import WorkflowFactory
from conftest import SCRIPTS

from aiida_ufpnmr.calculations.arrhenius import fit_rates
from aiida_ufpnmr.engine.transport.arrhenius import EV_PER_K
from aiida_ufpnmr.engine.transport.msd import DIFFUSION, NO_DIFFUSION
from aiida_ufpnmr.tools.answer import rounded
from aiida_ufpnmr.tools.arrhenius_page import laws_of, runs_of

WORKFLOW = WorkflowFactory('ufpnmr.arrhenius')
ENERGY_EV, TEMPERATURES_K = 0.25, (600.0, 700.0, 800.0)


def answer(temperature_K: float, msd_verdict: str = DIFFUSION) -> orm.Dict:
    """What a run would answer whose rates follow a law, with an error of a tenth, and which shows no decay."""
    factor = float(np.exp(-ENERGY_EV / (EV_PER_K * temperature_K)))
    values = {'diffusion_coefficient_cm2_per_s': 1e-3 * factor, 'hop_rate_per_s': 1e13 * factor}
    intervals = {f'{name}_ci95': [0.804 * value, 1.196 * value] for name, value in values.items()}
    verdicts = {'msd_verdict': msd_verdict, 'hops_verdict': 'hops', 'verdict': 'no decay within the trajectory'}
    return orm.Dict({**values, **intervals, **verdicts, 'decay_rate_per_s': None})


@pytest.fixture
def builder(code, structure, potential, efg_model):
    """A builder for three temperatures with two replicas of each."""
    return WORKFLOW.get_builder_from_protocol(
        code, structure, potential, efg_model, temperatures_K=TEMPERATURES_K, replicas=2, protocol='fast'
    )


@pytest.fixture(scope='session')
def launched(command, pipeline, tiny, tmp_path_factory):
    """Four short runs, of which the hottest is stopped: no potential knows what atoms do at 100 000 K."""
    overrides = tmp_path_factory.mktemp('arrhenius') / 'overrides.yaml'
    md = {'parameters': {**tiny['dynamic_nmr']['md']['parameters'], 'steps': 1500, 'guard_fraction': 0.3}}
    overrides.write_text(yaml.safe_dump({**tiny['dynamic_nmr'], 'md': md}))
    models = ('--potential', pipeline.outputs.potential.pk, '--efg-model', pipeline.outputs.efg_model.pk)
    runs = ('--temperatures', '500,1300,900,1e5', '--extrapolate-k', '300,400')
    return command(
        *('launch', 'arrhenius', pipeline.inputs.dataset.get_structure(1).store().pk),
        *(*models, *runs, '--protocol', 'fast', '--overrides', overrides, '--most-at-once', 2, '--pack-to', '1min'),
    )


@pytest.fixture(scope='session')
def measured(launched) -> orm.WorkChainNode:
    assert launched.exit_code == 0, (launched.output, launched.exception)
    return orm.load_node(int(re.search(r'ArrheniusWorkChain #(\d+)', launched.output)[1]))


@pytest.mark.slow
def test_each_temperature_has_a_run_with_a_seed_of_its_own_and_the_failed_one_is_left_out(measured):
    given = [run.inputs.md.parameters.get_dict() for run in runs_of(measured)]
    assert [(one['temperature'], one['seed']) for one in given] == [(500.0, 0), (900.0, 1), (1300.0, 2), (1e5, 3)]
    assert sorted(measured.outputs.runs) == ['run_001', 'run_002', 'run_003']
    assert (measured.inputs.most_at_once, measured.inputs.pack_to_s) == (2, 60.0)
    for run in runs_of(measured)[:3]:
        assert run.outputs.tau.uuid in {measured.outputs.runs[label].uuid for label in measured.outputs.runs}
    fitted = measured.outputs.arrhenius.creator
    assert fitted.inputs.parameters['temperatures_K'] == {
        'run_001': 500,
        'run_002': 900,
        'run_003': 1300,
        'run_004': 1e5,
    }


@pytest.mark.slow
def test_the_terminal_shows_each_law(launched, measured):
    for law in laws_of(measured):
        assert law.headline in launched.output and f'{law.symbol} at 400 K' in launched.output
    assert f'aiida-ufpnmr report {measured.pk}' in launched.output


@pytest.mark.slow
def test_the_report_shows_figure_laws_and_runs(measured, command, tmp_path):
    result = command('report', measured.pk, '-o', tmp_path)
    assert result.exit_code == 0, result.exception
    page = (tmp_path / 'index.html').read_text()
    assert page.count('src="data:image/png;base64,') == 1 and '500, 900, 1300, 100000 K' in page
    assert all(f'#{run.pk}' in page for run in runs_of(measured)) and 'came closer than' in page
    assert '3 × md' in page and 'activation energy (eV)' in page
    assert (tmp_path / 'arrhenius.png').read_bytes() == measured.outputs.figure.get_content(mode='rb')


def test_laws_of_made_up_answers_are_those_they_were_made_of():
    labels = {f'run_{n}': temperature for n, temperature in enumerate(2 * TEMPERATURES_K)}
    parameters = orm.Dict({'temperatures_K': labels, 'extrapolate_K': [300.0]})
    found = fit_rates(parameters, **{label: answer(one) for label, one in labels.items()})
    laws, refused = (found['arrhenius'][name] for name in ('laws', 'refused'))
    assert laws.keys() == {'diffusion_coefficient_cm2_per_s', 'hop_rate_per_s'}
    for law in laws.values():
        low, high = law['activation_energy_eV_ci95']
        assert law['activation_energy_eV'] == pytest.approx(ENERGY_EV) and low < ENERGY_EV < high
        assert [(one['temperature_K'], one['runs']) for one in law['temperatures']] == [(t, 2) for t in TEMPERATURES_K]
    assert refused.keys() == {'decay_rate_per_s'} and 'fewer than two temperatures' in refused['decay_rate_per_s']
    assert found['figure'].get_content(mode='rb').startswith(b'\x89PNG') and 'decay_rate_per_s' not in found


def test_a_run_without_diffusion_is_left_out_of_that_law_by_its_label():
    parameters = orm.Dict({'temperatures_K': {'a': 600.0, 'b': 700.0, 'c': 800.0}, 'extrapolate_K': []})
    found = fit_rates(parameters, a=answer(600.0, NO_DIFFUSION), b=answer(700.0), c=answer(800.0))['arrhenius']['laws']
    assert found['diffusion_coefficient_cm2_per_s']['left_out'] == ['a (600 K)']
    assert found['hop_rate_per_s']['left_out'] == []


def forged(builder, answers: dict[str, orm.Dict | None]):
    """A workflow whose runs have ended with these answers, or none."""
    process = instantiate_process(get_manager().create_runner(communicator=None), builder)
    process.ctx.runs = {}
    for label, given in answers.items():
        run = orm.WorkChainNode(process_type='aiida.workflows:ufpnmr.dynamic_nmr').store()
        if given is not None:
            given.store().base.links.add_incoming(run, link_type=LinkType.RETURN, link_label='tau')
        process.ctx.runs[label] = run.pk
    return process


def test_too_few_temperatures_leave_the_answers_and_say_so(builder):
    process = forged(builder, {f'run_{n:03d}': answer(600.0) if n == 1 else None for n in range(1, 7)})
    assert process.inspect_runs() is None and process.outputs['runs'].keys() == {'run_001'}
    process.fit()
    code = process.inspect_fits()
    assert code.status == 501 and 'fewer than two temperatures' in code.message and 'figure' not in process.outputs


def test_no_answer_at_all_ends_the_workflow(builder):
    code = forged(builder, {f'run_{n:03d}': None for n in range(1, 7)}).inspect_runs()
    assert code.status == 401 and 'No run has an answer' in code.message


@pytest.mark.parametrize(
    ('values', 'words'),
    [
        ({'temperatures_K': [600]}, 'needs two temperatures or more'),
        ({'temperatures_K': [600, 600]}, 'each be given once'),
        ({'temperatures_K': [0, 600]}, 'numbers above zero'),
        ({'temperatures_K': [600, 700], 'replicas': 0}, 'replicas: must be at least 1'),
        ({'temperatures_K': [600, 700], 'extrapolate_K': [-3]}, 'extrapolate_K must be above zero'),
        ({'temperatures_K': [600, 700], 'overrides': {'replicas': 3}}, "'replicas'"),
        ({'temperatures_K': [600, 700], 'overrides': {'md': {'parameters': {'stepz': 3}}}}, 'stepz'),
    ],
)
def test_what_cannot_run_is_refused_before_anything_runs(code, structure, potential, efg_model, values, words):
    with pytest.raises(ValueError, match=words):
        WORKFLOW.get_builder_from_protocol(code, structure, potential, efg_model, **values)


def test_a_list_of_temperatures_that_is_none_is_refused_by_the_command(command):
    words = ('launch', 'arrhenius', 'beta.cif', '--potential', 1, '--efg-model', 2, '--temperatures')
    for given in ('600,warm', '600,-3'):
        result = command(*words, given)
        assert result.exit_code == 2 and '--temperatures' in result.output


@pytest.fixture(scope='session')
def kept(measured, command, tmp_path_factory):
    measured.label = 'beta'
    archive = tmp_path_factory.mktemp('kept') / 'runs.aiida'
    assert command('archive', 'create', measured.pk, '-o', archive).exit_code == 0
    return archive


@pytest.mark.slow
@pytest.mark.parametrize('figure', ['arrhenius', 'correlation'])
def test_the_scripts_of_results_draw_from_an_archive_alone(kept, figure, draw):
    assert draw(figure, kept).startswith(b'\x89PNG')


@pytest.mark.slow
def test_what_results_compare_is_that_of_the_laws_and_of_the_runs(kept, measured):
    words = [sys.executable, SCRIPTS / 'compared.py', kept]
    printed = subprocess.run(words, check=True, capture_output=True, text=True).stdout
    for law in laws_of(measured):
        assert re.search(
            rf'activation energy of {re.escape(law.symbol)} +β-Li₃PS₄ +{rounded(law.activation_energy_eV)} eV', printed
        )
    done = [run for run in runs_of(measured) if 'tau' in run.outputs]
    assert len(re.findall(r'^  β-Li₃PS₄ +\d+ K', printed, re.MULTILINE)) == len(done)


def test_an_archive_without_such_runs_is_refused_by_the_scripts_of_results(tmp_path):
    archive = SCRIPTS.parent / 'archives' / 'own_conductor.aiida'
    words = [sys.executable, SCRIPTS / 'arrhenius.py', archive, '-o', tmp_path / 'figure.png']
    ended = subprocess.run(words, capture_output=True, text=True)
    assert ended.returncode == 2 and 'holds none of the runs' in ended.stderr and 'Traceback' not in ended.stderr

"""Claims about dynamic NMR with models drawn from what labels leave open."""

from __future__ import annotations

import re

import pytest
import yaml
from aiida import orm
from ase.io import write

from aiida_ufpnmr.calculations.drawn_models import compare_answers
from aiida_ufpnmr.workflows.dynamic_nmr import DynamicNmrWorkChain

pytestmark = pytest.mark.slow


@pytest.fixture(scope='module')
def launched(command, code, tiny, dataset_file, potential_file, efg_model_file, tmp_path_factory):
    """Two drawn models: what was printed, and the workflow."""
    from aiida_ufpnmr.data import DatasetData

    folder = tmp_path_factory.mktemp('model_error')
    write(folder / 'start.extxyz', DatasetData(dataset_file).get_structure(0).get_ase())
    (folder / 'overrides.yaml').write_text(yaml.safe_dump({'dynamic_nmr': tiny['dynamic_nmr']}))
    given = ('--potential', potential_file, '--efg-model', efg_model_file, '--number', 2, '--protocol', 'fast')
    found = command('launch', 'model-error', folder / 'start.extxyz', *given, '--overrides', folder / 'overrides.yaml')
    assert found.exit_code == 0, found.output
    return found, orm.load_node(int(re.search(r'ModelErrorWorkChain #(\d+)', found.output)[1]))


def test_each_drawn_model_has_a_run_of_its_own_and_they_are_told_apart(launched):
    found, node = launched
    runs = [one for one in node.called if one.process_class is DynamicNmrWorkChain]
    assert len(runs) == 3 and len({run.inputs.md.parameters['seed'] for run in runs}) == 3
    for name in ('potential', 'efg_model'):
        assert len({run.inputs[name].sha256 for run in runs}) == 3
    assert [run.inputs.potential.load().posterior is None for run in runs] == [False, True, True]
    error = node.outputs.model_error.get_dict()
    assert error['number'] == 2 and error['runs_failed'] == 0
    for key in ('tau_ns', 'hop_rate_per_s', 'diffusion_coefficient_cm2_per_s'):
        if key in error:
            assert len(error[key]['drawn']) == 2 and error[key]['ci95'] is None  # two are too few
    assert 'with drawn models' in found.output


def test_the_page_that_is_offered_shows_the_answer_and_what_the_models_do_to_it(launched, command, tmp_path):
    found, node = launched
    assert f'aiida-ufpnmr report {node.pk} -o report' in found.output
    assert command('report', node.pk, '-o', tmp_path).exit_code == 0
    page = (tmp_path / 'index.html').read_text()
    assert 'With models drawn' in page and 'spread by sampling' in page and 'mean temperature' in page


def test_a_verdict_takes_a_quantity_back_and_failed_runs_have_none():
    fitted = orm.Dict({'diffusion_coefficient_cm2_per_s': 2.0, 'msd_verdict': 'diffusion'})
    moves, rests = {**fitted.get_dict()}, {**fitted.get_dict(), 'msd_verdict': 'no diffusion'}
    answers = {f'drawn_{n}': orm.Dict(moves if n else rests) for n in range(6)}
    found = compare_answers(fitted, orm.Int(7), **answers).get_dict()
    one = found['diffusion_coefficient_cm2_per_s']
    assert found['runs_failed'] == 1 and one['without_answer'] == 2 and one['ci95'] is None
    assert one['median'] == 2.0 and 'tau_ns' not in found

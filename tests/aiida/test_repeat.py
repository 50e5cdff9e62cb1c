"""Claims about calculations that are repeated where they were cut off, and not where the input is to blame."""

from __future__ import annotations

import pytest
from aiida import orm
from aiida.engine import run_get_node
from aiida.engine.utils import instantiate_process
from aiida.manage import get_manager
from aiida.manage.caching import enable_caching

from aiida_ufpnmr.calculations.fit_potential import FitPotentialCalculation
from aiida_ufpnmr.tools.costs import cost_by_step
from aiida_ufpnmr.tools.queries import calculations_behind, labels_behind
from aiida_ufpnmr.workflows.repeat import MOST_ATTEMPTS, FitPotentialWorkChain

CODES = FitPotentialCalculation.exit_codes


@pytest.fixture
def chain(code, dataset):
    """A chain after its set-up, as if it had run one attempt."""
    given = {'calculation': {'code': code, 'dataset': dataset}}
    process = instantiate_process(get_manager().create_runner(communicator=None), FitPotentialWorkChain, **given)
    process.setup()
    process.ctx.iteration = 1
    return process


def inspect(chain, code) -> int:
    """What the chain makes of an attempt that ended so: its own exit status, 0 for another attempt."""
    node = orm.CalcJobNode(computer=chain.inputs.calculation.code.computer)
    node.set_process_state('finished')
    node.set_exit_status(code.status)
    node.set_exit_message('What happened.')
    chain.ctx.children = [node.store()] * chain.ctx.iteration
    return chain.inspect_process().status


@pytest.mark.parametrize(
    ('code_name', 'status'),
    [
        ('ERROR_INTERRUPTED', 0),
        ('ERROR_NO_RESULTS', 0),
        ('ERROR_OUTPUT_UNUSABLE', 0),
        ('ERROR_SCHEDULER_NODE_FAILURE', 0),
        ('ERROR_NO_RETRIEVED_FOLDER', 0),
        ('ERROR_INPUT_REFUSED', 210),
        ('ERROR_COMMAND_FAILED', 310),
        ('ERROR_SCHEDULER_OUT_OF_MEMORY', 320),
        ('ERROR_OUT_OF_MEMORY', 320),
        ('ERROR_SCHEDULER_OUT_OF_WALLTIME', 310),
    ],
)
def test_what_was_cut_off_is_repeated_and_what_failed_is_not(chain, code_name, status):
    assert inspect(chain, getattr(CODES, code_name)) == status


def test_there_is_an_end_to_repeating(chain):
    chain.ctx.iteration = MOST_ATTEMPTS
    assert inspect(chain, CODES.ERROR_INTERRUPTED) == 420


def test_behind_a_model_is_the_attempt_that_ended_well_and_so_is_what_the_cache_gives(code, dataset, tiny, tmp_path):
    killed_once = orm.InstalledCode(
        label='killed-once',
        computer=code.computer,
        filepath_executable=str(code.filepath_executable),
        prepend_text=f'[ -e {tmp_path}/killed ] || {{ touch {tmp_path}/killed; kill -9 $$; }}',
        with_mpi=False,
    ).store()
    settings = tiny['fit_potential']['settings']
    inputs = {'calculation': {'code': killed_once, 'dataset': dataset.store(), 'settings': settings}}
    outputs, node = run_get_node(FitPotentialWorkChain, **inputs)
    assert node.is_finished_ok, node.exit_message
    killed, well = sorted(node.called, key=lambda job: job.pk)
    assert (killed.exit_status, well.exit_status) == (400, 0)
    assert set(outputs) == {'potential', 'results', 'timing'}
    for start in (outputs['potential'], node):
        assert calculations_behind(start) == [well]
        assert [(step.name, step.pk) for step in cost_by_step(start)] == [('FitPotentialCalculation', well.pk)]
    assert [label.index for label in labels_behind(outputs['potential'])] == list(range(len(dataset.rows)))
    with enable_caching():
        _, again = run_get_node(FitPotentialWorkChain, **inputs)
    assert [job.base.caching.get_cache_source() for job in again.called] == [well.uuid]

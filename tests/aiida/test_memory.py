"""Claims about jobs that ran out of memory, which are told from jobs that somebody stopped."""

from __future__ import annotations

import pytest
from aiida import orm
from aiida.engine.utils import instantiate_process
from aiida.manage import get_manager

from aiida_ufpnmr.calculations.base import OUT_OF_MEMORY
from aiida_ufpnmr.calculations.fit_potential import FitPotentialCalculation
from aiida_ufpnmr.calculations.resources import PROPERTY
from aiida_ufpnmr.workflows.repeat import FitPotentialWorkChain

OUT_OF_TIME, INTERRUPTED, FAILED = 120, 400, 310
STDERR = {'scheduler_stderr': '_scheduler-stderr.txt', 'scheduler_stdout': '_scheduler-stdout.txt'}
SLURM = 'slurmstepd: error: Detected 1 oom_kill event in StepId=7.batch. Some of the step tasks have been OOM Killed.'


@pytest.mark.parametrize(
    ('files', 'more', 'status', 'sign'),
    [
        # the command was killed: by hand, by the kernel, by a scheduler that had been asked for memory
        ({'exit-status': '137\n'}, {}, INTERRUPTED, ''),
        ({'exit-status': '137\noom-kill\n'}, {}, OUT_OF_MEMORY, 'the kernel killed it'),
        ({'exit-status': '137\n'}, {'max_memory_kb': 2**20}, OUT_OF_MEMORY, 'than it asked for'),
        # another program was killed meanwhile
        ({'exit-status': '143\noom-kill\n'}, {}, INTERRUPTED, ''),
        ({'exit-status': '1\noom-kill\n', 'ufpnmr.err': 'ValueError: no\n'}, {}, FAILED, 'ValueError'),
        # words of Python, NumPy and schedulers
        ({'exit-status': '1\n', 'ufpnmr.err': 'Traceback\nMemoryError\n'}, {}, OUT_OF_MEMORY, 'MemoryError'),
        (
            {'exit-status': '1', 'ufpnmr.err': 'numpy._core._exceptions._ArrayMemoryError: Unable to allocate 1 TiB\n'},
            {}, OUT_OF_MEMORY, '1 TiB',
        ),
        ({'_scheduler-stderr.txt': SLURM}, {}, OUT_OF_MEMORY, 'oom_kill'),
        ({'exit-status': '137', '_scheduler-stderr.txt': SLURM}, {}, OUT_OF_MEMORY, 'oom_kill'),
        ({'_scheduler-stderr.txt': '\nslurmstepd: error: Exceeded job memory limit\n'}, {}, OUT_OF_MEMORY, 'Exceeded'),
        ({'_scheduler-stderr.txt': '=>> PBS: job killed: mem 9kb exceeded limit 8kb'}, {}, OUT_OF_MEMORY, 'mem 9kb'),
        ({'_scheduler-stdout.txt': 'TERM_MEMLIMIT: job killed'}, {}, OUT_OF_MEMORY, 'TERM_MEMLIMIT'),
        ({}, {'exit_status': 110}, OUT_OF_MEMORY, 'the scheduler says so'),
        ({}, {'exit_status': OUT_OF_TIME}, 0, ''),  # which stays the status of the job
        ({}, {}, INTERRUPTED, ''),
    ],
)  # fmt: skip
def test_signs_of_a_want_of_memory_are_told_from_other_ends(parse, files, more, status, sign):
    found, given, message = parse('ufpnmr.fit_potential', files, {}, **STDERR, **more)
    assert (given or 0) == status and found == {} and sign in (message or '')


@pytest.fixture
def chain(code, dataset):
    """Makes a chain after its first attempt, whose job asked for so much memory."""

    def make(memory_kb=None, node=None):
        computer = code.computer
        if node is not None:
            label = f'node-of-{node}'
            computer = orm.Computer(
                label=label,
                hostname='localhost',
                transport_type='core.local',
                scheduler_type='core.slurm',
                workdir='/tmp',
            )
            computer.set_property(PROPERTY, {'memory_kb': node})
            computer.store()
        where = orm.InstalledCode(label='u', computer=computer, filepath_executable='/bin/ufpnmr').store()
        options = {} if memory_kb is None else {'max_memory_kb': memory_kb}
        given = {'calculation': {'code': where, 'dataset': dataset, 'metadata': {'options': options}}}
        process = instantiate_process(get_manager().create_runner(communicator=None), FitPotentialWorkChain, **given)
        process.setup()
        process.ctx.iteration = 1
        return process

    return make


def out_of_memory(chain) -> int:
    node = orm.CalcJobNode(computer=chain.inputs.calculation.code.computer)
    node.set_process_state('finished')
    node.set_exit_status(FitPotentialCalculation.exit_codes.ERROR_OUT_OF_MEMORY.status)
    node.set_exit_message('What happened.')
    chain.ctx.children = [node.store()] * chain.ctx.iteration
    return chain.inspect_process().status


def test_twice_the_memory_is_asked_for_once(chain):
    process = chain(memory_kb=2**20)
    assert out_of_memory(process) == 0
    assert process.ctx.inputs.metadata.options.max_memory_kb == 2**21
    process.ctx.iteration = 2
    assert out_of_memory(process) == 320


def test_where_no_memory_was_asked_for_the_same_is_not_tried_again(chain):
    assert out_of_memory(chain()) == 320


@pytest.mark.parametrize(('of_node', 'status', 'asked'), [(3 * 2**19, 0, 3 * 2**19), (2**20, 320, 2**20)])
def test_no_more_is_asked_for_than_a_node_has(chain, of_node, status, asked):
    process = chain(memory_kb=2**20, node=of_node)
    assert out_of_memory(process) == status
    assert process.ctx.inputs.metadata.options.max_memory_kb == asked

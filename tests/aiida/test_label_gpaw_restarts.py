"""Claims about restarts of GPAW jobs: nothing that was labelled is labelled again, and there is an end to trying."""

from __future__ import annotations

import pytest
from aiida import orm
from aiida.common.links import LinkType
from aiida.engine import run_get_node
from aiida.engine.utils import instantiate_process
from aiida.manage import get_manager
from aiida.plugins import CalculationFactory, WorkflowFactory
from ase import Atoms

from aiida_ufpnmr.data import DatasetData

CHAIN = WorkflowFactory('ufpnmr.label_gpaw')
CODES = CalculationFactory('ufpnmr.label_gpaw').exit_codes


def crystals(*shifts: float) -> DatasetData:
    return DatasetData.of(Atoms('LiS', [[x, 0, 0], [2.5, 2.5, 0]], cell=[6, 6, 6], pbc=True) for x in shifts)


@pytest.fixture
def chain(gpaw):
    """A restart chain after its set-up, as if it had run one attempt."""
    builder = CHAIN.get_builder_from_protocol(gpaw.code, crystals(0.1), 'fast', options={'max_wallclock_seconds': 600})
    process = instantiate_process(get_manager().create_runner(communicator=None), builder)
    process.setup()
    process.ctx.iteration = 1
    return process


@pytest.fixture
def failed(gpaw, tmp_path):
    """The node of an attempt that ended with a given exit status."""

    def make(status: int) -> orm.CalcJobNode:
        node = orm.CalcJobNode(computer=gpaw.code.computer, process_type='aiida.calculations:ufpnmr.label_gpaw')
        node.store()
        remote = orm.RemoteData(remote_path=str(tmp_path), computer=node.computer)
        remote.base.links.add_incoming(node, link_type=LinkType.CREATE, link_label='remote_folder')
        remote.store()
        node.set_process_state('finished')
        node.set_exit_status(status)
        node.set_exit_message('What happened.')
        return node

    return make


def inspect(chain, node):
    """What the handlers decide about an attempt: the exit status of the chain, 0 for another attempt."""
    chain.ctx.children = [node] * chain.ctx.iteration
    return chain.inspect_process().status


def test_a_killed_job_goes_on_with_what_is_left(gpaw):
    gpaw.plan('kill 2')
    builder = CHAIN.get_builder_from_protocol(gpaw.code, crystals(0.11, 0.12, 0.13), 'fast')
    outputs, node = run_get_node(builder)
    attempts = [called for called in node.called if isinstance(called, orm.CalcJobNode)]
    assert node.exit_status == 0, node.exit_message
    assert [attempt.exit_status for attempt in attempts] == [400, 0]
    assert attempts[1].inputs.parent_folder.creator.pk == attempts[0].pk
    assert gpaw.computed == 3 and len(outputs['dataset'].rows) == 3
    assert outputs['results']['labelled_before'] == 2
    assert gpaw.gone_on_with == [0.13]


def test_a_job_without_any_label_ends_the_chain_with_the_reason(gpaw):
    gpaw.plan()
    silicon = DatasetData.of([Atoms('SiS', [[0.1, 0, 0], [2.5, 2.5, 0]], cell=[6, 6, 6], pbc=True)])
    outputs, node = run_get_node(CHAIN.get_builder_from_protocol(gpaw.code, silicon, 'fast'))
    assert node.exit_status == 440 and 'did not converge in three attempts' in node.exit_message
    assert 'dataset' not in outputs


def test_out_of_time_goes_on_and_then_asks_for_more(chain, failed):
    node, times = failed(120), []
    for _ in range(3):
        assert inspect(chain, node) == 0
        times.append(chain.ctx.inputs.metadata.options.max_wallclock_seconds)
        chain.ctx.iteration += 1
    assert times == [600, 1200, 2400] and chain.ctx.inputs.parent_folder.pk == node.outputs.remote_folder.pk
    assert inspect(chain, node) == chain.exit_codes.ERROR_OUT_OF_WALLTIME.status == 420


def test_an_interruption_is_forgiven_once(chain, failed):
    node = failed(400)
    assert inspect(chain, node) == 0 and 'parent_folder' in chain.ctx.inputs
    chain.ctx.iteration += 1
    assert inspect(chain, node) == chain.exit_codes.ERROR_OUTPUT_LOST_AGAIN.status == 430


@pytest.mark.parametrize('status', [320, 330])
def test_unreadable_output_is_computed_anew_but_not_twice(chain, failed, status):
    node = failed(status)
    chain.ctx.inputs.parent_folder = node.outputs.remote_folder
    assert inspect(chain, node) == 0 and 'parent_folder' not in chain.ctx.inputs
    chain.ctx.iteration += 1
    assert inspect(chain, node) == 430


@pytest.mark.parametrize('status', [140, 100])
def test_a_node_failure_is_not_the_fault_of_the_calculation(chain, failed, status):
    node = failed(status)
    for _ in range(4):
        assert inspect(chain, node) == 0 and 'parent_folder' in chain.ctx.inputs
        chain.ctx.iteration += 1


@pytest.mark.parametrize(('status', 'expected'), [(210, 210), (310, 310), (131, 310), (110, 320), (410, 440)])
def test_what_cannot_be_helped_ends_the_chain(chain, failed, status, expected):
    assert inspect(chain, failed(status)) == expected


def test_every_exit_code_of_a_failed_run_has_a_handler(chain, failed):
    node = failed(0)
    for code in CODES.values():
        if code.status < 100 or code.status in (150, 160):  # of the engine itself; monitors and stashing are not used
            continue
        node.set_exit_status(code.status)
        chain.ctx.iteration, chain.ctx.lost_at = 1, 0
        assert inspect(chain, node) != chain.exit_codes.ERROR_UNHANDLED_FAILURE.status, code

"""Claims about steps begun anew after a stop: what they called is taken up, or called again if it never began."""

from __future__ import annotations

import pytest
from aiida.engine.utils import instantiate_process
from aiida.manage import get_manager
from aiida.orm import CalcJobNode, load_node

from aiida_ufpnmr.workflows.repeat import FitPotentialWorkChain


@pytest.fixture
def chain(code, dataset, monkeypatch):
    """A chain whose attempts are stored, and run by nobody."""
    runner = get_manager().create_runner(communicator=None)
    given = {'calculation': {'code': code, 'dataset': dataset}}
    chain = instantiate_process(runner, FitPotentialWorkChain, **given)
    chain.setup()
    monkeypatch.setattr(
        runner,
        'submit',
        lambda process, inputs=None, **more: instantiate_process(runner, process, **(inputs or {}), **more).node,
    )
    return chain


def begin(chain) -> CalcJobNode:
    """Begin the first attempt; a step that was cut off is begun with the context that it had."""
    chain.ctx.iteration = 0
    return attempt_of(chain)


def attempt_of(chain) -> CalcJobNode:
    with chain._process_scope():  # so that what it calls knows its caller
        return load_node(chain.run_process()['children'].pk)


def test_an_attempt_that_can_go_on_is_taken_up(chain):
    attempt = begin(chain)
    assert begin(chain).pk == attempt.pk and len(chain.node.called) == 1


def test_an_attempt_that_has_ended_meanwhile_is_taken_up(chain):
    attempt = begin(chain)
    attempt.set_process_state('finished')
    assert begin(chain).pk == attempt.pk and len(chain.node.called) == 1


def test_an_attempt_without_a_checkpoint_is_ended_and_another_is_submitted(chain):
    unbegun = begin(chain)
    unbegun.delete_checkpoint()
    attempt = begin(chain)
    assert unbegun.is_killed and unbegun.is_sealed and 'before it began' in unbegun.process_status
    assert not attempt.is_terminated and attempt.pk != unbegun.pk


def test_the_next_attempt_is_another(chain):
    attempt = begin(chain)
    assert attempt_of(chain).pk != attempt.pk and len(chain.node.called) == 2

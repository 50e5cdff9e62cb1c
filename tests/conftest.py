"""Shared by all tests: a folder for AiiDA that goes away, signals that arrive, groups of tests in one process."""

import atexit
import os
import shutil
import signal
import tempfile

import pytest

# Set before anything imports AiiDA, which would make a folder in the home otherwise. Each process has its own.
os.environ['AIIDA_PATH'] = tempfile.mkdtemp(prefix='ufpnmr-tests-')
atexit.register(shutil.rmtree, os.environ['AIIDA_PATH'], ignore_errors=True)

# A shell lets what it starts in the background ignore SIGINT, and so would all programs that the tests interrupt.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

LEFT_OUT = pytest.StashKey[int]()

#: Files whose tests look at the whole run of the pipeline that those of another file look at.
SAME_RUN = {'tests/aiida/test_report_browser.py': 'tests/aiida/test_pipeline.py'}
#: Files of long tests that share nothing.
NOTHING_SHARED = {f'tests/engine/test_nmr_{name}.py' for name in ('coverage', 'decay', 'two_decays')}


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Deal out the tests of a file together, with those that look at its run; where nothing is shared, one by one."""
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid):
            file = super()._split_scope(nodeid)
            return nodeid if file in NOTHING_SHARED else SAME_RUN.get(file, file)

    return Scheduling(config, log) if config.option.dist == 'loadfile' else None


def pytest_deselected(items):
    config = items[0].config
    config.stash[LEFT_OUT] = config.stash.get(LEFT_OUT, 0) + sum(1 for i in items if i.get_closest_marker('slow'))


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node):
    """Each process of pytest-xdist collects all tests, and so knows how many were left out."""
    node.config.stash[LEFT_OUT] = getattr(node, 'workeroutput', {}).get('left_out', 0)


def pytest_sessionfinish(session):
    if hasattr(session.config, 'workeroutput'):
        session.config.workeroutput['left_out'] = session.config.stash.get(LEFT_OUT, 0)


def pytest_terminal_summary(terminalreporter, config):
    number = config.stash.get(LEFT_OUT, 0)
    if number and config.option.markexpr == 'not slow':
        terminalreporter.write_line(
            f'Left out: {number} tests marked slow, which "bash tests/run.sh --all" runs as well '
            '(docs/source/developer/tests.rst says what they are).'
        )


@pytest.fixture(scope='session')
def gpaw_installation():
    """A GPAW that can be used; tests/run.sh sees to it that there is one, wherever one can be installed."""
    from aiida_ufpnmr.engine.dft.gpaw_engine import find_gpaw
    from aiida_ufpnmr.engine.errors import InputError

    try:
        return find_gpaw()
    except InputError as error:
        pytest.skip(str(error))
